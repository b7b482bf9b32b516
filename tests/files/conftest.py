"""Fixtures of the tests of readers and writers."""

from __future__ import annotations

import pytest

from fastdet._core import backends


@pytest.fixture(params=["cpp", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """JSON by the C++ backend, and without it."""
    if request.param == "python":
        monkeypatch.setattr(backends, "native", None)
        for name in ("cpp", "numba"):
            monkeypatch.setitem(backends._missing, name, "this test does without")
    elif backends.native is None:
        pytest.skip("the C++ backend is not built")
    return str(request.param)
