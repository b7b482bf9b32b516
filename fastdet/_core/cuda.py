"""The CUDA extension, and the value errors of its kernels, raised without waiting for the GPU.

Importing this module fails, with the reason, where no CUDA kernel can run.

Where an op of the CPU raises for a value (a label that is no class, an index outside the image), the same op on a GPU
has returned before the value is read. The kernel notes the fault in the host's memory, and the next call on a GPU
raises it; what the op returned is then meaningless (losses are NaN). With FASTDET_SYNC=1 each call waits, and raises
its own faults with the CPU's text.
"""

from __future__ import annotations

from typing import NoReturn

try:
    import fastdet._cuda as native
except ModuleNotFoundError:
    raise ImportError("this build of fastdet has no CUDA kernels: there was no nvcc, or FASTDET_CUDA=0") from None

if _reason := native.unavailable():
    raise ImportError(_reason)

__all__ = ["found", "native", "raise_faults"]


def found(op: str) -> int | None:
    """The code of the fault of the call just made, where calls wait; else None."""
    fault = native.take_fault() if native.waits() else None
    if fault is not None and fault[0] != op:  # of another thread's call
        _raise(*fault)
    return None if fault is None else fault[1]


def raise_faults() -> None:
    """Raise ValueError for what an earlier call has found."""
    fault = native.take_fault()
    if fault is not None:
        _raise(*fault)


def _raise(op: str, code: int) -> NoReturn:
    if op.startswith("confusion_matrix"):
        second = "prediction" if op == "confusion_matrix" else "logits"
        where = f"{second if code & 1 else 'target'} at flat index {code >> 1}"
    else:
        where = f"{'indices' if 'pool' in op else 'target'} at flat index {code}"
    raise ValueError(
        f"{op}: an earlier call on the GPU had a value out of range ({where}), and its results are meaningless; "
        "FASTDET_SYNC=1 raises this where it happens"
    )
