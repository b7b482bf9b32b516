"""Numba kernels of suppression of rotated boxes, greedy and soft."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet._core.elementary import LOW, exp_negative
from fastdet._core.numba_elementary import exp_or_zero
from fastdet._core.numba_jit import Indices, jit, plain, typed
from fastdet.rotated._numba_pair import measure, meet, rects
from fastdet.rotated.geometry import METRICS


def nms_rotated(
    boxes: Array,
    scores: Array,
    idxs: Indices | None,
    degrees: bool,
    clockwise: bool,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> Indices | int:
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    order = np.argsort(-scores, kind="stable")
    if score_threshold is not None:
        order = order[scores[order] > check.cast(scores.dtype, score_threshold)]
    of = rects(plain(boxes), degrees, clockwise)[order]
    keys = np.zeros(0, np.int64) if idxs is None else idxs[order]
    kept = np.empty(len(order), np.int64)
    threshold = np.array([typed(boxes.dtype, iou_threshold)])
    return order[kept[: _greedy(of, keys, threshold, max_output, METRICS.index(metric), kept)]]


@jit
def _greedy(of: Array, keys: Indices, threshold: Array, limit: int, metric: int, kept: Indices) -> Any:
    count = 0
    for i in range(len(of)):
        if count == limit:
            break
        gone = False
        for k in range(count):
            j = kept[k]
            if len(keys) and keys[i] != keys[j]:
                continue
            if meet(of, j, of, i) and threshold.dtype.type(measure(of, j, of, i, metric)) > threshold[0]:
                gone = True
                break
        if not gone:
            kept[count] = i
            count += 1
    return count


def soft_nms_rotated(
    boxes: Array,
    scores: Array,
    idxs: Indices | None,
    degrees: bool,
    clockwise: bool,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[Indices, Array] | int:
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    of = rects(plain(boxes), degrees, clockwise)
    keys = np.zeros(0, np.int64) if idxs is None else plain(idxs)
    keep, new_scores = np.empty(len(boxes), np.int64), np.empty(len(boxes), scores.dtype)
    low = scores.dtype.type(LOW[scores.dtype.char])  # exp is constant from here down
    least = exp_negative(np.array([low]))[0]
    numbers = np.array([typed(scores.dtype, x) for x in (iou_threshold, sigma, min_score, low, least)], scores.dtype)
    count = _soft(of, scores.copy(), keys, method == "gaussian", numbers, max_output, keep, new_scores)
    return keep[:count].copy(), new_scores[:count].copy()


@jit
def _soft(
    of: Array, scores: Array, keys: Indices, gaussian: bool, numbers: Array, limit: int, keep: Indices, out: Array
) -> Any:
    threshold, sigma, lowest, low, least = numbers
    one, gone, count = scores.dtype.type(1), scores.dtype.type(-1), 0
    for i in range(len(scores)):
        if not scores[i] >= lowest:
            scores[i] = gone
    while count != limit:
        best = -1
        for i in range(len(scores)):
            if scores[i] >= 0 and (best < 0 or scores[i] > scores[best]):
                best = i
        if best < 0:
            break
        keep[count], out[count] = best, scores[best]
        count += 1
        scores[best] = gone
        for i in range(len(scores)):
            if not scores[i] >= 0 or (len(keys) and keys[i] != keys[best]) or not meet(of, best, of, i):
                continue
            iou = scores.dtype.type(measure(of, best, of, i, 0))
            weight = one
            if gaussian:
                power = -(iou * iou) / sigma
                weight = least if power <= low else exp_or_zero(power)
            elif iou >= threshold:
                weight = one - iou
            value = scores[i] * weight
            scores[i] = value if value >= lowest else gone
    return count
