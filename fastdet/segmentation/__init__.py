"""Figures of label maps: confusion matrices, accuracies, IoU, Dice; panoptic quality; boundaries."""

from fastdet._core.dispatch import register_with_torch
from fastdet.segmentation.boundary import BoundaryMetrics
from fastdet.segmentation.confusion import confusion_matrix, confusion_matrix_from_logits
from fastdet.segmentation.figures import (
    class_accuracy,
    dice,
    frequency_weighted_iou,
    iou,
    mean_class_accuracy,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from fastdet.segmentation.matrix import ConfusionMatrix
from fastdet.segmentation.metrics import SegmentationMetrics
from fastdet.segmentation.panoptic import PanopticMetrics

__all__ = [
    "BoundaryMetrics",
    "ConfusionMatrix",
    "PanopticMetrics",
    "SegmentationMetrics",
    "class_accuracy",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "dice",
    "frequency_weighted_iou",
    "iou",
    "mean_class_accuracy",
    "mean_dice",
    "mean_iou",
    "pixel_accuracy",
]

register_with_torch(__name__)
