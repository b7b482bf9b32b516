"""Packages and data that some tests compare with. A test is skipped, with the name, where one is missing."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def need(name: str) -> Any:
    """The module ``name``; skips the test, or the file of tests, where it cannot be imported, for whatever reason."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken install raises anything: OSError, RuntimeError, ...
        reason = f"missing package: {name} ({type(error).__name__}: {str(error).splitlines()[0]})"
        pytest.skip(reason, allow_module_level=True)


DATA = Path(__file__).parents[3] / "shared" / "data"


def real_data(*parts: str) -> Path:
    """A file or folder of the real data, which stands beside the repository; skips the test where it is absent."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"missing data: shared/data/{'/'.join(parts)} beside the repository")
    return path


def load(*parts: str) -> dict[str, Any]:
    """The arrays of an NPZ file of the real data."""
    with np.load(real_data(*parts)) as file:
        return dict(file)


def pictures(*parts: str) -> Any:
    """Every picture of a folder of the real data, by name, stacked."""
    folder, image = real_data(*parts), need("PIL.Image")
    return np.stack([np.asarray(image.open(path)) for path in sorted(folder.iterdir())])


def real_facts(name: str) -> Path:
    """A file of facts about published networks, beside the repository; skips the test where it is absent."""
    path = DATA.parent / "facts" / name
    if not path.exists():
        pytest.skip(f"missing data: shared/facts/{name} beside the repository")
    return path
