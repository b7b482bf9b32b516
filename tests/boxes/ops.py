"""Rows of the table of ops: fastdet.boxes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from op_rows import FLOATS, Arguments, Op
from samples import Sample

from fastdet import boxes

FORMATS = ("xyxy", "xywh", "cxcywh")


def all_conversions(b: Any, *, backend: str | None) -> tuple[Any, ...]:
    return tuple(boxes.box_convert(b, i, o, backend=backend) for i, o in product(FORMATS, FORMATS))


def iou_into_buffer(a: Any, b: Any, *, backend: str | None, **options: Any) -> Any:
    shape = (len(a),) if options.get("aligned") else (len(a), len(b))
    buffer = np.full(shape, 7, a.dtype.newbyteorder("="))
    assert boxes.box_iou(a, b, out=buffer, backend=backend, **options) is buffer
    return buffer


def _pairs(**options: Any) -> Callable[[Sample], Arguments]:
    """N boxes and M boxes with N < M, so that a test notices rows in place of columns."""
    return lambda s: ((s.boxes[: len(s.boxes) // 4 + 1], s.boxes2), options)


def _couples(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.boxes2), {"aligned": True, **options})


def _crowd(aligned: bool = False, **options: Any) -> Callable[[Sample], Arguments]:
    pick = _couples if aligned else _pairs
    return lambda s: pick(iscrowd=s.crowd, **options)(s)


OPS: dict[str, Op] = {
    "box_area": Op(boxes.box_area, lambda s: ((s.boxes,), {}), nan=True),
    "box_convert": Op(all_conversions, lambda s: ((s.boxes,), {}), nan=True),
    "clip_boxes_to_image": Op(boxes.clip_boxes_to_image, lambda s: ((s.boxes, (480, 640.5)), {}), nan=True),
    "remove_small_boxes": Op(boxes.remove_small_boxes, lambda s: ((s.boxes, 3.0), {}), nan=True),
    "box_iou": Op(boxes.box_iou, _pairs(), nan=True),
    "box_iou ios": Op(boxes.box_iou, _pairs(metric="ios"), nan=True),
    "box_iou crowd": Op(boxes.box_iou, _crowd(), nan=True),
    "box_iou crowd ios": Op(boxes.box_iou, _crowd(metric="ios"), nan=True),
    "box_iou aligned": Op(boxes.box_iou, _couples(), nan=True),
    "box_iou aligned crowd ios": Op(boxes.box_iou, _crowd(aligned=True, metric="ios"), nan=True),
    "box_iou out": Op(iou_into_buffer, _pairs(), FLOATS, nan=True),
    "box_iou aligned out": Op(iou_into_buffer, _couples(), FLOATS, nan=True),
    "generalized_box_iou": Op(boxes.generalized_box_iou, _pairs(), nan=True),
    "generalized_box_iou aligned": Op(boxes.generalized_box_iou, _couples(), nan=True),
    "distance_box_iou": Op(boxes.distance_box_iou, _pairs(), nan=True),
    "distance_box_iou aligned": Op(boxes.distance_box_iou, _couples(eps=0.5), nan=True),
    "complete_box_iou": Op(boxes.complete_box_iou, _pairs(), nan=True),
    "complete_box_iou aligned": Op(boxes.complete_box_iou, _couples(eps=0.5), nan=True),
}
