"""Operations on single boxes: area, conversion of formats, clipping, and removing small ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import area_of

ROTATED = ("cxcywhr", "xywhr", "xyxyxyxy")  # formats of fastdet.rotated


def box_area(boxes: Any, *, backend: str | None = None) -> Any:
    """Area of each box.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2

    Returns
    -------
    area : (N,) float, square pixels; 0 where x2 <= x1 or y2 <= y1, NaN where a coordinate is NaN

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape

    Examples
    --------
    >>> box_area(np.array([[0, 0, 4, 3], [5, 5, 5, 9]]))
    array([12.,  0.])
    """
    if (ops := registered(__name__, boxes, grad=False)) is not None:
        return ops.box_area(boxes, backend)
    array = check.boxes("box_area", "boxes", to_array("box_area", "boxes", boxes, differentiable=True))
    return like(boxes)(backends.choose("box_area", backend, box_area_reference, array)(array))


def box_area_reference(boxes: Array) -> Array:
    with np.errstate(all="ignore"):
        area = area_of(boxes)
    area[np.isnan(boxes).any(axis=1)] = np.nan
    return area


def box_convert(boxes: Any, in_fmt: str, out_fmt: str, *, backend: str | None = None) -> Any:
    """Convert boxes from one format to another.

    Parameters
    ----------
    boxes : (N, 4) float, pixels
    in_fmt, out_fmt : "xyxy" (corners), "xywh" (first corner, width, height: COCO's) or "cxcywh" (centre,
        width, height: YOLO's)

    Returns
    -------
    boxes : (N, 4) float, a new array also where the formats are equal

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, an unknown format

    Examples
    --------
    >>> box_convert(np.array([[10, 20, 4, 2]]), "cxcywh", "xyxy")
    array([[ 8., 19., 12., 21.]])
    """
    boxes = plain("box_convert", "boxes", boxes, in_fmt if in_fmt in check.FORMATS else None)
    if (ops := registered(__name__, boxes, grad=False)) is not None:
        return ops.box_convert(boxes, in_fmt, out_fmt, backend)
    op = "box_convert"
    array = check.boxes(op, "boxes", to_array(op, "boxes", boxes, differentiable=True))
    for name, format in (("in_fmt", in_fmt), ("out_fmt", out_fmt)):
        if isinstance(format, str) and format in ROTATED:
            raise ValueError(
                f"{op}: {name} must be a format without an angle, got {format!r}; take box_convert_rotated"
            )
    source = check.choice(op, "in_fmt", in_fmt, check.FORMATS)
    target = check.choice(op, "out_fmt", out_fmt, check.FORMATS)
    return like(boxes)(backends.choose(op, backend, box_convert_reference, array)(array, source, target))


def box_convert_reference(boxes: Array, in_fmt: str, out_fmt: str) -> Array:
    if in_fmt == out_fmt:
        return boxes.copy()
    a, b, c, d = boxes.T
    half = boxes.dtype.type(0.5)
    with np.errstate(all="ignore"):
        if in_fmt == "xywh":
            x1, y1, x2, y2 = a, b, a + c, b + d
        elif in_fmt == "cxcywh":
            x1, y1, x2, y2 = a - half * c, b - half * d, a + half * c, b + half * d
        else:
            x1, y1, x2, y2 = a, b, c, d
        if out_fmt == "xywh":
            columns = x1, y1, x2 - x1, y2 - y1
        elif out_fmt == "cxcywh":
            # half of each coordinate first: the sum of two large coordinates could overflow
            columns = half * x1 + half * x2, half * y1 + half * y2, x2 - x1, y2 - y1
        else:
            columns = x1, y1, x2, y2
        return np.stack(columns, axis=1)


def clip_boxes_to_image(boxes: Any, size: tuple[int, int], *, backend: str | None = None) -> Any:
    """Clip boxes to the image: x to [0, width], y to [0, height].

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    size : (height, width) of the image, pixels

    Returns
    -------
    boxes : (N, 4) float; NaN stays NaN

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a negative size

    Examples
    --------
    >>> clip_boxes_to_image(np.array([[-5, 10, 700, 90]]), (480, 640))
    array([[  0.,  10., 640.,  90.]])
    """
    if (ops := registered(__name__, boxes, grad=False)) is not None:
        return ops.clip_boxes_to_image(boxes, size, backend)
    op = "clip_boxes_to_image"
    array = check.boxes(op, "boxes", to_array(op, "boxes", boxes, differentiable=True))
    height, width = image_size(op, size)
    return like(boxes)(backends.choose(op, backend, clip_boxes_to_image_reference, array)(array, height, width))


def image_size(op: str, size: Any) -> tuple[float, float]:
    """(height, width) of an image, checked."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{op}: size must be (height, width), got {check.describe(size)}")
    height, width = (check.number(op, name, value) for name, value in zip(("height", "width"), size, strict=True))
    if height < 0 or width < 0:
        raise ValueError(f"{op}: size must be 0 or more, got {tuple(size)}")
    return height, width


def clip_boxes_to_image_reference(boxes: Array, height: float, width: float) -> Array:
    with np.errstate(over="ignore"):
        edges = np.array([width, height, width, height]).astype(boxes.dtype)
    low = np.where(boxes <= 0, boxes.dtype.type(0), boxes)  # NaN stays
    return np.where(low > edges, edges, low)


def remove_small_boxes(boxes: Any, min_size: float, *, backend: str | None = None) -> Any:
    """Indices of the boxes whose width and height are both at least ``min_size``.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2; may require grad, since indices have no gradient
    min_size : float, pixels; a box with a side of exactly min_size is kept

    Returns
    -------
    keep : (K,) int64, in ascending order; a box with a NaN is not kept

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinite min_size

    Examples
    --------
    >>> remove_small_boxes(np.array([[0, 0, 9, 9], [0, 0, 9, 1], [3, 3, 5, 5]]), 2)
    array([0, 2])
    """
    if (ops := registered(__name__, boxes, grad=False)) is not None:
        return ops.remove_small_boxes(boxes, min_size, backend)
    op = "remove_small_boxes"
    array = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    min_size = check.number(op, "min_size", min_size)
    return like(boxes)(backends.choose(op, backend, remove_small_boxes_reference, array)(array, min_size))


def remove_small_boxes_reference(boxes: Array, min_size: float) -> Array:
    min_side = check.cast(boxes.dtype, min_size)
    with np.errstate(all="ignore"):
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        return np.flatnonzero((width >= min_side) & (height >= min_side)).astype(np.int64)


def extend_boxes(boxes: Any, offset: float) -> Any:
    """Boxes (N, 4), as `check.boxes` returns them, with ``offset`` added to x2 and y2."""
    if not isinstance(boxes, np.ndarray):
        return backends.choose("extend_boxes", None, extend_boxes, boxes)(boxes, offset)
    with np.errstate(over="ignore"):
        return boxes + np.array([0, 0, offset, offset]).astype(boxes.dtype)
