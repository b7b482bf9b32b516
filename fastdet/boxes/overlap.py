"""Overlap metrics of pairs of boxes: IoU, intersection over the smaller area, generalized, distance, complete IoU."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, quick_cuda, to_array, writable
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import arctan

METRICS = ("iou", "ios")  # that an option named ``metric`` takes; the functions below also compute giou, diou and ciou


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
    aligned : False for every pair, (N, M); True for box i with box i (N == M), (N,); then (4,) and (4,) are one pair,
        with a result of shape ()
    iscrowd : (M,) bool; where True the denominator is the area of the box of boxes1 (COCO's rule for a
        detection against a crowd region)
    metric : "iou", or "ios" for intersection over the smaller of the two areas (tiled inference)
    out : array of the result's shape and dtype, for the result; faster for large results, since new memory costs
        more than the arithmetic

    Returns
    -------
    iou : (N, M) float in [0, 1], or (N,) if aligned; ``out`` itself if it is passed

    Raises
    ------
    TypeError   dtype, device, out's dtype, a tensor that requires grad
    ValueError  shape, an unknown metric, an invalid out

    Notes
    -----
    0/0 is 0. NaN coordinates give NaN. A box of infinite area gives IoU 0; where the overlap is relative to one box
    ("ios", a crowd), the part of a finite box that it covers. Finite boxes whose areas overflow are rescaled by a power
    of two, so that boxes near 1e30 have their true IoU. Equal on every backend.

    Examples
    --------
    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 1, 2], [5, 5, 6, 6]]))
    array([[0.5, 0. ]])
    """
    if (ops := registered(__name__, boxes1, boxes2, iscrowd, out, grad=False)) is not None:
        return ops.box_iou(boxes1, boxes2, aligned, iscrowd, metric, out, backend)
    metric = check.choice("box_iou", "metric", metric, METRICS)
    return _overlap_op("box_iou", metric, boxes1, boxes2, aligned, iscrowd, 0.0, out, backend)


def generalized_box_iou(
    boxes1: Any, boxes2: Any, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Generalized IoU: IoU - (hull - union) / hull, in (-1, 1].

    Parameters and errors as in `box_iou`. The hull is the smallest box around both; 0/0 is 0; NaN or infinite
    coordinates may give NaN.
    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019.

    Examples
    --------
    >>> generalized_box_iou(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 2, 1], [3, 0, 4, 1]]))
    array([[ 0.5, -0.5]])
    """
    if (ops := registered(__name__, boxes1, boxes2, out, grad=False)) is not None:
        return ops.generalized_box_iou(boxes1, boxes2, aligned, out, backend)
    return _overlap_op("generalized_box_iou", "giou", boxes1, boxes2, aligned, None, 0.0, out, backend)


def distance_box_iou(
    boxes1: Any, boxes2: Any, eps: float = 1e-7, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Distance IoU: IoU - d^2 / (c^2 + eps), d between the centres, c the diagonal of the hull.

    Parameters and errors as in `box_iou`; eps : float in (0, 1], square pixels.
    Source: Zheng et al., "Distance-IoU Loss", 2019.

    Examples
    --------
    >>> distance_box_iou(np.array([[0, 0, 3, 2]]), np.array([[3, 2, 6, 4]])).round(3)
    array([[-0.25]])
    """
    if (ops := registered(__name__, boxes1, boxes2, out, grad=False)) is not None:
        return ops.distance_box_iou(boxes1, boxes2, eps, aligned, out, backend)
    eps = check.positive("distance_box_iou", "eps", eps, 1.0)
    return _overlap_op("distance_box_iou", "diou", boxes1, boxes2, aligned, None, eps, out, backend)


def complete_box_iou(
    boxes1: Any, boxes2: Any, eps: float = 1e-7, *, aligned: bool = False, out: Any = None, backend: str | None = None
) -> Any:
    """Complete IoU: distance IoU - v^2 / (1 - IoU + v + eps), v = 4 / pi^2 (atan(w2/h2) - atan(w1/h1))^2.

    Parameters and errors as in `box_iou`; eps : float in (0, 1]. Equal on every backend but for the last digits
    of the arc tangent.
    Source: Zheng et al., "Distance-IoU Loss", 2019.

    Examples
    --------
    >>> complete_box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 1, 2]])).round(3)
    array([[0.466]])
    """
    if (ops := registered(__name__, boxes1, boxes2, out, grad=False)) is not None:
        return ops.complete_box_iou(boxes1, boxes2, eps, aligned, out, backend)
    eps = check.positive("complete_box_iou", "eps", eps, 1.0)
    return _overlap_op("complete_box_iou", "ciou", boxes1, boxes2, aligned, None, eps, out, backend)


