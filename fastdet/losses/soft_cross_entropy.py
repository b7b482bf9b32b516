"""The reference of cross-entropy against probabilities of classes: `cross_entropy` with a target of floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import exp_or_zero, log_positive
from fastdet._core.sums import ordered_sum
from fastdet.losses.pixels import SUM_LANES, as_planes, as_stored, chunked, class_max, in_order


def soft_cross_entropy_reference(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Any, Array | None, float]:
    """The loss, the gradient and the number of pixels. csrc's soft_pixel.h has the same operations in the same order.

    ``target``: of the logits' shape and layout, in the dtype of the computation.
    """
    x, t = as_planes(logits, last), as_planes(target, last)
    one, classes, count = x.dtype.type, x.shape[1], x.shape[0] * x.shape[2]
    scale = one(1 / count if reduction == "mean" and count else 1.0)
    with np.errstate(all="ignore"):
        if label_smoothing > 0:
            t = one(1 - label_smoothing) * t + one(label_smoothing / classes)
        a = weight[:, None] * t
        z = x - class_max(x)
        e = exp_or_zero(z)
        highest = e >= 1
        rest = in_order(np.where(highest, one(0), e), 1)
        ties = in_order(np.where(highest, one(1), one(0)), 1)
        total = rest + ties
        log_total = log_positive(total) + (rest - (total - ties)) / total
        share, weighted = in_order(a, 1), in_order(np.where(a == 0, one(0), a * z), 1)
        nothing = share == 0
        loss = np.where(nothing, one(0), share * log_total - weighted)
        grad = None
        if gradient:
            factor = scale / total
            others = np.where(highest, (rest + (ties - one(1)))[:, None], total[:, None] - e)
            grad = (e * (share[:, None] - a) - a * others) * factor[:, None]
            grad = as_stored(np.where(nothing[:, None], one(0), grad), logits, last)
        if reduction == "none":
            return loss, grad, float(count)
        result = float(ordered_sum(chunked(loss.astype(np.float64), SUM_LANES)))
    return result / count if reduction == "mean" and count else result, grad, float(count)
