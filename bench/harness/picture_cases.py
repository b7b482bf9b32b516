"""Cases of images: label maps, resampling, pooling, losses. `PictureOp` is an area's row for an op.

A case follows from its name alone: `Picture.arrays` are the inputs; its row has fastdet's call, the right answer and
the difference from it that is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from agreements import MAX_DIFFERENCE, Agreement, difference

Call = Callable[[], Any]
Arrays = dict[str, Any]

VOID = 255


@dataclass(frozen=True)
class PictureOp:
    """One op. sizes: the arguments of `make`, by the case's name."""

    sizes: dict[str, tuple[Any, ...]]
    make: Callable[..., Arrays]
    ours: Callable[[Arrays, str | None], Call]
    nbytes: Callable[[Arrays], int]  # bytes that must be read and written
    written: Callable[[Arrays], int] = lambda a: 0  # the written part of them
    close: float = 0.0  # allowed difference of fastdet's answer, in units of the largest value; 0: equal
    truth: Callable[[Arrays], tuple[str, Any]] | None = None  # None: fastdet's reference

    def large(self, size: str) -> bool:
        """Whether a quick run leaves the size out: every size but the first."""
        return size != next(iter(self.sizes))

    def build(self, op: str, size: str) -> Picture:
        first = self.sizes[size][0]
        return Picture(self, op, size, int(np.prod(first)), self.make(*self.sizes[size]))


@dataclass(frozen=True)
class Picture:
    """One op on one input."""

    row: PictureOp = field(compare=False, repr=False)
    op: str
    size: str
    n: int  # number of pixels, or of outputs
    arrays: Arrays = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.op} {self.size}"

    @property
    def nbytes(self) -> int:
        return self.row.nbytes(self.arrays)

    @property
    def written(self) -> int:
        return self.row.written(self.arrays)

    def ours(self, backend: str | None = None) -> Call:
        return self.row.ours(self.arrays, backend)

    def truth(self) -> tuple[str, Any]:
        return self.row.truth(self.arrays) if self.row.truth else ("fastdet reference", self.ours("reference")())

    def agreement(self, want: Any, got: Any) -> Agreement:
        distance = difference(want, got)
        text = "same" if distance == 0 else f"within {distance:.0e} of the largest value"
        return Agreement(text, distance <= self.row.close, not distance < MAX_DIFFERENCE)

    def tensor(self, name: str, *, last: bool = False) -> Any:
        """An input as a torch tensor, made once; `last`: in channels-last memory."""
        torch = import_module("torch")
        torch.set_num_threads(int(os.environ.get("FASTDET_NUM_THREADS") or len(os.sched_getaffinity(0))))
        key = f"{name} {last}"
        if key not in self.arrays:
            tensor = torch.from_numpy(self.arrays[name])
            self.arrays[key] = tensor.contiguous(memory_format=torch.channels_last) if last else tensor
        return self.arrays[key]


def bytes_of(*names: str) -> Callable[[Arrays], int]:
    return lambda a: sum(a[name].nbytes for name in names)
