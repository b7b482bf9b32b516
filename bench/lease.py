#!/usr/bin/env python3
"""Everything that only a GPU can show, within one short loan of a machine: bench/gpu.sh lease OUT

    bench/gpu.sh prepare     # before, where there is nvcc: objects and packages into build/objects, which travels along
    bench/gpu.sh lease OUT   # on the machine: under eight minutes, all that it finds in the folder OUT

Needs a Python with torch (CuPy where it is) and NumPy, and no network. Parts run one after the other, each in a
process group of its own with a deadline; one that fails, hangs or lacks a tool does not keep the next from running.
OUT then holds at most eight files of at most 16 MiB: env.txt, build.txt, smoke.txt, parity.xml, bench.json,
captures.txt, sanitizers.txt and summary.txt, which is printed last. The exit status is the number of parts that failed.

`--stand-in` rehearses all this without a GPU: kernels are the emulator's (with FASTDET_PTX=90 nvcc's own code).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
OBJECTS = ROOT / "build" / "objects"
SECONDS = 470  # of all parts together
LARGEST = 16 << 20  # bytes of a file that is kept
LINES = 100  # of the summary
GRACE = 8.0  # seconds between an interrupt, on which pytest still writes its report, and the end
MISSING, LATE = 127, 124  # exit statuses, as a shell and timeout(1) have them
GPU_TESTS = "tests/core/test_cuda_gpu.py"
CAPTURES = ("test_a_graph", "test_graph_of_images", "test_a_graph_is_the_first_call", "test_compiled_into_graphs")


@dataclass
class Part:
    """Commands, one after the other, each in a process of its own. Their output goes to ``file``, or beside it."""

    name: str
    file: str
    seconds: float
    commands: list[list[str]]
    needs: str = ""  # a program
    stops: bool = False  # whether the first command that fails is the last


@dataclass
class Outcome:
    name: str
    status: int = 0
    seconds: float = 0.0
    note: str = ""
    tests: list[str] = field(default_factory=list)


def run(command: Sequence[str], log: Path, seconds: float, env: dict[str, str]) -> int:
    """The exit status of a command whose whole process group ends with it, or at its deadline."""
    with log.open("ab") as out:
        out.write(f"\n== {' '.join(command)}\n".encode())
        out.flush()
        try:
            child = subprocess.Popen(
                command, stdout=out, stderr=out, env=env, cwd=ROOT, start_new_session=True, preexec_fn=hear_interrupts
            )
        except OSError as error:
            out.write(f"{error}\n".encode())
            return MISSING
        status = LATE
        for wait, signal_ in ((seconds, signal.SIGINT), (GRACE, signal.SIGKILL)):
            try:
                status = child.wait(max(wait, 0.0))
                break
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal_)
        else:
            child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what it has left running
        return LATE if signal_ is signal.SIGKILL or status == -signal.SIGINT else status


def hear_interrupts() -> None:
    """A shell starts what runs in its background with interrupts ignored, and all below that inherits it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def carry_out(part: Part, out: Path, env: dict[str, str], left: float) -> Outcome:
    """Run a part within its deadline and the time that is left."""
    began, outcome = time.monotonic(), Outcome(part.name)
    log = out / (part.file if part.file.endswith(".txt") else f"{part.name}.log")
    end = began + min(part.seconds, left)
    if part.needs and shutil.which(part.needs) is None:
        return Outcome(part.name, MISSING, 0.0, f"missing program: {part.needs}")
    failed = []
    for command in part.commands:
        seconds = end - time.monotonic()
        status = run(command, log, seconds, env) if seconds > 1 else LATE
        if status:
            failed.append(status)
            if part.stops:
                break
    outcome.seconds = time.monotonic() - began
    if failed:
        late = failed.count(LATE)
        outcome.status = failed[0]
        outcome.note = f"{len(failed)} of {len(part.commands)} commands failed" + (f", {late} too late" if late else "")
    if part.file.endswith(".xml"):
        outcome.note = "; ".join(filter(None, (outcome.note, tests_of(out / part.file, outcome))))
    return outcome


def tests_of(path: Path, outcome: Outcome) -> str:
    """The counts of a JUnit report; the names of the tests that failed go to the outcome."""
    try:
        suites = ElementTree.parse(path).getroot().iter("testsuite")
        totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
        for suite in suites:
            for key in totals:
                totals[key] += int(suite.get(key, 0))
            for case in suite.iter("testcase"):
                if case.find("failure") is not None or case.find("error") is not None:
                    outcome.tests.append(f"{case.get('classname')}::{case.get('name')}")
    except (OSError, ElementTree.ParseError) as error:
        return f"no report: {error}"
    return ", ".join(f"{count} {key}" for key, count in totals.items())


