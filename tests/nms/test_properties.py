"""Properties of every NMS and Soft-NMS, tested by Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from box_strategies import each_backend, scored
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastdet import boxes, nms

# NMS.


@pytest.mark.parametrize("metric", ["iou", "ios"])
@given(case=scored())
@each_backend
def test_nms_is_the_greedy_set(backend: str, metric: str, case: Any) -> None:
    """In order; kept boxes pairwise <= t; every removed box has a kept one over t that is taken before it."""
    rows, score, t = case
    keep = nms.nms(rows, score, t, metric=metric, backend=backend)
    rank = np.empty(len(rows), np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(len(rows))
    assert (np.diff(rank[keep]) > 0).all()
    over = boxes.box_iou(rows, rows, metric=metric, backend=backend) > rows.dtype.type(t)
    np.fill_diagonal(over, False)
    assert not over[np.ix_(keep, keep)].any()
    for gone in set(range(len(rows))) - set(keep.tolist()):
        assert any(over[k, gone] and rank[k] < rank[gone] for k in keep)


@given(case=scored())
@each_backend
def test_nms_is_idempotent(backend: str, case: Any) -> None:
    rows, score, t = case
    keep = nms.nms(rows, score, t, backend=backend)
    assert nms.nms(rows[keep], score[keep], t, backend=backend).tolist() == list(range(len(keep)))


@given(case=scored(distinct=True), seed=st.integers(0, 2**32 - 1))
@each_backend
def test_nms_does_not_depend_on_the_order(backend: str, case: Any, seed: int) -> None:
    rows, score, t = case
    shuffle = np.random.default_rng(seed).permutation(len(rows))
    keep = nms.nms(rows[shuffle], score[shuffle], t, backend=backend)
    assert shuffle[keep].tolist() == nms.nms(rows, score, t, backend=backend).tolist()


@given(case=scored(), min_score=st.sampled_from([0.0, 0.25, 0.6]), max_output=st.integers(0, 8))
@each_backend
def test_limits_are_prefixes(backend: str, case: Any, min_score: float, max_output: int) -> None:
    """score_threshold removes boxes before NMS, max_output after it: both leave a prefix of the result."""
    rows, score, t = case
    keep = nms.nms(rows, score, t, backend=backend)
    assert nms.nms(rows, score, t, max_output=max_output, backend=backend).tolist() == keep[:max_output].tolist()
    above = keep[score[keep] > score.dtype.type(min_score)]
    assert nms.nms(rows, score, t, score_threshold=min_score, backend=backend).tolist() == above.tolist()


@given(case=scored(), data=st.data())
@each_backend
def test_batched_is_the_union_of_classes(backend: str, case: Any, data: st.DataObject) -> None:
    rows, score, t = case
    key = data.draw(arrays(np.int64, len(rows), elements=st.sampled_from([-(2**63), -1, 0, 3, 2**63 - 1])))
    kept = [np.zeros(0, np.int64)]
    for k in np.unique(key):
        mine = np.flatnonzero(key == k)
        kept.append(mine[nms.nms(rows[mine], score[mine], t, backend=backend)])
    union = np.sort(np.concatenate(kept))
    union = union[np.argsort(-score[union], kind="stable")]
    assert nms.batched_nms(rows, score, key, t, backend=backend).tolist() == union.tolist()


@given(case=scored(), data=st.data())
@each_backend
def test_multiclass_is_batched_nms_by_hand(backend: str, case: Any, data: st.DataObject) -> None:
    rows, first, t = case
    n, classes, max_output = len(rows), data.draw(st.integers(1, 3)), data.draw(st.integers(0, 30))
    score = np.stack([np.roll(first, c) for c in range(classes)], axis=1).reshape(n, classes)
    row, label = np.nonzero(score > 0.2)
    value = score[row, label]
    keep = nms.batched_nms(rows[row], value, label, t, max_output=max_output, backend=backend)
    got = nms.multiclass_nms(rows[None], score[None], t, score_threshold=0.2, max_output=max_output, backend=backend)
    count = int(got.count[0])
    assert count == len(keep)
    np.testing.assert_array_equal(got.boxes[0, :count], rows[row[keep]])
    np.testing.assert_array_equal(got.scores[0, :count], value[keep])
    np.testing.assert_array_equal(got.labels[0, :count], label[keep])
    assert not got.boxes[0, count:].any()
    assert not got.scores[0, count:].any()
    assert (got.labels[0, count:] == -1).all()


# Soft-NMS.


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@given(case=scored(), min_score=st.sampled_from([0.0, 0.001, 0.3]))
@each_backend
def test_soft_nms_scores_fall(backend: str, method: str, case: Any, min_score: float) -> None:
    rows, score, t = case
    keep, new = nms.soft_nms(rows, score, method=method, iou_threshold=t, min_score=min_score, backend=backend)
    assert len(set(keep.tolist())) == len(keep)
    assert (np.diff(new) <= 0).all()
    assert (new >= score.dtype.type(min_score)).all()
    # exp(0) is 1 and a weight is at most 1
    assert (new <= score[keep]).all()
    if len(keep):
        assert keep[0] == np.argmax(score)
        assert new[0] == score.max()


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@given(case=scored(proper=True))
@each_backend
def test_soft_nms_is_the_papers_loop(backend: str, method: str, case: Any) -> None:
    """The lecture's algorithm, written out in float64: the same scores within rounding, where the order is clear."""
    rows, score, t = case
    keep, new = nms.soft_nms(rows, score, method=method, iou_threshold=t, min_score=0, backend=backend)
    assert sorted(keep.tolist()) == list(range(len(rows)))
    iou = boxes.box_iou(rows, rows, backend="reference")
    current = score.astype(np.float64)
    for at, (k, value) in enumerate(zip(keep, new, strict=True)):
        near = 1e-5 if rows.dtype == np.float32 else 1e-12
        assert abs(current[k] - value) <= near
        assert current[k] >= current[keep[at:]].max() - near
        overlap = iou[k].astype(np.float64)
        weight = (
            np.where(iou[k] >= iou.dtype.type(t), 1 - overlap, 1) if method == "linear" else np.exp(-(overlap**2) / 0.5)
        )
        current *= weight


@given(case=scored(distinct=True), data=st.data())
@each_backend
def test_batched_soft_nms_is_the_merge_of_classes(backend: str, case: Any, data: st.DataObject) -> None:
    rows, score, t = case
    key = data.draw(arrays(np.int64, len(rows), elements=st.integers(0, 2)))
    keep, new = nms.batched_soft_nms(rows, score, key, iou_threshold=t, backend=backend)
    assert (np.diff(new) <= 0).all()
    for k in np.unique(key):
        mine = np.flatnonzero(key == k)
        one, value = nms.soft_nms(rows[mine], score[mine], iou_threshold=t, backend=backend)
        chosen = key[keep] == k
        assert keep[chosen].tolist() == mine[one].tolist()
        assert new[chosen].tolist() == value.tolist()
