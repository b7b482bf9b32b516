"""Overlaps of rotated boxes, group by group: of the detections and the true boxes of an image and class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends
from fastdet._core.check import Array
from fastdet.rotated.geometry import measure, rects_of

Ints = NDArray[np.int64]
Grouped = tuple[Ints, Ints, Ints, Ints]  # rows and starts of both sides: group i has rows[start[i] : start[i + 1]]
Point = tuple[float, float]


def rotated_iou_of_groups(a: Array, b: Array, crowd: Array, grouped: Grouped, *, backend: str | None = None) -> Array:
    """The overlap of each box of ``a`` with each of ``b`` of its group: group after group, row-major, float64.

    Boxes are (N, 5), cx cy w h degrees, or (N, 8), the corners of quadrilaterals of any shape: the overlap of those is
    the DOTA development kit's. With a crowd of ``b`` it is the share of the box of ``a`` inside it.
    """
    kernel = backends.choose("rotated_iou_of_groups", backend, rotated_iou_of_groups_reference)
    a, b = (np.require(x, np.float64, "C") for x in (a, b))
    out: Array = kernel(a, b, np.require(crowd, np.bool_, "C"), *grouped)
    return out


def rotated_iou_of_groups_reference(
    boxes1: Array, boxes2: Array, crowd: Array, rows1: Ints, start1: Ints, rows2: Ints, start2: Ints
) -> Array:
    parts = [np.zeros(0)]
    for i in range(len(start1) - 1):
        d, g = rows1[start1[i] : start1[i + 1]], rows2[start2[i] : start2[i + 1]]
        if boxes1.shape[1] == 5:
            a, b = rects_of(boxes1[d], True, False), rects_of(boxes2[g], True, False)
            a = a._replace(**{name: column[:, None] for name, column in a._asdict().items()})
            overlap = np.where(crowd[g], measure(a, b, "iof"), measure(a, b, "iou"))
        else:
            listed = [[quad_overlap(boxes1[j], boxes2[k], bool(crowd[k])) for k in g] for j in d]
            overlap = np.array(listed, np.float64)
        parts.append(overlap.reshape(-1))
    return np.concatenate(parts)


def quad_areas(quads: Array) -> Array:
    """(N,) areas of the quadrilaterals (N, 8)."""
    x, y = quads[:, 0::2] - quads[:, :1], quads[:, 1::2] - quads[:, 1:2]
    with np.errstate(all="ignore"):
        twice = (x[:, 1] * y[:, 2] - y[:, 1] * x[:, 2]) + (x[:, 2] * y[:, 3] - y[:, 2] * x[:, 3])
    return np.abs(0.5 * twice)


def quad_overlap(first: Array, second: Array, crowd: bool) -> float:
    """IoU of two quadrilaterals; each is the signed sum of two triangles from its first corner."""
    low, high = first.reshape(4, 2).min(0), first.reshape(4, 2).max(0)
    other_low, other_high = second.reshape(4, 2).min(0), second.reshape(4, 2).max(0)
    if (low > other_high).any() or (other_low > high).any():
        return 0.0
    with np.errstate(all="ignore"):
        p = list(map(tuple, (first - np.tile(first[:2], 4)).reshape(4, 2).tolist()))
        q = list(map(tuple, (second - np.tile(first[:2], 4)).reshape(4, 2).tolist()))
    inter = 0.0
    for i in (1, 2):
        a = _cross(p[0], p[i], p[i + 1])
        one = [p[0], p[i + 1], p[i]] if a < 0 else [p[0], p[i], p[i + 1]]
        for j in (1, 2):
            b = _cross(q[0], q[j], q[j + 1])
            other = [q[0], q[j + 1], q[j]] if b < 0 else [q[0], q[j], q[j + 1]]
            if a == 0 or b == 0:
                continue
            area = _shared(one, other)
            inter = inter + area if (a < 0) == (b < 0) else inter - area
    area_p, area_q = _area(p), _area(q)
    inter = _lesser(_greater(abs(inter), 0.0), _lesser(area_p, area_q))
    denominator = area_p if crowd else (area_p + area_q) - inter
    overlap = inter / denominator if denominator > 0 else 0.0
    return overlap if overlap == overlap else 0.0


def _cross(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _area(q: list[Point]) -> float:
    return abs(0.5 * (_cross(q[0], q[1], q[2]) + _cross(q[0], q[2], q[3])))


def _lesser(a: float, b: float) -> float:
    return b if b < a else a


def _greater(a: float, b: float) -> float:
    return b if b > a else a


def _shared(a: list[Point], b: list[Point]) -> float:
    """The area that two triangles share."""
    polygon = a
    for edge in range(3):
        begin, end = b[edge], b[(edge + 1) % 3]
        side = [_cross(begin, end, point) for point in polygon]
        cut: list[Point] = []
        for k, here in enumerate(side):
            there, last, point = side[k - 1], polygon[k - 1], polygon[k]
            if (here > 0 and there < 0) or (here < 0 and there > 0):
                t = there / (there - here)
                cut.append((last[0] + t * (point[0] - last[0]), last[1] + t * (point[1] - last[1])))
            if here >= 0:
                cut.append(point)
        polygon = cut
        if len(polygon) < 3:
            return 0.0
    twice = 0.0
    for k in range(1, len(polygon) - 1):
        twice += _cross(polygon[0], polygon[k], polygon[k + 1])
    return 0.5 * twice if twice > 0 else 0.0
