"""Checks of box fusion's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array


class Faults(NamedTuple):
    """What the kernels of a GPU answer instead of results: the first row of each fault over all models, or -1."""

    nan_box: int
    nan_score: int
    infinite_box: int
    infinite_score: int
    negative_score: int


def finite(op: str, name: str, x: Array) -> None:
    """Raise ValueError for the first infinity; NaN is told apart before."""
    bad = np.isinf(x)
    if bad.any():
        infinite(op, name, x[bad][0], int(np.argwhere(bad)[0][0]))


def infinite(op: str, name: str, value: Any, index: int) -> NoReturn:
    """The one text for an infinity."""
    raise ValueError(f"{op}: {name} must be finite, got {value} at index {index}")


def real_and_finite(op: str, boxes: Array, scores: Array) -> None:
    """An average with an infinity or a NaN says nothing: refuse them."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        check.raise_nan_code(op, nan)
    finite(op, "boxes", boxes)
    finite(op, "scores", scores)


def faults_found(op: str, faults: Faults, boxes: Sequence[Any], scores: Sequence[Any]) -> NoReturn:
    """Raise for the faults that a GPU has found: the first model's, as on the CPU."""
    first = np.cumsum([0, *map(len, boxes)])
    kinds = Faults._fields
    rows = {kind: getattr(faults, kind) for kind in kinds if getattr(faults, kind) >= 0}
    model = {kind: int(np.searchsorted(first, row, "right")) - 1 for kind, row in rows.items()}
    kind = min(rows, key=lambda name: (model[name], kinds.index(name)))
    m, row = model[kind], rows[kind] - int(first[model[kind]])
    name, x = ("boxes", boxes[m]) if kind.endswith("box") else ("scores", scores[m])
    if kind.startswith("nan"):
        check.raise_nan(op, name, (row,))
    if kind == "negative_score":
        raise ValueError(f"{op}: scores must be 0 or more, got {x.host().min()}")
    values = np.atleast_1d(x[row : row + 1].host()[0])
    infinite(op, name, values[np.isinf(values)][0], row)
