"""Fixtures that run a test on each fast backend and instruction set, and the count of skips by reason."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastdet

with contextlib.suppress(ImportError):  # a machine that only runs the GPU's tests may lack it
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "fastdet",
        derandomize=True,  # a run tests the same inputs each time
        deadline=None,
        max_examples=40,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    settings.load_profile("fastdet")


@pytest.fixture(autouse=True, scope="session")
def _away_from_the_sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in an empty folder: child processes then import the fastdet under test, not sources in their folder."""
    before = Path.cwd()
    here = str(Path(fastdet.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    os.chdir(tmp_path_factory.mktemp("away"))
    yield
    os.chdir(before)


def _instruction_sets() -> tuple[str, ...]:
    try:
        from fastdet import _cpp
    except ImportError:
        return ("missing",)  # the tests then fail by naming why: cpp is declared for every op
    return tuple(_cpp.isa_available())


def _variants() -> list[Any]:
    """Backends and instruction sets. The quick run has one instruction set: the one that is used."""
    if "missing" in ISAS:
        return ["numba", "cpp-missing"]
    from fastdet import _cpp

    used = _cpp.isa()
    cpp = [f"cpp-{isa}" if isa == used else pytest.param(f"cpp-{isa}", marks=pytest.mark.exhaustive) for isa in ISAS]
    return ["numba", *cpp]


ISAS = _instruction_sets()
VARIANTS = _variants()


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`variant` is numba and cpp on each instruction set of this machine; `cpp` the latter only.

    It changes fastest, so that the reference's answer, which tests remember, is computed once for all variants.
    """
    for name, values in (("variant", VARIANTS), ("cpp", VARIANTS[1:])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, indirect=True)


@pytest.fixture
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend, its instruction set forced for the test's duration."""
    backend, _, isa = request.param.partition("-")
    if backend == "numba":
        yield backend
        return
    from fastdet import _cpp

    before = _cpp.isa()
    _cpp.set_isa(isa)
    yield backend
    _cpp.set_isa(before)


cpp = variant


@pytest.fixture(scope="module")
def emulator() -> Iterator[Any]:
    """The CUDA backend on the CPU, in the place of the real one: see emulated.py."""
    import emulated

    with emulated.backend() as emulator:
        yield emulator
        found = emulator.reports()
    assert not found, "\n".join(f"{count} times {text}" for text, count in found.most_common())


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """`fastdet.set_num_threads`, undone after the test."""
    before = fastdet.get_num_threads()
    yield fastdet.set_num_threads
    fastdet.set_num_threads(before)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process of its own, with the fastdet under test. Fails where the code fails."""

    def run(code: str, *, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        here = str(Path(fastdet.__file__).parents[1])
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests were skipped, for each reason."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    terminalreporter.section("skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason}")
    terminalreporter.write_line(f"{sum(reasons.values()):5d}  in all; instruction sets tested: {', '.join(ISAS)}")
