"""Instructions that compute: integers, floats, conversions, bits, predicates."""

from __future__ import annotations

from .operands import C_TYPES, INTEGER, is_float, unsigned
from .parse import BYTES, Instruction, UnknownPtx
from .table import Translator, instruction, one_of, types_of

ROUNDING = "rn rz rm rp"
SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^"}
WIDER = {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}


def _one_type(modifiers: list[str]) -> str:
    (type,) = types_of(modifiers)
    return type


def _wrapping(t: Translator, text: str, type: str) -> str:
    """An integer operand in a type whose arithmetic wraps."""
    value = t.read(text, unsigned(type))
    return f"uint32_t({value})" if BYTES[type] < 4 else value


@instruction("add sub mul", f"{ROUNDING} sat lo hi wide")
def _binary(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a, b = i.operands
    if is_float(type):
        mode = one_of(modifiers, ROUNDING, "rn")
        x, y = t.read(a, type), t.read(b, type)
        value = f"{x} {SYMBOLS[name]} {y}" if mode == "rn" else f"{name}_{mode}({x}, {y})"
        return t.write(to, type, _saturated(value, type, modifiers))
    if "sat" in modifiers:
        if type != "s32" or name == "mul":
            raise UnknownPtx("saturation")
        return t.write(to, type, f"{name}_saturated({t.read(a, type)}, {t.read(b, type)})")
    if name == "mul":
        return t.write(to, *_product(t, a, b, type, modifiers))
    return t.write(
        to,
        unsigned(type),
        f"{C_TYPES[unsigned(type)]}({_wrapping(t, a, type)} {SYMBOLS[name]} {_wrapping(t, b, type)})",
    )


def _saturated(value: str, type: str, modifiers: list[str]) -> str:
    if "sat" not in modifiers:
        return value
    if type != "f32":
        raise UnknownPtx("saturation")
    return f"saturated({value})"


def _product(t: Translator, a: str, b: str, type: str, modifiers: list[str]) -> tuple[str, str]:
    """The type and the value of a whole product, or of a half of it."""
    part = one_of(modifiers, "lo hi wide")
    if part == "wide":
        to = C_TYPES[WIDER[type]]
        return WIDER[type], f"{to}({to}({t.read(a, type)}) * {to}({t.read(b, type)}))"
    if part == "hi":
        return type, f"high_product({t.read(a, type)}, {t.read(b, type)})"
    return unsigned(type), f"{C_TYPES[unsigned(type)]}({_wrapping(t, a, type)} * {_wrapping(t, b, type)})"


@instruction("mad", "lo hi wide")
def _multiply_add(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, a, b, c = i.operands
    type, value = _product(t, a, b, _one_type(modifiers), modifiers)
    wide = unsigned(type)
    return t.write(to, wide, f"{C_TYPES[wide]}({C_TYPES[wide]}({value}) + {t.read(c, wide)})")


@instruction("fma", f"{ROUNDING} sat")
def _fma(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type, mode = _one_type(modifiers), one_of(modifiers, ROUNDING)
    to, *values = i.operands
    value = f"fma_{mode}({', '.join(t.read(x, type) for x in values)})"
    return t.write(to, type, _saturated(value, type, modifiers))


@instruction("div rem", ROUNDING)
def _divide(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a, b = i.operands
    x, y = t.read(a, type), t.read(b, type)
    if not is_float(type):
        return t.write(to, type, f"{'quotient' if name == 'div' else 'remainder'}({x}, {y})")
    mode = one_of(modifiers, ROUNDING)  # approximate and full-range division are none of these
    return t.write(to, type, f"{x} / {y}" if mode == "rn" else f"div_{mode}({x}, {y})")


@instruction("rcp sqrt", ROUNDING)
def _root(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type, mode = i.opcode.partition(".")[0], _one_type(modifiers), one_of(modifiers, ROUNDING)
    to, a = i.operands
    x = t.read(a, type)
    return t.write(to, type, f"sqrt_{mode}({x})" if name == "sqrt" else f"div_{mode}({C_TYPES[type]}(1), {x})")


@instruction("min max", "NaN")
def _extreme(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a, b = i.operands
    kind = ("nan_" if "NaN" in modifiers else "") + name
    return t.write(to, type, f"{kind}_of<{C_TYPES[type]}>({t.read(a, type)}, {t.read(b, type)})")


@instruction("abs neg")
def _sign(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a = i.operands
    return t.write(to, type, f"{name}_of({t.read(a, type)})")


@instruction("copysign")
def _copysign(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type = _one_type(modifiers)
    to, sign, size = i.operands
    return t.write(to, type, f"std::copysign({t.read(size, type)}, {t.read(sign, type)})")


@instruction("and or xor")
def _bitwise(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a, b = i.operands
    return t.write(to, type, f"{C_TYPES[type]}({t.read(a, type)} {SYMBOLS[name]} {t.read(b, type)})")


@instruction("not")
def _not(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type = _one_type(modifiers)
    to, a = i.operands
    return t.write(to, type, f"!{t.read(a, type)}" if type == "pred" else f"{C_TYPES[type]}(~{t.read(a, type)})")


@instruction("shl shr")
def _shift(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a, count = i.operands
    value = t.read(a, type)
    if (fixed := INTEGER.match(count)) and 0 <= int(count, 0) < 8 * BYTES[type] and not fixed[1]:
        return t.write(to, type, f"{C_TYPES[type]}({value} {'<<' if name == 'shl' else '>>'} {int(count, 0)})")
    return t.write(to, type, f"{name}_of<{C_TYPES[type]}>({value}, {t.read(count, 'u32')})")


@instruction("shf", "l r wrap clamp")
def _funnel_shift(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, low, high, count = i.operands
    way, over = one_of(modifiers, "l r"), one_of(modifiers, "wrap clamp")
    limited = f"{over}_count({t.read(count, 'u32')})"
    return t.write(to, "b32", f"funnel_{way}({t.read(low, 'b32')}, {t.read(high, 'b32')}, {limited})")


@instruction("popc clz")
def _count(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, a = i.operands
    return t.write(to, "u32", f"{name}_of({t.read(a, type)})")


@instruction("brev")
def _reverse(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type = _one_type(modifiers)
    to, a = i.operands
    return t.write(to, type, f"brev_of({t.read(a, type)})")


@instruction("bfind", "shiftamt")
def _find(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, a = i.operands
    return t.write(to, "u32", f"bfind_of({t.read(a, _one_type(modifiers))}, {'01'['shiftamt' in modifiers]})")


@instruction("bfe bfi bmsk prmt lop3", "clamp wrap")
def _fields(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    name, type = i.opcode.partition(".")[0], _one_type(modifiers)
    to, *values = i.operands
    if name == "bmsk":
        name += "_" + one_of(modifiers, "clamp wrap")
    elif len(modifiers) > 1:
        raise UnknownPtx("modifier")
    same = {"bfe": 1, "bfi": 2}.get(name, 4)  # operands of that type; positions and lengths are u32
    read = [t.read(x, type if k < same else "u32") for k, x in enumerate(values)]
    return t.write(to, type, f"{name}_of({', '.join(read)})")


COMPARE = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "lo": "<",
    "ls": "<=",
    "hi": ">",
    "hs": ">=",
}
UNORDERED = {"equ": "==", "neu": "!=", "ltu": "<", "leu": "<=", "gtu": ">", "geu": ">="}
COMPARISONS = " ".join([*COMPARE, *UNORDERED, "num", "nan"])


@instruction("setp", f"{COMPARISONS} and or xor")
def _compare(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type, how = _one_type(modifiers), modifiers[0]
    to, a, b, *with_ = i.operands
    x, y = t.read(a, type), t.read(b, type)
    if how in ("num", "nan") and is_float(type):
        value = f"{'!' if how == 'num' else ''}either_nan({x}, {y})"
    elif how in UNORDERED and is_float(type):
        value = f"(either_nan({x}, {y}) | ({x} {UNORDERED[how]} {y}))"
    elif how == "ne" and is_float(type):
        value = f"(!either_nan({x}, {y}) & ({x} != {y}))"
    else:
        value = f"({x} {COMPARE[how]} {y})"
    names = to.split("|")
    if not with_:
        parts = [value, f"!{value}"]
    else:
        symbol, other = SYMBOLS[one_of(modifiers, "and or xor")], t.read(with_[0], "pred")
        parts = [f"({value} {symbol} {other})", f"(!{value} {symbol} {other})"]
    # both are computed before either changes
    if len(names) == 1:
        return t.write(names[0], "pred", parts[0])
    second = t.write(names[1].strip(), "pred", "second")
    return f"{{ const bool second = {parts[1]}; {t.write(names[0].strip(), 'pred', parts[0])} {second} }}"


@instruction("selp")
def _select(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type = _one_type(modifiers)
    to, a, b, condition = i.operands
    return t.write(to, type, f"{t.read(condition, 'pred')} ? {t.read(a, type)} : {t.read(b, type)}")


@instruction("cvt", f"{ROUNDING} rni rzi rmi rpi sat")
def _convert(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to_type, from_type = types_of(modifiers)
    to, *values = i.operands
    mode, saturate = one_of(modifiers, f"{ROUNDING} rni rzi rmi rpi", ""), "sat" in modifiers
    small = {"f16": "half", "bf16": "bfloat16"}
    if to_type in ("f16x2", "bf16x2"):
        if from_type != "f32" or mode != "rn" or saturate:
            raise UnknownPtx("conversion")
        high, low = (t.read(x, "f32") for x in values)
        narrow = f"to_{small[to_type[:-2]]}"
        return t.write(to, "b32", f"uint32_t({narrow}({high})) << 16 | {narrow}({low})")
    (a,) = values
    if from_type in small or to_type in small:
        if saturate:
            raise UnknownPtx("saturation")
        if is_float(from_type) and mode == "rn":
            return t.write(to, to_type, f"to_{small[to_type]}({t.read(a, from_type)})")
        if is_float(to_type) and from_type in small and not mode:
            return t.write(to, to_type, f"{C_TYPES[to_type]}(from_{small[from_type]}({t.read(a, from_type)}))")
        raise UnknownPtx("conversion")
    value = t.read(a, from_type)
    from_c, to_c = C_TYPES[from_type], C_TYPES[to_type]
    if is_float(from_type) and not is_float(to_type):
        if mode not in ("rni", "rzi", "rmi", "rpi"):
            raise UnknownPtx("rounding")
        return t.write(to, to_type, f"to_integer<{to_c}>({mode}({value}))")  # saturates in any case
    if not is_float(from_type) and not is_float(to_type):
        if mode:
            raise UnknownPtx("rounding")
        return t.write(to, to_type, f"clamped<{to_c}>({value})" if saturate else f"{to_c}({value})")
    if is_float(from_type) and from_type == to_type and mode in ("rni", "rzi", "rmi", "rpi"):
        value = f"{mode}({value})"
    elif from_type == "f32" and to_type == "f64" and not mode:
        value = f"double({value})"
    elif mode == "rn":
        value = f"{to_c}({value})"
    elif mode in ("rz", "rm", "rp"):
        value = f"convert_{mode}<{to_c}, {from_c}>({value})"
    elif from_type != to_type:
        raise UnknownPtx("conversion without rounding")
    return t.write(to, to_type, _saturated(value, to_type, modifiers))
