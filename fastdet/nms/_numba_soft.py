"""Numba kernels of Soft-NMS. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import INVERSE_FACTORIAL
from fastdet._core.numba_jit import Indices, jit, typed
from fastdet.boxes._numba import columns, ordinary, overlap, row_overlap
from fastdet.nms._numba_greedy import BLOCK, by_group, first_nan
from fastdet.nms._numba_soft_tree import soft_tree, weigh

TREE_MIN_BOXES, TREE_MIN_KEPT = 4096, 256  # a tree is faster with more boxes, where more may be kept


def soft_nms(
    boxes: Array,
    scores: Array,
    idxs: Indices | None,
    method: str | Callable[[float], float],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[Indices, Array] | int:
    return counted_soft_nms(
        boxes, scores, idxs, method, iou_threshold, sigma, min_score, max_output, np.zeros(1, np.int64)
    )


def counted_soft_nms(
    boxes: Array,
    scores: Array,
    idxs: Indices | None,
    method: str | Callable[[float], float],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
    work: Indices,
) -> tuple[Indices, Array] | int:
    """As `soft_nms`; the pairs that trees compared are added to work[0]."""
    boxes, scores = boxes.copy(), scores.copy()  # an overlap is at most 1, whoever writes to the caller's arrays
    idxs = None if idxs is None else idxs.copy()
    nan = first_nan(boxes, scores)
    if nan is not None:
        return nan
    one, count = scores.dtype.type, len(scores)
    lowest, keep, new_scores = typed(scores.dtype, min_score), np.empty(count, np.int64), np.empty(count, scores.dtype)
    if callable(method):
        keys = np.zeros(0, np.int64) if idxs is None else idxs
        kept, weight, iou = _soft_called(boxes, scores, keys, method, lowest, max_output, keep, new_scores)
        if kept < 0:
            raise ValueError(f"soft_nms: method must return a weight in [0, 1], got {one(weight)} for IoU {one(iou)}")
        return keep[:kept].copy(), new_scores[:kept].copy()
    members, ends = (np.arange(count), np.array([count])) if idxs is None or not count else by_group(idxs)
    single = scores.dtype == np.float32
    parameter = typed(scores.dtype, iou_threshold if method == "linear" else sigma)
    series = np.array(INVERSE_FACTORIAL[: 8 if single else 14], scores.dtype)
    constants = np.array(
        [-87, 1.4426950408889634, 1.5 * 2**23, 0.693359375, -2.12194440e-4]
        if single
        else [-708, 1.4426950408889634, 1.5 * 2**52, 0.6931471803691238, 1.9082149292705877e-10],
        scores.dtype,
    )
    # + 0 turns -0 into 0: the bits of -0 are a negative integer, which marks a box that is gone
    current, power = scores[members] + one(0), np.empty(BLOCK, scores.dtype)
    whole = np.int32 if single else np.int64
    # an overlap below it leaves a score as it is: the weight is 1, rounded
    least = 2.0**-27 if single else 2.0**-56
    silent = min(float(parameter) if method == "linear" else (float(parameter) * least) ** 0.5, 1.0)
    kept = _soft_groups(
        boxes, members, ends, current, current.view(whole), method == "linear", parameter, silent, lowest, max_output,
        constants, series, power, power.view(whole), keep, new_scores, TREE_MIN_BOXES, work,
    )  # fmt: skip
    keep = keep[:kept].copy()
    new_scores = np.copysign(new_scores[:kept], scores[keep])  # makes -0 of it again
    if len(ends) > 1:  # new scores only fall, so this is the order of selection over all groups
        order = np.lexsort((keep, -new_scores))[: None if max_output < 0 else max_output]
        keep, new_scores = keep[order], new_scores[order]
    return keep, new_scores


@jit
def _soft_groups(
    boxes: Array,
    members: Indices,
    ends: Indices,
    current: Array,
    bits: Array,
    linear: bool,
    parameter: Any,
    silent: float,
    min_score: Any,
    limit: int,
    constants: Array,
    series: Array,
    power: Array,
    power_bits: Array,
    keep: Indices,
    new_scores: Array,
    tree_min: int,
    work: Indices,
) -> Any:
    """Soft-NMS of each group, one after the other; returns how many boxes are kept.

    ``bits`` is ``current`` seen as integers, of the same order. ``parameter`` is the threshold of the linear method,
    sigma of the gaussian one.
    """
    total, begin = 0, 0
    for end in ends:
        mine = members[begin:end].copy()
        regular = True
        for i in mine:
            regular &= ordinary(boxes, i)
        if len(mine) > tree_min and (limit < 0 or limit > TREE_MIN_KEPT):
            kept, compared = soft_tree(
                boxes, mine, current[begin:end], regular, linear, parameter, silent, min_score, limit,
                constants, series, power, power_bits, keep[total:], new_scores[total:],
            )  # fmt: skip
            total += kept
            work[0] += compared
        else:
            total += _soft_group(
                boxes, mine, current[begin:end], bits[begin:end], regular, linear, parameter, min_score, limit,
                constants, series, power, power_bits, keep[total:], new_scores[total:],
            )  # fmt: skip
        begin = end
    return total


@jit
def _soft_group(
    boxes: Array,
    mine: Indices,
    score: Array,
    order: Array,
    regular: bool,
    linear: bool,
    parameter: Any,
    min_score: Any,
    limit: int,
    constants: Array,
    series: Array,
    power: Array,
    power_bits: Array,
    keep: Indices,
    new_scores: Array,
) -> Any:
    """Soft-NMS of one group. A box that is taken or dropped has score -1; gaps are closed when half are gone."""
    one, zero, gone = boxes.dtype.type(1), boxes.dtype.type(0), boxes.dtype.type(-1)
    left = alive = len(mine)
    stored, row = np.empty((5, left), boxes.dtype), np.empty(BLOCK, boxes.dtype)
    columns(boxes, mine, stored)
    top = np.empty((left + BLOCK - 1) // BLOCK, order.dtype)
    kept, best = 0, -1  # no box has been taken: the first round only looks for the best
    while kept != limit:
        if best >= 0:
            x1, y1, x2, y2 = stored[0, best], stored[1, best], stored[2, best], stored[3, best]
            area, chosen = stored[4, best], mine[best]
        else:
            x1, y1, x2, y2, area, chosen = zero, zero, zero, zero, zero, np.int64(0)
        if alive * 2 < left:
            left = _close_gaps(order, score, mine, stored, left)
        alive = 0
        for lo in range(0, left, BLOCK):
            hi = min(lo + BLOCK, left)
            weight = row[: hi - lo]
            if best < 0:
                weight[:] = one
            else:
                if regular:
                    row_overlap(x1, y1, x2, y2, area, False, stored, lo, hi, weight)
                else:
                    for j in range(hi - lo):
                        weight[j] = overlap(boxes, chosen, boxes, mine[lo + j], False)
                weigh(weight, linear, parameter, constants, series, power, power_bits)
            part, part_order = score[lo:hi], order[lo:hi]
            for j in range(hi - lo):
                value = part[j] * weight[j]
                part[j] = value if value >= min_score else gone
            highest = part_order[0]
            for j in range(hi - lo):
                highest = part_order[j] if part_order[j] > highest else highest
                alive += part_order[j] >= 0
            top[lo // BLOCK] = highest
        if alive == 0:
            break
        block = int(np.argmax(top[: (left + BLOCK - 1) // BLOCK]))
        best = block * BLOCK
        while order[best] != top[block]:
            best += 1
        keep[kept], new_scores[kept] = mine[best], score[best]
        kept += 1
        score[best] = gone
        alive -= 1
    return kept


@jit
def _close_gaps(order: Array, score: Array, mine: Indices, stored: Array, left: int) -> Any:
    """Move the boxes that are alive to the front; returns how many there are."""
    to = 0
    for j in range(left):
        if order[j] >= 0:
            score[to], mine[to] = score[j], mine[j]
            for k in range(5):
                stored[k, to] = stored[k, j]
            to += 1
    return to


# not cached: compiled for each callable
@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _soft_called(
    boxes: Array,
    current: Array,
    keys: Indices,
    method: Any,
    min_score: Any,
    limit: int,
    keep: Indices,
    new_scores: Array,
) -> Any:
    """Soft-NMS with any weight function. Returns (count, 0, 0), or (-1, weight, IoU) for a weight outside [0, 1]."""
    zero, count = current.dtype.type(0), 0
    while count != limit:
        best = -1
        for j in range(len(current)):
            if current[j] >= min_score and (best < 0 or current[j] > current[best]):
                best = j
        if best < 0:
            break
        keep[count], new_scores[count] = best, current[best]
        count += 1
        current[best] = -1
        for j in range(len(current)):
            if current[j] >= min_score and (not keys.size or keys[j] == keys[best]):
                iou = overlap(boxes, best, boxes, j, False)
                weight = current.dtype.type(method(float(iou)))
                if not (weight >= zero and weight <= 1):
                    return -1, weight, iou
                current[j] *= weight
    return count, zero, zero
