"""The memory that a piece of code takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

# In bytes. ru_maxrss begins with that of the process which started this one.
PEAK = """
import resource, sys
from pathlib import Path

def peak():
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""


def grown(imports: str, code: str, *arguments: object) -> tuple[str, int]:
    """What ``code`` prints, a line, and by how many bytes it raises the peak memory that ``imports`` left."""
    program = "\n".join([PEAK, imports, "before = peak()", code, "print(peak() - before)"])
    command = [sys.executable, "-c", program, *map(str, arguments)]
    said, more = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return said, int(more)
