"""The memory that a piece of code takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def grown(imports: str, code: str, *arguments: object) -> tuple[str, int]:
    """What ``code`` prints, a line, and by how many bytes it raises the peak memory that ``imports`` left."""
    program = "\n".join(
        [
            "import resource, sys",
            "from pathlib import Path",
            imports,
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss",
            code,
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)",
        ]
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    said, more = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return said, int(more) * (1 if sys.platform == "darwin" else 1024)
