"""Known answers of box ops: the lecture's rules and cases worked by hand, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastdet import boxes

DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TEN = [0.0, 0.0, 10.0, 10.0]


@pytest.fixture(params=["reference", "numba", "cpp"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def array(*rows: list[float], dtype: Any = np.float32) -> Any:
    return np.array(rows, dtype).reshape(-1, 4)


# Pairs of boxes and their IoU: the edge cases. Where libraries differ, fastdet's rule.
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
    """For a crowd (COCO's rule) the denominator is the detection's area; for IoS it is the smaller area."""
    detection, truth = array(TEN), array([0, 0, 5, 10], [5, 0, 25, 10], [0, 0, 100, 100])
    np.testing.assert_array_equal(
        boxes.box_iou(detection, truth, iscrowd=[0, 1, 1], backend=backend), np.float32([[0.5, 0.5, 1]])
    )
    np.testing.assert_array_equal(
        boxes.box_iou(detection, truth, metric="ios", backend=backend), np.float32([[1, 0.5, 1]])
    )


@DTYPE
def test_other_metrics(dtype: Any, backend: str) -> None:
    """Worked by hand: a 10 x 10 box and the same box moved by 5, a box apart from it, a box around it."""
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
    unusual = array([0, 0, 3, 2], [3, 0, 0, 2], [1, 1, 1, 5], [2, 2, 0, 0], [0, 0, np.inf, 1])
    np.testing.assert_array_equal(boxes.box_area(unusual, backend=backend), np.float32([6, 0, 0, 0, np.inf]))
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


@pytest.mark.parametrize("format", ["cxcywhr", "xywhr", "xyxyxyxy"])
def test_convert_names_the_function_for_rotated_boxes(format: str) -> None:
    with pytest.raises(ValueError, match=f"^box_convert: out_fmt must be .*'{format}'; take box_convert_rotated$"):
        boxes.box_convert(np.zeros((1, 4)), "xyxy", format)
