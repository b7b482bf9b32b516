"""How work grows on inputs that once made it grow with the square: python bench/growth.py [--short] [--boxes 100000]

A row is an op and an input of `tests/support/*cliffs.py`. The pairs that the C++ kernels compare are counted for 4,000
and for 16,000 boxes: N log N of them grow 4.7 times, N^2 16 times. Then the call is timed with ``--boxes`` boxes, once.
``--short`` counts only. The exit code is 1 where pairs grow more than 6 times and pass 50 a box, or a call takes longer
than its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from cliffs import NMS_CLIFFS
from matching_cliffs import MATCHING_CLIFFS
from soft_cliffs import FUSION_CLIFFS, SOFT_NMS_CLIFFS

from fastdet import _cpp, detection, fusion, nms

FEW, MANY, MOST_GROWTH, FREE = 4_000, 16_000, 6.0, 50

Make = Callable[[int], dict[str, Any]]
# Op, its inputs, seconds that a call may take with 100,000 boxes.
TABLES: list[tuple[Callable[..., Any], dict[str, Make], float]] = [
    (nms.nms, NMS_CLIFFS, 1.0),
    (nms.soft_nms, SOFT_NMS_CLIFFS, 3.0),
    (fusion.weighted_boxes_fusion, FUSION_CLIFFS, 1.0),
    (detection.match_detections, MATCHING_CLIFFS, 1.0),
]


def pairs(op: Callable[..., Any], arguments: dict[str, Any]) -> int:
    before = _cpp.pairs_counted()
    op(**arguments, backend="cpp")
    return int(_cpp.pairs_counted() - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="count pairs, without a clock")
    parser.add_argument("--boxes", type=int, default=100_000, help="boxes of the call that is timed (default: 100000)")
    parser.add_argument("--only", default="", help="a part of the op's or the input's name")
    options = parser.parse_args()
    print(f"{'op':24} {'input':28} {'pairs a box':>12} {'growth':>7} {'seconds':>8}")
    wrong = []
    for op, makes, limit in TABLES:
        for name, make in makes.items():
            row = f"{op.__name__} {name}"
            if options.only not in row:
                continue
            few, many = pairs(op, make(FEW)), pairs(op, make(MANY))
            growth = many / max(few, 1)
            line = f"{op.__name__:24} {name:28} {many / MANY:12.1f} {growth:7.1f}"
            if growth > MOST_GROWTH and many > FREE * MANY:
                wrong.append(f"{row}: {few} pairs of {FEW} boxes, {many} of {MANY}")
            if not options.short:
                arguments = make(options.boxes)
                start = time.perf_counter()
                op(**arguments, backend="cpp")
                seconds = time.perf_counter() - start
                line += f" {seconds:8.2f}"
                if seconds > limit:
                    wrong.append(f"{row}: {seconds:.2f} s, limit {limit:g} s")
            print(line, flush=True)
    print("\n".join(["", *wrong]) if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
