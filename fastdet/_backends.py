"""The only file that chooses a backend: cpp, else numba, else the NumPy reference; cuda for arrays on a GPU.

A backend that is named never falls back. Every backend's function of an op has the reference's signature:
NumPy arrays (cuda: `DeviceArray`s) that `_check` has passed in, the same out.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

from fastdet import _check

F = TypeVar("F", bound=Callable[..., Any])

native: Any
NAMES = ("cpp", "numba", "reference")
_MODULES = {"cpp": "fastdet._cpp", "numba": "fastdet._numba", "cuda": "fastdet._cuda_ops"}
_missing: dict[str, str] = {}  # backend -> why it cannot be had; an import is tried once


def _environment(native: Any) -> None:
    """Apply FASTDET_ISA and FASTDET_NUM_THREADS: a wrong value is an error here, not a surprise later."""
    isa, threads = os.environ.get("FASTDET_ISA"), os.environ.get("FASTDET_NUM_THREADS")
    if isa:
        try:
            native.set_isa(isa)
        except ValueError as error:
            raise ValueError(str(error).replace("set_isa: name", "FASTDET_ISA")) from None
    if threads:
        if not (threads.isascii() and threads.isdigit() and 1 <= int(threads) <= MOST_THREADS):
            raise ValueError(f"FASTDET_NUM_THREADS must be an integer in [1, {MOST_THREADS}], got {threads!r}")
        native.set_num_threads(int(threads))


MOST_THREADS = 1024

try:  # the extension is small and always wanted: found or missed once, at import
    import fastdet._cpp as native
except ImportError as error:
    native = None
    _missing["cpp"] = str(error)
else:
    _environment(native)


def choose(op: str, backend: str | None, reference: F, *arrays: Any) -> F:
    """The function that computes ``op``: of the named backend, or of the fastest there is.

    ``arrays``: the op's arrays, as `_arrays.to_array` gave them; they may be None. An op without a CUDA kernel takes
    its arrays by `to_numpy`, which refuses CUDA ones, and need not pass them.
    """
    if device_array is not None and any(isinstance(x, device_array) for x in arrays):
        return _cuda(op, backend, arrays)
    if backend is None:
        if native is not None:  # without another call: small inputs are quick
            return getattr(native, op)
        backend = default()
    _check.choice(op, "backend", backend, NAMES)
    if backend == "reference":
        return reference
    module = _load(backend)
    if module is None:
        raise NotImplementedError(f"{op}: backend {backend!r} is not available: {_missing[backend]}")
    function = getattr(module, op, None)
    if function is None:
        raise NotImplementedError(f"{op}: backend {backend!r} has no kernel for it")
    return function


def named(op: str, backend: str | None) -> None:
    """An unknown name is an error also where no kernel is asked for."""
    if backend is not None:
        _check.choice(op, "backend", backend, NAMES)


device_array: Any = None  # DeviceArray, once there was one: who has none pays nothing


def require_cuda(op: str) -> None:
    """Raise NotImplementedError with the reason where CUDA arrays cannot be computed on."""
    global device_array
    if _load("cuda") is None:
        raise NotImplementedError(f"{op}: backend 'cuda' is not available: {_missing['cuda']}")
    if device_array is None:
        from fastdet._cuda_arrays import DeviceArray

        device_array = DeviceArray


def _cuda(op: str, backend: str | None, arrays: tuple[Any, ...]) -> Any:
    from fastdet._cuda_arrays import one_place

    if backend not in (None, "cuda"):
        raise ValueError(f"{op}: backend must be 'cuda' for arrays on a GPU, got {_check.describe(backend)}")
    one_place(op, arrays)
    module = _load("cuda")
    module.raise_faults()
    function = getattr(module, op, None)
    if function is None:
        raise NotImplementedError(f"{op}: backend 'cuda' has no kernel for it")
    return function


def default() -> str:
    """The fastest backend there is; does not import one that is slower."""
    return next(name for name in NAMES if name == "reference" or _load(name) is not None)


def _load(name: str) -> Any:
    if name in _missing:
        return None
    try:  # not sys.modules: another thread may be half-way through the import, which this waits for
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        _missing[name] = str(error)
        return None


def available() -> dict[str, str]:
    """Each backend for arrays on the CPU with "" where it can be used, else the reason why not."""
    return {name: "" if name == "reference" or _load(name) is not None else _missing[name] for name in NAMES}


def cuda_available() -> str:
    """The same for arrays on a GPU."""
    return "" if _load("cuda") is not None else _missing["cuda"]
