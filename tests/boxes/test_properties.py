"""Properties of every pair of boxes, tested by Hypothesis."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from box_strategies import box_sets, each_backend
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastdet import boxes

# Overlap.


@given(rows=box_sets(), others=box_sets())
@each_backend
def test_iou_is_symmetric_and_in_the_unit_interval(backend: str, rows: Any, others: Any) -> None:
    for metric in ("iou", "ios"):
        value = boxes.box_iou(rows, others, metric=metric, backend=backend)
        np.testing.assert_array_equal(value, boxes.box_iou(others, rows, metric=metric, backend=backend).T)
        assert ((value >= 0) & (value <= 1)).all()


@given(rows=box_sets())
@each_backend
def test_iou_with_itself(backend: str, rows: Any) -> None:
    """IoU is 1 where the area is above 0, also where it overflows; else 0."""
    value = boxes.box_iou(rows, rows, aligned=True, backend=backend)
    area = boxes.box_area(rows, backend=backend)
    assert (value[np.isfinite(rows).all(1) & (area > 0)] == 1).all()
    assert (value[area == 0] == 0).all()


@given(rows=box_sets(proper=True), others=box_sets(proper=True))
@each_backend
def test_penalties_only_lower(backend: str, rows: Any, others: Any) -> None:
    iou = boxes.box_iou(rows, others, backend=backend)
    giou = boxes.generalized_box_iou(rows, others, backend=backend)
    diou = boxes.distance_box_iou(rows, others, backend=backend)
    ciou = boxes.complete_box_iou(rows, others, backend=backend)
    slack = 8 * np.finfo(iou.dtype).eps  # the hull's area is rounded
    assert (giou <= iou + slack).all()
    assert (giou > -1 - slack).all()
    assert (diou <= iou).all()
    assert (ciou <= diou).all()


@given(rows=box_sets(), others=box_sets())
@each_backend
def test_aligned_is_the_diagonal(backend: str, rows: Any, others: Any) -> None:
    n = min(len(rows), len(others))
    for op in (boxes.box_iou, boxes.generalized_box_iou, boxes.distance_box_iou):
        whole = op(rows[:n], others[:n], backend=backend)
        np.testing.assert_array_equal(op(rows[:n], others[:n], aligned=True, backend=backend), np.diagonal(whole))


@given(corner=arrays(np.int64, (9, 4), elements=st.integers(-4096, 4096)))
@each_backend
def test_formats_round_trip(backend: str, corner: Any) -> None:
    """There and back between any two formats. Coordinates are even integers, so that halves are exact."""
    rows = corner.astype(np.float32) * 2
    for a, b in product(("xyxy", "xywh", "cxcywh"), repeat=2):
        there = boxes.box_convert(rows, a, b, backend=backend)
        np.testing.assert_array_equal(boxes.box_convert(there, b, a, backend=backend), rows)


@given(rows=box_sets(), height=st.integers(0, 500), width=st.integers(0, 500))
@each_backend
def test_clip_is_idempotent_and_inside(backend: str, rows: Any, height: int, width: int) -> None:
    once = boxes.clip_boxes_to_image(rows, (height, width), backend=backend)
    np.testing.assert_array_equal(boxes.clip_boxes_to_image(once, (height, width), backend=backend), once)
    assert ((once >= 0) & (once <= [width, height, width, height])).all()
