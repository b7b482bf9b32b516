#!/usr/bin/env python3
"""What a call costs beside its work: python bench/overhead.py [--seconds 0.5] [--json FILE]

Microseconds of a call on inputs so small that the work hardly counts, the median of 21 rounds in which all ops take
turns: on NumPy arrays, on torch's CPU tensors, and of CUDA's part on the host. No GPU is needed for the last: kernels
are the emulator's, whose launches are switched off, and tensors of the CPU are taken for a GPU's. It holds all of a
call but the launches and the wait for the GPU; torch.empty is some 2 us of it for each result.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / path) for path in ("", "bench/harness", "tests", "tests/support")]

import gpu_race  # noqa: E402
import numpy as np  # noqa: E402

from fastdet import boxes, losses, nms, pool, segmentation, upsample  # noqa: E402

ROUNDS = 21
Call = Callable[[], Any]


def calls(convert: Callable[[Any], Any]) -> dict[str, Call]:
    """A call of each op on ten boxes, or on images of 4 x 4, as arrays of one library."""
    rng = np.random.default_rng(0)
    corner = rng.random((10, 2), np.float32)
    b = convert(np.concatenate([corner, corner + 1], axis=1))
    s, keys = convert(rng.random(10, np.float32)), convert(np.zeros(10, np.int64))
    image, labels = convert(rng.random((1, 2, 4, 4), np.float32)), convert(np.zeros((1, 4, 4), np.int64))
    return {
        "nms": lambda: nms.nms(b, s, 0.5),
        "batched_nms": lambda: nms.batched_nms(b, s, keys, 0.5),
        "soft_nms": lambda: nms.soft_nms(b, s),
        "box_iou": lambda: boxes.box_iou(b, b),
        "confusion_matrix": lambda: segmentation.confusion_matrix(labels, labels, 3),
        "upsample_bilinear": lambda: upsample.upsample_bilinear(image, scale_factor=2),
        "max_pool2d": lambda: pool.max_pool2d(image, 2, 2),
        "cross_entropy_with_grad": lambda: losses.cross_entropy_with_grad(image, labels),
    }


def medians(measured: dict[str, Call], seconds: float) -> dict[str, float]:
    """Microseconds a call: medians of rounds in which all take turns."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(ROUNDS):
        for name, call in measured.items():
            times[name].append(gpu_race.seconds(call, lambda: None, seconds / ROUNDS) * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def on_cuda(torch: Any, seconds: float) -> dict[str, float]:
    """The host's part of calls on a GPU."""
    import emulated
    import pytest

    from fastdet._core import device_arrays

    patch = pytest.MonkeyPatch()
    with emulated.backend("") as emulator:
        emulated.torch_on_gpu(patch)
        tensors = emulated.quick_calls_on_gpu(patch, torch)
        patch.setattr(device_arrays, "quick_calls", lambda: tensors)
        patch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: 0, raising=False)
        emulator.skip_launches(True)
        found = medians(calls(torch.from_numpy), seconds)
        emulator.skip_launches(False)
        patch.undo()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each op in each column")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    options = parser.parse_args()
    import torch

    columns = {
        "NumPy": medians(calls(lambda x: x), options.seconds),
        "torch": medians(calls(torch.from_numpy), options.seconds),
        "CUDA, host": on_cuda(torch, options.seconds),
    }
    print(f"{'us a call':26}" + "".join(f"{name:>14}" for name in columns))
    for op in columns["NumPy"]:
        print(f"{op:26}" + "".join(f"{column[op]:14.1f}" for column in columns.values()))
    if options.json:
        machine = {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "us": columns}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
