"""Segmentation, resampling, pooling and losses on the CUDA emulator: the reference's answer in any order of threads."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import comparable, equal, mapped
from op_tables import ARRAY_OPS as OPS

from fastdet import proposals
from fastdet._core.half import BFLOAT16
from fastdet.segmentation import ConfusionMatrix

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

# torch widens bfloat16 tensors of these to float32 before the kernel; the emulator cannot
WIDENED_OPS = ("yolo_candidates", "paste_masks", "process_mask", *proposals.__all__)
WIDENED = {(name, "bfloat16") for name in WIDENED_OPS}
ROWS = [(name, dtype) for name, op in OPS.items() if "cuda" in op.backends for dtype in op.dtypes]
ROWS = [row for row in ROWS if row not in WIDENED]
CASES = [(name, dtype, case) for name, dtype in ROWS for case in OPS[name].cases]
NAMES = sorted({name for name, _ in ROWS})


def prepared(x: Any) -> Any:
    """A case's arguments on the emulated GPU; bfloat16 cases are tensors, which `mapped` leaves alone."""
    if type(x).__module__.startswith("torch"):
        return on_gpu(x)
    if isinstance(x, dict):
        return {key: prepared(value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(prepared(value) for value in x)
    return mapped(x, on_gpu)


def answer(name: str, dtype: str, case: str) -> Any:
    args, options = OPS[name].arguments(case, dtype)
    return whole(on_cpu(OPS[name].public(*prepared(args), **prepared(options))))


def whole(x: Any) -> Any:
    """bfloat16's bits as float32 values; named tuples as plain ones, like those of `comparable`."""
    if isinstance(x, tuple):
        return tuple(map(whole, x))
    if isinstance(x, np.ndarray) and x.dtype == BFLOAT16:
        return np.asarray(np.left_shift(x["bfloat16"], 16, dtype=np.uint32)).view(np.float32)
    return x


@pytest.mark.parametrize(("name", "dtype", "case"), CASES)
def test_values(name: str, dtype: str, case: str) -> None:
    want = on_host(comparable(OPS[name].call(case, dtype, "cpp")))
    equal(answer(name, dtype, case), want)


def on_host(x: Any) -> Any:
    """Results as plain NumPy arrays; those of bfloat16 cases are tensors. The type of a matrix on a GPU is CuPy's."""
    if isinstance(x, tuple):
        return tuple(map(on_host, x))
    if isinstance(x, ConfusionMatrix):
        return np.asarray(x)
    return x.numpy() if type(x).__module__.startswith("torch") else x


@pytest.mark.parametrize("name", NAMES)
def test_order_of_threads(emulator: emulated.Emulator, name: str) -> None:
    """A missing barrier would change the result in some order of threads."""
    op = OPS[name]
    case = next(iter(op.cases))
    want = op.call(case, op.dtypes[0], "cpp")
    for seed in range(4):
        emulator.seed(seed)
        equal(answer(name, op.dtypes[0], case), on_host(comparable(want)))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_written_to(name: str) -> None:
    op = OPS[name]
    for case in op.cases:
        args, options = op.arguments(case, op.dtypes[0])
        on_device = prepared((args, options))
        op.public(*on_device[0], **on_device[1])
        for after, before in zip(arrays(on_device), arrays((args, options)), strict=True):
            equal(np.array(after), np.array(before))


def arrays(x: Any) -> list[Any]:
    if isinstance(x, np.ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [a for part in x for a in arrays(part)] if isinstance(x, (tuple, list)) else []
