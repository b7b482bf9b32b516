"""Time the calls of other frameworks before and after fastdet stands in them.

    python bench/integrations.py --only torchvision,sahi --case nms --rounds 20 --threads 1 --json result.json

A framework has a file `integrations_<framework>.py` beside this one: `PACKAGES`, the distributions that have to be
installed; `cases()`, which yields (name, call, check); and, where `fastdet.integrations.<framework>()` is not what
should be timed, `activate()`. `call()` is a call of the framework's own public function. It runs in two processes, one
with the framework as it is and one with fastdet inside. Both answer first, and the answers are compared: to the last
bit, or by `check(before, after)`, which returns a remark and raises where the answer is wrong. Then both are called in
turn, and the ratio is the median of the ratios round by round. A framework that is not installed is listed as absent;
where it cannot answer by itself, as when its binary does not load, the row has the reason.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "harness"))

from before_and_after import BENCH, CannotAnswer, Side, cases_of, version_of

# not this folder, so that `import nms` does not find its nms.py; the processes that are started here read this too
sys.path[:] = [folder for folder in sys.path if not folder or Path(folder).resolve() != BENCH]

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "FASTDET_NUM_THREADS")
SLOW = 1.0  # seconds from which a call joins three rounds


def frameworks() -> list[str]:
    return sorted(path.stem.removeprefix("integrations_") for path in BENCH.glob("integrations_*.py"))


def absent(framework: str) -> list[str]:
    """Packages of the framework that are not installed."""
    return [name for name in cases_of(framework).PACKAGES if version_of(name) is None]


def run(framework: str, wanted: str, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Compare and time each case of one framework."""
    before, after = sides = [Side(framework, inside, threads) for inside in (False, True)]
    try:
        for side in sides:
            side.begin()
        versions = ", ".join(f"{name} {version_of(name)}" for name in cases_of(framework).PACKAGES)
        print(f"{versions}\n  {after.mode}")
        expected = after.names[: len(before.names)] if before.failed else after.names
        if before.names != expected:
            raise CannotAnswer(f"cases() yields {before.names} before, {after.names} after")
        return [row(k, name, before, after, rounds) for k, name in enumerate(after.names) if wanted in name]
    finally:
        for side in sides:
            side.end()


def row(k: int, name: str, before: Side, after: Side, rounds: int) -> dict[str, Any]:
    """Compare and time one case, and print its line."""
    sides, reason = {"before": before, "after": after}, before.failed
    if k < len(before.names):
        try:
            answer = before.ask("answer", k)
        except CannotAnswer as error:
            reason = str(error)
    if k >= len(before.names) or reason:
        del sides["before"]
        after.ask("answer", k)
        remark = f"before: no answer: {reason.splitlines()[0]}"
    else:
        remark = after.ask("compare", k, answer)
    first = {who: side.ask("time", k, 1) for who, side in sides.items()}
    times: dict[str, list[float]] = {who: [] for who in sides}
    for _ in range(rounds if max(first.values()) < SLOW else min(rounds, 3)):
        for who, side in sides.items():
            times[who].append(side.ask("time", k, max(1, min(1000, int(2e-3 / first[who])))))
    figures: dict[str, Any] = {"name": name, "answer": remark}
    figures |= {who: {"ms": statistics.median(x) * 1e3, "least": min(x) * 1e3} for who, x in times.items()}
    shown = " ".join(f"{who} {figures[who]['ms']:10.3f} ms" for who in sides)
    if "before" in sides:
        figures["ratio"] = statistics.median(x / y for x, y in zip(times["before"], times["after"], strict=True))
        shown += f" {figures['ratio']:8.2f} x"
    print(f"  {name:44s} {shown}  {remark}", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"frameworks, separated by commas: any of {', '.join(frameworks())}")
    parser.add_argument("--case", default="", help="a part of a case's name")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else frameworks()
    if unknown := sorted(set(chosen) - set(frameworks())):
        parser.error(f"--only: no file integrations_{unknown[0]}.py; there are {', '.join(frameworks())}")
    for pool in POOLS:
        os.environ[pool] = str(args.threads)
    missing, failed = 0, 0
    for framework in chosen:
        if names := absent(framework):
            print(f"{framework}: absent: {', '.join(names)} not installed")
            missing += 1
            continue
        try:
            rows = run(framework, args.case, args.rounds, args.threads)
        except CannotAnswer as error:
            print(f"{framework}: FAILED\n{error}")
            failed += 1
            continue
        if args.json:
            from harness import save

            save(args.json, {"case": framework, "threads": args.threads, "rows": rows})
    print(f"{len(chosen) - missing - failed} frameworks timed, {missing} absent, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
