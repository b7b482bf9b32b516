"""An image, networks and sliced arrays for tests of tiles and windows."""

from __future__ import annotations

import numpy as np
from samples import Array

RNG = np.random.default_rng(0)
IMAGE = RNG.random((3, 53, 71)).astype(np.float32)
PAD = {"mirror": "reflect", "edge": "edge", "zero": "constant"}


def valid(x: Array) -> Array:
    """A network of two valid 3 x 3 convolutions, each with a non-linear step: (n, 3, h, w) to (n, 3, h - 4, w - 4)."""
    weights = np.random.default_rng(1).standard_normal((2, 3, 3, 3)).astype(np.float32)
    for w in weights:
        height, width = x.shape[-2] - 2, x.shape[-1] - 2
        taps = [(y, t) for y in range(3) for t in range(3)]
        x = sum(x[..., y : y + height, t : t + width] * w[:, y, t, None, None] for y, t in taps)  # type: ignore[assignment]
        x = np.maximum(x, 0) + x[..., ::-1, :, :] * np.float32(0.25)
    return x


def padded(x: Array, margin: int, mode: str = "mirror") -> Array:
    return np.pad(x, ((0, 0), (margin, margin), (margin, margin)), mode=PAD[mode])  # type: ignore[call-overload]
