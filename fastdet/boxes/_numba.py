"""Numba kernels of box operations, and the arithmetic of a pair of boxes, which NMS and fusion use too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain, typed
from fastdet.boxes.overlap import aspect_angle
from fastdet.boxes.overlap import rescale as rescale_of

FORMATS = ("xyxy", "xywh", "cxcywh")
IOU, IOS, GIOU, DIOU, CIOU = range(5)
METRICS = {"iou": IOU, "ios": IOS, "giou": GIOU, "diou": DIOU, "ciou": CIOU}


def box_area(boxes: Array) -> Array:
    area = np.empty(len(boxes), boxes.dtype)
    _area(plain(boxes), area)
    return area


@jit
def _area(boxes: Array, area: Array) -> None:
    for i in range(len(boxes)):
        value, _, _ = parts(boxes, i, boxes, i, boxes.dtype.type(1))
        area[i] = boxes.dtype.type(np.nan) if has_nan(boxes, i) else value


def box_convert(boxes: Array, in_fmt: str, out_fmt: str) -> Array:
    converted = boxes.copy()
    if in_fmt != out_fmt:
        _convert(converted, FORMATS.index(in_fmt), FORMATS.index(out_fmt))
    return converted


@jit
def _convert(boxes: Array, source: int, target: int) -> None:
    half = boxes.dtype.type(0.5)
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if source == 1:
            x2, y2 = x1 + x2, y1 + y2
        elif source == 2:
            x1, y1, x2, y2 = x1 - half * x2, y1 - half * y2, x1 + half * x2, y1 + half * y2
        if target == 1:
            x2, y2 = x2 - x1, y2 - y1
        elif target == 2:
            x1, y1, x2, y2 = half * x1 + half * x2, half * y1 + half * y2, x2 - x1, y2 - y1
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = x1, y1, x2, y2


def clip_boxes_to_image(boxes: Array, height: float, width: float) -> Array:
    clipped = boxes.copy()
    _clip(clipped, *(typed(boxes.dtype, x) for x in (width, height)))
    return clipped


@jit
def _clip(boxes: Array, width: Any, height: Any) -> None:
    zero = boxes.dtype.type(0)
    for i in range(len(boxes)):
        for k in range(4):  # a NaN stays: both comparisons are false
            x, edge = boxes[i, k], height if k % 2 else width
            x = zero if x <= zero else x
            boxes[i, k] = edge if x > edge else x


def remove_small_boxes(boxes: Array, min_size: float) -> Indices:
    keep = np.empty(len(boxes), np.int64)
    return keep[: _large(plain(boxes), typed(boxes.dtype, min_size), keep)].copy()


@jit
def _large(boxes: Array, min_size: Any, keep: Indices) -> Any:
    """Write the indices of the boxes that are large enough to ``keep``; returns how many there are."""
    count = 0
    for i in range(len(boxes)):
        if boxes[i, 2] - boxes[i, 0] >= min_size and boxes[i, 3] - boxes[i, 1] >= min_size:
            keep[count] = i
            count += 1
    return count


def box_iou(
    a: Array, b: Array, metric: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None
) -> Array:
    if out is None:
        out = np.empty(len(a) if aligned else (len(a), len(b)), a.dtype)
    scale = rescale_of(a.dtype)
    added = np.array([typed(a.dtype, eps), typed(a.dtype, eps * float(scale) * float(scale))])
    with np.errstate(all="ignore"):
        # by the reference's IEEE operations; one row for the boxes, one for the rescaled boxes
        angles = [
            np.stack([aspect_angle(x), aspect_angle(x * scale)]) if metric == "ciou" else x[:0].T.copy() for x in (a, b)
        ]
    crowd = np.zeros(0, np.bool_) if crowd is None else plain(crowd)
    args = plain(a), plain(b), METRICS[metric], crowd, added, typed(a.dtype, 4 / np.pi**2), *angles, out
    if aligned:
        _aligned(*args)
    else:
        _pairwise(*args)
    return out


@jit
def _scaled_pair(
    a: Array, i: int, b: Array, j: int, metric: int, crowd: Array, eps: Any, turn: Any, angle: Any, scale: Any
) -> Any:
    """The metric of a pair, coordinates times ``scale``, and its denominator, which is not finite after an overflow."""
    zero, one, half = a.dtype.type(0), a.dtype.type(1), a.dtype.type(0.5)
    area_a, area_b, inter = parts(a, i, b, j, scale)
    denominator = (area_a if area_a < area_b else area_b) if metric == IOS else area_a + area_b - inter
    if crowd.size and crowd[j]:
        denominator = area_a
    iou = inter / denominator if np.isfinite(denominator) and denominator > zero else zero
    if metric <= IOS:
        return iou, denominator
    ax1, ay1, ax2, ay2 = a[i, 0] * scale, a[i, 1] * scale, a[i, 2] * scale, a[i, 3] * scale
    bx1, by1, bx2, by2 = b[j, 0] * scale, b[j, 1] * scale, b[j, 2] * scale, b[j, 3] * scale
    width = (ax2 if ax2 > bx2 else bx2) - (ax1 if ax1 < bx1 else bx1)
    height = (ay2 if ay2 > by2 else by2) - (ay1 if ay1 < by1 else by1)
    if metric == GIOU:  # the hull's sides may be NaN, and stay so
        hull = (zero if width < zero else width) * (zero if height < zero else height)
        loss = (hull - denominator) / hull if hull > zero else zero
        return iou - loss, hull + denominator
    diagonal = width * width + height * height + eps
    dx = (half * ax1 + half * ax2) - (half * bx1 + half * bx2)
    dy = (half * ay1 + half * ay2) - (half * by1 + half * by2)
    diou = iou - (dx * dx + dy * dy) / diagonal
    if metric == DIOU:
        return diou, diagonal + denominator
    v = turn * (angle * angle)
    return diou - v * v / (one - iou + v + eps), diagonal + denominator


@jit
def _pair(
    a: Array, i: int, b: Array, j: int, metric: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array
) -> Any:
    """`box_iou_reference` for one pair of any coordinates; ``eps`` and angles: plain, then rescaled."""
    angle = a.dtype.type(0)
    if has_nan(a, i) or has_nan(b, j):
        return a.dtype.type(np.nan)
    if metric == CIOU:
        angle = angle_b[0, j] - angle_a[0, i]
    value, denominator = _scaled_pair(a, i, b, j, metric, crowd, eps[0], turn, angle, a.dtype.type(1))
    if not np.isfinite(denominator):
        if metric == CIOU:
            angle = angle_b[1, j] - angle_a[1, i]
        value, _ = _scaled_pair(a, i, b, j, metric, crowd, eps[1], turn, angle, rescale(a))
    return value


@jit
def _aligned(
    a: Array, b: Array, metric: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array, out: Array
) -> None:
    for i in range(len(a)):
        out[i] = _pair(a, i, b, i, metric, crowd, eps, turn, angle_a, angle_b)


@jit
def _pairwise(
    a: Array, b: Array, metric: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array, out: Array
) -> None:
    one = a.dtype.type(1)
    fast = eps[0] <= 1 and not (metric > DIOU or crowd.any())
    for j in range(len(b)):
        fast &= ordinary(b, j)
    stored = np.empty((5, len(b)), b.dtype)
    columns(b, np.arange(len(b)), stored)
    for i in range(len(a)):
        row = out[i]
        if not (fast and ordinary(a, i)):
            for j in range(len(b)):
                row[j] = _pair(a, i, b, j, metric, crowd, eps, turn, angle_a, angle_b)
        elif metric <= IOS:
            area, _, _ = parts(a, i, a, i, one)
            row_overlap(a[i, 0], a[i, 1], a[i, 2], a[i, 3], area, metric == IOS, stored, 0, len(b), row)
        else:
            for j in range(len(b)):
                row[j] = _scaled_pair(a, i, b, j, metric, crowd, eps[0], turn, one, one)[0]


@jit
def parts(a: Array, i: int, b: Array, j: int, scale: Any) -> Any:
    """Area of a[i], area of b[j] and of their intersection, all coordinates times ``scale``."""
    zero = a.dtype.type(0)
    ax1, ay1, ax2, ay2 = a[i, 0] * scale, a[i, 1] * scale, a[i, 2] * scale, a[i, 3] * scale
    bx1, by1, bx2, by2 = b[j, 0] * scale, b[j, 1] * scale, b[j, 2] * scale, b[j, 3] * scale
    area_a = (ax2 - ax1) * (ay2 - ay1) if ax2 > ax1 and ay2 > ay1 else zero
    area_b = (bx2 - bx1) * (by2 - by1) if bx2 > bx1 and by2 > by1 else zero
    width = (ax2 if ax2 < bx2 else bx2) - (ax1 if ax1 > bx1 else bx1)
    height = (ay2 if ay2 < by2 else by2) - (ay1 if ay1 > by1 else by1)
    return area_a, area_b, width * height if width > zero and height > zero else zero


@jit
def rescale(a: Array) -> Any:
    """`overlap.rescale`."""
    return a.dtype.type(2.0**-66) if a.itemsize == 4 else a.dtype.type(2.0**-514)


@jit
def has_nan(a: Array, i: int) -> Any:
    return math.isnan(a[i, 0]) or math.isnan(a[i, 1]) or math.isnan(a[i, 2]) or math.isnan(a[i, 3])


@jit
def overlap(a: Array, i: int, b: Array, j: int, ios: bool) -> Any:
    """IoU or IoS of two boxes of any coordinates: `box_iou_reference` for one pair."""
    zero = a.dtype.type(0)
    if has_nan(a, i) or has_nan(b, j):
        return a.dtype.type(np.nan)
    scale = a.dtype.type(1)
    for _ in range(2):
        area_a, area_b, inter = parts(a, i, b, j, scale)
        denominator = (area_a if area_a < area_b else area_b) if ios else area_a + area_b - inter
        if math.isfinite(denominator):
            return inter / denominator if denominator > zero else zero
        scale = rescale(a)
    return zero


@jit
def ordinary(boxes: Array, i: int) -> Any:
    """Whether coordinates are so far from overflow that areas, their sums and squared distances are finite.

    Conservative: boxes just outside the limit are computed the slow way, with the same result.
    """
    limit = boxes.dtype.type(2.0**60) if boxes.itemsize == 4 else boxes.dtype.type(2.0**500)
    return (
        abs(boxes[i, 0]) <= limit
        and abs(boxes[i, 1]) <= limit
        and abs(boxes[i, 2]) <= limit
        and abs(boxes[i, 3]) <= limit
    )


@jit
def columns(boxes: Array, members: Indices, stored: Array) -> None:
    """Copy x1, y1, x2, y2 and area of the members into the rows of ``stored``, (5, n)."""
    zero = boxes.dtype.type(0)
    for at, i in enumerate(members):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        stored[0, at], stored[1, at], stored[2, at], stored[3, at] = x1, y1, x2, y2
        stored[4, at] = (x2 - x1) * (y2 - y1) if x2 > x1 and y2 > y1 else zero


@jit
def row_overlap(
    x1: Any, y1: Any, x2: Any, y2: Any, area: Any, ios: bool, b: Array, lo: int, hi: int, row: Array
) -> None:
    """IoU or IoS of an `ordinary` box with the ordinary boxes lo .. hi of ``b`` (`columns`), into row[0 ..].

    Straight-line code, which the compiler turns into vector instructions. Equal to `overlap`, because an intersection
    is 0 where its denominator is 0.
    """
    zero, one = b.dtype.type(0), b.dtype.type(1)
    bx1, by1, bx2, by2, areas = b[0, lo:hi], b[1, lo:hi], b[2, lo:hi], b[3, lo:hi], b[4, lo:hi]
    for j in range(hi - lo):
        width = (x2 if x2 < bx2[j] else bx2[j]) - (x1 if x1 > bx1[j] else bx1[j])
        height = (y2 if y2 < by2[j] else by2[j]) - (y1 if y1 > by1[j] else by1[j])
        inter = (width if width > zero else zero) * (height if height > zero else zero)
        denominator = (area if area < areas[j] else areas[j]) if ios else area + areas[j] - inter
        row[j] = inter / (denominator if denominator > zero else one)
