"""NMS, NMS for each class, and Soft-NMS: fastdet, its Numba backend and each peer.

    pytest bench/test_bench_nms.py                          # everything: several minutes
    pytest bench/test_bench_nms.py -k "1k" --benchmark-json=out.json

fastdet's answer is asserted before anything is timed; a peer that is not installed is a skip with the reason.
"""

from __future__ import annotations

from typing import Any

import pytest
from checked import contenders, race

OPS = ("nms", "batched_nms", "soft_nms_linear", "soft_nms_gaussian")

# warnings of the peers do not matter here
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("op", "size", "who"), contenders(OPS))
def test_nms(benchmark: Any, op: str, size: str, who: str) -> None:
    race(benchmark, op, size, who)
