"""The box coder: boxes as offsets from anchors, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero, log_positive
from fastdet.proposals import _check

Weights = tuple[float, float, float, float]
MAX_LOG_RATIO = math.log(1000 / 16)  # a side grows by 62.5 at most
_MAX_EXPONENT = 87.0  # above it exp overflows float32


def encode_boxes(boxes: Any, anchors: Any, weights: Any = (1.0, 1.0, 1.0, 1.0), *, backend: str | None = None) -> Any:
    """Encode boxes as offsets from anchors: the targets of a box regression.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    anchors : (N, 4) float, one for each box; finite, with a width and a height above 0
    weights : four numbers above 0, factors of dx, dy, dw, dh: (10, 10, 5, 5) in the box heads of Fast and Faster R-CNN

    Returns
    -------
    deltas : (N, 4) float: dx dy, the centre's offset in units of the anchor's sides; dw dh, the logarithm of the ratio
        of the sides; each times its weight. -inf for a side of 0 or less

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN, an anchor without an area

    Notes
    -----
    Equal on every backend; to torchvision's `BoxCoder` but for the last bits of the logarithm.
    Source: Girshick et al., "Rich feature hierarchies" (R-CNN), 2014, appendix C.

    Examples
    --------
    >>> encode_boxes(np.array([[0.0, 0, 20, 10]]), np.array([[5.0, 0, 15, 10]])).round(4)
    array([[0.    , 0.    , 0.6931, 0.    ]])
    """
    if (ops := registered(__name__, boxes, anchors, grad=False)) is not None:
        return ops.encode_boxes(boxes, anchors, weights, backend)
    op = "encode_boxes"
    b = check.boxes(op, "boxes", to_array(op, "boxes", boxes, differentiable=True))
    a = check.boxes(op, "anchors", to_array(op, "anchors", anchors, differentiable=True))
    if b.shape != a.shape:
        raise ValueError(f"{op}: anchors must have shape {b.shape}, one for each box, got {a.shape}")
    dtype = _check.common_dtype(b, a)
    b, a = _check.in_dtype(dtype, b), _check.in_dtype(dtype, a)
    four = _check.weights(op, weights)
    deltas: Any = backends.choose(op, backend, encode_boxes_reference, b, a)(b, a, four)
    if isinstance(deltas, int):
        index = deltas >> 1
        if deltas & 1 == 0:
            check.raise_nan(op, "boxes", (index,))
        _check.raise_bad_anchor(op, "anchors", [check.value_at(a, (index, k)) for k in range(4)], index)
    return like(boxes)(deltas)


def encode_boxes_reference(boxes: Array, anchors: Array, weights: Weights) -> Array | int:
    """For a wrong row return 2 * its index in boxes, or that in anchors, plus 1; the lowest one."""
    half = boxes.dtype.type(0.5)
    with np.errstate(all="ignore"):
        width, height = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
        wrong = np.stack([np.isnan(boxes).any(axis=1), ~has_area(width, height)], axis=1).ravel()
        if wrong.any():
            return int(np.argmax(wrong))
        wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        wx, wy, ww, wh = (boxes.dtype.type(w) for w in weights)
        dx = wx * ((boxes[:, 0] + half * wide) - (anchors[:, 0] + half * width)) / width
        dy = wy * ((boxes[:, 1] + half * high) - (anchors[:, 1] + half * height)) / height
        dw = ww * log_positive(wide / width)
        dh = wh * log_positive(high / height)
    return np.stack([dx, dy, dw, dh], axis=1)


def has_area(width: Array, height: Array) -> Array:
    """Whether sides are above 0 and finite; not for a NaN."""
    largest = np.finfo(width.dtype).max
    good: Array = (width > 0) & (height > 0) & (width <= largest) & (height <= largest)
    return good


def decode_boxes(
    deltas: Any,
    anchors: Any,
    weights: Any = (1.0, 1.0, 1.0, 1.0),
    *,
    max_log_ratio: float = MAX_LOG_RATIO,
    backend: str | None = None,
) -> Any:
    """Decode offsets from anchors to boxes.

    Parameters
    ----------
    deltas : (N, 4) float, dx dy dw dh as `encode_boxes` gives them, or (N, C, 4), of C classes
    anchors : (N, 4) float, pixels, x1 y1 x2 y2
    weights : four numbers above 0 by which dx, dy, dw, dh are divided
    max_log_ratio : in [0, 87]; dw and dh, after the division, are limited to it. The default is log(1000 / 16)

    Returns
    -------
    boxes : float, of the deltas' shape, pixels, x1 y1 x2 y2

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN

    Notes
    -----
    Infinite deltas are computed with as numbers. Equal on every backend; to torchvision's `BoxCoder` but for the last
    bits of the exponential.
    Source: Girshick et al., "Rich feature hierarchies" (R-CNN), 2014, appendix C.

    Examples
    --------
    >>> decode_boxes(np.array([[0.1, 0.0, 0.0, 0.0]]), np.array([[5.0, 0, 15, 10]]))
    array([[ 6.,  0., 16., 10.]])
    """
    if (ops := registered(__name__, deltas, anchors, grad=False)) is not None:
        return ops.decode_boxes(deltas, anchors, weights, max_log_ratio, backend)
    op = "decode_boxes"
    d = to_array(op, "deltas", deltas, differentiable=True)
    if d.ndim not in (2, 3) or d.shape[-1] != 4:
        raise ValueError(f"{op}: deltas must have shape (N, 4) or (N, C, 4), got {d.shape}")
    if d.size // 4 > check.MAX_COUNT:
        raise ValueError(f"{op}: deltas must have at most {check.MAX_COUNT} rows, got shape {d.shape}")
    d = check.real(op, "deltas", d)
    a = check.boxes(op, "anchors", to_array(op, "anchors", anchors, differentiable=True))
    if len(a) != len(d):
        raise ValueError(f"{op}: anchors must have shape ({len(d)}, 4), one for each row of deltas, got {a.shape}")
    dtype = _check.common_dtype(d, a)
    d, a = _check.in_dtype(dtype, d), _check.in_dtype(dtype, a)
    four = _check.weights(op, weights)
    limit = check.non_negative(op, "max_log_ratio", max_log_ratio)
    if limit > _MAX_EXPONENT:
        raise ValueError(f"{op}: max_log_ratio must be in [0, {_MAX_EXPONENT:g}], got {limit}")
    classes = 1 if d.ndim == 2 else d.shape[1]
    rows = d.reshape(len(d) * classes, 4)
    boxes: Any = backends.choose(op, backend, decode_boxes_reference, d, a)(rows, a, four, limit)
    if isinstance(boxes, int):
        if boxes & 1:
            check.raise_nan(op, "anchors", (boxes >> 1,))
        check.raise_nan(op, "deltas", tuple(int(i) for i in np.unravel_index(boxes >> 1, d.shape[:-1])))
    return like(deltas)(boxes if d.ndim == 2 else boxes.reshape(d.shape))


def decode_boxes_reference(deltas: Array, anchors: Array, weights: Weights, max_log_ratio: float) -> Array | int:
    """deltas (N * C, 4), anchors (N, 4). A NaN returns 2 * its row in deltas, or that in anchors, plus 1.

    NaN of the deltas come first.
    """
    for in_anchors, x in enumerate((deltas, anchors)):
        is_nan = np.isnan(x).any(axis=1)
        if is_nan.any():
            return int(np.argmax(is_nan)) * 2 + in_anchors
    if not len(deltas):
        return np.zeros((0, 4), deltas.dtype)
    one, limit = deltas.dtype.type, deltas.dtype.type(max_log_ratio)
    x1, y1, x2, y2 = np.repeat(anchors, len(deltas) // len(anchors), axis=0).T
    with np.errstate(all="ignore"):
        width, height = x2 - x1, y2 - y1
        dx, dy, dw, dh = (deltas[:, k] / one(weights[k]) for k in range(4))
        cx, cy = dx * width + (x1 + one(0.5) * width), dy * height + (y1 + one(0.5) * height)
        half_w = one(0.5) * (exp_or_zero(np.where(dw > limit, limit, dw)) * width)
        half_h = one(0.5) * (exp_or_zero(np.where(dh > limit, limit, dh)) * height)
        return np.stack([cx - half_w, cy - half_h, cx + half_w, cy + half_h], axis=1)
