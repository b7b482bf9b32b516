"""Numba kernels of greedy NMS, of all boxes together and class-wise.

Kernels do the same operations as their reference, in the boxes' dtype. `_core.numba_jit` has the rules of all kernels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, typed
from fastdet.boxes._numba import columns, ordinary, overlap, row_overlap
from fastdet.nms._numba_tree import tree_kept

GRID_MIN_BOXES, GRID_MIN_KEPT = 2500, 256  # the grid is faster with more boxes, and more kept boxes, than these
GRID_MIN_OVERLAP = 0.05  # below this threshold the grid would visit too many cells
TREE_MIN_BOXES, TREE_MIN_KEPT = 4096, 1024  # the same of the tree, where there is no grid
CAREFUL_BOXES = 64  # compared one by one where coordinates may be large
CROWDED = 1000  # boxes that the grid compares with a box: with more, the tree is faster
EARLY = 250  # the same where a quarter is not decided by then
MAX_EXOTICS = 16  # beside the grid, each compared with every kept box
BLOCK = 256  # boxes compared with one box in a go, so that their overlaps stay in the first cache


@jit
def find_nan(x: Array) -> Any:
    """Row of the first NaN of a (N, K) array, or -1."""
    for i in range(x.shape[0]):
        has_nan = False
        for j in range(x.shape[1]):
            has_nan |= math.isnan(x[i, j])
        if has_nan:
            return i
    return -1


@jit
def dense_kept(stored: Array, threshold: Any, ios: bool, limit: int, max_kept: int, keep: Array) -> Any:
    """Compare each `ordinary` box, by falling score, with all kept ones, which move to the front of ``stored``.

    Returns False, and keeps none, where more than ``max_kept`` boxes would be kept.
    """
    kept, row = 0, np.empty(64, stored.dtype)
    for i in range(len(keep)):
        if kept == limit:
            break
        if kept > max_kept:
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


LONE, GRIDDED, EXOTIC = 0, 1, 2  # overlaps no box; is in the grid; is compared with all boxes


@jit
def role(boxes: Array, i: int) -> Any:
    """How the grid treats box i. EXOTIC: rounding or overflow could break the bounds that the grid relies on."""
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
    """The maximum distance of the centres of two sides, of length ``side`` and up to ``longest``, with overlap > t.

    It follows from: intersection > t * the longer side, and intersection <= half the sum - the distance.
    """
    longest = min(longest, side / t)
    if longest <= side:
        return (side + longest) / 2 - t * side
    return max((1 - t) * side, side / 2 + longest * (0.5 - t))


@jit
def grid_kept(boxes: Array, members: Indices, threshold: Any, limit: int, keep: Array) -> Any:
    """Exact greedy NMS that compares a kept box only with boxes near it and of similar size.

    IoU > t bounds the ratio of widths and of heights by t and the distance of centres by `reach`. The exponent of a
    box's longer side is its level, its centre gives its cell on that level. A hash table of cells, filled by a counting
    sort, holds each row of cells contiguously. A kept box marks those that it suppresses in all cells within its reach.
    The exact test decides, so boxes that share a bucket by chance do no harm. O(N) memory; near O(N) time where the
    density of boxes is bounded.
    """
    count, t = len(members), float(threshold) * (1 - 1e-5)  # a margin far above the rounding of an IoU
    # the width of a cell relative to its level: about the reach of the widest box of the level
    shrink = 2.0 ** max(-10, min(0, math.ceil(math.log2(2 * (1 - t)))))
    roles, slots = np.empty(count, np.int8), np.empty(count, np.int32)
    population = np.zeros(2200, np.int32)
    start, ordered = fill_grid(boxes, members, shrink, roles, slots, population)
    size = len(start) - 1
    exotics = np.flatnonzero(roles == EXOTIC)
    if len(exotics) > MAX_EXOTICS:
        return False
    stored = np.empty((5, len(ordered)), boxes.dtype)
    columns(boxes, ordered, stored)
    dead, gone = np.zeros(len(ordered), np.bool_), np.zeros(count, np.bool_)
    row = np.empty(BLOCK, boxes.dtype)
    kept = work = 0
    most = EARLY * count
    for at in range(count):
        if kept == limit:
            return True
        if gone[at] or (roles[at] == GRIDDED and dead[slots[at]]):
            continue
        if work > most:
            if most == CROWDED * count or 4 * (kept + np.count_nonzero(dead)) < count:
                keep[:] = False
                return False
            most = CROWDED * count
        keep[at] = True
        kept += 1
        if roles[at] == EXOTIC:
            work += 16 * (count - at)
            for other in range(at + 1, count):
                if roles[other] != LONE and overlap(boxes, members[at], boxes, members[other], False) > threshold:
                    gone[other] = True
        elif roles[at] == GRIDDED:
            work += 16 * len(exotics)
            for k in range(len(exotics)):
                other = exotics[k]
                if other > at and overlap(boxes, members[at], boxes, members[other], False) > threshold:
                    gone[other] = True
            slot = slots[at]
            x1, y1, x2, y2 = stored[0, slot], stored[1, slot], stored[2, slot], stored[3, slot]
            width, height = float(x2 - x1), float(y2 - y1)
            cx, cy = 0.5 * float(x1) + 0.5 * float(x2), 0.5 * float(y1) + 0.5 * float(y2)
            longer = max(width, height)
            for level in range(math.frexp(longer * t)[1], math.frexp(longer / t)[1] + 1):
                if population[BASE + level] == 0:
                    continue
                longest, cell = math.ldexp(1.0, level), math.ldexp(shrink, level - 1)
                dx = reach(width, longest, t) * (1 + 1e-5) + abs(cx) * 1e-14
                dy = reach(height, longest, t) * (1 + 1e-5) + abs(cy) * 1e-14
                first = math.floor((cx - dx) / cell)
                cells = min(math.floor((cx + dx) / cell) - first + 1, size)
                for r in range(math.floor((cy - dy) / cell), math.floor((cy + dy) / cell) + 1):
                    begin = (bucket(level, r, size - 1) + first) & (size - 1)
                    end = begin + cells
                    lo, hi = start[begin], start[min(end, size)]
                    mark(stored, slot, lo, hi, threshold, row, dead)
                    work += 16 + hi - lo
                    if end > size:  # the row of cells wraps around the end of the table
                        mark(stored, slot, 0, start[end - size], threshold, row, dead)
                        work += start[end - size]
    return True


BASE = 1100  # added to a level, -1074 .. 1024, to index `population`


@jit
def fill_grid(boxes: Array, members: Indices, shrink: float, roles: Array, slots: Array, population: Array) -> Any:
    """Sort the GRIDDED boxes into the buckets of the hash table.

    Bucket b holds ordered[start[b] : start[b + 1]]; returns start and ordered. Fills in the role of each box, the slot
    of each GRIDDED one in ``ordered``, and the number of boxes on each level.
    """
    size = 1024
    while size < 2 * len(members):
        size *= 2
    mask, start = size - 1, np.zeros(size + 1, np.int32)
    for at in range(len(members)):
        i = members[at]
        roles[at] = role(boxes, i)
        if roles[at] == GRIDDED:
            x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            level = math.frexp(max(x2 - x1, y2 - y1))[1]
            cell = math.ldexp(shrink, level - 1)
            column = math.floor((0.5 * x1 + 0.5 * x2) / cell)
            slots[at] = (bucket(level, math.floor((0.5 * y1 + 0.5 * y2) / cell), mask) + column) & mask
            population[BASE + level] += 1
            start[slots[at] + 1] += 1
    for b in range(size):
        start[b + 1] += start[b]
    end = start[:size].copy()  # of what each bucket holds so far
    ordered = np.empty(start[size], np.int64)
    for at in range(len(members)):
        if roles[at] == GRIDDED:
            slot = end[slots[at]]
            end[slots[at]] += 1
            slots[at], ordered[slot] = slot, members[at]
    return start, ordered


@jit
def mark(stored: Array, slot: int, lo: int, hi: int, threshold: Any, row: Array, dead: Array) -> None:
    """Mark as dead the boxes lo .. hi that box ``slot`` suppresses. Marks on kept boxes and itself have no effect."""
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
        if threshold >= 1:  # no overlap is above 1, rounded either
            flags[: len(flags) if limit < 0 else limit] = True
            continue
        regular = True
        for i in mine:
            regular &= ordinary(boxes, i)
        prunable = not ios and float(threshold) >= GRID_MIN_OVERLAP
        if regular:  # many kept boxes, not many boxes, make the grid or the tree faster
            stored = np.empty((5, len(mine)), boxes.dtype)
            columns(boxes, mine, stored)
            max_kept = len(mine)
            if prunable and len(mine) > GRID_MIN_BOXES:
                max_kept = GRID_MIN_KEPT
            elif not prunable and len(mine) > TREE_MIN_BOXES:
                max_kept = TREE_MIN_KEPT
            if dense_kept(stored, threshold, ios, limit, max_kept, flags):
                continue
        elif len(mine) <= CAREFUL_BOXES:
            careful_kept(boxes, mine, threshold, ios, limit, flags)
            continue
        if not (prunable and grid_kept(boxes, mine, threshold, limit, flags)):
            tree_kept(boxes, mine, threshold, ios, limit, flags)


def first_nan(boxes: Array, scores: Array) -> int | None:
    """`check.find_nan`."""
    for in_scores, x in enumerate((boxes, scores.reshape(-1, 1))):
        row = find_nan(x)
        if row >= 0:
            return int(row) * 2 + in_scores
    return None


def by_group(keys: Indices) -> tuple[Indices, Indices]:
    """A stable order that brings equal keys together, and the end of each group in it."""
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
    boxes, scores = boxes.copy(), scores.copy()  # what is found out about them stays true, whoever writes to them
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
    """The part of ``order`` (boxes by falling score) that greedy NMS keeps, up to ``limit`` of each group."""
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
    boxes, scores = boxes.copy(), scores.copy()  # as in nms
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
    min_score = typed(scores.dtype, score_threshold)
    for image in range(batch):
        flat = scores[image].ravel()
        chosen = np.flatnonzero(flat > min_score)
        row, label = np.divmod(chosen, max(classes, 1))
        order = np.argsort(-flat[chosen], kind="stable")
        keep = select(boxes[image][row], order, label, iou_threshold, max_per_class, metric)[:max_output]
        count = len(keep)
        padded[0][image, :count] = boxes[image][row[keep]]
        padded[1][image, :count] = flat[chosen[keep]]
        padded[2][image, :count] = label[keep]
        padded[3][image] = count
    return padded
