"""Checks of box fusion's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array

FAULTS = ("nan_box", "nan_score", "infinite_box", "infinite_score", "negative_score")  # fields of `_cuda.Status`


def finite(op: str, boxes: Array, scores: Array) -> None:
    """Raise ValueError for a NaN or an infinity: an average with one of them says nothing."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        check.raise_nan_code(op, nan)
    for name, x in (("boxes", boxes), ("scores", scores)):
        infinite = np.isinf(x)
        if infinite.any():
            raise_infinite(op, name, x[infinite][0], int(np.argwhere(infinite)[0][0]))


def raise_infinite(op: str, name: str, value: Any, index: int) -> NoReturn:
    """Raise for an infinity, with the same text on every backend."""
    raise ValueError(f"{op}: {name} must be finite, got {value} at index {index}")


def raise_status(op: str, status: Any, boxes: Sequence[Any], scores: Sequence[Any]) -> None:
    """Raise for a wrong value that a GPU has read (`_cuda.Status`). As on the CPU, the first model's comes first."""
    first = np.cumsum([0, *map(len, boxes)])
    rows = {fault: getattr(status, fault) for fault in FAULTS if getattr(status, fault) >= 0}
    if not rows:
        return
    model = {fault: int(np.searchsorted(first, row, "right")) - 1 for fault, row in rows.items()}
    fault = min(rows, key=lambda name: (model[name], FAULTS.index(name)))
    m, row = model[fault], rows[fault] - int(first[model[fault]])
    name, x = ("boxes", boxes[m]) if fault.endswith("box") else ("scores", scores[m])
    if fault.startswith("nan"):
        check.raise_nan(op, name, (row,))
    if fault == "negative_score":
        raise ValueError(f"{op}: scores must be 0 or more, got {x.host().min()}")
    values = np.atleast_1d(x[row : row + 1].host()[0])
    raise_infinite(op, name, values[np.isinf(values)][0], row)
