"""Checks of the arguments of RoI ops."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import plain, to_array
from fastdet._core.check import Array
from fastdet._core.half import BFLOAT16, widen
from fastdet._core.layout import to_nchw

FLOATS = (np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64))
BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
MAX_SAMPLING = 4096  # samples of a bin along one axis that a caller may ask for


def image(
    op: str, name: str, x: Any, axes: str = "(N, C, H, W)", dtypes: tuple[np.dtype[Any], ...] = FLOATS
) -> tuple[Array, bool]:
    """Feature maps or pooled features as a 4-d array in memory order, and whether channels are last."""
    array = to_array(op, name, x, differentiable=True, half=True)
    if isinstance(x, (list, tuple)) and array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype not in dtypes:
        names = "float16, bfloat16, float32 or float64" + ", int8 or uint8" * (dtypes is not FLOATS)
        raise TypeError(f"{op}: {name} must be {names}, got {check.dtype_name(array.dtype)}")
    if array.ndim != 4:
        raise ValueError(f"{op}: {name} must have shape {axes}, got {array.shape}")
    return to_nchw(array)


def maps(op: str, name: str, x: Any, dtypes: tuple[np.dtype[Any], ...] = FLOATS) -> tuple[Array, bool]:
    """`image`, with H and W of 1 or more."""
    array, last = image(op, name, x, dtypes=dtypes)
    if 0 in (array.shape[1:3] if last else array.shape[2:]):
        raise ValueError(f"{op}: {name} must have H and W of 1 or more, got {array.shape}")
    return array, last


def zero_point(op: str, x: Any, dtype: np.dtype[Any]) -> int:
    """The number that means 0 in a quantised map: a value of its dtype; 0 of floats."""
    if isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{op}: zero_point must be an integer, got {x}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: zero_point must be an integer, got {check.describe(x)}") from None
    if dtype not in BYTES:
        if value:
            raise ValueError(f"{op}: zero_point must be 0 where input is float, got {check.describe(value)}")
    elif not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise ValueError(f"{op}: zero_point must be a value of {dtype}, got {check.describe(value)}")
    return value


def from_bytes(x: Any, zero: int) -> Array:
    """Quantised values as float32 in steps from the number that means 0."""
    wide = x.astype(np.float32)
    if isinstance(wide, np.ndarray):
        return wide - np.float32(zero)
    with wide.on_device():
        steps: Array = type(wide)(wide.owner - float(zero))
    return steps


def to_bytes(steps: Any, zero: int, dtype: np.dtype[Any]) -> Array:
    """The way back of `from_bytes`: to the nearest integer, halves up."""
    if isinstance(steps, np.ndarray):
        return np.floor(steps + np.float32(zero + 0.5)).astype(dtype)
    with steps.on_device():
        whole = type(steps)((steps.owner + (zero + 0.5)) // 1)
    made: Array = whole.astype(dtype)
    return made


def output_size(op: str, x: Any) -> tuple[int, int]:
    """(height, width) of the bins, each 1 or more and below 2**31, or one integer for both."""
    return check.pair(op, "output_size", x, 1)


def input_size(op: str, x: Any, name: str = "input_size") -> tuple[int, int, int, int]:
    """(N, C, H, W): N and C of 0 or more, H and W of 1 or more."""
    sizes = tuple(x) if isinstance(x, (tuple, list)) else ()
    if len(sizes) != 4:
        raise ValueError(f"{op}: {name} must be (N, C, H, W), got {check.describe(x)}")
    try:
        if any(isinstance(value, (bool, np.bool_)) for value in sizes):
            raise TypeError
        n, c, h, w = (operator.index(value) for value in sizes)
    except TypeError:
        raise TypeError(f"{op}: {name} must be integers, got {check.describe(x)}") from None
    if min(n, c) < 0 or min(h, w) < 1 or max(n, c, h, w) >= 2**31:
        text = "N and C of 0 or more, H and W of 1 or more, all below 2**31"
        raise ValueError(f"{op}: {name} must have {text}, got {check.describe(x)}")
    return n, c, h, w


def sampling_ratio(op: str, x: Any) -> int:
    """Samples of a bin along one axis; 0 where the size of the RoI decides."""
    if isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{op}: sampling_ratio must be an integer, got {x}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: sampling_ratio must be an integer, got {check.describe(x)}") from None
    if value > MAX_SAMPLING:
        raise ValueError(f"{op}: sampling_ratio must be at most {MAX_SAMPLING}, got {check.describe(value)}")
    return max(value, 0)


def boxes(op: str, x: Any, images: int | None, beside: Array) -> Array:
    """(K, 5) rows of image, x1, y1, x2, y2 in the dtype that the op computes in, where ``beside`` is.

    ``x``: such rows, or a list with the (Ki, 4) boxes of each of ``images`` images (None: any number).
    """
    dtype = np.dtype(np.float64 if beside.dtype == np.float64 else np.float32)
    if is_list(x):
        return _of_list(op, x, images, dtype, beside)
    array = _floats(op, "boxes", x, dtype, shape="(K, 5)")
    if array.shape == (0,):  # an empty list of boxes
        array = array.reshape(0, 5)
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(f"{op}: boxes must have shape (K, 5) with the image's index first, or be a list of (Ki, 4) "
                         f"boxes, got {array.shape}")  # fmt: skip
    return check.require(array, dtype)


def is_list(x: Any) -> bool:
    """Whether ``x`` is a list of boxes by image, rather than an array or nested lists of (K, 5)."""
    if not isinstance(x, (list, tuple)):
        return False
    first = x[0] if x else None
    if isinstance(first, (list, tuple)):
        return not first or not all(np.ndim(value) == 0 for value in first)
    return getattr(first, "ndim", 0) == 2 or (first is not None and getattr(first, "shape", None) == (0,))


def _of_list(op: str, x: Any, images: int | None, dtype: np.dtype[Any], beside: Array) -> Array:
    if images is not None and len(x) != images:
        raise ValueError(f"{op}: boxes must have one entry per image, {images}, got {len(x)}")
    parts = [_floats(op, f"boxes[{i}]", part, dtype, shape="(K, 4)") for i, part in enumerate(x)]
    parts = [part.reshape(0, 4) if part.shape == (0,) else part for part in parts]
    for i, part in enumerate(parts):
        if part.ndim != 2 or part.shape[1] != 4:
            raise ValueError(f"{op}: boxes[{i}] must have shape (K, 4), got {part.shape}")
    count = sum(map(len, parts))
    like = next((part for part in parts if not isinstance(part, np.ndarray)), beside)
    out: Any = check.empty(op, (count, 5), dtype, like)
    at = 0
    for i, part in enumerate(parts):
        end = at + len(part)
        if len(part):
            index = np.full((len(part), 1), i, dtype)
            if isinstance(out, np.ndarray):
                out[at:end, :1], out[at:end, 1:] = index, part
            else:
                out[at:end, :1], out[at:end, 1:] = out.from_host(index), check.require(part, dtype)
        at = end
    return out


def _floats(op: str, name: str, x: Any, dtype: np.dtype[Any], shape: str) -> Array:
    array = to_array(op, name, plain(op, name, x), differentiable=False)
    if isinstance(array, np.ndarray) and array.dtype == BFLOAT16:
        array = widen(array)
    if array.dtype.char not in check.COMPUTE:
        raise TypeError(f"{op}: {name} must be float16, bfloat16, float32, float64 or integer, got {array.dtype}")
    return array


def pooled(op: str, x: Array, channels_last: bool, count: int, channels: int) -> tuple[int, int]:
    """The bins of a gradient of pooled features, (height, width), whose other sizes are checked."""
    bins = x.shape[1:3] if channels_last else x.shape[2:]
    got = (len(x), x.shape[3 if channels_last else 1])
    if got != (count, channels) or 0 in bins:
        want = f"({count}, {channels}, height, width), height and width of 1 or more"
        raise ValueError(f"{op}: grad must have shape {want}, got {(*got, *bins)}")
    return bins[0], bins[1]


def own_channels(op: str, name: str, channels: int, bins: tuple[int, int]) -> int:
    """Channels of the result, where each bin has channels of its own."""
    if channels % (bins[0] * bins[1]):
        raise ValueError(f"{op}: {name} must have a multiple of {bins[0]} * {bins[1]} channels, got {channels}")
    return channels // (bins[0] * bins[1])


def places(op: str, x: Any, grad: Array, channels_last: bool) -> Array:
    """The places of maxima in the memory order of ``grad``, a 4-d array that `image` gave."""
    if x.dtype.kind != "i" or x.dtype.itemsize != 8:
        raise TypeError(f"{op}: indices must be int64, got {check.dtype_name(x.dtype)}")
    shape = (len(grad), grad.shape[3], *grad.shape[1:3]) if channels_last else grad.shape
    if x.shape != shape:
        raise ValueError(f"{op}: indices must have shape {shape} as grad, got {x.shape}")
    return check.require(x.transpose(0, 2, 3, 1) if channels_last else x, np.int64)


def raise_bad_place(op: str, places: Array, flat: int, channels_last: bool, size: int) -> NoReturn:
    """Raise for the index at a flat position in memory, which is not in the map."""
    where = tuple(int(i) for i in np.unravel_index(flat, places.shape))
    value = int(check.value_at(places, where))
    if channels_last:
        where = (where[0], where[3], *where[1:3])
    raise ValueError(f"{op}: indices must be in [-1, {size}), got {value} at index {where}")


def listed(x: Any) -> Any:
    """The arrays of a list; an array alone."""
    return x if isinstance(x, (list, tuple)) else (x,)


def raise_bad_box(op: str, boxes: Array, row: int, images: int) -> NoReturn:
    """Raise for the first box that a backend refused: its image, or a coordinate that is not finite."""
    values = [float(check.value_at(boxes, (row, i))) for i in range(5)]
    if all(map(np.isfinite, values[1:])):
        index = int(values[0]) if float(values[0]).is_integer() else values[0]
        raise ValueError(f"{op}: boxes must name an image by a whole number in [0, {images}), got {index} at row {row}")
    raise ValueError(f"{op}: boxes must be finite, got {values[1:]} at row {row}")
