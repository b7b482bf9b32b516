"""Cases of boxes: `Case` is one op on one input, `BoxOp` the row that an area has for an op."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from agreements import Agreement
from inputs import Array, Image

Call = Callable[[], Any]

QUICK_N = 10_000  # boxes of a quick run, at most


@dataclass(frozen=True)
class BoxOp:
    """One op. sizes: boxes and image of a case, by its name."""

    sizes: dict[str, tuple[int, Image]]
    inputs: Callable[[int, Image], tuple[Array, Array, Array, Array]]  # boxes, boxes2, scores, labels
    ours: Callable[[Case, str | None], Call]
    agreement: Callable[[Any, Any], Agreement]
    truth: Callable[[Case], tuple[str, Any]] | None = None  # for more boxes than the reference takes

    def large(self, size: str) -> bool:
        """Left out of a quick run."""
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
        """The right answer and where it comes from: the O(N^2) reference as far as that takes seconds at most."""
        if self.n <= 10_000:
            return "fastdet reference", self.ours("reference")()
        assert self.row.truth is not None, f"{self.name}: nobody to check so large an answer against"
        return self.row.truth(self)

    def agreement(self, want: Any, got: Any) -> Agreement:
        return self.row.agreement(want, got)

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


def touched(case: Case) -> Array:
    """An output buffer for a pairwise op whose pages exist already."""
    out = np.empty((case.n, case.n), np.float32)
    out.fill(1)
    return out
