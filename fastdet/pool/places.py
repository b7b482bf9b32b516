"""What pooling and unpooling share: indices as places in an image, and values that move to them."""

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
    """(N, C, h, w) indices as flat places in planes of that size, and where there is no such place."""
    height, width = size
    if indices.dtype != np.uint8:
        return indices, (indices < 0) | (indices >= height * width)
    kh, kw, sh, sw, ph, pw = window
    ky, kx = np.divmod(indices.astype(np.int64), kw)
    y = np.arange(indices.shape[2])[:, None] * sh - ph + ky
    x = np.arange(indices.shape[3]) * sw - pw + kx
    return y * width + x, (ky >= kh) | (y < 0) | (y >= height) | (x < 0) | (x >= width)


def _scatter(
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
) -> Any:
    """`max_unpool2d` and `max_pool2d_backward` from where their own arguments have been checked."""
    where = _check.indices(op, to_array(op, "indices", indices))
    array = _check.planes(op, name, array)
    if where.shape != array.shape:
        raise ValueError(f"{op}: indices must have the shape of {name}, {array.shape}, got {where.shape}")
    image, last = to_nchw(array)
    given = None
    if out is not None:
        shape = (*array.shape[:-2], *size)
        given = _check.out_image(op, writable(op, "out", out), shape, image.dtype, last, [array, where])
    function = backends.choose(op, backend, reference, array, where, given)
    args = [image, _as_laid_out(where, last), last, window, size]
    result = function(*args, given) if op == "max_unpool2d" else function(*args)
    result = _placed(op, result, where, window, size)
    return out if out is not None else like(x)(from_nchw(result, last, array.ndim))


def _placed(op: str, result: Any, indices: Array, window: Window, size: Size) -> Array:
    """A backend's result; raises where it is None, or the position of an index outside the image."""
    if result is None:
        bad = positions(indices.reshape(1, -1, *indices.shape[-2:]), window, size)[1]
        result = int(np.argmax(bad.reshape(-1)))
    if isinstance(result, int):
        _check.outside(op, indices, result)
    placed: Array = result
    return placed


def _as_laid_out(x: Array, last: bool) -> Array:
    """HW, CHW or NCHW ``x`` as a 4-d array of that layout, copied where it has another."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    return check.require(x.transpose(0, 2, 3, 1) if last else x, None)


def _planes(x: Array, last: bool) -> Array:
    return x.transpose(0, 3, 1, 2) if last else x


def _flat(places: Array, size: Size) -> Array:
    """Places in planes as places in all planes, one after the other."""
    n, c = places.shape[:2]
    plane = np.arange(n * c, dtype=np.int64).reshape(n, c, 1, 1) * (size[0] * size[1])
    return (places + plane).reshape(-1)


def _given(x: Array, last: bool, out: Array | None) -> Array:
    """An (N, C, H, W) result in its layout, in ``out`` if there is one."""
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if last else x)
    if out is None:
        return x
    out[...] = x
    return out
