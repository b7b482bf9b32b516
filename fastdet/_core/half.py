"""Half precision: widening to float32, rounding back, and a dtype for bfloat16, which NumPy lacks.

Inside fastdet a structured dtype with one field stands for bfloat16. Its arrays slice and transpose as any array does,
and nothing computes on them by mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array

BFLOAT16 = np.dtype([("bfloat16", "u2")])


def widen(x: Array) -> Array:
    """float16 and bfloat16 as float32; any other array as it is."""
    if x.dtype == BFLOAT16:
        return np.left_shift(x["bfloat16"], 16, dtype=np.uint32).view(np.float32)
    return x.astype(np.float32) if x.dtype == np.float16 else x


def narrow(x: Array, dtype: np.dtype[Any]) -> Array:
    """float32 rounded to the nearest value of ``dtype``, ties to even."""
    if dtype == BFLOAT16:
        bits = x.view(np.uint32)
        rounded = (bits + (np.uint32(0x7FFF) + (bits >> 16 & 1))) >> 16
        rounded = np.where(np.isnan(x), bits >> 16 | 0x40, rounded).astype(np.uint16)
        return rounded.view(BFLOAT16)
    with np.errstate(over="ignore"):
        return x.astype(dtype, copy=False)
