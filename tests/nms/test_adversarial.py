"""Boxes made to break NMS: every family at every threshold, small against the reference, large against each other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from reach import exhaustive, quick
from samples import FAMILIES, THRESHOLDS, Array, Sample, greedy, sample

from fastdet import boxes, nms

each_family = pytest.mark.parametrize("family", FAMILIES)
METRICS = ("iou", "ios")
MANY = 1500  # boxes whose whole matrix of overlaps is still cheap


@lru_cache(maxsize=4)
def overlaps(family: str, n: int, dtype: str, metric: str) -> Array:
    data = sample(family, n, dtype)
    return np.asarray(boxes.box_iou(data.boxes, data.boxes, metric=metric, backend="reference"))


@each_family
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("metric", METRICS)
def test_the_reference(metric: str, dtype: str, family: str) -> None:
    """The reference is greedy NMS over the matrix of overlaps: what the larger tests compare with."""
    for n in (0, 1, 2, 60):
        data = sample(family, n, dtype)
        for t in THRESHOLDS:
            want = greedy(overlaps(family, n, dtype, metric), data.scores, t)
            equal(nms.nms(data.boxes, data.scores, t, metric=metric, backend="reference"), want)


@each_family
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("metric", METRICS)
def test_small(variant: str, metric: str, dtype: str, family: str) -> None:
    for n in (0, 1, 2, 3, 17, 130):
        data = sample(family, n, dtype)
        for t in THRESHOLDS:
            want = greedy(overlaps(family, n, dtype, metric), data.scores, t)
            equal(nms.nms(data.boxes, data.scores, t, metric=metric, backend=variant), want)


@each_family
@pytest.mark.parametrize(("dtype", "metric"), [("float32", "iou"), *exhaustive(("float64", "ios"))])
def test_many(variant: str, dtype: str, metric: str, family: str) -> None:
    data = sample(family, MANY, dtype)
    for t in THRESHOLDS:
        want = greedy(overlaps(family, MANY, dtype, metric), data.scores, t)
        equal(nms.nms(data.boxes, data.scores, t, metric=metric, backend=variant), want)


@pytest.mark.exhaustive
@pytest.mark.parametrize("t", [0.3, 1.0])
@each_family
def test_3000(variant: str, t: float, family: str) -> None:
    data = sample(family, 3000, "float32")
    want = greedy(overlaps(family, 3000, "float32", "iou"), data.scores, t)
    equal(nms.nms(data.boxes, data.scores, t, backend=variant), want)
    # two halves that never meet
    key = np.arange(3000) % 2
    union = np.concatenate([np.flatnonzero(key == k)[greedy(
        overlaps(family, 3000, "float32", "iou")[k::2, k::2], data.scores[k::2], t)] for k in (0, 1)])  # fmt: skip
    union = np.sort(union)
    union = union[np.argsort(-data.scores[union], kind="stable")]
    equal(nms.batched_nms(data.boxes, data.scores, key, t, backend=variant), union)


@lru_cache(maxsize=16)
def wanted(name: str, family: str, n: int, t: float) -> Any:
    """The reference's answer, once for all backends."""
    return OPS[name].reference(sample(family, n, "float32", t))


@pytest.mark.parametrize("family", quick(FAMILIES, "clustered", "grid", "degenerate", "infinite"))
@pytest.mark.parametrize("name", ["soft_nms", "soft_nms gaussian", "batched_soft_nms", "multiclass_nms", "merge_boxes",
                                  "nmm", "greedy_nmm", "weighted_boxes_fusion", "nms limited",
                                  "batched_nms limited"])  # fmt: skip
def test_the_others(variant: str, name: str, family: str) -> None:
    op = OPS[name]
    for n, t in ((2, 0.0), (90, 0.0), (90, 0.3), (90, 1.0)):
        data = sample(family, n, "float32", t)
        equal(op.call(data, variant), wanted(name, family, n, t))


@lru_cache(maxsize=8)
def by_numba(family: str, n: int, t: float, metric: str) -> Array:
    data = sample(family, n)
    return np.asarray(nms.nms(data.boxes, data.scores, t, metric=metric, backend="numba"))


@pytest.mark.parametrize("family", quick(FAMILIES, "clustered", "grid", "chain", "covered"))
@pytest.mark.parametrize(
    ("t", "metric"), [(0.5, "iou"), *exhaustive((0.0, "iou"), (0.05, "iou"), (0.9, "iou"), (0.5, "ios"))]
)
def test_5000(cpp: str, t: float, metric: str, family: str) -> None:
    """Where pruning pays: the C++ answer against Numba's."""
    data = sample(family, 5000)
    got = nms.nms(data.boxes, data.scores, t, metric=metric, backend=cpp)
    equal(got, by_numba(family, 5000, t, metric))


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", ["clustered", "uniform", "grid", "chain", "disjoint", "nested", "outlier", "scales"])
@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.9])
def test_20000(cpp: str, t: float, family: str) -> None:
    """Families on which both are near linear."""
    data = sample(family, 20_000)
    equal(nms.nms(data.boxes, data.scores, t, backend=cpp), by_numba(family, 20_000, t, "iou"))


@pytest.mark.parametrize("t", [0.3, *exhaustive(0.7)])
def test_50000(cpp: str, t: float) -> None:
    data = sample("clustered", 50_000)
    equal(nms.nms(data.boxes, data.scores, t, backend=cpp), by_numba("clustered", 50_000, t, "iou"))


FUZZ = 200


@pytest.mark.parametrize("seed", quick(range(3), 0))
def test_fuzz(variant: str, seed: int) -> None:
    """Small sets put together from several families, at any threshold, through every op of the family."""
    rng = np.random.default_rng(seed)
    names = [name for name, op in OPS.items() if op.public.__module__.startswith("fastdet.nms.")]
    for round_ in range(FUZZ):
        parts = [sample(str(rng.choice(list(FAMILIES))), int(rng.integers(0, 25)), seed=seed) for _ in range(3)]
        dtype = str(rng.choice(FLOATS))
        score = np.concatenate([p.scores for p in parts]).astype(dtype)
        if rng.random() < 0.3:
            score = np.round(score * 3) / np.dtype(dtype).type(3)
        t = float(rng.choice([*THRESHOLDS, rng.random()]))
        data = Sample(
            f"fuzz {seed}/{round_}",
            np.concatenate([p.boxes for p in parts]).astype(dtype),
            np.concatenate([p.boxes2 for p in parts]).astype(dtype),
            score,
            np.concatenate([p.idxs for p in parts]),
            np.concatenate([p.crowd for p in parts]),
            t,
        )
        op = OPS[str(rng.choice(names))]
        try:
            equal(op.call(data, variant), op.reference(data))
        except AssertionError as error:
            raise AssertionError(f"{op.public.__name__} on {data.name}: {error}") from None
