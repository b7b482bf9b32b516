"""Time one GPU case: the answer must equal the CPU's, then all are called in turn."""

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


def seconds(call: Call, wait: Call, min_seconds: float) -> float:
    """Seconds a call, from as many calls in a row as take `min_seconds`."""
    count = 1
    while True:
        wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        taken = time.perf_counter() - start
        if taken >= min_seconds or count >= 4096:
            return taken / count
        count *= 2 if taken <= 0 else max(2, min(64, int(1.2 * min_seconds / taken) + 1))


def device_seconds(torch: Any, call: Call, count: int = 20) -> float:
    """Seconds of the GPU's own work in a call, the median: a CUDA graph of it is replayed between two events.

    A call that waits for the GPU cannot be captured: then events around calls in a row, so with the gaps between them.
    """
    run, stream = call, torch.cuda.Stream()
    try:
        with torch.cuda.stream(stream):
            call()  # memory for the capture's pool
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            call()
        run = graph.replay
    except Exception:  # whatever refuses a capture, in fastdet or a peer
        torch.cuda.synchronize()
    begin, end = ([torch.cuda.Event(enable_timing=True) for _ in range(count)] for _ in range(2))
    for first, last in zip(begin, end, strict=True):
        first.record()
        run()
        last.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(begin, end, strict=True)) / 1e3


def race(torch: Any, case: GpuCase, rounds: int) -> list[dict[str, Any]]:
    """Times of all contenders on one case; SystemExit if the GPU's answer differs from the CPU's."""
    arrays = case.make()
    on_device = on_gpu(torch, arrays)
    calls: dict[str, Call] = {"fastdet cuda": lambda: case.ours(*on_device)}
    if case.cpu:
        if not same(torch, case.ours(*on_device), case.ours(*arrays)):
            raise SystemExit(f"{case.name}: the GPU's answer is not the CPU's; not timed")
        calls["fastdet cpp"] = lambda: case.ours(*arrays)
    calls.update({name: lambda peer=peer: peer(*on_device) for name, peer in case.peers.items()})
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # compiles, loads and allocates
    for turn in range(rounds):
        for name, call in calls.items():
            if name == "fastdet cpp" and turn and times[name][0] > 0.2:
                continue
            wait = (lambda: None) if name == "fastdet cpp" else torch.cuda.synchronize
            times[name].append(seconds(call, wait, 0.02))
    device = {name: device_seconds(torch, call) for name, call in calls.items() if name != "fastdet cpp"}
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [
        {
            "op": case.op,
            "size": case.size,
            "n": len(arrays[0]) if arrays[0].ndim == 2 else max(int(np.prod(x.shape)) for x in arrays),
            "who": name,
            "median_us": medians[name] * 1e6,
            "device_us": device[name] * 1e6 if name in device else None,
            "spread_us": [min(values) * 1e6, max(values) * 1e6],
            "rounds": len(values),
            "floor_us": case.floor_us or None,
            "aim_us": case.aim_us,
            "ratio_to_fastdet_cuda": medians[name] / medians["fastdet cuda"],
        }
        for name, values in times.items()
    ]
