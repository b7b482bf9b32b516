"""Checks of the arguments of resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array


def image(op: str, name: str, x: Array, dtypes: Sequence[np.dtype[Any]], channels_last: bool, axes: str) -> Array:
    """An image of 2 to 4 axes (3 or 4 if channels_last), native-endian, of one of ``dtypes``, H and W not 0."""
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if x.dtype not in dtypes:
        *others, last = map(check.dtype_name, dtypes)
        raise TypeError(f"{op}: {name} must be {', '.join(others)} or {last}, got {check.dtype_name(x.dtype)}")
    if not 2 + channels_last <= x.ndim <= 4 or 0 in (x.shape[-3:-1] if channels_last else x.shape[-2:]):
        raise ValueError(f"{op}: {name} must have shape {axes} with H and W of 1 or more, got {x.shape}")
    return x


def pair_of_factors(op: str, name: str, x: Any) -> tuple[float, float]:
    """(vertical, horizontal) factors above 0, or one number for both."""
    if (
        type(x) is not float
        and type(x) is not int
        and ((isinstance(x, Sequence) and not isinstance(x, str)) or (isinstance(x, np.ndarray) and x.ndim))
    ):
        if len(x) != 2:
            raise ValueError(f"{op}: {name} must be (vertical, horizontal) or one number, got {check.describe(x)}")
        return check.positive(op, name, x[0]), check.positive(op, name, x[1])
    value = check.positive(op, name, x)
    return value, value


def image_out(op: str, x: Array, like: Array, shape: tuple[int, ...], fits: bool, inputs: Sequence[Array]) -> None:
    """A caller's buffer for an image: writable, of that shape, ``like``'s dtype, and its memory order (``fits``)."""
    if x.dtype != like.dtype:
        raise TypeError(f"{op}: out must be {check.dtype_name(like.dtype)}, got {check.dtype_name(x.dtype)}")
    if x.shape != shape:
        raise ValueError(f"{op}: out must have shape {shape}, got {x.shape}")
    if not (fits and x.flags.writeable and x.flags.aligned):
        raise ValueError(f"{op}: out must be writable, aligned and contiguous in the memory order of the input")
    if any(check.may_share_memory(x, other) for other in inputs):
        raise ValueError(f"{op}: out must not share memory with an input")
