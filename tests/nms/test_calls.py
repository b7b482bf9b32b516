"""NMS: the usual call, whose arguments C++ checks itself, and infinite scores."""

from __future__ import annotations

import numpy as np
import pytest
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from reach import exhaustive
from samples import Sample, sample

import fastdet
from fastdet import nms


@pytest.mark.parametrize("family", ["clustered", "grid", "exact", "infinite", "huge"])
@pytest.mark.parametrize(
    ("one", "other"), [("float32", "float32"), ("float64", "float64"), *exhaustive(("float32", "float64"))]
)
def test_nms_without_options(cpp: str, one: str, other: str, family: str) -> None:
    """The usual call, checked in C++. Arguments that C++ does not take go through Python to the same result."""
    for n in (0, 1, 2, 31, 32, 33, 299, 300, 301, 1025):
        data, scores = sample(family, n, one), sample(family, n, other).scores
        want = nms.nms(data.boxes, scores, data.t, backend="reference")
        equal(nms.nms(data.boxes, scores, data.t), want)
        equal(nms.nms(np.asfortranarray(data.boxes), scores[::-1][::-1], data.t), want)
        equal(nms.nms(data.boxes.astype(data.boxes.dtype.newbyteorder(">")), scores, data.t), want)


def test_the_quick_call_refuses_other_arguments() -> None:
    quick, b, s = fastdet._core.backends.native.nms_quick, np.eye(3, 4, dtype=np.float32), np.ones(3, np.float32)
    assert quick(b, s, 0.5) is not None
    unusual = [(b[:, :3], s), (b[:2], s), (b[0], s), (b.astype(np.int32), s), (b.astype(np.float16), s),
               (b[:, ::-1], s), (b, s[:, None]), (b.astype(">f4"), s), (b, s.astype(">f8")), (b * np.nan, s),
               (b, s * np.nan)]  # fmt: skip
    assert [quick(*arguments, 0.5) for arguments in unusual] == [None] * len(unusual)
    assert [quick(b, s, t) for t in (-0.1, 1.1, np.nan)] == [None] * 3


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinite_scores(variant: str, dtype: str) -> None:
    data = sample("clustered", 40, dtype)
    scores = data.scores.copy()
    scores[::5], scores[1::7] = np.inf, -np.inf
    unusual = Sample("infinite scores", data.boxes, data.boxes2, scores, data.idxs, data.crowd)
    for name in ("nms", "nms limited", "batched_nms", "soft_nms", "soft_nms gaussian", "multiclass_nms"):
        equal(OPS[name].call(unusual, variant), OPS[name].reference(unusual))


def test_boxes_without_rows_of_four_are_refused_natively() -> None:
    """(9, 0, 4) has nine rows and no data."""
    native, scores = fastdet._core.backends.native, np.ones(9, np.float32)
    for shape in ((9, 0, 4), (9, 3), (9,), (), (9, 1, 4)):
        odd = np.zeros(shape, np.float32)
        with pytest.raises(ValueError, match=r"boxes must be \(N, 4\)"):
            native.nms(odd, scores, None, 0.5, None, -1, "iou")
        with pytest.raises(ValueError, match=r"boxes must be \(N, 4\)"):
            native.soft_nms(odd, scores, None, "linear", 0.5, 0.5, 0.1, -1)
