"""Pooling of the CUDA backend.

Where calls wait (FASTDET_SYNC=1), functions that take indices return the position of an index outside the image
instead of a result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import cuda
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray

Window = tuple[int, int, int, int, int, int]
Size = tuple[int, int]
MAX_SIZE = 2**30  # height and width of images and windows: the kernels count them in 32 bits


def max_pool2d(
    x: DeviceArray,
    last: bool,
    window: Window,
    size: Size,
    index_type: str,
    values: DeviceArray | None,
    indices: DeviceArray | None,
) -> tuple[DeviceArray, DeviceArray | None]:
    image = _image("max_pool2d", x, last, window)
    shape = _shape(x, last, size)
    if values is None:
        values = x.empty(shape, x.dtype)
    if indices is None and index_type != "none":
        indices = x.empty(shape, np.uint8 if index_type == "compact" else np.int64)
    to = values.pointer, 0 if indices is None else indices.pointer
    native.max_pool2d(x.dtype.char, x.pointer, image, size, window, index_type == "compact", *to, *x.where)
    return values, indices


def max_pool2d_backward(
    x: DeviceArray, indices: DeviceArray, last: bool, window: Window, size: Size
) -> DeviceArray | int:
    out = x.empty(_shape(x, last, size), x.dtype)
    return _move("max_pool2d_backward", x.dtype.char, x, indices, last, window, out, out, indices, True)


def max_unpool2d(
    x: DeviceArray,
    indices: DeviceArray,
    last: bool,
    window: Window,
    size: Size,
    zero_point: int,
    out: DeviceArray | None,
) -> DeviceArray | int:
    if out is None:
        out = x.empty(_shape(x, last, size), x.dtype)
    return _move("max_unpool2d", x.itemsize, x, indices, last, window, out, out, indices, False, zero_point)


def max_unpool2d_backward(x: DeviceArray, indices: DeviceArray, last: bool, window: Window) -> DeviceArray | int:
    out = x.empty(indices.shape, x.dtype)
    return _move("max_unpool2d_backward", x.itemsize, x, indices, last, window, out, x, indices, False)


def _move(
    op: str,
    dtype: Any,
    x: DeviceArray,
    indices: DeviceArray,
    last: bool,
    window: Window,
    out: DeviceArray,
    image: DeviceArray,
    pooled: DeviceArray,
    add: bool,
    *zero_point: int,
) -> DeviceArray | int:
    """Call the native function that moves ``x`` to ``out``. ``dtype`` is its letter, or the bytes of a value."""
    sizes = _image(op, image, last, window), _image(op, pooled, last, window)[1:3], window, indices.dtype == np.uint8
    workspace = x.empty_bytes(native.pool_places_workspace(x.dtype.char, add, *sizes))
    getattr(native, op)(
        dtype, x.pointer, indices.pointer, *sizes, *zero_point, workspace.pointer, out.pointer, *x.where
    )
    code = cuda.fault_code(op)
    return out if code is None else code


def _image(op: str, x: DeviceArray, last: bool, window: Window) -> tuple[int, int, int, int]:
    """(planes, height, width, channels that are neighbours in memory), as the kernels take an image."""
    a, b, c, d = x.shape
    planes, height, width, inner = (a, b, c, d) if last else (a * b, c, d, 1)
    if max(height, width, *window) >= MAX_SIZE:
        raise ValueError(f"{op}: images and windows on a GPU must be below 2^30 each way, got {x.shape} and {window}")
    return planes, height, width, inner


def _shape(x: DeviceArray, last: bool, size: Size) -> tuple[int, ...]:
    return (x.shape[0], *size, x.shape[3]) if last else (*x.shape[:2], *size)
