"""The case tables of every area, collected from bench/<area>.py. A new op adds its rows there, nothing here.

An area's file has `OPS` (rows by op; an op ending in `_out` writes into a buffer of the caller's), `PEERS` (by op) and
`SECTIONS` (names for `compare.py --sections`); it may have `LAST` (sections that change how malloc behaves for the rest
of the process) and `gpu_cases(torch)`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from box_cases import BoxOp, Case
from gpu_cases import GpuCase
from peers import Peer
from picture_cases import Picture, PictureOp

BENCH = Path(__file__).parents[1]


def _loaded(path: Path) -> Any:
    """Load a file of cases by its path, under a name that is not a package's."""
    name = f"bench_of_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


# A file without a table is a script with its own benchmark.
AREAS = [_loaded(path) for path in sorted(BENCH.glob("*.py")) if "\nOPS: " in path.read_text()]
OPS: dict[str, BoxOp | PictureOp] = {op: row for area in AREAS for op, row in area.OPS.items()}
PEERS: dict[str, dict[str, Peer]] = {op: peers for area in AREAS for op, peers in area.PEERS.items()}


def _sections() -> dict[str, list[tuple[str, str]]]:
    """Sections of all areas: "overhead" first, those that change malloc last. Areas may share a section."""
    sections: dict[str, list[tuple[str, str]]] = {"overhead": []}
    for area in AREAS:
        for name, cases in area.SECTIONS.items():
            sections.setdefault(name, []).extend(cases)
    last = {name for area in AREAS for name in getattr(area, "LAST", ())}
    return {name: sections[name] for name in sorted(sections, key=lambda name: name in last)}


SECTIONS = _sections()


@lru_cache(maxsize=2)
def build(op: str, size: str) -> Case | Picture:
    """The case `size` of `op`; the last two are cached."""
    return OPS[op].build(op, size)


def gpu_cases(torch: Any) -> Iterator[GpuCase]:
    for area in AREAS:
        if hasattr(area, "gpu_cases"):
            yield from area.gpu_cases(torch)
