"""Label maps that look like segmentations."""

from __future__ import annotations

import numpy as np
from samples import Array


def regions(rng: np.random.Generator, n: int, classes: int, longest: int) -> Array:
    """Runs of equal labels, as in a row of a label map."""
    return np.repeat(rng.integers(0, classes, n), rng.integers(1, longest + 1, n))[:n]
