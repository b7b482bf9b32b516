"""Numba kernels that draw masks: of polygons, and of a network's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.masks._numba_runs import encode, rle_merge
from fastdet.masks.paste import clamped, positions
from fastdet.masks.rle import Counts, Ints


def paste_masks(masks: Array, boxes: Array, height: int, width: int, threshold: Any, out: str) -> Any:
    _, h, w = masks.shape
    framed = np.zeros((h + 2, w + 2), np.float32)

    def draw(i: int, to: Array) -> None:
        x1, y1, x2, y2 = boxes[i].tolist()
        if not (x2 > x1 and y2 > y1):
            return
        framed[1:-1, 1:-1] = masks[i]
        column, across = positions(x1, x2, w, width)
        row, down = positions(y1, y2, h, height)
        _resample(framed, column, across, row, down, threshold, False, to)

    return _drawn(draw, len(masks), height, width, out)


def process_mask(prototypes: Array, coefficients: Array, boxes: Array, height: int, width: int, out: str) -> Any:
    planes, weights = plain(prototypes), plain(coefficients)
    _, h, w = planes.shape
    logits = np.empty((h + 1, w + 1), np.float32)
    column, across = clamped(w, width)
    row, down = clamped(h, height)

    def draw(i: int, to: Array) -> None:
        x1, x2 = (int(np.ceil(min(max(x, 0), width))) for x in boxes[i, ::2].tolist())
        y1, y2 = (int(np.ceil(min(max(y, 0), height))) for y in boxes[i, 1::2].tolist())
        if x1 < x2 and y1 < y2:
            _combine(planes, weights[i], logits)
            inner = np.zeros((y2 - y1, x2 - x1), np.uint8)
            level = np.float32(0)
            _resample(logits, column[x1:x2], across[x1:x2], row[y1:y2], down[y1:y2], level, True, inner)
            to[y1:y2, x1:x2] = inner

    return _drawn(draw, len(coefficients), height, width, out)


def _drawn(draw: Callable[[int, Array], None], n: int, height: int, width: int, out: str) -> Any:
    """All masks; as runs, or bits, only one of them is dense at a time."""
    if out == "dense":
        dense = np.zeros((n, height, width), np.uint8)
        for i in range(n):
            draw(i, dense[i])
        return dense
    bits = np.zeros((n if out == "bits" else 0, height, (width + 7) // 8), np.uint8)
    counts, offsets, one = [np.zeros(0, np.uint32)], [0], np.zeros((1, height, width), np.uint8)
    for i in range(n):
        one[:] = 0
        draw(i, one[0])
        if out == "bits":
            bits[i] = np.packbits(one[0], axis=1, bitorder="little")
            continue
        found = encode(one)
        assert found is not None
        counts.append(found[0])
        offsets.append(offsets[-1] + len(found[0]))
    return bits if out == "bits" else (np.concatenate(counts), np.array(offsets, np.int64))


@jit
def _combine(planes: Array, weights: Array, logits: Array) -> None:
    """The sum of planes by weights; the last row and column once more, as what stands beyond them."""
    count, h, w = planes.shape
    for y in range(h):
        row = logits[y]
        for x in range(w):
            row[x] = weights[0] * planes[0, y, x]
        for k in range(1, count):
            for x in range(w):
                row[x] += weights[k] * planes[k, y, x]
        row[w] = row[w - 1]
    logits[h] = logits[h - 1]


@jit
def _resample(
    values: Array, column: Ints, across: Array, row: Ints, down: Array, level: Any, strict: bool, to: Array
) -> None:
    """Pixels are 1 where the bilinear mean of values at ``column`` and ``row``, and next to them, is at the level."""
    n = len(column)
    top, bottom = np.empty(n, np.float32), np.empty(n, np.float32)
    have = -2
    for y in range(len(row)):
        if row[y] != have:
            have = row[y]
            for x in range(n):
                left, right = values[have, column[x]], values[have, column[x] + 1]
                top[x] = left + across[x] * (right - left)
                left, right = values[have + 1, column[x]], values[have + 1, column[x] + 1]
                bottom[x] = left + across[x] * (right - left)
        for x in range(n):
            value = top[x] + down[y] * (bottom[x] - top[x])
            to[y, x] = value > level if strict else value >= level


def rle_from_polygons(corners: Array, points: Ints, parts: Ints, height: int, width: int) -> tuple[Counts, Ints]:
    counts, offsets = [np.zeros(0, np.uint32)], [0]
    for first, last in zip(parts[:-1].tolist(), parts[1:].tolist(), strict=True):
        drawn = [_polygon(plain(corners[points[k] : points[k + 1]]), height, width) for k in range(first, last)]
        if len(drawn) == 1:
            runs = drawn[0]
        elif drawn:
            runs = rle_merge(np.concatenate(drawn), np.concatenate([[0], np.cumsum([len(x) for x in drawn])]), 1)
        else:
            runs = np.array([height * width], np.uint32)
        counts.append(runs)
        offsets.append(offsets[-1] + len(runs))
    return np.concatenate(counts), np.array(offsets, np.int64)


@jit
def _polygon(corners: Array, height: int, width: int) -> Counts:
    """The runs of a polygon. csrc/masks/rle_from_polygons.cpp has the same, with the reasons."""
    n, pixels = len(corners), height * width
    scaled = np.empty((n, 2), np.int64)
    for i in range(n):
        for k in range(2):
            scaled[i, k] = np.int64(5 * corners[i, k] + 0.5)
    turns = np.empty(n * (width + 1), np.int64)
    count = 0
    for i in range(n if pixels else 0):
        a, b = scaled[i], scaled[(i + 1) % n]
        if abs(b[0] - a[0]) >= abs(b[1] - a[1]):
            count = _flat(a, b, height, width, turns, count)
        else:
            count = _steep(a, b, height, width, turns, count)
    order = np.sort(turns[:count])
    out = np.empty(count + 1, np.uint32)
    k, kept, last = 0, 0, np.int64(0)
    while k < count:
        place, times = order[k], 0
        while k < count and order[k] == place:
            k, times = k + 1, times + 1
        if times % 2 and place < pixels:
            out[kept] = place - last
            kept, last = kept + 1, place
    out[kept] = pixels - last
    return out[: kept + 1]


@jit
def _place(u: int, v: int, height: int) -> Any:
    """Where a mask turns: an edge steps from u to u + 1 fifths, at the height v of the lower of the two points."""
    y = min(max((v + 0.5) / 5 - 0.5, 0.0), float(height))
    return u // 5 * height + np.int64(np.ceil(y))


@jit
def _first(low: int) -> int:
    """The first step from ``low`` on that is in the middle of a column."""
    return 2 if low <= 2 else low + (7 - low % 5) % 5


@jit
def _at(start: int, slope: float, t: int) -> Any:
    return np.int64(start + slope * t + 0.5)


@jit
def _flat(a: Ints, b: Ints, height: int, width: int, turns: Ints, count: int) -> int:
    if a[0] > b[0]:
        a, b = b, a
    if a[0] == b[0]:
        return count
    slope = (b[1] - a[1]) / (b[0] - a[0])
    for u in range(_first(a[0]), min(b[0] - 1, 5 * (width - 1) + 2) + 1, 5):
        turns[count] = _place(u, min(_at(a[1], slope, u - a[0]), _at(a[1], slope, u + 1 - a[0])), height)
        count += 1
    return count


@jit
def _steep(a: Ints, b: Ints, height: int, width: int, turns: Ints, count: int) -> int:
    if a[1] > b[1]:
        a, b = b, a
    dy = b[1] - a[1]
    slope = (b[0] - a[0]) / dy
    begin, end = _at(a[0], slope, 0), _at(a[0], slope, dy)
    if begin == end:
        return count
    rises = begin < end
    for u in range(_first(min(begin, end)), min(max(begin, end) - 1, 5 * (width - 1) + 2) + 1, 5):
        t = min(max(np.int64((u + 0.5 - a[0]) / slope), 1), dy)
        while t > 1 and (_at(a[0], slope, t - 1) > u) == rises:
            t -= 1
        while t < dy and (_at(a[0], slope, t) > u) != rises:
            t += 1
        turns[count] = _place(u, a[1] + t - 1, height)
        count += 1
    return count
