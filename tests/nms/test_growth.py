"""How the work of NMS grows on inputs made to mislead it: pairs are counted, not seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from cliffs import NMS_CLIFFS
from op_rows import equal

import fastdet
from fastdet import nms
from fastdet._core import backends

SMALL, LARGE = 4000, 16_000
MOST = 250  # pairs a box that need no further look: a few leaves of a tree, or what the dense way tests at first
GROWTH = 6.0  # of four times as many boxes: n log n, and the switches between the ways

each_cliff = pytest.mark.parametrize("cliff", NMS_CLIFFS)


def pairs(call: Callable[[], Any]) -> int:
    """The pairs that one call compares."""
    before = backends.native.pairs_counted()
    call()
    return int(backends.native.pairs_counted() - before)


@cache
def wanted(cliff: str, n: int) -> Any:
    """The reference's answer, once for all backends."""
    return nms.nms(**NMS_CLIFFS[cliff](n), backend="reference")


def by_classes(case: dict[str, Any], backend: str) -> Any:
    """The same boxes as those of one class of one image, padded to all of them."""
    options = {k: v for k, v in case.items() if k not in ("boxes", "scores", "iou_threshold")}
    n = len(case["boxes"])
    return nms.multiclass_nms(
        case["boxes"][None], case["scores"][None, :, None], case["iou_threshold"], max_output=n, backend=backend,
        **options,
    )  # fmt: skip


def few_enough(small: int, large: int) -> None:
    assert large <= max(MOST * LARGE, GROWTH * small), f"{small / SMALL} to {large / LARGE} pairs a box"


@each_cliff
def test_nms(cpp: str, cliff: str) -> None:
    counts = []
    for n in (SMALL, LARGE):
        case = NMS_CLIFFS[cliff](n)
        counts.append(pairs(lambda case=case: nms.nms(**case, backend=cpp)))  # type: ignore[misc]
    few_enough(*counts)


@each_cliff
def test_one_large_group(cpp: str, cliff: str) -> None:
    """Many keys, one of which has nearly all boxes."""
    counts = []
    for n in (SMALL, LARGE):
        case = NMS_CLIFFS[cliff](n)
        key = np.full(n, 7)
        key[:: n // 50] = np.arange(len(key[:: n // 50])) * 2**40
        counts.append(pairs(lambda case=case, key=key: nms.batched_nms(**case, idxs=key, backend=cpp)))  # type: ignore[misc]
    few_enough(*counts)


@pytest.mark.parametrize("cliff", ["stacked_strips", "ios_apart", "beyond"])
def test_multiclass(cpp: str, cliff: str) -> None:
    counts = []
    for n in (SMALL, LARGE):
        case = NMS_CLIFFS[cliff](n)
        counts.append(pairs(lambda case=case: by_classes(case, cpp)))  # type: ignore[misc]
    few_enough(*counts)


@each_cliff
def test_the_answer(variant: str, cliff: str) -> None:
    """The reference's, with enough boxes for every way to be taken."""
    case = NMS_CLIFFS[cliff](1400)
    equal(nms.nms(**case, backend=variant), wanted(cliff, 1400))


@pytest.mark.parametrize("scale", ["usual", "denormal areas", "least areas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nodes_clear_no_box_that_is_suppressed(variant: str, dtype: str, scale: str) -> None:
    """Boxes of nearly one place, many at the threshold to a rounding, also where areas are a few of the least number.

    A box beyond 2^60 (2^500) beside them, so that a tree has the rest at once.
    """
    rng = np.random.default_rng(7)
    power = {"usual": (0, 0), "denormal areas": (-78, -540), "least areas": (-81, -543)}[scale][dtype == "float64"]
    for side, spread, threshold in ((400, 20, 0.9), (400, 99, 0.95), (100, 1, 0.98), (20, 3, 2 / 3), (3, 1, 1 / 3)):
        boxes = (np.array([0.0, 0.0, side, side]) + rng.integers(-spread, spread + 1, (600, 4))) * 2.0**power
        boxes[0] = [0, 0, *[2.0**61 if dtype == "float32" else 2.0**501] * 2]
        arguments = (boxes.astype(dtype), rng.permutation(600).astype(dtype), threshold)
        equal(nms.nms(*arguments, backend=variant), nms.nms(*arguments, backend="reference"))


@pytest.mark.parametrize("n", [1, 2, 15, 17, 65, 129, 257, 4097])
@pytest.mark.parametrize("metric", ["iou", "ios"])
def test_trees_of_all_sizes(cpp: str, metric: str, n: int) -> None:
    """Boxes beyond 2^60 make a tree of their own: one leaf, a full node, one more than that."""
    case = {**NMS_CLIFFS["all_beyond"](n + 80), "iou_threshold": 0.05, "metric": metric}
    few = {k: v[:n] if k in ("boxes", "scores") else v for k, v in case.items()}
    few["boxes"] = np.concatenate([few["boxes"], few["boxes"][:64] * np.float32(2**-62)])
    few["scores"] = np.concatenate([few["scores"], few["scores"][:64]])
    equal(nms.nms(**few, backend=cpp), nms.nms(**few, backend="reference"))


@pytest.mark.parametrize("max_output", [0, 1, 5, 2000])
def test_a_limit_stops_the_tree(cpp: str, max_output: int) -> None:
    case = NMS_CLIFFS["strips_beyond"](3000)
    keep = nms.nms(**case, backend=cpp)
    limited = nms.nms(**case, max_output=max_output, backend=cpp)
    assert limited.tolist() == keep[:max_output].tolist()


def test_infinite_boxes_in_trees(cpp: str) -> None:
    """Relative to the smaller area an infinite box overlaps finite boxes, and no other infinite one."""
    for scale in (1.0, 2.0**62):
        case = NMS_CLIFFS["ios_infinite"](5000)
        case["boxes"] = case["boxes"] * np.float32(scale)
        equal(nms.nms(**case, backend=cpp), nms.nms(**case, backend="reference"))


def test_threads_count_alike(cpp: str) -> None:
    case = NMS_CLIFFS["stacked_strips"](20_000)
    key = np.arange(20_000) % 5
    counts = []
    before = fastdet.get_num_threads()
    for threads in (1, 3):
        fastdet.set_num_threads(threads)
        counts.append(pairs(lambda: nms.batched_nms(**case, idxs=key, backend=cpp)))
    fastdet.set_num_threads(before)
    assert counts[0] == counts[1] > 0
