"""fastdet on the GPU, on the CPU, and its peers: python bench/gpu.py [--quick] [--json FILE]

First the answer: it has to equal the CPU's. Then the time of a call as a caller sees it: queued back to back and
divided, so that what the GPU and the Python call overlap is not counted twice; ops that read a count back wait for it,
as they do in use. Medians of rounds in which everybody takes turns. Every figure stands beside its floor and its aim.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from inputs import WIDE, boxes_clustered

import fastdet
from fastdet import boxes, nms

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fastdet", "numpy", "torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "pybind11")
COPY = 4.3e12  # bytes read and written a second, measured by --copy on the machine where the aims were made

Call = Callable[[], Any]


@dataclass
class Case:
    op: str
    size: str
    floor_us: float  # bytes that have to move, at the copy speed; 0 where latency is what it costs
    aim_us: float
    calls: dict[str, Call]
    times: dict[str, list[float]] = field(default_factory=dict)


def cases(torch: Any, quick: bool) -> list[Case]:
    made = []

    def on_gpu(*arrays: Any) -> list[Any]:
        return [torch.from_numpy(np.ascontiguousarray(x)).cuda() for x in arrays]

    try:
        import torchvision
    except ImportError:
        torchvision = None

    for n in (1000, 5000, 10_000):
        a, b = boxes_clustered(n, 1)[0], boxes_clustered(n, 2)[0]
        ga, gb = on_gpu(a, b)
        into = torch.empty((n, n), device="cuda")
        calls: dict[str, Call] = {
            "fastdet cuda": lambda ga=ga, gb=gb: boxes.box_iou(ga, gb),
            "fastdet cuda, out": lambda ga=ga, gb=gb, into=into: boxes.box_iou(ga, gb, out=into),
        }
        if n <= 5000:
            calls["fastdet cpp"] = lambda a=a, b=b: boxes.box_iou(a, b)
        if torchvision:
            calls["torchvision"] = lambda ga=ga, gb=gb: torchvision.ops.box_iou(ga, gb)
        floor = (4 * n * n + 32 * n) / COPY * 1e6
        made.append(Case("box_iou", f"{n} x {n}", floor, 1.25 * 93 if n == 10_000 else 0, calls))

    aims = {1000: 20, 10_000: 80, 100_000: 500, 1_000_000: 10_000}
    for n in (1000, 10_000, 100_000) if quick else aims:
        b, s, k = boxes_clustered(n, image=WIDE if n > 20_000 else (1333, 800), classes=80)
        gb, gs, gk = on_gpu(b, s, k)
        calls = {
            "fastdet cuda": lambda gb=gb, gs=gs: nms.nms(gb, gs, 0.5),
            "fastdet cpp": lambda b=b, s=s: nms.nms(b, s, 0.5),
        }
        if torchvision and n <= 100_000:
            calls["torchvision"] = lambda gb=gb, gs=gs: torchvision.ops.nms(gb, gs, 0.5)
        made.append(Case("nms", f"{n}", 20 * n / COPY * 1e6, aims[n], calls))
        calls = {
            "fastdet cuda": lambda gb=gb, gs=gs, gk=gk: nms.batched_nms(gb, gs, gk, 0.5),
            "fastdet cpp": lambda b=b, s=s, k=k: nms.batched_nms(b, s, k, 0.5),
        }
        if torchvision and n <= 100_000:
            calls["torchvision"] = lambda gb=gb, gs=gs, gk=gk: torchvision.ops.batched_nms(gb, gs, gk, 0.5)
        made.append(Case("batched_nms", f"{n}, 80 classes", 28 * n / COPY * 1e6, aims[n], calls))

    for n, groups in ((1000, 1), (30_000, 300)):
        b, s, _ = boxes_clustered(n)
        k = np.arange(n) % groups
        gb, gs, gk = on_gpu(b, s, k)
        calls = {
            "fastdet cuda": lambda gb=gb, gs=gs, gk=gk: nms.batched_soft_nms(gb, gs, gk),
            "fastdet cpp": lambda b=b, s=s, k=k: nms.batched_soft_nms(b, s, k),
        }
        made.append(Case("soft_nms", f"{n} in {groups}", 0, 200, calls))

    rng = np.random.default_rng(0)
    b = np.stack([boxes_clustered(8400, i)[0] for i in range(8)])
    s = (rng.random((8, 8400, 80)) ** 40).astype(np.float32)
    gb, gs = on_gpu(b, s)
    calls = {
        "fastdet cuda": lambda: nms.multiclass_nms(gb, gs, 0.5, score_threshold=0.25),
        "fastdet cpp": lambda: nms.multiclass_nms(b, s, 0.5, score_threshold=0.25),
    }
    made.append(Case("multiclass_nms", "8 x 8400 x 80", s.nbytes / COPY * 1e6, 0, calls))
    return made


def host(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(host(part) for part in x)
    return x.cpu().numpy() if hasattr(x, "cpu") else np.asarray(x)


def check(case: Case) -> None:
    if "fastdet cpp" not in case.calls:
        return
    got, want = host(case.calls["fastdet cuda"]()), host(case.calls["fastdet cpp"]())
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    if not all(np.array_equal(g, w) for g, w in pairs):
        raise SystemExit(f"{case.op} {case.size}: the GPU's answer is not the CPU's; not timed")


def seconds(torch: Any, call: Call, least: float) -> float:
    """Of one call, of as many in a row as take `least` seconds."""
    count = 1
    while True:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        taken = time.perf_counter() - start
        if taken >= least or count >= 4096:
            return taken / count
        count *= 2 if taken <= 0 else max(2, min(64, int(1.2 * least / taken) + 1))


def machine(torch: Any) -> dict[str, Any]:
    smi = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
    versions = {package: installed[package] for package in PACKAGES if package in installed}
    return {
        "gpu": torch.cuda.get_device_name(),
        "nvidia_smi": subprocess.run(smi, capture_output=True, text=True, check=True).stdout.strip(),
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "cuda_of_torch": torch.version.cuda,
        "versions": versions,
        "fastdet": fastdet.config(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no case of a million boxes, fewer rounds")
    parser.add_argument("--json", type=Path, help="default: bench/results/<gpu>.json")
    parser.add_argument("--list", action="store_true", help="name the parts of a run and stop; needs no GPU")
    options = parser.parse_args()
    if options.list:
        print("box_iou, nms, batched_nms, soft_nms, multiclass_nms")
        return 0
    state = fastdet.config()["backends"]["cuda"]
    if state != "available":
        print(f"bench/gpu.py: {state}", file=sys.stderr)
        return 1
    import torch

    rounds, rows = (3 if options.quick else 7), []
    for case in cases(torch, options.quick):
        check(case)
        for _ in range(rounds):
            for name, call in case.calls.items():
                case.times.setdefault(name, []).append(seconds(torch, call, 0.02))
        ours = statistics.median(case.times["fastdet cuda"])
        for name, times in case.times.items():
            middle = statistics.median(times)
            rows.append(
                {
                    "op": case.op,
                    "size": case.size,
                    "who": name,
                    "median_us": middle * 1e6,
                    "spread_us": [min(times) * 1e6, max(times) * 1e6],
                    "floor_us": case.floor_us,
                    "aim_us": case.aim_us or None,
                    "ratio_to_fastdet_cuda": middle / ours,
                }
            )
            print(f"{case.op:15} {case.size:18} {name:18} {middle * 1e6:12.1f} us {middle / ours:8.2f} x")
    told = machine(torch)
    path = options.json or RESULTS / f"{re.sub('[^a-z0-9]+', '-', told['gpu'].lower()).strip('-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": told, "rows": rows}, indent=1) + "\n")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
