"""Inputs on which Soft-NMS once took time quadratic in the number of boxes: keyword arguments by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core.check import Array

Cliff = Callable[[int], dict[str, Any]]


def _apart(n: int, scale: float = 1.0) -> Array:
    """Boxes that do not overlap, in rows."""
    at, row = np.arange(n), int(np.sqrt(n))
    x, y = at % row * 10.0, at // row * 10.0
    return np.stack([x, y, x + 8, y + 8], axis=1) * scale


def _scores(n: int) -> Array:
    return np.random.default_rng(n).uniform(0.1, 1, n)


def _identical(n: int) -> Array:
    return np.tile([[0.0, 0, 10, 10]], (n, 1))


def _one_large(n: int) -> Array:
    boxes = _apart(n)
    boxes[0] = [0, 0, 1e7, 1e7]
    return boxes


def _crossing(n: int) -> Array:
    """Thin strips in two directions at random places: half of the pairs overlap, none by much."""
    corner = np.random.default_rng(n).uniform(0, 1000, (n, 2))
    size = np.where(np.arange(n)[:, None] % 2, [[1000, 0.01]], [[0.01, 1000]])
    return np.concatenate([corner, corner + size], axis=1)


def _nested(n: int) -> Array:
    half = 2.0 ** np.linspace(-300, 300, n)[:, None]
    return np.concatenate([-half, -half, half, half], axis=1)


def _infinite(n: int) -> Array:
    return np.tile([[-np.inf, -np.inf, np.inf, np.inf]], (n, 1))


def _some_far(n: int) -> Array:
    boxes = _apart(n)
    boxes[:1025] *= 2.0**505
    return boxes


SOFT_NMS_CLIFFS: dict[str, Cliff] = {
    "equal scores": lambda n: {"boxes": _apart(n), "scores": np.full(n, 0.5)},
    "one large": lambda n: {"boxes": _one_large(n), "scores": _scores(n)},
    "one large, gaussian": lambda n: {
        "boxes": _one_large(n),
        "scores": _scores(n),
        "method": "gaussian",
    },
    "identical, gaussian": lambda n: {
        "boxes": _identical(n),
        "scores": _scores(n),
        "method": "gaussian",
        "min_score": 0.0,
    },
    "identical, linear": lambda n: {"boxes": _identical(n), "scores": _scores(n), "min_score": 0.0},
    "crossing strips": lambda n: {"boxes": _crossing(n), "scores": _scores(n)},
    "nested": lambda n: {"boxes": _nested(n), "scores": _scores(n)},
    "infinite": lambda n: {"boxes": _infinite(n), "scores": _scores(n)},
    "far away": lambda n: {"boxes": _apart(n, 2.0**505), "scores": _scores(n)},
    "some far away": lambda n: {"boxes": _some_far(n), "scores": _scores(n)},
}

BATCHED_SOFT_NMS_CLIFFS: dict[str, Cliff] = {
    "one box a key": lambda n: {
        "boxes": _apart(n),
        "scores": np.full(n, 0.5),
        "idxs": np.arange(n),
    },
}
