"""Masks: run lengths as in COCO, between dense masks, polygons and boxes; areas, unions and overlaps.

A mask is (H, W), 0 and 1. Run lengths go column by column, as pycocotools has them, and equal its bit for bit.
"""

from fastdet.masks.boundary import boundary
from fastdet.masks.components import Components, connected_components
from fastdet.masks.dense import decode, encode
from fastdet.masks.measures import area, mask_iou, masks_to_boxes, merge, to_boxes
from fastdet.masks.nms import mask_nms, matrix_nms
from fastdet.masks.paste import paste_masks, process_mask
from fastdet.masks.polygons import from_polygons
from fastdet.masks.rle import RLE

__all__ = [
    "RLE",
    "Components",
    "area",
    "boundary",
    "connected_components",
    "decode",
    "encode",
    "from_polygons",
    "mask_iou",
    "mask_nms",
    "masks_to_boxes",
    "matrix_nms",
    "merge",
    "paste_masks",
    "process_mask",
    "to_boxes",
]
