"""Numba kernels of the RoI ops whose bins are made of whole pixels, or have channels of their own."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_jit import Indices, jit, plain
from fastdet.roi.bins import pixel_bins
from fastdet.roi.taps import axes_of, first_bad_box


def roi_pool(
    x: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array, places: Array | None
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    indices = np.empty(result.shape[1:], np.int64)
    made = np.empty(result.shape[1:], boxes.dtype)
    to = None if places is None else places.transpose(0, 3, 1, 2) if channels_last else places
    for k in range(len(boxes)):
        image = plain(np.ascontiguousarray(widen(planes[int(boxes[k, 0])])))
        rows, columns = _edges(boxes[k], spatial_scale, True, result.shape[2:], planes.shape[2:])
        _largest(image, rows, columns, made, indices)
        result[k] = narrow(made, out.dtype)
        if to is not None:
            to[k] = indices
    return None


def _edges(
    box: Array, scale: float, inclusive: bool, bins: tuple[int, int], size: tuple[int, int]
) -> tuple[Indices, Indices]:
    rows, columns = pixel_bins(box, scale, inclusive, bins, size)
    return np.array(rows, np.int64).reshape(-1, 2), np.array(columns, np.int64).reshape(-1, 2)


@jit
def _largest(x: Array, rows: Indices, columns: Indices, out: Array, places: Indices) -> None:
    for c in range(out.shape[0]):
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                best, place = x.dtype.type(0), -1
                for y in range(rows[p, 0], rows[p, 1]):
                    for s in range(columns[q, 0], columns[q, 1]):
                        value = x[c, y, s]
                        if place < 0 or value > best or value != value:
                            best, place = value, y * x.shape[2] + s
                out[c, p, q], places[c, p, q] = best, place


def roi_pool_backward(grad: Array, channels_last: bool, places: Array, boxes: Array, out: Array) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return 2 * bad
    pooled, where, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, places, out))
    size = result.shape[2] * result.shape[3]
    wrong = (places < -1) | (places >= size)
    if wrong.any():
        return 2 * int(np.argmax(wrong)) + 1
    sums = np.zeros((*result.shape[:2], size), boxes.dtype)
    for k in range(len(boxes)):
        values, at = (np.ascontiguousarray(y[k]) for y in (pooled, where))
        flat = (len(values), values[0].size if len(values) else 0)
        _scatter(plain(widen(values)).reshape(flat), at.reshape(flat), sums[int(boxes[k, 0])])
    result[...] = narrow(sums.reshape(result.shape), out.dtype)
    return None


@jit
def _scatter(values: Array, places: Indices, sums: Array) -> None:
    for c in range(values.shape[0]):
        for i in range(values.shape[1]):
            place = places[c, i]
            if 0 <= place < sums.shape[1]:
                sums[c, place] += values[c, i]


def ps_roi_align(
    x: Array, channels_last: bool, boxes: Array, spatial_scale: float, sampling_ratio: int, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    made = np.empty(result.shape[1:], boxes.dtype)
    for k in range(len(boxes)):
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, True, False, result.shape[2:])
        image = plain(np.ascontiguousarray(widen(planes[int(boxes[k, 0])])))
        (wy, there_y), (wx, there_x) = rows.taps(planes.shape[2]), columns.taps(planes.shape[3])
        _own_means(image, wy, there_y, wx, there_x, count, made)
        result[k] = narrow(made, out.dtype)
    return None


@jit
def _own_means(x: Array, wy: Array, there_y: Array, wx: Array, there_x: Array, count: float, out: Array) -> None:
    bins_y, bins_x = out.shape[1:]
    for c in range(out.shape[0]):
        for p in range(bins_y):
            for q in range(bins_x):
                plane, total, first_row = x[(c * bins_y + p) * bins_x + q], x.dtype.type(0), True
                for y in range(plane.shape[0]):
                    if not there_y[p, y]:
                        continue
                    line, first = x.dtype.type(0), True
                    for s in range(plane.shape[1]):
                        if there_x[q, s]:
                            term = wx[q, s] * plane[y, s]
                            line = term if first else line + term
                            first = False
                    if not first:
                        total = wy[p, y] * line if first_row else total + wy[p, y] * line
                        first_row = False
                out[c, p, q] = total / count


def ps_roi_align_backward(
    grad: Array, channels_last: bool, boxes: Array, spatial_scale: float, sampling_ratio: int, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    sums = np.zeros(result.shape, boxes.dtype)
    for k in range(len(boxes)):
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, True, False, pooled.shape[2:])
        each = plain(np.ascontiguousarray(widen(pooled[k])))
        (wy, there_y), (wx, there_x) = rows.taps(result.shape[2]), columns.taps(result.shape[3])
        _spread_own(each, wy, there_y, wx, there_x, count, sums[int(boxes[k, 0])])
    result[...] = narrow(sums, out.dtype)
    return None


@jit
def _spread_own(g: Array, wy: Array, there_y: Array, wx: Array, there_x: Array, count: float, sums: Array) -> None:
    bins_y, bins_x = g.shape[1:]
    for c in range(g.shape[0]):
        for p in range(bins_y):
            for q in range(bins_x):
                plane, value = sums[(c * bins_y + p) * bins_x + q], g[c, p, q] / count
                for y in range(plane.shape[0]):
                    if there_y[p, y]:
                        for s in range(plane.shape[1]):
                            if there_x[q, s]:
                                plane[y, s] += wy[p, y] * (wx[q, s] * value)


def ps_roi_pool(x: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    made = np.empty(result.shape[1:], boxes.dtype)
    for k in range(len(boxes)):
        image = plain(np.ascontiguousarray(widen(planes[int(boxes[k, 0])])))
        rows, columns = _edges(boxes[k], spatial_scale, False, result.shape[2:], planes.shape[2:])
        _own_areas(image, rows, columns, made)
        result[k] = narrow(made, out.dtype)
    return None


@jit
def _own_areas(x: Array, rows: Indices, columns: Indices, out: Array) -> None:
    bins_y, bins_x = out.shape[1:]
    for c in range(out.shape[0]):
        for p in range(bins_y):
            for q in range(bins_x):
                plane, total, count = x[(c * bins_y + p) * bins_x + q], x.dtype.type(0), 0
                for y in range(rows[p, 0], rows[p, 1]):
                    for s in range(columns[q, 0], columns[q, 1]):
                        total = total + plane[y, s] if count else plane[y, s]
                        count += 1
                out[c, p, q] = total / x.dtype.type(max(count, 1))


def ps_roi_pool_backward(
    grad: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    sums = np.zeros(result.shape, boxes.dtype)
    for k in range(len(boxes)):
        rows, columns = _edges(boxes[k], spatial_scale, False, pooled.shape[2:], result.shape[2:])
        each = plain(np.ascontiguousarray(widen(pooled[k])))
        _share_own(each, rows, columns, sums[int(boxes[k, 0])])
    result[...] = narrow(sums, out.dtype)
    return None


@jit
def _share_own(g: Array, rows: Indices, columns: Indices, sums: Array) -> None:
    bins_y, bins_x = g.shape[1:]
    for c in range(g.shape[0]):
        for p in range(bins_y):
            for q in range(bins_x):
                plane = sums[(c * bins_y + p) * bins_x + q]
                area = max(rows[p, 1] - rows[p, 0], 0) * max(columns[q, 1] - columns[q, 0], 0)
                share = g[c, p, q] / g.dtype.type(max(area, 1))
                for y in range(rows[p, 0], rows[p, 1]):
                    for s in range(columns[q, 0], columns[q, 1]):
                        plane[y, s] += share
