"""The Numba backend: one function for each op, with the signature and the results of its reference.

Here stand the kernels of boxes and of Soft-NMS; `_numba_fusion` has those of fusion, `_numba_nms` has NMS and the
arithmetic of a pair, and says what holds for all. Compiled at a first call and kept in Numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastdet._check import Array
from fastdet._numba_box_losses import box_loss, sigmoid_focal_loss
from fastdet._numba_detection import accumulate, group_rows, match_groups
from fastdet._numba_fusion import merge_boxes, weighted_boxes_fusion
from fastdet._numba_losses import cross_entropy, dice_loss, focal_loss
from fastdet._numba_nms import (
    BLOCK,
    Indices,
    by_group,
    columns,
    first_nan,
    has_nan,
    jit,
    multiclass_nms,
    nms,
    ordinary,
    overlap,
    parts,
    plain,
    rescale,
    row_overlap,
    typed,
)
from fastdet._numba_pool import max_pool2d, max_pool2d_backward, max_unpool2d, max_unpool2d_backward
from fastdet._numba_segmentation import confusion_matrix, confusion_matrix_from_logits
from fastdet._numba_upsample import upsample_bilinear, upsample_bilinear_backward
from fastdet._numba_yolo import yolo_candidates
from fastdet.boxes import _angle
from fastdet.boxes import rescale as rescale_of
from fastdet.nms import INVERSE_FACTORIAL

__all__ = [
    "accumulate",
    "box_area",
    "box_convert",
    "box_iou",
    "box_loss",
    "clip_boxes_to_image",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "group_rows",
    "match_groups",
    "max_pool2d",
    "max_pool2d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "remove_small_boxes",
    "sigmoid_focal_loss",
    "soft_nms",
    "upsample_bilinear",
    "upsample_bilinear_backward",
    "weighted_boxes_fusion",
    "yolo_candidates",
]

FORMATS = ("xyxy", "xywh", "cxcywh")
IOU, IOS, GIOU, DIOU, CIOU = range(5)
KINDS = {"iou": IOU, "ios": IOS, "giou": GIOU, "diou": DIOU, "ciou": CIOU}


def box_area(boxes: Array) -> Array:
    area = np.empty(len(boxes), boxes.dtype)
    _area(plain(boxes), area)
    return area


@jit
def _area(boxes: Array, area: Array) -> None:
    for i in range(len(boxes)):
        value, _, _ = parts(boxes, i, boxes, i, boxes.dtype.type(1))
        area[i] = boxes.dtype.type(np.nan) if has_nan(boxes, i) else value


def box_convert(boxes: Array, in_fmt: str, out_fmt: str) -> Array:
    converted = boxes.copy()
    if in_fmt != out_fmt:
        _convert(converted, FORMATS.index(in_fmt), FORMATS.index(out_fmt))
    return converted


@jit
def _convert(boxes: Array, source: int, target: int) -> None:
    half = boxes.dtype.type(0.5)
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if source == 1:
            x2, y2 = x1 + x2, y1 + y2
        elif source == 2:
            x1, y1, x2, y2 = x1 - half * x2, y1 - half * y2, x1 + half * x2, y1 + half * y2
        if target == 1:
            x2, y2 = x2 - x1, y2 - y1
        elif target == 2:
            x1, y1, x2, y2 = half * x1 + half * x2, half * y1 + half * y2, x2 - x1, y2 - y1
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = x1, y1, x2, y2


def clip_boxes_to_image(boxes: Array, height: float, width: float) -> Array:
    clipped = boxes.copy()
    _clip(clipped, *(typed(boxes.dtype, x) for x in (width, height)))
    return clipped


@jit
def _clip(boxes: Array, width: Any, height: Any) -> None:
    zero = boxes.dtype.type(0)
    for i in range(len(boxes)):
        for k in range(4):  # comparisons that leave a NaN in place
            x, edge = boxes[i, k], height if k % 2 else width
            x = zero if x <= zero else x
            boxes[i, k] = edge if x > edge else x


def remove_small_boxes(boxes: Array, min_size: float) -> Indices:
    keep = np.empty(len(boxes), np.int64)
    return keep[: _large(plain(boxes), typed(boxes.dtype, min_size), keep)].copy()


@jit
def _large(boxes: Array, least: Any, keep: Indices) -> Any:
    count = 0
    for i in range(len(boxes)):
        if boxes[i, 2] - boxes[i, 0] >= least and boxes[i, 3] - boxes[i, 1] >= least:
            keep[count] = i
            count += 1
    return count


def box_iou(a: Array, b: Array, kind: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None) -> Array:
    if out is None:
        out = np.empty(len(a) if aligned else (len(a), len(b)), a.dtype)
    scale = rescale_of(a.dtype)
    added = np.array([typed(a.dtype, eps), typed(a.dtype, eps * float(scale) * float(scale))])
    with np.errstate(all="ignore"):
        # from NumPy's arc tangent, as in the reference; each box's own, and rescaled
        angles = [np.stack([_angle(x), _angle(x * scale)]) if kind == "ciou" else x[:0].T.copy() for x in (a, b)]
    crowd = np.zeros(0, np.bool_) if crowd is None else plain(crowd)
    args = plain(a), plain(b), KINDS[kind], crowd, added, typed(a.dtype, 4 / np.pi**2), *angles, out
    if aligned:
        _aligned(*args)
    else:
        _pairwise(*args)
    return out


@jit
def _attempt(
    a: Array, i: int, b: Array, j: int, kind: int, crowd: Array, eps: Any, turn: Any, angle: Any, scale: Any
) -> Any:
    """The measure of a pair with coordinates times ``scale``, and the denominator that tells whether it overflowed."""
    zero, one, half = a.dtype.type(0), a.dtype.type(1), a.dtype.type(0.5)
    area_a, area_b, inter = parts(a, i, b, j, scale)
    denominator = (area_a if area_a < area_b else area_b) if kind == IOS else area_a + area_b - inter
    if crowd.size and crowd[j]:
        denominator = area_a
    iou = inter / denominator if np.isfinite(denominator) and denominator > zero else zero
    if kind <= IOS:
        return iou, denominator
    ax1, ay1, ax2, ay2 = a[i, 0] * scale, a[i, 1] * scale, a[i, 2] * scale, a[i, 3] * scale
    bx1, by1, bx2, by2 = b[j, 0] * scale, b[j, 1] * scale, b[j, 2] * scale, b[j, 3] * scale
    width = (ax2 if ax2 > bx2 else bx2) - (ax1 if ax1 < bx1 else bx1)
    height = (ay2 if ay2 > by2 else by2) - (ay1 if ay1 < by1 else by1)
    if kind == GIOU:  # the hull's sides may be NaN, and stay so
        hull = (zero if width < zero else width) * (zero if height < zero else height)
        loss = (hull - denominator) / hull if hull > zero else zero
        return iou - loss, hull + denominator
    diagonal = width * width + height * height + eps
    dx = (half * ax1 + half * ax2) - (half * bx1 + half * bx2)
    dy = (half * ay1 + half * ay2) - (half * by1 + half * by2)
    diou = iou - (dx * dx + dy * dy) / diagonal
    if kind == DIOU:
        return diou, diagonal + denominator
    v = turn * (angle * angle)
    return diou - v * v / (one - iou + v + eps), diagonal + denominator


@jit
def _measure(
    a: Array, i: int, b: Array, j: int, kind: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array
) -> Any:
    """`fastdet.boxes.box_iou_reference` for one pair of any coordinates; eps and angles as they are and rescaled."""
    angle = a.dtype.type(0)
    if has_nan(a, i) or has_nan(b, j):
        return a.dtype.type(np.nan)
    if kind == CIOU:
        angle = angle_b[0, j] - angle_a[0, i]
    value, denominator = _attempt(a, i, b, j, kind, crowd, eps[0], turn, angle, a.dtype.type(1))
    if not np.isfinite(denominator):
        if kind == CIOU:
            angle = angle_b[1, j] - angle_a[1, i]
        value, _ = _attempt(a, i, b, j, kind, crowd, eps[1], turn, angle, rescale(a))
    return value


@jit
def _aligned(
    a: Array, b: Array, kind: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array, out: Array
) -> None:
    for i in range(len(a)):
        out[i] = _measure(a, i, b, i, kind, crowd, eps, turn, angle_a, angle_b)


@jit
def _pairwise(
    a: Array, b: Array, kind: int, crowd: Array, eps: Array, turn: Any, angle_a: Array, angle_b: Array, out: Array
) -> None:
    one = a.dtype.type(1)
    fast = eps[0] <= 1 and not (kind > DIOU or crowd.any())
    for j in range(len(b)):
        fast &= ordinary(b, j)
    stored = np.empty((5, len(b)), b.dtype)
    columns(b, np.arange(len(b)), stored)
    for i in range(len(a)):
        row = out[i]
        if not (fast and ordinary(a, i)):
            for j in range(len(b)):
                row[j] = _measure(a, i, b, j, kind, crowd, eps, turn, angle_a, angle_b)
        elif kind <= IOS:
            area, _, _ = parts(a, i, a, i, one)
            row_overlap(a[i, 0], a[i, 1], a[i, 2], a[i, 3], area, kind == IOS, stored, 0, len(b), row)
        else:
            for j in range(len(b)):
                row[j] = _attempt(a, i, b, j, kind, crowd, eps[0], turn, one, one)[0]


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