def parts(out: Path, python: str, stand_in: bool) -> list[Part]:
    """What is run, in this order. The sanitizers come last: they take what time is left."""
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "-m", ""]
    smoke = [python, "bench/smoke.py", *(["--stand-in"] if stand_in else [])]
    build = [[python, "setup.py", "build_ext", "--inplace"]]
    show = [python, "-c", "import fastdet; fastdet.show_config()"]
    machine = [["nvidia-smi"], ["nvcc", "--version"], ["lscpu"], [python, "-m", "pip", "list"]]
    parity, some = GPU_TESTS, " and ".join(f"not {name}" for name in CAPTURES)
    captures = [[*pytest, GPU_TESTS, "-k", name] for name in CAPTURES]
    bench = [[python, "bench/gpu.py", f"--json={out}/bench.json"]]
    if stand_in:  # the emulator's tests in the place of the GPU's; nothing to time
        machine, bench = machine[2:], []
        emulator = "import sys; sys.path[:0] = ['tests', 'tests/support']; import emulated; emulated.library()"
        build.append([python, "-c", emulator])
        parity, some = "tests/core/test_quick_cuda.py", "nms or iou"
        captures = [[*pytest, "tests/core/test_cuda.py", "-k", "test_the_first_launch_may_be_inside_a_capture"]]
    parallel = ["-n", str(min(8, os.cpu_count() or 1))] if has_module(python, "xdist") else []
    report = [f"--junitxml={out}/parity.xml"]
    sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--kernel-name", "kernel_substring=fastdet", "--tool"]
    small = [*pytest, GPU_TESTS, "-k", "(test_small or test_images) and torch"]
    return [
        Part("environment", "env.txt", 20, machine),
        Part("build", "build.txt", 200, [*build, show], stops=True),
        Part("smoke", "smoke.txt", 30, [smoke]),
        Part("parity", "parity.xml", 120, [[*pytest, *parallel, *report, parity, "-k", some]]),
        Part("bench", "bench.json", 180, bench),
        Part("captures", "captures.txt", 60, captures),
        Part(
            "sanitizers",
            "sanitizers.txt",
            SECONDS,
            [[*sanitizer, tool, *small] for tool in ("memcheck", "racecheck", "synccheck", "initcheck")],
            "compute-sanitizer",
        ),
    ]


def has_module(python: str, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def summary(outcomes: list[Outcome], out: Path) -> str:
    """A line for each part, the tests that failed, and the rows of the benchmarks."""
    lines = [f"{'part':12} {'exit':>5} {'seconds':>8}"]
    lines += [f"{o.name:12} {o.status:5} {o.seconds:8.1f}  {o.note}".rstrip() for o in outcomes]
    lines += [f"failed: {name}" for o in outcomes for name in o.tests][:30]
    try:
        rows = json.loads((out / "bench.json").read_text())["rows"]
    except (OSError, ValueError, KeyError) as error:
        lines.append(f"no figures: {type(error).__name__}")
    else:
        lines.append(f"{'case':44} {'who':20} {'call us':>10} {'device us':>10} {'ratio':>8}")
        lines += [
            f"{row['op'] + ' ' + str(row['size']):44} {row['who']:20} {row['median_us']:10.1f} "
            f"{row.get('device_us') or float('nan'):10.1f} {row['ratio_to_fastdet_cuda']:8.2f}"
            for row in rows
        ]
    if len(lines) > LINES:
        lines[LINES - 1 :] = [f"... {len(lines) - LINES + 1} more lines: see bench.json"]
    return "\n".join(lines) + "\n"


def keep_small(out: Path) -> None:
    """The ends of logs that stand beside a report go to build.txt; of a file that is too large the end stays."""
    for log in out.glob("*.log"):
        with (out / "build.txt").open("ab") as to:
            to.write(f"\n==== {log.name}\n".encode() + log.read_bytes()[-LARGEST // 16 :])
        log.unlink()
    for path in out.iterdir():
        if path.is_file() and path.stat().st_size > LARGEST:
            path.write_bytes(path.read_bytes()[-LARGEST:])


def lease(plan: list[Part], out: Path, env: dict[str, str], seconds: float = SECONDS) -> int:
    """Carry out the parts, write and print the summary; the number of parts that failed."""
    began, outcomes = time.monotonic(), []
    for part in plan:
        outcomes.append(carry_out(part, out, env, seconds - (time.monotonic() - began)))
        print(f"{part.name}: {outcomes[-1].status} after {outcomes[-1].seconds:.0f} s", flush=True)
    keep_small(out)
    text = summary(outcomes, out)
    (out / "summary.txt").write_text(text)
    print(text, end="")
    return sum(o.status != 0 for o in outcomes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder for all results; what it held of an earlier run goes")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU, on emulated kernels")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    carried = OBJECTS / "packages"
    path = [str(ROOT), *([str(carried)] if carried.is_dir() else []), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"FASTDET_OBJECTS": str(OBJECTS)}
    env |= {"FASTDET_CUDA": "0"} if options.stand_in else {"FASTDET_CUDA": "1", "FASTDET_CUDA_ARCHS": "90"}
    if not options.stand_in:
        env["FASTDET_REQUIRE_CUDA"] = "1"
    os.environ["PYTHONPATH"] = env["PYTHONPATH"]
    return lease(parts(out, sys.executable, options.stand_in), out, env)


if __name__ == "__main__":
    sys.exit(main())
