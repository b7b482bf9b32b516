"""exp, log and arctan of arrays, made of IEEE operations alone, so that every backend gives the same bits.

They are no IEEE operations themselves, so libraries differ in the last bit, and one bit reorders near ties. The C++
headers vmath.h, exp.h and box_losses.h (arctan) and `numba_elementary` repeat these operations in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array

LOW = {"f": -87.0, "d": -708.0}  # exp is 0 from here down: 2^n stays a normal number
LN2 = {
    "f": (float.fromhex("0x1.62e300p-1"), float.fromhex("0x1.2fefa2p-17")),
    "d": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
LOG_SERIES = {
    "f": [0xAAAAAA / 2**24, 0xCCCE13 / 2**25, 0x91E9EE / 2**25, 0xF89E26 / 2**26],
    "d": [
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ],
}


def exp_or_zero(x: Array) -> Array:
    """exp(x) for x <= 0, to 2 ulp; 0 where x is at most -87 (float32) or -708 (float64); NaN stays."""
    low = x.dtype.type(LOW[x.dtype.char])
    with np.errstate(invalid="ignore"):
        return np.where(low >= x, x.dtype.type(0), exp_negative(x))


def log_positive(x: Array) -> Array:
    """log(x) for x >= 0, to 1 ulp (fdlibm's method): -inf for 0, inf for inf, NaN stays."""
    one, char = x.dtype.type, x.dtype.char
    constants: tuple[Any, ...] = (
        (one(2.0**-126), one(2.0**25), one(25), np.uint32, 0x3F3504F3, 23, 127)
        if char == "f"
        else (one(2.0**-1022), one(2.0**54), one(54), np.uint64, 0x3FE6A09E667F3BCD, 52, 1023)
    )
    normal, up, shift, bits, root, mantissa, bias = constants
    with np.errstate(all="ignore"):
        scaled = np.where(x >= normal, x, x * up)
        i = scaled.view(bits) + bits((bias << mantissa) - root)
        n = (i >> bits(mantissa)).astype(x.dtype) - one(bias)
        f = ((i & bits(2**mantissa - 1)) + bits(root)).view(x.dtype) - one(1)
        n = n - np.where(x >= normal, one(0), shift)
        s = f / (one(2) + f)
        z, half = s * s, one(0.5) * f * f
        series, (high, low) = LOG_SERIES[char], LN2[char]
        r = np.full_like(z, one(series[-1]))
        for term in series[-2::-1]:
            r = r * z + one(term)
        y = (((s * (half + r * z) + n * one(low)) - half) + f) + n * one(high)
    return np.where(np.finfo(x.dtype).max >= x, np.where(one(0) >= x, one(-np.inf), y), x)


def log1p_positive(x: Array) -> Array:
    """log(1 + x) for x >= 0, to 2 ulp however small x is."""
    one = x.dtype.type(1)
    with np.errstate(all="ignore"):
        s = one + x
        return np.where(np.finfo(x.dtype).max >= s, log_positive(s) + (x - (s - one)) / s, s)


def exp_negative(x: Array) -> Array:
    """exp(x) for x <= 0, to about 2 ulp: with x = n ln 2 + r, the series of exp(r), times 2^n."""
    one = x.dtype.type
    single = x.dtype == np.float32
    low, magic, degree = (-87, 1.5 * 2**23, 7) if single else (-708, 1.5 * 2**52, 13)
    x = np.maximum(x, one(low))  # 2^n stays a normal number
    n = (x * one(1.4426950408889634) + one(magic)) - one(magic)  # rint
    if single:
        r = (x - n * one(0.693359375)) - n * one(-2.12194440e-4)
    else:
        r = (x - n * one(0.6931471803691238)) - n * one(1.9082149292705877e-10)
    p = np.full_like(r, one(INVERSE_FACTORIAL[degree]))
    for k in range(degree - 1, -1, -1):
        p = p * r + one(INVERSE_FACTORIAL[k])
    return np.ldexp(p, n.astype(np.int32))


INVERSE_FACTORIAL = [1.0]  # 1 / k!
for _k in range(1, 14):
    INVERSE_FACTORIAL.append(INVERSE_FACTORIAL[-1] / _k)


# Reduction and coefficients of the arc tangent, from Cephes: a polynomial (float32) or a rational function (float64).
ARCTAN_SINGLE = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
ARCTAN_P = (
    -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1, -1.228866684490136173410e2,
    -6.485021904942025371773e1,
)  # fmt: skip
ARCTAN_Q = (
    2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2, 4.853903996359136964868e2,
    1.945506571482613964425e2,
)  # fmt: skip
TAN_3PI_8, TAN_PI_8, MIDDLE = 2.414213562373095, 0.4142135623730950, 0.66


def arctan(x: Array) -> Array:
    """arctan(x) to 3 ulp."""
    one = x.dtype.type
    single = x.dtype == np.float32
    a = np.where(x >= 0, x, one(0) - x)
    high, low = a >= one(TAN_3PI_8), a >= one(TAN_PI_8 if single else MIDDLE)
    t = np.where(high, one(-1), np.where(low, a - one(1), a)) / np.where(high, a, np.where(low, a + one(1), one(1)))
    base = np.where(high, one(np.pi / 2), np.where(low, one(np.pi / 4), one(0)))
    z = t * t
    if single:
        p = np.full_like(z, one(ARCTAN_SINGLE[0]))
        for c in ARCTAN_SINGLE[1:]:
            p = p * z + one(c)
        y = base + (p * z * t + t)
    else:
        p, q = np.full_like(z, ARCTAN_P[0]), z + ARCTAN_Q[0]
        for c, d in zip(ARCTAN_P[1:], ARCTAN_Q[1:], strict=True):
            p, q = p * z + c, q * z + d
        y = base + (z * p / q * t + t)
    return np.where(x >= 0, y, one(0) - y)
