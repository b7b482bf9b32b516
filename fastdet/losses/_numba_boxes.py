"""Numba kernels of losses of boxes and of the sigmoid focal loss. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import ARCTAN_P, ARCTAN_Q, ARCTAN_SINGLE, MIDDLE, TAN_3PI_8, TAN_PI_8
from fastdet._core.half import narrow, widen
from fastdet._core.numba_elementary import exp_or_zero, log_positive
from fastdet._core.numba_jit import jit, plain, typed
from fastdet.losses.reduction import mean_or_sum, reduce, share
from fastdet.losses.sigmoid_focal import SERIES

GIOU, DIOU, CIOU = range(3)
METRICS = {"giou": GIOU, "diou": DIOU, "ciou": CIOU}


def box_loss(
    a: Array, b: Array, metric: str, eps: float, alpha_eps: float, reduction: str, grad: bool
) -> tuple[Array, Array | None, Array | None]:
    single = a.dtype == np.float32
    limits = TAN_3PI_8, TAN_PI_8 if single else MIDDLE, np.pi / 2, np.pi / 4
    series = np.array([*limits, *(ARCTAN_SINGLE if single else ARCTAN_P + ARCTAN_Q)], a.dtype)
    loss = np.empty(len(a), a.dtype)
    grad1, grad2 = np.empty((2, len(a) if grad else 0, 4), a.dtype)
    constants = [typed(a.dtype, x) for x in (eps, alpha_eps, share(len(a), reduction), 4 / np.pi**2)]
    args: Any = plain(a), plain(b), METRICS[metric], *constants, series, loss, grad1, grad2
    _losses(*args)
    reduced = reduce(loss, reduction)
    return (reduced, grad1, grad2) if grad else (reduced, None, None)


@jit
def _arctan(x: Any, c: Array) -> Any:
    """`elementary.arctan`; ``c`` holds the two limits, pi / 2, pi / 4, and the coefficients."""
    one = c.dtype.type(1)
    zero = one - one
    a = x if x >= zero else zero - x
    if a >= c[0]:
        t, base = -one / a, c[2]
    elif a >= c[1]:
        t, base = (a - one) / (a + one), c[3]
    else:
        t, base = a, zero
    z = t * t
    p = c[4]
    if len(c) == 8:
        for k in range(5, 8):
            p = p * z + c[k]
        y = base + (p * z * t + t)
    else:
        q = z + c[9]
        for k in range(5, 9):
            p, q = p * z + c[k], q * z + c[k + 5]
        y = base + (z * p / q * t + t)
    return y if x >= zero else zero - y


@jit
def _pick(x: Any, y: Any, inner: Any, outer: Any, half: Any) -> Any:
    """The gradient that a corner passes on: of two equal corners each gets half."""
    if x >= y:
        return half * (inner + outer) if y >= x else inner
    return outer


@jit
def _by_sides(by_angle: Any, ratio: Any, w: Any, h: Any, zero: Any, one: Any) -> Any:
    """The derivatives by width and height from that by the angle atan(w / h); of a box of height 0 by its limit."""
    if h == zero:
        return zero, zero if w == zero else zero - by_angle / w
    by_w = by_angle / (one + ratio * ratio) / h
    return by_w, zero - by_w * ratio


@jit
def _losses(
    a: Array, b: Array, metric: int, eps: Any, alpha_eps: Any, scale: Any, factor: Any, series: Array, loss: Array,
    grad1: Array, grad2: Array,
) -> None:  # fmt: skip
    """`box_loss_reference`, one pair after the other."""
    zero, half, one, two = a.dtype.type(0), a.dtype.type(0.5), a.dtype.type(1), a.dtype.type(2)
    for i in range(len(a)):
        ax1, ay1, ax2, ay2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
        bx1, by1, bx2, by2 = b[i, 0], b[i, 1], b[i, 2], b[i, 3]
        wa, ha, wb, hb = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
        iw = (ax2 if ax2 < bx2 else bx2) - (ax1 if ax1 > bx1 else bx1)
        ih = (ay2 if ay2 < by2 else by2) - (ay1 if ay1 > by1 else by1)
        cw = (ax2 if ax2 > bx2 else bx2) - (ax1 if ax1 < bx1 else bx1)
        ch = (ay2 if ay2 > by2 else by2) - (ay1 if ay1 < by1 else by1)
        meet = iw > zero and ih > zero
        inter = iw * ih if meet else zero
        area = (wa * ha + wb * hb) - inter
        iou = inter / (area + eps)
        rate = one / (area + eps)
        dx = dy = by_wa = by_ha = by_wb = by_hb = zero
        if metric == GIOU:
            hull = cw * ch
            per_hull = one / (hull + eps)
            spare = (hull - area) / (hull + eps)
            value = one - (iou - spare)
            by_hull = (one - spare) * per_hull
            by_area = iou * rate - per_hull
            by_cw, by_ch = by_hull * ch, by_hull * cw
        else:
            diagonal = (cw * cw + ch * ch) + eps
            per_diagonal = one / diagonal
            dx, dy = half * (ax2 + ax1) - half * (bx2 + bx1), half * (ay2 + ay1) - half * (by2 + by1)
            distance = (dx * dx + dy * dy) / diagonal
            value = (one - iou) + distance
            by_side = -two * (distance * per_diagonal)
            by_area = iou * rate
            by_cw, by_ch = by_side * cw, by_side * ch
            dx, dy = dx * per_diagonal, dy * per_diagonal
        if metric == CIOU:
            qa = zero if wa == zero and ha == zero else wa / ha
            qb = zero if wb == zero and hb == zero else wb / hb
            turn = _arctan(qb, series) - _arctan(qa, series)
            v = factor * (turn * turn)
            alpha = v / (((one - iou) + v) + alpha_eps)
            value = value + alpha * v
            by_turn = two * (factor * (alpha * turn))
            by_wa, by_ha = _by_sides(zero - by_turn, qa, wa, ha, zero, one)
            by_wb, by_hb = _by_sides(by_turn, qb, wb, hb, zero, one)
        loss[i] = value
        if len(grad1) == 0:
            continue
        by_inter = zero - (rate + by_area)
        by_iw, by_ih = (by_inter * ih, by_inter * iw) if meet else (zero, zero)
        by_wa, by_ha = by_area * ha + by_wa, by_area * wa + by_ha
        by_wb, by_hb = by_area * hb + by_wb, by_area * wb + by_hb
        grad1[i, 0] = (dx - (by_wa + _pick(ax1, bx1, by_iw, by_cw, half))) * scale
        grad1[i, 1] = (dy - (by_ha + _pick(ay1, by1, by_ih, by_ch, half))) * scale
        grad1[i, 2] = (dx + (by_wa + _pick(bx2, ax2, by_iw, by_cw, half))) * scale
        grad1[i, 3] = (dy + (by_ha + _pick(by2, ay2, by_ih, by_ch, half))) * scale
        grad2[i, 0] = ((zero - dx) - (by_wb + _pick(bx1, ax1, by_iw, by_cw, half))) * scale
        grad2[i, 1] = ((zero - dy) - (by_hb + _pick(by1, ay1, by_ih, by_ch, half))) * scale
        grad2[i, 2] = ((by_wb + _pick(ax2, bx2, by_iw, by_cw, half)) - dx) * scale
        grad2[i, 3] = ((by_hb + _pick(ay2, by2, by_ih, by_ch, half)) - dy) * scale


def sigmoid_focal_loss(
    inputs: Array, targets: Array, alpha: float, gamma: float, reduction: str, grad: bool
) -> tuple[Array, Array | None]:
    x, t = plain(widen(inputs)), plain(widen(targets))
    loss = np.empty(x.size, x.dtype)
    slope = np.empty(x.size if grad else 0, x.dtype)
    weights = (alpha, 1 - alpha) if alpha >= 0 else (1.0, 1.0)
    constants = [typed(x.dtype, value) for value in (*weights, gamma, share(x.size, reduction))]
    series = tuple(x.dtype.type(c) for c in SERIES[x.dtype.char])
    args: Any = x.reshape(-1), t.reshape(-1), *constants, series, loss, slope
    _focal(*args)
    reduced = narrow(loss, inputs.dtype).reshape(x.shape) if reduction == "none" else mean_or_sum(loss, reduction)
    return reduced, narrow(slope, inputs.dtype).reshape(x.shape) if grad else None


@jit
def _focal(
    inputs: Array, targets: Array, alpha: Any, beta: Any, gamma: Any, scale: Any, series: Any, loss: Array, grad: Array
) -> None:
    """`sigmoid_focal_loss_reference`, one value after the other."""
    zero, one = inputs.dtype.type(0), inputs.dtype.type(1)
    two = one + one
    for i in range(len(inputs)):
        x, t = inputs[i], targets[i]
        positive = x >= zero
        size = x if positive else zero - x
        wrong = one - t if positive else t
        e = exp_or_zero(zero - size)
        s, s2 = one + e, two + e
        both = one / (s * s2)
        likely, z = s2 * both, (e * s) * both
        unlikely = e * likely
        u = z * z
        p = series[-1]
        for k in range(len(series) - 2, -1, -1):
            p = p * u + series[k]
        log1p = (z + z) + z * (u * p)
        ce = log1p + (zero if wrong <= zero else wrong * size)
        q = likely * wrong + unlikely * (one - wrong)
        if gamma == zero:
            power, by_q = one, zero
        elif gamma == one:
            power, by_q = q, one
        elif gamma == two:
            power, by_q = q * q, q + q
        else:
            power = exp_or_zero(gamma * log_positive(q))
            by_q = gamma * (power / q)
        weight = alpha * t + beta * (one - t)
        loss[i] = weight * (ce * power)
        if len(grad):
            turn = ((wrong + wrong) - one) * (likely * unlikely)
            slope = power * (wrong - unlikely) + (ce * by_q * turn if unlikely > zero else zero)
            slope = (weight * slope) * scale
            grad[i] = slope if positive else zero - slope
