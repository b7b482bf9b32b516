"""Boxes: areas, formats, clipping, and overlap measures, pairwise or element by element.

A box is ``x1 y1 x2 y2`` in pixels (or any unit) with ``x1 < x2`` and ``y1 < y2``; its area is
``(x2 - x1) * (y2 - y1)``, without the "+1" of pixel-inclusive formats. A box with ``x2 <= x1`` or
``y2 <= y1`` has area 0 and overlaps nothing.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an
NVIDIA GPU, strided, read-only or big-endian ones too, and gives back the same type on the same device. float64 is
computed and returned as float64, float32, float16, bfloat16 and integers of up to 16 bits as float32, wider integers
as float64. A tensor that requires grad is refused (TypeError) while torch records gradients: these functions keep no
graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet import _backends, _check
from fastdet._arrays import like, registered, to_array, writable
from fastdet._check import Array

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

METRICS = ("iou", "ios")


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
    """
    if (ops := registered(boxes, grad=False)) is not None:
        return ops.box_area(boxes, backend)
    array = _check.boxes("box_area", "boxes", to_array("box_area", "boxes", boxes, differentiable=True))
    return like(boxes)(_backends.choose("box_area", backend, box_area_reference, array)(array))


def box_area_reference(boxes: Array) -> Array:
    with np.errstate(all="ignore"):
        area = _area(boxes)
    area[np.isnan(boxes).any(axis=1)] = np.nan
    return area


def box_convert(boxes: Any, in_fmt: str, out_fmt: str, *, backend: str | None = None) -> Any:
    """Boxes from one format to another.

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
    """
    if (ops := registered(boxes, grad=False)) is not None:
        return ops.box_convert(boxes, in_fmt, out_fmt, backend)
    op = "box_convert"
    array = _check.boxes(op, "boxes", to_array(op, "boxes", boxes, differentiable=True))
    source = _check.choice(op, "in_fmt", in_fmt, _check.FORMATS)
    target = _check.choice(op, "out_fmt", out_fmt, _check.FORMATS)
    return like(boxes)(_backends.choose(op, backend, box_convert_reference, array)(array, source, target))


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
            # halves first: a sum of two large coordinates could overflow
            columns = half * x1 + half * x2, half * y1 + half * y2, x2 - x1, y2 - y1
        else:
            columns = x1, y1, x2, y2
        return np.stack(columns, axis=1)


def clip_boxes_to_image(boxes: Any, size: tuple[int, int], *, backend: str | None = None) -> Any:
    """Boxes cut to the image: x to [0, width], y to [0, height].

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
    """
    if (ops := registered(boxes, grad=False)) is not None:
        return ops.clip_boxes_to_image(boxes, size, backend)
    op = "clip_boxes_to_image"
    array = _check.boxes(op, "boxes", to_array(op, "boxes", boxes, differentiable=True))
    height, width = image_size(op, size)
    return like(boxes)(_backends.choose(op, backend, clip_boxes_to_image_reference, array)(array, height, width))


def image_size(op: str, size: Any) -> tuple[float, float]:
    """(height, width) of an image, checked."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{op}: size must be (height, width), got {_check.describe(size)}")
    height, width = (_check.number(op, name, value) for name, value in zip(("height", "width"), size, strict=True))
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
    boxes : (N, 4) float, pixels, x1 y1 x2 y2; takes a tensor that requires grad, since indices have no gradient
    min_size : float, pixels; a side equal to it stays

    Returns
    -------
    keep : (K,) int64, rising; a box with a NaN is not kept

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinite min_size
    """
    if (ops := registered(boxes, grad=False)) is not None:
        return ops.remove_small_boxes(boxes, min_size, backend)
    op = "remove_small_boxes"
    array = _check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    least = _check.number(op, "min_size", min_size)
    return like(boxes)(_backends.choose(op, backend, remove_small_boxes_reference, array)(array, least))


def remove_small_boxes_reference(boxes: Array, min_size: float) -> Array:
    least = _check.cast(boxes.dtype, min_size)
    with np.errstate(all="ignore"):
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        return np.flatnonzero((width >= least) & (height >= least)).astype(np.int64)


