"""The only file that chooses a backend: cpp, else numba, else the NumPy reference; cuda for arrays on a GPU.

A backend that is named never falls back. Every backend's function of an op has the reference's name and signature:
NumPy arrays (cuda: `DeviceArray`s) that passed the checks of the public function in, the same out.

Kernels are found by path, there is no list of them. A reference that is defined in `fastdet.nms.greedy` belongs to the
area `fastdet.nms`: its Numba kernels are in `fastdet.nms._numba`, its CUDA kernels in `fastdet.nms._cuda`. C++ kernels
are all in `fastdet._cpp`. Each module is imported at its first use and kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, TypeVar

from fastdet._core import check
from fastdet._core.device_arrays import DeviceArray, one_place

F = TypeVar("F", bound=Callable[..., Any])

native: Any
NAMES = ("cpp", "numba", "reference")
MAX_THREADS = 1024
_missing: dict[str, str] = {}  # backend -> why it is not available; an import is tried once
_kernels: dict[tuple[str, str], Any] = {}  # (backend, module of the reference) -> module of the kernels


def _environment(native: Any) -> None:
    """Apply FASTDET_ISA and FASTDET_NUM_THREADS. A wrong value is an error at import, not a surprise later."""
    isa, threads = os.environ.get("FASTDET_ISA"), os.environ.get("FASTDET_NUM_THREADS")
    if isa:
        try:
            native.set_isa(isa)
        except ValueError as error:
            raise ValueError(str(error).replace("set_isa: name", "FASTDET_ISA")) from None
    if threads:
        if not (threads.isascii() and threads.isdigit() and 1 <= int(threads) <= MAX_THREADS):
            raise ValueError(f"FASTDET_NUM_THREADS must be an integer in [1, {MAX_THREADS}], got {threads!r}")
        native.set_num_threads(int(threads))


try:  # the extension is small and nearly always used: imported once, here
    import fastdet._cpp as native
except ImportError as error:
    native = None
    _missing["cpp"] = str(error)
else:
    _environment(native)


def choose(op: str, backend: str | None, reference: F, *arrays: Any) -> F:
    """The function that computes ``op``: of the named backend, or of the fastest there is.

    ``reference`` tells the area of the op. ``arrays``: the op's arrays, as `arrays.to_array` gave them; they may be
    None. An op without a CUDA kernel takes its arrays by `to_numpy`, which refuses CUDA ones, and need not pass them.
    """
    if device_array is not None and any(isinstance(x, device_array) for x in arrays):
        return _on_cuda(op, backend, reference, arrays)
    if backend is None:
        if native is not None:  # without another call: small inputs are quick
            return getattr(native, op)
        backend = default()
    check.choice(op, "backend", backend, NAMES)
    if backend == "reference":
        return reference
    if not _load(backend):
        raise NotImplementedError(f"{op}: backend {backend!r} is not available: {_missing[backend]}")
    return _kernel(op, backend, reference)


def _kernel(op: str, backend: str, reference: F) -> F:
    """The backend's function of the op's name, in the module that belongs to the reference's area."""
    key = backend, reference.__module__
    module = _kernels.get(key)
    if module is None:
        module = _kernels[key] = native if backend == "cpp" else _import_of_area(f"_{backend}", reference.__module__)
    function = getattr(module, op, None)
    if function is None:
        raise NotImplementedError(f"{op}: backend {backend!r} has no kernel for it")
    return function


def _import_of_area(name: str, module: str) -> Any:
    """The module ``name`` beside ``module``; None where the area has none."""
    path = f"{module.rpartition('.')[0]}.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) is not None else None


def check_name(op: str, backend: str | None) -> None:
    """Raise ValueError for an unknown name, also where no kernel is asked for."""
    if backend is not None:
        check.choice(op, "backend", backend, NAMES)


device_array: Any = None  # DeviceArray once there is one; None before, so that CPU-only calls skip the check


def require_cuda(op: str) -> None:
    """Raise NotImplementedError with the reason where CUDA arrays cannot be computed on."""
    global device_array
    if device_array is not None:
        return
    if not _load("cuda"):
        raise NotImplementedError(f"{op}: backend 'cuda' is not available: {_missing['cuda']}")
    device_array = DeviceArray


def _on_cuda(op: str, backend: str | None, reference: F, arrays: tuple[Any, ...]) -> F:
    if backend not in (None, "cuda"):
        raise ValueError(f"{op}: backend must be 'cuda' for arrays on a GPU, got {check.describe(backend)}")
    one_place(op, arrays)
    require_cuda(op)
    _kernels["cuda", __name__].raise_faults()
    return _kernel(op, "cuda", reference)


def default() -> str:
    """The fastest backend there is; does not import one that is slower."""
    return next(name for name in NAMES if _load(name))


def _load(name: str) -> bool:
    """Whether the backend can be used; if not, `_missing` has the reason."""
    if name in _missing:
        return False
    if name in ("cpp", "reference") or (name, __name__) in _kernels:
        return True
    try:  # not sys.modules: another thread may be half-way through the import, which this waits for
        _kernels[name, __name__] = importlib.import_module(_PROBES[name])
    except ImportError as error:
        _missing[name] = str(error)
        return False
    return True


# What a backend needs: importing it fails, with the reason, where the backend cannot be used.
_PROBES = {"numba": "numba", "cuda": "fastdet._core.cuda"}


def available() -> dict[str, str]:
    """Each backend for arrays on the CPU with "" where it can be used, else the reason why not."""
    return {name: "" if _load(name) else _missing[name] for name in NAMES}


def cuda_available() -> str:
    """The same for arrays on a GPU."""
    return "" if _load("cuda") else _missing["cuda"]
