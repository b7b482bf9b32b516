"""Tests inside other frameworks: each file of checks has its own process, since an integration changes all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fastdet
from fastdet.integrations._replace import version_of

FOLDER = Path(__file__).parents[1] / "integrations"


def need_installed(*distributions: str) -> None:
    """Skip the test where one of these is absent, or fail if FASTDET_REQUIRED_PACKAGES lists it; import none."""
    for name in distributions:
        if version_of(name) is None:
            if name in os.environ.get("FASTDET_REQUIRED_PACKAGES", "").split(","):
                pytest.fail(f"FASTDET_REQUIRED_PACKAGES lists {name}, which is not installed")
            pytest.skip(f"missing package: {name}")


def run_checks(name: str, *options: str, seconds: int = 900, **environment: str) -> str:
    """Run the tests of ``inside_<name>.py`` in a process of their own. Fails with their report; returns it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    done = run_command([*command, *options, str(FOLDER / f"inside_{name}.py")], seconds, **environment)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[-8000:]
    return report


def run_script(code: str, *arguments: str, seconds: int = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return run_command([sys.executable, "-c", code, *arguments], seconds, **environment)


def run_command(
    command: list[str], seconds: int = 300, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder, with the fastdet under test. ``text`` is its standard input."""
    path = os.pathsep.join(filter(None, (str(Path(fastdet.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command,
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=os.environ | {"PYTHONPATH": path} | environment,
        )
