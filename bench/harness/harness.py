"""How calls are timed: in turn, round after round, so that a drifting core speed meets everybody alike.

Nothing here knows an op. `Entry` is anything that can be called; `interleave` times several; `warm_malloc`,
`peak_mb`, `pinned` deal with memory and cores. Linux only where it has to be; elsewhere those parts say so.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from box_cases import Call, Case
from floors import floors
from peers import Absent, ready
from picture_cases import Picture
from tables import PEERS

OURS = "fastdet"
PACKAGES = ["fastdet", "numpy", "numba", "torch", "torchvision", "mmcv", "mmcv-lite-ops", "powerboxes", "lsnms"]
PACKAGES += ["opencv-python-headless", "opencv-python", "ensemble-boxes", "supervision", "torchmetrics", "hotcoco"]
PACKAGES += ["ultrafast-pycocotools", "vernier", "faster-coco-eval", "pycocotools"]


@dataclass
class Entry:
    """One callable of a case. kind: "ours", "library", "loop" (a few lines of anybody's code) or "floor"."""

    name: str
    kind: str
    call: Call
    answer: str = ""  # how its answer compares to the right one
    wrong: bool = False
    note: str = ""
    times: list[float] = field(default_factory=list)  # seconds a call, one for each round
    ratios: list[float] = field(default_factory=list)  # its time / fastdet's, round by round

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def row(self) -> dict[str, Any]:
        """What the JSON says about it, in seconds."""
        deciles = statistics.quantiles(self.times, n=10) if len(self.times) > 1 else [self.median] * 9
        return {
            "name": self.name,
            "kind": self.kind,
            "median": self.median,
            "min": min(self.times),
            "p10": deciles[0],
            "p90": deciles[-1],
            "rounds": len(self.times),
            "ratio": statistics.median(self.ratios),
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "answer": self.answer,
            "wrong": self.wrong,
            "note": self.note,
        }


def check(case: Case | Picture, name: str, want: Any, got: Any) -> None:
    """Stop the run if fastdet's answer is not the right one: a fast wrong answer has no time."""
    found = case.agreement(want, got)
    if not found.equal:
        raise AssertionError(f"{case.name}: {name} is not equal to the right answer: {found.text}")


def opponents(case: Case | Picture, want: Any, workers: int) -> tuple[list[Entry], dict[str, str]]:
    """Peers and floors of a case, each peer with how its answer compares; and what does not run, with the reason."""
    lower, absent = floors(case, workers)
    entries = []
    for name, peer in PEERS[case.op].items():
        found = ready(peer, case)
        if isinstance(found, Absent):
            absent[name] = found.reason
            continue
        call, answer = found
        same = case.agreement(want, answer)
        kind = "loop" if peer.loop else "library"
        entries.append(Entry(name, kind, call, same.text, same.wrong, peer.note))
    return entries + [Entry(name, "floor", call) for name, call in lower.items()], absent


# ----------------------------------------------------------------------------------------------- timing
def once(call: Call, inner: int = 1) -> float:
    """Seconds a call, over `inner` calls."""
    start = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - start) / inner


def interleave(entries: list[Entry], *, seconds: float, least: int, workers: int) -> None:
    """Fill in times and ratios: rounds in which every entry is called in turn, the first one (ours) too.

    Each round starts one entry further on. Calls over one second join three rounds, over five seconds two.
    """
    first = [once(entry.call) for entry in entries]
    inner = [max(1, min(1000, int(1e-3 / max(t, 1e-7)))) for t in first]
    limit = [2 if t > 5 else 3 if t > 1 else 200 for t in first]
    collecting = gc.isenabled()
    gc.disable()
    try:
        with pinned([entry.call for entry in entries], workers):
            stop, rounds = time.perf_counter() + seconds, 0
            while rounds < least or (time.perf_counter() < stop and rounds < 200):
                took: dict[int, float] = {}
                for step in range(len(entries)):
                    k = (rounds + step) % len(entries)
                    if rounds < limit[k]:
                        took[k] = settled(entries[k].call, inner[k], first[k], workers)
                for k, t in took.items():
                    entries[k].times.append(t)
                    if 0 in took:
                        entries[k].ratios.append(t / took[0])
                rounds += 1
    finally:
        if collecting:
            gc.enable()


