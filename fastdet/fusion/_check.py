"""Checks of box fusion's values."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastdet._core.check import Array


def finite(op: str, name: str, x: Array) -> None:
    """Raise ValueError for the first infinity; NaN is told apart before."""
    bad = np.isinf(x)
    if bad.any():
        infinite(op, name, x[bad][0], int(np.argwhere(bad)[0][0]))


def infinite(op: str, name: str, value: Any, index: int) -> NoReturn:
    """The one text for an infinity."""
    raise ValueError(f"{op}: {name} must be finite, got {value} at index {index}")
