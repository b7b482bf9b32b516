"""Argument checks that two or more areas share. A check with one user stands with its user, in `<area>/_check.py`.

Arguments are checked once, before a backend is chosen, so all backends raise the same text.

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

from fastdet._core.plain_text import printable

Array = NDArray[Any]

# What a box or a score is computed in. Half precision computes in float32; integers that float32 holds
# exactly become float32, wider ones float64.
COMPUTE: dict[str, np.dtype[Any]] = {
    **dict.fromkeys(("e", "f", "b", "B", "h", "H"), np.dtype(np.float32)),
    **dict.fromkeys(("d", "i", "I", "l", "L", "q", "Q"), np.dtype(np.float64)),
}
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
MAX_COUNT = 2**30  # boxes of one call: positions are 32-bit inside the kernels
MAX_CLASSES = 65535  # of a confusion matrix: inside the kernels a class, or void, is a 16-bit number
FORMATS = ("xyxy", "xywh", "cxcywh")


def describe(x: object) -> str:
    """A value as an error text shows it, cut where it is long."""
    try:
        text = printable(repr(x))
    except Exception:  # an integer of more digits than Python writes, or an object whose repr raises
        return (
            f"an object of type {type(x).__name__}"
            if not isinstance(x, int)
            else f"an integer of {x.bit_length()} bits"
        )
    return text if len(text) <= 60 else f"{type(x).__name__} {text[:50]}..."


def is_scalar_array(x: object) -> bool:
    """Whether ``x`` is an array, or a tensor, without an axis: it looks like a sequence and is none."""
    return getattr(x, "ndim", None) == 0


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
    """``x`` in that dtype (None: its own), C-contiguous and aligned; an array on a GPU stays there."""
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
    """(N,) scores of ``count`` boxes, in a dtype that the kernels compute in."""
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
        if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):  # an array, or a tensor
            x = x.item()
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


def positive(op: str, name: str, x: object, max_value: float = math.inf) -> float:
    """A number above 0, and at most ``max_value``."""
    value = number(op, name, x)
    if value <= 0:
        raise ValueError(f"{op}: {name} must be above 0, got {value}")
    if value > max_value:
        raise ValueError(f"{op}: {name} must be at most {max_value}, got {value}")
    return value


def cast(dtype: np.dtype[Any], x: float) -> Any:
    """``x`` in the dtype that it is compared in; infinite where the dtype cannot hold it."""
    with np.errstate(over="ignore"):
        return dtype.type(x)


def limit(op: str, name: str, x: object) -> int:
    """A maximum count: an integer of 0 or more, or None for no limit, which kernels take as -1."""
    if x is None:
        return -1
    return count(op, name, x)


def count(op: str, name: str, x: Any) -> int:
    """An integer of 0 or more, cut to `MAX_COUNT`."""
    if isinstance(x, bool):
        raise TypeError(f"{op}: {name} must be an integer, got {x}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {describe(x)}") from None
    if value < 0:
        raise ValueError(f"{op}: {name} must be 0 or more, got {describe(value)}")
    return min(value, MAX_COUNT)


def at_least_one(op: str, name: str, x: Any) -> int:
    """An integer of 1 or more, cut to `MAX_COUNT`."""
    if not isinstance(x, bool) and isinstance(x, int) and x < 0:
        raise ValueError(f"{op}: {name} must be 1 or more, got {describe(x)}")
    value = count(op, name, x)
    if not value:
        raise ValueError(f"{op}: {name} must be 1 or more, got 0")
    return value


def choice(op: str, name: str, x: object, allowed: Sequence[str]) -> str:
    """One of a few words."""
    if isinstance(x, str) and x in allowed:
        return x
    raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {describe(x)}")


def out(op: str, x: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Array]) -> Array:
    """A caller's result buffer: of that shape and dtype, writable, C-contiguous, not overlapping the inputs."""
    if not isinstance(x, type(inputs[0])):
        raise TypeError(f"{op}: out must be the same type of array as the inputs, got {type(x).__name__}")
    if x.dtype != dtype:
        raise TypeError(f"{op}: out must be {dtype}, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"{op}: out must have shape {shape}, got {x.shape}")
    if not (x.flags.c_contiguous and x.flags.writeable and x.flags.aligned):
        raise ValueError(f"{op}: out must be writable, aligned and C-contiguous")
    if any(may_share_memory(x, other) for other in inputs):
        raise ValueError(f"{op}: out must not share memory with an input")
    return x


def may_share_memory(x: Any, other: Any) -> bool:
    """`numpy.may_share_memory`, also for arrays on a GPU."""
    if isinstance(x, np.ndarray):
        return isinstance(other, np.ndarray) and np.may_share_memory(x, other)
    return not isinstance(other, np.ndarray) and x.shares_memory(other)


def find_nan(boxes: Array, scores: Array) -> int | None:
    """The code of the first NaN: 2 * row for boxes, 2 * row + 1 for scores; None where there is none.

    Every backend returns this code instead of a result. `raise_nan_code` makes it an error.
    """
    for in_scores, is_nan in enumerate((np.isnan(boxes).any(axis=1), np.isnan(scores))):
        if is_nan.any():
            return int(np.argmax(is_nan)) * 2 + in_scores
    return None


def raise_nan_code(op: str, code: int) -> NoReturn:
    """Raise for a NaN that a backend returned the code of: see `find_nan`."""
    raise_nan(op, "scores" if code & 1 else "boxes", (code >> 1,))


def raise_nan(op: str, name: str, index: tuple[int, ...]) -> NoReturn:
    """Raise for a NaN, with the same text in every op."""
    at = index[0] if len(index) == 1 else index
    raise ValueError(f"{op}: {name} must not hold NaN, got NaN at index {at}")


def non_negative(op: str, name: str, x: object) -> float:
    """A number of 0 or more."""
    value = number(op, name, x)
    if value < 0:
        raise ValueError(f"{op}: {name} must be 0 or more, got {value}")
    return value


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype, as NumPy has it; "bfloat16" for `half.BFLOAT16`."""
    return dtype.names[0] if dtype.names else str(dtype)


def pair_of_sizes(op: str, name: str, x: Any) -> tuple[int, int]:
    """(H, W), each 1 or more, or one number for both."""
    if type(x) is tuple and len(x) == 2 and type(x[0]) is int and type(x[1]) is int and min(x) > 0 and max(x) < 2**62:
        return x
    if (isinstance(x, Sequence) and not isinstance(x, str)) or (isinstance(x, np.ndarray) and x.ndim):
        if len(x) != 2:
            raise ValueError(f"{op}: {name} must be (height, width) or one integer, got {describe(x)}")
        values = tuple(x)
    else:
        values = (x, x)
    sizes = []
    for value in values:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{op}: {name} must be integers, got {describe(x)}")
        try:
            sizes.append(operator.index(value))
        except TypeError:
            raise TypeError(f"{op}: {name} must be integers, got {describe(x)}") from None
    if min(sizes) < 1:
        raise ValueError(f"{op}: {name} must be 1 or more, got {describe(x)}")
    if max(sizes) >= 2**62:
        raise ValueError(f"{op}: {name} must be below 2^62, got {describe(x)}")
    return sizes[0], sizes[1]


def empty(op: str, shape: tuple[int, ...], dtype: np.dtype[Any], beside: Any = None) -> Array:
    """New memory for a result, on the GPU if ``beside`` is there. The error says how large the result is."""
    size = math.prod(shape) * dtype.itemsize
    if size >= 2**63:
        raise ValueError(f"{op}: the result must be below 2^63 bytes, got shape {shape}, {size} bytes")
    try:
        on_cpu = beside is None or isinstance(beside, np.ndarray)
        return np.empty(shape, dtype) if on_cpu else beside.empty(shape, dtype)
    except MemoryError:
        raise MemoryError(f"{op}: no memory for a result of {size} bytes, shape {shape}") from None


def value_at(x: Any, index: tuple[int, ...]) -> Any:
    """``x[index]``, read back where ``x`` is on a GPU."""
    if isinstance(x, np.ndarray):
        return x[index]
    one = x.reshape((1, *x.shape))[tuple(slice(i, i + 1) for i in (0, *index))]
    return one.host().ravel()[0]


def pair(op: str, name: str, x: Any, min_value: int) -> tuple[int, int]:
    """(height, width), integers of ``min_value`` or more, or one integer for both."""
    if type(x) is int and min_value <= x < 2**31:
        return x, x
    if isinstance(x, np.ndarray) and x.ndim == 1:
        x = x.tolist()
    both = tuple(x) if isinstance(x, (tuple, list)) else (x, x)
    if len(both) == 1:
        both *= 2
    if len(both) != 2:
        raise ValueError(f"{op}: {name} must be an integer or (height, width), got {describe(x)}")
    try:
        if any(isinstance(value, (bool, np.bool_)) for value in both):
            raise TypeError
        height, width = (operator.index(value) for value in both)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer or (height, width), got {describe(x)}") from None
    if min(height, width) < min_value or max(height, width) >= 2**31:
        raise ValueError(f"{op}: {name} must be in [{min_value}, 2**31), got {describe(x)}")
    return height, width
