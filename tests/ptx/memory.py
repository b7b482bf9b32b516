"""Instructions that move, and what threads do together: memory, atomics, barriers, fences, exchanges, branches."""

from __future__ import annotations

from .operands import C_TYPES, identifier
from .parse import BYTES, Instruction, UnknownPtx
from .table import Translator, instruction, one_of, types_of

SPACES = "global shared param"
STRENGTH = "volatile relaxed acquire release weak"
SCOPES = "cta cluster gpu sys"
CACHE = "ca cg cs lu cv wb wt nc"


def _type(modifiers: list[str]) -> str:
    return types_of(modifiers)[-1]


def _vector(text: str) -> list[str]:
    return [part.strip() for part in text[1:-1].split(",")] if text.startswith("{") else [text]


def _count(modifiers: list[str]) -> int:
    return {"v2": 2, "v4": 4}.get(one_of(modifiers, "v2 v4", ""), 1)


def _is_strong(modifiers: list[str]) -> bool:
    return any(m in ("volatile", "relaxed", "acquire", "release") for m in modifiers)


@instruction("ld", f"{SPACES} {STRENGTH} {SCOPES} {CACHE} v2 v4")
def _load(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type, space, count = _type(modifiers), one_of(modifiers, SPACES, "generic"), _count(modifiers)
    _, address = t.operands.address(i.operands[1])
    to = _vector(i.operands[0])
    if len(to) != count:
        raise UnknownPtx("vector")
    size, c_type = BYTES[type], C_TYPES[type]
    if space == "param":
        touched = f"parameter(P, {t.operands.parameter_bytes}, {address}, {size * count})"
    else:
        site = t.site("read", i, _is_strong(modifiers))
        touched = f"touch_{space}({address}, {size * count}, {site})"
    after = f" fence({t.site('fence', i)});" if "acquire" in modifiers else ""
    if count == 1:
        return t.write(to[0], type, f"at<{c_type}>({touched})") + after
    writes = (t.write(name, type, f"at<{c_type}>(place + {k * size})") for k, name in enumerate(to))
    return f"{{ const uint64_t place = {touched}; {' '.join(writes)} }}" + after


@instruction("st", f"global shared {STRENGTH} {SCOPES} {CACHE} v2 v4")
def _store(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type, space, count = _type(modifiers), one_of(modifiers, "global shared", "generic"), _count(modifiers)
    _, address = t.operands.address(i.operands[0])
    values = _vector(i.operands[1])
    if len(values) != count:
        raise UnknownPtx("vector")
    size, c_type = BYTES[type], C_TYPES[type]
    before = f"fence({t.site('fence', i)}); " if "release" in modifiers else ""
    touched = f"touch_{space}({address}, {size * count}, {t.site('write', i, _is_strong(modifiers))})"
    if count == 1:
        return f"{before}{{ const {c_type} value = {t.read(values[0], type)}; put<{c_type}>({touched}, value); }}"
    puts = (f"put<{c_type}>(place + {k * size}, {t.read(x, type)});" for k, x in enumerate(values))
    return f"{before}{{ const uint64_t place = {touched}; {' '.join(puts)} }}"


UPDATES = {
    "add": "old + a", "min": "a < old ? a : old", "max": "a > old ? a : old", "and": "old & a", "or": "old | a",
    "xor": "old ^ a", "exch": "a", "cas": "old == a ? b : old",
    "inc": "old >= a ? 0 : old + 1", "dec": "old == 0 || old > a ? a : old - 1",
}  # fmt: skip


@instruction("atom red", f"global shared {STRENGTH} {SCOPES} {' '.join(UPDATES)}")
def _atomic(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type, space = _type(modifiers), one_of(modifiers, "global shared", "generic")
    if type in ("f16", "bf16", "f16x2", "bf16x2") or "acquire" in modifiers or "release" in modifiers:
        raise UnknownPtx("atomic")
    update, c_type = UPDATES[one_of(modifiers, " ".join(UPDATES))], C_TYPES[type]
    to, *rest = i.operands if i.opcode.startswith("atom") else ("_", *i.operands)
    _, address = t.operands.address(rest[0])
    values = [f"const {c_type} {name} = {t.read(x, type)};" for name, x in zip("ab", rest[1:], strict=False)]
    site = t.site("atomic", i, strong=True)
    rule = f"[=]({c_type} old) {{ return {c_type}({update}); }}"
    call = f"atomic<{c_type}>(touch_{space}({address}, {BYTES[type]}, {site}), {site}, {rule})"
    return f"{{ {' '.join(values)} {t.write(to, type, call)} }}"


@instruction("mov")
def _move(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    type = _type(modifiers)
    to, value = i.operands
    if not to.startswith("{") and not value.startswith("{"):
        return t.write(to, type, t.read(value, type))
    names = _vector(to if to.startswith("{") else value)
    part, bits = f"b{8 * BYTES[type] // len(names)}", 8 * BYTES[type] // len(names)
    if to.startswith("{"):
        whole = f"const {C_TYPES[type]} whole = {t.read(value, type)};"
        writes = (t.write(name, part, f"{C_TYPES[part]}(whole >> {bits * k})") for k, name in enumerate(names))
        return f"{{ {whole} {' '.join(writes)} }}"
    pieces = (f"{C_TYPES[type]}({t.read(name, part)}) << {bits * k}" for k, name in enumerate(names))
    return t.write(to, type, f"{C_TYPES[type]}({' | '.join(pieces)})")


@instruction("cvta", "to global shared")
def _convert_address(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, value = i.operands
    address = t.read(value, "u64")
    if "shared" in modifiers:
        address = f"{'generic_to_shared' if 'to' in modifiers else 'shared_to_generic'}({address})"
    return t.write(to, "u64", address)


@instruction("bar barrier", "sync warp cta red or and popc aligned")
def _barrier(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    if "warp" in modifiers:
        return f"warp_barrier({t.read(i.operands[0], 'u32')}, {t.site('warp_barrier', i)});"
    site = t.site("barrier", i)
    if "red" in modifiers:
        to, which, value = i.operands
        how = one_of(modifiers, "or and popc")
        result = f"barrier_{how}({t.read(value, 'pred')}, {site})"
        type = "u32" if how == "popc" else "pred"
        statement = t.write(to, type, result)
    elif "sync" in modifiers:
        (which,), statement = i.operands, f"barrier({site});"
    else:
        raise UnknownPtx("barrier")
    if which != "0":
        raise UnknownPtx("a barrier other than 0")
    return statement


@instruction("membar fence", f"gl acq_rel sc {SCOPES}")
def _fence(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    scope = one_of(modifiers, f"gl {SCOPES}")
    return f"fence({t.site('block_fence' if scope in ('cta', 'cluster') else 'fence', i)});"


@instruction("shfl", "sync bfly up down idx")
def _shuffle(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    if "sync" not in modifiers:
        raise UnknownPtx("shfl without sync")
    to, value, lane, clamp, mask = i.operands
    names = [name.strip() for name in to.split("|")]
    inputs = ", ".join([t.read(value, "b32"), t.read(lane, "u32"), t.read(clamp, "u32"), t.read(mask, "u32")])
    call = f"shuffle_{one_of(modifiers, 'bfly up down idx')}({inputs}, in_range, {t.site('exchange', i)})"
    writes = t.write(names[0], "b32", "theirs")
    if len(names) > 1:
        writes += " " + t.write(names[1], "pred", "in_range")
    return f"{{ bool in_range; const uint32_t theirs = {call}; {writes} }}"


@instruction("vote", "sync any all uni ballot")
def _vote(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    if "sync" not in modifiers:
        raise UnknownPtx("vote without sync")
    to, value, mask = i.operands
    how = one_of(modifiers, "any all uni ballot")
    call = f"vote_{how}({t.read(value, 'pred')}, {t.read(mask, 'u32')}, {t.site('exchange', i)})"
    return t.write(to, "b32" if how == "ballot" else "pred", call)


@instruction("match", "sync any all")
def _match(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, value, mask = i.operands
    how, type = one_of(modifiers, "any all"), _type(modifiers)
    names = [name.strip() for name in to.split("|")]
    call = f"match_{how}({t.read(value, type)}, {t.read(mask, 'u32')}, {t.site('exchange', i)})"
    if len(names) == 1:
        return t.write(names[0], "b32", call)
    writes = f"{t.write(names[0], 'b32', 'found')} {t.write(names[1], 'pred', 'found != 0')}"
    return f"{{ const uint32_t found = {call}; {writes} }}"


@instruction("redux", "sync add min max and or xor")
def _reduce(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    to, value, mask = i.operands
    type, update = _type(modifiers), UPDATES[one_of(modifiers, "add min max and or xor")]
    c_type = C_TYPES[type]
    rule = f"[]({c_type} old, {c_type} a) {{ return {c_type}({update}); }}"
    call = f"reduce<{c_type}>({t.read(value, type)}, {t.read(mask, 'u32')}, {rule}, {t.site('exchange', i)})"
    return t.write(to, type, call)


@instruction("activemask")
def _active(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    return t.write(i.operands[0], "b32", "active_mask()")


@instruction("bra", "uni")
def _branch(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    return f"goto {identifier(i.operands[0])};"


@instruction("ret exit")
def _return(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    return "return;"


@instruction("trap")
def _trap(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    return f"trap({t.site('fence', i)});"


@instruction("nanosleep")
def _sleep(t: Translator, i: Instruction, modifiers: list[str]) -> str:
    return "give_way();"
