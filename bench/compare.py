#!/usr/bin/env python3
"""Compare fastdet with its peers: the tables of docs/pages/speed.md, from one run.

    python bench/compare.py                                 # all sections, one thread
    python bench/compare.py --sections nms,box_iou --threads 1,2 --json result.json
    python bench/compare.py --quick                         # a minute or two; the largest cases are left out

For every case fastdet's answer is first compared with the right one; the run stops if they differ. Then come rounds:
fastdet and each peer are called in turn, and a peer's ratio is the median of its ratios round by round. Each thread
count has its own process, in which all thread pools and the cores are set before any numeric library is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))


POOLS = ["FASTDET_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
POOLS += ["NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"]
MEMORY_CASE = ("nms", "1M")


# ------------------------------------------------------------------------------------- in the child only
def measure(op: str, size: str, *, seconds: float, min_rounds: int, workers: int) -> dict[str, Any]:
    """Check and time one case; the result is a row of the JSON."""
    import harness
    import tables

    case = tables.build(op, size)
    ours = case.ours()
    peak = harness.peak_mb(ours) if (op, size) == MEMORY_CASE else None
    source, want = case.truth()
    harness.check(case, "fastdet", want, ours())
    entries = [harness.Entry(harness.OURS, "ours", ours, "same")]
    absent: dict[str, str] = {}
    try:
        numba = case.ours("numba")
        got = numba()
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        absent["fastdet, numba backend"] = f"{type(error).__name__}: {str(error)[:160]}"
    else:
        harness.check(case, "fastdet's numba backend", want, got)
        entries.append(harness.Entry("fastdet, numba backend", "ours", numba, "same"))
    peers, missing = harness.opponents(case, want, workers)
    entries += peers
    harness.interleave(entries, seconds=seconds, min_rounds=min_rounds, workers=workers)
    return {
        "op": op,
        "size": size,
        "n": case.n,
        "image": getattr(case, "image", None),
        "answer": f"equal to {source}",
        "kept": 0 if case.nbytes else len(want[0] if isinstance(want, tuple) else want),
        "bytes": case.nbytes,
        "peak_mb": peak,
        "rows": [entry.row() for entry in entries],
        "absent": {**absent, **missing},
    }


def own_cores(workers: int) -> None:
    """Give this process as many cores as threads."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < workers:
            sys.exit(f"compare: --threads must be at most the {len(cores)} cores here, got {workers}")
        os.sched_setaffinity(0, set(cores[-workers:]))


def child(args: argparse.Namespace, workers: int, result: Path) -> None:
    """All sections on `workers` threads, in this process."""
    from contextlib import nullcontext

    import harness
    import tables

    import fastdet

    fastdet.set_num_threads(workers)
    seconds, min_rounds = (0.3, 3) if args.quick else (args.seconds, 5)
    cases = []
    for section in args.sections:
        for op, size in tables.SECTIONS[section]:
            if (args.quick and tables.OPS[op].large(size)) or args.only not in f"{op} {size}":
                continue
            with harness.warm_malloc() if op.endswith("_out") else nullcontext():
                case = measure(op, size, seconds=seconds, min_rounds=min_rounds, workers=workers)
            case["section"] = section
            cases.append(case)
            ours = case["rows"][0]
            print(f"  {op} {size}: fastdet {pretty(ours['median'])}, {len(case['rows'])} in turn, "
                  f"{ours['rounds']} rounds", file=sys.stderr, flush=True)  # fmt: skip
    config = {key: value for key, value in fastdet.config().items() if key in ("version", "backends", "isa")}
    report = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.node(),
        "cpu": harness.cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": workers,
        "fastdet": config,
        "versions": harness.versions(),
        "load": list(os.getloadavg()),
        "cases": cases,
    }
    result.write_text(json.dumps(report, default=str))