def box_iou(
    boxes1: Any,
    boxes2: Any,
    *,
    aligned: bool = False,
    iscrowd: Any = None,
    metric: str = "iou",
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Intersection over union of boxes.

    Parameters
    ----------
    boxes1 : (N, 4) float, pixels, x1 y1 x2 y2
    boxes2 : (M, 4) float, pixels, x1 y1 x2 y2
    aligned : False for every pair, (N, M); True for box i with box i (N == M), (N,)
    iscrowd : (M,) bool; where True the denominator is the area of the box of boxes1 (COCO's rule for a
        detection against a crowd region)
    metric : "iou", or "ios" for intersection over the smaller of the two areas (tiled inference)
    out : array of the result's shape and dtype that receives it; faster for large results, since fresh
        memory costs more than the arithmetic

    Returns
    -------
    iou : (N, M) float in [0, 1], or (N,) if aligned; ``out`` itself where given

    Raises
    ------
    TypeError   dtype, device, out's dtype, a tensor that requires grad
    ValueError  shape, an unknown metric, an unfit out

    Notes
    -----
    0/0 is 0. NaN coordinates give NaN, infinite ones 0. Finite boxes whose areas overflow are rescaled by a
    power of two, so that boxes near 1e30 have their true IoU. Equal on every backend.
    """
    if (ops := registered(boxes1, boxes2, iscrowd, out, grad=False)) is not None:
        return ops.box_iou(boxes1, boxes2, aligned, iscrowd, metric, out, backend)
    kind = _check.choice("box_iou", "metric", metric, METRICS)
    return _overlap_op("box_iou", kind, boxes1, boxes2, aligned, iscrowd, 0.0, out, backend)


def generalized_box_iou(
    boxes1: Any, boxes2: Any, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Generalized IoU: IoU - (hull - union) / hull, in (-1, 1].

    Parameters and errors as in `box_iou`. The hull is the smallest box around both; 0/0 is 0; NaN or infinite
    coordinates may give NaN.
    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    if (ops := registered(boxes1, boxes2, out, grad=False)) is not None:
        return ops.generalized_box_iou(boxes1, boxes2, aligned, out, backend)
    return _overlap_op("generalized_box_iou", "giou", boxes1, boxes2, aligned, None, 0.0, out, backend)


def distance_box_iou(
    boxes1: Any, boxes2: Any, eps: float = 1e-7, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Distance IoU: IoU - d^2 / (c^2 + eps), d between the centres, c the diagonal of the hull.

    Parameters and errors as in `box_iou`; eps : float in (0, 1], square pixels.
    Source: Zheng et al., "Distance-IoU Loss", 2019.
    """
    if (ops := registered(boxes1, boxes2, out, grad=False)) is not None:
        return ops.distance_box_iou(boxes1, boxes2, eps, aligned, out, backend)
    eps = _check.positive("distance_box_iou", "eps", eps, 1.0)
    return _overlap_op("distance_box_iou", "diou", boxes1, boxes2, aligned, None, eps, out, backend)


def complete_box_iou(
    boxes1: Any, boxes2: Any, eps: float = 1e-7, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Complete IoU: distance IoU - v^2 / (1 - IoU + v + eps), v = 4 / pi^2 (atan(w2/h2) - atan(w1/h1))^2.

    Parameters and errors as in `box_iou`; eps : float in (0, 1]. Equal on every backend but for the last digits
    of the arc tangent.
    Source: Zheng et al., "Distance-IoU Loss", 2019.
    """
    if (ops := registered(boxes1, boxes2, out, grad=False)) is not None:
        return ops.complete_box_iou(boxes1, boxes2, eps, aligned, out, backend)
    eps = _check.positive("complete_box_iou", "eps", eps, 1.0)
    return _overlap_op("complete_box_iou", "ciou", boxes1, boxes2, aligned, None, eps, out, backend)


def _overlap_op(
    op: str, kind: str, boxes1: Any, boxes2: Any, aligned: bool, iscrowd: Any, eps: float, out: Any, backend: str | None
) -> Any:
    a = _check.boxes(op, "boxes1", to_array(op, "boxes1", boxes1, differentiable=True))
    b = _check.boxes(op, "boxes2", to_array(op, "boxes2", boxes2, differentiable=True))
    if a.dtype != b.dtype:
        a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if aligned and len(a) != len(b):
        raise ValueError(f"{op}: boxes2 must have shape {a.shape} as boxes1 if aligned, got {b.shape}")
    crowd = None if iscrowd is None else _check.flags(op, "iscrowd", to_array(op, "iscrowd", iscrowd), len(b))
    into = None if out is None else writable(op, "out", out)
    kernel = _backends.choose("box_iou", backend, box_iou_reference, a, b, crowd, into)
    if into is None:
        return like(boxes1)(kernel(a, b, kind, bool(aligned), crowd, eps, None))
    shape = (len(a),) if aligned else (len(a), len(b))
    kernel(a, b, kind, bool(aligned), crowd, eps, _check.out(op, into, shape, a.dtype, (a, b)))
    return out


# The arithmetic of a pair, in one place: csrc/box.h and _numba.py follow it operation by operation.


def box_iou_reference(
    a: Array, b: Array, kind: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None
) -> Array:
    if not aligned:
        a = a[:, None]
    result, denominator = _measure(a, b, kind, crowd, eps)
    overflow = ~np.isfinite(denominator)
    if overflow.any():
        scale = rescale(a.dtype)
        scaled, _ = _measure(a * scale, b * scale, kind, crowd, eps * float(scale) * float(scale))
        result = np.where(overflow, scaled, result)
    result = np.where(np.isnan(a).any(-1) | np.isnan(b).any(-1), a.dtype.type(np.nan), result)
    if out is None:
        return result
    out[...] = result
    return out


def rescale(dtype: np.dtype[Any]) -> Any:
    """The power of two by which boxes are multiplied where an area overflows."""
    return dtype.type(2.0**-66 if dtype == np.float32 else 2.0**-514)


def _area(x: Array) -> Array:
    width = np.where(x[..., 2] > x[..., 0], x[..., 2] - x[..., 0], x.dtype.type(0))
    height = np.where(x[..., 3] > x[..., 1], x[..., 3] - x[..., 1], x.dtype.type(0))
    return np.where((width > 0) & (height > 0), width * height, x.dtype.type(0))


def intersection(a: Array, b: Array) -> Array:
    """Area of overlap of broadcast boxes; 0 where they do not overlap."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.where((width > 0) & (height > 0), width * height, a.dtype.type(0))


def _ratio(inter: Array, denominator: Array) -> Array:
    good = np.isfinite(denominator) & (denominator > 0)
    return np.where(good, inter / np.where(good, denominator, denominator.dtype.type(1)), denominator.dtype.type(0))


def _measure(a: Array, b: Array, kind: str, crowd: Array | None, eps: float) -> tuple[Array, Array]:
    """The measure, and the denominator that tells by not being finite that an area overflowed."""
    one = a.dtype.type
    with np.errstate(all="ignore"):
        area_a, area_b, inter = _area(a), _area(b), intersection(a, b)
        denominator = np.minimum(area_a, area_b) if kind == "ios" else area_a + area_b - inter
        if crowd is not None:
            denominator = np.where(crowd, area_a, denominator)
        iou = _ratio(inter, denominator)
        if kind in METRICS:
            return iou, denominator
        hull_width = np.maximum(a[..., 2], b[..., 2]) - np.minimum(a[..., 0], b[..., 0])
        hull_height = np.maximum(a[..., 3], b[..., 3]) - np.minimum(a[..., 1], b[..., 1])
        if kind == "giou":
            hull = np.maximum(hull_width, one(0)) * np.maximum(hull_height, one(0))
            loss = np.where(hull > 0, (hull - denominator) / np.where(hull > 0, hull, one(1)), one(0))
            return iou - loss, hull + denominator
        diagonal = hull_width * hull_width + hull_height * hull_height + one(eps)
        dx = (one(0.5) * a[..., 0] + one(0.5) * a[..., 2]) - (one(0.5) * b[..., 0] + one(0.5) * b[..., 2])
        dy = (one(0.5) * a[..., 1] + one(0.5) * a[..., 3]) - (one(0.5) * b[..., 1] + one(0.5) * b[..., 3])
        diou = iou - (dx * dx + dy * dy) / diagonal
        if kind == "diou":
            return diou, diagonal + denominator
        angle = _angle(b) - _angle(a)
        v = one(4 / np.pi**2) * (angle * angle)
        return diou - v * v / (one(1) - iou + v + one(eps)), diagonal + denominator


def _angle(x: Array) -> Array:
    return np.arctan2(x[..., 2] - x[..., 0], x[..., 3] - x[..., 1])
