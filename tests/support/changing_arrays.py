"""Calls ops again and again while a second thread changes their arrays: a program of its own, since it may crash.

    python changing_arrays.py BACKEND SECONDS FIRST EVERY

Goes through the rows from number FIRST on, SECONDS for each. Before each it prints the row's number and name, so that
the last line tells where the process died, and behind each case how many calls there were. It names each function of
the C++ module at its first call. EVERY is 1 for all cases and dtypes of an op, else 0: a few. The variable
FASTDET_CHANGING_ROWS chooses rows: those whose names it is a part of.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from op_rows import Arguments, ArrayOp, Op, mapped
from op_tables import ARRAY_OPS, BOX_OPS
from samples import Array, sample

from fastdet import _cpp, detection, masks, nms

FEW = 5  # cases of an op in the short form


# What the arrays become.


def hostile(x: Array, rng: np.random.Generator) -> list[Array]:
    """Other contents for an array. Those drawn from its own values pass every check, and change every count."""
    own = x.reshape(-1)
    states = [rng.choice(own, x.shape), np.sort(own)[::-1].reshape(x.shape)] if x.size else []
    some = rng.random(x.shape) < 0.5
    if x.dtype.kind == "f":
        largest = float(np.finfo(x.dtype).max)
        values: tuple[Any, ...] = (np.nan, np.inf, -np.inf, largest, -largest, 40000, -1, 0, 0.5)
        states.append((rng.standard_normal(x.shape) * min(largest / 100, 1e30)).astype(x.dtype))
    elif x.dtype.kind in "iu":
        info = np.iinfo(x.dtype)
        values = (info.min, info.max, min(40000, info.max), max(-1, info.min), 255 if info.max >= 255 else 1, 0)
        states.append(rng.integers(info.min, info.max, x.shape, x.dtype, endpoint=True))
    else:
        values = (0, 1)
    states += [np.full(x.shape, value, x.dtype) for value in values]
    states += [np.where(some, np.full(x.shape, value, x.dtype), x) for value in values]
    return [_like(x, state) for state in states]


def _like(x: Array, values: Array) -> Array:
    """``values`` with the memory layout of ``x``, which is dense."""
    out = np.empty_like(x)
    out[...] = values
    return out


# The thread that changes them.

_memmove = ctypes.CDLL(None).memmove
_memmove.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t)
_memmove.restype = ctypes.c_size_t


def _next(draw: int) -> int:
    """The next of a row of numbers below 2^31, of which the upper bits look random; no product overflows."""
    return (draw * 1103515245 + 12345) & 0x7FFFFFFF


def _alternate(stop: Array, at: Array, sizes: Array, good: Array, bad: Array, longest: int) -> int:
    """Write a hostile state into one of the arrays, wait, write the good one again, until ``stop``; the changes."""
    draw, changes = 12345, 0
    while stop[0] == 0:
        draw = _next(draw)
        i = (draw >> 8) % at.size
        draw = _next(draw)
        _memmove(at[i], bad[i, (draw >> 8) % bad.shape[1]], sizes[i])
        for _ in range(2):
            draw = _next(draw)
            wait = 1 << (draw >> 8) % longest
            draw = _next(draw)
            wait = wait * (draw & 0xFFFF) >> 15
            while wait > 0 and stop[0] == 0:
                wait -= 1
            if (draw >> 20) % 8:  # now and then the next array changes too
                _memmove(at[i], good[i], sizes[i])
        changes += 1
    for i in range(at.size):
        _memmove(at[i], good[i], sizes[i])
    return changes


try:
    import numba
except ImportError:  # the same, but it holds the interpreter's lock while it waits
    alternate = _alternate
else:
    _next = numba.njit(_next)
    alternate = numba.njit(nogil=True)(_alternate)


class Changing:
    """While it is entered, another thread changes the arrays. ``seconds``: how long a call takes."""

    def __init__(self, arrays: list[Array], seconds: float) -> None:
        rng = np.random.default_rng(len(arrays))
        self.arrays = arrays = [x for x in arrays if x.size]
        self.kept = [[_like(x, x), *hostile(x, rng)] for x in arrays]
        most = max((len(states) for states in self.kept), default=2) - 1
        place = [[state.ctypes.data for state in states] for states in self.kept]
        self.stop = np.zeros(1, np.int64)
        self.arguments = (
            self.stop,
            np.array([x.ctypes.data for x in arrays], np.int64),
            np.array([x.nbytes for x in arrays], np.int64),
            np.array([row[0] for row in place], np.int64),
            np.array([[row[1 + k % (len(row) - 1)] for k in range(most)] for row in place], np.int64),
            int(np.clip(np.log2(seconds * 1e9), 8, 28)),
        )
        self.thread = threading.Thread(target=alternate, args=self.arguments)

    def __enter__(self) -> None:
        if self.kept:
            self.thread.start()

    def __exit__(self, *_: Any) -> None:
        self.stop[0] = 1
        if self.kept:
            self.thread.join()


# The rows.

Call = tuple[Callable[..., Any], Arguments]


def _box_calls(op: Op, backend: str, every: bool) -> Iterator[tuple[str, Call]]:
    for n, family in ((300, "clustered"), (300, "grid"), (3000, "clustered")):
        for dtype in op.dtypes if every else op.dtypes[:1]:
            if dtype == "bfloat16":  # torch's, of which there is no view
                continue
            data = sample(family, n, dtype)
            if n == 300:  # keys that index a table as they are
                data = replace(data, idxs=np.arange(n) % 80)
            args, options = op.inputs(data)
            yield f"{family} {n} {dtype}", (op.public, (args, {**options, "backend": backend}))


def _array_calls(op: ArrayOp, backend: str, every: bool) -> Iterator[tuple[str, Call]]:
    names = [name for name in op.cases if name not in op.threaded]
    if not every:
        names = [*names[:: -(-len(names) // FEW)], *op.threaded[:1]]
    for name in names:
        for dtype in op.dtypes if every else op.dtypes[:1]:
            if dtype != "bfloat16":  # torch's, of which there is no view
                args, options = op.arguments(name, dtype)
                yield f"{name} {dtype}", (op.public, (args, {**options, "backend": backend}))


def _detections(n: int, m: int) -> tuple[Arguments, Arguments]:
    """Of `match_detections`, and of the native function behind it."""
    d, g = sample("clustered", n, "float64"), sample("clustered", m, "float64", seed=1)
    labels, true_labels = np.arange(n) % 7, np.arange(m) % 7
    crowd, ignore = g.crowd.copy(), np.arange(m) % 5 == 0
    public = (
        (d.boxes, d.scores, g.boxes),
        {
            "labels": labels, "true_labels": true_labels, "iscrowd": crowd, "ignore": ignore, "max_detections": None,
            "iou_thresholds": (0.5, 0.75), "area_ranges": np.array([[0, 1e10], [0, 1e4]]),
        },
    )  # fmt: skip
    rows, true_rows = np.argsort(labels, kind="stable"), np.argsort(true_labels, kind="stable")
    start, true_start = (np.searchsorted(np.sort(x), np.arange(8)) for x in (labels, true_labels))
    native = (
        (
            d.boxes, d.scores, d.scores * 1e4, rows, start, g.boxes, g.scores * 1e4, crowd.view(np.uint8), true_rows,
            true_start, np.array([0.5, 0.75]), np.array([[0, 1e10], [0, 1e4]]), -1, 0.0,
        ),
        {},
    )  # fmt: skip
    return public, native


def _overlaps(native: Arguments) -> Array:
    """Overlaps of all pairs of `match_groups`' groups."""
    pairs = int((np.diff(native[0][4]) * np.diff(native[0][9])).sum())
    return np.random.default_rng(pairs).random(pairs)


