"""A case that is timed on a GPU: inputs, fastdet's call, its peers, the bytes that have to move, and the aim.

One call serves both devices: the arrays decide. Peers are torch's own ops and torchvision's. Aims are those of an H200.
Each area has its cases in `gpu_cases(torch)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

COPY = 4.3e12  # bytes read and written a second, of a large copy on an H200

VOID = 255
Call = Callable[..., Any]


@dataclass
class GpuCase:
    op: str
    size: str
    make: Callable[[], tuple[Any, ...]]  # arrays on the CPU, NumPy's or torch's
    ours: Call  # of the arrays
    nbytes: float  # read and written once; 0 where latency is what it costs
    aim_us: float | None = None
    peers: dict[str, Call] = field(default_factory=dict)  # of the arrays on the GPU
    cpu: bool = True  # also timed on the CPU
    large: bool = False  # left out of a quick run

    @property
    def name(self) -> str:
        return f"{self.op} {self.size}"

    @property
    def floor_us(self) -> float:
        return self.nbytes / COPY * 1e6


def torchvision_op(name: str) -> dict[str, Call]:
    try:
        ops = import_module("torchvision.ops")
    except Exception:  # absent, or built for another torch
        return {}
    return {"torchvision": getattr(ops, name)}


def random(torch: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
