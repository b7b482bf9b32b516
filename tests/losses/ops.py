"""Rows of the table of ops: losses of classes, of boxes, and the sigmoid focal loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast
from samples import FAMILIES, missing
from samples import cast as cast_boxes

from fastdet import box_losses, losses, sigmoid_focal

# Losses of classes.


def _case(shape: tuple[int, ...], labels: str = "int64", spread: float = 3, weight: str = "", **options: Any) -> Case:
    """Logits with that spread, targets some of which are ignored, and weights (some 0) under that name."""

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
    """The same case with the classes last in memory."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        (logits, target), options = case(dtype, rng)
        if isinstance(logits, np.ndarray):
            logits = np.moveaxis(np.ascontiguousarray(np.moveaxis(logits, 1, -1)), -1, 1)
        else:
            logits = logits.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return (logits, target), options

    return make


def _broken(dtype: str, rng: np.random.Generator) -> Arguments:
    """NaN and infinities, at pixels that count and at pixels that do not."""
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


def _soft(case: Case) -> Case:
    """The same case with probabilities as its target: some rows are one class, some 0 altogether."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        (logits, target), options = case(dtype, rng)
        shape = tuple(logits.shape)
        soft = rng.random(shape) ** 4
        hard = np.moveaxis(np.arange(shape[1]) == np.asarray(target)[..., None], -1, 1)  # ignored ones: zeros
        soft = np.where(rng.random((shape[0], 1, *shape[2:])) < 0.5, hard, soft / soft.sum(1, keepdims=True))
        target = cast(soft, dtype)
        return (logits, target.float() if dtype == "bfloat16" else target), {
            key: x for key, x in options.items() if key != "ignore_index"
        }

    return make


_SOFT = {
    f"soft, {name}": _soft(case)
    for name, case in {
        **{name: case for name, case in _cases("weight").items() if name != "channels last"},
        "channels last": _channels_last(_case((2, 5, 17, 23), weight="weight")),
        "threads": _case((2, 19, 100, 101), weight="weight"),
        "none": _case((2, 5, 17, 23), weight="weight", reduction="none"),
        "no images": _case((0, 5, 17, 23), reduction="none"),
        "sum": _case((2, 5, 17, 23), weight="weight", reduction="sum"),
        "smoothed": _case((2, 5, 17, 23), label_smoothing=0.1),
        "smoothed, weighted": _case((2, 5, 17, 23), weight="weight", label_smoothing=0.7, reduction="sum"),
    }.items()
}
_CROSS_ENTROPY.update(_SOFT)
_OHEM = {
    **_cases("weight"),
    "threads": _case((2, 19, 100, 101), weight="weight"),
    "equal losses": _case((2, 5, 17, 23), spread=0, fraction=0.3),
    "all": _case((2, 5, 17, 23), fraction=1.0),
    "one": _case((2, 5, 17, 23), fraction=0.0),
    "some": _case((2, 5, 17, 23), fraction=0.0, min_kept=40),
    "more than there are": _case((2, 5, 17, 23), min_kept=10**6),
    "threshold": _case((2, 5, 17, 23), weight="weight", fraction=0.01, threshold=0.36),
    "low threshold": _case((2, 5, 17, 23), fraction=0.01, threshold=0.0),
}
_TVERSKY = {
    **_cases("", alpha=0.3, beta=0.7),
    "threads": _case((2, 19, 100, 101)),
    "jaccard": _case((2, 5, 17, 23), alpha=1.0, beta=1.0, eps=1e-3),
    "precision alone": _case((2, 5, 17, 23), alpha=1.0, beta=0.0),
}
_LOVASZ = {
    **_cases(""),
    "threads": _case((2, 19, 100, 101)),
    "all": _case((2, 30, 3, 5), classes="all"),
    "by image": _case((3, 5, 17, 23), per_image=True),
    "by image, channels last": _channels_last(_case((3, 5, 17, 23), "uint8", per_image=True)),
    "by image, rows": _case((30, 7), per_image=True),
    "by image, all": _case((3, 40, 7), per_image=True, classes="all"),
    "equal errors": _case((2, 5, 17, 23), spread=0),
}


def _hinge(shape: tuple[int, ...], labels: str = "int64", spread: float = 2, **options: Any) -> Case:
    """Logits and targets of 0 and 1; some are ignored, unless they are bool."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        ignored = 255 if labels == "uint8" else -100
        x, target = rng.normal(size=shape) * spread, rng.integers(0, 2, shape)
        if labels != "bool":
            target = np.where(rng.random(shape) < 0.2, ignored, target)
        if spread == 1e4:
            for value in (np.nan, np.inf, -np.inf):
                x = np.where(rng.random(shape) < 0.02, value, x)
        return (cast(np.round(x) if spread == 1 else x, dtype), target.astype(labels)), {
            "ignore_index": ignored,
            **options,
        }

    return make