def settled(call: Call, inner: int, about: float, workers: int) -> float:
    """Seconds a call, after one untimed call when that is cheap: its pool is awake, its data in cache."""
    if workers > 1:
        time.sleep(0.003)  # other libraries' threads may still spin on the second core
    if about < 0.02:
        call()
    return once(call, inner)


# ------------------------------------------------------------------------------------------------ cores
def thread_ns() -> dict[int, int]:
    """Processor nanoseconds of each thread of this process so far; empty where the system does not say."""
    spent: dict[int, int] = {}
    for stat in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # it ended meanwhile
            spent[int(stat.parent.name)] = int(stat.read_text().split()[0])
    return spent


def move(tid: int, cpus: set[int]) -> None:
    with suppress(OSError):  # it ended meanwhile
        os.sched_setaffinity(tid, cpus)


@contextmanager
def pinned(calls: list[Call], workers: int) -> Iterator[None]:
    """Give the busy threads of every call cores of their own: some virtual machines never spread them.

    Only then is a time on several threads not bimodal. With one worker the whole process has one core anyway.
    """
    if workers == 1 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cpus = sorted(os.sched_getaffinity(0))
    plan: dict[int, int] = {}
    for call in calls:
        before, stop = thread_ns(), time.perf_counter() + 0.02
        call()
        while time.perf_counter() < stop:
            call()
        used = {tid: ns - before.get(tid, 0) for tid, ns in thread_ns().items()}
        busy = [tid for tid, ns in used.items() if ns > 0.2 * max(used.values())]
        busy.sort(key=lambda tid: tid != os.getpid())  # the main thread takes the first core
        if len(busy) > 1:
            plan.update({tid: cpus[i % len(cpus)] for i, tid in enumerate(busy)})
    for tid, cpu in plan.items():
        move(tid, {cpu})
    try:
        yield
    finally:
        for tid in thread_ns():
            move(tid, set(cpus))


# ----------------------------------------------------------------------------------------------- memory
def libc() -> Any:
    """glibc, or None: what follows needs its malloc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@contextmanager
def warm_malloc() -> Iterator[bool]:
    """Let malloc keep what is freed, so that a library without `out=` writes into pages that exist already.

    Yields whether that is possible here.
    """
    library = libc()
    if library is None:
        yield False
        return
    trim_threshold, mmap_max = -1, -4
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)
    try:
        yield True
    finally:
        library.mallopt(mmap_max, 65536)
        library.mallopt(trim_threshold, 128 << 10)
        library.malloc_trim(0)


def status_kb(key: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))


def peak_mb(call: Call) -> float | None:
    """MB by which the resident memory grows at most during `call`; None where it cannot be reset."""
    library = libc()
    gc.collect()
    if library is not None:
        library.malloc_trim(0)  # freed memory that malloc still holds would hide growth
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts again from here
        before = status_kb("VmRSS")
        call()
        return (status_kb("VmHWM") - before) * 1024 / 1e6
    except OSError:
        return None


# ------------------------------------------------------------------------------------------ the machine
def cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def save(path: Path, result: dict[str, Any]) -> None:
    """Add ``result`` to a file's results, in place of an older one of the same case and threads; and the machine."""
    machine = {"machine": platform.node(), "cpu": cpu_model(), "cores": os.cpu_count()}
    machine |= {"system": f"{platform.system()} {platform.machine()}", "versions": versions()}
    old = json.loads(path.read_text())["results"] if path.exists() else []
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    key = (result["case"], result["threads"])
    results = [r for r in old if (r["case"], r["threads"]) != key] + [{"date": date, **result}]
    path.write_text(json.dumps({**machine, "results": results}, indent=1) + "\n")


def versions() -> dict[str, str]:
    """Of Python and of each package that a result may depend on, if installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
