"""NMS of `mmcv._ext`: fastdet's kernels where their answer is mmcv's, else mmcv's loop, one kept box at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import fastdet.nms
import fastdet.rotated
from fastdet._core.check import Array

WHOLE = 2.0**22  # whole numbers below it, and 1 more, are exact in float32, and so are their differences


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Kept indices by falling score; a box goes where its IoU, sides longer by ``offset``, is above the threshold."""
    boxes, scores = computed(boxes), computed(scores)
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    threshold = float(np.float32(iou_threshold))
    if 0 <= threshold <= 1 and _plain(boxes, scores, offset):
        longer = boxes + boxes.new_tensor([0, 0, offset, offset]) if offset else boxes
        return _tensor(fastdet.nms.nms(longer, scores, threshold))
    order = scores.sort(dim=0, descending=True, stable=True)[1]
    keep = _greedy(boxes[order], lambda iou: iou > threshold, offset)
    return order[torch.tensor(keep, device=order.device)]


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """For each kept box: its index, then those of the boxes that it suppressed, by falling score. IoU >= threshold."""
    dets = computed(dets)
    order = dets[:, 4].sort(dim=0, descending=True, stable=True)[1]
    threshold = float(np.float32(iou_threshold))
    groups: list[Tensor] = []
    _greedy(dets[order, :4], lambda iou: iou >= threshold, 0, groups)
    return [order[group].tolist() for group in groups]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices in order of selection; ``dets`` gets the boxes and their scores at selection."""
    boxes, scores = computed(boxes), computed(scores)
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    order = _quick_softnms(boxes, scores, iou_threshold, sigma, min_score, method, offset)
    if order is None:
        order = _softnms(boxes.numpy(), scores.numpy(), iou_threshold, sigma, min_score, method, offset)
    keep, new_scores = (torch.as_tensor(x) for x in order)
    dets[: len(keep), :4] = boxes[keep].to(dets.dtype)
    dets[: len(keep), 4] = new_scores.to(dets.dtype)
    return keep


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool | int,
) -> Tensor:
    """Kept indices by falling score; a box goes where its IoU is the threshold or more.

    mmcv takes labels and has no use for them, on the CPU and in CUDA: boxes of all classes suppress each other.
    """
    dets, scores = computed(dets), computed(scores)
    if dets.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=dets.device)
    boxes = upright_sides(dets[:, :5])
    order = scores.sort(dim=0, descending=True, stable=True)[1]
    rank = torch.arange(len(order), 0, -1, dtype=boxes.dtype, device=order.device)  # scores may be NaN, or equal
    threshold = np.float32(iou_threshold)
    if threshold <= 0:  # 0 >= 0: the best removes all others
        return order[:1]
    if threshold > 1:
        return order
    below = np.nextafter(threshold.astype(np.float64 if boxes.dtype == torch.float64 else np.float32), -1)
    keep = fastdet.rotated.nms_rotated(boxes[order], rank, float(below), degrees=False, clockwise=True)
    return order[_tensor(keep)]


def upright_sides(boxes: Tensor) -> Tensor:
    """Boxes ``cx cy w h r`` as mmcv sees them: with an area below 1e-14 no box, with two negative sides one turned."""
    sides = boxes[:, 2:4]
    good = (sides.prod(1) >= 1e-14) & boxes.isfinite().all(1)
    sides = torch.where(good[:, None], sides.abs(), torch.zeros_like(sides))
    rest = torch.where(good[:, None], boxes, torch.zeros_like(boxes))
    return torch.cat([rest[:, :2], sides, rest[:, 4:5]], 1)


def computed(x: Tensor) -> Tensor:
    """Without its graph, and in the dtype of the arithmetic: float32, or float64 for float64."""
    x = x.detach()
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _tensor(x: Any) -> Tensor:
    made: Tensor = x
    return made


def _plain(boxes: Tensor, scores: Tensor, offset: int) -> bool:
    """Whether fastdet has mmcv's answer: numbers only, no inverted box; with an offset, pixels that are whole."""
    if bool(scores.isnan().any()):
        return False
    low, high = boxes.aminmax()
    limit = WHOLE if offset else 1e9
    if not (-limit < float(low) and float(high) < limit):  # NaN too
        return False
    if bool((boxes[:, 2:] < boxes[:, :2]).any()):
        return False
    return not offset or bool((boxes == boxes.round()).all())


