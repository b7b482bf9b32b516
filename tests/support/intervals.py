"""Confidence intervals as the documentation describes them, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np


def basic(draws: Any, estimate: Any, without: Any, level: float) -> Any:
    """(2, ...) ends from known values (resamples, ...), and those without each image (images, ...), NaN if unknown."""
    draws, without = np.asarray(draws, float), np.asarray(without, float)
    low, middle, high = np.nanquantile(draws, [0.5 - level / 2, 0.5, 0.5 + level / 2], axis=0)
    wanted = np.sqrt((len(without) - 1) * np.nanmean((without - np.nanmean(without, axis=0)) ** 2, axis=0))
    spread = np.nanstd(draws, axis=0)  # 0 where all draws are equal: nothing to stretch
    stretch = np.maximum(wanted / np.where(spread > 0, spread, np.inf), 1)
    ends = [2 * estimate - middle - (high - middle) * stretch, 2 * estimate - middle + (middle - low) * stretch]
    ends = np.clip(ends, 0, 1)
    return np.array([np.minimum(ends[0], estimate), np.maximum(ends[1], estimate)])
