"""Every argument check of fastdet, once, before a backend is chosen: all backends raise the same text.

Messages read ``op: argument must be X, got Y``. TypeError for kind, dtype and device; ValueError for
shape, range and NaN.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# What a box or a score is computed in. Half precision computes in float32; integers that float32 holds
# exactly become float32, wider ones float64.
COMPUTE: dict[str, np.dtype[Any]] = {
    **dict.fromkeys(("e", "f", "b", "B", "h", "H"), np.dtype(np.float32)),
    **dict.fromkeys(("d", "i", "I", "l", "L", "q", "Q"), np.dtype(np.float64)),
}
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
MAX_COUNT = 2**30  # boxes of one call: positions are 32-bit inside the kernels
FORMATS = ("xyxy", "xywh", "cxcywh")


def describe(x: object) -> str:
    """A short word for a value in an error text."""
    text = repr(x)
    return text if len(text) <= 60 else f"{type(x).__name__} {text[:50]}..."


def real(op: str, name: str, x: Array) -> Array:
    """``x`` as a C-contiguous, native-endian float32 or float64 array; ``x`` itself where it is one."""
    dtype = x.dtype
    if (dtype is _SINGLE or dtype is _DOUBLE) and x.flags.c_contiguous and x.flags.aligned:
        return x
    compute = COMPUTE.get(dtype.char)
    if compute is None:
        raise TypeError(f"{op}: {name} must be float16, float32, float64 or integer, got {dtype}")
    return require(x, compute)


def require(x: Any, dtype: Any) -> Array:
    """``x`` C-contiguous and aligned, in a dtype; an array on a GPU stays there."""
    return np.require(x, dtype, ["C", "A"]) if isinstance(x, np.ndarray) else x.require(dtype)


def boxes(op: str, name: str, x: Array) -> Array:
    """(N, 4) boxes in a dtype that the kernels compute in."""
    shape = x.shape
    if shape == (0,):  # an empty list of boxes
        return real(op, name, x.reshape(0, 4))
    if len(shape) != 2 or shape[1] != 4:
        raise ValueError(f"{op}: {name} must have shape (N, 4), got {shape}")
    if shape[0] > MAX_COUNT:
        raise ValueError(f"{op}: {name} must have at most {MAX_COUNT} rows, got {shape[0]}")
    return real(op, name, x)


def scores(op: str, x: Array, count: int) -> Array:
    """(N,) scores that go with ``count`` boxes."""
    if x.shape != (count,):
        raise ValueError(f"{op}: scores must have shape ({count},), one per box, got {x.shape}")
    return real(op, "scores", x)


def keys(op: str, name: str, x: Array, count: int) -> NDArray[np.int64]:
    """(N,) integer class or group of each box, as int64."""
    if x.dtype.kind not in "iu" and x.size:  # an empty list has no integers to show
        raise TypeError(f"{op}: {name} must be an integer array, got {x.dtype}")
    if x.ndim != 1 or len(x) != count:
        raise ValueError(f"{op}: {name} must have shape ({count},), one per box, got {x.shape}")
    if x.dtype == np.uint64 and x.size and int(x.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{op}: {name} must fit in int64, got {int(x.max())}")
    return require(x, np.int64)


def flags(op: str, name: str, x: Array, count: int) -> NDArray[np.bool_]:
    """(N,) booleans, or integers that are 0 or 1."""
    if x.dtype.kind not in "biu" and x.size:
        raise TypeError(f"{op}: {name} must be a boolean or 0/1 integer array, got {x.dtype}")
    if x.ndim != 1 or len(x) != count:
        raise ValueError(f"{op}: {name} must have shape ({count},), got {x.shape}")
    if x.dtype.kind != "b" and x.size and (int(x.min()) < 0 or int(x.max()) > 1):
        raise ValueError(f"{op}: {name} must hold only 0 and 1, got {int(x.min())} to {int(x.max())}")
    return require(x, np.bool_)


def number(op: str, name: str, x: object) -> float:
    """A finite real number."""
    if type(x) is not float:
        if isinstance(x, np.ndarray) and x.ndim == 0:
            x = x[()]
        if isinstance(x, (bool, np.bool_)) or not isinstance(x, numbers.Real):
            raise TypeError(f"{op}: {name} must be a number, got {describe(x)}")
        try:
            x = float(x)
        except OverflowError:
            raise ValueError(f"{op}: {name} must be a finite number, got {describe(x)}") from None
    if not math.isfinite(x):
        raise ValueError(f"{op}: {name} must be a finite number, got {x}")
    return x


def unit(op: str, name: str, x: object) -> float:
    """A number in [0, 1]."""
    if type(x) is float and 0.0 <= x <= 1.0:
        return x
    value = number(op, name, x)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{op}: {name} must be in [0, 1], got {value}")
    return value


def positive(op: str, name: str, x: object, most: float = math.inf) -> float:
    """A number above 0, and at most ``most``."""
    value = number(op, name, x)
    if value <= 0:
        raise ValueError(f"{op}: {name} must be above 0, got {value}")
    if value > most:
        raise ValueError(f"{op}: {name} must be at most {most}, got {value}")
    return value


def cast(dtype: np.dtype[Any], x: float) -> Any:
    """A number in the dtype that it is compared in; one that the dtype cannot hold is infinite."""
    with np.errstate(over="ignore"):
        return dtype.type(x)


def limit(op: str, name: str, x: object) -> int:
    """How many at most: None (no limit, -1 inside) or an integer of 0 or more."""
    if x is None:
        return -1
    return count(op, name, x)


def count(op: str, name: str, x: Any) -> int:
    """An integer of 0 or more."""
    if isinstance(x, bool):
        raise TypeError(f"{op}: {name} must be an integer, got {x}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {describe(x)}") from None
    if value < 0:
        raise ValueError(f"{op}: {name} must be 0 or more, got {value}")
    return min(value, MAX_COUNT)


def choice(op: str, name: str, x: object, allowed: Sequence[str]) -> str:
    """One of a few words."""
    if isinstance(x, str) and x in allowed:
        return x
    raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {describe(x)}")


def out(op: str, x: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Array]) -> Array:
    """A caller's result buffer: right shape and dtype, writable, C-contiguous, apart from the inputs."""
    if not isinstance(x, type(inputs[0])):
        raise TypeError(f"{op}: out must be an array of the inputs' kind, got {type(x).__name__}")
    if x.dtype != dtype:
        raise TypeError(f"{op}: out must be {dtype}, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"{op}: out must have shape {shape}, got {x.shape}")
    if not (x.flags.c_contiguous and x.flags.writeable and x.flags.aligned):
        raise ValueError(f"{op}: out must be writable, aligned and C-contiguous")
    shares_memory = np.may_share_memory if isinstance(x, np.ndarray) else type(x).shares_memory
    if any(shares_memory(x, other) for other in inputs):
        raise ValueError(f"{op}: out must not share memory with an input")
    return x


def finite(op: str, name: str, x: Array) -> None:
    """Raise ValueError for the first infinity; NaN is told apart before."""
    bad = np.isinf(x)
    if bad.any():
        raise ValueError(f"{op}: {name} must be finite, got {x[bad][0]} at index {int(np.argwhere(bad)[0][0])}")


def find_nan(boxes: Array, scores: Array) -> int | None:
    """Twice the row of the first NaN, plus 0 for boxes and 1 for scores; None where there is none.

    The code by which every backend answers a NaN: see `nan_found`.
    """
    for which, bad in enumerate((np.isnan(boxes).any(axis=1), np.isnan(scores))):
        if bad.any():
            return int(np.argmax(bad)) * 2 + which
    return None


def nan_found(op: str, code: int) -> NoReturn:
    """Raise for a NaN that a backend answered with, coded as `find_nan` does."""
    nan_error(op, "scores" if code & 1 else "boxes", (code >> 1,))


def nan_error(op: str, name: str, index: tuple[int, ...]) -> NoReturn:
    """The one text for a NaN."""
    at = index[0] if len(index) == 1 else index
    raise ValueError(f"{op}: {name} must not hold NaN, got NaN at index {at}")
