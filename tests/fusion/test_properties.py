"""Properties of every fusion of boxes, tested by Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from box_strategies import each_backend, scored
from hypothesis import given
from hypothesis import strategies as st

from fastdet import boxes, fusion, nms


@given(case=scored(proper=True))
@each_backend
def test_merge_accounts_for_every_box(backend: str, case: Any) -> None:
    rows, score, t = case
    got = nms.merge_boxes(rows, score, t, backend=backend)
    assert got.groups.shape == score.shape
    assert set(got.groups.tolist()) == set(range(len(got.scores)))
    np.testing.assert_allclose(got.scores.sum(), score.sum(), rtol=1e-5)
    assert (np.diff(got.scores) <= 0).all()
    for g, box in enumerate(got.boxes):
        inside = rows[got.groups == g]
        slack = 1e-4 if rows.dtype == np.float32 else 1e-9
        assert (box >= inside.min(0) - slack).all()
        assert (box <= inside.max(0) + slack).all()
    over = boxes.box_iou(got.boxes, got.boxes, backend=backend)
    np.fill_diagonal(over, 0)
    assert (over <= t + 1e-5).all()  # the merged boxes were rounded to the dtype


@given(case=scored(proper=True), weight=st.sampled_from([0.5, 2.0, 16.0]))
@each_backend
def test_fusion_of_a_weighted_model(backend: str, case: Any, weight: float) -> None:
    """The weight of a single model has no effect; scores stay in [0, max], boxes in the hull of all boxes."""
    rows, score, t = case
    score = np.round(score, 3)  # no denormal score, whose weighted value may round to 0
    key = np.zeros(len(rows), np.int64)
    plain = nms.weighted_boxes_fusion([rows], [score], [key], iou_thr=t, backend=backend)
    got = nms.weighted_boxes_fusion([rows], [score], [key], weights=[weight], iou_thr=t, backend=backend)
    for g, w in zip(got, plain, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-6)
    if len(rows):
        assert (got[0] >= rows.min(0) - 1e-3).all()
        assert (got[0] <= rows.max(0) + 1e-3).all()
        assert got[1].max() <= score.max() * (1 + 1e-6)
        assert (np.diff(got[1]) <= 0).all()


@given(case=scored(proper=True), transitive=st.booleans(), metric=st.sampled_from(["iou", "ios"]))
@each_backend
def test_groups_are_whole(backend: str, case: Any, transitive: bool, metric: str) -> None:
    """Every box is in one group, which its best box leads; greedily NMS keeps the best boxes. Unions hold no more."""
    rows, score, t = case
    merge = fusion.nmm if transitive else fusion.greedy_nmm
    got = merge(rows, score, t, metric=metric, backend=backend)
    kept = nms.nms(rows, score, t, metric=metric, backend=backend)
    if not transitive:
        np.testing.assert_array_equal(got.keep, kept)
    assert sorted(got.order.tolist()) == list(range(len(rows)))
    np.testing.assert_array_equal(got.groups[got.keep], np.arange(len(got.keep)))
    np.testing.assert_array_equal(got.groups[got.parents], got.groups)
    np.testing.assert_array_equal(got.parents[got.keep], got.keep)
    np.testing.assert_array_equal(got.scores, score[got.keep])
    parts = np.split(got.order, np.cumsum(np.bincount(got.groups))[:-1]) if len(rows) else []
    for best, members, united in zip(got.keep, parts, got.boxes, strict=True):
        assert members[0] == best
        assert (score[members] <= score[best]).all()
        for row in members[1:]:
            claimer = got.parents[row]
            assert boxes.box_iou(rows[[claimer]], rows[[row]], metric=metric, backend=backend)[0, 0] > t
            assert (transitive and score[claimer] >= score[row]) or claimer == best
        assert (united[:2] >= rows[members, :2].min(0)).all()
        assert (united[2:] <= rows[members, 2:].max(0)).all()
        assert (united[:2] <= rows[best, :2]).all()
