"""Numba kernels of box fusion, in float64. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain
from fastdet.boxes._numba import overlap
from fastdet.fusion.merge import by_score
from fastdet.fusion.weighted import fuse


def merge_boxes(boxes: Array, scores: Array, iou_threshold: float, metric: str) -> tuple[Array, Array, Indices]:
    wide, owner = boxes.astype(np.float64), np.arange(len(boxes))
    _merge(wide, iou_threshold, metric == "ios", owner)
    slots, groups = np.unique(owner, return_inverse=True)
    return by_score(wide[slots], groups, boxes.dtype, scores)


@jit
def _find_partner(boxes: Array, i: int, alive: Array, ios: bool, best: Array, partner: Indices) -> None:
    """Find the best partner of box i among the boxes after it; the first of equal ones."""
    best[i], partner[i] = -1.0, -1
    for j in range(i + 1, len(boxes)):
        if alive[j]:
            value = overlap(boxes, i, boxes, j, ios)
            if value > best[i]:
                best[i], partner[i] = value, j


@jit
def _merge(boxes: Array, threshold: float, ios: bool, owner: Indices) -> None:
    """`merge_boxes_reference` in place; ``owner`` becomes the slot of each box's merged box."""
    count = len(boxes)
    alive, best, partner = np.ones(count, np.bool_), np.empty(count), np.empty(count, np.int64)
    for i in range(count):
        _find_partner(boxes, i, alive, ios, best, partner)
    while count:
        i = int(np.argmax(best))
        if not best[i] > threshold:
            break
        j = partner[i]
        for k in range(4):
            boxes[i, k] = 0.5 * boxes[i, k] + 0.5 * boxes[j, k]
        alive[j], best[j] = False, -1.0
        for k in range(count):
            if owner[k] == j:
                owner[k] = i
        _find_partner(boxes, i, alive, ios, best, partner)
        for k in range(count):
            if alive[k] and k != i and (partner[k] == i or partner[k] == j):
                _find_partner(boxes, k, alive, ios, best, partner)
        for k in range(i):
            if alive[k]:
                value = overlap(boxes, i, boxes, k, ios)
                if value > best[k] or (value == best[k] and i < partner[k]):
                    best[k], partner[k] = value, i


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


@jit
def _fuse(boxes: Array, scores: Array, labels: Indices, threshold: float, fused: Array, group: Indices) -> Any:
    """`weighted_boxes_fusion_reference`; returns the number of fused boxes."""
    total, weighted = np.zeros(len(boxes)), np.zeros((len(boxes), 4))
    count = first = 0
    for i in range(len(boxes)):
        if i > 0 and labels[i] != labels[i - 1]:
            first = count
        at, nearest = count, threshold
        for j in range(first, count):
            value = overlap(boxes, i, fused, j, False)
            if np.isnan(value):  # of infinite scores; NumPy's argmax stops there too
                at = count
                break
            if value > nearest:
                at, nearest = j, value
        count = max(count, at + 1)
        group[i] = at
        total[at] += scores[i]
        for k in range(4):
            weighted[at, k] += scores[i] * boxes[i, k]
            fused[at, k] = weighted[at, k] / total[at] if total[at] > 0 else boxes[i, k]
    return count
