"""Checks of the arguments of region proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastdet._core import check


def listed(x: Any) -> bool:
    """Whether ``x`` is a list, a tuple or an array of numbers, not one number."""
    return (isinstance(x, Sequence) and not isinstance(x, str)) or getattr(x, "ndim", 0) > 0


def items(op: str, name: str, x: Any) -> list[Any]:
    """The entries of a list that must hold one at least."""
    if not listed(x):
        raise TypeError(f"{op}: {name} must be a list, got {check.describe(x)}")
    values = list(x)
    if not values:
        raise ValueError(f"{op}: {name} must hold at least one entry, got none")
    return values


def positives(op: str, name: str, x: Any) -> list[float]:
    """Numbers above 0, one at least; one number stands for a list of one."""
    return [check.positive(op, name, value) for value in (items(op, name, x) if listed(x) else [x])]


def size_of_map(op: str, name: str, x: Any) -> tuple[int, int]:
    """(height, width) of a feature map, which may be 0."""
    return check.pair(op, name, x, 0)


def weights(op: str, x: Any) -> tuple[float, float, float, float]:
    """The four weights of a box coder."""
    values = list(x) if listed(x) else []
    if len(values) != 4:
        raise ValueError(f"{op}: weights must be four numbers, got {check.describe(x)}")
    a, b, c, d = (check.positive(op, "weights", value) for value in values)
    return a, b, c, d


def in_dtype(dtype: np.dtype[Any], x: Any) -> Any:
    """Checked boxes or scores in the dtype that a call computes in; the array itself where it has that dtype."""
    return x if x.dtype == dtype else check.require(x, dtype)


def common_dtype(*xs: Any) -> np.dtype[Any]:
    """What a call computes in: float64 where one of the checked arrays is, else float32."""
    return np.dtype(np.float64 if any(x.dtype == np.float64 for x in xs) else np.float32)


def raise_bad_anchor(op: str, name: str, row: Sequence[Any], index: int) -> NoReturn:
    """Raise for an anchor that nothing can be measured against."""
    got = [float(value) for value in row]
    raise ValueError(f"{op}: {name} must be finite with a width and a height above 0, got {got} at index {index}")
