"""The GPU's cases by pytest-benchmark: fastdet on the GPU and on the CPU, and its peers, side by side.

    pytest bench/test_bench_gpu.py --benchmark-group-by=group -k "nms" --benchmark-json=gpu.json

The answer on the GPU is asserted to be the CPU's before anything is timed, and each timed call waits for the GPU: right
for comparing histories; `gpu.py` has the figures to quote. Skipped where there is no GPU.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from gpu_cases import GpuCase
from gpu_race import on_gpu, same
from tables import gpu_cases

import fastdet

torch = pytest.importorskip("torch", exc_type=ImportError)
CASES = {case.name: case for case in gpu_cases(torch)}
CONTENDERS = [
    (name, who)
    for name, case in CASES.items()
    for who in ("fastdet cuda", *(["fastdet cpp"] if case.cpu else []), *case.peers)
]

# the peers' own warnings are theirs
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        fastdet.config()["backends"]["cuda"] != "available", reason=f"no GPU: {fastdet.config()['backends']['cuda']}"
    ),
]


@lru_cache(maxsize=1)
def prepared(name: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    case: GpuCase = CASES[name]
    arrays = case.make()
    given = on_gpu(torch, arrays)
    assert not case.cpu or same(torch, case.ours(*given), case.ours(*arrays))
    return arrays, given


@pytest.mark.parametrize(("name", "who"), CONTENDERS)
def test_gpu(benchmark: Any, name: str, who: str) -> None:
    case, (arrays, given) = CASES[name], prepared(name)

    def run() -> None:
        if who == "fastdet cpp":
            case.ours(*arrays)
            return
        (case.ours if who == "fastdet cuda" else case.peers[who])(*given)
        torch.cuda.synchronize()

    benchmark.group = name
    benchmark.extra_info.update(who=who, floor_us=case.floor_us, aim_us=case.aim_us)
    benchmark.pedantic(run, rounds=5, warmup_rounds=2)
