"""Numba kernels of masks, with the signatures of the references. See `fastdet._core.numba_jit`."""

from fastdet.masks._numba_components import connected_components
from fastdet.masks._numba_draw import paste_masks, process_mask, rle_from_polygons
from fastdet.masks._numba_groups import mask_iou_of_groups
from fastdet.masks._numba_nms import mask_nms, matrix_nms
from fastdet.masks._numba_runs import (
    decode,
    encode,
    mask_iou,
    rle_area,
    rle_boundary,
    rle_boxes,
    rle_from_strings,
    rle_merge,
    rle_to_strings,
)

__all__ = [
    "connected_components",
    "decode",
    "encode",
    "mask_iou",
    "mask_iou_of_groups",
    "mask_nms",
    "matrix_nms",
    "paste_masks",
    "process_mask",
    "rle_area",
    "rle_boundary",
    "rle_boxes",
    "rle_from_polygons",
    "rle_from_strings",
    "rle_merge",
    "rle_to_strings",
]
