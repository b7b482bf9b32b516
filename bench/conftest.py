"""What benchmarks share stands in bench/harness. This folder is not on the path: its nms.py is nobody's `nms`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "harness"))
