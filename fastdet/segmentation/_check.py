"""Checks of label maps, class scores and confusion matrices."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array


def class_count(op: str, x: Any) -> int:
    """num_classes: an integer in [1, 65535]."""
    value = check.count(op, "num_classes", x)
    if not 1 <= value <= check.MAX_CLASSES:
        raise ValueError(f"{op}: num_classes must be in [1, {check.MAX_CLASSES}], got {check.describe(x)}")
    return value


def ignored(op: str, x: Any) -> int | None:
    """ignore_index: None, or an integer that fits in int64 or uint64."""
    if x is None:
        return None
    try:
        if isinstance(x, bool):
            raise TypeError
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: ignore_index must be an integer or None, got {check.describe(x)}") from None
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"{op}: ignore_index must fit in int64 or uint64, got {check.describe(value)}")
    return value


def labels(op: str, name: str, x: Array) -> Array:
    """Integers of any shape, C-contiguous and native-endian; booleans are 0 and 1."""
    if x.dtype.kind == "b":
        x = x.view(np.uint8)
    elif x.dtype.kind not in "iu":
        if x.size:  # an empty list has no dtype of its own
            raise TypeError(f"{op}: {name} must be an integer array, got {x.dtype}")
        x = x.astype(np.int64)
    return check.require(x, x.dtype.newbyteorder("="))


def class_scores(op: str, name: str, x: Array) -> Array:
    """(N, C, H, W) or (C, H, W) float16, bfloat16, float32 or float64 scores, native-endian, in any layout."""
    if x.dtype.kind == "f" and x.dtype.char in "efd":
        x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    elif x.dtype.names != ("bfloat16",):  # `fastdet._core.half.BFLOAT16`
        raise TypeError(f"{op}: {name} must be float16, bfloat16, float32 or float64, got {x.dtype}")
    if x.ndim not in (3, 4):
        raise ValueError(f"{op}: {name} must have shape (N, C, H, W) or (C, H, W), got {x.shape}")
    if not 1 <= x.shape[-3] <= check.MAX_CLASSES:
        raise ValueError(
            f"{op}: {name} must have 1 to {check.MAX_CLASSES} classes, got {x.shape[-3]} in shape {x.shape}"
        )
    return x


def image_size(op: str, name: str, x: Any) -> tuple[int, int]:
    """(height, width), two integers of 0 or more."""
    try:
        height, width = x
    except (TypeError, ValueError):
        raise ValueError(f"{op}: {name} must be (height, width), got {check.describe(x)}") from None
    return check.count(op, name, height), check.count(op, name, width)


def counts(op: str, x: Array, num_classes: Any) -> tuple[Array, int]:
    """A confusion matrix in a dtype that holds its sums, and its number of classes; see `pixel_accuracy`."""
    if x.dtype.kind not in "iuf":
        raise TypeError(f"{op}: matrix must hold numbers, got {x.dtype}")
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{op}: matrix must have shape (R, K) with R, K >= 1, got {x.shape}")
    bad = ~(x >= 0)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{op}: matrix must not be negative or NaN, got {x[at]} at index {at}")
    x = x.astype(np.float64 if x.dtype.kind == "f" else np.uint64 if x.dtype == np.uint64 else np.int64, copy=False)
    if num_classes is None:
        return x, min(x.shape)
    classes = class_count(op, num_classes)
    if classes > min(x.shape):
        raise ValueError(f"{op}: num_classes must be at most {min(x.shape)} for a matrix {x.shape}, got {classes}")
    return x, classes
