"""The CUDA extension, and the value errors of its kernels.

Importing this module fails, with the reason, where no CUDA kernel can run.

GPU value errors are asynchronous: the next call on a GPU raises them. An op returns before its kernel has read a wrong
value (a label that is no class, an index outside the image). The kernel writes the fault to host memory; the results of
that op are meaningless (losses are NaN). With FASTDET_SYNC=1 each call waits, and raises its own faults with the same
text as on the CPU.
"""

from __future__ import annotations

from typing import NoReturn

try:
    import fastdet._cuda as native
except ModuleNotFoundError:
    raise ImportError("this build of fastdet has no CUDA kernels: there was no nvcc, or FASTDET_CUDA=0") from None

if _reason := native.unavailable():
    raise ImportError(_reason)

__all__ = ["fault_code", "native", "raise_faults"]


def fault_code(op: str) -> int | None:
    """The code of the fault of the call just made, if calls wait (FASTDET_SYNC=1); else None."""
    fault = native.take_fault() if native.waits() else None
    if fault is not None and fault[0] != op:  # a fault of a call in another thread
        _raise(*fault)
    return None if fault is None else fault[1]


def raise_faults() -> None:
    """Raise ValueError for the fault of an earlier call, if there is one."""
    fault = native.take_fault()
    if fault is not None:
        _raise(*fault)


def _raise(op: str, code: int) -> NoReturn:
    if op.startswith("confusion_matrix"):
        second = "prediction" if op == "confusion_matrix" else "logits"
        where = f"{second if code & 1 else 'target'} at flat index {code >> 1}"
    elif "roi_" in op:
        in_places, code = (code & 1, code >> 1) if op == "roi_pool_backward" else (0, code)
        where = f"indices at flat index {code}" if in_places else f"boxes at row {code}"
    else:
        where = f"{'indices' if 'pool' in op else 'target'} at flat index {code}"
    raise ValueError(
        f"{op}: an earlier call on the GPU had a value out of range ({where}), and its results are meaningless; "
        "set FASTDET_SYNC=1 to raise this where it happens"
    )