def _poses(n: int, m: int) -> Arguments:
    """Of `oks_of_groups`."""
    rng = np.random.default_rng(n)
    points, true_points = (rng.normal(0, 50, (count, 17, 3)) for count in (n, m))
    rows, start = rng.permutation(n), np.linspace(0, n, 6).astype(np.int64)
    true_rows, true_start = rng.permutation(m), np.linspace(0, m, 6).astype(np.int64)
    of_truth = rng.random(m) * 1000, rng.random((m, 4)) * 50, rng.random(17) * 0.1 + 0.01
    return (points, true_points, *of_truth, rows, start, true_rows, true_start), {}


def _grouped_masks(n: int, m: int) -> Arguments:
    """Of `mask_iou_of_groups`."""
    rng = np.random.default_rng(n)
    a, b = (masks.encode(rng.random((count, 30, 40)) < 0.3) for count in (n, m))
    rows, start = rng.permutation(n), np.linspace(0, n, 6).astype(np.int64)
    true_rows, true_start = rng.permutation(m), np.linspace(0, m, 6).astype(np.int64)
    runs = *(x.copy() for x in (a.counts, a.offsets, a.sizes)), *(x.copy() for x in (b.counts, b.offsets, b.sizes))
    return (*runs, rng.random(m) < 0.3, rows, start, true_rows, true_start), {}


