"""Every array op, backend and instruction set gives the reference's answer, in any layout and on any threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS
from op_rows import comparable, equal
from op_tables import ARRAY_OPS as OPS

from fastdet import inference, losses, pool, segmentation, upsample
from fastdet.boxes import _numba

ROWS = [(name, dtype) for name, op in OPS.items() for dtype in op.dtypes]
CASES = [(name, dtype, case) for name, dtype in ROWS for case in OPS[name].cases]

each_case = pytest.mark.parametrize(("name", "dtype", "case"), CASES)


@lru_cache(maxsize=1)
def wanted(name: str, dtype: str, case: str) -> Any:
    return comparable(OPS[name].call(case, dtype, "reference"))


def test_the_table_is_whole() -> None:
    """Every public op with kernels has a row, and every row both fast backends."""
    public = {*losses.__all__, *pool.__all__, *segmentation.__all__, *upsample.__all__}
    public |= {name for name in inference.__all__ if name in dir(_numba)}
    figures = {"class_accuracy", "dice", "frequency_weighted_iou", "iou", "pixel_accuracy"}
    figures |= {"mean_class_accuracy", "mean_dice", "mean_iou"}  # read off a matrix
    plain = {"ConfusionMatrix", "SegmentationMetrics", "bilinear_kernel", "median_frequency_weights"}
    called = [op.public.args[0] if isinstance(op.public, partial) else op.public for op in OPS.values()]
    assert public - figures - plain - {f.__name__ for f in called} == {"giou_loss", "diou_loss"}  # as ciou_loss
    assert all(op.backends[:2] == ("numba", "cpp") for op in OPS.values())


@each_case
def test_values(name: str, dtype: str, case: str, variant: str) -> None:
    op = OPS[name]
    op.same(comparable(op.call(case, dtype, variant)), wanted(name, dtype, case))


@each_case
def test_threads(name: str, dtype: str, case: str, threads: Callable[[int], None]) -> None:
    """The same bits whatever the number of threads."""
    op, answers = OPS[name], []
    for count in (1, 2, 3):
        threads(count)
        answers.append(comparable(op.call(case, dtype, "cpp")))
    for answer in answers[1:]:
        equal(answer, answers[0])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
@pytest.mark.parametrize("name", OPS)
def test_layouts(name: str, backend: str, layout: Callable[[Any], Any]) -> None:
    op = OPS[name]
    case = next(iter(op.cases))
    as_copy = op.call(case, op.dtypes[0], "reference", lambda x: np.array(layout(x), x.dtype, order="C"))
    op.same(op.call(case, op.dtypes[0], backend, layout), as_copy)


@pytest.mark.parametrize("backend", ["numba", "cpp", "reference"])
@pytest.mark.parametrize("name", OPS)
def test_inputs_are_not_written_to(name: str, backend: str) -> None:
    op = OPS[name]
    for case in op.cases:
        copies: list[tuple[Any, Any]] = []

        def keep(x: Any, copies: list[tuple[Any, Any]] = copies) -> Any:
            copies.append((x, x.copy()))
            return copies[-1][1]

        op.call(case, op.dtypes[0], backend, keep)
        for before, after in copies:
            equal(after, before)
