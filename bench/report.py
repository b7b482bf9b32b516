"""Draw time over size, a panel for each op, from result files: python bench/report.py [-o PICTURE.png] [FILE.json ...]

It reads the files of `compare.py`, `detection.py` and `gpu.py`; without names, every file of bench/results. Both axes
are logarithmic. A line is one contender on one machine: fastdet's backends, its best peers, and the floor if measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MAX_PEERS = 3  # in a panel: the fastest on its largest case
COLOURS = {"fastdet cpp": "#0b6e4f", "fastdet numba": "#7fb800", "fastdet cuda": "#d1495b", "floor": "#999999"}
PEER_COLOURS = ("#2e4057", "#edae49", "#8d6a9f")


@dataclass(frozen=True)
class Point:
    op: str
    n: int
    size: str
    who: str
    peer: bool
    seconds: float


def points(path: Path) -> list[Point]:
    """The points of a result file of any kind; contenders with wrong answers are left out."""
    results = json.loads(path.read_text())
    return _of_gpu(results) if "rows" in results else _of_cpu(results) if "runs" in results else _of_coco(results)


def _of_gpu(results: dict[str, Any]) -> list[Point]:
    result_points = []
    for row in results["rows"]:
        ours = row["who"].startswith("fastdet")
        where = "" if row["who"] == "fastdet cpp" else f" ({results['machine']['gpu']})"
        result_points.append(
            Point(row["op"], row["n"], row["size"], row["who"] + where, not ours, row["median_us"] * 1e-6)
        )
        if row["who"] == "fastdet cuda" and row["floor_us"]:
            result_points.append(
                Point(row["op"], row["n"], row["size"], f"floor{where}", False, row["floor_us"] * 1e-6)
            )
    return result_points


def _of_cpu(results: dict[str, Any]) -> list[Point]:
    result_points = []
    for run in results["runs"]:
        if run["threads"] != 1:
            continue
        for case in run["cases"]:
            for row in case["rows"]:
                if row["wrong"] or row["kind"] not in ("ours", "library", "floor"):
                    continue
                who = {"fastdet": "fastdet cpp", "fastdet, numba backend": "fastdet numba"}.get(
                    row["name"], row["name"]
                )
                if row["kind"] == "floor":
                    who = "floor"
                seconds = row["median"]
                result_points.append(Point(case["op"], case["n"], case["size"], who, row["kind"] == "library", seconds))
    return result_points


def _of_coco(results: dict[str, Any]) -> list[Point]:
    """The points of a file of `detection.py`: seconds of processor time on one thread."""
    result_points = []
    for case in results["results"]:
        count, _, what = case["case"].partition(" ")
        if case["threads"] != 1 or what != "detections":
            continue
        for who, runs in case["runs"].items():
            name, peer = ("fastdet cpp", False) if who == "fastdet" else (who, True)
            for op, key in (("COCO evaluation", "cpu_evaluate"), ("COCO evaluation, from files", "cpu_total")):
                seconds = statistics.median(run[key] for run in runs)
                result_points.append(Point(op, int(count), case["case"], name, peer, seconds))
    return result_points


def lines(of_op: list[Point]) -> dict[str, list[tuple[int, float]]]:
    """(n, seconds) by rising n for each contender: fastdet, the floor, and the fastest peers."""
    by_who: dict[str, dict[int, float]] = defaultdict(dict)
    for p in of_op:  # several cases of one size: the fastest
        by_who[p.who][p.n] = min(p.seconds, by_who[p.who].get(p.n, p.seconds))
    peers = {p.who for p in of_op if p.peer}
    by_speed = sorted(peers, key=lambda who: (-max(by_who[who]), by_who[who][max(by_who[who])]))
    shown = [who for who in by_who if who not in peers] + by_speed[:MAX_PEERS]
    return {who: sorted(by_who[who].items()) for who in shown}


def draw(result_points: list[Point], path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    ops = list(dict.fromkeys(p.op for p in result_points if not p.op.endswith("_out")))  # fresh results only
    columns = min(4, len(ops))
    rows = -(-len(ops) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 2.9 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(ops) :]:
        ax.set_axis_off()
    for ax, op in zip(axes.flat, ops, strict=False):
        spare = iter(PEER_COLOURS * 4)
        for who, series in lines([p for p in result_points if p.op == op]).items():
            kind = next((name for name in COLOURS if who.startswith(name)), "")
            colour = COLOURS[kind] if kind else next(spare)
            style = {"linestyle": ":" if kind == "floor" else "-", "linewidth": 2 if kind else 1.2}
            ax.plot(*zip(*series, strict=True), marker="o", markersize=3.5, color=colour, label=who, **style)
        ax.set(xscale="log", yscale="log", title=op)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(alpha=0.3, which="major")
        ax.legend(fontsize=6.5, frameon=False)
    fig.supxlabel("boxes or detections, or pixels and values of an image")
    fig.supylabel("seconds a call, median")
    fig.savefig(path, dpi=85)
    plt.close(fig)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "docs" / "pages" / "speed.png")
    options = parser.parse_args()
    files = options.files or sorted(RESULTS.glob("*.json"))
    all_points = [p for path in files for p in points(path)]
    if not all_points:
        print("bench/report.py: no results", file=sys.stderr)
        return 1
    draw(all_points, options.output)
    print(f"{len(all_points)} figures of {', '.join(path.name for path in files)}: written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
