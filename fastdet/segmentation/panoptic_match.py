"""One image of `PanopticMetrics`: its segments, the pairs that match, and the counts of each category."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.segmentation.segment_pairs import MAX_ID, count_segment_pairs, numbers_of

VOID_ID = 0  # of pixels that belong to no segment, in both maps
COUNTS = ("true_positives", "false_positives", "false_negatives", "true_segments")
SUMS = ("iou", "any_iou")  # of the pairs that match; of all pairs of one category that overlap


class Category(NamedTuple):
    """One of the categories that are scored."""

    id: int
    is_thing: bool
    name: str


class Segments(NamedTuple):
    """The segments of one map, in the order of its records."""

    category: dict[int, int]  # segment id -> position of its category
    crowd: set[int]  # ids


class Image(NamedTuple):
    """The counts of one image: a row for each category that it has."""

    category: NDArray[np.int64]  # (R,) positions, rising
    counts: NDArray[np.int64]  # (R, 4): `COUNTS`
    sums: NDArray[np.float64]  # (R, 2): `SUMS`
    pixels: NDArray[np.int64]  # (2,): all, and those of void truth


def read_segments(where: str, records: Any, position: Mapping[int, int]) -> Segments:
    """The records of a map: ``id``, ``category_id`` and, where it is there, ``iscrowd``.

    ``where`` names the records in errors; ``position``: of each category id. TypeError, ValueError.
    """
    if isinstance(records, (str, bytes, Mapping)) or not isinstance(records, Sequence):
        raise TypeError(f"{where} must be a list of segments, got {check.describe(records)}")
    category: dict[int, int] = {}
    crowd = set()
    for i, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise TypeError(f"{where}[{i}] must be a dictionary, got {check.describe(record)}")
        number, kind = (integer(f"{where}[{i}]", record, key) for key in ("id", "category_id"))
        if not 0 < number <= MAX_ID:
            raise ValueError(f"{where}[{i}].id must be in [1, 2**32), got {check.describe(number)}; 0 is void")
        if kind not in position:
            raise ValueError(f"{where}[{i}].category_id must be a known category, got {check.describe(kind)}")
        if number in category:
            raise ValueError(f"{where}[{i}].id must be unique, got {number} twice")
        category[number] = position[kind]
        if "iscrowd" in record:
            flag = integer(f"{where}[{i}]", record, "iscrowd")
            if flag not in (0, 1):
                raise ValueError(f"{where}[{i}].iscrowd must be 0 or 1, got {check.describe(flag)}")
            if flag:
                crowd.add(number)
    return Segments(category, crowd)


def integer(where: str, record: Mapping[str, Any], key: str) -> int:
    try:
        value = record[key]
    except KeyError:
        raise ValueError(f"{where}.{key} is missing") from None
    if type(value) is int or (isinstance(value, bool) and key in ("iscrowd", "isthing")):
        return int(value)
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{where}.{key} must be an integer, got {check.describe(value)}") from None


class Sides(NamedTuple):
    """How errors name what belongs to an image: the records and the map of both sides, targets first."""

    segments: tuple[str, str]
    maps: tuple[str, str]


def count(
    sides: Sides,
    maps: tuple[Any, Any],
    segments: tuple[Segments, Segments],
    backend: str | None,
    raises: Callable[[str], Exception] = ValueError,
) -> Image:
    """The counts of one image. ``raises`` makes the error where maps and segments do not fit each other."""
    truth, guess = maps
    if truth.shape[:2] != guess.shape[:2]:
        raise raises(f"{sides.maps[1]} must have the target's {truth.shape[:2]} pixels, got {guess.shape[:2]}")
    pairs = count_segment_pairs(truth, guess, backend)
    areas = []
    for side, records, ids in zip((0, 1), segments, maps, strict=True):
        names, inverse = np.unique(pairs[:, side], return_inverse=True)
        sizes = np.zeros(len(names), np.int64)
        np.add.at(sizes, inverse, pairs[:, 2])
        area = dict(zip(names.tolist(), sizes.tolist(), strict=True))
        if (wrong := _unlike(sides, side, area, records, ids)) is not None:
            raise raises(wrong)
        areas.append(area)
    rows = _matched(pairs.tolist(), areas[0], areas[1], *segments)
    return _image(rows, int(pairs[:, 2].sum()), areas[0].get(VOID_ID, 0))


def _unlike(sides: Sides, side: int, area: dict[int, int], records: Segments, ids: Array) -> str | None:
    """The text of an error where a map has a segment that the records lack, or the reverse."""
    for number in area:
        if number not in records.category and number != VOID_ID:
            at = int(np.argmax(numbers_of(ids) == number))
            row, column = divmod(at, ids.shape[1])
            got = f"{number} at row {row}, column {column}"
            return f"{sides.maps[side]} must hold ids of {_last(sides.segments[side])} or 0, got {got}"
    for i, number in enumerate(records.category):
        if number not in area:
            return f"{sides.segments[side]}[{i}].id must have pixels in the map, got {number} with none"
    return None


def _last(where: str) -> str:
    return where.rpartition(".")[2]


def _matched(
    pairs: list[list[int]], true_area: dict[int, int], area: dict[int, int], truth: Segments, guess: Segments
) -> dict[int, tuple[list[int], list[float], list[float]]]:
    """For each category its counts, the IoUs of its pairs that match, and those of all its pairs that overlap."""
    rows: dict[int, tuple[list[int], list[float], list[float]]] = {}

    def row(category: int) -> tuple[list[int], list[float], list[float]]:
        return rows.setdefault(category, ([0, 0, 0, 0], [], []))

    void: dict[int, int] = {}  # pixels of each predicted segment that are void in the truth
    crowded: dict[int, int] = {}  # ... or crowd of its category
    for true, predicted, shared in pairs:
        if predicted == VOID_ID:
            continue
        if true == VOID_ID:
            void[predicted] = shared
        elif true in truth.crowd and truth.category[true] == guess.category[predicted]:
            crowded[predicted] = crowded.get(predicted, 0) + shared
    matched: set[tuple[int, int]] = set()  # (side, id)
    for true, predicted, shared in pairs:
        if true == VOID_ID or predicted == VOID_ID or true in truth.crowd:
            continue
        category = truth.category[true]
        if category != guess.category[predicted]:
            continue
        iou = shared / (area[predicted] + true_area[true] - shared - void.get(predicted, 0))
        row(category)[2].append(iou)
        if iou > 0.5:
            row(category)[0][0] += 1
            row(category)[1].append(iou)
            matched |= {(0, true), (1, predicted)}
    for number, category in truth.category.items():
        if number not in truth.crowd:
            row(category)[0][3] += 1
            row(category)[0][2] += (0, number) not in matched
    for number, category in guess.category.items():
        left_out = void.get(number, 0) + crowded.get(number, 0)
        if (1, number) not in matched and not left_out / area[number] > 0.5:
            row(category)[0][1] += 1
    return rows


def _image(rows: dict[int, tuple[list[int], list[float], list[float]]], pixels: int, void: int) -> Image:
    categories = sorted(rows)
    counts = [rows[c][0] for c in categories]
    sums = [[math.fsum(rows[c][1]), math.fsum(rows[c][2])] for c in categories]
    return Image(
        np.array(categories, np.int64),
        np.array(counts, np.int64).reshape(-1, len(COUNTS)),
        np.array(sums, np.float64).reshape(-1, len(SUMS)),
        np.array([pixels, void], np.int64),
    )
