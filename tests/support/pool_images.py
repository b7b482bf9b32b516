"""Images and windows for tests of pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
from samples import Array

# kernel, stride, padding, ceil_mode; tests use sizes that the windows do not divide
WINDOWS: dict[str, tuple[Any, Any, Any, bool]] = {
    "2x2": (2, None, 0, False),
    "3x3/2": (3, 2, 1, False),
    "ceil": (2, None, 0, True),
    "oblong": ((1, 3), (2, 1), (0, 1), False),
    "apart": (2, 3, 1, True),
}


def image(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few values, so that there are ties; signed zeros, infinities and NaN."""
    x = rng.integers(-3, 4, shape).astype(np.float64)
    x[rng.random(shape) < 0.1] = -0.0
    x[rng.random(shape) < 0.3] = -np.inf
    x[rng.random(shape) < 0.05] = np.nan
    return x


def channels_last(x: Any) -> Any:
    """The same values, with the channels of a pixel side by side in memory."""
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
