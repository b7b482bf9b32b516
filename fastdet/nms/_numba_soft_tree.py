"""Numba kernel of Soft-NMS by a tree of hulls: a selected box looks at near boxes only.

The C++ backend has a like tree (csrc/nms/soft_nms_loops.cpp): a node has 16 children, each with its hull, its largest
width and height, its least share and its best score. An overlap of t needs an intersection of at least the sum of two
shares, t / (1 + t) of each area: what a hull does not meet by so much loses no score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit
from fastdet.boxes._numba import columns, overlap, row_overlap
from fastdet.nms._numba_tree import LANES, by_place


@jit
def exp_negative(x: Array, constants: Array, series: Array, power: Array, bits: Array) -> None:
    """`elementary.exp_negative` in place. ``power`` is scratch memory for 2^n, ``bits`` the same memory as integers."""
    low, log2e, magic, ln2_high, ln2_low = constants[0], constants[1], constants[2], constants[3], constants[4]
    c0, c1, c2, c3 = series[0], series[1], series[2], series[3]
    c4, c5, c6, c7 = series[4], series[5], series[6], series[7]
    bias, mantissa = (127, 23) if x.itemsize == 4 else (1023, 52)
    rest = np.empty_like(x)
    for j in range(len(x)):
        value = low if x[j] < low else x[j]
        n = (value * log2e + magic) - magic
        rest[j] = (value - n * ln2_high) - n * ln2_low
        bits[j] = (np.int32(n) + bias) << mantissa
        x[j] = c7
    # written out: an inner loop over the series would keep the loop over boxes from becoming vector instructions
    if len(series) > 8:
        c8, c9, c10, c11, c12, c13 = series[8], series[9], series[10], series[11], series[12], series[13]
        for j in range(len(x)):
            r = rest[j]
            x[j] = (((((c13 * r + c12) * r + c11) * r + c10) * r + c9) * r + c8) * r + c7
    for j in range(len(x)):
        r = rest[j]
        x[j] = ((((((x[j] * r + c6) * r + c5) * r + c4) * r + c3) * r + c2) * r + c1) * r + c0
        x[j] *= power[j]


@jit
def weigh(
    overlaps: Array, linear: bool, parameter: Any, constants: Array, series: Array, power: Array, power_bits: Array
) -> None:
    """Overlaps become weights."""
    one = overlaps.dtype.type(1)
    if linear:
        for j in range(len(overlaps)):
            overlaps[j] = one - overlaps[j] if overlaps[j] >= parameter else one
    else:
        for j in range(len(overlaps)):
            overlaps[j] = -(overlaps[j] * overlaps[j]) / parameter
        exp_negative(overlaps, constants, series, power, power_bits)


@jit
def _hulls(boxes: Array, mine: Indices, regular: bool, threshold: float) -> Any:
    """Of each box its hull (n, 4), and its share (n,). Boxes that overlap nothing have an empty hull.

    In float64, and scaled where areas may overflow: a side is never shorter, a share never larger, than that of a pair
    as `overlap` computes it. Returns as well an area below which an intersection is 0, rounded.
    """
    single = boxes.itemsize == 4
    eps, least, floor = (2.0**-23, 2.0**-148, 2.0**-150) if single else (2.0**-52, 2.0**-1072, 2.0**-1074)
    scale = 1.0
    if not (regular or single):
        largest = 0.0
        for i in mine:
            for axis in range(4):
                if math.isfinite(boxes[i, axis]):
                    largest = max(largest, abs(boxes[i, axis]))
        scale, floor = 2.0 ** min(0, 500 - math.frexp(largest)[1]), 0.0
    rounded = 0.0 if regular else 2.0**-1074
    factor = threshold / (1 + threshold) * (1 - 32 * eps) if regular or threshold >= 1e-6 else 0.0
    hulls, shares = np.empty((len(mine), 4)), np.zeros(len(mine))
    for k in range(len(mine)):
        i = mine[k]
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        finite = math.isfinite(x1) and math.isfinite(y1) and math.isfinite(x2) and math.isfinite(y2)
        if not (finite and x2 > x1 and y2 > y1):  # an infinite area overlaps by 0
            hulls[k, :2], hulls[k, 2:] = 1, -1
            continue
        hulls[k, 0], hulls[k, 1] = float(x1) * scale - rounded, float(y1) * scale - rounded
        hulls[k, 2], hulls[k, 3] = float(x2) * scale + rounded, float(y2) * scale + rounded
        width, height = hulls[k, 2] - hulls[k, 0] - 4 * rounded, hulls[k, 3] - hulls[k, 1] - 4 * rounded
        if width > 0 and height > 0:
            shares[k] = max(factor * (width * height) - least, 0.0)
    return hulls, shares, floor


@jit
def _order(hulls: Array) -> Indices:
    """Near boxes of like size together: strips of each direction, and boxes that overlap nothing, apart from others."""
    shape = np.empty(len(hulls), np.int64)
    for k in range(len(hulls)):
        width, height = hulls[k, 2] - hulls[k, 0], hulls[k, 3] - hulls[k, 1]
        steps = 1
        less, more = min(width, height), max(width, height) / 256
        while steps < 7 and more >= less:
            steps += 1
            more /= 16
        strip = width >= 16 * height or height >= 16 * width
        shape[k] = 0 if not strip else steps if width > height else 7 + steps
        if not (width > 0 and height > 0):
            shape[k] = 15
    order = np.argsort(shape, kind="mergesort")
    begin = 0
    for value in range(15):
        end = begin
        while end < len(order) and shape[order[end]] == value:
            end += 1
        part = order[begin:end].copy()
        order[begin:end] = part[by_place(hulls[part])]
        begin = end
    return order


@jit
def _refresh(best: Array, who: Indices, rank: Indices, first: Indices, slot: int) -> None:
    """After the score of a slot of the lowest level changed: the best of each node above it, of equals the first."""
    at = slot
    for level in range(1, len(first)):
        at //= LANES
        begin = first[level - 1] + at * LANES
        node = first[level] + at
        top = begin
        for child in range(begin + 1, begin + LANES):
            if best[child] > best[top] or (best[child] == best[top] and rank[who[child]] < rank[who[top]]):
                top = child
        if best[node] == best[top] and who[node] == who[top]:
            return
        best[node], who[node] = best[top], who[top]


@jit
def _build(hulls: Array, shares: Array, score: Array, first: Indices, slots: int) -> Any:
    """The nodes' (slots,) hulls, shares, best scores and where these are; first: the first slot of each level."""
    lanes = np.empty((7, slots))  # x1, y1, x2, y2, largest width and height, least share
    lanes[:2], lanes[2:4], lanes[4:6], lanes[6] = np.inf, -np.inf, 0, np.inf
    best, who = np.full(slots, -1, score.dtype), np.full(slots, len(hulls) - 1)
    for k in range(len(hulls)):
        best[k], who[k] = score[k], k
        if hulls[k, 2] > hulls[k, 0]:
            for axis in range(4):
                lanes[axis, k] = hulls[k, axis]
            lanes[4, k], lanes[5, k], lanes[6, k] = hulls[k, 2] - hulls[k, 0], hulls[k, 3] - hulls[k, 1], shares[k]
    for level in range(1, len(first)):
        end = first[level + 1] if level + 1 < len(first) else slots
        for node in range(first[level], end):
            lo = first[level - 1] + (node - first[level]) * LANES
            if lo >= first[level]:
                break  # no child: it fills the level up to whole blocks
            hi = lo + LANES
            lanes[0, node], lanes[1, node] = lanes[0, lo:hi].min(), lanes[1, lo:hi].min()
            lanes[2, node], lanes[3, node] = lanes[2, lo:hi].max(), lanes[3, lo:hi].max()
            lanes[4, node], lanes[5, node] = lanes[4, lo:hi].max(), lanes[5, lo:hi].max()
            lanes[6, node] = lanes[6, lo:hi].min()
    return lanes, best, who


