"""Cases of boxes: `Case` is one op on one input, `BoxOp` an area's row for an op."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from agreements import Agreement
from inputs import Array, Image

Call = Callable[[], Any]

QUICK_N = 10_000  # maximum number of boxes in a quick run


@dataclass(frozen=True)
class BoxOp:
    """One op. sizes: boxes and image of a case, by its name."""

    sizes: dict[str, tuple[int, Image]]
    inputs: Callable[[int, Image], tuple[Array, Array, Array, Array]]  # boxes, boxes2, scores, labels
    ours: Callable[[Case, str | None], Call]
    agreement: Callable[[Any, Any], Agreement]
    truth: Callable[[Case], tuple[str, Any]] | None = None  # for more boxes than the reference can handle

    def large(self, size: str) -> bool:
        """Whether a quick run leaves the size out."""
        return self.sizes[size][0] > QUICK_N

    def build(self, op: str, size: str) -> Case:
        n, image = self.sizes[size]
        return Case(self, op, size, n, image, *self.inputs(n, image))


@dataclass(frozen=True)
class Case:
    """One op on one input. Arrays that the op does not take are empty."""

    row: BoxOp = field(compare=False, repr=False)
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

    def ours(self, backend: str | None = None) -> Call:
        return self.row.ours(self, backend)

    def truth(self) -> tuple[str, Any]:
        """Source and value of the right answer: the O(N^2) reference up to 10,000 boxes, which takes seconds."""
        if self.n <= 10_000:
            return "fastdet reference", self.ours("reference")()
        assert self.row.truth is not None, f"{self.name}: no library to check so large an answer with"
        return self.row.truth(self)

    def agreement(self, want: Any, got: Any) -> Agreement:
        return self.row.agreement(want, got)

    @property
    def method(self) -> str:
        """The weight of Soft-NMS: "linear" or "gaussian"."""
        return self.op.removeprefix("soft_nms_")

    @property
    def nbytes(self) -> int:
        """Bytes that a pairwise op has to write."""
        return self.n * self.n * 4 if self.op.startswith("box_iou") else 0

    def cached(self, form: str, make: Callable[[], Array]) -> Array:
        """An input in a peer's own form, made once for all peers and never inside the timing."""
        if form not in self.converted:
            self.converted[form] = make()
        return self.converted[form]

    def boxes64(self) -> Array:
        return self.cached("boxes64", lambda: self.boxes.astype(np.float64))

    def scores64(self) -> Array:
        return self.cached("scores64", lambda: self.scores.astype(np.float64))

    def xywh64(self) -> Array:
        b = self.boxes64()
        return self.cached("xywh64", lambda: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]))

    def unit64(self) -> Array:
        """Boxes scaled to [0, 1], as ensemble-boxes needs them."""
        return self.cached("unit64", lambda: self.boxes64() / np.asarray(self.image * 2))


def touched(case: Case) -> Array:
    """An output buffer for a pairwise op whose pages exist already."""
    out = np.empty((case.n, case.n), np.float32)
    out.fill(1)
    return out
