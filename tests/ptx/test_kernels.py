"""nvcc's code of every kernel: no report of any check, and tables of launches and of memory traffic.

The answers themselves: FASTDET_PTX=90 pytest -m emulator, which runs the emulator's tests on this code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_gpu
from op_rows import mapped
from op_tables import ARRAY_OPS, BOX_OPS
from samples import sample

from fastdet import boxes, losses, nms, pool, segmentation, upsample

pytestmark = pytest.mark.ptx

CALLS = Path(__file__).with_name("calls.json")
SECTORS = Path(__file__).with_name("sectors.json")
BOX_NAMES = [name for name, op in BOX_OPS.items() if "cuda" in op.backends and not name.endswith("out")]
ARRAY_NAMES = [name for name, op in ARRAY_OPS.items() if "cuda" in op.backends]
SEEDS = range(3)


@pytest.fixture(scope="module")
def machine() -> Iterator[Any]:
    with emulated.backend("90") as emulator:
        yield emulator.machine


def call_of_boxes(name: str, n: int = 300) -> Callable[[], Any]:
    op, data = BOX_OPS[name], sample("clustered", n)
    return lambda: op.call(data, None, on_gpu)


def call_of_arrays(name: str, dtype: str | None = None) -> Callable[[], Any]:
    op = ARRAY_OPS[name]
    dtype = dtype or op.dtypes[0]
    args, options = op.arguments(next(iter(op.cases)), dtype)
    on_device = mapped(args, on_gpu), mapped(options, on_gpu)
    return lambda: op.public(*on_device[0], **on_device[1])


def call_of(name: str) -> Callable[[], Any]:
    return call_of_boxes(name) if name in BOX_NAMES else call_of_arrays(name)


@pytest.mark.parametrize("name", [*BOX_NAMES, *ARRAY_NAMES])
def test_no_report_in_any_order(machine: Any, name: str) -> None:
    call = call_of(name)
    for seed in SEEDS:
        machine.seed(seed)
        call()
    assert machine.reports() == {}


# Launches and calls of the runtime for each public call: calls.json. A change of it is a change of the ops' cost.

SILENT = ("cudaGetLastError", "cudaPeekAtLastError")  # they cost nothing to speak of


def counted(machine: Any, call: Callable[[], Any]) -> dict[str, int]:
    call()  # the first one asks for attributes and memory
    machine.calls()
    call()
    found: Counter[str] = Counter()
    for name, count in machine.calls().items():
        found["kernels" if name.startswith("launch ") else name] += count
    return {name: found[name] for name in sorted(found) if name not in SILENT}


def test_launches(machine: Any) -> None:
    found = {name: counted(machine, call_of(name)) for name in [*BOX_NAMES, *ARRAY_NAMES]}
    found |= {
        f"{name}, {n} boxes": counted(machine, call_of_boxes(name, n))
        for name in ("nms", "batched_nms")
        for n in (1024, 5000)
    }
    compare(CALLS, found)


def compare(path: Path, found: dict[str, Any]) -> None:
    """The table of a file. What was found lies beside it in the working folder, to look at and to copy."""
    want = json.loads(path.read_text()) if path.exists() else {}
    if found != want:
        Path(path.name).write_text(json.dumps(found, indent=1) + "\n")
        changed = {
            name: (want.get(name), found.get(name)) for name in {*want, *found} if want.get(name) != found.get(name)
        }
        raise AssertionError(f"{path.name} has other numbers than {Path(path.name).absolute()}: {changed}")


# Sectors of 32 bytes of global memory that a warp's access touches, for each sector that it asks for: sectors.json.

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(2, 8, 64, 128))
LABELS = rng.integers(0, 8, (2, 64, 128))
GRADIENT = rng.normal(size=(2, 8, 64, 128))
TRAFFIC: dict[str, Callable[[str], Any]] = {
    "box_iou": lambda t: boxes.box_iou(
        on_gpu(sample("uniform", 256, t).boxes), on_gpu(sample("uniform", 512, t).boxes2)
    ),
    "nms": lambda t: nms.nms(on_gpu(sample("uniform", 1024, t).boxes), on_gpu(sample("uniform", 1024, t).scores), 0.5),
    "confusion_matrix": lambda t: segmentation.confusion_matrix(on_gpu(LABELS), on_gpu(LABELS[::-1]), 8),
    "confusion_matrix_from_logits": lambda t: segmentation.confusion_matrix_from_logits(
        on_gpu(IMAGE.astype(t)), on_gpu(LABELS)
    ),
    "upsample_bilinear": lambda t: upsample.upsample_bilinear(on_gpu(IMAGE.astype(t)), scale_factor=2),
    "upsample_bilinear_backward": lambda t: upsample.upsample_bilinear_backward(on_gpu(GRADIENT.astype(t)), (32, 64)),
    "max_pool2d": lambda t: pool.max_pool2d(on_gpu(IMAGE.astype(t)), 2, return_indices=True),
    "cross_entropy_with_grad": lambda t: losses.cross_entropy_with_grad(on_gpu(IMAGE.astype(t)), on_gpu(LABELS)),
    "dice_loss_with_grad": lambda t: losses.dice_loss_with_grad(on_gpu(IMAGE.astype(t)), on_gpu(LABELS)),
}
TYPES = {"box_iou": ("float32", "float64"), "nms": ("float32",), "confusion_matrix": ("int64",)}
LIMIT = 1.10
# Above the limit, each with its reason: (op, dtype, kernel, way) -> the highest ratio.
REASONS: dict[str, float] = {}


def test_sectors(machine: Any) -> None:
    found: dict[str, float] = {}
    machine.measure_sectors(True)
    machine.sectors()
    for name, call in TRAFFIC.items():
        for dtype in TYPES.get(name, ("float32", "float16")):
            call(dtype)
            sums: Counter[tuple[str, str, str]] = Counter()
            for traffic in machine.sectors():
                sums[traffic.kernel, traffic.way, "bytes"] += traffic.bytes
                sums[traffic.kernel, traffic.way, "sectors"] += traffic.sectors
            for kernel, way, what in sums:
                if what == "bytes" and sums[kernel, way, what] >= 4096:  # small ones cost nothing
                    ratio = sums[kernel, way, "sectors"] * 32 / sums[kernel, way, what]
                    found[f"{name} {dtype}: {kernel} {way}"] = round(ratio, 2)
    machine.measure_sectors(False)
    compare(SECTORS, found)
    above = {name: ratio for name, ratio in found.items() if ratio > LIMIT and "atomic" not in name}
    assert above.keys() <= REASONS.keys(), above
