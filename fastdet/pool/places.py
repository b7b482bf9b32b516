"""Parts that pooling and unpooling share: indices as places in an image, and values that move to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array, writable
from fastdet._core.check import Array
from fastdet._core.layout import from_nchw, to_nchw
from fastdet.pool import _check

Window = tuple[int, int, int, int, int, int]  # kernel, stride, padding; height before width
Size = tuple[int, int]


def positions(indices: Array, window: Window, size: Size) -> tuple[Array, Array]:
    """(N, C, h, w) indices as flat places in planes of that size, and a mask of those outside the image."""
    height, width = size
    if indices.dtype != np.uint8:
        return indices, (indices < 0) | (indices >= height * width)
    kh, kw, sh, sw, ph, pw = window
    ky, kx = np.divmod(indices.astype(np.int64), kw)
    y = np.arange(indices.shape[2])[:, None] * sh - ph + ky
    x = np.arange(indices.shape[3]) * sw - pw + kx
    return y * width + x, (ky >= kh) | (y < 0) | (y >= height) | (x < 0) | (x >= width)


def scatter(
    op: str,
    x: Any,
    array: Array,
    name: str,
    indices: Any,
    window: Window,
    size: Size,
    out: Any,
    backend: str | None,
    reference: Any,
    zero_point: int = 0,
) -> Any:
    """The common part of `max_unpool2d` and `max_pool2d_backward`, after the checks of their own arguments."""
    where = _check.indices(op, to_array(op, "indices", indices))
    array = _check.planes(op, name, array)
    if where.shape != array.shape:
        raise ValueError(f"{op}: indices must have the shape of {name}, {array.shape}, got {where.shape}")
    image, last = to_nchw(array)
    buffer = None
    if out is not None:
        shape = (*array.shape[:-2], *size)
        buffer = _check.out_image(op, writable(op, "out", out), shape, image.dtype, last, [array, where])
    function = backends.choose(op, backend, reference, array, where, buffer)
    args = [image, as_laid_out(where, last), last, window, size]
    result = function(*args, zero_point, buffer) if op == "max_unpool2d" else function(*args)
    result = checked_result(op, result, where, window, size)
    return out if out is not None else like(x)(from_nchw(result, last, array.ndim))


def checked_result(op: str, result: Any, indices: Array, window: Window, size: Size) -> Array:
    """A backend's result. Raises where an index is outside the image: the result is then its position, or None."""
    if result is None:
        outside = positions(indices.reshape(1, -1, *indices.shape[-2:]), window, size)[1]
        result = int(np.argmax(outside.reshape(-1)))
    if isinstance(result, int):
        _check.raise_outside(op, indices, result)
    array: Array = result
    return array


def as_laid_out(x: Array, last: bool) -> Array:
    """HW, CHW or NCHW ``x`` as a 4-d array of that layout; a copy if ``x`` has another one."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    return check.require(x.transpose(0, 2, 3, 1) if last else x, None)


def as_planes(x: Array, last: bool) -> Array:
    """A 4-d array of either layout as an (N, C, H, W) view."""
    return x.transpose(0, 3, 1, 2) if last else x


def flat_places(places: Array, size: Size) -> Array:
    """Flat places in planes as flat places in the whole array, (N, C, H, W)."""
    n, c = places.shape[:2]
    plane = np.arange(n * c, dtype=np.int64).reshape(n, c, 1, 1) * (size[0] * size[1])
    return (places + plane).reshape(-1)


def in_layout(x: Array, last: bool, out: Array | None) -> Array:
    """An (N, C, H, W) result in its layout; written to ``out`` if that is not None."""
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if last else x)
    if out is None:
        return x
    out[...] = x
    return out
