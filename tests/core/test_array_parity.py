"""Every array op, backend and instruction set gives the reference's answer, in any layout and on any threads."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS
from op_rows import comparable, equal
from op_tables import ARRAY_OPS as OPS
from reach import exhaustive, quick

import fastdet
from fastdet import inference, losses, masks, pool, rotated, segmentation, upsample
from fastdet.boxes import _numba

ROWS = [(name, dtype) for name, op in OPS.items() for dtype in op.dtypes]
CASES = [(name, dtype, case) for name, dtype in ROWS for case in OPS[name].cases]
THREADED = [(name, dtype, case) for name, dtype in ROWS for case in OPS[name].threaded]


def usual(name: str, dtype: str, case: str) -> bool:
    """Of the quick run: every case of the op's own dtype, the smaller ones of float64, two of any other."""
    op = OPS[name]
    if dtype == op.dtypes[0]:
        return True
    return case not in op.threaded and (dtype == "float64" or case in list(op.cases)[:2])


@lru_cache(maxsize=1)
def wanted(name: str, dtype: str, case: str) -> Any:
    return comparable(OPS[name].call(case, dtype, "reference"))


def test_the_table_is_whole() -> None:
    """Every public op with kernels has a row, and every row both fast backends."""
    public = {
        *losses.__all__,
        *masks.__all__,
        *pool.__all__,
        *rotated.__all__,
        *segmentation.__all__,
        *upsample.__all__,
    }
    public |= {name for name in inference.__all__ if name in dir(_numba)}
    figures = {"class_accuracy", "dice", "frequency_weighted_iou", "iou", "pixel_accuracy"}
    figures |= {"mean_class_accuracy", "mean_dice", "mean_iou"}  # read off a matrix
    plain = {
        "RLE",
        "Components",
        "masks_to_boxes",
        "ConfusionMatrix",
        "SegmentationMetrics",
        "bilinear_kernel",
        "median_frequency_weights",
        "PanopticMetrics",
        "BoundaryMetrics",
    }
    called = [op.public.args[0] if isinstance(op.public, partial) else op.public for op in OPS.values()]
    assert public - figures - plain - {f.__name__ for f in called} == {"giou_loss", "diou_loss"}  # as ciou_loss
    assert all(op.backends[:2] == ("numba", "cpp") for op in OPS.values())


@pytest.mark.parametrize(("name", "dtype", "case"), quick(CASES, *(row for row in CASES if usual(*row))))
def test_values(name: str, dtype: str, case: str, variant: str) -> None:
    op = OPS[name]
    equal(comparable(op.call(case, dtype, variant)), wanted(name, dtype, case))


@pytest.mark.exhaustive
def test_threaded_cases_are() -> None:
    """Each makes the pool start: in a child of its own, where no pool runs yet."""
    idle = []
    for name, dtype, case in THREADED:
        if dtype == OPS[name].dtypes[0] and not starts_the_pool(name, dtype, case):
            idle.append((name, case))
    assert idle == []


def starts_the_pool(name: str, dtype: str, case: str) -> bool:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("threads are counted in /proc, which this system has not")
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            fastdet.set_num_threads(2)
            before = len(os.listdir("/proc/self/task"))
            OPS[name].call(case, dtype, "cpp")
            os.write(write, str(len(os.listdir("/proc/self/task")) - before).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        more = pipe.read()
    os.waitpid(child, 0)
    return int(more) > 0


@pytest.mark.parametrize(
    ("name", "dtype", "case"),
    quick(CASES, *((name, dtype, case) for name, dtype, case in THREADED if dtype == OPS[name].dtypes[0])),
)
def test_threads(name: str, dtype: str, case: str, threads: Callable[[int], None]) -> None:
    """The same bits whatever the number of threads. The full run has rows without work for a second thread, too."""
    op, answers = OPS[name], []
    for count in (1, 2, 3):
        threads(count)
        answers.append(comparable(op.call(case, dtype, "cpp")))
    for answer in answers[1:]:
        equal(answer, answers[0])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", quick(("numba", "cpp", "reference"), "cpp"))
@pytest.mark.parametrize("name", OPS)
def test_layouts(name: str, backend: str, layout: Callable[[Any], Any]) -> None:
    """Layouts are put right before a backend is chosen: one backend proves it."""
    op = OPS[name]
    case = next(iter(op.cases))
    as_copy = op.call(case, op.dtypes[0], "reference", lambda x: np.array(layout(x), x.dtype, order="C"))
    equal(op.call(case, op.dtypes[0], backend, layout), as_copy)


@pytest.mark.parametrize("threaded", [False, *exhaustive(True)], ids=["small", "large"])
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
@pytest.mark.parametrize("name", OPS)
def test_inputs_are_not_written_to(name: str, backend: str, threaded: bool) -> None:
    op = OPS[name]
    for case in op.threaded if threaded else set(op.cases) - set(op.threaded):
        copies: list[tuple[Any, Any]] = []

        def keep(x: Any, copies: list[tuple[Any, Any]] = copies) -> Any:
            copies.append((x, x.copy()))
            return copies[-1][1]

        op.call(case, op.dtypes[0], backend, keep)
        for before, after in copies:
            equal(after, before)
