"""Known answers of fusion, worked by hand, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastdet import fusion, nms


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


CHAIN = array([0, 0, 10, 10], [6, 0, 16, 10], [3, 0, 13, 10], [40, 0, 50, 10])  # IoU(0, 2) = IoU(1, 2) = 70 / 130


def test_nmm(backend: str) -> None:
    """Box 2 joins box 0, and claims box 1 for it, which overlaps the union of both by 70 / 160 only."""
    got = fusion.nmm(CHAIN, np.float32([0.9, 0.7, 0.8, 0.6]), 0.5, backend=backend)
    assert [x.tolist() for x in got[2:]] == [[0, 3], [0, 0, 0, 1], [0, 2, 1, 3], [0, 2, 0, 3]]
    assert got.scores.tolist() == np.float32([0.9, 0.6]).tolist()
    np.testing.assert_array_equal(got.boxes, array([0, 0, 13, 10], [40, 0, 50, 10]))
    low = fusion.nmm(CHAIN, np.float32([0.9, 0.7, 0.8, 0.6]), 0.4, backend=backend)
    np.testing.assert_array_equal(low.boxes, array([0, 0, 16, 10], [40, 0, 50, 10]))


def test_greedy_nmm(backend: str) -> None:
    """Box 2 joins box 0 and claims no other."""
    got = fusion.greedy_nmm(CHAIN, np.float32([0.9, 0.7, 0.8, 0.6]), 0.5, backend=backend)
    assert [x.tolist() for x in got[2:]] == [[0, 1, 3], [0, 1, 0, 2], [0, 2, 1, 3], [0, 1, 0, 3]]
    np.testing.assert_array_equal(got.boxes, array([0, 0, 13, 10], [6, 0, 16, 10], [40, 0, 50, 10]))


def test_merging_of_equal_scores(backend: str) -> None:
    """Greedily the lower index claims; transitively a box claims its equal only."""
    rows, one = array([0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10]), np.ones(3)
    assert fusion.greedy_nmm(rows, one, 0.5, backend=backend).groups.tolist() == [0, 0, 0]
    assert fusion.nmm(rows, one, 0.5, backend=backend).groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize("op", [fusion.nmm, fusion.greedy_nmm])
def test_merging_at_the_threshold(backend: str, op: Any) -> None:
    """An IoU of a half, and an overlap of the smaller box of 1: no pair at the threshold is merged."""
    rows, scores = array([0, 0, 10, 10], [0, 0, 10, 5]), np.array([1.0, 0.5])
    assert op(rows, scores, 0.5, backend=backend).keep.tolist() == [0, 1]
    assert op(rows, scores, np.nextafter(np.float32(0.5), np.float32(0)), backend=backend).keep.tolist() == [0]
    assert op(rows, scores, 1.0, metric="ios", backend=backend).keep.tolist() == [0, 1]
    assert op(rows, scores, 0.9, metric="ios", backend=backend).keep.tolist() == [0]
    assert op(rows, scores, 0.1, idxs=[7, -7], backend=backend).keep.tolist() == [0, 1]
    assert [x.shape for x in op(rows[:0], scores[:0], 0.5, backend=backend)] == [(0, 4), *[(0,)] * 5]
