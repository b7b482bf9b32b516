"""The CUDA backend: every op that has a kernel, with its reference's signature on `DeviceArray`s.

Importing it fails, with the reason, where no kernel can run.
"""

from __future__ import annotations

try:
    import fastdet._cuda as _native
except ModuleNotFoundError:
    raise ImportError("this build of fastdet has no CUDA kernels: there was no nvcc, or FASTDET_CUDA=0") from None

if _reason := _native.unavailable():
    raise ImportError(_reason)

from fastdet._cuda_boxes import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    extend_boxes,
    remove_small_boxes,
)
from fastdet._cuda_fault import raise_faults
from fastdet._cuda_fusion import merge_boxes, weighted_boxes_fusion
from fastdet._cuda_losses import box_loss, cross_entropy, dice_loss, focal_loss, sigmoid_focal_loss
from fastdet._cuda_nms import multiclass_nms, nms, soft_nms
from fastdet._cuda_pool import max_pool2d, max_pool2d_backward, max_unpool2d, max_unpool2d_backward
from fastdet._cuda_segmentation import confusion_matrix, confusion_matrix_from_logits
from fastdet._cuda_upsample import upsample_bilinear, upsample_bilinear_backward
from fastdet._cuda_yolo import yolo_candidates, yolo_postprocess

__all__ = [
    "box_area",
    "box_convert",
    "box_iou",
    "box_loss",
    "clip_boxes_to_image",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "cross_entropy",
    "dice_loss",
    "extend_boxes",
    "focal_loss",
    "max_pool2d",
    "max_pool2d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "raise_faults",
    "remove_small_boxes",
    "sigmoid_focal_loss",
    "soft_nms",
    "upsample_bilinear",
    "upsample_bilinear_backward",
    "weighted_boxes_fusion",
    "yolo_candidates",
    "yolo_postprocess",
]
