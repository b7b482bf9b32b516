"""NMS: the usual call, which C++ looks at itself, and scores without end."""

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
    """The usual call, which looks at its arguments in C++: every other argument takes the long way to one answer."""
    for n in (0, 1, 2, 31, 32, 33, 299, 300, 301, 1025):
        given, scores = sample(family, n, one), sample(family, n, other).scores
        want = nms.nms(given.boxes, scores, given.t, backend="reference")
        equal(nms.nms(given.boxes, scores, given.t), want)
        equal(nms.nms(np.asfortranarray(given.boxes), scores[::-1][::-1], given.t), want)
        equal(nms.nms(given.boxes.astype(given.boxes.dtype.newbyteorder(">")), scores, given.t), want)


def test_the_short_way_knows_what_is_not_for_it() -> None:
    quick, b, s = fastdet._core.backends.native.nms_quick, np.eye(3, 4, dtype=np.float32), np.ones(3, np.float32)
    assert quick(b, s, 0.5) is not None
    odd = [(b[:, :3], s), (b[:2], s), (b[0], s), (b.astype(np.int32), s), (b.astype(np.float16), s), (b[:, ::-1], s),
           (b, s[:, None]), (b.astype(">f4"), s), (b, s.astype(">f8")), (b * np.nan, s), (b, s * np.nan)]  # fmt: skip
    assert [quick(*arguments, 0.5) for arguments in odd] == [None] * len(odd)
    assert [quick(b, s, t) for t in (-0.1, 1.1, np.nan)] == [None] * 3


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinite_scores(variant: str, dtype: str) -> None:
    given = sample("clustered", 40, dtype)
    scores = given.scores.copy()
    scores[::5], scores[1::7] = np.inf, -np.inf
    odd = Sample("infinite scores", given.boxes, given.boxes2, scores, given.idxs, given.crowd)
    for name in ("nms", "nms limited", "batched_nms", "soft_nms", "soft_nms gaussian", "multiclass_nms"):
        equal(OPS[name].call(odd, variant), OPS[name].reference(odd))
