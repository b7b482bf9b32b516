"""Sums in float64 in one fixed order, so that every backend and number of threads gives the same bits."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array


def ordered_sum(x: Array) -> np.float64:
    """The sum in float64: blocks of 1024 values, in each block one half added to the other until one value is left.

    csrc/core/sums.h adds in the same order.
    """
    total: np.float64 = ordered_sums(x.reshape(1, -1))[0]
    return total


def ordered_sums(x: Array) -> Array:
    """`ordered_sum` of each row."""
    sums: Array = x.astype(np.float64)
    with np.errstate(all="ignore"):
        while True:
            half = 1024
            padding = -sums.shape[1] % half if sums.shape[1] else half
            sums = np.pad(sums, ((0, 0), (0, padding))).reshape(len(sums), -1, half)
            while half > 1:
                half //= 2
                sums = sums[..., :half] + sums[..., half:]
            sums = sums[..., 0]
            if sums.shape[1] == 1:
                return sums[:, 0]
