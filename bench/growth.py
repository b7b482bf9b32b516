"""How work grows on inputs that once made it explode: python bench/growth.py [--short] [--only NAME]

A row is an op and an input of `tests/support/*cliffs.py`. The pairs that the C++ kernels compare are counted, for some
boxes and for four times as many: N log N of them grow 4.7 times, N^2 16 times. Then one call is timed. ``--short``
counts only, in 10 s. The exit code is 1 where pairs grow more than the op's bound and pass 50 a box, or a call takes
longer than its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from cliffs import NMS_CLIFFS
from fusion_cliffs import FUSION_CLIFFS
from matching_cliffs import MATCHING_CLIFFS
from soft_cliffs import BATCHED_SOFT_NMS_CLIFFS, SOFT_NMS_CLIFFS

from fastdet import _cpp, detection, fusion, nms

FREE = 50  # pairs a box that need no further look


class Table(NamedTuple):
    """An op and its inputs; boxes whose pairs are counted, how many more four times as many take; the timed call."""

    op: Callable[..., Any]
    inputs: dict[str, Callable[[int], dict[str, Any]]]
    counted: int
    growth: float
    boxes: int
    seconds: float


TABLES = [
    Table(nms.nms, NMS_CLIFFS, 4_000, 6.0, 100_000, 1.0),
    # a tree of 4 levels, not of 3: see tests/nms/test_soft_growth.py
    Table(nms.soft_nms, SOFT_NMS_CLIFFS, 4_000, 16 / 3, 100_000, 3.0),
    Table(nms.batched_soft_nms, BATCHED_SOFT_NMS_CLIFFS, 4_000, 16 / 3, 100_000, 3.0),
    # each detection is compared with each true box, and those near it are sorted: D G log G, 19.2 times as much
    Table(detection.match_detections, MATCHING_CLIFFS, 1_000, 20.0, 16_000, 60.0),
    # 9 and 10 s: of strips that cross and merge by any overlap; of boxes that all overlap each other
    *(
        Table(
            op,
            {name[len(op.__name__) + 1 :]: make for name, make in FUSION_CLIFFS.items() if op.__name__ in name},
            4_000,
            9.0,
            100_000,
            10.0,
        )
        for op in (fusion.weighted_boxes_fusion, fusion.merge_boxes)
    ),
]


def pairs(op: Callable[..., Any], arguments: dict[str, Any]) -> int:
    before = _cpp.pairs_counted()
    op(**arguments, backend="cpp")
    return int(_cpp.pairs_counted() - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="count pairs, without a clock")
    parser.add_argument("--only", default="", help="a part of the op's or the input's name")
    options = parser.parse_args()
    print(f"{'op':24} {'input':28} {'pairs a box':>12} {'growth':>7} {'seconds':>8}")
    wrong = []
    for table in TABLES:
        for name, make in table.inputs.items():
            row = f"{table.op.__name__} {name}"
            if options.only not in row:
                continue
            boxes = 4 * table.counted
            few, many = pairs(table.op, make(table.counted)), pairs(table.op, make(boxes))
            growth = many / max(few, 1)
            line = f"{table.op.__name__:24} {name:28} {many / boxes:12.1f} {growth:7.1f}"
            if growth > table.growth and many > FREE * boxes:
                wrong.append(f"{row}: {few} pairs of {table.counted} boxes, {many} of {boxes}")
            if not options.short:
                arguments = make(table.boxes)
                start = time.perf_counter()
                table.op(**arguments, backend="cpp")
                seconds = time.perf_counter() - start
                line += f" {seconds:8.2f}"
                if seconds > table.seconds:
                    wrong.append(f"{row}: {seconds:.2f} s of {table.boxes} boxes, limit {table.seconds:g} s")
            print(line, flush=True)
    print("\n".join(["", *wrong]) if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
