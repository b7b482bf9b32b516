"""Floors, the minimum time of an op, measured in the same rounds: writing its output, or sorting its scores.

libc's memset is the usual measure for writing, but on some machines it reads each line before it writes it; streaming
stores do not. So a streaming fill, a few lines of C that are compiled here, is measured too. bench/README.md has the
floors as bytes and operations.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from box_cases import Call, Case, touched
from inputs import Array
from picture_cases import Picture

Fill = Callable[[int, int], Any]  # address, bytes

STREAM_C = """
#include <emmintrin.h>
#include <stddef.h>
void stream(char *to, size_t bytes) { /* to: 64-byte aligned; a tail below 64 bytes is left out */
    __m128i v = _mm_set1_epi8(1);
    for (size_t k = 0; k + 64 <= bytes; k += 64) {
        _mm_stream_si128((__m128i *)(to + k), v);
        _mm_stream_si128((__m128i *)(to + k + 16), v);
        _mm_stream_si128((__m128i *)(to + k + 32), v);
        _mm_stream_si128((__m128i *)(to + k + 48), v);
    }
    _mm_sfence();
}
"""


@lru_cache(maxsize=1)
def stream() -> Fill | str:
    """The streaming fill, or the reason why there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "no C compiler"
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "stream.c"), Path(folder, "stream.so")
        source.write_text(STREAM_C)
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            return "not an x86-64 machine, or the C compiler failed"
        function = ctypes.CDLL(str(library)).stream
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t], None
    return lambda address, size: function(address, size)


def memset(address: int, size: int) -> None:
    ctypes.memset(address, 0, size)


def filling(fill: Fill, buffer: Array, workers: int) -> Call:
    """Write `buffer` from its first whole cache line on, in `workers` threads if it is large."""
    skip = -buffer.ctypes.data % 64
    address, size = buffer.ctypes.data + skip, buffer.nbytes - skip

    def one() -> Array:
        fill(address, size)
        return buffer

    if workers == 1 or size < 1 << 20:
        return one
    pool, part = ThreadPoolExecutor(workers), -(-size // workers // 64) * 64
    spans = [(address + at, min(part, size - at)) for at in range(0, size, part)]

    def split() -> Array:
        list(pool.map(lambda span: fill(*span), spans))
        return buffer

    return split


def moving(case: Picture, workers: int) -> dict[str, Call]:
    """Read as many bytes as an image op reads, by a sum; write as many as it writes, by streaming stores or memset."""
    read_bytes, streaming = case.nbytes - case.written, stream()
    source = np.ones(read_bytes // 8 + 1)
    fill = memset if isinstance(streaming, str) else streaming
    target = np.ones(case.written, np.uint8)
    pool, parts = ThreadPoolExecutor(workers), np.array_split(source, workers)
    write = filling(fill, target, workers)

    def run() -> None:
        if workers == 1:
            source.sum()
        else:
            list(pool.map(np.sum, parts))
        if len(target):
            write()

    return {"its bytes moved once": run}


def floors(case: Case | Picture, workers: int) -> tuple[dict[str, Call], dict[str, str]]:
    """The floors of a case by name; and those that cannot be measured here, with the reason."""
    if isinstance(case, Picture):
        return moving(case, workers), {}
    if case.op in ("nms", "batched_nms"):
        return {"numpy.argsort(scores)": lambda: np.argsort(case.scores)}, {}
    if not case.nbytes:
        return {}, {}
    if case.op == "box_iou":
        return {"memset, fresh memory": lambda: filling(memset, np.empty((case.n, case.n), np.float32), 1)()}, {}
    buffer, streaming = touched(case), stream()
    measured = {"memset": filling(memset, buffer, workers)}
    if isinstance(streaming, str):
        return measured, {"floor: streaming stores": streaming}
    return {**measured, "streaming stores": filling(streaming, buffer, workers)}, {}
