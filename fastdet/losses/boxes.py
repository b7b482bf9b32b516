"""Losses of box regression: generalized, distance and complete IoU loss, each with its gradients in one pass.

The formulas and their gradients are torchvision's. Boxes are aligned: box i of one set goes with box i of the other.
The functions take NumPy arrays, torch tensors, CuPy arrays and anything with ``__dlpack__``, on the CPU or an NVIDIA
GPU, and return the same type. float64 and integers of more than 16 bits are computed as float64; float32, float16,
bfloat16 and smaller integers as float32; boxes of two such dtypes as float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import arctan
from fastdet.losses.reduction import REDUCTIONS, reduce, share

DIAGONAL_EPS = 1e-7  # of the complete IoU loss: as in torchvision its own eps is used in alpha alone


def giou_loss(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> Any:
    """Generalized IoU loss: 1 - (I / (U + eps) - (H - U) / (H + eps)), in [0, 2] for proper boxes.

    I is the area of the intersection, U the area of the union, H the area of the hull, the smallest box around both.

    Parameters
    ----------
    boxes1, boxes2 : (N, 4) float, or (4,) for one pair; pixels, x1 y1 x2 y2
    reduction : "none", "mean" (0 for no boxes) or "sum"
    eps : float, 0 or more; square pixels

    Returns
    -------
    loss : (N,) float, or () where reduced and for one pair

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, an unknown reduction, a negative or infinite eps

    Notes
    -----
    Boxes with x2 <= x1 or y2 <= y1 have the signed area (x2 - x1) * (y2 - y1). Touching boxes have no intersection.
    NaN coordinates, and areas that overflow the dtype, give NaN or infinity, also in a sum. Sums are computed in
    float64 in one fixed order. Equal on every backend and for any number of threads. Differentiable in both boxes: see
    `giou_loss_with_grad`.
    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019; torchvision.ops.generalized_box_iou_loss.

    Examples
    --------
    >>> giou_loss(np.array([[0, 0, 1, 1], [0, 0, 1, 1]]), np.array([[0, 0, 2, 1], [3, 0, 4, 1]])).round(3)
    array([0.5, 1.5])
    """
    if (ops := registered(__name__, boxes1, boxes2)) is not None:
        return ops.giou_loss(boxes1, boxes2, reduction, eps, backend)
    return _box_loss("giou_loss", "giou", boxes1, boxes2, reduction, eps, False, backend)


def giou_loss_with_grad(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> tuple[Any, tuple[Any, Any]]:
    """`giou_loss` and its gradients with respect to both boxes, in one pass.

    Parameters and errors as in `giou_loss`; a tensor that requires grad is taken as if detached.

    Returns
    -------
    loss : as `giou_loss` returns it
    (grad1, grad2) : of the boxes' shapes, float; gradients of the reduced loss; with reduction "none" those of its sum:
        multiply the rows by each loss's upstream gradient

    Notes
    -----
    As in torch, max(a, b) and min(a, b) of equal corners pass half of the gradient to each, and an intersection without
    area passes none.

    Examples
    --------
    >>> loss, (grad1, grad2) = giou_loss_with_grad(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 2, 1]]), eps=0.0)
    >>> float(grad1[0, 2])  # a larger x2 of the first box lowers the loss
    -0.5
    """
    return _box_loss("giou_loss_with_grad", "giou", boxes1, boxes2, reduction, eps, True, backend)


def diou_loss(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> Any:
    """Distance IoU loss: 1 - I / (U + eps) + d^2 / (c^2 + eps), in [0, 2] for proper boxes.

    d is the distance of the centres, c the diagonal of the hull. All else as in `giou_loss`.
    Source: Zheng et al., "Distance-IoU Loss", 2019; torchvision.ops.distance_box_iou_loss.

    Examples
    --------
    >>> diou_loss(np.array([[0, 0, 3, 2]]), np.array([[3, 2, 6, 4]])).round(3)
    array([1.25])
    """
    if (ops := registered(__name__, boxes1, boxes2)) is not None:
        return ops.diou_loss(boxes1, boxes2, reduction, eps, backend)
    return _box_loss("diou_loss", "diou", boxes1, boxes2, reduction, eps, False, backend)


def diou_loss_with_grad(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> tuple[Any, tuple[Any, Any]]:
    """`diou_loss` and its gradients, as in `giou_loss_with_grad`."""
    return _box_loss("diou_loss_with_grad", "diou", boxes1, boxes2, reduction, eps, True, backend)


def ciou_loss(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> Any:
    """Complete IoU loss: the distance IoU loss with eps 1e-7, plus alpha * v.

    v = 4 / pi^2 (atan(w2 / h2) - atan(w1 / h1))^2 and alpha = v / (1 - IoU + v + eps), which the gradient treats as a
    constant. All else as in `giou_loss`.

    A box of height 0 has the angle pi / 2, and one of width and height 0, a point, the angle 0, as in
    `boxes.complete_box_iou`: loss and gradient are finite. torchvision gives a NaN gradient for the one, and a NaN loss
    and gradient for the other.
    Source: Zheng et al., "Distance-IoU Loss", 2019; torchvision.ops.complete_box_iou_loss.

    Examples
    --------
    >>> ciou_loss(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 1, 2]])).round(3)
    array([0.534])
    """
    if (ops := registered(__name__, boxes1, boxes2)) is not None:
        return ops.ciou_loss(boxes1, boxes2, reduction, eps, backend)
    return _box_loss("ciou_loss", "ciou", boxes1, boxes2, reduction, eps, False, backend)


def ciou_loss_with_grad(
    boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7, *, backend: str | None = None
) -> tuple[Any, tuple[Any, Any]]:
    """`ciou_loss` and its gradients, as in `giou_loss_with_grad`."""
    return _box_loss("ciou_loss_with_grad", "ciou", boxes1, boxes2, reduction, eps, True, backend)


def _box_loss(
    op: str, metric: str, boxes1: Any, boxes2: Any, reduction: str, eps: float, grad: bool, backend: str | None
) -> Any:
    a, b = (to_array(op, name, x, differentiable=not grad) for name, x in (("boxes1", boxes1), ("boxes2", boxes2)))
    shape, shape2 = a.shape, b.shape
    a, b = (
        check.boxes(op, name, x.reshape(1, 4) if x.shape == (4,) else x) for name, x in (("boxes1", a), ("boxes2", b))
    )
    if a.dtype != b.dtype:
        a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if len(a) != len(b) or (shape == (4,)) != (shape2 == (4,)):
        raise ValueError(f"{op}: boxes2 must have shape {shape} as boxes1, got {shape2}")
    reduction = check.choice(op, "reduction", reduction, REDUCTIONS)
    eps = check.non_negative(op, "eps", eps)
    kernel: Any = backends.choose("box_loss", backend, box_loss_reference, a, b)
    back = like(boxes1)
    loss, grad1, grad2 = kernel(a, b, metric, DIAGONAL_EPS if metric == "ciou" else eps, eps, reduction, grad)
    if shape == (4,):
        loss = loss.reshape(())
    if not grad:
        return back(loss)
    return back(loss), (back(grad1.reshape(shape)), like(boxes2)(grad2.reshape(shape2)))


def box_loss_reference(
    a: Array, b: Array, metric: str, eps: float, alpha_eps: float, reduction: str, grad: bool
) -> tuple[Array, Array | None, Array | None]:
    one = a.dtype.type
    zero, half = one(0), one(0.5)
    with np.errstate(all="ignore"):
        eps, alpha_eps = one(eps), one(alpha_eps)
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.T, b.T
        wa, ha, wb, hb = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
        iw, ih = _min(ax2, bx2) - _max(ax1, bx1), _min(ay2, by2) - _max(ay1, by1)
        cw, ch = _max(ax2, bx2) - _min(ax1, bx1), _max(ay2, by2) - _min(ay1, by1)  # the hull
        meet = (iw > 0) & (ih > 0)
        inter = np.where(meet, iw * ih, zero)
        area = (wa * ha + wb * hb) - inter
        iou = inter / (area + eps)

        rate = one(1) / (area + eps)
        # by_x: the derivative of the loss by x
        dx = dy = by_wa = by_ha = by_wb = by_hb = zero
        if metric == "giou":
            hull = cw * ch
            per_hull = one(1) / (hull + eps)
            spare = (hull - area) / (hull + eps)
            loss = one(1) - (iou - spare)
            by_hull = (one(1) - spare) * per_hull
            by_area = iou * rate - per_hull
            by_cw, by_ch = by_hull * ch, by_hull * cw
        else:
            diagonal = (cw * cw + ch * ch) + eps
            per_diagonal = one(1) / diagonal
            dx, dy = half * (ax2 + ax1) - half * (bx2 + bx1), half * (ay2 + ay1) - half * (by2 + by1)
            distance = (dx * dx + dy * dy) / diagonal
            loss = (one(1) - iou) + distance
            by_side = one(-2) * (distance * per_diagonal)
            by_area = iou * rate
            by_cw, by_ch = by_side * cw, by_side * ch
            dx, dy = dx * per_diagonal, dy * per_diagonal
        if metric == "ciou":
            factor = one(4 / np.pi**2)
            qa, qb = _side_ratio(wa, ha), _side_ratio(wb, hb)
            turn = arctan(qb) - arctan(qa)
            v = factor * (turn * turn)
            alpha = v / (((one(1) - iou) + v) + alpha_eps)  # the gradient treats it as a constant
            loss = loss + alpha * v
            by_turn = one(2) * (factor * (alpha * turn))
            by_wa, by_ha = _by_sides(zero - by_turn, qa, wa, ha)
            by_wb, by_hb = _by_sides(by_turn, qb, wb, hb)
        loss = np.ascontiguousarray(loss)
        reduced = reduce(loss, reduction)
        if not grad:
            return reduced, None, None
        by_inter = zero - (rate + by_area)
        by_iw, by_ih = np.where(meet, by_inter * ih, zero), np.where(meet, by_inter * iw, zero)
        by_wa, by_ha = by_area * ha + by_wa, by_area * wa + by_ha
        by_wb, by_hb = by_area * hb + by_wb, by_area * wb + by_hb
        grad1 = (
            dx - (by_wa + _pick(ax1, bx1, by_iw, by_cw)),
            dy - (by_ha + _pick(ay1, by1, by_ih, by_ch)),
            dx + (by_wa + _pick(bx2, ax2, by_iw, by_cw)),
            dy + (by_ha + _pick(by2, ay2, by_ih, by_ch)),
        )
        grad2 = (
            (zero - dx) - (by_wb + _pick(bx1, ax1, by_iw, by_cw)),
            (zero - dy) - (by_hb + _pick(by1, ay1, by_ih, by_ch)),
            (by_wb + _pick(ax2, bx2, by_iw, by_cw)) - dx,
            (by_hb + _pick(ay2, by2, by_ih, by_ch)) - dy,
        )
        scale = one(share(len(a), reduction))
        return reduced, np.stack(grad1, axis=1) * scale, np.stack(grad2, axis=1) * scale


def _side_ratio(w: Array, h: Array) -> Array:
    """w / h, but 0 of a point."""
    return np.where((w == 0) & (h == 0), w.dtype.type(0), w / h)


def _by_sides(by_angle: Array, ratio: Array, w: Array, h: Array) -> tuple[Array, Array]:
    """The derivatives by width and height from that by the angle atan(w / h); of a box of height 0 by its limit."""
    zero, one = w.dtype.type(0), w.dtype.type(1)
    by_w = by_angle / (one + ratio * ratio) / h
    by_h = zero - by_w * ratio
    flat = h == 0
    return np.where(flat, zero, by_w), np.where(flat, np.where(w == 0, zero, zero - by_angle / w), by_h)


def _min(x: Array, y: Array) -> Array:
    """The minimum; ``y`` where one of them is NaN."""
    return np.where(x < y, x, y)


def _max(x: Array, y: Array) -> Array:
    """The maximum; ``y`` where one of them is NaN."""
    return np.where(x > y, x, y)


def _pick(x: Array, y: Array, inner: Array, outer: Array) -> Array:
    """The gradient that a corner passes on: of two equal corners each gets half."""
    both = x.dtype.type(0.5) * (inner + outer)
    return np.where(x >= y, np.where(y >= x, both, inner), outer)
