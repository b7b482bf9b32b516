"""How calls are timed: in turn, round after round, so that a change of the core's speed affects all alike.

Nothing here knows an op. `Entry` is anything that can be called; `interleave` times several; `warm_malloc`, `peak_mb`
and `pinned` deal with memory and cores. Some parts work on Linux only and do nothing elsewhere.
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
    """One callable of a case. kind: "ours", "library", "loop" (a few plain lines of code) or "floor"."""

    name: str
    kind: str
    call: Call
    answer: str = ""  # how its answer compares with the right one
    wrong: bool = False
    note: str = ""
    times: list[float] = field(default_factory=list)  # seconds a call, one for each round
    ratios: list[float] = field(default_factory=list)  # its time / fastdet's, round by round

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def row(self) -> dict[str, Any]:
        """The entry's row of the JSON, in seconds."""
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
    """Stop the run if fastdet's answer is wrong: wrong answers are not timed."""
    agreement = case.agreement(want, got)
    if not agreement.equal:
        raise AssertionError(f"{case.name}: {name} is not equal to the right answer: {agreement.text}")


def opponents(case: Case | Picture, want: Any, workers: int) -> tuple[list[Entry], dict[str, str]]:
    """Peers and floors of a case, each peer with how its answer compares; and the absent ones with the reason."""
    lower, absent = floors(case, workers)
    entries = []
    for name, peer in PEERS[case.op].items():
        prepared = ready(peer, case)
        if isinstance(prepared, Absent):
            absent[name] = prepared.reason
            continue
        call, answer = prepared
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


def interleave(entries: list[Entry], *, seconds: float, min_rounds: int, workers: int) -> None:
    """Fill in times and ratios, from rounds in which every entry is called in turn. The first entry is fastdet's.

    Each round starts one entry further on. Calls of over one second join three rounds, of over five seconds two.
    """
    first = [once(entry.call) for entry in entries]
    inner = [max(1, min(1000, int(1e-3 / max(t, 1e-7)))) for t in first]
    limit = [2 if t > 5 else 3 if t > 1 else 200 for t in first]
    collecting = gc.isenabled()
    gc.disable()
    try:
        with pinned([entry.call for entry in entries], workers):
            stop, rounds = time.perf_counter() + seconds, 0
            while rounds < min_rounds or (time.perf_counter() < stop and rounds < 200):
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
    """Seconds a call, after one untimed call if that is cheap: it wakes the pool and fills the cache."""
    if workers > 1:
        time.sleep(0.003)  # other libraries' threads may still spin on the second core
    if about < 0.02:
        call()
    return once(call, inner)


# ------------------------------------------------------------------------------------------------ cores
def thread_ns() -> dict[int, int]:
    """Processor time of each thread of this process, nanoseconds; empty where the system has no such figure."""
    spent: dict[int, int] = {}
    for stat in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            spent[int(stat.parent.name)] = int(stat.read_text().split()[0])
    return spent


def move(tid: int, cpus: set[int]) -> None:
    with suppress(OSError):  # the thread has ended
        os.sched_setaffinity(tid, cpus)


@contextmanager
def pinned(calls: list[Call], workers: int) -> Iterator[None]:
    """Pin the busy threads of every call to different cores: some virtual machines never spread them.

    Otherwise times on several threads are bimodal. With one worker the whole process has one core anyway.
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
    """glibc, or None. The functions below need its malloc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@contextmanager
def warm_malloc() -> Iterator[bool]:
    """Let malloc keep freed memory, so that a library without `out=` writes into pages that exist already.

    Yields False where that is not possible.
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
    """The maximum growth of resident memory during `call`, MB; None where the peak cannot be reset."""
    library = libc()
    gc.collect()
    if library is not None:
        library.malloc_trim(0)  # freed memory that malloc still holds would hide growth
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # resets the peak
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
    """Add ``result`` and the machine to a file; it replaces an older result of the same case and threads."""
    machine = {"machine": platform.node(), "cpu": cpu_model(), "cores": os.cpu_count()}
    machine |= {"system": f"{platform.system()} {platform.machine()}", "versions": versions()}
    old = json.loads(path.read_text())["results"] if path.exists() else []
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    key = (result["case"], result["threads"])
    results = [r for r in old if (r["case"], r["threads"]) != key] + [{"date": date, **result}]
    path.write_text(json.dumps({**machine, "results": results}, indent=1) + "\n")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that a result may depend on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed
