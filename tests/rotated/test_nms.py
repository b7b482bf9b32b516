"""Suppression of rotated boxes: the straight one at angle 0, ties, thresholds, neighbours in a tree."""

from __future__ import annotations

import numpy as np
import pytest
from rotated_boxes import Array, hostile_boxes, hostile_scores, some_boxes

import fastdet
from fastdet import nms, rotated
from fastdet._core import backends

BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])


def upright(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Boxes on an integer grid at angle 0, and their corners: all products are exact."""
    size = rng.integers(1, 12, (n, 2)) * 2
    place = rng.integers(0, int(6 * n**0.5) + 1, (n, 2))
    b = np.concatenate([place, size, np.zeros((n, 1))], axis=1).astype(float)
    return b, np.concatenate([place - size / 2, place + size / 2], axis=1)


@pytest.mark.parametrize("n", [40, 600, 3000])
def test_at_angle_0_it_is_the_straight_one(n: int) -> None:
    rng = np.random.default_rng(n)
    b, corners = upright(rng, n)
    scores, groups = hostile_scores(rng, n), rng.integers(0, 3, n)
    for threshold in (0.0, 0.25, 0.5, 1 / 3, 0.9):
        for metric in ("iou", "ios"):
            got = rotated.nms_rotated(b, scores, threshold, metric=metric)
            np.testing.assert_array_equal(got, nms.nms(corners, scores, threshold, metric=metric))
        got = rotated.batched_nms_rotated(b, scores, groups, threshold)
        np.testing.assert_array_equal(got, nms.batched_nms(corners, scores, groups, threshold))
    for method in ("linear", "gaussian"):
        keep, values = rotated.soft_nms_rotated(b, scores, method=method, max_output=300)
        want, want_values = nms.soft_nms(corners, scores, method=method, max_output=300)
        np.testing.assert_array_equal(keep, want)
        np.testing.assert_array_equal(values, want_values)


@BACKENDS
def test_equal_to_the_threshold_survives(backend: str) -> None:
    b = np.array([[0, 0, 2, 2, 0], [1, 0, 2, 2, 90]], float)  # IoU 1/3
    for threshold, want in ((1 / 3, [0, 1]), (np.nextafter(1 / 3, 0), [0])):
        got = rotated.nms_rotated(b, np.array([0.9, 0.8]), threshold, backend=backend)
        assert got.tolist() == want


@BACKENDS
def test_of_equal_scores_the_lower_index(backend: str) -> None:
    b = np.array([[0, 0, 4, 2, 30], [0, 0, 4, 2, 30], [9, 9, 1, 1, 0], [0, 0, 4, 2, 31]], float)
    got = rotated.nms_rotated(b, np.array([0.5, 0.5, 0.5, 0.5]), 0.5, backend=backend)
    assert got.tolist() == [0, 2]


@pytest.mark.parametrize("n", [511, 512, 2000])
@pytest.mark.parametrize("kind", ["usual", "hostile", "crowd"])
def test_many(n: int, kind: str) -> None:
    """The dense way and the tree: the plain rule of all pairs."""
    rng = np.random.default_rng(n)
    b = some_boxes(rng, n, 300 if kind == "usual" else 25)
    if kind == "hostile":
        b = np.nan_to_num(hostile_boxes(rng, n), nan=0, posinf=np.inf, neginf=-np.inf)
        b = b[(np.abs(b[:, 2:4]) < 1e100).all(1)]  # huge ones are compared pair by pair
        b[:, :2] += rng.integers(0, 60, (len(b), 2))
    scores = hostile_scores(rng, len(b))
    overlap = rotated.box_iou_rotated(b, b)
    for threshold in (0.0, 0.3, 0.7):
        assert rotated.nms_rotated(b, scores, threshold).tolist() == greedy(overlap, scores, threshold)


def greedy(overlap: Array, scores: Array, threshold: float) -> list[int]:
    order, gone, keep = np.argsort(-scores, kind="stable"), np.zeros(len(scores), bool), []
    for i in order:
        if not gone[i]:
            keep.append(int(i))
            gone |= overlap[i] > threshold
    return keep


@pytest.mark.parametrize("n", [511, 512, 2000])
@pytest.mark.parametrize("size", [(0, 0), (3, 0), (-2, 4)])
def test_none_has_an_area(n: int, size: tuple[int, int]) -> None:
    """There is no neighbour to look for, and none goes; in groups either, some of them small."""
    rng = np.random.default_rng(n)
    b, scores, groups = some_boxes(rng, n), hostile_scores(rng, n), rng.choice(3, n, p=[0.98, 0.01, 0.01])
    b[:, 2:4] = size
    order = np.argsort(-scores, kind="stable")
    for threshold in (0.0, 0.5):
        np.testing.assert_array_equal(rotated.nms_rotated(b, scores, threshold), order)
        np.testing.assert_array_equal(rotated.nms_rotated(b, scores, threshold, max_output=5), order[:5])
        np.testing.assert_array_equal(rotated.batched_nms_rotated(b, scores, groups, threshold), order)


def test_neighbours_only() -> None:
    """The pairs that are compared grow as the boxes do, not as their square."""
    counted = []
    for n in (2000, 8000):
        rng = np.random.default_rng(0)
        b = some_boxes(rng, n, 20 * n**0.5)
        before = backends.native.pairs_counted()
        rotated.nms_rotated(b, rng.random(n), 0.5)
        counted.append(backends.native.pairs_counted() - before)
    assert counted[1] < 6 * counted[0]


def test_threads_give_the_same(threads: object) -> None:
    rng = np.random.default_rng(9)
    b, scores, groups = some_boxes(rng, 20_000, 3000), rng.random(20_000), rng.integers(0, 9, 20_000)
    answers = []
    for count in (1, 2):
        fastdet.set_num_threads(count)
        answers.append(rotated.batched_nms_rotated(b, scores, groups, 0.3))
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("op", ["nms_rotated", "batched_nms_rotated", "soft_nms_rotated", "batched_soft_nms_rotated"])
@BACKENDS
def test_nan_raises(op: str, backend: str) -> None:
    rest = (np.zeros(3, int),) if "batched" in op else ()
    options = {} if "soft" in op else {"iou_threshold": 0.5}
    b, scores = some_boxes(np.random.default_rng(0), 3), np.array([0.1, 0.2, np.nan])
    with pytest.raises(ValueError, match=f"{op}: scores must not hold NaN, got NaN at index 2"):
        getattr(rotated, op)(b, scores, *rest, **options, backend=backend)
    b[1, 4] = np.nan
    with pytest.raises(ValueError, match=f"{op}: boxes must not hold NaN, got NaN at index 1"):
        getattr(rotated, op)(b, scores, *rest, **options, backend=backend)


def test_errors() -> None:
    b, scores = np.zeros((3, 5)), np.zeros(3)
    for call, text in (
        (lambda: rotated.nms_rotated(b[:, :4], scores, 0.5), "nms_rotated: boxes must have shape (N, 5) in format"),
        (lambda: rotated.nms_rotated(b, scores, 0.5, format="xyxy"), "nms_rotated: format must be one of 'cxcywhr'"),
        (lambda: rotated.nms_rotated(b, scores, 0.5, format="xyxyxyxy"), "must have shape (N, 8) in format 'xyxyxyxy'"),
        (lambda: rotated.nms_rotated(b, scores[:2], 0.5), "nms_rotated: scores must have shape (3,), one per box"),
        (lambda: rotated.box_iou_rotated(b, b, metric="giou"), "box_iou_rotated: metric must be one of 'iou'"),
        (lambda: rotated.box_iou_rotated(b, b[:2], aligned=True), "boxes2 must have shape (3, 5) as boxes1 if aligned"),
        (lambda: rotated.soft_nms_rotated(b, scores, method="hard"), "soft_nms_rotated: method must be one of"),
        (lambda: rotated.min_area_rect(np.zeros((3, 0, 2))), "min_area_rect: points must have 1 point or more"),
        (lambda: rotated.min_area_rect(b), "min_area_rect: points must have shape (N, P, 2), got (3, 5)"),
        (lambda: rotated.box_convert_rotated(b, "xyxy", "xywhr"), "box_convert_rotated: in_fmt must be one of"),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert text in str(error.value)
