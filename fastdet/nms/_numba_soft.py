"""Numba kernels of Soft-NMS. See `_numba` for what holds for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import INVERSE_FACTORIAL
from fastdet._core.numba_jit import Indices, jit, plain, typed
from fastdet.boxes._numba import columns, ordinary, overlap, row_overlap
from fastdet.nms._numba_greedy import BLOCK, by_group, first_nan


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
    boxes, scores = plain(boxes), plain(scores)
    nan = first_nan(boxes, scores)
    if nan is not None:
        return nan
    one, count = scores.dtype.type, len(scores)
    least, keep, new_scores = typed(scores.dtype, min_score), np.empty(count, np.int64), np.empty(count, scores.dtype)
    if callable(method):
        keys = np.zeros(0, np.int64) if idxs is None else plain(idxs)
        found, weight, iou = _soft_called(boxes, scores.copy(), keys, method, least, max_output, keep, new_scores)
        if found < 0:
            raise ValueError(
                f"soft_nms: method must give a weight in [0, 1], got {scores.dtype.type(weight)} for IoU {one(iou)}"
            )
        return keep[:found].copy(), new_scores[:found].copy()
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
    current, power = scores[members] + one(0), np.empty(BLOCK, scores.dtype)  # + 0: no -0, whose bits are negative
    whole = np.int32 if single else np.int64
    found = _soft_groups(
        boxes, members, ends, current, current.view(whole), method == "linear", parameter, least, max_output,
        constants, series, power, power.view(whole), keep, new_scores,
    )  # fmt: skip
    keep = keep[:found].copy()
    new_scores = np.copysign(new_scores[:found], scores[keep])  # a -0 stays one
    if len(ends) > 1:  # new scores only fall, so that this is the order of global selection
        order = np.lexsort((keep, -new_scores))[: None if max_output < 0 else max_output]
        keep, new_scores = keep[order], new_scores[order]
    return keep, new_scores


@jit
def _exp_negative(x: Array, constants: Array, series: Array, power: Array, bits: Array) -> None:
    """`fastdet.nms.exp_negative` in place; ``bits`` is ``power`` seen as integers, to build 2^n in."""
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
    # written out: a loop over the series would keep the loop over boxes from becoming vector instructions
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
def _soft_groups(
    boxes: Array,
    members: Indices,
    ends: Indices,
    current: Array,
    bits: Array,
    linear: bool,
    parameter: Any,
    least: Any,
    limit: int,
    constants: Array,
    series: Array,
    power: Array,
    power_bits: Array,
    keep: Indices,
    new_scores: Array,
) -> Any:
    """Soft-NMS of each group, one after the other; ``bits`` is ``current`` seen as integers, of the same order.

    A box that is taken or dropped has score -1. A group moves together when half of it has gone.
    """
    total, begin, one, zero, gone = 0, 0, boxes.dtype.type(1), boxes.dtype.type(0), boxes.dtype.type(-1)
    row = np.empty(BLOCK, boxes.dtype)
    for end in ends:
        left, score, order, mine = end - begin, current[begin:end], bits[begin:end], members[begin:end].copy()
        begin, quota = end, limit
        usual = True
        for i in mine:
            usual &= ordinary(boxes, i)
        stored = np.empty((5, left), boxes.dtype)
        columns(boxes, mine, stored)
        top = np.empty((left + BLOCK - 1) // BLOCK, bits.dtype)
        alive = left
        best = -1  # no box has been taken: the first round only looks for the best
        while quota != 0:
            if best >= 0:
                x1, y1, x2, y2 = stored[0, best], stored[1, best], stored[2, best], stored[3, best]
                area, chosen = stored[4, best], mine[best]
            else:
                x1, y1, x2, y2, area, chosen = zero, zero, zero, zero, zero, np.int64(0)
            if alive * 2 < left:
                to = 0
                for j in range(left):
                    if order[j] >= 0:
                        score[to], mine[to] = score[j], mine[j]
                        for k in range(5):
                            stored[k, to] = stored[k, j]
                        to += 1
                left = to
            alive = 0
            for lo in range(0, left, BLOCK):
                hi = min(lo + BLOCK, left)
                weight = row[: hi - lo]
                if best < 0:
                    weight[:] = one
                else:
                    if usual:
                        row_overlap(x1, y1, x2, y2, area, False, stored, lo, hi, weight)
                    else:
                        for j in range(hi - lo):
                            weight[j] = overlap(boxes, chosen, boxes, mine[lo + j], False)
                    if linear:
                        for j in range(hi - lo):
                            weight[j] = one - weight[j] if weight[j] >= parameter else one
                    else:
                        for j in range(hi - lo):
                            weight[j] = -(weight[j] * weight[j]) / parameter
                        _exp_negative(weight, constants, series, power, power_bits)
                part, part_order = score[lo:hi], order[lo:hi]
                for j in range(hi - lo):
                    value = part[j] * weight[j]
                    part[j] = value if value >= least else gone
                most = part_order[0]
                for j in range(hi - lo):
                    most = part_order[j] if part_order[j] > most else most
                    alive += part_order[j] >= 0
                top[lo // BLOCK] = most
            if alive == 0:
                break
            block = int(np.argmax(top[: (left + BLOCK - 1) // BLOCK]))
            best = block * BLOCK
            while order[best] != top[block]:
                best += 1
            keep[total], new_scores[total] = mine[best], score[best]
            total += 1
            quota -= 1
            score[best] = gone
            alive -= 1
    return total


# not cached: compiled for each callable
@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _soft_called(
    boxes: Array,
    current: Array,
    keys: Indices,
    method: Any,
    least: Any,
    limit: int,
    keep: Indices,
    new_scores: Array,
) -> Any:
    """Soft-NMS by any weight; (count, 0, 0), or (-1, weight, IoU) where a weight is not in [0, 1]."""
    zero, count = current.dtype.type(0), 0
    while count != limit:
        best = -1
        for j in range(len(current)):
            if current[j] >= least and (best < 0 or current[j] > current[best]):
                best = j
        if best < 0:
            break
        keep[count], new_scores[count] = best, current[best]
        count += 1
        current[best] = -1
        for j in range(len(current)):
            if current[j] >= least and (not keys.size or keys[j] == keys[best]):
                iou = overlap(boxes, best, boxes, j, False)
                weight = current.dtype.type(method(float(iou)))
                if not (weight >= zero and weight <= 1):
                    return -1, weight, iou
                current[j] *= weight
    return count, zero, zero
