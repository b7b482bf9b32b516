"""Checks of the arguments of losses."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array


def logits(op: str, x: Array) -> Array:
    """(C,), (N, C) or (N, C, d1, ...) scores of classes: float16, bfloat16, float32 or float64, native-endian."""
    if not (x.dtype.kind == "f" and x.dtype.itemsize <= 8) and x.dtype.names != ("bfloat16",):
        raise TypeError(f"{op}: logits must be float16, bfloat16, float32 or float64, got {x.dtype}")
    if x.ndim == 0 or x.shape[x.ndim > 1] == 0:
        raise ValueError(f"{op}: logits must have shape (N, C, ...) with C of 1 or more, got {x.shape}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def class_labels(op: str, x: Array, shape: tuple[int, ...]) -> Array:
    """The class of each pixel, of any integer type, C-contiguous and native-endian."""
    if x.dtype.kind not in "iu" and x.size:
        raise TypeError(f"{op}: target must be an integer array, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(
            f"{op}: target must have shape {shape}, that of the logits without their classes, got {x.shape}"
        )
    return check.require(x, x.dtype.newbyteorder("=") if x.size else np.int64)


def class_probabilities(op: str, x: Array, shape: tuple[int, ...], ignore_index: Any) -> Array:
    """The probability of each class at each pixel, of the logits' shape. Their values are not checked."""
    if x.shape != shape:
        raise ValueError(
            f"{op}: target must have shape {shape}, that of the logits, where it holds probabilities, got {x.shape}"
        )
    if ignored_label(op, ignore_index, np.dtype(np.int64)) != -100:
        raise ValueError(
            f"{op}: ignore_index must be -100, its default, where the target holds probabilities, got {ignore_index}; "
            f"a pixel whose probabilities are all 0 has no loss"
        )
    return x


def binary_labels(op: str, x: Array, shape: tuple[int, ...]) -> Array:
    """Targets of 0 and 1, bool or of any integer type, C-contiguous and native-endian."""
    if x.dtype.kind not in "biu" and x.size:
        raise TypeError(f"{op}: targets must be a boolean or integer array, got {x.dtype}")
    if x.shape != shape:
        raise ValueError(f"{op}: targets must have shape {shape} as inputs, got {x.shape}")
    if x.dtype.kind not in "iu":
        return check.require(x, np.uint8)
    return check.require(x, x.dtype.newbyteorder("="))


def raise_binary_label(op: str, targets: Array, code: int) -> NoReturn:
    """Raise for the target at a flat position, which is neither 0 nor 1."""
    at = tuple(int(i) for i in np.unravel_index(code, targets.shape)) if targets.shape else ()
    where = f" at index {at[0] if len(at) == 1 else at}" if at else ""
    raise ValueError(f"{op}: targets must hold 0, 1 or ignore_index, got {check.value_at(targets, at)}{where}")


def pixels(op: str, name: str, count: int) -> None:
    """Sorted positions are 32-bit."""
    if count >= 2**31:
        raise ValueError(f"{op}: {name} must have fewer than 2^31 pixels, got {count}")


def flag(op: str, name: str, x: Any) -> bool:
    """A boolean."""
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{op}: {name} must be True or False, got {check.describe(x)}")
    return bool(x)


def ignored_label(op: str, x: Any, dtype: np.dtype[Any]) -> int | None:
    """The label that is ignored, as a signed integer of the same bits; None where ``dtype`` cannot hold it."""
    if isinstance(x, bool):
        raise TypeError(f"{op}: ignore_index must be an integer, got {x}")
    try:
        value = operator.index(x)
    except TypeError:
        raise TypeError(f"{op}: ignore_index must be an integer, got {check.describe(x)}") from None
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        return None
    return value if value < 2**63 else value - 2**64


def class_weights(op: str, name: str, x: Any, count: int, dtype: np.dtype[Any]) -> Any:
    """(C,) weights of 0 or more, finite in ``dtype``. On a GPU they are not checked: a wrong one makes results NaN."""
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{op}: {name} must be a float array, got {x.dtype}")
    if x.shape != (count,):
        raise ValueError(f"{op}: {name} must have shape ({count},), one per class, got {x.shape}")
    if not isinstance(x, np.ndarray):
        return check.require(x, dtype)
    with np.errstate(over="ignore"):
        weights = check.require(x, dtype)
    invalid = ~((weights >= 0) & (weights <= np.finfo(dtype).max))
    if invalid.any():
        at = int(np.argmax(invalid))
        raise ValueError(f"{op}: {name} must be finite and 0 or more, got {x[at]} at index {at}")
    return weights


def raise_label(op: str, target: Array, code: int, classes: int) -> NoReturn:
    """Raise for the label at a flat position of the target, which is out of range."""
    at = tuple(int(i) for i in np.unravel_index(code, target.shape))
    where = at[0] if len(at) == 1 else at
    raise ValueError(
        f"{op}: target must hold classes 0 to {classes - 1} or ignore_index, "
        f"got {check.value_at(target, at)} at index {where}"
    )


def floats(op: str, name: str, x: Array) -> Array:
    """A float array of any shape, C-contiguous and native-endian; bfloat16 as `half.BFLOAT16`."""
    if x.dtype.char not in "efd" and x.dtype.names != ("bfloat16",):
        raise TypeError(f"{op}: {name} must be float16, bfloat16, float32 or float64, got {x.dtype}")
    return check.require(x, x.dtype.newbyteorder("="))
