"""Numba kernels of RoI ops. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_jit import Indices, jit, plain
from fastdet.roi._numba_bins import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
    roi_pool,
    roi_pool_backward,
)
from fastdet.roi.taps import Axis, axes_of, first_bad_box, rows_of

__all__ = [
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "roi_align",
    "roi_align_backward",
    "roi_levels",
    "roi_pool",
    "roi_pool_backward",
]


def roi_align(
    x: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Array,
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    image, source = -1, x
    made = np.empty(out.shape[1:], boxes.dtype)
    height, width = x.shape[1:3] if channels_last else x.shape[2:]
    bins = out.shape[1:3] if channels_last else out.shape[2:]
    for k in rows_of(levels, level, len(boxes)):
        if image != boxes[k, 0]:
            image = int(boxes[k, 0])
            source = plain(widen(x[image]))
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, aligned, not aligned, bins)
        y, x_taps = _taps(rows, height), _taps(columns, width)
        (_align_last if channels_last else _align_planes)(source, *y, *x_taps, count, made)
        out[k] = narrow(made, out.dtype)
    return None


def roi_levels(boxes: Array, bounds: list[float], out: Array) -> None:
    _count_reached(plain(boxes), np.array(bounds, np.float64).astype(boxes.dtype), out)


@jit
def _count_reached(boxes: Array, bounds: Array, out: Array) -> None:
    for k in range(len(boxes)):
        area = (boxes[k, 3] - boxes[k, 1]) * (boxes[k, 4] - boxes[k, 2])
        out[k] = 0
        for bound in bounds:
            out[k] += area >= bound


def _taps(axis: Axis, size: int) -> tuple[Indices, Indices, Array]:
    """The taps of each bin in one list: where each bin's begin, (bins + 1,), their pixels and their weights."""
    weights, there = np.zeros((axis.bins, size), type(axis.start)), np.zeros((axis.bins, size), np.bool_)
    _weights(axis.start, axis.bin, axis.grid, weights, there)
    bin_of, pixel = np.nonzero(there)
    return np.searchsorted(bin_of, np.arange(axis.bins + 1)), pixel, weights[there]


@jit
def _weights(start: float, size_of_bin: float, grid: int, weights: Array, there: Array) -> None:
    """`Axis.taps`."""
    cast = weights.dtype.type
    bins, size = weights.shape
    for b in range(bins):
        first = start + cast(b) * size_of_bin
        for i in range(grid):
            at = first + (cast(i) + cast(0.5)) * size_of_bin / cast(grid)
            if not (at >= cast(-1) and at <= cast(size)):
                continue
            at = max(at, cast(0))
            low = min(int(at), size - 1)
            high = min(low + 1, size - 1)
            if low == size - 1:
                at = cast(low)
            second = at - cast(low)
            weights[b, low] += cast(1) - second
            weights[b, high] += second
            there[b, low] = there[b, high] = True


@jit
def _align_planes(
    x: Array, y0: Indices, rows: Indices, wy: Array, x0: Indices, columns: Indices, wx: Array, count: float, out: Array
) -> None:
    for c in range(out.shape[0]):
        plane = x[c]
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                total = x.dtype.type(0)
                if x0[q] < x0[q + 1]:
                    for i in range(y0[p], y0[p + 1]):
                        j = x0[q]
                        line = wx[j] * plane[rows[i], columns[j]]
                        for j in range(x0[q] + 1, x0[q + 1]):
                            line += wx[j] * plane[rows[i], columns[j]]
                        total = wy[i] * line if i == y0[p] else total + wy[i] * line
                out[c, p, q] = total / count


@jit
def _align_last(
    x: Array, y0: Indices, rows: Indices, wy: Array, x0: Indices, columns: Indices, wx: Array, count: float, out: Array
) -> None:
    zero = x.dtype.type(0)
    total, line = np.empty(out.shape[2], x.dtype), np.empty(out.shape[2], x.dtype)
    for p in range(out.shape[0]):
        for q in range(out.shape[1]):
            total[:] = zero
            for i in range(y0[p], y0[p + 1]):
                line[:] = zero
                for j in range(x0[q], x0[q + 1]):
                    pixel, weight = x[rows[i], columns[j]], wx[j]
                    if j == x0[q]:
                        for c in range(len(line)):
                            line[c] = weight * pixel[c]
                    else:
                        for c in range(len(line)):
                            line[c] += weight * pixel[c]
                weight = wy[i]
                if i == y0[p]:
                    for c in range(len(line)):
                        total[c] = weight * line[c]
                else:
                    for c in range(len(line)):
                        total[c] += weight * line[c]
            to = out[p, q]
            for c in range(len(line)):
                to[c] = total[c] / count


def roi_align_backward(
    grad: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Array,
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    sums = np.zeros(result.shape, boxes.dtype)
    for k in rows_of(levels, level, len(boxes)):
        bins = pooled.shape[2:]
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, aligned, not aligned, bins)
        y, x_taps = _taps(rows, result.shape[2]), _taps(columns, result.shape[3])
        each = plain(np.ascontiguousarray(widen(pooled[k])))
        _spread(each, *y, *x_taps, count, sums[int(boxes[k, 0])])
    result[...] = narrow(sums, out.dtype)
    return None


@jit
def _spread(
    g: Array, y0: Indices, rows: Indices, wy: Array, x0: Indices, columns: Indices, wx: Array, count: float, sums: Array
) -> None:
    """Add the gradient of one RoI: of each bin in ascending order, first along x, then along y."""
    bins_y, bins_x = g.shape[1:]
    wide, seen_x = np.empty((bins_y, sums.shape[2]), g.dtype), np.zeros(sums.shape[2], np.bool_)
    tall, seen_y = np.empty((sums.shape[1], sums.shape[2]), g.dtype), np.zeros(sums.shape[1], np.bool_)
    for c in range(g.shape[0]):
        seen_x[:] = False
        for q in range(bins_x):
            for j in range(x0[q], x0[q + 1]):
                s = columns[j]
                for p in range(bins_y):
                    term = wx[j] * (g[c, p, q] / count)
                    wide[p, s] = wide[p, s] + term if seen_x[s] else term
                seen_x[s] = True
        seen_y[:] = False
        for p in range(bins_y):
            for i in range(y0[p], y0[p + 1]):
                r = rows[i]
                for s in range(sums.shape[2]):
                    if seen_x[s]:
                        term = wy[i] * wide[p, s]
                        tall[r, s] = tall[r, s] + term if seen_y[r] else term
                seen_y[r] = True
        for r in range(sums.shape[1]):
            if seen_y[r]:
                for s in range(sums.shape[2]):
                    if seen_x[s]:
                        sums[c, r, s] += tall[r, s]
