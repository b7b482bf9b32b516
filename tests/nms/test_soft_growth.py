"""Soft-NMS: inputs made to be slow compare boxes about as their number grows, and have the reference's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_rows import equal
from soft_cliffs import BATCHED_SOFT_NMS_CLIFFS, SOFT_NMS_CLIFFS

from fastdet import _cpp, nms

CLIFFS = {**SOFT_NMS_CLIFFS, **BATCHED_SOFT_NMS_CLIFFS}


def _case(name: str, n: int, dtype: str) -> dict[str, Any]:
    arguments = CLIFFS[name](n)
    with np.errstate(over="ignore", under="ignore"):
        arguments["boxes"] = arguments["boxes"].astype(dtype)
    arguments["scores"] = arguments["scores"].astype(dtype)
    return arguments


def _run(name: str, n: int, dtype: str, backend: str) -> Any:
    op = nms.batched_soft_nms if name in BATCHED_SOFT_NMS_CLIFFS else nms.soft_nms
    return op(**_case(name, n, dtype), backend=backend)


def _compared(name: str, n: int) -> int:
    before = _cpp.pairs_counted()
    _run(name, n, "float64", "cpp")
    return _cpp.pairs_counted() - before


def _compared_by_numba(name: str, n: int) -> int:
    numba_soft = pytest.importorskip("fastdet.nms._numba_soft", exc_type=ImportError)
    case, work = _case(name, n, "float64"), np.zeros(1, np.int64)
    method, min_score = case.get("method", "linear"), case.get("min_score", 0.001)
    numba_soft.counted_soft_nms(case["boxes"], case["scores"], None, method, 0.3, 0.5, min_score, -1, work)
    return int(work[0])


@pytest.mark.parametrize("name", CLIFFS)
def test_growth(name: str) -> None:
    """A box meets a number of nodes, c, on each level below the top, of which it reads 8 hulls or boxes at a time.

    The tree of 4,000 boxes has 3 levels over the boxes, that of 16,000 has 4: with the top (1 + 3 c) and (1 + 4 c)
    vectors a box, a growth of 4 * 4 / 3 at most. Where c itself grows, nodes lie badly: 8 is N^1.5.
    """
    few, many = _compared(name, 4000), _compared(name, 16000)
    assert few > 0 or name == "infinite", "nothing was counted"  # infinite boxes meet none
    assert 3 * many <= 16 * few, f"{few} pairs at 4,000 boxes, {many} at 16,000"


@pytest.mark.parametrize("name", SOFT_NMS_CLIFFS)
def test_growth_on_numba(name: str) -> None:
    """Both trees have 4 levels. N log N is a growth of 4.66."""
    few, many = _compared_by_numba(name, 4200), _compared_by_numba(name, 16800)
    assert few > 0 or name == "infinite", "nothing was counted"
    assert many <= 4.66 * few, f"{few} pairs at 4,200 boxes, {many} at 16,800"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [300, 1300])  # in C++ without a tree over the clusters, and with one
@pytest.mark.parametrize("name", CLIFFS)
def test_equal_to_the_reference(name: str, n: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _run(name, n, dtype, "reference")
    equal(_run(name, n, dtype, "cpp"), wanted)
    numba_soft = pytest.importorskip("fastdet.nms._numba_soft", exc_type=ImportError)
    monkeypatch.setattr(numba_soft, "TREE_MIN_BOXES", 16)
    equal(_run(name, n, dtype, "numba"), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_boxes_of_any_scale_at_once(method: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    limit = 120 if dtype == "float32" else 1000
    n = 2500
    at = rng.integers(0, 40, n)  # places, of sizes that differ by any power of two; several boxes a place
    size = 2.0 ** np.linspace(-limit, limit, 40)[at, None] * rng.uniform(0.5, 2, (n, 2))
    corner = rng.choice([-1, 0, 1], (n, 2)) * size * rng.uniform(0, 1, (n, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(dtype)
    scores = rng.uniform(0, 1, n).round(2).astype(dtype)
    options: dict[str, Any] = {"method": method, "iou_threshold": 0.1, "min_score": 0.0, "max_output": 1500}
    wanted = nms.soft_nms(boxes, scores, **options, backend="reference")
    equal(nms.soft_nms(boxes, scores, **options, backend="cpp"), wanted)
    numba_soft = pytest.importorskip("fastdet.nms._numba_soft", exc_type=ImportError)
    monkeypatch.setattr(numba_soft, "TREE_MIN_BOXES", 16)
    equal(nms.soft_nms(boxes, scores, **options, backend="numba"), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_odd_boxes_and_scores(method: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties, scores of 0, -0 and infinity, boxes that are equal, empty, turned, infinite or extreme, in one call."""
    numba_soft = pytest.importorskip("fastdet.nms._numba_soft", exc_type=ImportError)
    monkeypatch.setattr(numba_soft, "TREE_MIN_BOXES", 16)
    largest = float(np.finfo(dtype).max)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(17, 300))
        corner = rng.integers(0, 12, (n, 2)) * 4.0
        boxes = np.concatenate([corner, corner + rng.integers(0, 4, (n, 2)) * 5.0], axis=1)
        few = rng.random((n, 4)) < 0.02
        odd = [np.inf, -np.inf, largest, -largest, largest / 8, -0.0, 1e-30]
        boxes[few] = rng.choice(odd, int(few.sum()))
        scores = rng.choice([0.0, -0.0, 0.25, 0.5, 0.5, 0.75, np.inf, -1.0], n)
        options: dict[str, Any] = {
            "method": method,
            "iou_threshold": float(rng.choice([0.0, 0.1, 0.5, 1.0])),
            "sigma": float(rng.choice([1e-12, 0.5, 1e6])),
            "min_score": float(rng.choice([0.0, 0.001, 0.25])),
            "max_output": int(rng.choice([300, 1000])),
        }
        b, s = boxes.astype(dtype), scores.astype(dtype)
        wanted = nms.soft_nms(b, s, **options, backend="reference")
        for backend in ("cpp", "numba"):
            equal(nms.soft_nms(b, s, **options, backend=backend), wanted)
