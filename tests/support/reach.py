"""What the quick run leaves to the full one.

The quick run proves every rule once on every backend; the full products of dtypes, layouts, families and sizes are
marked `exhaustive`, and `pytest -m exhaustive` runs them.
"""

from __future__ import annotations

from typing import Any

import pytest


def exhaustive(*values: Any) -> list[Any]:
    """Values of `parametrize` for the full run only; a tuple is one row of several arguments."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.exhaustive)
        for value in values
    ]


def quick(values: Any, *chosen: Any) -> list[Any]:
    """All of ``values``, of which the quick run takes the chosen ones."""
    values = list(values)
    assert set(chosen) <= set(values), set(chosen) - set(values)
    return [value if value in chosen else exhaustive(value)[0] for value in values]
