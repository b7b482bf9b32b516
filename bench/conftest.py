"""Puts bench/harness, which all benchmarks share, on the path; not this folder, since `import nms` would find it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "harness"))
