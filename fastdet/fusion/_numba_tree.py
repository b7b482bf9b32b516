"""Numba kernels of a tree over boxes that move, appear and go: which box overlaps a given one most.

The C++ backend has the same tree (csrc/fusion/tree.h), and says why no bound leaves out a box that the comparison with
all would find. A node has four children. Its row holds the lowest and the highest of each coordinate below it, the
largest width and height, and the least and the largest area; a box is a row of its own. Its name is the lowest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit
from fastdet.boxes._numba import overlap

FAN = 4
WIDE, TALL, LEAST, MOST, COLUMNS = 8, 9, 10, 11, 12
NOTHING = 2**63 - 1  # the name of a node without a box
OCTAVES, UNLIKE = 2.0, 32  # sizes that differ by more are unlike; so many of them are split by size first
TINY = 2.0**-900
FAIR, BUILD = 400, 200  # pairs: of a search in a good tree; what a build costs a box


@jit
def octave(x: float) -> float:
    return math.log2(x) if 0 < x < math.inf else -1100.0


@jit
def axis_of(place: Array, order: Indices, begin: int, end: int) -> Any:
    """By what to split: 0 to 3, a coordinate; 4 or 5, the width or the height."""
    mean, off, unlike = np.zeros(6), np.zeros(4), np.zeros(2)
    one = 1.0 / (end - begin)
    for at in range(begin, end):
        for axis in range(6):
            mean[axis] += place[order[at], axis] * one
    for at in range(begin, end):
        i = order[at]
        for axis in range(4):
            off[axis] += abs(place[i, axis] - mean[axis]) * one
        for axis in range(2):
            unlike[axis] += abs(place[i, 4 + axis] - mean[4 + axis]) > OCTAVES
    if max(unlike[0], unlike[1]) > UNLIKE:
        return 4 if unlike[0] >= unlike[1] else 5
    less = 2.0 ** min(max(mean[5] - mean[4], -900.0), 900.0)  # a width in heights, inverted
    off[0] *= less
    off[2] *= less
    best = 0
    for axis in range(1, 4):
        if off[axis] > off[best]:
            best = axis
    return best


@jit
def split(place: Array, axis: int, order: Indices, begin: int, end: int, cut: int) -> None:
    """Reorder a part so that what is before ``cut`` is not above what is behind it: Hoare's selection."""
    low, high = begin, end - 1
    while low < high:
        pivot = place[order[(low + high) // 2], axis]
        i, j = low, high
        while i <= j:
            while place[order[i], axis] < pivot:
                i += 1
            while place[order[j], axis] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if cut <= j:
            high = j
        elif cut >= i:
            low = i
        else:
            return


@jit
def by_place(boxes: Array) -> Indices:
    """An order of the boxes that brings near ones of like size together: splits at the median, of whole subtrees."""
    n = len(boxes)
    place, order = np.zeros((n, 6)), np.arange(n)
    for i in range(n):
        for axis in range(4):
            if math.isfinite(boxes[i, axis]):
                place[i, axis] = boxes[i, axis]
        place[i, 4], place[i, 5] = octave(boxes[i, 2] - boxes[i, 0]), octave(boxes[i, 3] - boxes[i, 1])
    begins, ends = np.empty(128, np.int64), np.empty(128, np.int64)
    begins[0], ends[0] = 0, n
    parts = 1
    while parts:
        parts -= 1
        begin, end = begins[parts], ends[parts]
        if end - begin <= FAN:
            continue
        unit = FAN
        while unit * FAN < end - begin:
            unit *= FAN
        cut = begin + (end - begin + unit) // (2 * unit) * unit
        split(place, axis_of(place, order, begin, end), order, begin, end, cut)
        begins[parts], ends[parts] = begin, cut
        begins[parts + 1], ends[parts + 1] = cut, end
        parts += 2
    return order


@jit
def clear(nodes: Array, names: Indices, k: int) -> None:
    for axis in range(4):
        nodes[k, axis], nodes[k, 4 + axis] = np.inf, -np.inf
    nodes[k, WIDE], nodes[k, TALL], nodes[k, LEAST], nodes[k, MOST] = 0.0, 0.0, np.inf, 0.0
    names[k] = NOTHING


@jit
def write(nodes: Array, names: Indices, k: int, boxes: Array, i: int, name: int) -> None:
    """Box i into row k; a box that overlaps none by more than 0 is nothing."""
    x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
    finite = math.isfinite(x1) and math.isfinite(y1) and math.isfinite(x2) and math.isfinite(y2)
    if name < 0 or not finite or not (x2 > x1 and y2 > y1 and (x2 - x1) * (y2 - y1) > 0):
        clear(nodes, names, k)
        return
    for axis in range(4):
        nodes[k, axis] = nodes[k, 4 + axis] = boxes[i, axis]
    nodes[k, WIDE], nodes[k, TALL] = x2 - x1, y2 - y1
    nodes[k, LEAST] = nodes[k, MOST] = (x2 - x1) * (y2 - y1)
    names[k] = name


@jit
def fit(nodes: Array, names: Indices, first: Indices, level: int, k: int) -> None:
    """Row k of a level from the rows below it."""
    to = first[level] + k
    clear(nodes, names, to)
    begin = first[level - 1] + k * FAN
    for c in range(begin, min(begin + FAN, first[level])):
        for axis in range(4):
            nodes[to, axis] = min(nodes[to, axis], nodes[c, axis])
            nodes[to, 4 + axis] = max(nodes[to, 4 + axis], nodes[c, 4 + axis])
        nodes[to, WIDE], nodes[to, TALL] = max(nodes[to, WIDE], nodes[c, WIDE]), max(nodes[to, TALL], nodes[c, TALL])
        nodes[to, LEAST], nodes[to, MOST] = min(nodes[to, LEAST], nodes[c, LEAST]), max(nodes[to, MOST], nodes[c, MOST])
        names[to] = min(names[to], names[c])


@jit
def make_tree(boxes: Array, given: Indices) -> Any:
    """The tree of boxes, one or more, with these names, -1 for no box: rows, names, levels, the row of each place."""
    n = len(boxes)
    first = np.zeros(36, np.int64)
    levels, count = 1, n
    first[1] = n
    while count > 1 or levels == 1:  # a root above a single box
        count = (count + FAN - 1) // FAN
        first[levels + 1] = first[levels] + count
        levels += 1
    nodes, names = np.empty((first[levels], COLUMNS)), np.empty(first[levels], np.int64)
    order, leaf = by_place(boxes), np.empty(n, np.int64)
    for k in range(n):
        leaf[order[k]] = k
        write(nodes, names, k, boxes, order[k], given[order[k]])
    for level in range(1, levels):
        for k in range(first[level + 1] - first[level]):
            fit(nodes, names, first, level, k)
    return nodes, names, first[: levels + 1].copy(), leaf


@jit
def put(nodes: Array, names: Indices, first: Indices, k: int, boxes: Array, i: int, name: int) -> None:
    """Box i into leaf k under a name; nothing with the name -1."""
    write(nodes, names, k, boxes, i, name)
    for level in range(1, len(first) - 1):
        k //= FAN
        fit(nodes, names, first, level, k)


@jit
def bound(nodes: Array, k: int, query: Array, own: float, ios: bool) -> float:
    """The largest overlap with the boxes below a node that the query meets."""
    x1, y1, x2, y2 = query[0, 0], query[0, 1], query[0, 2], query[0, 3]
    least, most = nodes[k, LEAST], nodes[k, MOST]
    value = 1.0
    if (min(least, own) if ios else own) > TINY:
        for axis in range(4):
            query[1, axis] = min(max(query[0, axis], nodes[k, axis]), nodes[k, 4 + axis])
        value = min(value, overlap(query, 0, query, 1, ios) * (1 + 2.0**-46) + 2.0**-150)
    if math.isfinite(most + own):
        wide = min(min(x2, nodes[k, 6]) - max(x1, nodes[k, 0]), nodes[k, WIDE])
        tall = min(min(y2, nodes[k, 7]) - max(y1, nodes[k, 1]), nodes[k, TALL])
        inter = min(wide * tall, min(most, own))
        if inter <= least:
            value = min(value, inter / (min(least, own) if ios else least + own - inter))
        elif not ios:
            value = min(value, inter / own * (1 + 2.0**-50) + 2.0**-1060)
    return value


@jit
def meets(nodes: Array, k: int, query: Array) -> Any:
    wide = min(query[0, 2], nodes[k, 6]) > max(query[0, 0], nodes[k, 0])
    return wide and min(query[0, 3], nodes[k, 7]) > max(query[0, 1], nodes[k, 1])


@jit
def is_out(value: float, name: int, best: float, found: int) -> Any:
    return value < best or (value == best and not name < found)


@jit
def find(
    nodes: Array, names: Indices, first: Indices, boxes: Array, i: int, least: float, without: int, ios: bool
) -> Any:
    """The largest overlap with box i above ``least``, the lowest name that has it or -1, and the pairs compared."""
    best, found, compared = least, -1, 0
    own = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    if not (boxes[i, 2] > boxes[i, 0] and boxes[i, 3] > boxes[i, 1] and own > 0):
        return best, found, compared
    query = np.empty((2, 4))
    for axis in range(4):
        query[0, axis] = boxes[i, axis]
    bounds, rows, heights = np.empty(144), np.empty(144, np.int64), np.empty(144, np.int64)
    bounds[0], rows[0], heights[0] = 1.0, len(nodes) - 1, len(first) - 2
    todo = 1
    while todo:
        todo -= 1
        k, level = rows[todo], heights[todo]
        if is_out(bounds[todo], names[k], best, found):
            continue
        begin = first[level - 1] + (k - first[level]) * FAN
        end, floor = min(begin + FAN, first[level]), todo
        compared += end - begin
        for c in range(begin, end):
            if not meets(nodes, c, query) or (level == 1 and names[c] == without):
                continue
            if level == 1:
                value = overlap(query, 0, nodes, c, ios)
                if not is_out(value, names[c], best, found):
                    best, found = value, names[c]
                continue
            value, at = bound(nodes, c, query, own, ios), todo
            if is_out(value, names[c], best, found):
                continue
            # the largest bound, of equal ones the lowest name, comes last: it is the next
            while at > floor and (
                bounds[at - 1] > value or (bounds[at - 1] == value and names[rows[at - 1]] < names[c])
            ):
                bounds[at], rows[at], heights[at] = bounds[at - 1], rows[at - 1], level - 1
                at -= 1
            bounds[at], rows[at], heights[at] = value, c, level - 1
            todo += 1
    return best, found, compared


@jit
def loose_bound(nodes: Array, k: int, query: Array, own: float, ios: bool, narrow: bool) -> float:
    """`bound` for overlaps that float32 rounds, if ``narrow``: none where its areas would overflow or underflow."""
    if not narrow:
        return bound(nodes, k, query, own, ios)
    if not (min(nodes[k, LEAST], own) > 2.0**-100 and max(nodes[k, MOST], own) < 2.0**120):
        return 2.0
    return bound(nodes, k, query, own, ios) * (1 + 2.0**-18) + 2.0**-40


@jit
def first_above(
    nodes: Array, names: Indices, first: Indices, wide: Array, boxes: Array, i: int, threshold: Any, ios: bool
) -> Any:
    """The lowest name of a box that overlaps box i by more than the threshold, or -1, and the pairs compared.

    Names are rows of ``boxes``, which decide; ``wide`` holds them in float64, as the tree does.
    """
    found, compared, narrow, least = NOTHING, 0, boxes.itemsize == 4, float(threshold)
    own = (wide[i, 2] - wide[i, 0]) * (wide[i, 3] - wide[i, 1])
    if not (wide[i, 2] > wide[i, 0] and wide[i, 3] > wide[i, 1] and own > 0):
        return -1, compared
    query = np.empty((2, 4))
    for axis in range(4):
        query[0, axis] = wide[i, axis]
    rows, heights = np.empty(144, np.int64), np.empty(144, np.int64)
    rows[0], heights[0] = len(nodes) - 1, len(first) - 2
    todo = 1
    while todo:
        todo -= 1
        k, level = rows[todo], heights[todo]
        if names[k] >= found:
            continue
        begin = first[level - 1] + (k - first[level]) * FAN
        end, floor = min(begin + FAN, first[level]), todo
        compared += end - begin
        for c in range(begin, end):
            if names[c] >= found or not meets(nodes, c, query):
                continue
            if level == 1:
                if overlap(boxes, i, boxes, names[c], ios) > threshold:
                    found = names[c]
                continue
            if not loose_bound(nodes, c, query, own, ios, narrow) > least:
                continue
            at = todo
            while at > floor and names[rows[at - 1]] < names[c]:  # the lowest name comes last: it is the next
                rows[at], heights[at] = rows[at - 1], level - 1
                at -= 1
            rows[at], heights[at] = c, level - 1
            todo += 1
    return found if found < NOTHING else -1, compared
