"""Compare fastdet on the GPU with the CPU and with peers: python bench/gpu.py [--quick] [--only PART] [--json FILE]

First the answer must equal the CPU's, byte for byte. Then the time of a call: calls are queued back to back and their
time is divided by their number, so that overlapping work of GPU and Python is not counted twice; ops that read a count
back wait for it, as in use. Figures are medians of rounds in which all take turns, each beside its floor and its aim.
The file is written after each case, so an interrupted run leaves its results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

from gpu_cases import COPY
from gpu_race import race, seconds
from tables import gpu_cases

import fastdet

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fastdet", "numpy", "torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "pybind11")


def copy_speed(torch: Any) -> float:
    """Bytes a second that a large copy reads and writes: this machine's upper limit."""
    a = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / min(seconds(lambda: b.copy_(a), torch.cuda.synchronize, 0.05) for _ in range(5))


def machine(torch: Any) -> dict[str, Any]:
    smi = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    named = [
        package for package in metadata.distributions() if package.metadata and package.metadata["Name"]
    ]  # or broken
    installed = {package.metadata["Name"].lower(): package.version for package in named}
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


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(report, indent=1) + "\n")
    os.replace(path.with_suffix(".part"), path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no case of a million boxes, fewer rounds")
    parser.add_argument("--only", default="", help="run only cases whose name holds this")
    parser.add_argument("--json", type=Path, help="default: bench/results/<gpu>.json")
    parser.add_argument("--list", action="store_true", help="print the cases and stop; needs torch, but no GPU")
    options = parser.parse_args()
    import torch

    chosen = [c for c in gpu_cases(torch) if options.only in c.name and not (options.quick and c.large)]
    if options.list:
        for case in chosen:
            print(f"{case.name:60} floor {case.floor_us:8.1f} us  aim {case.aim_us or 0:8.1f} us")
        return 0
    state = fastdet.config()["backends"]["cuda"]
    if state != "available":
        print(f"bench/gpu.py: {state}", file=sys.stderr)
        return 1
    report: dict[str, Any] = {"machine": machine(torch), "rows": []}
    name = re.sub("[^a-z0-9]+", "-", report["machine"]["gpu"].lower()).strip("-")
    path = options.json or RESULTS / f"{name}.json"
    for case in chosen:
        rows = race(torch, case, 3 if options.quick else 7)
        report["rows"] += rows
        write(path, report)
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