# ------------------------------------------------------------------------------------------- the report
def pretty(seconds: float) -> str:
    """A time with three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale or unit == "us":
            return f"{seconds / scale:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError("unreachable")


def times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 20 else f"{ratio:.1f}x" if ratio >= 2 else f"{ratio:.2f}x"


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def title(case: dict[str, Any]) -> str:
    name = case["op"].removesuffix("_out")
    fresh = ("box_iou", "upsample_bilinear", "max_pool2d", "max_unpool2d")
    memory = ", fresh output" if case["op"] in fresh else ", reused `out=`" if case["op"].endswith("_out") else ""
    return f"{name} {case['size']}{memory if case['n'] > 10 else ''}"


def summary(run: dict[str, Any]) -> list[str]:
    """One row for each case: fastdet, the best library, the best plain loop, the floor."""
    out = [line(["case", "fastdet", "best library", "its time / fastdet's", "best plain loop", "fastdet / floor"])]
    out.append("|---|---:|---|---:|---|---|")
    for case in run["cases"]:
        rows = case["rows"]
        right = [row for row in rows if row["kind"] == "library" and not row["wrong"]]
        best = min(right, key=lambda row: row["ratio"], default=None)
        loop = min((row for row in rows if row["kind"] == "loop"), key=lambda row: row["ratio"], default=None)
        floor = [f"{times(1 / row['ratio'])} {row['name']}" for row in rows if row["kind"] == "floor"]
        cells = [title(case), pretty(rows[0]["median"])]
        cells += [f"{best['name']} {pretty(best['median'])}", f"**{times(best['ratio'])}**"] if best else ["-", "-"]
        cells.append(f"{loop['name']}: {times(loop['ratio'])}" if loop else "-")
        cells.append(", ".join(floor) or "-")
        out.append(line(cells))
    return out


def details(case: dict[str, Any]) -> list[str]:
    """All contenders of one case, fastest first."""
    kept = f", {case['kept']} kept" if case["kept"] else ""
    out = [f"### {title(case)}", "", f"fastdet's answer is {case['answer']}{kept}."]
    if case["peak_mb"] is not None:
        out.append(f"Peak memory of fastdet's call above its input: {case['peak_mb']:.0f} MB.")
    out += [
        "",
        line(["", "median", "p10 .. p90", "time / fastdet's", "answer", "rounds"]),
        "|---|---:|---|---:|---|---:|",
    ]
    for row in sorted(case["rows"], key=lambda row: float(row["median"])):
        answer = ("**WRONG**: " if row["wrong"] else "") + row["answer"]
        note = f" ({row['note']})" if row["note"] else ""
        name = {"floor": f"*floor: {row['name']}*", "ours": f"**{row['name']}**"}.get(row["kind"], row["name"])
        spread = f"{pretty(row['p10'])} .. {pretty(row['p90'])}"
        cells = [name + note, pretty(row["median"]), spread, times(row["ratio"]), answer, str(row["rounds"])]
        out.append(line(cells))
    for name, reason in case["absent"].items():
        why, _, text = reason.partition(": ")
        state = why if why == "not run" else "absent"
        text = text if why == "not run" else reason
        out.append(line([name, state, "", "", text.replace("|", "/"), ""]))
    return [*out, ""]


def markdown(runs: list[dict[str, Any]]) -> str:
    """The report: for each thread count the short table, then every case."""
    out = []
    for run in runs:
        plural = "s" if run["threads"] > 1 else ""
        out += [f"## {run['threads']} thread{plural}", ""]
        config = run["fastdet"]
        usable = [name for name, state in dict(config["backends"]).items() if state == "available"]
        backends = f"backends {', '.join(usable)}; instruction set {config['isa']}"
        out += [f"{run['cpu']}; fastdet {config['version']}, {backends}; {run['date'][:10]}.", ""]
        out += [*summary(run), "", ", ".join(f"{k} {v}" for k, v in run["versions"].items()) + ".", ""]
        for case in run["cases"]:
            out += details(case)
    return "\n".join(out)


# ------------------------------------------------------------------------------------------ the parent
def run_child(workers: int, result: Path) -> int:
    """Run this script with the same arguments in a process with `workers` threads."""
    pools = {name: str(workers) for name in POOLS}
    env = {**os.environ, **pools, "BENCH_CHILD": json.dumps([workers, str(result)])}
    return subprocess.run([sys.executable, *sys.argv], env=env, check=False).returncode


def parse() -> argparse.Namespace:
    from box_cases import QUICK_N
    from tables import SECTIONS

    names = list(SECTIONS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default=",".join(names), help="any of " + ",".join(names))
    parser.add_argument("--threads", default="1", help="thread counts, such as 1 or 1,2")
    parser.add_argument("--seconds", type=float, default=4.0, help="rounds of one case go on for this long")
    parser.add_argument("--quick", action="store_true", help=f"few rounds, at most {QUICK_N} boxes")
    parser.add_argument("--only", default="", help="cases whose name holds this, such as 'pool2d 8x64'")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    args = parser.parse_args()
    chosen = args.sections.split(",")
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"--sections: no section {', '.join(unknown)}; there are {', '.join(names)}")
    args.sections = [name for name in names if name in chosen]  # in the order of `names`: reused buffers last
    try:
        args.threads = [int(count) for count in args.threads.split(",")]
    except ValueError:
        parser.error("--threads: must be numbers, such as 1 or 1,2")
    return args


def main() -> int:
    if "BENCH_CHILD" in os.environ:
        workers, result = json.loads(os.environ["BENCH_CHILD"])
        own_cores(workers)  # before any numeric library is imported
        child(parse(), workers, Path(result))
        return 0
    args = parse()
    runs = []
    for workers in args.threads:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.json"
            if code := run_child(workers, result):
                return code
            runs.append(json.loads(result.read_text()))
        print(f"  {workers} thread(s): {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(markdown(runs))
    if args.json:
        args.json.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
