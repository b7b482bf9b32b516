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
from ptx import build
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


def call_of_boxes(name: str, n: int = 64) -> Callable[[], Any]:
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
    several_blocks = name in BOX_NAMES and "merge" not in name and "fusion" not in name
    call = call_of_boxes(name, 200) if several_blocks else call_of(name)
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
    """The table of a file. One with other numbers is left in build/ptx, to look at and to copy."""
    want = json.loads(path.read_text()) if path.exists() else {}
    if found != want:
        lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
        other = build.FOLDER / path.name
        other.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        changed = [name for name in {*want, *found} if want.get(name) != found.get(name)]
        changes = ", ".join(f"{name}: {want.get(name)} -> {found.get(name)}" for name in sorted(changed))
        raise AssertionError(f"{path.name} has other numbers than {other}: {changes}")


# Sectors of 32 bytes of global memory that a warp's access touches, for each sector that it asks for: sectors.json.

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(2, 8, 64, 128))
LABELS = rng.integers(0, 8, (2, 64, 128))


def aligned(x: Any) -> Any:
    return on_gpu(x, 256)  # as a GPU's allocator: the addresses decide which sectors are touched


def scored(dtype: str) -> tuple[Any, Any]:
    data = sample("uniform", 1024, dtype)
    return aligned(data.boxes), aligned(data.scores)


TRAFFIC: dict[str, Callable[[Any, Any, str], Any]] = {  # of images, labels and the dtype
    "box_iou": lambda x, y, t: boxes.box_iou(scored(t)[0][:256], scored(t)[0]),
    "nms": lambda x, y, t: nms.nms(*scored(t), 0.5),
    "confusion_matrix": lambda x, y, t: segmentation.confusion_matrix(y, aligned(LABELS[::-1]), 8),
    "confusion_matrix_from_logits": lambda x, y, t: segmentation.confusion_matrix_from_logits(y, x),
    "upsample_bilinear": lambda x, y, t: upsample.upsample_bilinear(x, scale_factor=2),
    "upsample_bilinear_backward": lambda x, y, t: upsample.upsample_bilinear_backward(x, (32, 64)),
    "max_pool2d": lambda x, y, t: pool.max_pool2d(x, 2),
    "cross_entropy_with_grad": lambda x, y, t: losses.cross_entropy_with_grad(x, y),
    "dice_loss_with_grad": lambda x, y, t: losses.dice_loss_with_grad(x, y),
}
TYPES = {"box_iou": ("float32", "float64"), "nms": ("float32",), "confusion_matrix": ("int64",)}
LIMIT = 1.10
# Why a kernel is above the limit: (op, dtype or "", kernel, "read" or "write").
LABELS_READ = "TO MEND: four labels of 8 bytes a thread, one load each: the later three find them in the first cache"
COUNTED = "a pack of labels a thread; where they differ each is read again, from the first cache"
REASONS: dict[tuple[str, str, str, str], str] = {
    (
        "box_iou",
        "",
        "pairs_kernel",
        "read",
    ): "two neighbouring boxes a thread, one load each: the second hits the cache",
    ("nms", "", "count_kernel", "write"): "each box goes to the place of its rank",
    ("confusion_matrix_from_logits", "", "planes_kernel", "read"): LABELS_READ,
    ("upsample_bilinear", "", "forward_kernel", "read"): "taps of neighbouring outputs overlap, one load each",
    ("max_pool2d", "float16", "twos_kernel", "write"): "TO MEND: int64 indices of several windows a thread",
    ("cross_entropy_with_grad", "", "count_kernel", "read"): COUNTED,
    ("cross_entropy_with_grad", "", "softmax_kernel", "read"): LABELS_READ,
    ("dice_loss_with_grad", "", "count_kernel", "read"): COUNTED,
    ("dice_loss_with_grad", "", "sums_kernel", "read"): LABELS_READ,
    ("dice_loss_with_grad", "", "sums_kernel", "write"): "a few sums of each block, by class",
    ("dice_loss_with_grad", "", "gradient_kernel", "read"): LABELS_READ,
}


def test_sectors(machine: Any) -> None:
    found: dict[str, float] = {}
    unexplained = []
    machine.measure_sectors(True)
    for name, call in TRAFFIC.items():
        for dtype in TYPES.get(name, ("float32", "float16")):
            machine.seed(0)
            machine.sectors()
            call(aligned(IMAGE.astype(dtype)), aligned(LABELS), dtype)
            asked, touched = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
            for traffic in machine.sectors():
                asked[traffic.kernel, traffic.way] += traffic.bytes
                touched[traffic.kernel, traffic.way] += traffic.sectors
            for kernel, way in sorted(asked):
                if asked[kernel, way] < 4096 or way == "atomic":  # small ones cost nothing; atomics go by the address
                    continue
                ratio = round(touched[kernel, way] * 32 / asked[kernel, way], 2)
                found[f"{name} {dtype}: {kernel} {way}"] = ratio
                known = (name, dtype, kernel, way) in REASONS or (name, "", kernel, way) in REASONS
                if ratio > LIMIT and not known:
                    unexplained.append(f"{name} {dtype}: {kernel} {way} {ratio}")
    machine.measure_sectors(False)
    compare(SECTORS, found)
    assert not unexplained
