"""Numba kernels of suppression by the overlap of masks."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.masks._numba_runs import common, rle_area, rle_boxes
from fastdet.masks.rle import Counts, Ints


def mask_nms(
    counts: Counts,
    offsets: Ints,
    sizes: Ints,
    order: Ints,
    keys: Ints,
    threshold: float,
    max_output: int,
    smaller: bool,
) -> Ints:
    boxes, areas = rle_boxes(counts, offsets, sizes), rle_area(counts, offsets)
    most = len(order) if max_output < 0 else min(max_output, len(order))
    keep = np.empty(most, np.int64)
    n = _greedy(plain(counts), plain(offsets), boxes, areas, plain(order), plain(keys), threshold, smaller, keep)
    return keep[:n].copy()


@jit
def _overlap(counts: Counts, offsets: Ints, boxes: Array, areas: Ints, i: int, k: int, smaller: bool) -> float:
    a, b = boxes[i], boxes[k]
    if not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]):
        return 0.0
    inter = common(counts[offsets[i] : offsets[i + 1]], counts[offsets[k] : offsets[k + 1]])
    if inter == 0:
        return 0.0
    return inter / (min(areas[i], areas[k]) if smaller else areas[i] + areas[k] - inter)


@jit
def _greedy(
    counts: Counts,
    offsets: Ints,
    boxes: Array,
    areas: Ints,
    order: Ints,
    keys: Ints,
    threshold: float,
    smaller: bool,
    keep: Ints,
) -> int:
    n = 0
    for i in order:
        if n == len(keep):
            break
        stays = True
        for k in keep[:n]:
            if keys[k] == keys[i] and _overlap(counts, offsets, boxes, areas, k, i, smaller) > threshold:
                stays = False
                break
        if stays:
            keep[n] = i
            n += 1
    return n


def matrix_nms(counts: Counts, offsets: Ints, sizes: Ints, order: Ints, keys: Ints, linear: bool) -> Array:
    boxes, areas = rle_boxes(counts, offsets, sizes), rle_area(counts, offsets)
    weight = np.empty(len(order))
    _weights(plain(counts), plain(offsets), boxes, areas, plain(order), plain(keys), linear, weight)
    return weight


@jit
def _weights(
    counts: Counts, offsets: Ints, boxes: Array, areas: Ints, order: Ints, keys: Ints, linear: bool, weight: Array
) -> None:
    most = np.zeros(len(order))
    for j in range(len(order)):
        weight[j] = 1.0 if linear else 0.0
        for i in range(j):
            if keys[order[i]] != keys[order[j]]:
                continue
            overlap = _overlap(counts, offsets, boxes, areas, order[i], order[j], False)
            if overlap == 0:
                continue
            most[j] = max(most[j], overlap)
            if not linear:
                weight[j] = min(weight[j], most[i] * most[i] - overlap * overlap)
            elif most[i] < 1:
                weight[j] = min(weight[j], (1 - overlap) / (1 - most[i]))
