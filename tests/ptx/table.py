"""How one instruction becomes C++: handlers by opcode, which arithmetic.py and memory.py register."""

from __future__ import annotations

from collections.abc import Callable

from . import parse
from .operands import C_TYPES, Operands, identifier
from .parse import BYTES, Instruction, Kernel, Label, UnknownPtx

Handler = Callable[["Translator", Instruction, list[str]], str]
HANDLERS: dict[str, tuple[Handler, frozenset[str]]] = {}


def instruction(names: str, modifiers: str = "") -> Callable[[Handler], Handler]:
    """Registers what translates the opcodes ``names``, and the modifiers that it knows beside types."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update({name: (handler, frozenset(modifiers.split())) for name in names.split()})
        return handler

    return register


class Translator:
    """One kernel. A site is an instruction that the machine looks at: an access, a barrier, a fence, an exchange."""

    def __init__(self, module: parse.Module, kernel: Kernel, sites: list[str]) -> None:
        self.kernel, self.operands, self.sites = kernel, Operands(module, kernel), sites
        self.read, self.write = self.operands.read, self.operands.write

    def code(self) -> str:
        lines = [self.statement(item) for item in self.kernel.body]
        declared: dict[str, list[str]] = {}
        for name in self.operands.kinds:
            if name in self.operands.used:
                declared.setdefault(C_TYPES[self.operands.kinds[name]], []).append(identifier(name) + "{}")
        return "\n".join([*(f"{type} {', '.join(names)};" for type, names in declared.items()), *lines])

    def statement(self, item: Instruction | Label) -> str:
        if isinstance(item, Label):
            return f"{identifier(item.name)}:;"
        name, *modifiers = item.opcode.replace("::", "_").split(".")
        if name not in HANDLERS:
            raise UnknownPtx(f"instruction: {item.text} ({item.place})")
        handler, known = HANDLERS[name]
        for modifier in modifiers:
            if modifier not in known and modifier not in BYTES:
                raise UnknownPtx(f"modifier .{modifier}: {item.text} ({item.place})")
        try:
            code = handler(self, item, modifiers)
        except (ValueError, IndexError, KeyError) as error:
            raise UnknownPtx(f"{item.text} ({item.place})") from error
        except UnknownPtx as error:
            raise UnknownPtx(f"{error} in {item.text} ({item.place})") from None
        return f"if ({self.read(item.guard, 'pred')}) {{ {code} }}" if item.guard else code

    def site(self, kind: str, item: Instruction, strong: bool = False) -> str:
        self.sites.append(
            f'{{Kind::{kind}, {str(strong).lower()}, "{item.opcode}", "{item.place}", "{self.kernel.name}"}}'
        )
        return f"&S[{len(self.sites) - 1}]"


def types_of(modifiers: list[str]) -> list[str]:
    return [m for m in modifiers if m in BYTES]


def one_of(modifiers: list[str], names: str, default: str | None = None) -> str:
    found = [m for m in modifiers if m in names.split()]
    if len(found) == 1:
        return found[0]
    if not found and default is not None:
        return default
    raise UnknownPtx(f"one of {names}")
