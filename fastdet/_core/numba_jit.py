"""How Numba kernels are compiled.

Kernels are compiled at their first call, without fast-math, and kept in Numba's cache. They compute in the dtype of
their arrays. Constants are made with ``dtype.type``, because Numba computes float32 with a Python number in float64.
Arrays that a kernel passes to a helper should be C-contiguous: Numba makes no vector code for unknown strides.

Numba's cache watches only the file of the kernel that is called. After a change of a function that kernels of other
files call (the arithmetic of a pair in `fastdet.boxes._numba`), save those files as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array

Indices = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile at the first call, and cache on disk where there is a writable directory for it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return compiled


def plain(x: Array) -> Array:
    """``x``, copied if it is read-only or unaligned: for Numba those are other types, which it would compile again."""
    return x if x.flags.behaved else x.copy()


def typed(dtype: np.dtype[Any], value: float) -> Any:
    """A Python number in the kernels' dtype; infinite or 0, without a warning, where the dtype cannot hold it."""
    with np.errstate(all="ignore"):
        return dtype.type(value)
