"""Rotated boxes as `DetectionMetrics` takes them: five numbers each, or the corners of quadrilaterals."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import plain, to_numpy
from fastdet.detection.records import Floats
from fastdet.rotated.groups import quad_areas
from fastdet.rotated.transforms import FORMATS, box_convert_rotated_reference, numbers_of

CORNERS = "xyxyxyxy"


def format_of(op: str, box_format: Any) -> str:
    """The format of rotated boxes; "xyxy", the default of all that take boxes, stands for "cxcywhr"."""
    if isinstance(box_format, str) and box_format == "xyxy":
        return FORMATS[0]
    return check.choice(op, "box_format", box_format, FORMATS)


def rotated_boxes(op: str, name: str, x: Any, box_format: str) -> Floats:
    """A copy of finite boxes in float64: (N, 5) cx cy w h degrees, or (N, 8) corners as they are."""
    array = x if type(x) is np.ndarray else to_numpy(op, name, plain(op, name, x, box_format))
    numbers = numbers_of(box_format)
    if array.size == 0:
        return np.zeros((0, numbers))
    if array.ndim != 2 or array.shape[1] != numbers:
        raise ValueError(f"{op}: {name} must have shape (N, {numbers}) in format {box_format!r}, got {array.shape}")
    boxes = check.real(op, name, array).astype(np.float64)
    if not np.isfinite(boxes).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(boxes))[0])
        if np.isnan(boxes[row, column]):
            check.raise_nan(op, name, (row, column))
        raise ValueError(f"{op}: {name} must be finite, got {boxes[row, column]} at index {(row, column)}")
    if box_format == "xywhr":
        boxes = box_convert_rotated_reference(boxes, box_format, FORMATS[0], True, False, True, False)
    return boxes


def around(boxes: Floats) -> Floats:
    """(N, 4) x y w h: the upright boxes around rotated ones."""
    if boxes.shape[1] == 5:
        boxes = box_convert_rotated_reference(boxes, FORMATS[0], CORNERS, True, False, True, False)
    corners = boxes.reshape(-1, 4, 2)
    low = corners.min(axis=1)
    return np.concatenate([low, corners.max(axis=1) - low], axis=1)


def areas_of(boxes: Floats) -> Floats:
    """(N,) areas of rotated boxes, in square pixels."""
    if boxes.shape[1] == 8:
        return quad_areas(boxes)
    with np.errstate(over="ignore"):
        return np.maximum(boxes[:, 2], 0) * np.maximum(boxes[:, 3], 0)
