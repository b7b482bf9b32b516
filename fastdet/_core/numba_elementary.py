"""`elementary` for Numba: exp and log of scalars, by the same operations in the same order.

Only compiled functions can call them, with float32 or float64. They select instead of branching, so that the compiler
can make vector code of loops that call them.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from fastdet._core.elementary import INVERSE_FACTORIAL, LN2, LOG_SERIES


def _functions(dtype: Any, bits: Any, signed: Any) -> tuple[Any, Any]:
    """exp_or_zero and log_positive for one dtype. Constants must have that dtype too, or Numba computes in float64."""
    single = dtype is np.float32
    zero, one, two, half, log2e = dtype(0), dtype(1), dtype(2), dtype(0.5), dtype(1.4426950408889634)
    width, bias = (23, 127) if single else (52, 1023)
    low, magic = dtype(-87 if single else -708), dtype(1.5 * 2**width)
    step = (0.693359375, -2.12194440e-4) if single else (0.6931471803691238, 1.9082149292705877e-10)
    step_high, step_low = dtype(step[0]), dtype(step[1])
    factorial = tuple(dtype(x) for x in INVERSE_FACTORIAL[: 8 if single else 14][::-1])
    mantissa, exponent = bits(width), dtype(bias)
    root = 0x3F3504F3 if single else 0x3FE6A09E667F3BCD
    offset, mask, root = bits((bias << width) - root), bits((1 << width) - 1), bits(root)
    normal, up, shift = (dtype(2.0**-126), dtype(2.0**25), dtype(25))
    if not single:
        normal, up, shift = dtype(2.0**-1022), dtype(2.0**54), dtype(54)
    max_finite, infinity = dtype(np.finfo(dtype).max), dtype(np.inf)
    series = tuple(dtype(x) for x in LOG_SERIES["f" if single else "d"][::-1])
    high, rest = (dtype(x) for x in LN2["f" if single else "d"])
    first_factorial, other_factorials, first_term, other_terms = factorial[0], factorial[1:], series[0], series[1:]
    bias = signed(bias)

    def exp_or_zero(x: Any) -> Any:
        value = low if low > x else x
        n = (value * log2e + magic) - magic
        r = (value - n * step_high) - n * step_low
        p = first_factorial
        for term in other_factorials:
            p = p * r + term
        two_n = dtype(signed((signed(n) + bias) << mantissa).view(dtype))
        return zero if low >= x else p * two_n

    def log_positive(x: Any) -> Any:
        is_normal = x >= normal
        i = bits(dtype(x if is_normal else x * up).view(bits) + offset)
        n = dtype(signed(i >> mantissa)) - exponent
        f = bits((i & mask) + root).view(dtype) - one
        n = n - (zero if is_normal else shift)
        s = f / (two + f)
        z = s * s
        h = half * f * f
        r = first_term
        for term in other_terms:
            r = r * z + term
        y = (((s * (h + r * z) + n * rest) - h) + f) + n * high
        return (-infinity if zero >= x else y) if max_finite >= x else x

    return exp_or_zero, log_positive


_SINGLE, _DOUBLE = _functions(np.float32, np.uint32, np.int32), _functions(np.float64, np.uint64, np.int64)


def exp_or_zero(x: Any) -> Any:
    """`elementary.exp_or_zero` of a scalar, in compiled code."""
    raise NotImplementedError("exp_or_zero: only code that Numba compiles can call it")


def log_positive(x: Any) -> Any:
    """`elementary.log_positive` of a scalar, in compiled code."""
    raise NotImplementedError("log_positive: only code that Numba compiles can call it")


@overload(exp_or_zero, jit_options={"error_model": "numpy"})  # type: ignore[untyped-decorator, unused-ignore]
def _exp_or_zero(x: Any) -> Any:
    return (_SINGLE if x == numba.float32 else _DOUBLE)[0]


@overload(log_positive, jit_options={"error_model": "numpy"})  # type: ignore[untyped-decorator, unused-ignore]
def _log_positive(x: Any) -> Any:
    return (_SINGLE if x == numba.float32 else _DOUBLE)[1]
