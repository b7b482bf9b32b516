"""Tversky loss, with its gradient in one pass."""

from __future__ import annotations

from typing import Any

from fastdet._core import check
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.losses.dice import overlap_loss
from fastdet.losses.pixels import Pixels


def tversky_loss(
    logits: Any,
    target: Any,
    alpha: float = 0.5,
    beta: float = 0.5,
    ignore_index: int = -100,
    eps: float = 1.0,
    *,
    backend: str | None = None,
) -> Any:
    """Tversky loss of a softmax: 1 - mean over classes of (TP + eps) / (TP + alpha FP + beta FN + eps).

    TP = sum p t, FP = sum p (1 - t) and FN = sum (1 - p) t, with the probability p of the class and t 1 where the pixel
    is of it, else 0; the sums run over all counted pixels of the batch. A beta above alpha favours recall. alpha = beta
    = 0.5 is the Dice loss of twice the eps, alpha = beta = 1 the Jaccard (IoU) loss. All else as in `dice_loss`.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    alpha : float of 0 or more, weight of false positives
    beta : float of 0 or more, weight of false negatives
    ignore_index : label of pixels that do not count; may lie in [0, C)
    eps : float above 0, pixels

    Returns
    -------
    loss : () float in [0, 1], the dtype of the logits

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, alpha or beta below 0, eps that is not above 0

    Notes
    -----
    Source: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
    2017.

    Examples
    --------
    >>> logits = np.log([[1.0, 3.0], [2.0, 2.0]])  # probabilities 1/4 3/4 and 1/2 1/2
    >>> float(tversky_loss(logits, np.array([0, 1]), alpha=0.3, beta=0.7).round(3))
    0.314
    """
    if (ops := registered(__name__, logits, target)) is not None:
        return ops.tversky_loss(logits, target, alpha, beta, ignore_index, eps, backend)
    loss, _ = _tversky("tversky_loss", logits, target, alpha, beta, ignore_index, eps, False, backend)
    return loss


def tversky_loss_with_grad(
    logits: Any,
    target: Any,
    alpha: float = 0.5,
    beta: float = 0.5,
    ignore_index: int = -100,
    eps: float = 1.0,
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`tversky_loss` and its gradient for the logits, in two passes that keep no probabilities.

    Parameters and errors as in `tversky_loss`.

    Returns
    -------
    loss : as `tversky_loss` returns it
    grad : of the logits' shape, dtype and layout
    """
    return _tversky("tversky_loss_with_grad", logits, target, alpha, beta, ignore_index, eps, True, backend)


def _tversky(
    op: str,
    logits: Any,
    target: Any,
    alpha: float,
    beta: float,
    ignore_index: int,
    eps: float,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    x = Pixels(op, logits, target, ignore_index)
    positive, negative = check.non_negative(op, "alpha", alpha), check.non_negative(op, "beta", beta)
    added = check.positive(op, "eps", eps)
    function = x.function("tversky_loss", backend, tversky_loss_reference)
    return x.results(function(x.logits, x.last, x.labels, x.ignore, positive, negative, added, gradient), True)


def tversky_loss_reference(
    logits: Array, last: bool, target: Array, ignore: int | None, alpha: float, beta: float, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    return overlap_loss(logits, last, target, ignore, (alpha, beta), eps, gradient)