@jit
def _levels(n: int) -> Any:
    """The first slot of each level of the tree over n boxes, and the number of all slots. Levels are whole blocks."""
    first = np.zeros(12, np.int64)
    levels, slots = 0, 0
    while True:
        first[levels] = slots
        levels += 1
        slots += (n + LANES - 1) // LANES * LANES
        if n <= LANES:
            return first[:levels].copy(), slots
        n = (n + LANES - 1) // LANES


@jit
def _rescore(
    boxes: Array, mine: Indices, stored: Array, regular: bool, chosen: int, score: Array, begin: int, row: Array,
    linear: bool, parameter: Any, min_score: Any, constants: Array, series: Array, power: Array, power_bits: Array,
) -> Any:  # fmt: skip
    """Weigh the scores of a block, from box ``begin`` on, by the overlaps with the chosen box; whether one changed."""
    gone, zero, count = boxes.dtype.type(-1), boxes.dtype.type(0), len(score)
    weight = row[:count]
    if regular:
        row_overlap(
            stored[0, chosen], stored[1, chosen], stored[2, chosen], stored[3, chosen], stored[4, chosen],
            False, stored, begin, begin + count, weight,
        )  # fmt: skip
    else:
        for j in range(count):
            weight[j] = overlap(boxes, mine[chosen], boxes, mine[begin + j], False)
    weigh(weight, linear, parameter, constants, series, power, power_bits)
    changed = False
    for j in range(count):
        before = score[j]
        value = before * weight[j]
        score[j] = value if before >= zero and value >= min_score else gone  # -1 * 0 is not below 0
        changed |= score[j] != before
    return changed