_LOVASZ_HINGE = {
    "planes": _hinge((3, 17, 23)),
    "uint8": _hinge((3, 17, 23), "uint8"),
    "bool": _hinge((300,), "bool"),
    "no axis": _hinge((), "bool"),
    "equal errors": _hinge((3, 17, 23), "int16", spread=1),
    "broken": _hinge((3, 17, 23), spread=1e4),
    "by image": _hinge((3, 17, 23), per_image=True),
    "by image, rows": _hinge((5,), "bool", per_image=True),
    "large": _hinge((2, 100, 101)),
    "threads": _hinge((4, 60, 70), per_image=True),
}
_DICE = {**_cases(""), "threads": _case((2, 19, 100, 101)), "eps": _case((2, 5, 17, 23), eps=1e-3)}


# Losses of boxes, and the sigmoid focal loss.


def flat(public: Any, *args: Any, **options: Any) -> tuple[Any, ...]:
    """(loss, gradients...) without the inner tuple."""
    loss, grad = public(*args, **options)
    return (loss, *grad) if isinstance(grad, tuple) else (loss, grad)


def _boxes(family: str, n: int, shared: float = 0.3, **options: Any) -> Case:
    """Pairs of boxes of a family; some of their coordinates are equal."""

    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        source = missing if family == "missing" else FAMILIES[family]
        made = "float32" if dtype == "bfloat16" else dtype
        a, b = cast_boxes(source(n, rng), made), cast_boxes(source(n, rng), made)
        equal = rng.random((n, 4)) < shared
        b[equal] = a[equal]
        if dtype == "bfloat16":
            a, b = cast(a, dtype), cast(b, dtype)
        return (a, b), options

    return make


BOXES: dict[str, Case] = {
    **{name: _boxes(name, 33) for name in FAMILIES},
    "missing": _boxes("missing", 40),
    **{f"size {n}": _boxes("clustered", n) for n in (0, 1, 2, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025, 3000)},
    "threads": _boxes("grid", 70001),
    "mean": _boxes("clustered", 2050, reduction="mean"),
    "sum": _boxes("degenerate", 2050, reduction="sum", eps=0.5),
    "no eps": _boxes("clustered", 100, eps=0.0),
    "mean of none": _boxes("grid", 0, reduction="mean"),
    "sum of many": _boxes("grid", 70001, reduction="sum"),
}


def _logits(shape: tuple[int, ...], spread: float, targets: str = "hard", **options: Any) -> Case:
    def make(dtype: str, rng: np.random.Generator) -> Arguments:
        x, hard, soft = rng.normal(0, spread, shape), rng.random(shape) < 0.3, rng.random(shape)
        if targets == "special":
            draw = rng.random(shape)
            x = np.where(draw < 0.1, np.inf, np.where(draw < 0.2, -np.inf, np.where(draw < 0.3, np.nan, x)))
        inputs = cast(x, dtype)
        if targets == "soft":
            return (inputs, cast(soft, dtype)), options
        if targets in ("bool", "int64", "float32"):
            t = hard.astype(targets)
            return (inputs, cast(t, "bfloat16").to(bool) if dtype == "bfloat16" else t), options
        return (inputs, cast(hard, dtype)), options

    return make


