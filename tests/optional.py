"""Packages that some tests compare with: a test that needs an absent one is skipped, and says which."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


def need(name: str) -> Any:
    """The module ``name``; skips the test where it cannot be imported, for whatever reason."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken install raises anything: OSError, RuntimeError, ...
        pytest.skip(f"missing package: {name} ({type(error).__name__}: {str(error).splitlines()[0]})")
