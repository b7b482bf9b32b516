"""Checks of pooling's arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array


def window(op: str, kernel_size: Any, stride: Any, padding: Any) -> tuple[int, int, int, int, int, int]:
    """Kernel, stride and padding in one tuple of six, each height before width."""
    kernel = check.pair(op, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else check.pair(op, "stride", stride, 1)
    pad = check.pair(op, "padding", padding, 0)
    if pad[0] * 2 > kernel[0] or pad[1] * 2 > kernel[1]:
        raise ValueError(f"{op}: padding must be at most half of kernel_size {kernel}, got {pad}")
    return (*kernel, *step, *pad)


def window_counts(size: Any, window: tuple[int, ...], ceil_mode: bool) -> tuple[int, int]:
    """How many windows an image of that size has, down and across, by torch's rule."""
    counts = []
    for length, kernel, stride, pad in zip(size, window[:2], window[2:4], window[4:], strict=True):
        count = (length + 2 * pad - kernel + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode and (count - 1) * stride >= length + pad:
            count -= 1  # the last window would begin in the padding
        counts.append(count)
    return counts[0], counts[1]


def pooled_size(op: str, size: Any, window: tuple[int, ...], ceil_mode: bool) -> tuple[int, int]:
    """`window_counts`; ValueError where the image has no window."""
    counts = window_counts(size, window, ceil_mode)
    if min(counts) < 1:
        raise ValueError(f"{op}: kernel_size must be at most the padded image {tuple(size)}, got {window[:2]}")
    if window[0] * size[1] >= 2**31:
        raise ValueError(f"{op}: kernel height times image width must be below 2**31, got {window[0]} * {size[1]}")
    return counts


def unpooled_size(op: str, name: str, x: Any, shape: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, int]:
    """The size that pooled images of ``shape`` came from: ``x``, checked as torch does, or the default for None."""
    default = [
        (n - 1) * s - 2 * p + k for n, k, s, p in zip(shape[-2:], window[:2], window[2:4], window[4:], strict=True)
    ]
    size = (default[0], default[1]) if x is None else plane_size(op, name, x, shape)

    for axis, length, middle, stride in zip(("height", "width"), size, default, window[2:4], strict=True):
        if abs(length - middle) >= stride or length < 1:
            low, high = max(middle - stride + 1, 1), middle + stride - 1
            raise ValueError(f"{op}: {name} must have a {axis} in [{low}, {high}], got {length}")
    return size


def plane_size(op: str, name: str, x: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) of ``x``, which is that or a whole shape that begins as ``shape`` does."""
    if not isinstance(x, (tuple, list)) or len(x) not in (2, len(shape)):
        raise ValueError(
            f"{op}: {name} must be (height, width) or a shape of {len(shape)} entries, got {check.describe(x)}"
        )
    size = check.pair(op, name, x[-2:], 0)
    if len(x) > 2 and tuple(x[:-2]) != shape[:-2]:
        raise ValueError(f"{op}: {name} must begin with {shape[:-2]}, got {check.describe(x)}")
    return size


def planes(op: str, name: str, x: Array) -> Array:
    """HW, CHW or NCHW with at least one pixel a plane, in native byte order."""
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"{op}: {name} must have shape (H, W), (C, H, W) or (N, C, H, W), got {x.shape}")
    if 0 in x.shape[-2:]:
        raise ValueError(f"{op}: {name} must have a height and width of 1 or more, got {x.shape}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def indices(op: str, x: Array) -> Array:
    """Flat (int64) or compact (uint8) indices of pooling, in native byte order."""
    if x.dtype.kind == "i" and x.dtype.itemsize == 8:
        return x.astype(np.int64, copy=False)
    if x.dtype != np.uint8:
        raise TypeError(f"{op}: indices must be int64 (flat) or uint8 (compact), got {x.dtype}")
    return x


def integer(op: str, name: str, x: Any) -> int:
    """An integer that int64 holds."""
    try:
        if isinstance(x, (bool, np.bool_)):
            raise TypeError
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {check.describe(x)}") from None
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{op}: {name} must be a value of int64, got {check.describe(value)}")
    return value


def zero_point(op: str, x: Any, dtype: np.dtype[Any]) -> int:
    """The integer that means 0: one that ``dtype`` holds, and 0 for floats."""
    value = integer(op, "zero_point", x)
    if dtype.kind not in "iu":
        if value:
            raise ValueError(f"{op}: zero_point must be 0 where x is float, got {value}")
        return 0
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise ValueError(f"{op}: zero_point must be a value of {dtype}, got {value}")
    return value


def raise_outside(op: str, indices: Array, flat: int) -> NoReturn:
    """Raise for the index at a flat position, which lies outside the image."""
    where = tuple(int(i) for i in np.unravel_index(flat, indices.shape))
    value = int(check.value_at(indices, where))
    raise ValueError(f"{op}: indices must lie in the image, got {value} at index {where}")


def out_image(
    op: str, x: Array, shape: tuple[int, ...], dtype: np.dtype[Any], channels_last: bool, inputs: Sequence[Array]
) -> Array:
    """A caller's buffer for images of that shape, as a 4-d array in the order that the result has in memory."""
    if x.dtype != dtype:
        raise TypeError(f"{op}: out must be {dtype}, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"{op}: out must have shape {shape}, got {x.shape}")
    whole = x[(None,) * (4 - x.ndim)]
    laid_out = whole.transpose(0, 2, 3, 1) if channels_last else whole
    if not laid_out.flags.c_contiguous:
        raise ValueError(f"{op}: out must be contiguous{', channels last as x is' if channels_last else ''}")
    return check.out(op, laid_out, laid_out.shape, dtype, inputs)
