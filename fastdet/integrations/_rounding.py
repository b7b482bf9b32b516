"""Thresholds that are compared with numbers of a smaller dtype."""

from __future__ import annotations

from typing import Any

import numpy as np


def just_below(x: Any) -> Any:
    """The largest number of ``x``'s dtype that is smaller."""
    return np.nextafter(x, type(x)(-np.inf))


def floor_float32(value: float) -> np.float32:
    """The largest float32 that is not above ``value``: a float32 is above the one exactly if it is above the other."""
    single = np.float32(value)
    return single if float(single) <= value else just_below(single)
