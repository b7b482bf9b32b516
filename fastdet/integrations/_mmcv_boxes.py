"""Overlaps of `mmcv._ext`: upright and rotated boxes."""

from __future__ import annotations

import torch
from torch import Tensor

import fastdet.boxes
import fastdet.rotated
from fastdet.integrations._mmcv_nms import computed, upright_sides

LARGE = 1e9  # areas of boxes below it are finite in float32


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Write IoU (mode 0) or intersection over the area of bboxes1 (mode 1); sides are longer by ``offset``."""
    a, b = computed(bboxes1), computed(bboxes2)
    if not offset and not aligned and a.dtype == b.dtype and _proper(a) and _proper(b):
        crowd = torch.ones(len(b), dtype=torch.bool, device=b.device) if mode else None
        ious.copy_(fastdet.boxes.box_iou(a, b, iscrowd=crowd))
        return
    rows = a if aligned else a[:, None]
    sides = torch.minimum(rows[..., 2:], b[..., 2:]) - torch.maximum(rows[..., :2], b[..., :2])
    inter = (sides + offset).clamp(0, 2.0**31).prod(-1)  # mmcv's bounds of a side
    area = (a[:, 2:] - a[:, :2] + offset).prod(1)
    base = area if aligned else area[:, None]
    if mode == 0:
        base = base + (b[:, 2:] - b[:, :2] + offset).prod(1) - inter
    ious.copy_(inter / base)


def _proper(boxes: Tensor) -> bool:
    """Boxes of positive area and of usual size: fastdet's overlaps of others are not mmcv's."""
    if boxes.numel() == 0 or boxes.dtype not in (torch.float32, torch.float64):
        return False
    low, high = boxes.aminmax()
    if not (float(low) > -LARGE and float(high) < LARGE):
        return False
    return bool((boxes[:, 2:] - boxes[:, :2] > 1e-6).all())


def box_iou_rotated(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Write IoU (mode 0) or intersection over the area of bboxes1 (mode 1) of boxes ``cx cy w h radians``."""
    a, b = (upright_sides(computed(x)[:, :5]) for x in (bboxes1, bboxes2))
    found = fastdet.rotated.box_iou_rotated(
        a, b, degrees=False, clockwise=True, aligned=bool(aligned), metric="iof" if mode_flag else "iou"
    )
    ious.copy_(found.reshape(ious.shape))