LOGITS: dict[str, Case] = {
    "plane": _logits((2, 3, 7, 11), 2),
    **{f"size {n}": _logits((n,), 3) for n in (0, 1, 15, 16, 17, 1023, 1024, 1025)},
    "no axis": _logits((), 1),
    "large": _logits((300,), 1e4),
    "special": _logits((300,), 10, "special"),
    "special, no weights": _logits((300,), 10, "special", alpha=-1.0, gamma=0.0),
    "special, any power": _logits((300,), 10, "special", gamma=0.5),
    "soft": _logits((300,), 4, "soft"),
    "soft, any power": _logits((300,), 4, "soft", gamma=1.7, alpha=0.6),
    "bool": _logits((300,), 4, "bool"),
    "int64": _logits((300,), 4, "int64"),
    "float32": _logits((300,), 4, "float32"),
    "gamma 0": _logits((300,), 4, "soft", gamma=0.0),
    "gamma 1": _logits((300,), 4, gamma=1.0, alpha=1.0),
    "gamma 0.5": _logits((300,), 30, gamma=0.5, alpha=0.0),
    "gamma 1000": _logits((300,), 4, gamma=1000.0),
    "mean": _logits((3, 5, 301), 4, reduction="mean"),
    "sum": _logits((3, 5, 301), 4, "soft", reduction="sum"),
    "mean of none": _logits((0, 3), 4, reduction="mean"),
    "threads": _logits((70001,), 4),
    "sum of many": _logits((70001,), 4, reduction="sum"),
    "past the caches": _logits((1024, 1027), 4),
}

OPS: dict[str, ArrayOp] = {
    "cross_entropy": ArrayOp(losses.cross_entropy, _CROSS_ENTROPY, threaded=("threads",)),
    "cross_entropy_with_grad": ArrayOp(
        losses.cross_entropy_with_grad, _CROSS_ENTROPY, ALL_FLOATS, threaded=("threads",)
    ),
    "focal_loss": ArrayOp(losses.focal_loss, _FOCAL, threaded=("threads",)),
    "focal_loss_with_grad": ArrayOp(losses.focal_loss_with_grad, _FOCAL, ALL_FLOATS, threaded=("threads",)),
    "dice_loss": ArrayOp(losses.dice_loss, _DICE, threaded=("threads",)),
    "dice_loss_with_grad": ArrayOp(losses.dice_loss_with_grad, _DICE, ALL_FLOATS, threaded=("threads",)),
    "ohem_cross_entropy": ArrayOp(losses.ohem_cross_entropy, _OHEM, threaded=("threads",)),
    "ohem_cross_entropy_with_grad": ArrayOp(
        losses.ohem_cross_entropy_with_grad, _OHEM, ALL_FLOATS, threaded=("threads",)
    ),
    "tversky_loss": ArrayOp(losses.tversky_loss, _TVERSKY, threaded=("threads",)),
    "tversky_loss_with_grad": ArrayOp(losses.tversky_loss_with_grad, _TVERSKY, ALL_FLOATS, threaded=("threads",)),
    "lovasz_softmax_loss": ArrayOp(losses.lovasz_softmax_loss, _LOVASZ, threaded=("threads",)),
    "lovasz_softmax_loss_with_grad": ArrayOp(
        losses.lovasz_softmax_loss_with_grad, _LOVASZ, ALL_FLOATS, threaded=("threads",)
    ),
    "lovasz_hinge_loss": ArrayOp(losses.lovasz_hinge_loss, _LOVASZ_HINGE, threaded=("threads",)),
    "lovasz_hinge_loss_with_grad": ArrayOp(
        losses.lovasz_hinge_loss_with_grad, _LOVASZ_HINGE, ALL_FLOATS, threaded=("threads",)
    ),
    **{
        f"{name}_loss": ArrayOp(
            partial(flat, getattr(box_losses, f"{name}_loss_with_grad")), BOXES, threaded=("threads", "sum of many")
        )
        for name in ("giou", "diou", "ciou")
    },
    "giou_loss of halves": ArrayOp(
        partial(flat, box_losses.giou_loss_with_grad), {"clustered": BOXES["clustered"]}, ("float16", "int32")
    ),
    "giou_loss of bfloat16": ArrayOp(  # not on the emulator: its stand-in for CuPy has no bfloat16
        partial(flat, box_losses.giou_loss_with_grad),
        {"clustered": BOXES["clustered"]},
        ("bfloat16",),
        ("numba", "cpp"),
    ),
    "sigmoid_focal_loss": ArrayOp(
        partial(flat, sigmoid_focal.sigmoid_focal_loss_with_grad),
        LOGITS,
        ALL_FLOATS,
        threaded=("threads", "sum of many", "past the caches"),
    ),
    "sigmoid_focal_loss, value": ArrayOp(
        sigmoid_focal.sigmoid_focal_loss,
        {name: LOGITS[name] for name in ("plane", "special", "soft", "mean", "sum")},
    ),
    "ciou_loss, value": ArrayOp(
        box_losses.ciou_loss,
        {name: BOXES[name] for name in ("clustered", "missing", "mean", "sum")},
    ),
}
