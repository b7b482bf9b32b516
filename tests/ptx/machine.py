"""What a test asks of a library with translated PTX: reports, counts of runtime calls, sectors, switches."""

from __future__ import annotations

import ctypes
import re
import struct
from collections import Counter
from pathlib import Path
from typing import NamedTuple

KINDS = {3: "atomic", 4: "fence", 5: "block fence", 6: "barrier", 7: "warp barrier"}  # Kind in runtime/ptx.h
ROOM = 4 << 20


def short(text: str) -> str:
    """A text whose mangled kernel names are the kernels' own: the last name of each."""

    def last(mangled: re.Match[str]) -> str:
        rest, name = mangled[1], mangled[0]
        while length := re.match(r"\d+", rest):
            end = length.end() + int(length[0])
            name, rest = rest[length.end() : end], rest[end:]
        return name

    return re.sub(r"_ZN(\d\w+)", last, text)


class Traffic(NamedTuple):
    kernel: str
    way: str  # "read", "write", "atomic"
    place: str
    bytes: int
    sectors: int

    @property
    def ratio(self) -> float:
        """Sectors of 32 bytes touched for each that is asked for."""
        return self.sectors * 32 / self.bytes


class Machine:
    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))

    def _text(self, function: str) -> list[str]:
        room = ctypes.create_string_buffer(ROOM)
        self.library[function](room, ctypes.c_uint64(ROOM))
        assert len(room.value) < ROOM - 1, function
        return room.value.decode().splitlines()

    def _counts(self, function: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for line in self._text(function):
            number, text = line.split(" ", 1)
            total[short(text)] += int(number)
        return total

    def reports(self) -> Counter[str]:
        """Since the last call: what the checks have found, each with how often."""
        return self._counts("fastdet_ptx_reports")

    def calls(self) -> Counter[str]:
        """Since the last call: of each call of the runtime, and of each kernel launched, how many."""
        return self._counts("fastdet_ptx_counts")

    def places(self) -> list[tuple[str, str]]:
        """(kind, line of the sources) of all that can be switched off."""
        found = (line.split(" ", 1) for line in self._counts("fastdet_ptx_places"))
        return [(KINDS[int(kind)], place) for kind, place in found]

    def executed(self) -> list[tuple[str, str]]:
        """Those of `places` that ran since the last call, of which the first one begins to note them."""
        found = (line.split(" ", 1) for line in self._counts("fastdet_ptx_executed"))
        return [(KINDS[int(kind)], place) for kind, place in found]

    def switch(self, kind: str, place: str, off: bool) -> int:
        number = next(number for number, name in KINDS.items() if name == kind)
        return int(self.library.fastdet_ptx_switch(place.encode(), number, int(off)))

    def measure_sectors(self, on: bool) -> None:
        self.library.fastdet_ptx_sectors_on(int(on))

    def sectors(self) -> list[Traffic]:
        """Since the last call, while measured: global memory by kernel and line."""
        lines = (line.split(" ", 4) for line in self._text("fastdet_ptx_sectors"))
        return [Traffic(short(kernel), way, place, int(n), int(s)) for n, s, kernel, way, place in lines]

    def hold_stores(self, on: bool) -> None:
        """Other blocks see a block's plain stores as late as they may: after a fence, or when the kernel has ended."""
        self.library.fastdet_ptx_hold_stores(int(on))

    def guard(self, start: int, end: int) -> None:
        """From ``start`` to ``end`` lies nothing that a kernel may touch."""
        self.library.fastdet_ptx_guard(ctypes.c_uint64(start), ctypes.c_uint64(end))

    def unguard(self, start: int) -> None:
        self.library.fastdet_ptx_unguard(ctypes.c_uint64(start))

    def seed(self, seed: int) -> None:
        """Another order of blocks, warps and lanes."""
        self.library.fastdet_emulator_seed(ctypes.c_uint64(seed))

    def launch(self, name: str, grid: int, block: int, *arguments: int, shared: int = 0) -> int:
        """A kernel whose parameters are 64-bit integers; the error code."""
        packed = struct.pack(f"{len(arguments)}Q", *arguments)
        return int(self.library.fastdet_ptx_launch(name.encode(), grid, block, shared, packed))
