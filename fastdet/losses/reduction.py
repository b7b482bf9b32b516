"""The reduction of the losses of single items to the loss that is returned: none, mean, sum."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet._core.sums import ordered_sum

REDUCTIONS = ("none", "mean", "sum")


def share(count: int, reduction: str) -> float:
    """The factor of the gradient of each item: 1 / count for a mean, else 1."""
    return 1.0 / count if reduction == "mean" and count else 1.0


def mean_or_sum(loss: Array, reduction: str) -> Array:
    """The mean or sum in float64, as a 0-d array; the mean of no items is 0."""
    with np.errstate(all="ignore"):
        return np.asarray(ordered_sum(loss) / (loss.size if reduction == "mean" and loss.size else 1))


def reduce(loss: Array, reduction: str) -> Array:
    """The losses as they are, or their sum or mean as a 0-d array of their dtype."""
    if reduction == "none":
        return loss
    with np.errstate(all="ignore"):
        return mean_or_sum(loss, reduction).astype(loss.dtype)
