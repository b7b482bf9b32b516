"""Every op keeps inside its arrays while another thread changes them. The answer may be anything; the process lives.

Memory is checked where tests/sanitize.sh runs this; elsewhere a crash is what fails. `FASTDET_CHANGING_SECONDS` says
how long each op runs, `FASTDET_CHANGING_ROWS` which: those whose names it is a part of.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import fastdet

PROGRAM = Path(__file__).parents[1] / "support" / "changing_arrays.py"
SECONDS = float(os.environ.get("FASTDET_CHANGING_SECONDS", "0.2"))
# Of the C++ module: settings, and what reads no array.
NOT_CALLED = {
    "Tensors",
    "isa",
    "isa_available",
    "set_isa",
    "get_num_threads",
    "set_num_threads",
    "pairs_counted",
    "read_coco",
}


@dataclass
class Outcome:
    """What a run of `PROGRAM` said."""

    rows: int = 0
    calls: int = 0
    errors: int = 0
    called: set[str] = field(default_factory=set)
    deaths: list[str] = field(default_factory=list)


def _run(backend: str, seconds: float, every: bool) -> Outcome:
    """All rows in one child process; where it dies, in another from the next row on."""
    here = str(Path(fastdet.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}
    outcome, first = Outcome(), 0
    while len(outcome.deaths) < 20:
        command = [sys.executable, str(PROGRAM), backend, str(seconds), str(first), str(int(every))]
        done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", check=False)
        lines = done.stdout.splitlines()
        begun = [line for line in lines if line.startswith("row ")]
        outcome.rows += len(begun)
        for words in (line.split() for line in lines):
            if words[0] == "calls":
                outcome.calls, outcome.errors = outcome.calls + int(words[1]), outcome.errors + int(words[3])
            if words[0] == "called":
                outcome.called.update(words[1:])
        if done.returncode == 0:
            return outcome
        last = begun[-1].split(maxsplit=2) if begun else ["row", "-1", "none"]
        case = next((line for line in reversed(lines) if line.startswith("case ")), "no case")
        outcome.deaths.append(f"{last[2]}, {case}: status {done.returncode}\n{_report(done.stderr)}")
        if not begun:
            return outcome
        first = int(last[1]) + 1
    return outcome


def _report(stderr: str) -> str:
    """The sanitizer's finding, or the end of a traceback."""
    lines = stderr.splitlines()
    found = next((i for i, line in enumerate(lines) if "ERROR: " in line or "runtime error" in line), None)
    return "\n".join(lines[-12:] if found is None else lines[found : found + 12])


def test_every_op() -> None:
    from fastdet import _cpp

    outcome = _run("cpp", SECONDS, every=False)
    assert not outcome.deaths, "\n\n".join(outcome.deaths)
    assert outcome.errors < outcome.calls, "no call got past the checks"
    functions = {name for name in dir(_cpp) if not name.startswith("_")}
    if "FASTDET_CHANGING_ROWS" not in os.environ:
        assert outcome.called == functions - NOT_CALLED, "each function of the C++ module needs a row"


@pytest.mark.exhaustive
def test_every_case() -> None:
    outcome = _run("cpp", 10 * SECONDS, every=True)
    assert not outcome.deaths, "\n\n".join(outcome.deaths)


@pytest.mark.exhaustive
def test_every_op_on_numba() -> None:
    outcome = _run("numba", 2 * SECONDS, every=False)
    assert not outcome.deaths, "\n\n".join(outcome.deaths)
