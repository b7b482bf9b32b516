"""Numba kernel of overlaps of rotated boxes, group by group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain
from fastdet.rotated._numba_pair import measure, rects


def rotated_iou_of_groups(
    boxes1: Array, boxes2: Array, crowd: Array, rows1: Indices, start1: Indices, rows2: Indices, start2: Indices
) -> Array:
    pairs = int((np.diff(start1) * np.diff(start2)).sum())
    out, flags = np.empty(pairs), plain(crowd)
    d, s, g, t = (plain(x) for x in (rows1, start1, rows2, start2))
    if boxes1.shape[1] == 5:
        _rects_of_groups(rects(plain(boxes1), True, False), rects(plain(boxes2), True, False), flags, d, s, g, t, out)
    else:
        _quads_of_groups(plain(boxes1), plain(boxes2), flags, d, s, g, t, out)
    return out


@jit
def _rects_of_groups(
    a: Array, b: Array, crowd: Array, rows1: Indices, start1: Indices, rows2: Indices, start2: Indices, out: Array
) -> None:
    at = 0
    for group in range(len(start1) - 1):
        for i in range(start1[group], start1[group + 1]):
            for j in range(start2[group], start2[group + 1]):
                out[at] = measure(a, rows1[i], b, rows2[j], 2 if crowd[rows2[j]] else 0)
                at += 1


@jit
def _quads_of_groups(
    a: Array, b: Array, crowd: Array, rows1: Indices, start1: Indices, rows2: Indices, start2: Indices, out: Array
) -> None:
    polygon, cut, side = np.empty((9, 2)), np.empty((9, 2)), np.empty(9)
    p, q, one, other = np.empty((4, 2)), np.empty((4, 2)), np.empty((3, 2)), np.empty((3, 2))
    at = 0
    for group in range(len(start1) - 1):
        for i in range(start1[group], start1[group + 1]):
            for j in range(start2[group], start2[group + 1]):
                first, second = a[rows1[i]], b[rows2[j]]
                if not _meet(first, second):
                    out[at] = 0.0
                    at += 1
                    continue
                for k in range(4):
                    for axis in range(2):
                        p[k, axis] = first[2 * k + axis] - first[axis]
                        q[k, axis] = second[2 * k + axis] - first[axis]
                out[at] = _quad_overlap(p, q, crowd[rows2[j]], one, other, polygon, cut, side)
                at += 1


@jit
def _meet(a: Array, b: Array) -> Any:
    for axis in range(2):
        low, high, other_low, other_high = a[axis], a[axis], b[axis], b[axis]
        for k in range(axis + 2, 8, 2):
            low, high = min(low, a[k]), max(high, a[k])
            other_low, other_high = min(other_low, b[k]), max(other_high, b[k])
        if low > other_high or other_low > high:
            return False
    return True


@jit
def _cross(a: Array, b: Array, c: Array) -> Any:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@jit
def _triangle(q: Array, i: int, turned: bool, out: Array) -> None:
    for axis in range(2):
        out[0, axis] = q[0, axis]
        out[1, axis] = q[i + 1, axis] if turned else q[i, axis]
        out[2, axis] = q[i, axis] if turned else q[i + 1, axis]


@jit
def _area(q: Array) -> Any:
    return abs(0.5 * (_cross(q[0], q[1], q[2]) + _cross(q[0], q[2], q[3])))


@jit
def _quad_overlap(
    p: Array, q: Array, crowd: bool, one: Array, other: Array, polygon: Array, cut: Array, side: Array
) -> Any:
    inter = 0.0
    for i in range(1, 3):
        a = _cross(p[0], p[i], p[i + 1])
        _triangle(p, i, a < 0, one)
        for j in range(1, 3):
            b = _cross(q[0], q[j], q[j + 1])
            _triangle(q, j, b < 0, other)
            if a == 0 or b == 0:
                continue
            area = _shared(one, other, polygon, cut, side)
            inter = inter + area if (a < 0) == (b < 0) else inter - area
    area_p, area_q = _area(p), _area(q)
    least = area_q if area_q < area_p else area_p
    inter = abs(inter)
    inter = least if least < inter else inter
    denominator = area_p if crowd else (area_p + area_q) - inter
    overlap = inter / denominator if denominator > 0 else 0.0
    return 0.0 if math.isnan(overlap) else overlap


@jit
def _shared(a: Array, b: Array, polygon: Array, cut: Array, side: Array) -> Any:
    count = 3
    polygon[:3] = a
    for edge in range(3):
        begin, end = b[edge], b[edge + 1 if edge < 2 else 0]
        for k in range(count):
            side[k] = _cross(begin, end, polygon[k])
        kept = 0
        for k in range(count):
            last = k - 1 if k else count - 1
            here, there = side[k], side[last]
            if (here > 0 and there < 0) or (here < 0 and there > 0):
                t = there / (there - here)
                for axis in range(2):
                    cut[kept, axis] = polygon[last, axis] + t * (polygon[k, axis] - polygon[last, axis])
                kept += 1
            if here >= 0:
                cut[kept, 0], cut[kept, 1] = polygon[k, 0], polygon[k, 1]
                kept += 1
        count = kept
        for k in range(count):
            polygon[k, 0], polygon[k, 1] = cut[k, 0], cut[k, 1]
        if count < 3:
            return 0.0
    twice = 0.0
    for k in range(1, count - 1):
        twice += _cross(polygon[0], polygon[k], polygon[k + 1])
    return 0.5 * twice if twice > 0 else 0.0
