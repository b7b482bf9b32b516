"""Numba kernels of formats of rotated boxes, and of the smallest rotated box around points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import ARCTAN_P, ARCTAN_Q, MIDDLE, TAN_3PI_8
from fastdet._core.numba_jit import jit, plain
from fastdet.rotated._numba_pair import cosine_sine

FORMATS = ("cxcywhr", "xywhr", "xyxyxyxy")
P0, P1, P2, P3, P4 = ARCTAN_P
Q0, Q1, Q2, Q3, Q4 = ARCTAN_Q


def box_convert_rotated(
    boxes: Array, in_fmt: str, out_fmt: str, degrees: bool, clockwise: bool, out_degrees: bool, out_clockwise: bool
) -> Array:
    if in_fmt == out_fmt and (in_fmt == "xyxyxyxy" or (degrees, clockwise) == (out_degrees, out_clockwise)):
        return boxes.copy()
    out = np.empty((len(boxes), 8 if out_fmt == "xyxyxyxy" else 5), boxes.dtype)
    source, target = FORMATS.index(in_fmt), FORMATS.index(out_fmt)
    _convert(plain(boxes), source, target, degrees, clockwise, out_degrees, out_clockwise, out)
    return out


@jit
def _convert(
    boxes: Array, source: int, target: int, degrees: bool, clockwise: bool, out_degrees: bool, out_clockwise: bool,
    out: Array,
) -> None:  # fmt: skip
    for i in range(len(boxes)):
        x, y = np.float64(boxes[i, 0]), np.float64(boxes[i, 1])
        if source == 2:
            dx, dy = np.float64(boxes[i, 2]) - x, np.float64(boxes[i, 3]) - y
            ex = np.float64(boxes[i, 4]) - np.float64(boxes[i, 2])
            ey = np.float64(boxes[i, 5]) - np.float64(boxes[i, 3])
            w, h = math.sqrt(dx * dx + dy * dy), math.sqrt(ex * ex + ey * ey)
            c, s = (dx / w, dy / w) if w > 0 else (1.0 + (w - w), w - w)
            angle = turn_of(dx, dy if out_clockwise else 0.0 - dy, out_degrees)
        else:
            w, h, angle = np.float64(boxes[i, 2]), np.float64(boxes[i, 3]), np.float64(boxes[i, 4])
            c, s = cosine_sine(angle, degrees)
            s = s if clockwise else 0.0 - s
            if degrees and not out_degrees:
                angle = angle * 0.017453292519943295
            if out_degrees and not degrees:
                angle = angle * 57.29577951308232
            if clockwise != out_clockwise:
                angle = 0.0 - angle
        p, q = 0.5 * w, 0.5 * h
        if source == 0 and target != 0:
            x, y = (x - p * c) + q * s, (y - p * s) - q * c
        if source != 0 and target == 0:
            x, y = (x + p * c) - q * s, (y + p * s) + q * c
        out[i, 0], out[i, 1] = x, y
        if target != 2:
            out[i, 2], out[i, 3], out[i, 4] = w, h, angle
        else:
            x2, y2 = x + w * c, y + w * s
            out[i, 2], out[i, 3], out[i, 4], out[i, 5] = x2, y2, x2 - h * s, y2 + h * c
            out[i, 6], out[i, 7] = x - h * s, y + h * c


@jit
def turn_of(c: float, s: float, degrees: bool) -> Any:
    unit = 57.29577951308232 if degrees else 1.0
    quarter, half = (90.0, 180.0) if degrees else (1.5707963267948966, 3.141592653589793)
    a, b = abs(c), abs(s)
    low, high = b if b < a else a, b if b > a else a
    turn = arctan(low / high) * unit if high > 0 else low + high
    if math.isnan(b):
        turn = b
    if b > a:
        turn = quarter - turn
    if c < 0:
        turn = half - turn
    return 0.0 - turn if s < 0 else turn


@jit
def arctan(x: float) -> Any:
    """`elementary.arctan` of a float64 of 0 or more, or NaN."""
    high, low = x >= TAN_3PI_8, x >= MIDDLE
    t = (-1.0 if high else (x - 1.0 if low else x)) / (x if high else (x + 1.0 if low else 1.0))
    base = 1.5707963267948966 if high else (0.7853981633974483 if low else 0.0)
    z = t * t
    p = (((P0 * z + P1) * z + P2) * z + P3) * z + P4
    q = ((((z + Q0) * z + Q1) * z + Q2) * z + Q3) * z + Q4
    return base + (z * p / q * t + t)


def min_area_rect(points: Array, degrees: bool, clockwise: bool) -> Array:
    out = np.empty((len(points), 5), points.dtype)
    _rects(plain(points), degrees, clockwise, out)
    return out


@jit
def _rects(points: Array, degrees: bool, clockwise: bool, out: Array) -> None:
    count = points.shape[1]
    by_x, hull = np.empty((count, 2)), np.empty((count + 1, 2))
    for i in range(len(points)):
        finite = True
        for k in range(count):
            for axis in range(2):
                value = np.float64(points[i, k, axis]) + 0.0
                finite &= math.isfinite(value)
                by_x[k, axis] = value
        if not finite:
            for k in range(5):
                out[i, k] = math.nan
            continue
        _sort(by_x)
        _rect(by_x, hull, degrees, clockwise, out[i])


@jit
def _sort(points: Array) -> None:
    """By x, then y: a heap, in place."""
    count = len(points)
    for k in range(count // 2 - 1, -1, -1):
        _sift_down(points, k, count)
    for k in range(count - 1, 0, -1):
        _swap(points, 0, k)
        _sift_down(points, 0, k)


@jit
def _sift_down(points: Array, root: int, count: int) -> None:
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and _is_before(points, child, child + 1):
            child += 1
        if not _is_before(points, root, child):
            return
        _swap(points, root, child)
        root = child


@jit
def _is_before(points: Array, a: int, b: int) -> Any:
    return points[a, 0] < points[b, 0] if points[a, 0] != points[b, 0] else points[a, 1] < points[b, 1]


@jit
def _swap(points: Array, a: int, b: int) -> None:
    for axis in range(2):
        kept = points[a, axis]
        points[a, axis] = points[b, axis]
        points[b, axis] = kept


@jit
def _rect(points: Array, hull: Array, degrees: bool, clockwise: bool, out: Array) -> None:
    x0, y0, longest = points[0, 0], points[0, 1], 0.0
    for k in range(len(points)):
        points[k, 0], points[k, 1] = points[k, 0] - x0, points[k, 1] - y0
        longest = max(longest, max(abs(points[k, 0]), abs(points[k, 1])))
    exponent = math.frexp(longest)[1] + 1022 if math.isfinite(longest) and longest > 0 else 0
    scale = math.ldexp(1.0, 1030 - max(exponent, 8)) if math.isfinite(longest) else 0.0
    for k in range(len(points)):
        points[k, 0], points[k, 1] = points[k, 0] * scale, points[k, 1] * scale
    n = convex_hull(points, hull)
    best, c, s, w, h, x, y = math.inf, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n if n > 1 else 0):
        to = k + 1 if k + 1 < n else 0
        dx, dy = hull[to, 0] - hull[k, 0], hull[to, 1] - hull[k, 1]
        length = math.sqrt(dx * dx + dy * dy)
        if not length > 0:
            continue
        u, v = dx / length, dy / length
        low_u, high_u, low_v, high_v = math.inf, -math.inf, math.inf, -math.inf
        for i in range(n):
            along, across = hull[i, 0] * u + hull[i, 1] * v, hull[i, 1] * u - hull[i, 0] * v
            low_u, high_u = min(low_u, along), max(high_u, along)
            low_v, high_v = min(low_v, across), max(high_v, across)
        wide, high = high_u - low_u, high_v - low_v
        if wide * high < best:
            best, c, s, w, h = wide * high, u, v, wide, high
            middle, level = 0.5 * (low_u + high_u), 0.5 * (low_v + high_v)
            x, y = middle * u - level * v, middle * v + level * u
    t = s if clockwise else 0.0 - s
    for _ in range(3):
        if not (c > 0 and t >= 0):
            c, t, w, h = 0.0 - t, c, h, w
    back = 1.0 / scale
    out[0], out[1], out[2], out[3] = x0 + x * back, y0 + y * back, w * back, h * back
    out[4] = turn_of(c, t, degrees)


@jit
def convex_hull(points: Array, hull: Array) -> Any:
    n, count = 0, len(points)
    for step in range(2):
        least = n if step else 1
        for k in range(count):
            at = count - 1 - k if step else k
            x, y = points[at, 0], points[at, 1]
            if n > 0 and x == hull[n - 1, 0] and y == hull[n - 1, 1]:
                continue
            while n > least and _turns_back(hull[n - 2], hull[n - 1], x, y):
                n -= 1
            hull[n, 0], hull[n, 1] = x, y
            n += 1
    return n - 1 if n > 1 else n


@jit
def _turns_back(a: Array, b: Array, x: float, y: float) -> Any:
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) <= 0
