"""Known answers of fusion, worked by hand, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastdet import nms


@pytest.fixture(params=["reference", "numba", "cpp"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def array(*rows: list[float], dtype: Any = np.float32) -> Any:
    return np.array(rows, dtype).reshape(-1, 4)


def test_merge(backend: str) -> None:
    """OverFeat: the best pair becomes its mean, and the mean can merge with a third box."""
    rows = array([0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60], [1, 1, 11, 11])
    got = nms.merge_boxes(rows, np.float32([0.5, 0.25, 2, 0.25]), 0.5, backend=backend)
    # IoU(0, 3) = IoU(1, 3) = 81 / 119, IoU(0, 1) = 80 / 120: 0 and 3 first, then their mean with 1
    np.testing.assert_array_equal(got.boxes, array([50, 50, 60, 60], [1.25, 0.25, 11.25, 10.25]))
    assert got.scores.tolist() == [2, 1]
    assert got.groups.tolist() == [1, 1, 0, 1]


def test_weighted_boxes_fusion(backend: str) -> None:
    """Two models: both see one object, the second sees another one; coordinates are weighted by score."""
    got = nms.weighted_boxes_fusion(
        [array([0, 0, 10, 10]), array([2, 0, 12, 10], [50, 50, 60, 60])],
        [np.float32([0.75]), np.float32([0.25, 0.5])],
        [np.array([1]), np.array([1, 1])],
        backend=backend,
    )
    np.testing.assert_array_equal(got[0], array([0.5, 0, 10.5, 10], [50, 50, 60, 60]))
    assert got[1].tolist() == [0.5, 0.25]  # (0.75 + 0.25) / 2, and 0.5 of one model in two
    assert got[2].tolist() == [1, 1]
