"""One op on one sample: the emulator's answer against the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import FLOATS, equal
from op_tables import BOX_OPS as OPS
from samples import Sample

ROWS = [name for name, op in OPS.items() if "cuda" in op.backends and not name.endswith("out")]
each_float = pytest.mark.parametrize("dtype", FLOATS)


def check(name: str, data: Sample, want: Any = None) -> None:
    op = OPS[name]
    try:
        equal(on_cpu(op.call(data, None, on_gpu)), op.reference(data) if want is None else want)
    except AssertionError as error:
        raise AssertionError(f"{name} on {data.name}: {error}") from None


B = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]], np.float32)
S = np.array([0.9, 0.8, 0.7], np.float32)


class OnDevice:
    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0
