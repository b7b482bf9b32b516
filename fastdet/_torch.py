"""Ops that go through torch's dispatcher, by name: imported when a tensor arrives whose call has to (see `registered`).

Each takes the arguments of the public function of its name, positionally.
"""

from __future__ import annotations

from fastdet._torch_boxes import (
    batched_nms,
    batched_soft_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
    merge_boxes,
    multiclass_nms,
    nms,
    remove_small_boxes,
    soft_nms,
    weighted_boxes_fusion,
)
from fastdet._torch_losses import (
    ciou_loss,
    diou_loss,
    giou_loss,
)

__all__ = [
    "batched_nms",
    "batched_soft_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "ciou_loss",
    "clip_boxes_to_image",
    "complete_box_iou",
    "diou_loss",
    "distance_box_iou",
    "generalized_box_iou",
    "giou_loss",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "remove_small_boxes",
    "soft_nms",
    "weighted_boxes_fusion",
]
