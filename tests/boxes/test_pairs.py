"""Pairs of boxes: results of every shape, and boxes of two dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from optional import need
from samples import Sample, sample

from fastdet import boxes


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
    for name in (
        "box_iou",
        "box_iou aligned",
        "nms",
        "soft_nms",
        "soft_nms gaussian",
        "multiclass_nms",
        "merge_boxes",
        "nmm",
    ):
        equal(OPS[name].call(mixed, variant), OPS[name].reference(mixed))


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"])
def test_one_pair(variant: str, name: str) -> None:
    """(4,) and (4,) are one pair where pairs are aligned: a result without axes. All pairs still need rows."""
    a, b, op = np.array([0, 0, 2, 3.0]), np.array([1, 1, 4, 3.0]), getattr(boxes, name)
    want = op(a[None], b[None], aligned=True, backend=variant)
    out = np.zeros(())
    for got in (op(a, b, aligned=True, backend=variant), op(a, b, aligned=True, out=out, backend=variant)):
        assert got.shape == ()
        assert got == want[0]
    assert out == want[0]
    for one, two, aligned in ((a, b[None], True), (a[None], b, True), (a, b, False)):
        with pytest.raises(ValueError, match=rf"^{name}: boxes. must have shape \(N, 4\), got \(4,\)$"):
            op(one, two, aligned=aligned, backend=variant)


def test_one_pair_of_tensors() -> None:
    torch = need("torch")
    a, b = torch.tensor([0, 0, 2, 3.0]), torch.tensor([1, 1, 4, 3.0])
    want = boxes.box_iou(a, b, aligned=True)
    assert want.shape == ()
    compiled = torch.compile(lambda a, b: boxes.box_iou(a, b, aligned=True), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(a, b), want)
