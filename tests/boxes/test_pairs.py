"""Pairs of boxes: results of every shape, and boxes of two dtypes."""

from __future__ import annotations

import pytest
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from samples import Sample, sample


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 300), (300, 1), (3, 1025), (1025, 3)])
@pytest.mark.parametrize("name", ["box_iou", "box_iou out", "generalized_box_iou", "distance_box_iou"])
def test_shapes_of_pairs(variant: str, name: str, shape: tuple[int, int]) -> None:
    for dtype in FLOATS:
        a, b = sample("clustered", shape[0], dtype).boxes, sample("clustered", shape[1], dtype).boxes2
        got = OPS[name].public(a, b, backend=variant)
        assert got.shape == shape
        equal(got, OPS[name].public(a, b, backend="reference"))


@pytest.mark.parametrize(("one", "other"), [("float32", "float64"), ("float16", "float64"), ("int32", "float32")])
def test_mixed_dtypes(variant: str, one: str, other: str) -> None:
    a, b = sample("grid", 40, one), sample("grid", 40, other)
    mixed = Sample("mixed", a.boxes, b.boxes2, b.scores, a.idxs, a.crowd)
    for name in ("box_iou", "box_iou aligned", "nms", "soft_nms", "soft_nms gaussian", "multiclass_nms", "merge_boxes"):
        equal(OPS[name].call(mixed, variant), OPS[name].reference(mixed))