def _grouped_boxes(n: int, m: int) -> list[Arguments]:
    """Of `rotated_iou_of_groups`: rotated boxes, and quadrilaterals."""
    rng = np.random.default_rng(5)
    groups = np.arange(n), np.array([0, n // 3, n]), np.arange(m), np.array([0, m // 2, m])
    return [((rng.random((n, k)) * 50, rng.random((m, k)) * 50, rng.random(m) < 0.3, *groups), {}) for k in (5, 8)]


def _maps(dtype: Any) -> tuple[Array, Array]:
    """Two label maps with regions."""
    rng = np.random.default_rng(3)
    first, second = (np.kron(rng.integers(0, 5, (9, 12)), np.ones((7, 6))).astype(dtype) for _ in range(2))
    return first, second


def _accumulated(n: int) -> Arguments:
    rng = np.random.default_rng(n)
    start, of_class = np.sort(rng.integers(0, n, 21)), np.array([0, 5, 5, 20])
    start[0], start[-1] = 0, n
    outcomes, counted = rng.integers(0, 243, (n, 1), np.uint8), rng.integers(0, 9, (20, 2))
    return (rng.random(n), outcomes, start, counted, of_class, 2, np.linspace(0, 1, 101), np.array([1, 10, 100])), {}


def _records(n: int) -> tuple[Arguments, Arguments]:
    """Of `join_records` and of `encode_records`."""
    one = b'{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}'
    place = np.arange(n)
    joined = (
        (
            one * n, place * len(one), np.full(n, len(one), np.int32), np.full(n, one.index(b"0.5"), np.int32),
            np.linspace(0, 1, n),
        ),
        {},
    )  # fmt: skip
    rng = np.random.default_rng(n)
    encoded = ([b"1", b'"x"', b"3"], place % 3, place % 7, rng.random((n, 4)) * 100, rng.random(n)), {}
    return joined, encoded


def _masks(n: int) -> dict[str, list[Arguments]]:
    """Of the native functions of masks, which get the arrays of an `RLE`: nobody else has them to change."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:200, :300]
    discs = [np.hypot(y - a, x - b) < 40 for a, b in rng.random((n, 2)) * 300]
    rle = masks.encode(np.stack(discs))
    arrays = rle.counts, rle.offsets
    points, parts = np.arange(0, 6 * n + 1, 6), np.arange(0, n + 1, 2)
    return {
        "decode": [((*arrays, np.zeros((n, 200, 300), np.uint8), False), {}),
                   ((*arrays, np.zeros((n, 300, 200), np.uint8), True), {})],
        "rle_area": [(arrays, {})],
        "rle_boxes": [((*arrays, rle.sizes), {})],
        "rle_merge": [((*arrays, 2), {})],
        "rle_boundary": [((*arrays, rle.sizes, np.full(n, 7)), {})],
        "mask_iou": [((*arrays, *arrays, rle.sizes, rle.sizes, np.arange(n) % 3 == 0, "iou"), {})],
        "mask_nms": [((*arrays, rle.sizes, np.arange(n)[::-1].copy(), np.arange(n) % 3, 0.3, -1, False), {})],
        "matrix_nms": [((*arrays, rle.sizes, np.arange(n)[::-1].copy(), np.arange(n) % 3, False), {})],
        "rle_to_strings": [(arrays, {})],
        "rle_from_strings": [(([r["counts"] for r in rle.to_coco()],), {})],
        "rle_from_polygons": [((rng.random((6 * n, 2)) * 250, points, parts, 200, 300), {})],
    }  # fmt: skip


def _other_calls() -> dict[str, Callable[[str], list[tuple[str, Call]]]]:
    """Functions without a row in the tables, by backend. The native ones are the same under every backend."""
    public, native = _detections(400, 300)
    few, _ = _detections(40, 3)
    joined, encoded = _records(3000)
    keys = (np.arange(4000) * 7 % 11, np.arange(900) % 13)

    def match(backend: str) -> list[tuple[str, Call]]:
        return [
            (f"{rule} {name}", (detection.match_detections, (args, {**options, "rule": rule, "backend": backend})))
            for name, (args, options) in (("many", public), ("few", few))
            for rule in ("coco", "voc")
        ]

    def many_boxes(backend: str) -> list[tuple[str, Call]]:
        """Soft-NMS by a tree, which Numba has for many boxes only."""
        data = sample("grid", 5000)
        options = {"min_score": 0.0, "max_output": 1000, "backend": backend}
        return [
            ("plain", (nms.soft_nms, ((data.boxes, data.scores), options))),
            ("keys", (nms.batched_soft_nms, ((data.boxes, data.scores, np.arange(5000) // 4500), options))),
        ]

    def native_row(function: str, *all_args: Arguments) -> Callable[[str], list[tuple[str, Call]]]:
        return lambda backend: [
            (f"arguments {i}", (getattr(_cpp, function), args)) for i, args in enumerate(all_args) if backend == "cpp"
        ]

    def without_backend(backend: str) -> list[tuple[str, Call]]:
        """A path of its own for few boxes."""
        few = [sample("clustered", n) for n in (30, 100, 3000)] if backend == "cpp" else []
        return [(data.name, (nms.nms, ((data.boxes, data.scores, 0.5), {}))) for data in few]

    return {
        "nms without a backend": without_backend,
        "soft_nms of many boxes": many_boxes,
        "match_detections": match,
        "native match_groups": native_row(
            "match_groups",
            *(
                ((*native[0], voc, matched, overlaps), {})
                for voc in (False, True)
                for matched in (False, True)
                for overlaps in (None, _overlaps(native))
            ),
        ),
        "native boundary_counts": native_row("boundary_counts", ((*_maps(np.uint16), 5, 9, 2), {})),
        "native segment_pairs": native_row("segment_pairs", (_maps(np.uint32), {})),
        "native png_pixels": native_row("png_pixels", ((zlib.compress(bytes(40 * 121)), 40, 40), {})),
        "native oks_of_groups": native_row("oks_of_groups", _poses(60, 40)),
        "native mask_iou_of_groups": native_row("mask_iou_of_groups", _grouped_masks(60, 40)),
        "native rotated_iou_of_groups": native_row("rotated_iou_of_groups", *_grouped_boxes(60, 40)),
        "native group_rows": native_row("group_rows", (keys, {}), ((keys[0] << 40, keys[1] << 40), {})),
        "native accumulate": native_row("accumulate", _accumulated(900)),
        **{f"native {name}": native_row(name, *all_args) for name, all_args in _masks(20).items()},
        "native join_records": native_row("join_records", joined, ((*joined[0][:-1], None), {})),
        "native encode_records": native_row("encode_records", encoded),
    }


def rows(backend: str, every: bool) -> dict[str, Callable[[], Iterator[tuple[str, Call]] | list[tuple[str, Call]]]]:
    """Every op with a kernel of the backend, by name."""
    boxes = {name: lambda op=op: _box_calls(op, backend, every) for name, op in BOX_OPS.items()}
    arrays = {name: lambda op=op: _array_calls(op, backend, every) for name, op in ARRAY_OPS.items()}
    others = {name: lambda make=make: make(backend) for name, make in _other_calls().items()}
    return {**boxes, **arrays, **others}  # type: ignore[dict-item]


# The loop.


def run(call: Call, seconds: float) -> tuple[int, int]:
    """How many calls there were in that time, and how many of them raised ValueError."""
    public, (args, options) = call
    arrays: list[Array] = []

    def keep(x: Array) -> Array:
        arrays.append(x.copy("K"))
        return arrays[-1]

    args, options = mapped(args, keep), mapped(options, keep)
    public(*args, **options)
    begin = time.perf_counter()
    public(*args, **options)
    calls = errors = 0
    with Changing(arrays, time.perf_counter() - begin):
        until = time.perf_counter() + seconds
        while calls < 2 or time.perf_counter() < until:
            calls += 1
            try:
                public(*args, **options)
            except (ValueError, IndexError):  # IndexError: of a native function
                errors += 1
    return calls, errors


def note_calls() -> None:
    """Wrap the functions of the C++ module, so that the first call of each is told."""
    told: set[str] = set()

    def noting(name: str, function: Any) -> Any:
        def called(*args: Any) -> Any:
            if name not in told:
                told.add(name)
                print("called", name, flush=True)
            return function(*args)

        return called

    for name in dir(_cpp):
        if not name.startswith("_") and callable(getattr(_cpp, name)):
            setattr(_cpp, name, noting(name, getattr(_cpp, name)))


def main(backend: str, seconds: float, first: int, every: bool) -> None:
    warnings.simplefilter("ignore")  # of NumPy, about NaN and overflow
    sys.setswitchinterval(1e-5)
    note_calls()
    with Changing([np.zeros(9)], 1e-6):  # compiles `alternate`
        pass
    for i, (name, calls) in enumerate(rows(backend, every).items()):
        if i < first or os.environ.get("FASTDET_CHANGING_ROWS", "") not in name:
            continue
        print(f"row {i} {name}", flush=True)
        made = list(calls())
        for case, call in made:
            print(f"case {case}", flush=True)
            done, errors = run(call, seconds / len(made))
            print(f"calls {done} errors {errors}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
