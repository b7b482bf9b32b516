"""Pairwise box IoU, into fresh memory and into a buffer that is used again.

    pytest bench/test_bench_boxes.py --benchmark-json=out.json

fastdet's answer is asserted before anything is timed; a peer that is not installed is a skip with the reason.
"""

from __future__ import annotations

from typing import Any

import pytest
from checked import contenders, race
from harness import warm_malloc

# warnings of the peers do not matter here
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("op", "size", "who"), contenders(["box_iou"]))
def test_fresh(benchmark: Any, op: str, size: str, who: str) -> None:
    race(benchmark, op, size, who)


@pytest.mark.parametrize(("op", "size", "who"), contenders(["box_iou_out"]))
def test_reused(benchmark: Any, op: str, size: str, who: str) -> None:
    with warm_malloc():
        race(benchmark, op, size, who)
