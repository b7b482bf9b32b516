"""The cases that are timed: inputs, fastdet's own call, the right answer, and how to compare two answers.

One table, `SIZES`, says what is timed; tests and `compare.py` both read it. Here are boxes; images are in `images.py`.
Ops are named as in fastdet; an op ending in `_out` is the same op writing into a buffer that the caller keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import images
import numpy as np
from images import Picture
from inputs import COCO, WIDE, Array, Image, boxes_clustered, boxes_uniform

Call = Callable[[], Any]

SIZES: dict[str, dict[str, tuple[int, Image]]] = {
    "nms": {
        "10": (10, COCO),
        "100": (100, COCO),
        "1k": (1_000, COCO),
        "10k": (10_000, COCO),
        "100k": (100_000, WIDE),
        "1M": (1_000_000, WIDE),
    },
    "batched_nms": {"10k": (10_000, COCO), "100k": (100_000, COCO)},
    "soft_nms_linear": {"1k": (1_000, COCO), "10k": (10_000, COCO)},
    "soft_nms_gaussian": {"1k": (1_000, COCO), "10k": (10_000, COCO)},
    "box_iou": {"10x10": (10, COCO), "1000x1000": (1_000, COCO), "5000x5000": (5_000, COCO)},
    "box_iou_out": {"1000x1000": (1_000, COCO), "5000x5000": (5_000, COCO)},
}

# What `compare.py --sections` takes. "overhead": the cost of a call on ten boxes, its Python part included.
SECTIONS: dict[str, list[tuple[str, str]]] = {
    "overhead": [("nms", "10"), ("box_iou", "10x10")],
    "nms": [("nms", size) for size in ("100", "1k", "10k", "100k", "1M")],
    "batched_nms": [("batched_nms", size) for size in SIZES["batched_nms"]],
    "soft_nms": [(f"soft_nms_{method}", size) for method in ("linear", "gaussian") for size in ("1k", "10k")],
    # the reused buffers come last: they change how malloc behaves for the rest of the process
    "box_iou": [(op, size) for op in ("box_iou", "box_iou_out") for size in ("1000x1000", "5000x5000")],
    **images.SECTIONS,
}

CLASSES = 80
SEED = {"nms": 7, "batched_nms": 9, "soft_nms_linear": 11, "soft_nms_gaussian": 11}
GROSS = 0.01  # a peer that differs in more than this share of its answer is marked WRONG


@dataclass(frozen=True)
class Case:
    """One op on one input. Arrays that the op does not take are empty."""

    op: str
    size: str
    n: int
    image: Image
    boxes: Array  # (n, 4) float32
    boxes2: Array  # (n, 4) float32, the other side of an IoU
    scores: Array  # (n,) float32
    labels: Array  # (n,) int64
    iou_threshold: float = 0.5
    sigma: float = 0.5
    min_score: float = 0.001
    converted: dict[str, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.op} {self.size}"

    @property
    def method(self) -> str:
        """How Soft-NMS weighs: "linear" or "gaussian"."""
        return self.op.removeprefix("soft_nms_")

    @property
    def nbytes(self) -> int:
        """Bytes that a pairwise op has to write."""
        return self.n * self.n * 4 if self.op.startswith("box_iou") else 0

    def kept(self, what: str, make: Callable[[], Array]) -> Array:
        """An input in a peer's own form, made once for all peers and never inside the timing."""
        if what not in self.converted:
            self.converted[what] = make()
        return self.converted[what]

    def boxes64(self) -> Array:
        return self.kept("boxes64", lambda: self.boxes.astype(np.float64))

    def scores64(self) -> Array:
        return self.kept("scores64", lambda: self.scores.astype(np.float64))

    def xywh64(self) -> Array:
        b = self.boxes64()
        return self.kept("xywh64", lambda: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]))

    def unit64(self) -> Array:
        """Boxes scaled to [0, 1], as ensemble-boxes wants them."""
        return self.kept("unit64", lambda: self.boxes64() / np.asarray(self.image * 2))


@lru_cache(maxsize=2)
def build(op: str, size: str) -> Case | Picture:
    """The case `size` of `op`; the last few are remembered."""
    if op in images.OPS:
        return images.build(op, size)
    n, image = SIZES[op][size]
    nothing = np.empty(0, np.float32)
    if op.startswith("box_iou"):
        first, second = boxes_uniform(n, 1, image), boxes_uniform(n, 2, image)
        return Case(op, size, n, image, first, second, nothing, nothing)
    classes = CLASSES if op == "batched_nms" else 1
    boxes, scores, labels = boxes_clustered(n, SEED[op], image, classes=classes)
    return Case(op, size, n, image, boxes, boxes[:0], scores, labels)


