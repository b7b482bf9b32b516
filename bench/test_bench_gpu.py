"""The GPU's cases in pytest-benchmark: fastdet on the GPU and on the CPU, and its peers.

    pytest bench/test_bench_gpu.py --benchmark-group-by=group -k "nms" --benchmark-json=gpu.json

The GPU's answer is asserted to equal the CPU's before anything is timed. Each timed call waits for the GPU: good for
comparing histories, but quote figures from `gpu.py`. Skipped where there is no GPU.
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

# warnings of the peers do not matter here
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
    on_device = on_gpu(torch, arrays)
    assert not case.cpu or same(torch, case.ours(*on_device), case.ours(*arrays))
    return arrays, on_device


@pytest.mark.parametrize(("name", "who"), CONTENDERS)
def test_gpu(benchmark: Any, name: str, who: str) -> None:
    case, (arrays, on_device) = CASES[name], prepared(name)

    def run() -> None:
        if who == "fastdet cpp":
            case.ours(*arrays)
            return
        (case.ours if who == "fastdet cuda" else case.peers[who])(*on_device)
        torch.cuda.synchronize()

    benchmark.group = name
    benchmark.extra_info.update(who=who, floor_us=case.floor_us, aim_us=case.aim_us)
    benchmark.pedantic(run, rounds=5, warmup_rounds=2)
