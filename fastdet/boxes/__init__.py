"""Boxes: areas, formats, clipping, and overlap metrics, pairwise or element by element.

A box is ``x1 y1 x2 y2`` in pixels (or any unit) with ``x1 < x2`` and ``y1 < y2``; its area is
``(x2 - x1) * (y2 - y1)``, without the "+1" of pixel-inclusive formats. A box with ``x2 <= x1`` or
``y2 <= y1`` has area 0 and overlaps nothing.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an
NVIDIA GPU, also strided, read-only or big-endian ones, and returns the same type on the same device. float64 and
integers of more than 16 bits are computed and returned as float64; float32, float16, bfloat16 and smaller integers as
float32. A tensor that requires grad raises TypeError while torch records gradients: these functions keep no graph.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.boxes.overlap import box_iou, complete_box_iou, distance_box_iou, generalized_box_iou
from fastdet.boxes.transforms import box_area, box_convert, clip_boxes_to_image, remove_small_boxes

__all__ = [
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "distance_box_iou",
    "generalized_box_iou",
    "remove_small_boxes",
]

register_with_torch(__name__)
