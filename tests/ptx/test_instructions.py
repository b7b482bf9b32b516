"""Single instructions, against PTX's manual: rounding, saturation, NaN, shifts, bits, conversions, comparisons."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from ptx import kernels, translate
from ptx.parse import UnknownPtx

pytestmark = pytest.mark.ptx

NAN, INF = math.nan, math.inf
BIG = 1 << 31


def rounded(x: Fraction, mode: str, digits: int) -> float:
    """``x`` to that many binary digits, by whole numbers only."""
    if x == 0:
        return 0.0
    exponent = math.frexp(float(abs(x)))[1] - digits
    for shift in (exponent - 1, exponent, exponent + 1):  # the float may have rounded up to a power of two
        scaled = x / Fraction(2) ** shift
        if 2 ** (digits - 1) <= abs(scaled) < 2**digits:
            break
    whole, left = math.floor(scaled), scaled - math.floor(scaled)
    up = {
        "rz": scaled < 0 and left > 0,
        "rm": False,
        "rp": left > 0,
        "rn": left > Fraction(1, 2) or (left == Fraction(1, 2) and whole % 2 == 1),
    }[mode]
    return float((whole + up) * Fraction(2) ** shift)


MODES = ("rn", "rz", "rm", "rp")
ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}
ROUNDED = {
    (op, mode, type): kernels.elementwise(f"{op}.{mode}.{type} %d, %a, %b;", f"{type} {type}", type)
    for op in ARITHMETIC
    for mode in MODES
    for type in ("f32", "f64")
}
FMA = {mode: kernels.elementwise(f"fma.{mode}.f32 %d, %a, %b, %c;", "f32 f32 f32", "f32") for mode in MODES}
SQRT = {mode: kernels.elementwise(f"sqrt.{mode}.f64 %d, %a;", "f64", "f64") for mode in MODES}
RCP = {mode: kernels.elementwise(f"rcp.{mode}.f32 %d, %a;", "f32", "f32") for mode in MODES}


def samples(dtype: Any, seed: int) -> Any:
    x = np.random.default_rng(seed).normal(size=64).astype(dtype)
    return np.where(np.arange(64) % 5 == 0, np.round(x * 8), x * dtype(2.0) ** (np.arange(64) % 40 - 20)) + (x == 0)


@pytest.mark.parametrize(("op", "mode", "type"), ROUNDED)
def test_rounding(op: str, mode: str, type: str) -> None:
    dtype, digits = kernels.NUMPY[type], {"f32": 24, "f64": 53}[type]
    a, b = samples(dtype, 1), samples(dtype, 2)
    b[np.asarray(b) == 0] = 3
    want = [
        rounded(ARITHMETIC[op](Fraction(float(x)), Fraction(float(y))), mode, digits) for x, y in zip(a, b, strict=True)
    ]
    got = kernels.compute(ROUNDED[op, mode, type], [a, b], f"{type} {type}", type)
    np.testing.assert_array_equal(got, np.array(want, dtype))


@pytest.mark.parametrize("mode", MODES)
def test_fma_root_reciprocal(mode: str) -> None:
    a, b, c = (samples(np.float32, k) for k in (3, 4, 5))
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    got = kernels.compute(FMA[mode], [a, b, c], "f32 f32 f32", "f32")
    np.testing.assert_array_equal(got, np.array([rounded(x, mode, 24) for x in exact], np.float32))
    a = np.abs(samples(np.float64, 6)) + 0.1
    # enough digits of the root that no rounding is in doubt
    roots = [Fraction(math.isqrt(int(Fraction(float(x)) * 4**400)), 2**400) for x in a]
    got = kernels.compute(SQRT[mode], [a], "f64", "f64")
    inexact = [r * r != Fraction(float(x)) for r, x in zip(roots, a, strict=True)]
    np.testing.assert_array_equal(
        got, np.array([rounded(r + Fraction(i, 2**500), mode, 53) for r, i in zip(roots, inexact, strict=True)])
    )
    a = samples(np.float32, 7)
    a[a == 0] = 3
    got = kernels.compute(RCP[mode], [a], "f32", "f32")
    np.testing.assert_array_equal(got, np.array([rounded(1 / Fraction(float(x)), mode, 24) for x in a], np.float32))


# (instruction, types of the inputs, type of the result, [(inputs, result)])
ROWS: list[tuple[str, str, str, list[tuple[Any, ...]]]] = [
    # saturation
    ("add.sat.f32 %d, %a, %b;", "f32 f32", "f32", [(0.75, 0.75, 1), (-2, 1, 0), (0.25, 0.25, 0.5), (NAN, 1, 0)]),
    ("add.sat.s32 %d, %a, %b;", "s32 s32", "s32", [(BIG - 1, 1, BIG - 1), (-BIG, -1, -BIG), (5, -7, -2)]),
    ("sub.sat.s32 %d, %a, %b;", "s32 s32", "s32", [(-BIG, 1, -BIG), (BIG - 1, -1, BIG - 1)]),
    ("cvt.rzi.s32.f32 %d, %a;", "f32", "s32", [(3e9, BIG - 1), (-3e9, -BIG), (NAN, 0), (-1.9, -1), (INF, BIG - 1)]),
    ("cvt.rni.s32.f32 %d, %a;", "f32", "s32", [(0.5, 0), (1.5, 2), (2.5, 2), (-2.5, -2), (-3.5, -4)]),
    ("cvt.rmi.s32.f32 %d, %a;", "f32", "s32", [(-0.5, -1), (1.5, 1)]),
    ("cvt.rpi.s32.f32 %d, %a;", "f32", "s32", [(-0.5, 0), (1.5, 2)]),
    ("cvt.rzi.u32.f32 %d, %a;", "f32", "u32", [(-1, 0), (5e9, 2**32 - 1), (3e9, 3_000_000_000), (NAN, 0)]),
    ("cvt.rzi.s64.f64 %d, %a;", "f64", "s64", [(1e30, 2**63 - 1), (-1e30, -(2**63)), (NAN, -(2**63)), (-7.9, -7)]),
    ("cvt.sat.u8.s32 %d, %a;", "s32", "u16", [(300, 255), (-4, 0), (17, 17)]),
    ("cvt.sat.s16.s32 %d, %a;", "s32", "s16", [(70000, 32767), (-70000, -32768), (-5, -5)]),
    ("cvt.u16.u32 %d, %a;", "u32", "u16", [(0x12345678, 0x5678)]),
    ("cvt.s32.s8 %d, %a;", "u32", "s32", [(0x1FF, -1), (0x17F, 127)]),
    ("cvt.s64.s32 %d, %a;", "s32", "s64", [(-3, -3), (7, 7)]),
    ("cvt.u64.u32 %d, %a;", "s32", "u64", [(-3, 2**32 - 3)]),
    ("cvt.rn.f32.s64 %d, %a;", "s64", "f32", [(2**24 + 1, 2**24), (2**24 + 3, 2**24 + 4), (-(2**63), -(2.0**63))]),
    ("cvt.rz.f32.s64 %d, %a;", "s64", "f32", [(2**24 + 3, 2**24 + 2)]),
    ("cvt.rp.f32.f64 %d, %a;", "f64", "f32", [(1 + 2.0**-40, 1 + 2.0**-23), (-1 - 2.0**-40, -1)]),
    ("cvt.rmi.f32.f32 %d, %a;", "f32", "f32", [(-1.5, -2), (1.5, 1), (-0.0, -0.0)]),
    # NaN and zeros
    ("min.f32 %d, %a, %b;", "f32 f32", "f32",
     [(NAN, 1, 1), (1, NAN, 1), (NAN, NAN, NAN), (0.0, -0.0, -0.0), (-0.0, 0.0, -0.0), (2, 1, 1)]),
    ("max.f32 %d, %a, %b;", "f32 f32", "f32",
     [(NAN, 1, 1), (1, NAN, 1), (NAN, NAN, NAN), (0.0, -0.0, 0.0), (-0.0, 0.0, 0.0), (2, 1, 2)]),
    ("min.f64 %d, %a, %b;", "f64 f64", "f64", [(NAN, 1, 1), (NAN, NAN, NAN), (0.0, -0.0, -0.0), (-INF, 1, -INF)]),
    ("max.f64 %d, %a, %b;", "f64 f64", "f64", [(1, NAN, 1), (-0.0, 0.0, 0.0), (INF, 1, INF)]),
    ("min.NaN.f32 %d, %a, %b;", "f32 f32", "f32", [(NAN, 1, NAN), (1, NAN, NAN), (1, 2, 1)]),
    ("max.NaN.f32 %d, %a, %b;", "f32 f32", "f32", [(NAN, 1, NAN), (-0.0, 0.0, 0.0)]),
    ("abs.f32 %d, %a;", "f32", "f32", [(-0.0, 0.0), (-2, 2)]),
    ("neg.f64 %d, %a;", "f64", "f64", [(0.0, -0.0), (-2, 2)]),
    ("copysign.f32 %d, %a, %b;", "f32 f32", "f32", [(-1, 5, -5), (0.0, -3, 3), (-0.0, 2, -2)]),
    ("min.s32 %d, %a, %b;", "s32 s32", "s32", [(-1, 1, -1)]),
    ("min.u32 %d, %a, %b;", "s32 s32", "s32", [(-1, 1, 1)]),
    ("abs.s32 %d, %a;", "s32", "s32", [(-BIG, -BIG), (-4, 4)]),
    ("neg.s64 %d, %a;", "s64", "s64", [(-(2**63), -(2**63)), (4, -4)]),
    # shifts
    ("shl.b32 %d, %a, %b;", "b32 u32", "b32",
     [(1, 31, 1 << 31), (1, 32, 0), (1, 33, 0), (1, 2**32 - 1, 0), (3, 31, 1 << 31)]),
    ("shr.u32 %d, %a, %b;", "u32 u32", "u32", [(2**32 - 1, 31, 1), (2**32 - 1, 32, 0), (2**32 - 1, 256, 0)]),
    ("shr.s32 %d, %a, %b;", "s32 u32", "s32", [(-8, 1, -4), (-8, 32, -1), (8, 32, 0), (-8, 2**32 - 1, -1)]),
    ("shl.b64 %d, %a, %b;", "b64 u32", "b64", [(1, 63, 1 << 63), (1, 64, 0)]),
    ("shr.s64 %d, %a, %b;", "s64 u32", "s64", [(-8, 64, -1), (8, 64, 0)]),
    ("shl.b16 %d, %a, %b;", "b16 u32", "b16", [(1, 15, 1 << 15), (1, 16, 0), (0xFFFF, 4, 0xFFF0)]),
    ("shr.s16 %d, %a, %b;", "s16 u32", "s16", [(-32768, 16, -1), (-32768, 3, -4096)]),
    ("shr.u32 %d, %a, 32;", "u32", "u32", [(2**32 - 1, 0)]),
    ("shf.l.wrap.b32 %d, %a, %b, %c;", "b32 b32 u32", "b32", [(0x80000001, 1, 1, 3), (7, 5, 32, 5)]),
    ("shf.l.clamp.b32 %d, %a, %b, %c;", "b32 b32 u32", "b32", [(7, 5, 32, 7), (7, 5, 40, 7)]),
    ("shf.r.wrap.b32 %d, %a, %b, %c;", "b32 b32 u32", "b32", [(2, 1, 1, 0x80000001), (7, 5, 32, 7)]),
    ("shf.r.clamp.b32 %d, %a, %b, %c;", "b32 b32 u32", "b32", [(7, 5, 32, 5), (7, 5, 99, 5)]),
    # integers
    ("div.s32 %d, %a, %b;", "s32 s32", "s32", [(7, -2, -3), (-BIG, -1, -BIG), (1, 0, -1)]),
    ("rem.s32 %d, %a, %b;", "s32 s32", "s32", [(7, -2, 1), (-7, 2, -1), (-BIG, -1, 0)]),
    ("div.u64 %d, %a, %b;", "u64 u64", "u64", [(2**64 - 1, 10, (2**64 - 1) // 10)]),
    ("mul.lo.s32 %d, %a, %b;", "s32 s32", "s32", [(65537, 65537, 131073), (-3, 5, -15)]),
    ("mul.lo.s16 %d, %a, %b;", "u16 u16", "u16", [(0xFFFF, 0xFFFF, 1)]),
    ("mul.hi.u32 %d, %a, %b;", "u32 u32", "u32", [(2**32 - 1, 2**32 - 1, 2**32 - 2)]),
    ("mul.hi.s64 %d, %a, %b;", "s64 s64", "s64", [(-1, 1, -1), (2**62, 4, 1)]),
    ("mul.wide.s32 %d, %a, %b;", "s32 s32", "s64", [(-BIG, 2, -(2**32))]),
    ("mul.wide.u16 %d, %a, %b;", "u16 u16", "u32", [(65535, 65535, 65535**2)]),
    ("mad.lo.s32 %d, %a, %b, %c;", "s32 s32 s32", "s32", [(3, -4, 5, -7)]),
    ("mad.wide.u32 %d, %a, %b, %c;", "u32 u32 u64", "u64", [(2**31, 4, 1, 2**33 + 1)]),
    # bits
    ("popc.b64 %d, %a;", "b64", "u32", [(2**64 - 1, 64), (0, 0)]),
    ("clz.b32 %d, %a;", "b32", "u32", [(0, 32), (1, 31), (2**31, 0)]),
    ("brev.b32 %d, %a;", "b32", "b32", [(1, 2**31), (0xF0, 0x0F000000)]),
    ("bfind.u32 %d, %a;", "u32", "u32", [(0, 2**32 - 1), (1, 0), (2**31, 31)]),
    ("bfind.shiftamt.u32 %d, %a;", "u32", "u32", [(0, 2**32 - 1), (1, 31), (2**31, 0)]),
    ("bfind.s32 %d, %a;", "s32", "u32", [(-1, 2**32 - 1), (-2, 0), (4, 2)]),
    ("bfe.u32 %d, %a, %b, %c;", "u32 u32 u32", "u32",
     [(0xABCD, 4, 8, 0xBC), (0xABCD, 40, 8, 0), (0xABCD, 0, 0, 0), (2**32 - 1, 24, 20, 255)]),
    ("bfe.s32 %d, %a, %b, %c;", "s32 u32 u32", "s32",
     [(0x80, 4, 4, -8), (0x70, 4, 4, 7), (-BIG, 24, 20, -128), (-BIG, 40, 4, -1)]),
    ("bfi.b32 %d, 255, %a, %b, %c;", "b32 u32 u32", "b32",
     [(0, 4, 4, 0xF0), (7, 0, 0, 7), (7, 32, 4, 7), (0, 28, 32, 0xF0000000)]),
    ("bmsk.clamp.b32 %d, %a, %b;", "u32 u32", "b32",
     [(0, 32, 2**32 - 1), (4, 4, 0xF0), (32, 4, 0), (28, 60, 0xF0000000)]),
    ("prmt.b32 %d, %a, %b, 0x7531;", "b32 b32", "b32", [(0x03020100, 0x07060504, 0x07050301)]),
    ("prmt.b32 %d, %a, %b, 0xBA98;", "b32 b32", "b32", [(0x80010080, 0, 0xFF0000FF)]),
    ("lop3.b32 %d, %a, %b, %c, 0x96;", "b32 b32 b32", "b32", [(0xF0F0, 0xFF00, 0xAAAA, 0xF0F0 ^ 0xFF00 ^ 0xAAAA)]),
    ("lop3.b32 %d, %a, %b, %c, 0xE8;", "b32 b32 b32", "b32", [(0xF0, 0xCC, 0xAA, 0xE8)]),
    # comparisons: NaN is less, equal and greater than nothing
    *(
        (f"setp.{how}.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", "f32 f32", "u32",
         [(1, 2, less), (2, 2, same), (NAN, 1, nan), (1, NAN, nan)])
        for how, less, same, nan in [
            ("lt", 1, 0, 0), ("ltu", 1, 0, 1), ("le", 1, 1, 0), ("leu", 1, 1, 1), ("eq", 0, 1, 0), ("equ", 0, 1, 1),
            ("ne", 1, 0, 0), ("neu", 1, 0, 1), ("gt", 0, 0, 0), ("gtu", 0, 0, 1), ("ge", 0, 1, 0), ("geu", 0, 1, 1),
            ("num", 1, 1, 0), ("nan", 0, 0, 1),
        ]
    ),
    ("setp.lt.u32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", "s32 s32", "u32", [(-1, 1, 0), (1, -1, 1)]),
    ("setp.lt.s32 %p, %a, %b; selp.u32 %d, 1, 0, %p;", "s32 s32", "u32", [(-1, 1, 1), (1, -1, 0)]),
    ("setp.eq.s32 %p0, 1, 1; setp.lt.and.s32 %p|%q, %a, %b, !%p0; selp.u32 %d, 1, 0, %q;", "s32 s32", "u32",
     [(1, 2, 0)]),
    ("setp.eq.s32 %p0, 1, 1; setp.lt.and.s32 %p|%q, %a, %b, %p0; selp.u32 %d, 1, 0, %q;", "s32 s32", "u32",
     [(1, 2, 0), (2, 1, 1)]),
]  # fmt: skip
NAMES = [kernels.elementwise(*row[:3]) for row in ROWS]
TO_HALF = kernels.elementwise("cvt.rn.f16.f32 %d, %a;", "f32", "b16")
FROM_HALF = kernels.elementwise("cvt.f32.f16 %d, %a;", "b16", "f32")
DOUBLE_TO_HALF = kernels.elementwise("cvt.rn.f16.f64 %d, %a;", "f64", "b16")
TO_BFLOAT16 = kernels.elementwise("cvt.rn.bf16.f32 %d, %a;", "f32", "b16")
FROM_BFLOAT16 = kernels.elementwise("cvt.f32.bf16 %d, %a;", "b16", "f32")
PAIR = kernels.elementwise("cvt.rn.f16x2.f32 %d, %a, %b;", "f32 f32", "b32")


@pytest.mark.parametrize("k", range(len(ROWS)), ids=lambda k: ROWS[k][0].partition(" ")[0] + f"-{k}")
def test_values(k: int) -> None:
    _, types, output, rows = ROWS[k]
    inputs = [[row[j] for row in rows] for j in range(len(types.split()))]
    want = np.array([row[-1] for row in rows], kernels.NUMPY[output])
    got = kernels.compute(NAMES[k], inputs, types, output)
    np.testing.assert_array_equal(got, want)
    if want.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


def test_halves() -> None:
    """Every half there is, and what lies between two of them: to the nearest, ties to even; one NaN."""
    codes = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    for chunk in np.split(codes, 64):
        want = chunk.view(np.float16).astype(np.float32)
        np.testing.assert_array_equal(kernels.compute(FROM_HALF, [chunk], "b16", "f32"), want)
    rng = np.random.default_rng(0)
    special = [
        0.0,
        -0.0,
        INF,
        -INF,
        65504,
        65519.99,
        65520,
        2.0**-24,
        2.0**-25,
        2.0**-25 * 1.001,
        1 + 2.0**-11,
        1 + 3 * 2.0**-11,
    ]
    x = np.concatenate([np.array(special), rng.normal(size=400) * 2.0 ** rng.integers(-28, 17, 400)])
    with np.errstate(over="ignore"):
        want = x.astype(np.float32).astype(np.float16).view(np.uint16)
        np.testing.assert_array_equal(kernels.compute(TO_HALF, [x], "f32", "b16"), want)
        np.testing.assert_array_equal(
            kernels.compute(DOUBLE_TO_HALF, [x], "f64", "b16"), x.astype(np.float16).view(np.uint16)
        )
    assert kernels.compute(TO_HALF, [[NAN]], "f32", "b16").tolist() == [0x7FFF]
    assert kernels.compute(PAIR, [[1.0], [2.0]], "f32 f32", "b32").tolist() == [0x3C004000]  # the first one above


def test_bfloat16() -> None:
    bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x80000001, 0xFF800000], np.uint32)
    want = [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x8000, 0xFF80]
    assert kernels.compute(TO_BFLOAT16, [bits.view(np.float32)], "f32", "b16").tolist() == want
    assert kernels.compute(TO_BFLOAT16, [[NAN]], "f32", "b16").tolist() == [0x7FFF]
    got = kernels.compute(FROM_BFLOAT16, [[0x3F80, 0xC000, 0x0001]], "b16", "f32").view(np.uint32)
    assert got.tolist() == [0x3F800000, 0xC0000000, 0x00010000]


HEAD = ".version 9.0\n.target sm_90\n.address_size 64\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sin.approx.f32 %f0, %f1;", "sin.approx.f32"),
        ("ex2.approx.ftz.f32 %f0, %f1;", "ex2.approx.ftz.f32"),
        ("add.ftz.f32 %f0, %f1, %f2;", "ftz"),
        ("div.approx.f32 %f0, %f1, %f2;", "approx"),
        ("ld.local.u32 %r0, [%l0];", "local"),
        ("bar.sync 1;", "barrier other than 0"),
        ("bar.sync 0, 64;", "bar.sync 0, 64"),
        ("call foo;", "call foo"),
        ("mov.u32 %r0, %clock;", "%clock"),
        ("mov.u32 %r0, %r99;", "%r99"),
        ("mov.u64 %r0, %l1;", "u64 into u32"),
        ("wgmma.fence.sync.aligned;", "wgmma"),
        (".branchtargets a, b;", ".branchtargets"),
    ],
)
def test_unknown_instructions_are_errors(text: str, named: str) -> None:
    body = f".visible .entry k()\n{{{kernels.REGISTERS}\n{text}\nret;\n}}\n"
    with pytest.raises(UnknownPtx) as error:
        list(translate.module(HEAD + body, "k"))
    assert named in str(error.value)


@pytest.mark.parametrize("text", [".const .align 4 .b8 table[16];", ".global .u32 x = 5;", ".func f() { ret; }"])
def test_unknown_declarations_are_errors(text: str) -> None:
    with pytest.raises(UnknownPtx):
        list(translate.module(HEAD + text, "k"))
