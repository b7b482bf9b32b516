"""Cross-entropy of the pixels with the highest losses alone (online hard example mining), with its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.sums import ordered_sum
from fastdet.losses import _check
from fastdet.losses.pixels import Pixels, class_numbers
from fastdet.losses.softmax import cross_entropy_reference


def ohem_cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    fraction: float = 0.25,
    min_kept: int = 1,
    threshold: float | None = None,
    *,
    backend: str | None = None,
) -> Any:
    """Mean cross-entropy of the hardest pixels: OHEM, also known as top-k cross-entropy.

    Of the n pixels that count, those with the highest losses are kept: max(floor(fraction * n), min_kept) of them, or
    all n; with a threshold also every other pixel whose loss is above it. The result is the sum of their losses divided
    by their number, not by their weights.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    weight : (C,) float of 0 or more; None for 1. The losses -w_t log p_t are compared with their weights
    ignore_index : label of pixels that do not count; may lie in [0, C). A class of weight 0 does not count either
    fraction : float in [0, 1], of the pixels of the whole batch that count
    min_kept : integer of 1 or more, pixels of the whole batch
    threshold : float of 0 or more, a loss; -log(0.7) keeps every pixel whose class has a probability below 0.7. None
        for none

    Returns
    -------
    loss : () float, the dtype of the logits; 0 with a RuntimeWarning where no pixel counts

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, a wrong weight, fraction, min_kept or threshold

    Notes
    -----
    Of equal losses the pixel that comes first is kept. A loss that is NaN is among the highest, and makes the result
    NaN. The choice of the pixels has no gradient. The whole batch must have fewer than 2^31 pixels.
    Source: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", 2016; Wu et
    al., "Bridging Category-level and Instance-level Semantic Image Segmentation", 2016. nnU-Net's top-k loss and
    DeepLab's ``top_k_percent_pixels`` are ``fraction`` alone (they count ignored pixels in n, too); BiSeNet's OHEM is
    threshold=-log(0.7) with fraction=1/16.

    Examples
    --------
    >>> logits = np.log([[1.0, 3.0], [2.0, 2.0], [1.0, 1.0], [1.0, 9.0]])
    >>> target = np.array([0, 1, 0, 1])  # losses log 4, log 2, log 2, log 10/9
    >>> float(ohem_cross_entropy(logits, target, fraction=0.5).round(3))  # (log 4 + log 2) / 2
    1.04
    """
    if (ops := registered(__name__, logits, target, weight)) is not None:
        return ops.ohem_cross_entropy(logits, target, weight, ignore_index, fraction, min_kept, threshold, backend)
    options = weight, ignore_index, fraction, min_kept, threshold
    return _ohem("ohem_cross_entropy", logits, target, *options, False, backend)[0]


def ohem_cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    fraction: float = 0.25,
    min_kept: int = 1,
    threshold: float | None = None,
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`ohem_cross_entropy` and its gradient for the logits, in two passes: the choice of the pixels, then the gradient.

    Parameters and errors as in `ohem_cross_entropy`.

    Returns
    -------
    loss : as `ohem_cross_entropy` returns it
    grad : of the logits' shape, dtype and layout; 0 for pixels that are not kept
    """
    options = weight, ignore_index, fraction, min_kept, threshold
    return _ohem("ohem_cross_entropy_with_grad", logits, target, *options, True, backend)


def _ohem(
    op: str,
    logits: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    fraction: float,
    min_kept: int,
    threshold: float | None,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    x = Pixels(op, logits, target, ignore_index)
    weights = x.weights("weight", weight)
    part, min_count = check.unit(op, "fraction", fraction), check.at_least_one(op, "min_kept", min_kept)
    limit = math.inf if threshold is None else check.non_negative(op, "threshold", threshold)
    _check.pixels(op, "target", x.labels.size)
    function = x.function("ohem_cross_entropy", backend, ohem_cross_entropy_reference, weights)
    return x.results(function(x.logits, x.last, x.labels, weights, x.ignore, part, min_count, limit, gradient), True)


def ohem_cross_entropy_reference(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    fraction: float,
    min_kept: int,
    threshold: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    """The loss, the gradient and the number of pixels that are kept; or the position of a label out of range."""
    first = cross_entropy_reference(logits, last, target, weight, ignore, "none", 0.0, False)
    if isinstance(first, int):
        return first
    loss, classes = first[0].ravel(), len(weight)
    one, label = weight.dtype.type, np.asarray(class_numbers(target, ignore, classes)).ravel()
    counted = np.flatnonzero(np.append(weight, one(0))[label] > 0)
    score = np.where(np.isnan(loss), one(np.inf), loss)[counted]
    min_count = min(len(counted), max(int(fraction * len(counted)), min_kept))
    with np.errstate(over="ignore"):
        keep = score > one(threshold)
    keep[np.argsort(-score, kind="stable")[:min_count]] = True
    kept = np.full(loss.size, -1, np.int32)
    kept[counted[keep]] = label[counted[keep]]
    number = int(keep.sum())
    total = float(ordered_sum(np.where(kept >= 0, loss, one(0))))
    grad = None
    if gradient:
        weights, labels = weight * one(1 / number if number else 0.0), kept.reshape(target.shape)
        second: Any = cross_entropy_reference(logits, last, labels, weights, -1, "sum", 0.0, True)
        grad = second[1]
    return total / number if number else 0.0, grad, float(number)
