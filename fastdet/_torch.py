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
    cross_entropy,
    dice_loss,
    diou_loss,
    focal_loss,
    giou_loss,
    sigmoid_focal_loss,
)
from fastdet._torch_pool import (
    max_pool2d,
    max_pool2d_backward,
    max_unpool2d,
    max_unpool2d_backward,
)
from fastdet._torch_segmentation import (
    confusion_matrix,
    confusion_matrix_from_logits,
)
from fastdet._torch_upsample import (
    upsample_bilinear,
    upsample_bilinear_backward,
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
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "cross_entropy",
    "dice_loss",
    "diou_loss",
    "distance_box_iou",
    "focal_loss",
    "generalized_box_iou",
    "giou_loss",
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
]
