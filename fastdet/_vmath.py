"""exp and log of arrays by IEEE operations alone, so that every backend gives the same bits.

Neither is an IEEE operation: libraries differ in the last bit. csrc/vmath.h and _numba_vmath.py follow these line by
line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._check import Array
from fastdet.nms import exp_negative

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
