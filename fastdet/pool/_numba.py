"""Numba kernels of max-pooling and unpooling. `_core.numba_jit` has the rules of all kernels.

Few signatures are compiled. Kernels take flat memory and strides, the same for planes and channels last. The wrappers
widen halves, integers and compact indices. Values that are only moved are moved as unsigned integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_jit import jit, plain
from fastdet.pool.places import Size, Window


def _strides(n: int, c: int, height: int, width: int, last: bool) -> tuple[int, ...]:
    """The strides of image, channel, row and column."""
    return (height * width * c, 1, width * c, c) if last else (c * height * width, height * width, width, 1)


def _flat(x: Array) -> Array:
    return plain(x).reshape(-1)


def _bits(x: Array) -> Array:
    """Values that are only moved, as integers of 4 or 8 bytes."""
    bits = _flat(x).view(f"u{x.dtype.itemsize}")
    return bits if x.dtype.itemsize >= 4 else bits.astype(np.uint32)


def _moved(bits: Array, x: Array) -> None:
    """Copy `_bits` of a result into the result ``x``, if they are not its own memory."""
    if x.dtype.itemsize < 4:
        x.view(f"u{x.dtype.itemsize}").reshape(-1)[...] = bits


def _places(x: Array) -> Array:
    return _flat(x).astype(np.int64, copy=False)


def _sizes(x: Array, last: bool) -> tuple[int, int, int, int]:
    n, a, b, c = x.shape
    return (n, c, a, b) if last else (n, a, b, c)


def _shape(n: int, c: int, size: Size, last: bool) -> tuple[int, ...]:
    return (n, *size, c) if last else (n, c, *size)


def max_pool2d(
    x: Array, last: bool, window: Window, size: Size, index_type: str, values: Array | None, indices: Array | None
) -> tuple[Array, Array | None]:
    n, c, height, width = _sizes(x, last)
    shape = _shape(n, c, size, last)
    compute = widen(x)
    if compute.dtype.kind in "iu":
        compute = compute.astype(np.int64, copy=False)
    best = np.empty(shape, compute.dtype) if values is None or compute.dtype != x.dtype else values
    where = (
        np.empty(0 if index_type == "none" else shape, np.int64) if indices is None or index_type != "flat" else indices
    )
    lowest = compute.dtype.type(-np.inf if compute.dtype.kind == "f" else np.iinfo(compute.dtype).min)
    strides = _strides(n, c, height, width, last), _strides(n, c, *size, last)
    _pool(
        _flat(compute), (n, c, height, width), *strides, window, size, lowest, index_type == "compact",
        best.reshape(-1), where.reshape(-1),
    )  # fmt: skip
    best = narrow(best, x.dtype)
    if values is not None and values is not best:
        values[...] = best
        best = values
    if index_type == "none":
        return best, None
    if index_type == "compact":
        where = where.astype(np.uint8)
        if indices is not None:
            indices[...] = where
            where = indices
    return best, where


@jit
def _pool(
    x: Array,
    sizes: tuple[int, ...],
    from_strides: tuple[int, ...],
    to_strides: tuple[int, ...],
    window: tuple[int, ...],
    size: tuple[int, int],
    lowest: Any,
    compact: bool,
    values: Array,
    indices: Array,
) -> None:
    """The maximum of each window, and its index where ``indices`` is not empty."""
    n, c, height, width = sizes
    kh, kw, sh, sw, ph, pw = window
    for image in range(n):
        for row in range(size[0]):
            top = row * sh - ph
            for channel in range(c):
                for column in range(size[1]):
                    left = column * sw - pw
                    start = image * from_strides[0] + channel * from_strides[1]
                    best = lowest
                    y_best, x_best = max(top, 0), max(left, 0)
                    for y in range(y_best, min(top + kh, height)):
                        for at in range(max(left, 0), min(left + kw, width)):
                            value = x[start + y * from_strides[2] + at * from_strides[3]]
                            if value > best or value != value:
                                best = value
                                y_best, x_best = y, at
                    to = image * to_strides[0] + channel * to_strides[1] + row * to_strides[2] + column * to_strides[3]
                    values[to] = best
                    if indices.size:
                        indices[to] = (y_best - top) * kw + x_best - left if compact else y_best * width + x_best


def max_unpool2d(
    x: Array, indices: Array, last: bool, window: Window, size: Size, zero_point: int, out: Array | None
) -> Array | None:
    n, c, height, width = _sizes(x, last)
    image = np.empty(_shape(n, c, size, last), x.dtype) if out is None else out
    to = _bits(image)
    to[...] = zero_point & (2 ** (8 * to.itemsize) - 1)
    strides = _strides(n, c, height, width, last), _strides(n, c, *size, last)
    compact = indices.itemsize == 1
    if not _scatter(_bits(x), _places(indices), (n, c, height, width), *strides, window, size, compact, False, to):
        return None
    _moved(to, image)
    return image


def max_pool2d_backward(x: Array, indices: Array, last: bool, window: Window, size: Size) -> Array | None:
    n, c, height, width = _sizes(x, last)
    values = widen(x)
    image = np.zeros(_shape(n, c, size, last), values.dtype)
    strides = _strides(n, c, height, width, last), _strides(n, c, *size, last)
    fits = _scatter(
        _flat(values), _places(indices), (n, c, height, width), *strides, window, size, indices.itemsize == 1, True,
        image.reshape(-1),
    )  # fmt: skip
    return narrow(image, x.dtype) if fits else None


def max_unpool2d_backward(x: Array, indices: Array, last: bool, window: Window) -> Array | None:
    n, c, height, width = _sizes(indices, last)
    size = _sizes(x, last)[2:]
    out = np.empty(indices.shape, x.dtype)
    to = _bits(out)
    strides = _strides(n, c, height, width, last), _strides(n, c, *size, last)
    compact = indices.itemsize == 1
    if not _gather(_bits(x), _places(indices), (n, c, height, width), *strides, window, size, compact, to):
        return None
    _moved(to, out)
    return out


@jit
def _place(index: Any, compact: bool, row: int, column: int, window: tuple[int, ...], size: tuple[int, int]) -> Any:
    """Row and column of an index; -1, -1 outside the image."""
    kh, kw, sh, sw, ph, pw = window
    height, width = size
    if compact:
        if index >= kh * kw:
            return np.int64(-1), np.int64(-1)
        y, x = row * sh - ph + index // kw, column * sw - pw + index % kw
    else:
        if index < 0 or index >= height * width:
            return np.int64(-1), np.int64(-1)
        return np.int64(index // width), np.int64(index % width)
    if y < 0 or y >= height or x < 0 or x >= width:
        return np.int64(-1), np.int64(-1)
    return np.int64(y), np.int64(x)


@jit
def _scatter(
    x: Array,
    indices: Array,
    sizes: tuple[int, ...],
    from_strides: tuple[int, ...],
    to_strides: tuple[int, ...],
    window: tuple[int, ...],
    size: tuple[int, int],
    compact: bool,
    add: bool,
    out: Array,
) -> Any:
    """Move, or add, each value to its place. False where an index lies outside the image."""
    n, c, rows, columns = sizes
    for image in range(n):
        for channel in range(c):
            start = image * to_strides[0] + channel * to_strides[1]
            for row in range(rows):
                for column in range(columns):
                    at = image * from_strides[0] + channel * from_strides[1]
                    at += row * from_strides[2] + column * from_strides[3]
                    y, to = _place(indices[at], compact, row, column, window, size)
                    if y < 0:
                        return False
                    to = start + y * to_strides[2] + to * to_strides[3]
                    if add:
                        out[to] += x[at]
                    else:
                        out[to] = x[at]
    return True


@jit
def _gather(
    x: Array,
    indices: Array,
    sizes: tuple[int, ...],
    to_strides: tuple[int, ...],
    from_strides: tuple[int, ...],
    window: tuple[int, ...],
    size: tuple[int, int],
    compact: bool,
    out: Array,
) -> Any:
    """Take the value at each place. False where an index lies outside the image."""
    n, c, rows, columns = sizes
    for image in range(n):
        for channel in range(c):
            start = image * from_strides[0] + channel * from_strides[1]
            for row in range(rows):
                for column in range(columns):
                    at = image * to_strides[0] + channel * to_strides[1]
                    at += row * to_strides[2] + column * to_strides[3]
                    y, place = _place(indices[at], compact, row, column, window, size)
                    if y < 0:
                        return False
                    out[at] = x[start + y * from_strides[2] + place * from_strides[3]]
    return True
