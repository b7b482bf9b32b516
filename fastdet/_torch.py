"""Ops that go through torch's dispatcher, by name: imported when a tensor arrives whose call has to (see `registered`).

Each takes the arguments of the public function of its name, positionally.
"""

from __future__ import annotations

from fastdet._torch_boxes import batched_nms as batched_nms
from fastdet._torch_boxes import batched_soft_nms as batched_soft_nms
from fastdet._torch_boxes import box_area as box_area
from fastdet._torch_boxes import box_convert as box_convert
from fastdet._torch_boxes import box_iou as box_iou
from fastdet._torch_boxes import clip_boxes_to_image as clip_boxes_to_image
from fastdet._torch_boxes import complete_box_iou as complete_box_iou
from fastdet._torch_boxes import distance_box_iou as distance_box_iou
from fastdet._torch_boxes import generalized_box_iou as generalized_box_iou
from fastdet._torch_boxes import merge_boxes as merge_boxes
from fastdet._torch_boxes import multiclass_nms as multiclass_nms
from fastdet._torch_boxes import nms_ as nms
from fastdet._torch_boxes import remove_small_boxes as remove_small_boxes
from fastdet._torch_boxes import soft_nms as soft_nms
from fastdet._torch_boxes import weighted_boxes_fusion as weighted_boxes_fusion

__all__ = [
    "batched_nms",
    "batched_soft_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "distance_box_iou",
    "generalized_box_iou",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "remove_small_boxes",
    "soft_nms",
    "weighted_boxes_fusion",
]
