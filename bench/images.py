"""The cases of segmentation that are timed: label maps, resampling, pooling, losses. `cases.py` has those of boxes.

A case is made from its name alone: `Picture.arrays` are the inputs, the op's row in `OPS` says how fastdet is called
on them, what the right answer is and how far an answer may be from it. Ops are named as in fastdet; an op ending in
`_out` writes into buffers that the caller keeps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from inputs import label_maps

Call = Callable[[], Any]
Arrays = dict[str, Any]

VOID = 255


@dataclass(frozen=True)
class Row:
    """One op. sizes: what a case is made from, by its name."""

    sizes: dict[str, tuple[Any, ...]]
    make: Callable[..., Arrays]
    ours: Callable[[Arrays, str | None], Call]
    nbytes: Callable[[Arrays], int]  # what has to be read and written
    written: Callable[[Arrays], int] = lambda a: 0  # the part of it that is written
    close: float = 0.0  # what fastdet's answer may differ from the right one by, of its largest value; 0: equal
    truth: Callable[[Arrays], tuple[str, Any]] | None = None  # without: fastdet's reference


@dataclass(frozen=True)
class Picture:
    """One op on one input."""

    op: str
    size: str
    n: int  # of what is counted: pixels, or outputs
    arrays: Arrays = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.op} {self.size}"

    @property
    def nbytes(self) -> int:
        return OPS[self.op].nbytes(self.arrays)

    @property
    def written(self) -> int:
        return OPS[self.op].written(self.arrays)

    def ours(self, backend: str | None = None) -> Call:
        return OPS[self.op].ours(self.arrays, backend)

    def truth(self) -> tuple[str, Any]:
        row = OPS[self.op]
        return row.truth(self.arrays) if row.truth else ("fastdet reference", self.ours("reference")())

    def tensor(self, name: str, *, last: bool = False) -> Any:
        """An input as a torch tensor, made once; `last`: in channels-last memory."""
        torch = import_module("torch")
        torch.set_num_threads(int(os.environ.get("FASTDET_NUM_THREADS") or len(os.sched_getaffinity(0))))
        key = f"{name} {last}"
        if key not in self.arrays:
            tensor = torch.from_numpy(self.arrays[name])
            self.arrays[key] = tensor.contiguous(memory_format=torch.channels_last) if last else tensor
        return self.arrays[key]


@lru_cache(maxsize=1)
def build(op: str, size: str) -> Picture:
    row = OPS[op]
    arrays = row.make(*row.sizes[size])
    n = int(np.prod(row.sizes[size][0])) if isinstance(row.sizes[size][0], tuple) else int(row.sizes[size][0])
    return Picture(op, size, n, arrays)


def difference(want: Any, got: Any) -> float:
    """The largest difference of two answers, in units of the largest value; infinite where shapes differ."""
    if isinstance(want, tuple):
        if np.asarray(want[-1]).dtype == np.uint8:  # compact places, which peers do not have: the values
            return difference(want[0], got[0])
        return max(difference(w, g) for w, g in zip(want, got, strict=True)) if len(want) == len(got) else np.inf
    want, got = np.asarray(want), np.asarray(got)
    if want.shape != got.shape:
        return np.inf
    if np.array_equal(want, got):
        return 0.0
    scale = float(np.max(np.abs(want), initial=0)) or 1.0
    return float(np.max(np.abs(got.astype(np.float64) - want))) / scale


# ------------------------------------------------------------------------------------------ label maps
def make_labels(shape: tuple[int, ...], classes: int, kind: str, dtype: str) -> Arrays:
    target, prediction = label_maps(shape, classes, kind, 3)
    return {"target": target.astype(dtype), "prediction": prediction.astype(dtype), "classes": classes}


def our_confusion(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.segmentation").confusion_matrix
    return lambda: op(a["target"], a["prediction"], a["classes"], ignore_index=VOID, void="drop", backend=backend)


def bincount_truth(a: Arrays) -> tuple[str, Any]:
    keep = a["target"] != VOID
    key = a["classes"] * a["target"][keep].astype(np.int64) + a["prediction"][keep]
    return "numpy.bincount", np.bincount(key, minlength=a["classes"] ** 2).reshape(a["classes"], -1)


def make_logits(shape: tuple[int, ...], low: tuple[int, int], classes: int) -> Arrays:
    target, _ = label_maps(shape, classes, "coherent", 3)
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1, (shape[0], classes, *low)).astype(np.float32)
    return {"target": target, "logits": logits, "classes": classes}


def our_fused(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.segmentation").confusion_matrix_from_logits
    size = a["target"].shape[1:]
    return lambda: op(a["target"], a["logits"], ignore_index=VOID, void="drop", size=size, backend=backend)


# ------------------------------------------------------------------------------------------ resampling
def make_image(out: tuple[int, ...], low: tuple[int, int], dtype: str = "float32") -> Arrays:
    rng = np.random.default_rng(0)
    shape = (*out[:2], *low)
    x = rng.integers(0, 256, shape, np.uint8) if dtype == "uint8" else rng.normal(0, 1, shape).astype(dtype)
    return {"x": x, "size": out[2:], "shape": out}


def our_upsample(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.upsample").upsample_bilinear
    return lambda: op(a["x"], a["size"], backend=backend)


def our_upsample_out(a: Arrays, backend: str | None) -> Call:
    op, out = import_module("fastdet.upsample").upsample_bilinear, np.ones(a["shape"], a["x"].dtype)
    return lambda: op(a["x"], a["size"], out=out, backend=backend)


def make_gradient(out: tuple[int, ...], low: tuple[int, int]) -> Arrays:
    grad = np.random.default_rng(1).normal(0, 1, out).astype(np.float32)
    return {"grad": grad, "low": low}


def our_upsample_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.upsample").upsample_bilinear_backward
    return lambda: op(a["grad"], a["low"], backend=backend)


# --------------------------------------------------------------------------------------------- pooling
def make_pool(shape: tuple[int, ...], kernel: int, stride: int, padding: int) -> Arrays:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, shape).astype(np.float32)
    pool = import_module("fastdet.pool").max_pool2d
    values, indices = pool(x, kernel, stride, padding)
    _, compact = pool(x, kernel, stride, padding, compact=True)
    grad = rng.normal(0, 1, values.shape).astype(np.float32)
    wide = rng.normal(0, 1, shape).astype(np.float32)
    window = (kernel, stride, padding)
    return {
        "x": x,
        "values": values,
        "indices": indices,
        "compact": compact,
        "grad": grad,
        "wide": wide,
        "window": window,
    }


def our_pool(compact: bool, reuse: bool) -> Callable[[Arrays, str | None], Call]:
    def ours(a: Arrays, backend: str | None) -> Call:
        op = import_module("fastdet.pool").max_pool2d
        out = (np.ones_like(a["values"]), np.ones_like(a["compact" if compact else "indices"])) if reuse else None
        return lambda: op(a["x"], *a["window"], compact=compact, out=out, backend=backend)

    return ours


def our_pool_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.pool").max_pool2d_backward
    return lambda: op(a["grad"], a["indices"], a["x"].shape[-2:], *a["window"], backend=backend)


def our_unpool(reuse: bool) -> Callable[[Arrays, str | None], Call]:
    def ours(a: Arrays, backend: str | None) -> Call:
        op = import_module("fastdet.pool").max_unpool2d
        out = np.ones_like(a["x"]) if reuse else None
        return lambda: op(a["values"], a["indices"], *a["window"], out=out, backend=backend)

    return ours


def our_unpool_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.pool").max_unpool2d_backward
    return lambda: op(a["wide"], a["indices"], *a["window"], backend=backend)


# ---------------------------------------------------------------------------------------------- losses
def make_loss(shape: tuple[int, ...], classes: int) -> Arrays:
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(0, 1, (shape[0], classes, *shape[1:])).astype(np.float32)
    target, _ = label_maps(shape, classes, "coherent", 3)
    weight = (rng.random(classes) + 0.5).astype(np.float32)
    return {"logits": logits, "target": target.astype(np.int64), "weight": weight, "classes": classes}


def our_cross_entropy(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").cross_entropy_with_grad
    return lambda: op(a["logits"], a["target"], a["weight"], VOID, backend=backend)


def our_focal(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").focal_loss_with_grad
    return lambda: op(a["logits"], a["target"], None, 2.0, VOID, backend=backend)


def make_onehot(shape: tuple[int, ...], classes: int) -> Arrays:
    made = make_loss(shape, classes)
    made["onehot"] = np.moveaxis(
        np.eye(classes + 1, classes, dtype=np.float32)[np.minimum(made["target"], classes)], -1, 1
    ).copy()
    return made


def our_sigmoid_focal(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.losses").sigmoid_focal_loss_with_grad
    return lambda: op(a["logits"], a["onehot"], reduction="mean", backend=backend)


LABELS: dict[str, tuple[Any, ...]] = {
    f"{shape[0]}x{shape[1]}x{shape[2]} {classes} classes {kind} {dtype}": (shape, classes, kind, dtype)
    for shape, classes, kind, dtype in (
        ((1, 256, 512), 19, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "coherent", "uint8"),
        ((8, 1024, 2048), 19, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "coherent", "int64"),
        ((1, 1024, 2048), 150, "coherent", "uint8"),
        ((1, 1024, 2048), 19, "noise", "uint8"),
        ((1, 1024, 2048), 150, "noise", "uint8"),
        ((1, 1024, 2048), 19, "noise", "int64"),
    )
}
FUSED: dict[str, tuple[Any, ...]] = {
    "1x19x64x64 to 512x512": ((1, 512, 512), (64, 64), 19),
    "1x19x128x256 to 1024x2048": ((1, 1024, 2048), (128, 256), 19),
    "4x19x128x256 to 1024x2048": ((4, 1024, 2048), (128, 256), 19),
}
IMAGES: dict[str, tuple[Any, ...]] = {
    "1x64x128x128 to 256x256": ((1, 64, 256, 256), (128, 128)),
    "1x64x128x128 to 200x333": ((1, 64, 200, 333), (128, 128)),
    "8x3x224x224 to 448x448": ((8, 3, 448, 448), (224, 224)),
    "1x19x128x256 to 1024x2048": ((1, 19, 1024, 2048), (128, 256)),
}
BYTES = {"8x3x224x224 to 448x448 uint8": ((8, 3, 448, 448), (224, 224), "uint8")}
POOLS: dict[str, tuple[Any, ...]] = {
    "1x64x112x112 2x2": ((1, 64, 112, 112), 2, 2, 0),
    "2x64x224x224 2x2": ((2, 64, 224, 224), 2, 2, 0),
    "8x64x224x224 2x2": ((8, 64, 224, 224), 2, 2, 0),
    "8x64x112x112 3x3/2": ((8, 64, 112, 112), 3, 2, 1),
}
TWO = {name: size for name, size in POOLS.items() if name.endswith("2x2")}
BATCHES: dict[str, tuple[Any, ...]] = {
    f"{n}x19x{side}x{side}": ((n, side, side), 19) for n, side in ((1, 128), (1, 512), (8, 512))
}


def _sum(*names: str) -> Callable[[Arrays], int]:
    return lambda a: sum(a[name].nbytes for name in names)


def _upsampled(a: Arrays) -> int:
    return int(np.prod(a["shape"])) * a["x"].itemsize


def _twice(a: Arrays) -> int:
    return 2 * a["logits"].nbytes + a["target"].nbytes


POOLED = {"nbytes": _sum("x", "values", "indices"), "written": _sum("values", "indices")}
UNPOOLED = {"nbytes": _sum("x", "values", "indices"), "written": _sum("x")}

OPS: dict[str, Row] = {
    "confusion_matrix": Row(LABELS, make_labels, our_confusion, _sum("target", "prediction"), truth=bincount_truth),
    "confusion_matrix_from_logits": Row(FUSED, make_logits, our_fused, _sum("target", "logits")),
    "upsample_bilinear": Row(
        {**IMAGES, **BYTES}, make_image, our_upsample, lambda a: a["x"].nbytes + _upsampled(a), _upsampled
    ),
    "upsample_bilinear_out": Row(
        {**IMAGES, **BYTES}, make_image, our_upsample_out, lambda a: a["x"].nbytes + _upsampled(a), _upsampled
    ),
    "upsample_bilinear_backward": Row(IMAGES, make_gradient, our_upsample_backward, _sum("grad")),
    "max_pool2d": Row(POOLS, make_pool, our_pool(False, False), **POOLED),
    "max_pool2d_out": Row(POOLS, make_pool, our_pool(False, True), **POOLED),
    "max_pool2d_compact_out": Row(
        POOLS, make_pool, our_pool(True, True), _sum("x", "values", "compact"), _sum("values", "compact")
    ),
    "max_pool2d_backward": Row(POOLS, make_pool, our_pool_backward, **UNPOOLED),
    "max_unpool2d": Row(TWO, make_pool, our_unpool(False), **UNPOOLED),
    "max_unpool2d_out": Row(TWO, make_pool, our_unpool(True), **UNPOOLED),
    "max_unpool2d_backward": Row(TWO, make_pool, our_unpool_backward, _sum("wide", "indices", "grad"), _sum("grad")),
    "cross_entropy": Row(BATCHES, make_loss, our_cross_entropy, _twice, _sum("logits"), close=1e-6),
    "focal_loss": Row(BATCHES, make_loss, our_focal, _twice, _sum("logits"), close=1e-6),
    "sigmoid_focal_loss": Row(
        BATCHES, make_onehot, our_sigmoid_focal, lambda a: 3 * a["logits"].nbytes, _sum("logits"), close=1e-6
    ),
}  # fmt: skip

SECTIONS: dict[str, list[tuple[str, str]]] = {
    "confusion": [(op, size) for op in ("confusion_matrix", "confusion_matrix_from_logits") for size in OPS[op].sizes],
    "upsample": [
        (op, size)
        for op in ("upsample_bilinear", "upsample_bilinear_out", "upsample_bilinear_backward")
        for size in OPS[op].sizes
    ],
    "pool": [(op, size) for op in OPS if "pool" in op for size in OPS[op].sizes],
    "losses": [(op, size) for op in ("cross_entropy", "focal_loss", "sigmoid_focal_loss") for size in OPS[op].sizes],
}
