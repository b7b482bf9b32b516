"""PTX text as kernels, variables and instructions. Nothing is dropped silently: what is not known is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


class UnknownPtx(Exception):
    """PTX that the translator does not know; the text names it."""


BYTES = {f"{kind}{bits}": bits // 8 for kind in "ubs" for bits in (8, 16, 32, 64)}
BYTES |= {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "f16x2": 4, "bf16x2": 4, "pred": 1}


@dataclass(frozen=True)
class Instruction:
    text: str  # without the guard
    opcode: str
    operands: tuple[str, ...]  # a vector {a, b} is one
    guard: str  # a predicate, "!" before it where it is negated, or ""
    place: str  # "csrc/nms/nms.cu:73", or the PTX's own line


@dataclass(frozen=True)
class Label:
    name: str


@dataclass(frozen=True)
class Variable:
    name: str
    space: str
    bytes: int
    align: int


@dataclass
class Kernel:
    name: str
    parameters: list[Variable]
    max_threads: int
    registers: dict[str, str] = field(default_factory=dict)  # name -> type
    shared: list[Variable] = field(default_factory=list)
    body: list[Instruction | Label] = field(default_factory=list)


@dataclass
class Module:
    kernels: list[Kernel]
    variables: list[Variable]  # .global and .shared; of .shared those without bytes are the launch's


ENTRY = re.compile(r"(?:\.visible\s+|\.weak\s+)?\.entry\s+([\w$]+)\s*\(([^)]*)\)([^{]*)\{")
PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+"
    r"(?:\.ptr(?:\s+\.(?:global|shared|const|local))?(?:\s+\.align\s+\d+)?\s+)?(?P<name>[\w$]+)(?:\[(?P<count>\d+)\])?$"
)
VARIABLE = re.compile(
    r"(?:\.(?:visible|weak|extern)\s+)?\.(?P<space>global|shared)\s+(?:\.align\s+(?P<align>\d+)\s+)?"
    r"\.(?P<type>\w+)\s+(?P<name>[\w$]+)(?:\[(?P<count>\d*)\])?$"
)
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.S)
LOCATION = re.compile(r"\.loc\s+(\d+) (\d+) (\d+)(?:, function_name \S+, inlined_at (\d+) (\d+) (\d+))?")
FILE = re.compile(r'^\s*\.file\s+(\d+) "([^"]*)".*$', re.M)
LABEL = re.compile(r"([\w$]+):(?!:)")
GUARD = re.compile(r"@(!?)\s*([%\w$]+)\s+")
OPCODE = re.compile(r"[a-z][\w.:]*")
VECTOR_SPLIT = re.compile(r",(?![^{]*\})")
SPACE = re.compile(r"\s*")
HEADER = re.compile(r"\s*\.(version|target|address_size)\s[^\n]*")


def module(text: str, name: str = "ptx") -> Module:
    """The module of that text; ``name`` is what places are called that no line of a source stands for."""
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S))
    text = re.sub(r"\.section\b[^{]*\{[^}]*\}", "", text)
    files = {int(number): path for number, path in FILE.findall(text)}
    text = FILE.sub("", text)
    kernels, outside, at = [], "", 0
    for entry in ENTRY.finditer(text):
        if entry.start() < at:
            continue
        end = _closing(text, entry.end())
        outside += text[at : entry.start()]
        most = re.search(r"\.maxntid\s+(\d+)", entry[3])
        parameters = [_parameter(p.strip()) for p in entry[2].split(",") if p.strip()]
        kernel = Kernel(entry[1], parameters, int(most[1]) if most else 1024)
        _Body(kernel, files, name, text.count("\n", 0, entry.end()) + 1).read(text[entry.end() : end])
        kernels.append(kernel)
        at = end + 1
    statements = HEADER.sub("", outside + text[at:]).split(";")
    return Module(kernels, [_variable(statement.strip()) for statement in statements if statement.strip()])


def _closing(text: str, start: int) -> int:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.start()
    raise UnknownPtx("a kernel without an end")


def _parameter(text: str) -> Variable:
    found = PARAMETER.match(text)
    if not found:
        raise UnknownPtx(f"parameter: {text}")
    size = BYTES[found["type"]]
    return Variable(found["name"], "param", size * int(found["count"] or 1), int(found["align"] or size))


def _variable(text: str) -> Variable:
    found = VARIABLE.match(" ".join(text.split()))
    if not found:
        raise UnknownPtx(f"variable: {text}")
    size, count = BYTES[found["type"]], found["count"]
    count = 0 if count == "" else 1 if count is None else int(count)
    return Variable(found["name"], found["space"], size * count, int(found["align"] or size))


class _Body:
    """Reads a kernel's statements. A register of an inner scope gets a name of its own."""

    def __init__(self, kernel: Kernel, files: dict[int, str], name: str, line: int) -> None:
        self.kernel, self.files, self.name, self.line = kernel, files, name, line
        self.scopes: list[dict[str, str]] = [{}]  # name -> its own name
        self.scope_count = 0
        self.parents: dict[tuple[str, ...], tuple[str, ...]] = {}  # of an inlined place
        self.place = ""

    def read(self, text: str) -> None:
        at, counted, line = 0, 0, self.line
        while (at := SPACE.match(text, at).end()) < len(text):
            line, counted = line + text.count("\n", counted, at), at
            if text[at] in "{}":
                self.scope(text[at])
                at += 1
            elif location := LOCATION.match(text, at):
                self.locate(location)
                at = location.end()
            elif label := LABEL.match(text, at):
                self.kernel.body.append(Label(label[1]))
                at = label.end()
            else:
                end = text.find(";", at)
                if end < 0:
                    raise UnknownPtx(f"no end of: {text[at : at + 60]}")
                self.statement(text[at:end].strip(), self.place or f"{self.name}:{line}")
                at = end + 1

    def scope(self, brace: str) -> None:
        if brace == "{":
            self.scopes.append({})
            self.scope_count += 1
        else:
            self.scopes.pop()

    def locate(self, location: re.Match[str]) -> None:
        """The innermost line of the project's sources that the next instructions come from; line 0 tells nothing."""
        place, parent = location.groups()[:3], location.groups()[3:]
        if parent[0]:
            self.parents[place] = parent
        for _ in range(64):
            path = self.files.get(int(place[0]), "")
            if "csrc/" in path and place[1] != "0":
                self.place = f"csrc/{path.rpartition('csrc/')[2]}:{place[1]}"
                return
            if place not in self.parents:
                break
            place = self.parents[place]
        if "csrc/" not in path:
            self.place = f"{path.rpartition('/')[2]}:{place[1]}"

    def statement(self, text: str, place: str) -> None:
        if text.startswith(".pragma"):
            return
        if registers := REGISTERS.match(text):
            for name in registers[2].split(","):
                self.register(name.strip(), registers[1])
            return
        if text.startswith(".shared"):
            self.kernel.shared.append(_variable(text))
            return
        guard = GUARD.match(text)
        rest = text[guard.end() :] if guard else text
        opcode = OPCODE.match(rest)
        if not opcode:
            raise UnknownPtx(f"statement: {text}")
        operands = rest[opcode.end() :].strip()
        split = VECTOR_SPLIT.split(operands) if "{" in operands else operands.split(",")
        parts = tuple(self.renamed(part.strip()) for part in split) if operands else ()
        guard_text = guard[1] + self.renamed(guard[2]) if guard else ""
        self.kernel.body.append(Instruction(rest, opcode[0], parts, guard_text, place))

    def register(self, name: str, type: str) -> None:
        if many := re.fullmatch(r"(%\w+?)<(\d+)>", name):
            self.kernel.registers.update({f"{many[1]}{k}": type for k in range(int(many[2]))})
            return
        own = name if len(self.scopes) == 1 else f"{name}.{self.scope_count}"
        self.scopes[-1][name] = own
        self.kernel.registers[own] = type

    def renamed(self, operand: str) -> str:
        if len(self.scopes) == 1:
            return operand

        def rename(word: re.Match[str]) -> str:
            return next((scope[word[0]] for scope in reversed(self.scopes) if word[0] in scope), word[0])

        return re.sub(r"%?[A-Za-z_$][\w$]*", rename, operand)