def _greedy(boxes: Tensor, suppresses: Any, offset: int, groups: list[Tensor] | None = None) -> list[int]:
    """Places of the kept ones of ``boxes``, which are sorted; ``groups`` gets each with those that it suppressed."""
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low + offset).prod(1)
    left, keep = torch.arange(len(boxes), device=boxes.device), []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(int(best))
        sides = torch.minimum(high[best], high[left]) - torch.maximum(low[best], low[left]) + offset
        inter = torch.where(sides > 0, sides, 0).prod(1)  # a NaN is no side
        gone = suppresses(inter / (areas[best] + areas[left] - inter))
        if groups is not None:
            groups.append(torch.cat([best[None], left[gone]]))
        left = left[~gone]
    return keep


def _quick_softnms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[Any, Any] | None:
    """fastdet's answer; None where mmcv's differs.

    mmcv moves boxes while it selects: of equal scores (zeros too, where none is dropped) the first in memory wins. It
    always keeps the best box, and scores below 0 grow.
    """
    if method not in (1, 2) or boxes.dtype != scores.dtype or not _plain(boxes, scores, offset):
        return None
    if (method == 1 and not 0 <= iou_threshold <= 1) or (method == 2 and not 0 < sigma < 1e6):
        return None
    if not min_score > 0 or not float(scores.max()) >= min_score or float(scores.min()) < 0:
        return None
    if bool((scores.sort()[0].diff() == 0).any()) or bool((boxes[:, 2:] <= boxes[:, :2]).any()):
        return None
    found: tuple[Any, Any] = fastdet.nms.soft_nms(
        boxes,
        scores,
        method="linear" if method == 1 else "gaussian",
        iou_threshold=float(np.float32(iou_threshold)) if method == 1 else 0.0,
        sigma=sigma,
        min_score=float(np.float32(min_score)),
        offset=offset,
    )
    return found


def _softnms(
    boxes: Array, scores: Array, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[Array, Array]:
    """mmcv's loop. It swaps the selected box to the front, and each dropped one with the last that is left."""
    dtype = boxes.dtype.type
    threshold, width, least = (np.float32(x).astype(dtype) for x in (iou_threshold, sigma, min_score))
    low, high = boxes[:, :2], boxes[:, 2:]
    with np.errstate(all="ignore"):
        areas = np.prod(high - low + dtype(offset), axis=1)
        places, current = np.arange(len(boxes)), scores.astype(dtype)
        first = 0
        while first < len(places):
            best = first + _first_maximum(current[places[first:]])
            places[[first, best]] = places[[best, first]]
            one, others = places[first], places[first + 1 :]
            sides = np.minimum(high[one], high[others]) - np.maximum(low[one], low[others]) + dtype(offset)
            sides = np.where(sides > 0, sides, dtype(0))  # NaN too
            inter = sides[:, 0] * sides[:, 1]
            iou = inter / (areas[one] + areas[others] - inter)
            if method == 2:
                weight = np.exp((-(iou * iou) / width).astype(np.float64)).astype(dtype)
            else:
                weight = np.where(iou >= threshold, 1 - iou if method == 1 else dtype(0), dtype(1))
            current[others] *= weight
            places = np.concatenate([places[: first + 1], _without_low(others, current[others] < least)])
            first += 1
    return places, current[places]


def _first_maximum(scores: Array) -> int:
    """As mmcv looks for it: NaN is never above, and nothing is above a NaN that stands first."""
    if np.isnan(scores[0]):
        return 0
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def _without_low(places: Array, low: Array) -> Array:
    """Each low one is replaced by the last that is left and not low."""
    count = len(places) - int(low.sum())
    head = places[:count].copy()
    head[low[:count]] = places[count:][~low[count:]][::-1]
    return head
