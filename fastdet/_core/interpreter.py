"""Refuses to be imported where fastdet cannot work. `fastdet` imports it first, before NumPy."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def _require_main() -> None:
    """ImportError in a sub-interpreter of Python 3.11 or earlier: there the import of the extension waits for ever.

    pybind11 asks for the state of the main interpreter, whose lock the caller holds. Later versions tell them apart.
    """
    if sys.version_info >= (3, 12):
        return
    try:
        interpreters: Any = importlib.import_module("_xxsubinterpreters")
    except ImportError:
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "fastdet: must be imported in the main interpreter before Python 3.12, got a sub-interpreter; "
            "use threads or processes"
        )


_require_main()
