"""The only file that chooses a backend: cpp, else numba, else the NumPy reference.

A backend that is named never falls back. Every backend's function of an op has the reference's signature:
NumPy arrays that `_check` has passed in, NumPy arrays out.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fastdet import _check

F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("cpp", "numba", "reference")
_MODULES = {"cpp": "fastdet._cpp", "numba": "fastdet._numba"}
_missing: dict[str, str] = {}  # backend -> why it cannot be had; an import is tried once

try:  # the extension is small and always wanted: found or missed once, at import
    import fastdet._cpp as _native
except ImportError as error:
    _native = None  # type: ignore[assignment]
    _missing["cpp"] = str(error)
else:
    if os.environ.get("FASTDET_ISA"):  # a wrong name is an error here, not a slower answer later
        try:
            _native.set_isa(os.environ["FASTDET_ISA"])
        except ValueError as error:
            raise ValueError(str(error).replace("set_isa: name", "FASTDET_ISA")) from None


def choose(op: str, backend: str | None, reference: F) -> F:
    """The function that computes ``op``: of the named backend, or of the fastest there is."""
    if backend is None:
        if _native is not None:
            return getattr(_native, op)  # type: ignore[no-any-return]
        module = _load("numba")
        return reference if module is None else getattr(module, op)
    _check.choice(op, "backend", backend, NAMES)
    if backend == "reference":
        return reference
    module = _load(backend)
    if module is None:
        raise NotImplementedError(f"{op}: backend {backend!r} is not available: {_missing[backend]}")
    function = getattr(module, op, None)
    if function is None:
        raise NotImplementedError(f"{op}: backend {backend!r} has no kernel for it")
    return function  # type: ignore[no-any-return]


def _load(name: str) -> Any:
    module_name = _MODULES[name]
    if module_name in sys.modules:
        return sys.modules[module_name]
    if name in _missing:
        return None
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        _missing[name] = str(error)
        return None


def available() -> dict[str, str]:
    """Each backend with "" where it can be used, else the reason why not."""
    return {name: "" if name == "reference" or _load(name) is not None else _missing[name] for name in NAMES}
