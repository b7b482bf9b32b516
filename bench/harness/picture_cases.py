"""Cases of images: label maps, resampling, pooling, losses. `PictureOp` is the row that an area has for an op.

A case is made from its name alone: `Picture.arrays` are the inputs, its row says how fastdet is called on them, what
the right answer is and how far an answer may be from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from agreements import GROSS, Agreement, difference

Call = Callable[[], Any]
Arrays = dict[str, Any]

VOID = 255


@dataclass(frozen=True)
class PictureOp:
    """One op. sizes: what a case is made from, by its name."""

    sizes: dict[str, tuple[Any, ...]]
    make: Callable[..., Arrays]
    ours: Callable[[Arrays, str | None], Call]
    nbytes: Callable[[Arrays], int]  # what has to be read and written
    written: Callable[[Arrays], int] = lambda a: 0  # the part of it that is written
    close: float = 0.0  # what fastdet's answer may differ from the right one by, of its largest value; 0: equal
    truth: Callable[[Arrays], tuple[str, Any]] | None = None  # without: fastdet's reference

    def large(self, size: str) -> bool:
        """Left out of a quick run: every size but the first."""
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
    n: int  # of what is counted: pixels, or outputs
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
        worst = difference(want, got)
        text = "same" if worst == 0 else f"within {worst:.0e} of the largest value"
        return Agreement(text, worst <= self.row.close, not worst < GROSS)

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
