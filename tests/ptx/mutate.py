"""Switch off each barrier, fence and atomic of the kernels in turn, and see whether a check or an answer shows it.

    python tests/ptx/mutate.py [--only csrc/nms] [--rows nms] [--seeds 3]

A place is a line of the sources: all its instances, in every kernel, are off together. Each place runs in a process of
its own, on those rows of the tables of ops that come to it. Prints a line for each: what caught it, or "SURVIVED".
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:1] = [str(TESTS), str(TESTS / "support")]

import emulated  # noqa: E402
from emulated import on_cpu, on_gpu  # noqa: E402
from op_rows import equal, mapped  # noqa: E402
from op_tables import ARRAY_OPS, BOX_OPS  # noqa: E402
from samples import sample  # noqa: E402

SECONDS = 120  # of a mutant's process


def rows() -> dict[str, Callable[[], Any]]:
    """Calls whose answers are compared, by name."""

    def of_boxes(op: Any, data: Any) -> Callable[[], Any]:
        return lambda: on_cpu(op.call(data, None, on_gpu))

    def of_arrays(op: Any, case: str, dtype: str) -> Callable[[], Any]:
        args, options = op.arguments(case, dtype)
        return lambda: on_cpu(op.public(*mapped(args, on_gpu), **mapped(options, on_gpu)))

    found = {}
    for name, op in BOX_OPS.items():
        if "cuda" in op.backends and not name.endswith("out"):
            for n in (300, *((1500, 4500) if name.split()[0] in ("nms", "batched_nms") else ())):
                found[f"{name}, {n} boxes"] = of_boxes(op, sample("clustered", n))
    for name, op in ARRAY_OPS.items():
        if "cuda" in op.backends:
            for case in op.cases:
                found[f"{name}, {case}"] = of_arrays(op, case, op.dtypes[0])
    return found


def attempt(machine: Any, call: Callable[[], Any], want: Any, seeds: int) -> str:
    """What shows the mutant in a call, or ""."""
    for seed in range(seeds):
        machine.seed(seed)
        try:
            equal(call(), want)
        except Exception as error:
            return f"wrong answer ({type(error).__name__})"
        if found := machine.reports():
            return f"report: {found.most_common(1)[0][0]}"
    return ""


def verdict(run: Callable[[], str]) -> str:
    """The result of ``run`` in a child process; a crash or an endless wait is one, too."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.alarm(SECONDS)
        os.write(write, run().encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return f"ended by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="places whose text holds this")
    parser.add_argument("--rows", default="", help="rows whose name holds this")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with emulated.backend("90") as emulator:
        machine = emulator.machine
        machine.executed()
        calls, wants, comes_to = rows(), {}, {}
        for name, call in calls.items():
            if options.rows not in name:
                continue
            try:
                wants[name] = call()
            except NotImplementedError:
                continue
            for place in machine.executed():
                comes_to.setdefault(place, []).append(name)
        assert not machine.reports()
        survived = 0
        places = sorted(place for place in machine.places() if options.only in place[1])
        for kind, place in places:

            def run(kind: str = kind, place: str = place) -> str:
                machine.switch(kind, place, True)
                shown = (attempt(machine, calls[name], wants[name], options.seeds) for name in comes_to[kind, place])
                return next(filter(None, shown), "")

            caught = verdict(run) if (kind, place) in comes_to else "no row comes here"
            survived += not caught
            print(f"{place} {kind}: {caught or 'SURVIVED'}", flush=True)
    print(f"{len(places)} places, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