@jit
def soft_tree(
    boxes: Array, members: Indices, given: Array, regular: bool, linear: bool, parameter: Any, silent: float,
    min_score: Any, limit: int, constants: Array, series: Array, power: Array, power_bits: Array,
    keep: Indices, new_scores: Array,
) -> Any:  # fmt: skip
    """Soft-NMS of one group, members by rising index; returns how many are kept, and the pairs that were compared.

    silent: an overlap below it leaves a score as it is. A score that is gone is -1.
    """
    n, gone, zero = len(members), boxes.dtype.type(-1), boxes.dtype.type(0)
    hulls, shares, floor = _hulls(boxes, members, regular, silent)
    rank = _order(hulls)
    hulls, shares, mine, score = hulls[rank], shares[rank], members[rank], given[rank]
    first, slots = _levels(n)
    for k in range(n):
        score[k] = score[k] if score[k] >= min_score else gone
    lanes, best, who = _build(hulls, shares, score, first, slots)
    for k in range(0, n, LANES):
        _refresh(best, who, rank, first, k)
    stored, row = np.empty((5, n), boxes.dtype), np.empty(LANES, boxes.dtype)
    columns(boxes, mine, stored)
    blocks, at_level = np.empty(12 * LANES, np.int64), np.empty(12 * LANES, np.int64)
    kept = compared = 0
    while kept != limit:
        top = first[-1]
        for slot in range(top + 1, slots):
            if best[slot] > best[top] or (best[slot] == best[top] and rank[who[slot]] < rank[who[top]]):
                top = slot
        if not best[top] >= min_score:
            break
        chosen = who[top]
        keep[kept], new_scores[kept] = mine[chosen], best[chosen]
        kept += 1
        best[chosen] = gone
        _refresh(best, who, rank, first, chosen)
        x1, y1, x2, y2 = hulls[chosen, 0], hulls[chosen, 1], hulls[chosen, 2], hulls[chosen, 3]
        if not x2 > x1:
            continue
        share = shares[chosen]
        blocks[0], at_level[0], left = first[-1], len(first) - 1, 1
        while left:
            left -= 1
            begin, level = blocks[left], at_level[left]
            compared += LANES
            if level == 0:
                if _rescore(
                    boxes, mine, stored, regular, chosen, best[begin : min(begin + LANES, n)], begin, row, linear,
                    parameter, min_score, constants, series, power, power_bits,
                ):  # fmt: skip
                    _refresh(best, who, rank, first, begin)
                continue
            for slot in range(begin, begin + LANES):
                width = min(x2, lanes[2, slot]) - max(x1, lanes[0, slot])
                height = min(y2, lanes[3, slot]) - max(y1, lanes[1, slot])
                if not (width > 0 and height > 0 and best[slot] > zero):  # a score of 0 falls no more
                    continue
                if min(width, lanes[4, slot]) * min(height, lanes[5, slot]) >= max(share + lanes[6, slot], floor):
                    blocks[left] = first[level - 1] + (slot - first[level]) * LANES
                    at_level[left] = level - 1
                    left += 1
    return kept, compared
