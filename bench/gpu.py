"""fastdet on the GPU, on the CPU, and its peers: python bench/gpu.py [--quick] [--only PART] [--json FILE]

First the answer: it has to equal the CPU's, byte for byte. Then the time of a call as a caller sees it: queued back to
back and divided, so that what the GPU and the Python call overlap is not counted twice; ops that read a count back
wait for it, as they do in use. Medians of rounds in which everybody takes turns. Every figure stands beside its floor
and its aim. The file is written after each case, so that a run that is cut short leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from gpu_cases import COPY, Call, Case, cases

import fastdet

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fastdet", "numpy", "torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "pybind11")


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


def race(torch: Any, case: Case, rounds: int) -> list[dict[str, Any]]:
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


def copy_speed(torch: Any) -> float:
    """Bytes read and written a second by a large copy: the ceiling of this machine."""
    a = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / min(seconds(lambda: b.copy_(a), torch.cuda.synchronize, 0.05) for _ in range(5))


def machine(torch: Any) -> dict[str, Any]:
    smi = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
    return {
        "gpu": torch.cuda.get_device_name(),
        "nvidia_smi": subprocess.run(smi, capture_output=True, text=True, check=True).stdout.strip(),
        "copy_bytes_per_s": copy_speed(torch),
        "floors_at_bytes_per_s": COPY,
        "cpu": platform.processor() or platform.machine(),
        "cpu_threads": fastdet.get_num_threads(),
        "python": platform.python_version(),
        "cuda_of_torch": torch.version.cuda,
        "versions": {package: installed[package] for package in PACKAGES if package in installed},
        "fastdet": fastdet.config(),
    }


def write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(told, indent=1) + "\n")
    os.replace(path.with_suffix(".part"), path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no case of a million boxes, fewer rounds")
    parser.add_argument("--only", default="", help="a part of a case's name")
    parser.add_argument("--json", type=Path, help="default: bench/results/<gpu>.json")
    parser.add_argument("--list", action="store_true", help="name the cases and stop; needs torch, but no GPU")
    options = parser.parse_args()
    import torch

    chosen = [c for c in cases(torch) if options.only in c.name and not (options.quick and c.large)]
    if options.list:
        for case in chosen:
            print(f"{case.name:60} floor {case.floor_us:8.1f} us  aim {case.aim_us or 0:8.1f} us")
        return 0
    state = fastdet.config()["backends"]["cuda"]
    if state != "available":
        print(f"bench/gpu.py: {state}", file=sys.stderr)
        return 1
    told: dict[str, Any] = {"machine": machine(torch), "rows": []}
    name = re.sub("[^a-z0-9]+", "-", told["machine"]["gpu"].lower()).strip("-")
    path = options.json or RESULTS / f"{name}.json"
    for case in chosen:
        rows = race(torch, case, 3 if options.quick else 7)
        told["rows"] += rows
        write(path, told)
        for row in rows:
            print(
                f"{case.name:50} {row['who']:22} {row['median_us']:12.1f} us {row['ratio_to_fastdet_cuda']:8.2f} x",
                flush=True,
            )
        torch.cuda.empty_cache()
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
