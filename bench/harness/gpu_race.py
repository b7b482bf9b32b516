"""One GPU case: the answer is the CPU's, then everybody in turn."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from gpu_cases import Call, GpuCase


def on_gpu(torch: Any, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        (x if isinstance(x, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(x))).cuda() for x in arrays
    )


def same(torch: Any, got: Any, want: Any) -> bool:
    if isinstance(got, tuple):
        return len(got) == len(want) and all(same(torch, g, w) for g, w in zip(got, want, strict=True))
    g, w = got.cpu(), torch.as_tensor(want)
    return g.dtype == w.dtype and g.shape == w.shape and torch.equal(g.nan_to_num(7), w.nan_to_num(7))


def seconds(call: Call, wait: Call, least: float) -> float:
    """Of one call, of as many in a row as take `least` seconds."""
    count = 1
    while True:
        wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        taken = time.perf_counter() - start
        if taken >= least or count >= 4096:
            return taken / count
        count *= 2 if taken <= 0 else max(2, min(64, int(1.2 * least / taken) + 1))


def race(torch: Any, case: GpuCase, rounds: int) -> list[dict[str, Any]]:
    """Everybody's times on one case; raises SystemExit where the GPU's answer is not the CPU's."""
    arrays = case.make()
    given = on_gpu(torch, arrays)
    calls: dict[str, Call] = {"fastdet cuda": lambda: case.ours(*given)}
    if case.cpu:
        if not same(torch, case.ours(*given), case.ours(*arrays)):
            raise SystemExit(f"{case.name}: the GPU's answer is not the CPU's; not timed")
        calls["fastdet cpp"] = lambda: case.ours(*arrays)
    calls.update({name: lambda peer=peer: peer(*given) for name, peer in case.peers.items()})
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # compiled, loaded, allocated
    for turn in range(rounds):
        for name, call in calls.items():
            if name == "fastdet cpp" and turn and times[name][0] > 0.2:
                continue
            wait = (lambda: None) if name == "fastdet cpp" else torch.cuda.synchronize
            times[name].append(seconds(call, wait, 0.02))
    middle = {name: statistics.median(found) for name, found in times.items()}
    return [
        {
            "op": case.op,
            "size": case.size,
            "n": len(arrays[0]) if arrays[0].ndim == 2 else max(int(np.prod(x.shape)) for x in arrays),
            "who": name,
            "median_us": middle[name] * 1e6,
            "spread_us": [min(found) * 1e6, max(found) * 1e6],
            "rounds": len(found),
            "floor_us": case.floor_us or None,
            "aim_us": case.aim_us,
            "ratio_to_fastdet_cuda": middle[name] / middle["fastdet cuda"],
        }
        for name, found in times.items()
    ]
