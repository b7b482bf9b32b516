"""Numba kernels of greedy NMS, alone and class-wise.

Each follows its reference operation by operation in the boxes' dtype; `_core.numba_jit` says what holds for all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain, typed
from fastdet.boxes._numba import columns, ordinary, overlap, row_overlap

FEW, MANY = 256, 2500  # kept boxes up to which the grid never pays, boxes from which it does with more kept ones
LEAST_OVERLAP = 0.05  # below it the grid would look at too many cells
BLOCK = 256  # boxes that are compared with one at a time, so that their overlaps stay in the first cache


@jit
def find_nan(x: Array) -> Any:
    """Row of the first NaN of a (N, K) array, or -1."""
    for i in range(x.shape[0]):
        bad = False
        for j in range(x.shape[1]):
            bad |= math.isnan(x[i, j])
        if bad:
            return i
    return -1


@jit
def dense_kept(stored: Array, threshold: Any, ios: bool, limit: int, most: int, keep: Array) -> Any:
    """Ordinary boxes by falling score, each against those kept, which move to the front of ``stored`` (`columns`).

    False, and none kept, where more than ``most`` would be.
    """
    kept, row = 0, np.empty(64, stored.dtype)
    for i in range(len(keep)):
        if kept == limit:
            break
        if kept > most:
            keep[:] = False
            return False
        x1, y1, x2, y2, area = stored[0, i], stored[1, i], stored[2, i], stored[3, i], stored[4, i]
        hit = False
        for lo in range(0, kept, 64):
            hi = min(lo + 64, kept)
            row_overlap(x1, y1, x2, y2, area, ios, stored, lo, hi, row)
            for j in range(hi - lo):
                hit |= row[j] > threshold
            if hit:
                break
        if not hit:
            keep[i] = True
            stored[0, kept], stored[1, kept], stored[2, kept], stored[3, kept], stored[4, kept] = x1, y1, x2, y2, area
            kept += 1
    return True


@jit
def careful_kept(boxes: Array, members: Indices, threshold: Any, ios: bool, limit: int, keep: Array) -> None:
    """As `dense_kept`, for boxes of any coordinates."""
    kept = np.empty(len(members), np.int64)
    count = 0
    for i in range(len(members)):
        if count == limit:
            return
        hit = False
        for j in range(count):
            if overlap(boxes, kept[j], boxes, members[i], ios) > threshold:
                hit = True
                break
        if not hit:
            keep[i] = True
            kept[count] = members[i]
            count += 1


@jit
def bucket(level: int, row: int, mask: int) -> Any:
    """Where a row of cells begins in the hash table; its cells follow one another."""
    h = level * 0x632BE59BD9B4E019 + row * 0x1E3779B97F4A7C15
    h ^= h >> 31
    h *= 0x3F58476D1CE4E5B9
    return (h ^ (h >> 29)) & mask


LONE, GRIDDED, EXOTIC = 0, 1, 2  # meets no box; found by the grid; tested against all


@jit
def role(boxes: Array, i: int) -> Any:
    """How the grid treats box i: EXOTIC where rounding or overflow could break the bounds that it prunes by."""
    x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
    finite = math.isfinite(x1) and math.isfinite(y1) and math.isfinite(x2) and math.isfinite(y2)
    if not (x2 > x1 and y2 > y1 and finite):
        return LONE
    tiny = boxes.dtype.type(2.0**-40) if boxes.itemsize == 4 else boxes.dtype.type(2.0**-300)
    width, height = x2 - x1, y2 - y1
    far = max(abs(x1), abs(y1), abs(x2), abs(y2)) > boxes.dtype.type(2.0**40) * max(width, height)
    return GRIDDED if ordinary(boxes, i) and width >= tiny and height >= tiny and not far else EXOTIC


@jit
def reach(side: float, longest: float, t: float) -> float:
    """How far apart the centres of two sides may be, one of ``side``, one of at most ``longest``, with overlap > t.

    Intersection > t * the longer side, and intersection <= half the sum - the distance.
    """
    longest = min(longest, side / t)
    if longest <= side:
        return (side + longest) / 2 - t * side
    return max((1 - t) * side, side / 2 + longest * (0.5 - t))


@jit
def grid_kept(boxes: Array, members: Indices, threshold: Any, limit: int, keep: Array) -> None:
    """Exact greedy NMS that looks only where a box over the threshold can be.

    IoU > t bounds the ratio of widths and of heights by t and the distance of centres by `reach`. Boxes lie in cells
    by their centre, on a level by the exponent of their longer side; a hash table of cells, filled by a counting sort,
    holds a row of cells contiguously. Each kept box marks those that it suppresses in the cells it reaches. Boxes
    that share a bucket by chance are told apart by the exact test. O(N) memory; near O(N) time for bounded density.
    """
    count, t = len(members), float(threshold) * (1 - 1e-5)  # a pad far above the rounding of an IoU
    # cells as wide as the reach of the widest box of a level, about
    shrink = 2.0 ** max(-10, min(0, math.ceil(math.log2(2 * (1 - t)))))
    size = 1024
    while size < 2 * count:
        size *= 2
    mask = size - 1
    roles, where = np.empty(count, np.int8), np.empty(count, np.int32)
    start = np.zeros(size + 1, np.int32)
    base = 1100  # of the levels, -1074 .. 1024
    population = np.zeros(2200, np.int32)
    exotic = 0
    for at in range(count):
        i = members[at]
        roles[at] = role(boxes, i)
        exotic += roles[at] == EXOTIC
        if roles[at] == GRIDDED:
            x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            level = math.frexp(max(x2 - x1, y2 - y1))[1]
            cell = math.ldexp(shrink, level - 1)
            column = math.floor((0.5 * x1 + 0.5 * x2) / cell)
            where[at] = (bucket(level, math.floor((0.5 * y1 + 0.5 * y2) / cell), mask) + column) & mask
            population[base + level] += 1
            start[where[at] + 1] += 1
    for b in range(size):
        start[b + 1] += start[b]
    fill = start[:size].copy()
    sorted_members = np.empty(start[size], np.int64)
    exotics = np.empty(exotic, np.int32)
    exotic = 0
    for at in range(count):
        if roles[at] == GRIDDED:
            slot = fill[where[at]]
            fill[where[at]] += 1
            where[at], sorted_members[slot] = slot, members[at]
        elif roles[at] == EXOTIC:
            exotics[exotic] = at
            exotic += 1
    stored = np.empty((5, len(sorted_members)), boxes.dtype)
    columns(boxes, sorted_members, stored)
    dead, gone = np.zeros(len(sorted_members), np.bool_), np.zeros(count, np.bool_)
    row = np.empty(BLOCK, boxes.dtype)
    kept = 0
    for at in range(count):
        if kept == limit:
            return
        if gone[at] or (roles[at] == GRIDDED and dead[where[at]]):
            continue
        keep[at] = True
        kept += 1
        i = members[at]
        if roles[at] == LONE:
            continue
        if roles[at] == EXOTIC:
            for other in range(at + 1, count):
                if roles[other] != LONE and overlap(boxes, i, boxes, members[other], False) > threshold:
                    gone[other] = True
            continue
        for k in range(exotic):
            other = exotics[k]
            if other > at and overlap(boxes, i, boxes, members[other], False) > threshold:
                gone[other] = True
        slot = where[at]
        x1, y1, x2, y2 = stored[0, slot], stored[1, slot], stored[2, slot], stored[3, slot]
        width, height = float(x2 - x1), float(y2 - y1)
        cx, cy = 0.5 * float(x1) + 0.5 * float(x2), 0.5 * float(y1) + 0.5 * float(y2)
        longer = max(width, height)
        for level in range(math.frexp(longer * t)[1], math.frexp(longer / t)[1] + 1):
            if population[base + level] == 0:
                continue
            longest, cell = math.ldexp(1.0, level), math.ldexp(shrink, level - 1)
            dx = reach(width, longest, t) * (1 + 1e-5) + abs(cx) * 1e-14
            dy = reach(height, longest, t) * (1 + 1e-5) + abs(cy) * 1e-14
            first = math.floor((cx - dx) / cell)
            cells = min(math.floor((cx + dx) / cell) - first + 1, size)
            for r in range(math.floor((cy - dy) / cell), math.floor((cy + dy) / cell) + 1):
                begin = (bucket(level, r, mask) + first) & mask
                end = begin + cells
                mark(stored, slot, start[begin], start[min(end, size)], threshold, row, dead)
                if end > size:  # round the end of the table
                    mark(stored, slot, 0, start[end - size], threshold, row, dead)


@jit
def mark(stored: Array, slot: int, lo: int, hi: int, threshold: Any, row: Array, dead: Array) -> None:
    """Mark as dead the boxes lo .. hi that box ``slot`` suppresses; those kept before and itself too, to no effect."""
    x1, y1, x2, y2, area = stored[0, slot], stored[1, slot], stored[2, slot], stored[3, slot], stored[4, slot]
    for begin in range(lo, hi, BLOCK):
        end = min(begin + BLOCK, hi)
        row_overlap(x1, y1, x2, y2, area, False, stored, begin, end, row)
        flags = dead[begin:end]
        for j in range(end - begin):
            flags[j] |= row[j] > threshold


@jit
def kept_of_groups(
    boxes: Array, members: Indices, ends: Indices, threshold: Any, ios: bool, limit: int, keep: Array
) -> None:
    """Greedy NMS of each group, members[ends[g - 1] : ends[g]] by falling score, up to ``limit`` of each (-1: all)."""
    begin = 0
    for end in ends:
        mine, flags = members[begin:end], keep[begin:end]
        begin = end
        usual = True
        for i in mine:
            usual &= ordinary(boxes, i)
        prunable = not ios and float(threshold) >= LEAST_OVERLAP
        if usual:  # how crowded the boxes are decides, not their number
            stored = np.empty((5, len(mine)), boxes.dtype)
            columns(boxes, mine, stored)
            most = FEW if prunable and len(mine) > MANY else len(mine)
            if not dense_kept(stored, threshold, ios, limit, most, flags):
                grid_kept(boxes, mine, threshold, limit, flags)
        elif prunable:
            grid_kept(boxes, mine, threshold, limit, flags)
        else:
            careful_kept(boxes, mine, threshold, ios, limit, flags)


def first_nan(boxes: Array, scores: Array) -> int | None:
    """`fastdet._check.find_nan`."""
    for which, x in enumerate((boxes, scores.reshape(-1, 1))):
        row = find_nan(x)
        if row >= 0:
            return int(row) * 2 + which
    return None


def by_group(keys: Indices) -> tuple[Indices, Indices]:
    """A stable order that brings equal keys together, and where each group ends in it."""
    lowest = keys.min()
    if int(keys.max()) - int(lowest) < 2**16:  # NumPy sorts 16-bit integers by radix
        order = np.argsort((keys - lowest).astype(np.uint16), kind="stable")
    else:
        order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    return order, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(keys))


def nms(
    boxes: Array,
    scores: Array,
    idxs: Indices | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> Indices | int:
    boxes, scores = plain(boxes), plain(scores)
    nan = first_nan(boxes, scores)
    if nan is not None:
        return nan
    if score_threshold is None:
        order = np.argsort(-scores, kind="stable")
    else:
        order = np.flatnonzero(scores > typed(scores.dtype, score_threshold))
        order = order[np.argsort(-scores[order], kind="stable")]
    keep = select(boxes, order, idxs, iou_threshold, max_output, metric)
    return keep if max_output < 0 else keep[:max_output]


def select(
    boxes: Array, order: Indices, keys: Indices | None, iou_threshold: float, limit: int, metric: str
) -> Indices:
    """Those of ``order``, the boxes by falling score, that greedy NMS in each group keeps; ``limit`` of each group."""
    threshold, keep = typed(boxes.dtype, iou_threshold), np.zeros(len(order), np.bool_)
    if keys is None or not len(order):
        kept_of_groups(boxes, order, np.array([len(order)]), threshold, metric == "ios", limit, keep)
        return order[keep]
    group, ends = by_group(keys[order])
    kept_of_groups(boxes, order[group], ends, threshold, metric == "ios", limit, keep)
    return order[np.sort(group[keep])]


def multiclass_nms(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float,
    max_output: int,
    max_per_class: int,
    metric: str,
) -> tuple[Array, Array, Array, Array] | int:
    boxes, scores = plain(boxes), plain(scores)
    nan = first_nan(boxes.reshape(-1, 1), scores.ravel())
    if nan is not None:
        return nan
    batch, _, classes = scores.shape
    padded = (
        np.zeros((batch, max_output, 4), boxes.dtype),
        np.zeros((batch, max_output), scores.dtype),
        np.full((batch, max_output), -1, np.int64),
        np.zeros(batch, np.int64),
    )
    least = typed(scores.dtype, score_threshold)
    for image in range(batch):
        flat = scores[image].ravel()
        chosen = np.flatnonzero(flat > least)
        row, label = np.divmod(chosen, max(classes, 1))
        order = np.argsort(-flat[chosen], kind="stable")
        keep = select(boxes[image][row], order, label, iou_threshold, max_per_class, metric)[:max_output]
        count = len(keep)
        padded[0][image, :count] = boxes[image][row[keep]]
        padded[1][image, :count] = flat[chosen[keep]]
        padded[2][image, :count] = label[keep]
        padded[3][image] = count
    return padded
