"""Label maps for tests of SegmentationMetrics, also in processes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_rows

from fastdet.segmentation import ConfusionMatrix, SegmentationMetrics


def maps(seed: int, shape: tuple[int, ...] = (4, 9, 11), classes: int = 5, void: int | None = 255) -> Any:
    """A target, and a prediction that is right for about two of three pixels. Neither has class 3."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, shape)
    prediction = np.where(rng.random(shape) < 0.67, target, rng.integers(0, classes, shape))
    target, prediction = (np.where(x == 3, 1, x).astype(np.uint8) for x in (target, prediction))
    if void is not None:
        target[rng.random(shape) < 0.1] = void
        prediction[rng.random(shape) < 0.05] = void
    return target, prediction


def state(metrics: SegmentationMetrics) -> bytes:
    return metrics.to_bytes()


def equal(got: Any, want: Any) -> None:
    """`op_rows.equal`; of confusion matrices the counts alone, as plain arrays."""
    op_rows.equal(*(np.asarray(x) if isinstance(x, ConfusionMatrix) else x for x in (got, want)))


def same(a: Any, b: Any) -> None:
    """Equal figures, NaN where NaN is, of equal types."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


TARGET = np.array([[0, 0, 0, 1], [1, 1, 9, 9]])
PREDICTION = np.array([[0, 0, 1, 1], [1, 9, 1, 9]])
