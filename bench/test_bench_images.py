"""Label maps, resampling, pooling, losses: fastdet, its Numba backend and each peer.

    pytest bench/test_bench_images.py -k "confusion_matrix-1x256" --benchmark-json=out.json

fastdet's answer is asserted before anything is timed; a peer that is not installed is a skip with the reason.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from checked import contenders, race
from harness import warm_malloc
from picture_cases import PictureOp
from tables import OPS

# warnings of the peers do not matter here
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("op", "size", "who"), contenders(op for op, row in OPS.items() if isinstance(row, PictureOp)))
def test_images(benchmark: Any, op: str, size: str, who: str) -> None:
    with warm_malloc() if op.endswith("_out") else nullcontext():
        race(benchmark, op, size, who)
