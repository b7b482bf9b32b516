"""The comparators fail for wrong answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from box_parity import check
from op_rows import Op, equal
from op_tables import BOX_OPS as OPS
from samples import Array

import fastdet


def nearly_equal(x: Array) -> list[Array]:
    """Wrong answers, as near to the right one as possible."""
    last = x.copy()
    if x.dtype.kind == "f":
        last.flat[-1] = np.nextafter(last.flat[-1], 2, dtype=x.dtype)
        sign, hole = x.copy(), x.copy()
        sign.flat[0] = -0.0
        hole.flat[-1] = np.nan
        return [last, sign, hole, x[:-1], x.astype(np.float64), x[None]]
    last.flat[-1] += 1
    return [last, x[:-1], x.astype(np.int32), x[None], x[::-1]]


@pytest.mark.parametrize("right", [np.array([0, 0.25, 1], np.float32), np.array([5, 2, 9])], ids=["float", "int"])
def test_equal_tells(right: Array) -> None:
    equal(right.copy(), right)
    equal((right, right), (right.copy(), right))
    for wrong in nearly_equal(right):
        for got, want in ((wrong, right), ((right, wrong), (right, right))):
            with pytest.raises(AssertionError):
                equal(got, want)
    for other in (right.tolist(), (right,), None, (right, right)):
        with pytest.raises(AssertionError):
            equal(other, right)


def test_equal_takes_nan_for_nan() -> None:
    nans = np.array([0x7FC00000, 0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)
    equal(nans, nans[::-1])


def test_a_wrong_kernel_fails_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is off by the last bit, or by one box, does not pass `check`."""
    true_iou, true_nms = fastdet._core.backends.native.box_iou, fastdet._core.backends.native.nms
    rows: dict[str, Op] = {name: OPS[name] for name in ("box_iou", "nms")}
    assert all("cpp" in op.backends for op in rows.values())

    def off_by_a_bit(*args: Any) -> Array:
        return np.nextafter(true_iou(*args), np.float32(2))

    monkeypatch.setattr(fastdet._core.backends.native, "box_iou", off_by_a_bit)
    monkeypatch.setattr(fastdet._core.backends.native, "nms", lambda *args: true_nms(*args)[:-1])
    for name in rows:
        with pytest.raises(AssertionError):
            check(name, "cpp", "clustered", 70, "float32")
