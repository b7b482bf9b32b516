"""What holds for every input, looked for by Hypothesis. Derandomized: a run tests the same inputs each time."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastdet import boxes, nms

settings.register_profile(
    "fastdet",
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fastdet")

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def coordinate(dtype: Any) -> st.SearchStrategy[float]:
    width = 8 * np.dtype(dtype).itemsize
    return st.one_of(
        st.integers(-12, 12).map(float),  # ties and touching edges
        st.floats(-1000, 1000, width=width),
        st.floats(allow_nan=False, width=width),
    )


@st.composite
def box_sets(draw: st.DrawFn, least: int = 0, most: int = 20, proper: bool = False) -> Any:
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n = draw(st.integers(least, most))
    if proper:  # corners in order, and of a size whose area is a normal number
        step = st.floats(0.125, 500, width=32)
        corner = draw(arrays(dtype, (n, 2), elements=st.floats(-1000, 1000, width=32)))
        return np.hstack([corner, corner + draw(arrays(dtype, (n, 2), elements=step))])
    return draw(arrays(dtype, (n, 4), elements=coordinate(dtype)))


@st.composite
def scored(draw: st.DrawFn, distinct: bool = False, proper: bool = False) -> Any:
    """Boxes, scores and a threshold."""
    rows = draw(box_sets(proper=proper))
    n = len(rows)
    if distinct:
        score = (np.array(draw(st.permutations(range(n))), np.float64).reshape(n) + 1) / (n + 1)
    else:
        score = draw(arrays(np.float64, n, elements=st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1))))
    threshold = draw(st.one_of(st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]), st.floats(0, 1)))
    return rows, score.astype(rows.dtype), threshold


# Overlap.


@each_backend
@given(rows=box_sets(), others=box_sets())
def test_iou_is_symmetric_and_in_the_unit_interval(backend: str, rows: Any, others: Any) -> None:
    for metric in ("iou", "ios"):
        value = boxes.box_iou(rows, others, metric=metric, backend=backend)
        np.testing.assert_array_equal(value, boxes.box_iou(others, rows, metric=metric, backend=backend).T)
        assert ((value >= 0) & (value <= 1)).all()


@each_backend
@given(rows=box_sets())
def test_iou_with_itself(backend: str, rows: Any) -> None:
    """1 where there is an area, also one that overflows; else 0."""
    value = boxes.box_iou(rows, rows, aligned=True, backend=backend)
    area = boxes.box_area(rows, backend=backend)
    assert (value[np.isfinite(rows).all(1) & (area > 0)] == 1).all()
    assert (value[area == 0] == 0).all()


@each_backend
@given(rows=box_sets(proper=True), others=box_sets(proper=True))
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


@each_backend
@given(rows=box_sets(), others=box_sets())
def test_aligned_is_the_diagonal(backend: str, rows: Any, others: Any) -> None:
    n = min(len(rows), len(others))
    for op in (boxes.box_iou, boxes.generalized_box_iou, boxes.distance_box_iou):
        whole = op(rows[:n], others[:n], backend=backend)
        np.testing.assert_array_equal(op(rows[:n], others[:n], aligned=True, backend=backend), np.diagonal(whole))


@each_backend
@given(corner=arrays(np.int64, (9, 4), elements=st.integers(-4096, 4096)))
def test_formats_round_trip(backend: str, corner: Any) -> None:
    """Even integers, so that halves are exact: any way around the formats comes back."""
    rows = corner.astype(np.float32) * 2
    for a, b in product(("xyxy", "xywh", "cxcywh"), repeat=2):
        there = boxes.box_convert(rows, a, b, backend=backend)
        np.testing.assert_array_equal(boxes.box_convert(there, b, a, backend=backend), rows)


@each_backend
@given(rows=box_sets(), height=st.integers(0, 500), width=st.integers(0, 500))
def test_clip_is_idempotent_and_inside(backend: str, rows: Any, height: int, width: int) -> None:
    once = boxes.clip_boxes_to_image(rows, (height, width), backend=backend)
    np.testing.assert_array_equal(boxes.clip_boxes_to_image(once, (height, width), backend=backend), once)
    assert ((once >= 0) & (once <= [width, height, width, height])).all()


# NMS.


@each_backend
@pytest.mark.parametrize("metric", ["iou", "ios"])
@given(case=scored())
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


@each_backend
@given(case=scored())
def test_nms_is_idempotent(backend: str, case: Any) -> None:
    rows, score, t = case
    keep = nms.nms(rows, score, t, backend=backend)
    assert nms.nms(rows[keep], score[keep], t, backend=backend).tolist() == list(range(len(keep)))


@each_backend
@given(case=scored(distinct=True), seed=st.integers(0, 2**32 - 1))
def test_nms_does_not_depend_on_the_order(backend: str, case: Any, seed: int) -> None:
    rows, score, t = case
    shuffle = np.random.default_rng(seed).permutation(len(rows))
    keep = nms.nms(rows[shuffle], score[shuffle], t, backend=backend)
    assert shuffle[keep].tolist() == nms.nms(rows, score, t, backend=backend).tolist()


@each_backend
@given(case=scored(), least=st.sampled_from([0.0, 0.25, 0.6]), most=st.integers(0, 8))
def test_limits_are_prefixes(backend: str, case: Any, least: float, most: int) -> None:
    """A score threshold removes before, a maximum cuts after: both leave a prefix of the answer."""
    rows, score, t = case
    keep = nms.nms(rows, score, t, backend=backend)
    assert nms.nms(rows, score, t, max_output=most, backend=backend).tolist() == keep[:most].tolist()
    above = keep[score[keep] > score.dtype.type(least)]
    assert nms.nms(rows, score, t, score_threshold=least, backend=backend).tolist() == above.tolist()


@each_backend
@given(case=scored(), data=st.data())
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


@each_backend
@given(case=scored(), data=st.data())
def test_multiclass_is_batched_nms_by_hand(backend: str, case: Any, data: st.DataObject) -> None:
    rows, first, t = case
    n, classes, most = len(rows), data.draw(st.integers(1, 3)), data.draw(st.integers(0, 30))
    score = np.stack([np.roll(first, c) for c in range(classes)], axis=1).reshape(n, classes)
    row, label = np.nonzero(score > 0.2)
    value = score[row, label]
    keep = nms.batched_nms(rows[row], value, label, t, max_output=most, backend=backend)
    got = nms.multiclass_nms(rows[None], score[None], t, score_threshold=0.2, max_output=most, backend=backend)
    count = int(got.count[0])
    assert count == len(keep)
    np.testing.assert_array_equal(got.boxes[0, :count], rows[row[keep]])
    np.testing.assert_array_equal(got.scores[0, :count], value[keep])
    np.testing.assert_array_equal(got.labels[0, :count], label[keep])
    assert not got.boxes[0, count:].any()
    assert not got.scores[0, count:].any()
    assert (got.labels[0, count:] == -1).all()


# Soft-NMS.


@each_backend
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@given(case=scored(), least=st.sampled_from([0.0, 0.001, 0.3]))
def test_soft_nms_scores_fall(backend: str, method: str, case: Any, least: float) -> None:
    rows, score, t = case
    keep, new = nms.soft_nms(rows, score, method=method, iou_threshold=t, min_score=least, backend=backend)
    assert len(set(keep.tolist())) == len(keep)
    assert (np.diff(new) <= 0).all()
    assert (new >= score.dtype.type(least)).all()
    # exp(0) is 1 and a weight is at most 1
    assert (new <= score[keep]).all()
    if len(keep):
        assert keep[0] == np.argmax(score)
        assert new[0] == score.max()


@each_backend
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@given(case=scored(proper=True))
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


@each_backend
@given(case=scored(distinct=True), data=st.data())
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


# Boxes averaged.


@each_backend
@given(case=scored(proper=True))
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


@each_backend
@given(case=scored(proper=True), weight=st.sampled_from([0.5, 2.0, 16.0]))
def test_fusion_of_a_weighted_model(backend: str, case: Any, weight: float) -> None:
    """One model alone: its weight drops out, scores stay in [0, max], boxes in the hull of all."""
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
