"""Known answers: the lecture's rules, cases worked by hand, published numbers. Each on every backend."""

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


# IoU: pairs, and what it is (the table of edge cases; where libraries differ, fastdet's rule).
PAIRS: dict[str, tuple[list[float], list[float], float]] = {
    "identical": (TEN, TEN, 1),
    "half overlap": (TEN, [5, 0, 15, 10], 1 / 3),
    "quarter of each": (TEN, [5, 5, 15, 15], 25 / 175),
    "inside, half": (TEN, [0, 0, 5, 10], 0.5),
    "touching edge": (TEN, [10, 0, 20, 10], 0),
    "touching corner": (TEN, [10, 10, 20, 20], 0),
    "apart": (TEN, [20, 20, 30, 30], 0),
    "two points, the same": ([3, 3, 3, 3], [3, 3, 3, 3], 0),
    "point inside": (TEN, [5, 5, 5, 5], 0),
    "line inside": (TEN, [5, 0, 5, 10], 0),
    "inverted": (TEN, [10, 0, 0, 10], 0),
    "inverted twice": (TEN, [10, 10, 0, 0], 0),
    "inverted twice and itself": ([10, 10, 0, 0], [10, 10, 0, 0], 0),
    "NaN": (TEN, [0, np.nan, 10, 10], np.nan),
    "infinite": (TEN, [0, 0, np.inf, 10], 0),
    "infinite and itself": ([0, 0, np.inf, 10], [0, 0, np.inf, 10], 0),
    "everything": (TEN, [-np.inf, -np.inf, np.inf, np.inf], 0),
    "1e20, identical": ([0, 0, 1e20, 1e20], [0, 0, 1e20, 1e20], 1),
    "2^100, half": ([0, 0, 2.0**100, 2.0**100], [0, 0, 2.0**99, 2.0**100], 0.5),
    "far from the origin": ([1e6, 0, 1e6 + 2, 2], [1e6 + 1, 0, 1e6 + 2, 2], 0.5),
    "negative coordinates": ([-10, -10, 0, 0], [-10, -10, -5, 0], 0.5),
    "fractions": ([0, 0, 0.5, 0.25], [0.25, 0, 0.75, 0.25], 1 / 3),
}


@DTYPE
@pytest.mark.parametrize("case", PAIRS)
def test_iou(case: str, dtype: Any, backend: str) -> None:
    one, other, value = PAIRS[case]
    want = np.array([[value]], dtype)
    for a, b in ((one, other), (other, one)):
        first, second = array(a, dtype=dtype), array(b, dtype=dtype)
        np.testing.assert_array_equal(boxes.box_iou(first, second, backend=backend), want)
        np.testing.assert_array_equal(boxes.box_iou(first, second, aligned=True, backend=backend), want[0])


def test_identical_beyond_float64(backend: str) -> None:
    vast = array([0, 0, 2.0**660, 2.0**660], dtype=np.float64)
    assert boxes.box_iou(vast, vast * [1, 1, 0.5, 1], backend=backend)[0, 0] == 0.5


def test_crowd_and_ios(backend: str) -> None:
    """COCO's crowd: the denominator is the detection's area; IoS: the smaller area."""
    detection, truth = array(TEN), array([0, 0, 5, 10], [5, 0, 25, 10], [0, 0, 100, 100])
    np.testing.assert_array_equal(
        boxes.box_iou(detection, truth, iscrowd=[0, 1, 1], backend=backend), np.float32([[0.5, 0.5, 1]])
    )
    np.testing.assert_array_equal(
        boxes.box_iou(detection, truth, metric="ios", backend=backend), np.float32([[1, 0.5, 1]])
    )


@DTYPE
def test_other_measures(dtype: Any, backend: str) -> None:
    """Worked by hand for two 10 x 10 boxes, 5 apart, and for two that do not meet."""
    a, b = array(TEN, dtype=dtype), array([5, 0, 15, 10], [20, 0, 30, 10], [0, 0, 20, 10], dtype=dtype)
    near = {"rtol": 0, "atol": 8 * np.finfo(dtype).eps}
    giou = boxes.generalized_box_iou(a, b, backend=backend)[0]
    np.testing.assert_allclose(giou, [1 / 3, -1 / 3, 0.5], **near)
    diou = boxes.distance_box_iou(a, b, backend=backend)[0]
    np.testing.assert_allclose(diou, [1 / 3 - 25 / 325, -400 / 1000, 0.5 - 25 / 500], rtol=0, atol=1e-6)
    ciou = boxes.complete_box_iou(a, b, backend=backend)[0]
    v = 4 / np.pi**2 * (np.arctan(2) - np.arctan(1)) ** 2
    np.testing.assert_allclose(ciou, [*diou[:2], 0.45 - v * v / (0.5 + v)], rtol=0, atol=1e-6)


def test_area_convert_clip_small(backend: str) -> None:
    odd = array([0, 0, 3, 2], [3, 0, 0, 2], [1, 1, 1, 5], [2, 2, 0, 0], [0, 0, np.inf, 1])
    np.testing.assert_array_equal(boxes.box_area(odd, backend=backend), np.float32([6, 0, 0, 0, np.inf]))
    corners = array([2, 3, 12, 23])
    for form, want in (("xywh", [2, 3, 10, 20]), ("cxcywh", [7, 13, 10, 20])):
        there = boxes.box_convert(corners, "xyxy", form, backend=backend)
        np.testing.assert_array_equal(there, array(want))
        np.testing.assert_array_equal(boxes.box_convert(there, form, "xyxy", backend=backend), corners)
    clipped = boxes.clip_boxes_to_image(
        array([-5, -5, 50, 50], [5, 6, 7, 8], [90, 90, 95, 95]), (30, 40), backend=backend
    )
    np.testing.assert_array_equal(clipped, array([0, 0, 40, 30], [5, 6, 7, 8], [40, 30, 40, 30]))
    sides = array([0, 0, 3, 3], [0, 0, 3, 2.5], [0, 0, 2.5, 3], [0, 0, 9, 9], [3, 3, 0, 0], [0, 0, np.nan, 9])
    np.testing.assert_array_equal(boxes.remove_small_boxes(sides, 3, backend=backend), [0, 3])


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


def test_merge(backend: str) -> None:
    """OverFeat: the best pair becomes its mean, and the mean may meet a third box."""
    rows = array([0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60], [1, 1, 11, 11])
    got = nms.merge_boxes(rows, np.float32([0.5, 0.25, 2, 0.25]), 0.5, backend=backend)
    # IoU(0, 3) = IoU(1, 3) = 81 / 119, IoU(0, 1) = 80 / 120: 0 and 3 first, then their mean with 1
    np.testing.assert_array_equal(got.boxes, array([50, 50, 60, 60], [1.25, 0.25, 11.25, 10.25]))
    assert got.scores.tolist() == [2, 1]
    assert got.groups.tolist() == [1, 1, 0, 1]


def test_weighted_boxes_fusion(backend: str) -> None:
    """Two models: one object seen by both, one by the second alone; coordinates weighed by score."""
    got = nms.weighted_boxes_fusion(
        [array([0, 0, 10, 10]), array([2, 0, 12, 10], [50, 50, 60, 60])],
        [np.float32([0.75]), np.float32([0.25, 0.5])],
        [np.array([1]), np.array([1, 1])],
        backend=backend,
    )
    np.testing.assert_array_equal(got[0], array([0.5, 0, 10.5, 10], [50, 50, 60, 60]))
    assert got[1].tolist() == [0.5, 0.25]  # (0.75 + 0.25) / 2, and 0.5 of one model in two
    assert got[2].tolist() == [1, 1]


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
