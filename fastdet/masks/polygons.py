"""Polygons and boxes as masks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet.masks._check import image_size
from fastdet.masks.measures import rle_merge_reference
from fastdet.masks.rle import RLE, Counts, Ints, new_rle

_SCALE = 5  # points a pixel, along an edge
_PLAIN = (int, float)
_FARTHEST = 2.0**28  # of a corner: 5 times as much is far below 2**31


def from_polygons(polygons: Sequence[Any], size: tuple[int, int], *, backend: str | None = None) -> RLE:
    """Masks of polygons, as pycocotools draws them.

    Parameters
    ----------
    polygons : for each mask a list of polygons, whose union it is; a polygon is a flat list x1 y1 x2 y2 ..., or (K, 2),
        of 3 points or more, pixels
    size : height and width of the masks, pixels

    Returns
    -------
    rle : `RLE` of as many masks

    Raises
    ------
    TypeError   no numbers
    ValueError  fewer than 3 points, an odd number of coordinates, one that is not finite or beyond 2**28

    Notes
    -----
    A pixel is inside where its centre is, by edges that are drawn through points at a fifth of a pixel. The rule is
    that of github.com/cocodataset/cocoapi (rleFrPoly), bit for bit.

    Examples
    --------
    >>> from_polygons([[[1, 0, 3, 0, 3, 2, 1, 2]]], (2, 4)).to_coco(compressed=False)
    [{'size': [2, 4], 'counts': [2, 4, 2]}]
    """
    op = "from_polygons"
    height, width = image_size(op, size)
    _check_list(op, polygons)
    flat, points, parts = _gathered(op, polygons)
    kernel = backends.choose("rle_from_polygons", backend, rle_from_polygons_reference)
    counts, offsets = kernel(flat, points, parts, height, width)
    sizes = np.empty((len(parts) - 1, 2), np.int64)
    sizes[:] = height, width
    return new_rle(sizes, counts, offsets)


def _check_list(op: str, polygons: Any) -> None:
    wrong = isinstance(polygons, (str, bytes, dict)) or not hasattr(polygons, "__iter__")
    if wrong or check.is_scalar_array(polygons):
        got = check.describe(polygons)
        raise TypeError(f"{op}: polygons must be a list, of a list of polygons for each mask, got {got}")


def _gathered(op: str, polygons: Iterable[Any]) -> tuple[Array, Ints, Ints]:
    """All corners (P, 2), where the corners of each polygon start, and where the polygons of each mask start."""
    listed: list[Any] = []
    parts = [0]
    for i, mask in enumerate(polygons):
        if isinstance(mask, (str, bytes)) or not hasattr(mask, "__len__"):
            raise TypeError(f"{op}: mask {i}: must be a list of polygons, got {check.describe(mask)}")
        listed.extend(mask)
        parts.append(len(listed))
    numbers = _numbers(listed)
    if numbers is not None:
        lengths = np.fromiter(map(len, listed), np.int64, len(listed))
    else:  # one by one, which says what is wrong
        owners = ((i, k) for i, first in enumerate(parts[:-1]) for k in range(parts[i + 1] - first))
        corners = [_corners(f"{op}: mask {i}: polygon {k}", x) for (i, k), x in zip(owners, listed, strict=True)]
        lengths = np.array([2 * len(x) for x in corners], np.int64)
        numbers = np.concatenate([np.zeros((0, 2)), *corners])
    return numbers.reshape(-1, 2), np.concatenate([[0], np.cumsum(lengths // 2)]), np.array(parts, np.int64)


def _numbers(polygons: list[Any]) -> Array | None:
    """The coordinates of flat lists of them, 6 or more and even, all within bounds; None where there are others."""
    if not all(type(x) is list and len(x) >= 6 and not len(x) & 1 and type(x[0]) in _PLAIN for x in polygons):
        return None
    try:  # `array` refuses text, and is quicker than NumPy
        numbers = np.frombuffer(array("d", list(chain.from_iterable(polygons))))
    except (TypeError, OverflowError):
        return None
    return numbers if (np.abs(numbers) <= _FARTHEST).all() else None


def _corners(where: str, polygon: Any) -> Array:
    try:
        corner = np.asarray(polygon)
        if corner.dtype.kind not in "iuf":
            raise TypeError
        corner = corner.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{where}: must be numbers x1 y1 x2 y2 ..., got {check.describe(polygon)}") from None
    if corner.ndim == 1 and len(corner) % 2 == 0:
        corner = corner.reshape(-1, 2)
    if corner.ndim != 2 or corner.shape[1] != 2 or len(corner) < 3:
        raise ValueError(f"{where}: must be x1 y1 x2 y2 x3 y3 ..., three points or more, got shape {corner.shape}")
    wrong = ~(np.abs(corner) <= _FARTHEST)
    if wrong.any():
        value = corner[wrong][0]
        raise ValueError(f"{where}: coordinates must be numbers up to 2**28, got {value}")
    return corner


def rle_from_polygons_reference(
    corners: Array, points: Ints, parts: Ints, height: int, width: int
) -> tuple[Counts, Ints]:
    """corners : (P, 2) float64; points, parts : where polygons and masks start, of corners and of polygons."""
    counts, offsets = [np.zeros(0, np.uint32)], [0]
    for first, last in zip(parts[:-1].tolist(), parts[1:].tolist(), strict=True):
        drawn = [_drawn(corners[points[k] : points[k + 1]], height, width) for k in range(first, last)]
        if len(drawn) == 1:
            runs = drawn[0]
        elif drawn:
            bounds = np.concatenate([[0], np.cumsum([len(x) for x in drawn])])
            runs = rle_merge_reference(np.concatenate(drawn), bounds, 1)
        else:
            runs = np.array([height * width], np.uint32)
        counts.append(runs)
        offsets.append(offsets[-1] + len(runs))
    return np.concatenate(counts), np.array(offsets, np.int64)


def _drawn(corners: Array, height: int, width: int) -> Counts:
    """The runs of a polygon: where its edges, points at a fifth of a pixel, pass the middle of a column."""
    scaled = np.trunc(_SCALE * corners + 0.5).astype(np.int64)
    places = [np.zeros(0, np.int64)]
    for (xs, ys), (xe, ye) in zip(scaled.tolist(), np.roll(scaled, -1, 0).tolist(), strict=True):
        dx, dy = abs(xe - xs), abs(ye - ys)
        t = np.arange(max(dx, dy) + 1)
        if (dx >= dy and xs > xe) or (dx < dy and ys > ye):
            xs, ys, xe, ye, t = xe, ye, xs, ys, t[::-1]
        if dx >= dy:
            slope = (ye - ys) / dx if dx else 0.0
            u, v = xs + t, np.trunc(ys + slope * t + 0.5).astype(np.int64)
        else:
            slope = (xe - xs) / dy
            u, v = np.trunc(xs + slope * t + 0.5).astype(np.int64), ys + t
        step = np.flatnonzero(u[1:] != u[:-1])
        low = np.minimum(u[step], u[step + 1])
        inside = (low % _SCALE == _SCALE // 2) & (low >= 0) & (low // _SCALE < width)
        column, y = low[inside] // _SCALE, np.minimum(v[step], v[step + 1])[inside]
        row = np.ceil(np.clip((y + 0.5) / _SCALE - 0.5, 0, height)).astype(np.int64)
        places.append(column * height + row)
    place, times = np.unique(np.concatenate(places), return_counts=True)
    turns = place[times % 2 == 1]
    if len(turns) and turns[-1] == height * width:
        turns = turns[:-1]
    return np.diff(turns, prepend=0, append=height * width).astype(np.uint32)
