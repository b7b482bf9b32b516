"""Numba kernels of greedy NMS by a tree of hulls: for boxes of which a grid would compare nearly all with all.

The C++ backend has the same tree (csrc/nms/tree.cpp): a node holds the hulls of 16 children, and their least shares.
Overlap above t needs an intersection of at least the sum of two shares, t / (1 + t) of each area, or relative to the
smaller area the lesser of two shares, t of each area. What a hull does not meet by so much, no box in it does. A node
has the children's cores as well, what all boxes of a child have in common: the union of a box with one of them has the
area of its union with the core at least.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit
from fastdet.boxes._numba import ordinary, overlap

LANES = 16


@jit
def middle(low: float, high: float) -> float:
    """The middle of a side; of one with an infinite end the other end."""
    if not math.isfinite(low):
        return high if math.isfinite(high) else 0.0
    return 0.5 * low + 0.5 * high if math.isfinite(high) else low


@jit
def octave(x: float) -> float:
    return math.log2(x) if 0 < x < math.inf else (1024.0 if x > 0 else -1074.0)


@jit
def by_place(hulls: Array) -> Indices:
    """An order of the boxes, rows of (n, 4), that brings near ones of like size together: splits at the median.

    The axis of a split is that of the largest mean deviation, of centres in widths or heights, of sizes in octaves.
    """
    n = len(hulls)
    place, order = np.empty((4, n)), np.arange(n)
    for i in range(n):
        x1, y1, x2, y2 = float(hulls[i, 0]), float(hulls[i, 1]), float(hulls[i, 2]), float(hulls[i, 3])
        place[0, i], place[1, i] = middle(x1, x2), middle(y1, y2)
        place[2, i], place[3, i] = octave(x2 - x1), octave(y2 - y1)
    begins, ends = np.empty(256, np.int64), np.empty(256, np.int64)
    begins[0], ends[0] = 0, n
    open_parts = 1
    spread = np.empty(4)
    while open_parts:
        open_parts -= 1
        begin, end = begins[open_parts], ends[open_parts]
        if end - begin <= LANES:
            continue
        mine = order[begin:end].copy()
        for axis in range(4):
            mean = place[axis][mine].mean()
            spread[axis] = octave(np.abs(place[axis][mine] - mean).mean())
        spread[0] -= place[2][mine].mean()
        spread[1] -= place[3][mine].mean()
        mine = mine[np.argsort(place[np.argmax(spread)][mine])]
        order[begin:end] = mine
        unit = LANES  # whole subtrees
        while unit * LANES < end - begin:
            unit *= LANES
        cut = begin + (end - begin + unit) // (2 * unit) * unit
        begins[open_parts], ends[open_parts] = begin, cut
        begins[open_parts + 1], ends[open_parts + 1] = cut, end
        open_parts += 2
    return order


@jit
def limits(boxes: Array) -> Any:
    """The distance of 1 to the next number of the boxes' dtype, and the least number above 0."""
    return (2.0**-23, 2.0**-149) if boxes.itemsize == 4 else (2.0**-52, 2.0**-1074)


@jit
def union_part(width: float, height: float, eps: float, least: float) -> float:
    """At most what a box of these sides adds to the area of a union: less the rounding of areas and sums."""
    area = width * height if width > 0 and height > 0 else 0.0
    return max(area * (1 - 64 * eps) - least, 0.0)