def _overlap_op(
    op: str,
    metric: str,
    boxes1: Any,
    boxes2: Any,
    aligned: bool,
    iscrowd: Any,
    eps: float,
    out: Any,
    backend: str | None,
) -> Any:
    """The five metrics, from checks to result."""
    if (
        (quick := quick_cuda(boxes1, backend)) is not None
        and aligned is False
        and iscrowd is None
        and out is None
        and (result := quick.box_iou(boxes1, boxes2, metric, eps)) is not None
    ):
        return result
    a, b = (to_array(op, name, x, differentiable=True) for name, x in (("boxes1", boxes1), ("boxes2", boxes2)))
    one_pair = bool(aligned) and a.shape == b.shape == (4,)
    if one_pair:
        a, b = a.reshape(1, 4), b.reshape(1, 4)
    a, b = check.boxes(op, "boxes1", a), check.boxes(op, "boxes2", b)
    if a.dtype != b.dtype:
        a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if aligned and len(a) != len(b):
        raise ValueError(f"{op}: boxes2 must have shape {a.shape} as boxes1 if aligned, got {b.shape}")
    crowd = None if iscrowd is None else check.flags(op, "iscrowd", to_array(op, "iscrowd", iscrowd), len(b))
    into = None if out is None else writable(op, "out", out)
    kernel = backends.choose("box_iou", backend, box_iou_reference, a, b, crowd, into)
    if into is None:
        result = kernel(a, b, metric, bool(aligned), crowd, eps, None)
        return like(boxes1)(result.reshape(()) if one_pair else result)
    shape: tuple[int, ...] = () if one_pair else (len(a),) if aligned else (len(a), len(b))
    into = check.out(op, into, shape, a.dtype, (a, b))
    kernel(a, b, metric, bool(aligned), crowd, eps, into.reshape(1) if one_pair else into)
    return out


def box_iou_reference(
    a: Array, b: Array, metric: str, aligned: bool, crowd: Array | None, eps: float, out: Array | None
) -> Array:
    if not aligned:
        a = a[:, None]
    result, denominator = _metric(a, b, metric, crowd, eps)
    overflow = ~np.isfinite(denominator)
    if overflow.any():
        scale = rescale(a.dtype)
        scaled, _ = _metric(a * scale, b * scale, metric, crowd, eps * float(scale) * float(scale))
        result = np.where(overflow, scaled, result)
    result = np.where(np.isnan(a).any(-1) | np.isnan(b).any(-1), a.dtype.type(np.nan), result)
    if out is None:
        return result
    out[...] = result
    return out


def rescale(dtype: np.dtype[Any]) -> Any:
    """The power of two that boxes are multiplied by where an area overflows."""
    return dtype.type(2.0**-66 if dtype == np.float32 else 2.0**-514)


def area_of(x: Array) -> Array:
    """Area of each box, (..., 4); 0 where x2 <= x1 or y2 <= y1, also for NaN."""
    width = np.where(x[..., 2] > x[..., 0], x[..., 2] - x[..., 0], x.dtype.type(0))
    height = np.where(x[..., 3] > x[..., 1], x[..., 3] - x[..., 1], x.dtype.type(0))
    return np.where((width > 0) & (height > 0), width * height, x.dtype.type(0))


def intersection(a: Array, b: Array) -> Array:
    """Area of the intersection of boxes (..., 4) that broadcast; 0 where they do not overlap."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.where((width > 0) & (height > 0), width * height, a.dtype.type(0))


def _ratio(inter: Array, denominator: Array) -> Array:
    """inter / denominator; 0 where the denominator is 0 or not finite."""
    regular = np.isfinite(denominator) & (denominator > 0)
    one, zero = denominator.dtype.type(1), denominator.dtype.type(0)
    return np.where(regular, inter / np.where(regular, denominator, one), zero)


def _metric(a: Array, b: Array, metric: str, crowd: Array | None, eps: float) -> tuple[Array, Array]:
    """The metric, and its denominator, which is not finite where an area overflowed."""
    one = a.dtype.type
    with np.errstate(all="ignore"):
        area_a, area_b, inter = area_of(a), area_of(b), intersection(a, b)
        denominator = np.minimum(area_a, area_b) if metric == "ios" else area_a + area_b - inter
        if crowd is not None:
            denominator = np.where(crowd, area_a, denominator)
        iou = _ratio(inter, denominator)
        if metric in METRICS:
            return iou, denominator
        hull_width = np.maximum(a[..., 2], b[..., 2]) - np.minimum(a[..., 0], b[..., 0])
        hull_height = np.maximum(a[..., 3], b[..., 3]) - np.minimum(a[..., 1], b[..., 1])
        if metric == "giou":
            hull = np.maximum(hull_width, one(0)) * np.maximum(hull_height, one(0))
            loss = np.where(hull > 0, (hull - denominator) / np.where(hull > 0, hull, one(1)), one(0))
            return iou - loss, hull + denominator
        diagonal = hull_width * hull_width + hull_height * hull_height + one(eps)
        dx = (one(0.5) * a[..., 0] + one(0.5) * a[..., 2]) - (one(0.5) * b[..., 0] + one(0.5) * b[..., 2])
        dy = (one(0.5) * a[..., 1] + one(0.5) * a[..., 3]) - (one(0.5) * b[..., 1] + one(0.5) * b[..., 3])
        diou = iou - (dx * dx + dy * dy) / diagonal
        if metric == "diou":
            return diou, diagonal + denominator
        turn = aspect_angle(b) - aspect_angle(a)
        v = one(4 / np.pi**2) * (turn * turn)
        return diou - v * v / (one(1) - iou + v + one(eps)), diagonal + denominator


def aspect_angle(boxes: Array) -> Array:
    """The angle of (height, width) of each box, in (-pi, pi]: ``arctan2(width, height)`` by IEEE operations alone."""
    one = boxes.dtype.type
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    turn = arctan(width / height)
    flat = np.where(width > 0, one(np.pi / 2), np.where(width < 0, one(-np.pi / 2), one(0)))
    behind = np.where(width < 0, turn - one(np.pi), turn + one(np.pi))
    return np.where(height == 0, flat, np.where(height > 0, turn, behind))
