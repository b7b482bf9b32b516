"""Checks that the files of this area share, and boxes of any format as the kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet.rotated.transforms import FORMATS, box_convert_rotated_reference, numbers_of


def rotated_boxes(op: str, name: str, x: Any, format: str) -> Array:
    """(N, 5) boxes, or (N, 8) corners, in a dtype that the kernels compute in. ``x`` as `to_array` gives it."""
    numbers = numbers_of(format)
    if x.shape == (0,):  # an empty list of boxes
        return check.real(op, name, x.reshape(0, numbers))
    if len(x.shape) != 2 or x.shape[1] != numbers:
        raise ValueError(f"{op}: {name} must have shape (N, {numbers}) in format {format!r}, got {x.shape}")
    if x.shape[0] > check.MAX_COUNT:
        raise ValueError(f"{op}: {name} must have at most {check.MAX_COUNT} rows, got {x.shape[0]}")
    return check.real(op, name, x)


def centred(boxes: Array, format: str, degrees: bool, clockwise: bool, backend: str | None) -> Array:
    """Checked boxes as cx cy w h r, converted by the backend that computes the op."""
    if format == FORMATS[0]:
        return boxes
    convert = backends.choose("box_convert_rotated", backend, box_convert_rotated_reference, boxes)
    return convert(boxes, format, FORMATS[0], degrees, clockwise, degrees, clockwise)


def same_dtype(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in the wider of their dtypes."""
    if len({x.dtype for x in arrays}) > 1:
        return tuple(x.astype(np.float64, copy=False) for x in arrays)
    return arrays
