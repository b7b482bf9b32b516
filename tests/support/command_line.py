"""Helpers for tests of the command line: detections, errors, and commands in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from fastdet._core import backends
from fastdet.cli.app import main

COMMAND = [sys.executable, "-m", "fastdet"]
USABLE = [name for name, reason in backends.available().items() if not reason]


def detections(images: int = 6, per_image: int = 40, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 30, (images * per_image, 2)), rng.integers(5, 30, (images * per_image, 2))
    return [
        {"image_id": int(rng.integers(images)), "category_id": int(rng.integers(3)), "bbox": [*c, *s], "score": score}
        for c, s, score in zip(corner.tolist(), size.tolist(), rng.random(images * per_image).tolist(), strict=True)
    ]


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of the error that a command prints."""
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastdet: ")
    assert err.count("\n") == 1
    return err[len("fastdet: ") : -1]


def peak(arguments: list[str]) -> int:
    """Peak memory of a command in bytes. It runs as a grandchild, so that other children do not count."""
    code = (
        "import subprocess, resource, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def heeding_ctrl_c(command: list[str]) -> subprocess.Popen[str]:
    """The command as a process that reacts to SIGINT, also where pytest is a background job, which ignores it."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