@jit
def make_tree(hulls: Array, shares: Array, eps: float, least: float) -> Any:
    """Lanes (5, slots), a hull and a share each; cores (5, slots), each with its part of a union; filled lanes of each
    block; first blocks of the levels; the order. A box is its own core.
    """
    n, count, blocks, levels = len(hulls), len(hulls), 0, 0
    first = np.zeros(12, np.int64)
    while True:
        first[levels] = blocks
        count = (count + LANES - 1) // LANES
        blocks += count
        levels += 1
        if count <= 1:
            break
    order = by_place(hulls)
    lanes, left = np.zeros((5, blocks * LANES)), np.zeros(blocks, np.int64)
    lanes[:2], lanes[2:4] = 1, -1
    for k in range(n):
        for axis in range(4):
            lanes[axis, k] = hulls[order[k], axis]
        lanes[4, k] = shares[order[k]]
        left[k // LANES] += 1
    cores = lanes.copy()
    for level in range(1, levels):
        for child in range(first[level - 1], first[level]):
            at = first[level] * LANES + child - first[level - 1]
            lo, hi = child * LANES, child * LANES + left[child]
            lanes[0, at], lanes[1, at] = lanes[0, lo:hi].min(), lanes[1, lo:hi].min()
            lanes[2, at], lanes[3, at] = lanes[2, lo:hi].max(), lanes[3, lo:hi].max()
            lanes[4, at] = lanes[4, lo:hi].min()
            cores[0, at], cores[1, at] = cores[0, lo:hi].max(), cores[1, lo:hi].max()
            cores[2, at], cores[3, at] = cores[2, lo:hi].min(), cores[3, lo:hi].min()
            cores[4, at] = union_part(cores[2, at] - cores[0, at], cores[3, at] - cores[1, at], eps, least)
            left[at // LANES] += 1
    return lanes, cores, left, first[:levels].copy(), order


@jit
def take_out(lanes: Array, left: Array, first: Array, slot: int) -> None:
    """Empty a slot of a leaf, and of each node of which it was the last one."""
    at = slot  # within its level
    for level in range(len(first)):
        block = first[level] + at // LANES
        lanes[0, first[level] * LANES + at], lanes[2, first[level] * LANES + at] = 1, -1
        left[block] -= 1
        if left[block]:
            return
        at //= LANES


@jit
def strike(
    lanes: Array, cores: Array, left: Array, first: Array, rank: Array, query: Array, factor: float, least: float,
    cap: float, ios: bool, boxes: Array, members: Indices, at: int, threshold: Any, gone: Array,
) -> None:  # fmt: skip
    """Mark as gone, and take out, the boxes of a tree that box ``at`` suppresses.

    query: its hull, its share and its part of a union, of which an intersection must be ``factor`` at least; 0: any.
    All in float64, where no product of float32 numbers is so small that processors take 100 times as long.
    """
    x1, y1, x2, y2, share, own = query[0], query[1], query[2], query[3], query[4], query[5]
    blocks, levels = np.empty(12 * LANES, np.int64), np.empty(12 * LANES, np.int64)
    blocks[0], levels[0] = first[-1], len(first) - 1
    count = 1
    while count:
        count -= 1
        block, level = blocks[count], levels[count]
        for slot in range(block * LANES, block * LANES + LANES):
            width = min(x2, lanes[2, slot]) - max(x1, lanes[0, slot])
            height = min(y2, lanes[3, slot]) - max(y1, lanes[1, slot])
            if not (width > 0 and height > 0):
                continue
            other = lanes[4, slot]
            if not (width * height >= (min(share, other) if ios else share + other) and other <= cap):
                continue
            if level:
                if factor > 0:
                    across = max(min(x2, cores[2, slot]) - max(x1, cores[0, slot]), 0.0)
                    down = max(min(y2, cores[3, slot]) - max(y1, cores[1, slot]), 0.0)
                    if not (width * height + least >= factor * (own + cores[4, slot] - across * down)):
                        continue
                blocks[count] = first[level - 1] + slot - first[level] * LANES
                levels[count] = level - 1
                count += 1
            elif overlap(boxes, members[at], boxes, members[rank[slot]], ios) > threshold:
                gone[rank[slot]] = True
                take_out(lanes, left, first, slot)


@jit
def near_query(
    boxes: Array, i: int, scale: float, factor: float, lost: float, eps: float, least: float, query: Array
) -> None:
    """The hull of a box times ``scale``, its share, of a large area as if it were a smaller one, and `union_part`.

    lost: what the rounding of tiny areas takes from a share.
    """
    x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
    query[0], query[1], query[2], query[3] = x1 * scale, y1 * scale, x2 * scale, y2 * scale
    width, height = query[2] - query[0], query[3] - query[1]
    area = width * height if width > 0 and height > 0 else 0.0
    query[4] = max(factor * min(area, 2.0**1000) - lost, 0.0)
    query[5] = union_part(width, height, eps, least)


@jit
def near_scale(boxes: Array, members: Indices) -> float:
    """A power of two by which no coordinate of ordinary boxes passes 2^500, and few products are near the least number.

    For float64 alone: products of float32 numbers are far from the least number of float64.
    """
    largest = 0.0
    if boxes.itemsize == 4:
        return 1.0
    for i in members:
        for axis in range(4):
            largest = max(largest, abs(boxes[i, axis]))
    return 2.0 ** max(0, min(500 - math.frexp(largest)[1], 500))


@jit
def far_scale(boxes: Array, members: Indices) -> float:
    """A power of two by which no area of these boxes overflows, unless it is infinite: 1 where the boxes allow it."""
    for i in members:
        for axis in range(4):
            if boxes.itemsize == 8 and math.isfinite(boxes[i, axis]) and abs(boxes[i, axis]) > 2.0**500:
                return 2.0**-524
    return 1.0


@jit
def far_query(boxes: Array, i: int, scale: float, factor: float, query: Array) -> None:
    """As `near_query`, with a scale of `far_scale`; sides err to the safe side."""
    least, rounded = 2.0**-148 if boxes.itemsize == 4 else 2.0**-1072, 2.0**-1074
    query[0], query[1] = float(boxes[i, 0]) * scale - rounded, float(boxes[i, 1]) * scale - rounded
    query[2], query[3] = float(boxes[i, 2]) * scale + rounded, float(boxes[i, 3]) * scale + rounded
    width, height = query[2] - query[0] - 2.0**-1072, query[3] - query[1] - 2.0**-1072
    product = factor * (width * height) if width > 0 and height > 0 and factor > 0 else 0.0
    query[4], query[5] = product - least if product > least else 0.0, 0.0


@jit
def can_overlap(boxes: Array, i: int, ios: bool) -> Any:
    """Whether a box can overlap others at all. An infinite one only relative to the smaller area."""
    x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
    if not (x2 > x1 and y2 > y1 and (x2 - x1) * (y2 - y1) > 0):
        return False
    return ios or (math.isfinite(x1) and math.isfinite(y1) and math.isfinite(x2) and math.isfinite(y2))


@jit
def tree_kept(boxes: Array, members: Indices, threshold: Any, ios: bool, limit: int, keep: Array) -> None:
    """Exact greedy NMS: a kept box takes those that it suppresses out of the trees of undecided boxes.

    Boxes of infinite coordinates or areas that may overflow are in a tree of their own. O(N) memory; near O(N log N)
    time for any places and sizes.
    """
    count, t = len(members), float(threshold)
    eps, least = limits(boxes)
    exact = (t if ios else t / (1 + t)) * (1 - 32 * eps)
    factor = exact if t >= 1e-6 else 0.0
    near, far = np.empty(count, np.int64), np.empty(count, np.int64)
    nears = fars = 0
    for at in range(count):
        if can_overlap(boxes, members[at], ios):
            if ordinary(boxes, members[at]):
                near[nears] = at
                nears += 1
            else:
                far[fars] = at
                fars += 1
    near, far = near[:nears], far[:fars]
    near_hulls, near_shares, near_box = np.empty((nears, 4)), np.empty(nears), np.empty(6)
    scale = near_scale(boxes, members[near])
    least *= scale * scale
    # a rounded area is off by half of the least number: of two areas, less than half counts, and that of intersection
    lost = least if ios else 0.5 * least
    for k in range(nears):
        near_query(boxes, members[near[k]], scale, factor, lost, eps, least, near_box)
        near_hulls[k], near_shares[k] = near_box[:4], near_box[4]
    of_union = 0.0 if ios else t * (1 - 64 * eps)
    far_hulls, far_shares, far_box = np.empty((fars, 4)), np.empty(fars), np.empty(6)
    scale_of_far = far_scale(boxes, members[far])
    for k in range(fars):
        far_query(boxes, members[far[k]], scale_of_far, factor, far_box)
        far_hulls[k], far_shares[k] = far_box[:4], far_box[4]
    near_lanes, near_cores, near_left, near_first, near_order = make_tree(near_hulls, near_shares, eps, least)
    far_lanes, far_cores, far_left, far_first, far_order = make_tree(far_hulls, far_shares, eps, least)
    near, far = near[near_order], far[far_order]
    gone = np.zeros(count, np.bool_)
    kept = 0
    for at in range(count):
        if kept == limit:
            return
        if gone[at]:
            continue
        keep[at] = True
        kept += 1
        i = members[at]
        if not can_overlap(boxes, i, ios):
            continue
        far_query(boxes, i, scale_of_far, factor, far_box)
        bounded = math.isfinite(far_box[0] + far_box[1]) and math.isfinite(far_box[2] + far_box[3])
        if nears:
            near_query(boxes, i, scale, factor, lost, eps, least, near_box)
            part = of_union if ordinary(boxes, i) else 0.0
            strike(
                near_lanes, near_cores, near_left, near_first, near, near_box, part, least, np.inf, ios,
                boxes, members, at, threshold, gone,
            )  # fmt: skip
        if fars:
            cap = np.inf if bounded else 1e300  # two boxes of infinite area overlap by 0
            strike(
                far_lanes, far_cores, far_left, far_first, far, far_box, 0.0, least, cap, ios,
                boxes, members, at, threshold, gone,
            )  # fmt: skip
