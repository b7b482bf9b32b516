"""A kernel's operands as C++: registers, immediates, names of memory, special registers."""

from __future__ import annotations

import re
from functools import lru_cache

from .parse import BYTES, Kernel, Module, UnknownPtx, Variable

SHARED_START = 1024  # the first shared address of a block, so that 0 is none

C_TYPES = {f"{kind}{bits}": f"{'int' if kind == 's' else 'uint'}{bits}_t" for kind in "ubs" for bits in (8, 16, 32, 64)}
C_TYPES |= {"f32": "float", "f64": "double", "pred": "bool", "f16": "uint16_t", "bf16": "uint16_t"}
C_TYPES |= {"f16x2": "uint32_t", "bf16x2": "uint32_t"}
SPECIAL = {
    "%tid.x": "tid()", "%tid.y": "0u", "%tid.z": "0u", "%ntid.x": "ntid()", "%ntid.y": "1u", "%ntid.z": "1u",
    "%ctaid.x": "ctaid().x", "%ctaid.y": "ctaid().y", "%ctaid.z": "ctaid().z",
    "%nctaid.x": "nctaid().x", "%nctaid.y": "nctaid().y", "%nctaid.z": "nctaid().z",
    "%laneid": "lane()", "%warpid": "(tid() / 32)", "%lanemask_eq": "(1u << lane())",
    "%lanemask_lt": "((1u << lane()) - 1)", "%lanemask_le": "((2u << lane()) - 1)",
    "%lanemask_gt": "~((2u << lane()) - 1)", "%lanemask_ge": "~((1u << lane()) - 1)",
}  # fmt: skip
INTEGER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|\d+)U?$")
FLOAT = re.compile(r"0[fF]([0-9a-fA-F]{8})$|0[dD]([0-9a-fA-F]{16})$")
ADDRESS = re.compile(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\d+))?\s*\]$")


def is_float(type: str) -> bool:
    return type in ("f32", "f64")


def unsigned(type: str) -> str:
    return "u" + type[1:]


@lru_cache(maxsize=1 << 16)
def identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


class Operands:
    def __init__(self, module: Module, kernel: Kernel) -> None:
        self.kinds = {name: _kind(type) for name, type in kernel.registers.items()}
        self.parameters: dict[str, int] = {}
        self.parameter_bytes = 0
        for one in kernel.parameters:
            self.parameters[one.name] = -(-self.parameter_bytes // one.align) * one.align
            self.parameter_bytes = self.parameters[one.name] + one.bytes
        words = {word for item in kernel.body for word in re.findall(r"[\w$%]+", getattr(item, "text", ""))}
        used = [one for one in module.variables if one.name in words]
        self.globals = {one.name: one for one in used if one.space == "global"}
        self.shared, self.shared_bytes = _laid_out([*kernel.shared, *(one for one in used if one.space == "shared")])
        self.used: set[str] = set()  # registers

    def register(self, name: str) -> str:
        if name not in self.kinds:
            raise UnknownPtx(f"register: {name}")
        self.used.add(name)
        return identifier(name)

    def read(self, text: str, type: str) -> str:
        """A C++ expression of the type C_TYPES[type]."""
        c_type = C_TYPES[type]
        if text.startswith("!"):
            return f"!{self.read(text[1:], 'pred')}"
        if text in self.kinds:
            return self._value(self.register(text), self.kinds[text], type, text)
        if found := INTEGER.match(text):
            number = int(found[2], 8 if re.fullmatch(r"0[0-7]+", found[2]) else 0) * (-1 if found[1] else 1)
            if type == "pred":
                return "true" if number else "false"
            if is_float(type):
                raise UnknownPtx(f"an integer as {type}: {text}")
            return f"{c_type}({number & (1 << 8 * BYTES[type]) - 1:#x}u{'ll' if BYTES[type] == 8 else ''})"
        if found := FLOAT.match(text):
            digits = found[1] or found[2]
            kind = "f32" if found[1] else "f64"
            return self._value(
                f"bits<{C_TYPES[kind]}>(uint{4 * len(digits)}_t(0x{digits}u{'ll' if found[2] else ''}))",
                kind,
                type,
                text,
            )
        if text in SPECIAL:
            return f"{c_type}({SPECIAL[text]})"
        if text in self.shared:
            return f"{c_type}({self.shared[text]}u)"
        if text in self.globals:
            return f"{c_type}(uint64_t({identifier(text)}))"
        if text in self.parameters:
            return f"{c_type}(uint64_t(P) + {self.parameters[text]})"
        raise UnknownPtx(f"operand: {text}")

    def _value(self, value: str, kind: str, type: str, text: str) -> str:
        if kind == type or (type[0] in "ub" and C_TYPES[kind] == C_TYPES[type]):
            return value
        if "pred" in (kind, type) or (is_float(kind) and BYTES[kind] != BYTES[type]):
            raise UnknownPtx(f"{kind} as {type}: {text}")
        if is_float(type) and BYTES[kind] != BYTES[type]:
            raise UnknownPtx(f"{kind} as {type}: {text}")
        if is_float(kind) or is_float(type):
            return f"bits<{C_TYPES[type]}>({value})"
        return f"{C_TYPES[type]}({value})"

    def write(self, name: str, type: str, value: str) -> str:
        """A statement that puts a value of the type C_TYPES[type] into a register, extended to its width."""
        if name == "_":
            return f"(void)({value});"
        to, kind = self.register(name), self.kinds[name]
        if kind == type or (not is_float(kind) and C_TYPES[kind] == C_TYPES[type]):
            return f"{to} = {value};"
        if "pred" in (kind, type) or BYTES[type] > BYTES[kind]:
            raise UnknownPtx(f"{type} into {kind}: {name}")
        if is_float(kind) or is_float(type):
            if BYTES[kind] != BYTES[type]:
                raise UnknownPtx(f"{type} into {kind}: {name}")
            return f"{to} = bits<{C_TYPES[kind]}>({C_TYPES[type]}({value}));"
        return f"{to} = {C_TYPES[kind]}({C_TYPES[type]}({value}));"

    def address(self, text: str) -> tuple[str, str]:
        """The base and the C++ expression of ``[base+offset]``."""
        found = ADDRESS.match(text)
        if not found:
            raise UnknownPtx(f"address: {text}")
        offset = int(found[2] or 0)
        base = self.read(found[1], "u64")
        return found[1], base if not offset else f"{base} {'-' if offset < 0 else '+'} {abs(offset)}"


def _kind(type: str) -> str:
    if type in ("pred", "f32", "f64"):
        return type
    if type[0] in "ubs" and type[1:] in ("16", "32", "64"):
        return unsigned(type)
    raise UnknownPtx(f"register type: .{type}")


def _laid_out(variables: list[Variable]) -> tuple[dict[str, int], int]:
    """Addresses of shared variables, and how many bytes they take; those without a size follow all others."""
    at, places = SHARED_START, {}
    for one in variables:
        if one.bytes:
            at = -(-at // one.align) * one.align
            places[one.name] = at
            at += one.bytes
    size = -(-(at - SHARED_START) // 16) * 16
    places |= {one.name: SHARED_START + size for one in variables if not one.bytes}
    return places, size
