"""Numba kernels of box fusion, in float64. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain
from fastdet.boxes._numba import has_nan, overlap
from fastdet.fusion._numba_nmm import nmm
from fastdet.fusion._numba_tree import BUILD, FAIR, find, make_tree, put
from fastdet.fusion.merge import by_score
from fastdet.fusion.weighted import fuse

__all__ = ["merge_boxes", "nmm", "weighted_boxes_fusion"]


def merge_boxes(boxes: Array, scores: Array, iou_threshold: float, metric: str) -> tuple[Array, Array, Indices]:
    wide, owner = boxes.astype(np.float64), np.arange(len(boxes))
    _merge(wide, iou_threshold, metric == "ios", owner)
    slots, groups = np.unique(owner, return_inverse=True)
    return by_score(wide[slots], groups, boxes.dtype, scores)


@jit
def _before(a: int, b: int, value: Array, other: Indices) -> Any:
    """Whether box a's pair is merged before box b's: of equal overlaps the lowest indices first."""
    if value[a] != value[b]:
        return value[a] > value[b]
    low_a, low_b = min(a, other[a]), min(b, other[b])
    return low_a < low_b or (low_a == low_b and max(a, other[a]) < max(b, other[b]))


@jit
def _play(winner: Indices, i: int, value: Array, other: Indices) -> None:
    """Box i's pair has changed: the first pair of each part that it is in, up to that of all boxes, winner[1]."""
    k = (len(winner) // 2 + i) // 2
    while k:
        a, b = winner[2 * k], winner[2 * k + 1]
        winner[k] = b if _before(b, a, value, other) else a
        k //= 2


@jit
def _merge(boxes: Array, threshold: float, ios: bool, owner: Indices) -> None:
    """`merge_boxes_reference` in place; ``owner`` becomes the slot of each box's merged box.

    As in C++, each box knows its best pair as it was when it last looked; the first pair of all is merged, or looked
    for again if its other box has changed since.
    """
    count = len(boxes)
    if not count:
        return
    alive, value, other = owner.copy(), np.full(count + 1, -1.0), np.arange(count + 1)  # the last stands for no box
    age, seen = np.zeros(count, np.int64), np.zeros(count, np.int64)
    size = 1
    while size <= count:
        size *= 2
    winner = np.full(2 * size, count)
    for i in range(count):
        winner[size + i] = i
    looks, compared = 0, BUILD * count + 1  # so that the tree is built
    look = 0
    begun = False
    while True:
        if compared > FAIR * looks + BUILD * count:
            for k in range(count):
                alive[k] = k if owner[k] == k else -1
            nodes, names, first, leaf = make_tree(boxes, alive)
            looks = compared = 0
        if not begun and look == count:
            begun = True
            for k in range(size - 1, 0, -1):
                a, b = winner[2 * k], winner[2 * k + 1]
                winner[k] = b if _before(b, a, value, other) else a
        if begun:
            look = winner[1]
            mate = other[look]
            if not value[look] > threshold:
                break
            if owner[mate] == mate and age[mate] == seen[look]:
                i, j = min(look, mate), max(look, mate)
                for k in range(4):
                    boxes[i, k] = 0.5 * boxes[i, k] + 0.5 * boxes[j, k]
                owner[j], value[j] = i, -1.0
                age[i] += 1
                put(nodes, names, first, leaf[j], boxes, j, -1)
                put(nodes, names, first, leaf[i], boxes, i, i)
                _play(winner, j, value, other)
                look = i
        best, found, pairs = find(nodes, names, first, boxes, look, threshold, look, ios)
        looks, compared = looks + 1, compared + pairs
        value[look], other[look] = best if found >= 0 else -1.0, found if found >= 0 else look
        seen[look] = age[other[look]]
        if begun:
            _play(winner, look, value, other)
        else:
            look += 1
    for i in range(count):  # an owner has a lower index, so it is resolved already
        owner[i] = owner[owner[i]]


def weighted_boxes_fusion(
    boxes: Sequence[Array],
    scores: Sequence[Array],
    labels: Sequence[Indices],
    share: Sequence[float],
    iou_threshold: float,
    min_score: float,
    conf_type: str,
    allows_overflow: bool,
) -> tuple[Array, Array, Indices]:
    return fuse(_fused, boxes, scores, labels, share, iou_threshold, min_score, conf_type, allows_overflow)


def _fused(boxes: Array, scores: Array, labels: Indices, iou_threshold: float) -> tuple[Array, Indices]:
    fused, group = np.zeros((len(boxes), 4)), np.zeros(len(boxes), np.int64)
    count = _fuse(plain(boxes), plain(scores), plain(labels), iou_threshold, fused, group)
    return fused[:count], group


FEW = 128  # fused boxes of a label that are compared one by one


@jit
def _fuse(boxes: Array, scores: Array, labels: Indices, threshold: float, fused: Array, group: Indices) -> Any:
    """`weighted_boxes_fusion_reference`; returns the number of fused boxes."""
    total, weighted, place = np.zeros(len(boxes)), np.zeros((len(boxes), 4)), np.zeros(len(boxes), np.int64)
    count = begin = planted = looks = compared = size = 0
    lost = grown = False  # a fused box of the label is NaN, of infinite scores: no box joins any more; there is a tree
    for i in range(len(boxes)):
        if i > 0 and labels[i] != labels[i - 1]:
            begin, lost, grown = count, False, False
        at = count
        if lost:
            pass
        elif not grown and count - begin < FEW:
            nearest = threshold
            for j in range(begin, count):
                if boxes[i, 0] < fused[j, 2] and fused[j, 0] < boxes[i, 2]:
                    value = overlap(boxes, i, fused, j, False)
                    if value > nearest:
                        at, nearest = j, value
        else:
            if not grown or compared > FAIR * looks + BUILD * size:
                end = i
                while end < len(boxes) and labels[end] == labels[i]:
                    end += 1
                size = count - begin + end - i
                given, here = np.full(size, -1), np.empty((size, 4))
                for k in range(size):
                    old = begin + k
                    if old < count:
                        given[k], place[old] = old, k
                    for axis in range(4):
                        here[k, axis] = fused[old, axis] if old < count else boxes[i + old - count, axis]
                nodes, names, first, leaf = make_tree(here, given)
                grown, planted = True, i - (count - begin)  # the place of the fused box that box k begins: k less this
                looks = compared = 0
            _, found, pairs = find(nodes, names, first, boxes, i, threshold, -1, False)
            looks, compared = looks + 1, compared + pairs
            if found >= 0:
                at = found
        if at == count:
            place[at] = i - planted
            count += 1
        group[i] = at
        total[at] += scores[i]
        for k in range(4):
            weighted[at, k] += scores[i] * boxes[i, k]
            fused[at, k] = weighted[at, k] / total[at] if total[at] > 0 else boxes[i, k]
        lost = lost or has_nan(fused, at)
        if grown:
            put(nodes, names, first, leaf[place[at]], fused, at, at)
    return count
