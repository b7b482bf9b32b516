"""Overlap of pairs of rotated boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array, writable
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.rotated._check import centred, rotated_boxes, same_dtype
from fastdet.rotated.geometry import METRICS, Rects, measure, rects_of
from fastdet.rotated.transforms import FORMATS

ROWS = 2**18  # pairs that the reference computes at a time


def box_iou_rotated(
    boxes1: Any,
    boxes2: Any,
    *,
    format: str = "cxcywhr",
    degrees: bool = True,
    clockwise: bool = False,
    aligned: bool = False,
    metric: str = "iou",
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Intersection over union of rotated boxes.

    Parameters
    ----------
    boxes1 : (N, 5) or (N, 8) float, pixels and angles
    boxes2 : (M, 5) or (M, 8) float
    format, degrees, clockwise : what the numbers mean: see `box_convert_rotated`. mmcv's boxes: degrees=False,
        clockwise=True
    aligned : False for every pair, (N, M); True for box i with box i (N == M), (N,)
    metric : "iou"; "ios", intersection over the smaller area; "iof", over the area of the box of boxes1 (COCO's rule
        for a detection against a crowd region; mmcv's iof)
    out : array of the result's shape and dtype, for the result

    Returns
    -------
    iou : (N, M) float in [0, 1], or (N,) if aligned; ``out`` itself if it is passed

    Raises
    ------
    TypeError   dtype, device, out's dtype, a tensor that requires grad
    ValueError  shape, an unknown format or metric, an invalid out

    Notes
    -----
    Computed in float64 in the frame of one of the boxes, and rounded once: an error of some 1e-15. Never NaN: a box
    with a NaN, an infinite number, or a side of 0 or less overlaps nothing. Boxes that touch: 0. The same box twice: 1.
    IoU and IoS are symmetric to the last bit. A degree angle of any size is reduced exactly; radians from 2**20 on are
    taken modulo the float64 number nearest to 2 pi. Boxes of extreme sizes are scaled by a power of two, so that boxes
    near 1e300 have their true IoU. Equal on every backend.

    Examples
    --------
    >>> box_iou_rotated(np.array([[2, 2, 4, 4, 0]]), np.array([[2, 2, 4, 4, 90], [2, 2, 2, 2, 45]])).round(3)
    array([[1.  , 0.25]])
    """
    op = "box_iou_rotated"
    known = format if format in FORMATS else None
    boxes1, boxes2 = plain(op, "boxes1", boxes1, known), plain(op, "boxes2", boxes2, known)
    if (ops := registered(__name__, boxes1, boxes2, out, grad=False)) is not None:
        return ops.box_iou_rotated(boxes1, boxes2, format, degrees, clockwise, aligned, metric, out, backend)
    format, metric = check.choice(op, "format", format, FORMATS), check.choice(op, "metric", metric, METRICS)
    degrees, clockwise, aligned = bool(degrees), bool(clockwise), bool(aligned)
    a, b = (
        rotated_boxes(op, name, to_array(op, name, x, differentiable=True), format)
        for name, x in (("boxes1", boxes1), ("boxes2", boxes2))
    )
    if aligned and len(a) != len(b):
        raise ValueError(f"{op}: boxes2 must have shape {a.shape} as boxes1 if aligned, got {b.shape}")
    into = None if out is None else writable(op, "out", out)
    kernel = backends.choose(op, backend, box_iou_rotated_reference, a, b, into)
    shape: tuple[int, ...] = (len(a),) if aligned else (len(a), len(b))
    a, b = same_dtype(a, b)
    if into is not None:
        into = check.out(op, into, shape, a.dtype, (a, b))
    a, b = (centred(x, format, degrees, clockwise, backend) for x in (a, b))
    result = kernel(a, b, degrees, clockwise, metric, aligned, into)
    return like(boxes1)(result) if out is None else out


def box_iou_rotated_reference(
    a: Array, b: Array, degrees: bool, clockwise: bool, metric: str, aligned: bool, out: Array | None
) -> Array:
    rows, columns = rects_of(a, degrees, clockwise), rects_of(b, degrees, clockwise)
    if out is None:
        out = np.empty((len(a),) if aligned else (len(a), len(b)), a.dtype)
    if aligned:
        out[...] = measure(rows, columns, metric)
        return out
    step = max(1, ROWS // max(1, len(b)))
    for first in range(0, len(a), step):
        some = Rects(*(column[first : first + step, None] for column in rows))
        out[first : first + step] = measure(some, columns, metric)
    return out
