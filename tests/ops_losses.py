"""Rows of the table of ops: fastdet.losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_op import ALL_FLOATS, ArrayOp, Case, cast
from ops import Arguments

from fastdet import losses


def _case(shape: tuple[int, ...], labels: str = "int64", spread: float = 3, weight: str = "", **options: Any) -> Case:
    """Logits of a spread, targets of which some are ignored, and weights (some 0) under that name."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        classes, ignored = shape[1], 255 if labels == "uint8" else -100
        logits = rng.normal(size=shape) * spread
        target = rng.integers(0, classes, (shape[0], *shape[2:]))
        target[rng.random(target.shape) < 0.2] = ignored
        more: dict[str, Any] = {"ignore_index": ignored, **options}
        if weight:
            more[weight] = rng.random(classes) * (rng.random(classes) < 0.8)
        return (cast(logits, dtype), target.astype(labels)), more

    return make


def _channels_last(case: Case) -> Case:
    """Any array of four axes with the classes' last in memory."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        (logits, target), options = case(dtype, rng)
        if isinstance(logits, np.ndarray):
            logits = np.moveaxis(np.ascontiguousarray(np.moveaxis(logits, 1, -1)), -1, 1)
        else:
            logits = logits.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return (logits, target), options

    return make


def _broken(dtype: str, rng: np.random.Generator) -> Arguments:
    """NaN and infinities, at pixels that count and that do not."""
    (logits, target), options = _case((2, 4, 9, 31))("float64", rng)
    for value in (np.nan, np.inf, -np.inf):
        logits[rng.random(logits.shape) < 0.05] = value
    return (cast(logits, dtype), target), options


def _cases(weight: str, **options: Any) -> dict[str, Case]:
    return {
        "planes": _case((2, 5, 17, 23), weight=weight, **options),
        "channels last": _channels_last(_case((2, 5, 17, 23), "uint8", weight=weight, **options)),
        "rows": _case((300, 7), "int32", **options),
        "one class": _case((3, 1, 40), **options),
        "many classes": _case((2, 1000, 1, 19), "int16", **options),
        "far apart": _case((1, 19, 20, 30), spread=1e4, **options),
        "broken": _broken,
    }


_CROSS_ENTROPY = {
    **_cases("weight"),
    "threads": _case((2, 19, 100, 101), weight="weight"),
    "none": _case((2, 5, 17, 23), weight="weight", reduction="none"),
    "no images": _case((0, 5, 17, 23), reduction="none"),
    "sum": _case((2, 5, 17, 23), weight="weight", reduction="sum"),
    "smoothed": _case((2, 5, 17, 23), label_smoothing=0.1),
    "smoothed, weighted": _case((2, 5, 17, 23), weight="weight", label_smoothing=0.7),
}
_FOCAL = {
    **_cases("alpha"),
    "threads": _case((2, 19, 100, 101), weight="alpha"),
    "none": _case((2, 5, 17, 23), gamma=1.0, reduction="none"),
    "a half": _case((2, 5, 17, 23), gamma=0.5),
    "two and a half": _case((2, 5, 17, 23), weight="alpha", gamma=2.5),
}
_DICE = {**_cases(""), "threads": _case((2, 19, 100, 101)), "eps": _case((2, 5, 17, 23), eps=1e-3)}

OPS: dict[str, ArrayOp] = {
    "cross_entropy": ArrayOp(losses.cross_entropy, _CROSS_ENTROPY),
    "cross_entropy_with_grad": ArrayOp(losses.cross_entropy_with_grad, _CROSS_ENTROPY, ALL_FLOATS),
    "focal_loss": ArrayOp(losses.focal_loss, _FOCAL),
    "focal_loss_with_grad": ArrayOp(losses.focal_loss_with_grad, _FOCAL, ALL_FLOATS),
    "dice_loss": ArrayOp(losses.dice_loss, _DICE),
    "dice_loss_with_grad": ArrayOp(losses.dice_loss_with_grad, _DICE, ALL_FLOATS),
}
