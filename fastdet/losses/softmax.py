"""Cross-entropy and focal loss, each with its gradient in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import quick_cuda
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero, log_positive
from fastdet._core.sums import ordered_sum
from fastdet.losses.pixels import (
    SUM_LANES,
    Pixels,
    as_planes,
    as_stored,
    chunked,
    class_max,
    class_numbers,
    clear_uncounted,
    in_order,
)
from fastdet.losses.reduction import REDUCTIONS
from fastdet.losses.soft_cross_entropy import soft_cross_entropy_reference


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    backend: str | None = None,
) -> Any:
    """Cross-entropy of a softmax: -w_t log p_t for a pixel of class t, as torch.nn.functional.cross_entropy.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers; or float of the logits' shape, probabilities of classes:
        see Notes
    weight : (C,) float of 0 or more; None for 1
    ignore_index : label of pixels that do not count; may lie in [0, C)
    reduction : "mean", the sum over the counted pixels divided by the sum of their w_t; "sum"; "none"
    label_smoothing : e in [0, 1]: the target is 1 - e for class t, and e / C more for every class; the loss of a pixel
        is -(1 - e) w_t log p_t - e / C sum_c w_c log p_c

    Returns
    -------
    loss : () float, the dtype of the logits; for "none" the target's shape

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, a weight that is negative, infinite or NaN, label_smoothing outside [0, 1];
        an ignore_index where the target holds probabilities

    Notes
    -----
    Probabilities t_c of classes (labels of several raters, another network's answer, mixed images): the loss of a pixel
    is -sum_c w_c t_c log p_c; label smoothing e makes t_c (1 - e) + e / C of t_c first. As in torch, "mean" divides by
    the number of pixels, whatever their weights are. The values of t are not checked; they should be in [0, 1] and have
    the sum 1. A pixel whose w_c t_c are all 0 has loss and gradient 0, whatever its logits are. The gradient is the
    logits' alone.

    Examples
    --------
    >>> logits = np.log([[1.0, 3.0], [2.0, 2.0]])  # probabilities 1/4 3/4 and 1/2 1/2
    >>> cross_entropy(logits, np.array([0, 1]), reduction="none").round(3)
    array([1.386, 0.693])
    >>> cross_entropy(logits, np.array([[1, 0], [0.5, 0.5]]), reduction="none").round(3)  # probabilities
    array([1.386, 0.693])
    """
    if (ops := registered(__name__, logits, target, weight)) is not None:
        return ops.cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing, backend)
    loss, _ = _cross_entropy(
        "cross_entropy", logits, target, weight, ignore_index, reduction, label_smoothing, False, backend
    )
    return loss


def cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`cross_entropy` and its gradient for the logits, in one pass that keeps no probabilities.

    Parameters and errors as in `cross_entropy`.

    Returns
    -------
    loss : as `cross_entropy` returns it
    grad : of the logits' shape, dtype and layout; for reduction "none" that of loss.sum(): multiply it by the upstream
        gradients of the pixels

    Examples
    --------
    >>> loss, grad = cross_entropy_with_grad(np.log([[1.0, 3.0], [2.0, 2.0]]), np.array([0, 1]))
    >>> grad
    array([[-0.375,  0.375],
           [ 0.25 , -0.25 ]])
    """
    return _cross_entropy(
        "cross_entropy_with_grad", logits, target, weight, ignore_index, reduction, label_smoothing, True, backend
    )


def focal_loss(
    logits: Any,
    target: Any,
    alpha: Any = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    backend: str | None = None,
) -> Any:
    """Focal loss of a softmax (Lin et al. 2017, multi-class): -a_t (1 - p_t)^gamma log p_t for a pixel of class t.

    With gamma = 0 it equals `cross_entropy` with weight = alpha, to the last bit; so "mean" divides by the sum of a_t
    over the counted pixels. 1 - p_t is computed as the sum of the other classes' probabilities: exact to a few ulp,
    also where p_t is near 1. A gamma that is no integer costs one more logarithm and exponential for each pixel, and
    its power is exact to about |log(1 - p_t)| ulp.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    alpha : (C,) float of 0 or more, or one number for all classes (which cancels out in a mean); None for 1
    gamma : float of 0 or more
    ignore_index : label of pixels that do not count; may lie in [0, C)
    reduction : "mean", the sum over the counted pixels divided by the sum of their a_t; "sum"; "none"

    Returns
    -------
    loss : () float, the dtype of the logits; for "none" the target's shape

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, alpha or gamma that is negative, infinite or NaN

    Examples
    --------
    >>> logits = np.log([[1.0, 3.0], [2.0, 2.0]])  # probabilities 1/4 3/4 and 1/2 1/2
    >>> focal_loss(logits, np.array([0, 1]), reduction="none").round(3)
    array([0.78 , 0.173])
    """
    if (ops := registered(__name__, logits, target, alpha)) is not None:
        return ops.focal_loss(logits, target, alpha, gamma, ignore_index, reduction, backend)
    loss, _ = _focal("focal_loss", logits, target, alpha, gamma, ignore_index, reduction, False, backend)
    return loss


def focal_loss_with_grad(
    logits: Any,
    target: Any,
    alpha: Any = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`focal_loss` and its gradient for the logits, in one pass; results as of `cross_entropy_with_grad`."""
    return _focal("focal_loss_with_grad", logits, target, alpha, gamma, ignore_index, reduction, True, backend)


def _cross_entropy(
    op: str,
    logits: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    if (quick := quick_cuda(logits, backend)) is not None and weight is None and reduction in REDUCTIONS:
        results = quick.cross_entropy(logits, target, ignore_index, reduction, label_smoothing, gradient)
        if results is not None:
            return results
    x = Pixels(op, logits, target, ignore_index, probabilities=True)
    weights, smoothing = x.weights("weight", weight), check.unit(op, "label_smoothing", label_smoothing)
    check.choice(op, "reduction", reduction, REDUCTIONS)
    if x.soft:
        function = x.function("soft_cross_entropy", backend, soft_cross_entropy_reference, weights)
        return x.results(
            function(x.logits, x.last, x.labels, weights, reduction, smoothing, gradient), reduction == "mean"
        )
    function = x.function("cross_entropy", backend, cross_entropy_reference, weights)
    answer = function(x.logits, x.last, x.labels, weights, x.ignore, reduction, smoothing, gradient)
    return x.results(answer, reduction == "mean")


def _focal(
    op: str,
    logits: Any,
    target: Any,
    alpha: Any,
    gamma: float,
    ignore_index: int,
    reduction: str,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    x = Pixels(op, logits, target, ignore_index)
    if alpha is not None and np.ndim(alpha) == 0:
        weights = x.same_weights("alpha", check.number(op, "alpha", alpha))
    else:
        weights = x.weights("alpha", alpha)
    power = check.non_negative(op, "gamma", gamma)
    check.choice(op, "reduction", reduction, REDUCTIONS)
    if power == 0:
        function = x.function("cross_entropy", backend, cross_entropy_reference, weights)
        answer = function(x.logits, x.last, x.labels, weights, x.ignore, reduction, 0.0, gradient)
    else:
        function = x.function("focal_loss", backend, focal_loss_reference, weights)
        power = min(power, 2.0**30)  # (1 - p)^gamma is 0 or 1 for any larger gamma
        answer = function(x.logits, x.last, x.labels, weights, power, x.ignore, reduction, gradient)
    return x.results(answer, reduction == "mean")


def cross_entropy_reference(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    return _softmax_loss(logits, last, target, weight, ignore, reduction, label_smoothing, None, gradient)


def focal_loss_reference(
    logits: Array,
    last: bool,
    target: Array,
    alpha: Array,
    gamma: float,
    ignore: int | None,
    reduction: str,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    return _softmax_loss(logits, last, target, alpha, ignore, reduction, 0.0, gamma, gradient)


def _softmax_loss(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gamma: float | None,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    """The loss, the gradient and the divisor of a mean; or the position of a label that is out of range.

    csrc's losses.cpp has the same operations in the same order, and explains them.
    """
    x = as_planes(logits, last)
    one, classes = x.dtype.type, x.shape[1]
    label = class_numbers(target, ignore, classes)
    if isinstance(label, int):
        return label
    counts = np.bincount(label.ravel(), minlength=classes + 1)[:classes]
    divisor = float(in_order(counts * weight.astype(np.float64)))
    scale = one((1 / divisor if divisor > 0 else 0.0) if reduction == "mean" else 1.0)
    here, w = label < classes, np.append(weight, one(0))[label]
    own = np.where(here, label, 0)[:, None]
    with np.errstate(all="ignore"):
        z = x - class_max(x)
        z_own = np.take_along_axis(z, own, 1)[:, 0]
        others = x.copy()
        np.put_along_axis(others, own, np.where(here[:, None], one(-np.inf), np.take_along_axis(x, own, 1)), 1)
        e = exp_or_zero(others - class_max(x))
        rest = clear_uncounted(e, here if label_smoothing > 0 else w > 0)
        e_own = exp_or_zero(z_own)
        total = rest + e_own
        log_total = log_positive(total)
        nll = log_total + np.where(z_own >= 0, (rest - (total - one(1))) / total, one(0) - z_own)
        if label_smoothing > 0:
            keep, smooth = one(1 - label_smoothing), one(label_smoothing / classes)
            weight_sum = one(in_order(weight.astype(np.float64)))
            mine, others = keep * w, smooth * weight_sum
            both = mine + others
            loss = mine * nll + smooth * (weight_sum * log_total - in_order(weight[:, None] * z, 1))
            loss, factor = np.where(here, loss, one(0)), np.where(here, (both * scale) / total, one(0))
            mine = np.where(both > 0, (others * e_own - mine * rest) / both, one(0))
        else:
            loss, factor, mine = w * nll, w * scale, one(0) - rest
            if gamma is not None:
                p, q = e_own / total, rest / total
                modulation = _power(q, int(gamma), one(gamma - int(gamma)))
                ratio = np.where(q > 0, np.where(p > 0, p * nll, one(0)) / q, one(1))
                loss = modulation * loss
                factor = (modulation * factor) * (one(1) + one(gamma) * ratio)
            loss, factor = np.where(w > 0, loss, one(0)), np.where(w > 0, factor / total, one(0))
        grad = None
        if gradient:
            np.put_along_axis(e, own, np.where(here[:, None], mine[:, None], np.take_along_axis(e, own, 1)), 1)
            grad = e * factor[:, None]
            if label_smoothing > 0:
                grad -= ((smooth * weight) * scale)[:, None] * here[:, None].astype(x.dtype)
            grad = as_stored(grad, logits, last)
        if reduction == "none":
            return loss, grad, divisor
        result = float(ordered_sum(chunked(loss.astype(np.float64), SUM_LANES)))
    if reduction == "mean":
        result = result / divisor if divisor > 0 else 0.0
    return result, grad, divisor


def _power(x: Array, whole: int, fraction: Any) -> Array:
    """x^(whole + fraction) for x in [0, 1]: an integer power by squaring."""
    result, square = np.ones_like(x), x
    while whole:
        if whole & 1:
            result = result * square
        square, whole = square * square, whole >> 1
    return result * exp_or_zero(fraction * log_positive(x)) if fraction > 0 else result
