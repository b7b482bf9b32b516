"""A case that is timed on a GPU: inputs, fastdet's call, its peers, the bytes that must move, and the aim.

One call serves both devices: the arrays decide. Peers are torch's and torchvision's ops. Aims are for an H200. Each
area has its cases in `gpu_cases(torch)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

COPY = 4.3e12  # bytes a second that a large copy reads and writes on an H200

VOID = 255
Call = Callable[..., Any]


@dataclass
class GpuCase:
    op: str
    size: str
    make: Callable[[], tuple[Any, ...]]  # arrays on the CPU, NumPy's or torch's
    ours: Call  # function of the arrays
    nbytes: float  # bytes read and written once; 0 where latency dominates
    aim_us: float | None = None
    peers: dict[str, Call] = field(default_factory=dict)  # functions of the arrays on the GPU
    cpu: bool = True  # also timed on the CPU
    large: bool = False  # a quick run leaves it out

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
