"""Rotated boxes: overlap, suppression, formats, and the smallest rotated box around points.

A box is ``cx cy w h r``: its centre, its sides, and the angle of its width, in pixels (or any unit) and degrees,
counter-clockwise as seen on the screen, where y points down: torchvision's ``cxcywhr``. Other conventions are options:
``degrees=False`` for radians, ``clockwise=True`` for the other sense (mmcv has both), ``format`` for ``xywhr`` (the
corner that is the top left one at angle 0) and ``xyxyxyxy`` (the four corners, from that one along the width).

Overlaps are computed in float64 whatever the dtype, and rounded once. Boxes that touch overlap by 0; a box with a side
of 0 or less, or with an infinite number, overlaps nothing. Degrees are reduced exactly, so that boxes at multiples of
90 have the IoU of `fastdet.boxes.box_iou` where its products are exact. Equal on every backend, and symmetric.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an NVIDIA
GPU, and returns the same type. No function here has a gradient.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.rotated.greedy import batched_nms_rotated, nms_rotated
from fastdet.rotated.overlap import box_iou_rotated
from fastdet.rotated.rectangle import min_area_rect
from fastdet.rotated.soft import batched_soft_nms_rotated, soft_nms_rotated
from fastdet.rotated.transforms import box_convert_rotated

__all__ = [
    "batched_nms_rotated",
    "batched_soft_nms_rotated",
    "box_convert_rotated",
    "box_iou_rotated",
    "min_area_rect",
    "nms_rotated",
    "soft_nms_rotated",
]

register_with_torch(__name__)
