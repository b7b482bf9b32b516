"""Numba kernels of non-maximum merging, in the boxes' dtype. `_core.numba_jit` has the rules of all kernels.

A box is claimed by the first box by score that overlaps it enough, in greedy merging by the first kept one. The tree
holds the boxes that may claim, by their places in that order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, typed
from fastdet.boxes._numba import overlap
from fastdet.fusion._numba_tree import first_above, make_tree, put

FEW = 48  # boxes of a key that are compared one by one


def nmm(
    boxes: Array, scores: Array, idxs: Indices | None, iou_threshold: float, metric: str, transitive: bool
) -> tuple[Array, Array, Indices, Indices, Indices, Indices]:
    boxes, scores = boxes.copy(), scores.copy()  # what is found out about them stays true, whoever writes to them
    n, threshold, ios = len(boxes), typed(boxes.dtype, iou_threshold), metric == "ios"
    ranked = np.argsort(-scores, kind="stable")
    keys = np.zeros(n, np.int64) if idxs is None else idxs[ranked]
    members = np.argsort(keys, kind="stable")  # by key, then by falling score
    mine = boxes[ranked[members]]
    new_key, tied = np.ones(n, np.bool_), np.zeros(n, np.bool_)
    new_key[1:] = keys[members[1:]] != keys[members[:-1]]
    level = scores[ranked[members]]
    tied[1:] = (level[1:] == level[:-1]) & ~new_key[1:]
    twin = _twins(mine, tied) if transitive else np.arange(n)
    claimer = np.arange(n)
    if threshold < 1:  # no overlap is above 1, rounded either
        ends = np.append(np.flatnonzero(new_key[1:]) + 1, n) if n else np.zeros(0, np.int64)
        _claims(mine, mine.astype(np.float64), ends, tied, twin, threshold, ios, transitive, claimer)
    parent = np.empty(n, np.int64)
    parent[members] = members[claimer]  # ranks
    rank = np.empty(n, np.int64)
    rank[ranked] = np.arange(n)
    group, keep, order = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    united = boxes[ranked]
    kept = _place(
        united.copy(), parent, rank if transitive else np.arange(n), threshold, ios, group, keep, order, united
    )
    best = ranked[keep[:kept]]
    parents, groups = np.empty(n, np.int64), np.empty(n, np.int64)
    parents[ranked], groups[ranked] = ranked[parent], group
    return united[:kept], scores[best], best, groups, ranked[order], parents


def _twins(boxes: Array, tied: Array) -> Indices:
    """The first equal box of the same score and key of each box."""
    n = len(boxes)
    level = np.cumsum(~tied)
    order = np.lexsort((*boxes.T, level))  # stable: equal ones stay in order
    same = np.zeros(n, np.bool_)
    same[1:] = (boxes[order[1:]] == boxes[order[:-1]]).all(axis=1) & (level[order[1:]] == level[order[:-1]])
    starts = np.flatnonzero(~same)
    twin = np.empty(n, np.int64)
    twin[order] = order[np.repeat(starts, np.diff(np.append(starts, n)))]
    return twin


@jit
def _claims(
    boxes: Array, wide: Array, ends: Indices, tied: Array, twin: Indices, threshold: Any, ios: bool, transitive: bool,
    claimer: Indices,
) -> None:  # fmt: skip
    """claimer: the box that claims each of ``boxes``, which lie by key and falling score."""
    begin = 0
    for end in ends:
        mine, which, more = boxes[begin:end], claimer[begin:end], tied[begin:end]
        if end - begin <= FEW:
            _claims_of_few(mine, more, twin[begin:end], begin, threshold, ios, transitive, which)
        else:
            _claims_of_many(mine, wide[begin:end], more, twin[begin:end], begin, threshold, ios, transitive, which)
        begin = end


@jit
def _claims_of_few(
    boxes: Array, tied: Array, twin: Indices, begin: int, threshold: Any, ios: bool, transitive: bool, claimer: Indices
) -> None:
    level = 0
    for i in range(len(boxes)):
        if not tied[i]:
            level = i
        for k in range(level if transitive else i):
            if (transitive or claimer[k] == begin + k) and overlap(boxes, k, boxes, i, ios) > threshold:
                claimer[i] = begin + k
                break
        if transitive and claimer[i] == begin + i and overlap(boxes, i, boxes, i, ios) > threshold:
            claimer[i] = twin[i]


@jit
def _claims_of_many(
    boxes: Array, wide: Array, tied: Array, twin: Indices, begin: int, threshold: Any, ios: bool, transitive: bool,
    claimer: Indices,
) -> None:  # fmt: skip
    count = len(boxes)
    nodes, names, first, leaf = make_tree(wide, np.full(count, -1))
    level = 0  # the first box of this score: those of one score do not meet
    for i in range(count):
        found, _ = first_above(nodes, names, first, wide, boxes, i, threshold, ios)
        if found >= 0:
            claimer[i] = begin + found
        elif transitive and overlap(boxes, i, boxes, i, ios) > threshold:
            claimer[i] = twin[i]
        if not transitive:
            if found < 0:
                put(nodes, names, first, leaf[i], wide, i, i)
        elif i + 1 == count or not tied[i + 1]:
            for k in range(level, i + 1):
                put(nodes, names, first, leaf[k], wide, k, k)
            level = i + 1


@jit
def _unite(united: Array, row: int, boxes: Array, other: int) -> None:
    for axis in range(2):
        if boxes[other, axis] < united[row, axis]:
            united[row, axis] = boxes[other, axis]
        if boxes[other, axis + 2] > united[row, axis + 2]:
            united[row, axis + 2] = boxes[other, axis + 2]


@jit
def _place(
    boxes: Array, parent: Indices, sequence: Indices, threshold: Any, ios: bool, group: Indices, keep: Indices,
    order: Indices, united: Array,
) -> Any:  # fmt: skip
    """From the parent of each rank its group, the kept ranks, all ranks group by group, and the united boxes.

    sequence: the ranks in the order in which one box claims them. Returns how many are kept.
    """
    n, kept = len(parent), 0
    first, child = np.zeros(n + 1, np.int64), np.empty(n, np.int64)
    for r in range(n):  # a parent comes before what it claims
        if parent[r] == r:
            group[r], keep[kept] = kept, r
            kept += 1
        else:
            group[r] = group[parent[r]]
            first[parent[r] + 1] += 1
    for r in range(n):
        first[r + 1] += first[r]
    filled = first.copy()
    for k in range(n):
        r = sequence[k]
        p = parent[r]
        if p != r:
            child[filled[p]] = r
            filled[p] += 1
    at = np.zeros(kept + 1, np.int64)
    for r in range(n):
        at[group[r] + 1] += 1
    for g in range(kept):
        at[g + 1] += at[g]
    for r in range(n):
        g = group[r]
        if parent[r] == r:
            united[g] = boxes[r]
            order[at[g]] = r
            at[g] += 1
        for k in range(first[r], first[r + 1]):
            if overlap(united, g, boxes, child[k], ios) > threshold:
                _unite(united, g, boxes, child[k])
            order[at[g]] = child[k]
            at[g] += 1
    return kept