def ours(case: Case | Picture, backend: str | None = None) -> Call:
    """fastdet's call for `case`; `backend` None is what a user gets who names none."""
    if isinstance(case, Picture):
        return case.ours(backend)
    module = import_module("fastdet.boxes" if case.op.startswith("box_iou") else "fastdet.nms")
    a, b, scores, labels, t = case.boxes, case.boxes2, case.scores, case.labels, case.iou_threshold
    if case.op == "nms":
        return lambda: module.nms(a, scores, t, backend=backend)
    if case.op == "batched_nms":
        return lambda: module.batched_nms(a, scores, labels, t, backend=backend)
    if case.op == "box_iou":
        return lambda: module.box_iou(a, b, backend=backend)
    if case.op == "box_iou_out":
        out = touched(case)
        return lambda: module.box_iou(a, b, out=out, backend=backend)
    options = {"iou_threshold": t, "sigma": case.sigma, "min_score": case.min_score, "method": case.method}
    return lambda: module.soft_nms(a, scores, backend=backend, **options)


def touched(case: Case) -> Array:
    """An output buffer for a pairwise op whose pages exist already."""
    out = np.empty((case.n, case.n), np.float32)
    out.fill(1)
    return out


def truth(case: Case | Picture) -> tuple[str, Any]:
    """The right answer and where it comes from: the O(N^2) reference as far as that takes seconds at most."""
    if isinstance(case, Picture):
        return case.truth()
    if case.n <= 10_000:
        return "fastdet reference", ours(case, "reference")()
    exact = {"torchvision": torchvision_kept, "fastdet numba": lambda c: ours(c, "numba")(), "lsnms": lsnms_kept}
    if case.n > 100_000:
        del exact["torchvision"]  # quadratic: minutes
    for name, answer in exact.items():
        with suppress(ImportError, NotImplementedError, RuntimeError):  # not installed, or not for this torch
            return name, answer(case)
    raise RuntimeError(f"{case.name}: nobody here to check the answer against; install one of {', '.join(exact)}")


def torchvision_kept(case: Case) -> Array:
    """Exact: so many boxes of several classes are one call for each class there, without an offset."""
    torch, ops = import_module("torch"), import_module("torchvision.ops")
    boxes, scores = torch.from_numpy(case.boxes), torch.from_numpy(case.scores)
    if case.op == "batched_nms":
        kept = ops.batched_nms(boxes, scores, torch.from_numpy(case.labels), case.iou_threshold)
    else:
        kept = ops.nms(boxes, scores, case.iou_threshold)
    return np.asarray(kept)


def lsnms_kept(case: Case) -> Array:
    """Exact but for float64: an IoU within a rounding of the threshold could fall on the other side."""
    classes = {"class_ids": case.labels} if case.op == "batched_nms" else {}
    kept = import_module("lsnms").nms(case.boxes64(), case.scores64(), case.iou_threshold, 0.0, **classes)
    return np.asarray(kept)


@dataclass(frozen=True)
class Agreement:
    """How an answer compares to the right one. equal: to the last bit. wrong: too far off to be compared."""

    text: str
    equal: bool
    wrong: bool


def agreement(case: Case | Picture, want: Any, got: Any) -> Agreement:
    """Compare an answer to the right one: kept boxes are counted, numbers subtracted."""
    if isinstance(case, Picture):
        worst = images.difference(want, got)
        text = "same" if worst == 0 else f"within {worst:.0e} of the largest value"
        return Agreement(text, worst <= images.OPS[case.op].close, not worst < GROSS)
    if case.op.startswith("box_iou"):
        if np.shape(want) != np.shape(got):
            return Agreement(f"shape {np.shape(got)}, not {np.shape(want)}", False, True)
        if np.array_equal(want, got):
            return Agreement("same", True, False)
        worst = float(np.max(np.abs(np.asarray(got, np.float64) - want)))
        return Agreement(f"max difference {worst:.1e}", False, not worst < 1e-3)
    if not case.op.startswith("soft_nms"):
        return same_kept(np.asarray(want), np.asarray(got))
    kept = same_kept(want[0], got[0])
    if len(want[0]) != len(got[0]) or np.isnan(got[1]).any():
        return Agreement(f"{kept.text}; scores not compared", False, kept.wrong)
    worst = float(np.max(np.abs(np.sort(want[1]) - np.sort(got[1])), initial=0))
    text = kept.text if worst == 0 else f"{kept.text}; scores within {worst:.1e}"
    return Agreement(text, kept.equal and worst == 0, kept.wrong or worst > GROSS)


def same_kept(want: Array, got: Array) -> Agreement:
    """Compare kept indices: equal, equal as a set, or how many are in one list only."""
    if np.array_equal(want, got):
        return Agreement("same", True, False)
    differ = np.setxor1d(want, got).size
    if differ == 0:
        moved = int(np.count_nonzero(want != got)) if len(want) == len(got) else abs(len(got) - len(want))
        return Agreement(f"same boxes, {moved} in another place", False, len(want) != len(got))
    return Agreement(f"{differ} of {len(want)} kept differ", False, differ > GROSS * max(len(want), 1))
