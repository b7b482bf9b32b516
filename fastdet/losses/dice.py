"""Dice loss, with its gradient in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero
from fastdet._core.sums import ordered_sums
from fastdet.losses.pixels import (
    CHUNK,
    DICE_LANES,
    Pixels,
    as_planes,
    as_stored,
    chunked,
    class_max,
    class_numbers,
    clear_uncounted,
    in_order,
)


def dice_loss(
    logits: Any, target: Any, ignore_index: int = -100, eps: float = 1.0, *, backend: str | None = None
) -> Any:
    """Soft Dice loss of a softmax: 1 - mean over classes of (2 sum p t + eps) / (sum p + sum t + eps).

    p is the probability of the class and t 1 where the pixel is of it, else 0; the sums run over all counted pixels
    of the batch, not image by image. Milletari et al. 2016 square p and t in the denominator; this is the form
    without squares (Sudre et al. 2017; MONAI's and segmentation_models' default). Every class counts alike, also a
    class without pixels: its score is eps / (sum p + eps), which is 1 where it is not predicted either.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    ignore_index : label of pixels that do not count; may lie in [0, C)
    eps : float above 0, pixels

    Returns
    -------
    loss : () float in [0, 1], the dtype of the logits

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, eps that is not above 0

    Examples
    --------
    >>> float(dice_loss(np.log([[1.0, 3.0], [2.0, 2.0]]), np.array([0, 1])).round(3))
    0.42
    """
    if (ops := registered(__name__, logits, target)) is not None:
        return ops.dice_loss(logits, target, ignore_index, eps, backend)
    loss, _ = _dice("dice_loss", logits, target, ignore_index, eps, False, backend)
    return loss


def dice_loss_with_grad(
    logits: Any, target: Any, ignore_index: int = -100, eps: float = 1.0, *, backend: str | None = None
) -> tuple[Any, Any]:
    """`dice_loss` and its gradient for the logits, in two passes that keep no probabilities.

    Parameters and errors as in `dice_loss`.

    Returns
    -------
    loss : as `dice_loss` returns it
    grad : of the logits' shape, dtype and layout
    """
    return _dice("dice_loss_with_grad", logits, target, ignore_index, eps, True, backend)


def _dice(
    op: str, logits: Any, target: Any, ignore_index: int, eps: float, gradient: bool, backend: str | None
) -> tuple[Any, Any]:
    x = Pixels(op, logits, target, ignore_index)
    added = check.positive(op, "eps", eps)
    function = x.function("dice_loss", backend, dice_loss_reference)
    return x.results(function(x.logits, x.last, x.labels, x.ignore, added, gradient), True)


def dice_loss_reference(
    logits: Array, last: bool, target: Array, ignore: int | None, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    return overlap_loss(logits, last, target, ignore, None, eps, gradient)


def class_scores(
    probability: Array, both: Array, counts: Array, tversky: tuple[float, float] | None, eps: float
) -> tuple[Array, Array, Array]:
    """The score of each class, and the derivatives of the loss, but for the number of classes: by the probability of
    every pixel, and by that of a pixel of the class more. ``tversky``: alpha and beta; None for Dice."""
    with np.errstate(all="ignore"):
        if tversky is None:
            above, below = 2 * both + eps, (probability + counts) + eps
            return above / below, above / (below * below), -2 / below
        alpha, beta = tversky
        above = both + eps
        below = ((both + alpha * (probability - both)) + beta * (counts - both)) + eps
        rate = above / (below * below)
        return above / below, alpha * rate, ((1 - alpha) - beta) * rate - 1 / below


def overlap_loss(
    logits: Array,
    last: bool,
    target: Array,
    ignore: int | None,
    tversky: tuple[float, float] | None,
    eps: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    """The loss, the gradient and the number of pixels that count; or the position of a label out of range."""
    x = as_planes(logits, last)
    one, classes = x.dtype.type, x.shape[1]
    label = class_numbers(target, ignore, classes)
    if isinstance(label, int):
        return label
    counts = np.bincount(label.ravel(), minlength=classes + 1)[:classes].astype(np.float64)
    here = label < classes
    own = np.where(here, label, 0)[:, None]
    with np.errstate(all="ignore"):
        e = exp_or_zero(x - class_max(x))
        inverse = here.astype(x.dtype) / clear_uncounted(e, here)
        p = e * inverse[:, None]
        p_own = np.where(here, np.take_along_axis(p, own, 1)[:, 0], one(0))
        by_chunk = np.moveaxis(chunked(p, DICE_LANES), 1, 0).reshape(classes, -1)
        chunk = np.arange(len(x))[:, None] * -(-x.shape[2] // CHUNK) + np.arange(x.shape[2]) // CHUNK
        both_by_chunk = np.bincount(
            (label + (classes + 1) * chunk).ravel(), p_own.ravel(), (classes + 1) * by_chunk.shape[1]
        ).reshape(-1, classes + 1)[:, :classes]
        score, slope, bonus = class_scores(ordered_sums(by_chunk), ordered_sums(both_by_chunk.T), counts, tversky, eps)
        loss = 1 - float(in_order(score)) / classes
        grad = None
        if gradient:
            slope = (slope / classes).astype(x.dtype)
            bonus = np.append((bonus / classes).astype(x.dtype), one(0))[label]
            extra = np.take_along_axis(e, own, 1)[:, 0] * bonus
            mean = np.where(here, (in_order(e * slope[:, None], 1) + extra) * inverse, one(0))
            grad = p * (slope[:, None] - mean[:, None])
            more = np.take_along_axis(grad, own, 1)
            np.put_along_axis(grad, own, np.where(here[:, None], more + (extra * inverse)[:, None], more), 1)
            grad = as_stored(grad, logits, last)
    return loss, grad, float(counts.sum())
