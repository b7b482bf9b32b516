"""Numba kernels of rotated boxes, by op."""

from fastdet.rotated._numba_groups import rotated_iou_of_groups
from fastdet.rotated._numba_nms import nms_rotated, soft_nms_rotated
from fastdet.rotated._numba_pair import box_iou_rotated
from fastdet.rotated._numba_transforms import box_convert_rotated, min_area_rect

__all__ = [
    "box_convert_rotated",
    "box_iou_rotated",
    "min_area_rect",
    "nms_rotated",
    "rotated_iou_of_groups",
    "soft_nms_rotated",
]
