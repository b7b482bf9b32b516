"""How the work of fusion grows on inputs that once made it explode: pairs are counted, not seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import memory
import numpy as np
import pytest
from fusion_cliffs import FUSION_CLIFFS, PLACES
from op_rows import equal

from fastdet import _cpp, fusion

SMALL, LARGE = 1500, 6000
MOST = 60  # pairs a box that need no further look: a few paths down a tree, or the fused boxes that need none
GROWTH = 9  # of four times as many boxes: n log n, where all overlap alike n^1.5; n^2 would be 16

each_cliff = pytest.mark.parametrize("cliff", FUSION_CLIFFS)

# A few nodes of the trees of C++ hold boxes of both shapes or sizes. Their number is level from some thousand boxes on.
LEVEL = 6000, 24_000
MIXED = [
    "nmm crossing strips", "greedy_nmm crossing strips", "greedy_nmm crossing strips, threshold 0",
    "nmm crossing strips, ios", "greedy_nmm crossing strips, ios", "greedy_nmm giants, ios",
    "nmm crossing strips, ties", "greedy_nmm crossing strips, ties",
]  # fmt: skip


@pytest.fixture(params=["cpp", "numba"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def op_of(cliff: str) -> Callable[..., Any]:
    op: Callable[..., Any] = getattr(fusion, cliff.split()[0])
    return op


def pairs(cliff: str, n: int) -> int:
    """The pairs that one call compares."""
    arguments = FUSION_CLIFFS[cliff](n)
    before = _cpp.pairs_counted()
    op_of(cliff)(**arguments, backend="cpp")
    return _cpp.pairs_counted() - before


@pytest.mark.parametrize("cliff", [x for x in FUSION_CLIFFS if x not in MIXED])
def test_pairs(cliff: str) -> None:
    small, large = pairs(cliff, SMALL), pairs(cliff, LARGE)
    if "nmm" in cliff and FUSION_CLIFFS[cliff](SMALL)["iou_threshold"] == 1:
        assert large == 0  # no overlap is above 1
        return
    assert large > 0
    assert large <= max(MOST * LARGE, GROWTH * small), f"{small / SMALL} to {large / LARGE} pairs a box"


@pytest.mark.parametrize("cliff", MIXED)
def test_pairs_of_boxes_of_two_kinds(cliff: str) -> None:
    """N log N from some thousand boxes on, 360 pairs a box at most: a tree that kept them together had up to 4,000."""
    small, large = (pairs(cliff, n) for n in LEVEL)
    assert 0 < large <= min(6 * small, 400 * LEVEL[1]), f"{small / LEVEL[0]} to {large / LEVEL[1]} pairs a box"


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_first_pairs_on_numba(place: str, ties: bool) -> None:
    """Those that non-maximum merging looks at, which the pairs counted in C++ do not hold."""
    from fastdet.fusion import _numba_tree

    counts = []
    for n in (SMALL, LARGE):
        boxes, names = PLACES[place](n), np.arange(n)
        if ties:  # half of the boxes are not in yet
            names[n // 2 :] = -1
        *tree, _ = _numba_tree.make_tree(boxes, names)
        counts.append(sum(_numba_tree.first_above(*tree, boxes, boxes, i, 0.5, False)[1] for i in range(0, n, 5)) * 5)
    small, large = counts
    assert 0 < large <= max(MOST * LARGE, GROWTH * small), f"{small / SMALL} to {large / LARGE} pairs a box"


@pytest.mark.parametrize("place", PLACES)
def test_pairs_on_numba(place: str) -> None:
    """Those of its tree, which the pairs counted in C++ do not hold."""
    from fastdet.fusion import _numba_tree

    counts = []
    for n in (SMALL, LARGE):
        boxes = PLACES[place](n)
        *tree, _ = _numba_tree.make_tree(boxes, np.arange(n))
        counts.append(sum(_numba_tree.find(*tree, boxes, i, 0.5, i, False)[2] for i in range(0, n, 5)) * 5)
    small, large = counts
    assert 0 < large <= max(MOST * LARGE, GROWTH * small), f"{small / SMALL} to {large / LARGE} pairs a box"


@each_cliff
@pytest.mark.parametrize("n", [9, 180])
def test_answers(cliff: str, n: int) -> None:
    """The reference's, with and without a tree."""
    arguments = FUSION_CLIFFS[cliff](n)
    want = op_of(cliff)(**arguments, backend="reference")
    for backend in ("cpp", "numba"):
        equal(op_of(cliff)(**arguments, backend=backend), want)


@pytest.mark.parametrize("n", [0, 1, 2, 4, 5, 17, 65, 220])
@pytest.mark.parametrize("scale", [0, 511, -537])
def test_trees_of_random_boxes(backend: str, n: int, scale: int) -> None:
    """Boxes on a coarse raster, so that overlaps and places are often equal, of scales that overflow or underflow."""
    rng = np.random.default_rng(n)
    for raster, t in ((8, 0.75), (40, 0.5), (40, 0.0)):
        low = rng.integers(0, raster, (n, 2))
        boxes = np.hstack([low, low + rng.integers(0, 6, (n, 2))]) * 2.0**scale
        scores, labels = rng.integers(0, 5, n) / 4, np.zeros(n, np.int64)
        for metric in ("iou", "ios"):
            equal(*(fusion.merge_boxes(boxes, scores, t, metric=metric, backend=b) for b in (backend, "reference")))
        models = [boxes], [scores], [labels]
        equal(*(fusion.weighted_boxes_fusion(*models, iou_thr=t, backend=b) for b in (backend, "reference")))


def test_sums_that_overflow(backend: str) -> None:
    """A fused box with an infinity overlaps none; one with a NaN keeps all later boxes of its label alone."""
    boxes = np.tile([[1e300, 0.0, 2e300, 1.0], [0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0]], (60, 1))
    scores, labels = np.tile([1e30, 5.0, 1.0], 60), np.tile([0, 0, 1], 60)
    for value in (1e30, 1e308):
        arguments = [boxes], [np.where(scores == 1e30, value, scores)], [labels], [9.0]
        with np.errstate(all="ignore"):
            want = fusion.weighted_boxes_fusion(*arguments, backend="reference")
            equal(fusion.weighted_boxes_fusion(*arguments, backend=backend), want)


@pytest.mark.parametrize("conf_type", fusion.weighted.CONF_TYPES)
def test_memory_of_many_models(conf_type: str, backend: str) -> None:
    """Each with one box: a table of all fused boxes and models would have 64 MB as bytes, 512 MB as numbers."""
    imports = """
import numpy as np
from fastdet import fusion
n = 8000
one = np.array([[0.0, 0, 1, 1]])
def call(n):
    lists = [one + i * 2 for i in range(n)], [np.ones(1)] * n, [np.zeros(1, np.int64)] * n
    return fusion.weighted_boxes_fusion(*lists, [0.5] * n, conf_type=sys.argv[1], backend=sys.argv[2])
call(9)"""
    said, more = memory.grown(imports, "print(len(call(n)[1]))", conf_type, backend)
    assert said == "8000"
    assert more < 40e6
