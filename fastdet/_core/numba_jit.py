"""How Numba kernels are compiled.

Kernels are compiled at their first call, without fast-math, and kept in Numba's cache. They compute in the dtype of
their arrays: constants are made with ``dtype.type``, since Numba computes float32 with a Python number in float64.
Numba's cache looks only at the file of the kernel that is called: after a change of a function that kernels of other
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
    """Compile at the first call; from the cache on disk, unless there is no directory to keep one in."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return compiled


def plain(x: Array) -> Array:
    """``x``, copied where it is read-only or unaligned: those are other types to Numba, compiled anew."""
    return x if x.flags.behaved else x.copy()


def typed(dtype: np.dtype[Any], value: float) -> Any:
    """A Python number in the kernels' dtype; infinite or 0, without a warning, where it is beyond that."""
    with np.errstate(all="ignore"):
        return dtype.type(value)
