"""Known answers of NMS and Soft-NMS: the lecture's rules, cases worked by hand, published numbers, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastdet import boxes, nms

DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TEN = [0.0, 0.0, 10.0, 10.0]


@pytest.fixture(params=["reference", "numba", "cpp"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def array(*rows: list[float], dtype: Any = np.float32) -> Any:
    return np.array(rows, dtype).reshape(-1, 4)


# NMS at 0.5: boxes, scores, kept indices.
NMS: dict[str, tuple[list[list[float]], list[float], list[int]]] = {
    "IoU just at the threshold stays": ([TEN, [0, 0, 5, 10]], [0.9, 0.8], [0, 1]),
    "IoU just above goes": ([TEN, [0, 0, 5.0001, 10]], [0.9, 0.8], [0]),
    "IoU 1/3": ([TEN, [5, 0, 15, 10]], [0.9, 0.8], [0, 1]),
    "IoU 0.4, though 0.57 with +1 pixel": ([[0, 0, 1, 1], [0, 0, 0.4, 1]], [0.9, 0.8], [0, 1]),
    "the same box four times, equal scores": ([TEN] * 4, [0.5] * 4, [0]),
    "four apart, equal scores": ([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(4)], [0.5] * 4, [0, 1, 2, 3]),
    "the better one second": ([TEN, [0, 0, 10, 9]], [0.8, 0.9], [1]),
    "two points, the same": ([[3, 3, 3, 3]] * 2, [0.9, 0.8], [0, 1]),
    "point inside": ([TEN, [5, 5, 5, 5]], [0.9, 0.8], [0, 1]),
    "inverted and proper": ([[10, 10, 0, 0], TEN], [0.9, 0.8], [0, 1]),
    "a chain: a hits b, b hits c": ([TEN, [3, 0, 13, 10], [6, 0, 16, 10]], [0.9, 0.8, 0.7], [0, 2]),
    "negative scores": ([TEN, [20, 0, 30, 10]], [-0.9, -0.1], [1, 0]),
    "infinite box": ([[0, 0, np.inf, 10], TEN], [0.9, 0.8], [0, 1]),
    "1e20": ([[0, 0, 1e20, 1e20], [0, 0, 1e20, 0.9e20]], [0.9, 0.8], [0]),
    "infinite score": ([TEN, TEN], [0.9, np.inf], [1]),
    "zeros of both signs are equal scores": ([TEN, [20, 0, 30, 10]], [-0.0, 0.0], [0, 1]),
    "nothing": ([], [], []),
}


@DTYPE
@pytest.mark.parametrize("case", NMS)
def test_nms(case: str, dtype: Any, backend: str) -> None:
    rows, score, want = NMS[case]
    keep = nms.nms(array(*rows, dtype=dtype), np.array(score, dtype), 0.5, backend=backend)
    assert keep.dtype == np.int64
    assert keep.tolist() == want


@DTYPE
def test_infinite_boxes(dtype: Any, backend: str) -> None:
    """IoU 0 with everything; relative to the smaller area, the part of a finite box that they cover; 0 of others."""
    rows = array([0, 0, np.inf, np.inf], [5, 5, 15, 15], [-5, 5, 5, 15], [-6, 5, 4, 15], [0, 0, np.inf, 8], dtype=dtype)
    score = np.arange(5, 0, -1).astype(dtype)
    assert nms.nms(rows, score, 0.0, backend=backend).tolist() == [0, 1, 2, 4]
    assert nms.nms(rows, score, 0.0, metric="ios", backend=backend).tolist() == [0, 4]
    assert nms.nms(rows, score, 0.5, metric="ios", backend=backend).tolist() == [0, 2, 4]
    covered = boxes.box_iou(rows[:1], rows, metric="ios", backend=backend)
    assert covered.tolist() == [[0.0, 1.0, 0.5, dtype(0.4), 0.0]]


@DTYPE
@pytest.mark.parametrize("k", range(1, 21))
def test_threshold_is_compared_in_the_boxes_dtype(k: int, dtype: Any, backend: str) -> None:
    """IoU k / 20 and the threshold k / 20 are one number in either dtype: equal, so the box stays."""
    pair = array([0, 0, 20, 1], [0, 0, k, 1], dtype=dtype)
    score = np.array([2, 1], dtype)
    assert nms.nms(pair, score, k / 20, backend=backend).tolist() == [0, 1]
    assert nms.nms(pair, score, k / 20 - 1e-3, backend=backend).tolist() == [0]


def test_threshold_0_and_1(backend: str) -> None:
    rows = array(TEN, TEN, [9.75, 9.75, 19, 19], [10, 0, 20, 9.75])
    score = np.float32([4, 3, 2, 1])
    assert nms.nms(rows, score, 0.0, backend=backend).tolist() == [0, 3]
    assert nms.nms(rows, score, 1.0, backend=backend).tolist() == [0, 1, 2, 3]


def test_options(backend: str) -> None:
    apart = array(*([20.0 * i, 0, 20.0 * i + 10, 10] for i in range(4)))
    score = np.float32([0.5, 0.25, 0.75, 0.25])
    assert nms.nms(apart, score, 0.5, score_threshold=0.25, backend=backend).tolist() == [2, 0]
    assert nms.nms(apart, score, 0.5, max_output=3, backend=backend).tolist() == [2, 0, 1]
    assert nms.nms(apart, score, 0.5, max_output=0, backend=backend).tolist() == []
    tiles = array([0, 0, 100, 100], [0, 0, 10, 10])
    assert nms.nms(tiles, score[:2], 0.5, backend=backend).tolist() == [0, 1]
    assert nms.nms(tiles, score[:2], 0.5, metric="ios", backend=backend).tolist() == [0]


def test_classes_are_keys(backend: str) -> None:
    """No offset of coordinates: neither far boxes nor infinite ones nor large keys meet by accident."""
    score = np.float32([0.9, 0.8])
    for second, key, want in (
        (TEN, [0, 1], [0, 1]),
        (TEN, [7, 7], [0]),
        (TEN, [-(2**62), 2**62], [0, 1]),
        ([-7680, -7680, -7670, -7670], [0, 1], [0, 1]),
        ([-11, -11, -1, -1], [0, 1], [0, 1]),
        ([0, 0, np.inf, 10], [0, 1], [0, 1]),
    ):
        assert nms.batched_nms(array(TEN, second), score, np.array(key), 0.5, backend=backend).tolist() == want


def test_half_precision_keeps_classes_apart(backend: str) -> None:
    """An offset of class x picture would overflow float16 here."""
    half = np.tile(np.float16([[500, 500, 1000, 1000]]), (90, 1))
    keep = nms.batched_nms(half, np.linspace(1, 0, 90, dtype=np.float16), np.arange(90), 0.5, backend=backend)
    assert keep.tolist() == list(range(90))


# Soft-NMS: the published vectors.
FOUR = [[6.0, 3, 8, 7], [3, 6, 9, 11], [3, 7, 10, 12], [1, 4, 13, 7]]
FOUR_SCORES = [0.6, 0.9, 0.7, 0.2]


@DTYPE
@pytest.mark.parametrize(
    ("method", "offset", "want"),
    [
        # mmcv's own test
        ("linear", 0, [0.9, 0.6, 0.29024392, 0.2]),
        ("gaussian", 0, [0.9, 0.59630775, 0.3527551, 0.18650459]),
        # the authors' code, whose widths and heights have +1
        ("linear", 1, [0.9, 0.6, 0.25454545, 0.2]),
        ("gaussian", 1, [0.9, 0.5836188, 0.30987316, 0.16846664]),
    ],
)
def test_soft_nms_published(method: str, offset: float, want: list[float], dtype: Any, backend: str) -> None:
    keep, score = nms.soft_nms(
        array(*FOUR, dtype=dtype), np.array(FOUR_SCORES, dtype), method=method, iou_threshold=0.3, sigma=0.5,
        min_score=0, offset=offset, backend=backend,
    )  # fmt: skip
    assert keep.tolist() == [1, 0, 2, 3]
    np.testing.assert_allclose(score, want, rtol=0, atol=5e-8)  # the vectors are float32


def test_soft_nms_selects_the_best_of_the_rescored(backend: str) -> None:
    """0.8 falls to 0.8 / 3 behind 0.3; and at IoU == threshold the linear weight does apply."""
    rows = array(TEN, [0, 0, 10, 15], [50, 50, 60, 60])
    keep, score = nms.soft_nms(rows, np.float32([0.9, 0.8, 0.3]), iou_threshold=0.3, backend=backend)
    assert keep.tolist() == [0, 2, 1]
    np.testing.assert_allclose(score, [0.9, 0.3, 0.8 / 3], rtol=1e-6)
    at = array(TEN, [0, 0, 5, 10])
    for t, want in ((0.5, 0.25), (0.6, 0.5)):
        assert nms.soft_nms(at, np.float32([1, 0.5]), iou_threshold=t, backend=backend)[1].tolist() == [1, want]


def test_soft_nms_limits(backend: str) -> None:
    same = array(TEN, TEN, [50, 50, 60, 60], [70, 70, 80, 80])
    score = np.float32([1, 0.9, 0.25, 0.5])
    keep, new = nms.soft_nms(same, score, min_score=0.25, backend=backend)
    assert keep.tolist() == [0, 3, 2]  # equal to min_score stays; a score of 0 goes
    assert new.tolist() == [1, 0.5, 0.25]
    assert nms.soft_nms(same, score, min_score=0, backend=backend)[0].tolist() == [0, 3, 2, 1]
    assert nms.soft_nms(same, score, max_output=2, backend=backend)[0].tolist() == [0, 3]
    keep, new = nms.batched_soft_nms(same, score, np.array([0, 1, 0, 0]), backend=backend)
    assert keep.tolist() == [0, 1, 3, 2]
    assert new.tolist() == np.float32([1, 0.9, 0.5, 0.25]).tolist()


def test_soft_nms_with_a_function() -> None:
    """The general rule s <- s f(IoU): a step is NMS, 1 - IoU above a threshold is the linear method."""
    rows, score = array(*FOUR, dtype=np.float64), np.array(FOUR_SCORES)
    keep, _ = nms.soft_nms(rows, score, method=lambda iou: float(iou <= 0.3))
    assert keep.tolist() == nms.nms(rows, score, 0.3).tolist()
    got = nms.soft_nms(rows, score, method=lambda iou: 1 - iou if iou >= 0.3 else 1.0)
    for g, w in zip(got, nms.soft_nms(rows, score, backend="reference"), strict=True):
        assert g.tolist() == w.tolist()


def test_multiclass(backend: str) -> None:
    """Two images, two classes; the first box wins class 0 of both images, padding after it."""
    rows = np.stack([array(TEN, [1, 0, 11, 10], [50, 50, 60, 60]), array(TEN, TEN, TEN)])
    score = np.float32([[[0.9, 0.1], [0.8, 0.2], [0.0, 0.5]], [[0.3, 0.3], [0.3, 0.4], [0.3, 0.3]]])
    got = nms.multiclass_nms(rows, score, 0.5, score_threshold=0.1, max_output=3, backend=backend)
    assert got.count.tolist() == [3, 2]
    assert got.labels.tolist() == [[0, 1, 1], [1, 0, -1]]
    assert got.scores.tolist() == np.float32([[0.9, 0.5, 0.2], [0.4, 0.3, 0]]).tolist()
    np.testing.assert_array_equal(got.boxes[0], rows[0][[0, 2, 1]])
    np.testing.assert_array_equal(got.boxes[1], array(TEN, TEN, [0, 0, 0, 0]))


def test_empty(backend: str) -> None:
    """Empty lists and arrays give empty results of the right dtypes and shapes."""
    none, score, key = array(), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert nms.nms([], [], 0.5, backend=backend).tolist() == []
    assert nms.batched_nms([], [], [], 0.5, backend=backend).tolist() == []
    assert boxes.box_iou([], [], iscrowd=[], backend=backend).shape == (0, 0)
    assert boxes.box_iou(none, array(TEN), backend=backend).shape == (0, 1)
    assert nms.batched_nms(none, score, key, 0.5, backend=backend).dtype == np.int64
    keep, new = nms.batched_soft_nms(none, score, key, backend=backend)
    assert (keep.dtype, new.dtype, len(keep)) == (np.int64, np.float32, 0)
    merged = nms.merge_boxes(none, score, 0.5, backend=backend)
    assert [x.shape for x in merged] == [(0, 4), (0,), (0,)]
    fused = nms.weighted_boxes_fusion([none, none], [score, score], [key, key], backend=backend)
    assert [x.shape for x in fused] == [(0, 4), (0,), (0,)]
    padded = nms.multiclass_nms(np.zeros((2, 0, 4)), np.zeros((2, 0, 3)), 0.5, max_output=2, backend=backend)
    assert padded.count.tolist() == [0, 0]
    assert padded.labels.tolist() == [[-1, -1]] * 2
