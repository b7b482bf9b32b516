"""The work of ``fastdet miou``: match label maps, count them in threads, name those that cannot be counted."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastdet
from fastdet._core.check import Array
from fastdet._files import label_maps
from fastdet._files.detections import Advance
from fastdet._files.errors import FormatError, few
from fastdet._files.label_maps import Folder, Maps
from fastdet._files.label_rules import Side
from fastdet.distributed.cluster import in_order
from fastdet.segmentation.metrics import SegmentationMetrics

_PIECE = 16  # pairs of one task on a cluster
_MAX_WRONG = 10  # bad maps that an error names; reading stops there
Bar = Callable[[str, "int | None"], Advance]


def pair(target: Maps, prediction: Maps, bar: Bar) -> list[tuple[int, int]]:
    """Match the maps. Returns pairs of positions. FormatError names maps without a partner of the same size."""
    pairs, missing, extra = label_maps.match(target, prediction)
    if missing or extra:
        sides = []
        for one, other, names in ((target, prediction, missing), (prediction, target, extra)):
            if names:
                sides.append(f"{len(names):,} of {one.path} not in {other.path}: {few(names, _MAX_WRONG)}")
        what = "label maps without a partner" if pairs else "no label map has a partner of its name"
        hint = ""
        if not pairs and (ends := label_maps.endings(target, prediction)):
            options = zip(("--gt-suffix", "--pred-suffix"), ends, strict=True)
            hint = "; without these ends of names they match: "
            hint += " ".join(f"{option} {end}" for option, end in options if end)
        raise FormatError(f"miou: {what}: {'; '.join(sides)}{hint}")
    advance = bar("checking sizes", len(pairs))
    wrong: list[str] = []
    for i, j in pairs:
        shapes = []
        for maps, at in ((target, i), (prediction, j)):
            with _noting(wrong, maps, at):
                shapes.append(maps.shape(at))
        if len(shapes) == 2 and shapes[0] != shapes[1]:
            wrong.append(_sizes(_where(prediction, j), shapes[0], shapes[1]))
        advance(1)
    if wrong:
        raise FormatError(_unusable(wrong))
    return pairs


def count(
    target: Maps,
    prediction: Maps,
    pairs: Sequence[tuple[int, int]],
    metrics: SegmentationMetrics,
    advance: Advance,
    ray: Any = None,
) -> None:
    """Count all pairs into ``metrics``, in order, a few maps at a time. FormatError names bad maps.

    In threads; with ``ray`` on its cluster, which holds a few maps at a time.
    """
    counted = _in_threads if ray is None else functools.partial(_on_ray, ray)
    results = counted(target, prediction, pairs, metrics)
    wrong: list[str] = []
    with contextlib.closing(results):
        for done, result in enumerate(results, 1):
            if isinstance(result, tuple):
                counts, shown = result
                metrics._add(*counts)
                for maps, (side, name) in zip((target, prediction), shown, strict=True):
                    maps.side.add(side, name)
            else:
                wrong += result
            advance(1)
            if len(wrong) >= _MAX_WRONG and done < len(pairs):
                raise FormatError(f"{_unusable(wrong, metrics)}; stopped after {done:,} of {len(pairs):,} pairs")
    if wrong:
        raise FormatError(_unusable(wrong, metrics))


Counted = tuple[tuple[Any, list[Array], int], list[tuple[Side, str]]] | list[str]
Results = Generator[Counted, None, None]


def _in_threads(
    target: Maps, prediction: Maps, pairs: Sequence[tuple[int, int]], metrics: SegmentationMetrics
) -> Results:
    threads = min(fastdet.get_num_threads(), len(pairs))
    todo = iter(pairs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fastdet-miou")
    try:
        ahead = itertools.islice(todo, 2 * threads)
        waiting = deque(pool.submit(_one, target, prediction, i, j, metrics) for i, j in ahead)
        for _ in range(len(pairs)):
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_one, target, prediction, i, j, metrics) for i, j in itertools.islice(todo, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(
    ray: Any, target: Maps, prediction: Maps, pairs: Sequence[tuple[int, int]], metrics: SegmentationMetrics
) -> Results:
    pieces = [pairs[i : i + _PIECE] for i in range(0, len(pairs), _PIECE)]
    for piece in in_order(ray, _piece, (target, prediction, metrics._empty()), pieces):
        yield from piece


def _piece(shared: tuple[Maps, Maps, SegmentationMetrics], pairs: Sequence[tuple[int, int]]) -> list[Counted]:
    target, prediction, metrics = shared
    return [_one(target, prediction, i, j, metrics) for i, j in pairs]


def _one(target: Maps, prediction: Maps, i: int, j: int, metrics: SegmentationMetrics) -> Counted:
    """Count one pair. Returns what it adds to ``metrics`` and to the two sides, or the list of its errors."""
    maps: list[Array] = []
    wrong: list[str] = []
    shown: list[tuple[Side, str]] = []
    for source, at in ((target, i), (prediction, j)):
        shown.append((Side(), source.names[at]))
        with _noting(wrong, source, at):
            maps.append(source.read(at, shown[-1][0]))
    if wrong:
        return wrong
    truth, guess = maps
    if truth.shape != guess.shape:  # a file changed after its size was checked
        return [_sizes(_where(prediction, j), truth.shape, guess.shape)]
    try:
        return metrics._count_images(guess, truth), shown
    except ValueError:
        classes, ignore = metrics.num_classes, metrics.ignore_index
        for source, at, labels in ((target, i, truth), (prediction, j, guess)):
            wrong_label = label_maps.first_wrong(labels, classes, ignore)
            if wrong_label is not None:
                value, row, column = wrong_label
                void = ", ".join(map(str, source.rules.ignore))
                allowed = f"labels 0 to {classes - 1}" + (f" or {void} (void)" if void else "")
                wrong.append(f"{_where(source, at)}: expected {allowed}, got {value} at row {row}, column {column}")
        if not wrong:
            raise
        return wrong


def _where(maps: Maps, i: int) -> str:
    folder = label_maps.shown(str(maps.path))
    return os.path.join(folder, maps.names[i]) if isinstance(maps, Folder) else f"{folder}: {maps.names[i]}"


@contextlib.contextmanager
def _noting(wrong: list[str], maps: Maps, i: int) -> Iterator[None]:
    """Add the error of a map to the list instead of raising it."""
    try:
        yield
    except FormatError as error:
        wrong.append(f"{_where(maps, i)}: {error}")
    except OSError as error:
        wrong.append(f"{_where(maps, i)}: {error.strerror or error}")


def _sizes(where: str, want: tuple[int, ...], got: tuple[int, ...]) -> str:
    return f"{where}: expected {want[0]} x {want[1]} pixels (height x width) as the target has, got {got[0]} x {got[1]}"


def _unusable(wrong: Sequence[str], metrics: SegmentationMetrics | None = None) -> str:
    """The error text for bad maps, with a hint if all have the same wrong label."""
    maps = "1 label map" if len(wrong) == 1 else f"{len(wrong):,} label maps"
    more = f"; and {len(wrong) - _MAX_WRONG:,} more" if len(wrong) > _MAX_WRONG else ""
    text = f"miou: {maps} that cannot be counted: {'; '.join(wrong[:_MAX_WRONG])}{more}"
    if metrics is not None and metrics.ignore_index is None:
        for value in (255, metrics.num_classes):
            if all(f", got {value} at row " in each for each in wrong):
                mask = (
                    f"; if {value} is class 1 of a mask: --map mask"
                    if value == 255 and metrics.num_classes <= 2
                    else ""
                )
                return f"{text}; if {value} is void: --ignore {value}{mask}"
    return text
