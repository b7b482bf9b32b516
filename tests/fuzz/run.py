"""Fuzz every parser: python tests/fuzz/run.py --seconds 60 [--seed 0] [--only NAME]

Each input either is read, or raises fastdet's own error in one line, within a time and a memory bound. The first
failure is written to a file and ends the run with exit code 1. ``--replay FILE --only NAME`` reads such a file again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: an installed fastdet comes first

from fuzz.targets import ERRORS, Target, all_targets

MAX_SECONDS = 5.0  # of one input; a usual one takes a millisecond
MAX_MIB = 400  # that one input may add to the peak of the process
# So that the bounds are soon reached.
LIMITS = "unpacked=16MiB,maps=64MiB,pixels=1000000,text=64KiB,images=10000,runs=100000"


class Failure(NamedTuple):
    """An input that a parser did not survive."""

    target: str
    data: bytes
    text: str


def _peak() -> float:
    """The peak memory of this process in MiB."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def attempt(target: Target, data: bytes, folder: Path) -> tuple[bool, str]:
    """Read one input. Returns whether it was taken, and the text of a failure."""
    before, began, taken = _peak(), time.perf_counter(), True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data, folder)
    except ERRORS as error:
        taken = False
        if "\n" in str(error) or not str(error) or len(str(error)) > 3000:
            return False, f"an error that is not one line: {str(error)[:500]!r}"
    except BaseException:
        return False, traceback.format_exc()
    seconds, more = time.perf_counter() - began, _peak() - before
    if seconds > MAX_SECONDS:
        return taken, f"took {seconds:.1f} s"
    return taken, f"took {more:.0f} MiB" if more > MAX_MIB else ""


def fuzz(
    targets: dict[str, Target], seconds: float, seed: int, current: Path | None = None
) -> tuple[dict[str, tuple[int, int]], Failure | None]:
    """Run all targets in turn. Returns for each how many inputs it read and how many of them it took.

    ``current``: a file that gets each input before it is read, for the case that the process does not survive it.
    """
    counts = dict.fromkeys(targets, (0, 0))
    generators = {name: random.Random(f"{seed} {name}") for name in targets}
    folder = Path(tempfile.mkdtemp(prefix="fastdet-fuzz-"))
    before, os.environ["FASTDET_LIMITS"] = os.environ.get("FASTDET_LIMITS", ""), LIMITS
    try:
        for name, target in targets.items():  # what is imported and allocated once
            for data in target.seeds:
                if failure := _one(name, target, data, folder, counts, first=True):
                    return counts, failure
        end = time.perf_counter() + seconds
        while True:  # whole rounds: each target is changed at least 20 times, however slow the machine
            for name, target in targets.items():
                rng = generators[name]
                for _ in range(20):
                    data = target.change(rng, rng.choice(target.seeds), target.seeds)
                    if current is not None:
                        current.write_bytes(name.encode() + b"\n" + data)
                    if failure := _one(name, target, data, folder, counts):
                        return counts, failure
            if time.perf_counter() > end:
                return counts, None
    finally:
        os.environ["FASTDET_LIMITS"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _one(
    name: str, target: Target, data: bytes, folder: Path, counts: dict[str, tuple[int, int]], first: bool = False
) -> Failure | None:
    inside = folder / str(list(counts).index(name))  # one a target: making and removing them takes most of the time
    inside.mkdir(exist_ok=True)
    try:
        taken, text = attempt(target, data, inside)
    finally:
        for file in inside.iterdir():
            file.unlink()
    counts[name] = counts[name][0] + 1, counts[name][1] + taken
    if first and not text and not taken:
        text = "a seed that is refused"
    return Failure(name, data, text) if text and not (first and text.startswith("took")) else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz every parser of fastdet.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a target's name, or a part of it")
    parser.add_argument("--replay", type=Path, help="a file that an earlier run wrote")
    parser.add_argument("--current", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    targets = {name: target for name, target in all_targets().items() if (options.only or "") in name}
    if options.replay is not None:
        for target in targets.values():
            with tempfile.TemporaryDirectory() as folder:
                os.environ["FASTDET_LIMITS"] = LIMITS
                print(target.read(options.replay.read_bytes(), Path(folder)))
        return 0
    if options.current is None:
        return _watched()
    counts, failure = fuzz(targets, options.seconds, options.seed, options.current)
    for name, (read, taken) in counts.items():
        print(f"{name:30} {read:8,} inputs, {taken:8,} taken")
    print(f"{'in all':30} {sum(read for read, _ in counts.values()):8,} inputs")
    if failure is None:
        return 0
    return _report(failure)


def _report(failure: Failure) -> int:
    place = Path(f"fuzz-{failure.target.replace(' ', '-').replace(',', '')}.bin")
    place.write_bytes(failure.data)
    print(f"FAILED: {failure.target}: the input is in {place}\n{failure.text}")
    return 1


def _watched() -> int:
    """Run in another process, so that an input that ends it is known."""
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / "current"
        done = subprocess.run([sys.executable, *sys.argv, "--current", str(current)], check=False)
        if done.returncode in (0, 1) or not current.exists():
            return done.returncode
        name, _, data = current.read_bytes().partition(b"\n")
        return _report(Failure(name.decode(), data, f"the process ended with {done.returncode}"))


if __name__ == "__main__":
    raise SystemExit(main())
