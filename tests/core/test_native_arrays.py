"""The functions of the C++ module refuse arrays that they cannot read, and read no other memory.

Memory is checked where tests/sanitize.sh runs this; elsewhere a crash is what fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fastdet

PROGRAM = Path(__file__).parents[1] / "support" / "odd_arrays.py"


def test_odd_arrays() -> None:
    here = str(Path(fastdet.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}
    done = subprocess.run([sys.executable, str(PROGRAM)], env=env, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-3000:])
    assert not [line for line in lines if line.startswith("accepted")]
    assert len(lines) > 1000
