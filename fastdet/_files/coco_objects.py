"""COCO's JSON: data sets and results as columns, and the errors that a wrong file gets.

The C++ backend reads it as a stream (56 bytes a detection and a quarter of a megabyte, whatever the size of the file);
without it Python's json does. ``area`` is width * height where it is absent, ``iscrowd`` 0.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import IO, Any, NamedTuple, NoReturn, cast

import numpy as np

from fastdet._core import backends
from fastdet._core.check import describe
from fastdet.detection.records import CROWD, Columns, Floats, Ints

ANNOTATIONS, IMAGES, CATEGORIES = 1, 2, 4  # sections of COCO's JSON

_INTEGER, _BOX, _SCORE = "an integer", "four numbers", "a number"


class FormatError(ValueError):
    """A file that is not what it should be; its text is one line that names file, record and field."""


class DataSet(NamedTuple):
    """Images, classes and true boxes."""

    images: Ints  # (I,) ids, in the file's order
    image_names: list[str]  # "" where the file has none
    sizes: Ints  # (I, 2) width and height, 0 where the file has none
    categories: Ints  # (K,) ids
    category_names: list[str]
    truth: Columns
    offset: float = 0.0  # what is added to sides: 1 where boxes name their last pixel
    notes: tuple[str, ...] = ()  # what is odd and no error, a line each


# ------------------------------------------------------------------------------------------------- COCO
class Content(NamedTuple):
    """What COCO's JSON holds. Images and categories: ids, names, sizes."""

    boxes: Columns
    images: tuple[Ints, list[str], Ints]
    categories: tuple[Ints, list[str]]
    sections: int


def read_coco(path: str | os.PathLike[str]) -> DataSet:
    """A COCO data set. Every annotation must be of an image and a category of the file, and ids must be distinct."""
    content = coco_content(path, results=False)
    for bit, name in ((IMAGES, "images"), (ANNOTATIONS, "annotations"), (CATEGORIES, "categories")):
        if not content.sections & bit:
            raise FormatError(f"{path}: expected the key {name!r}, got no such key")
    (images, names, sizes), (categories, category_names) = content.images, content.categories
    truth = content.boxes._replace(scores=np.zeros(0))
    for section, ids in (("images", images), ("categories", categories), ("annotations", truth.ids)):
        check_distinct(str(path), section, ids)
    check_known(str(path), "annotations", "image_id", truth.image, images, "an image of the file")
    check_known(str(path), "annotations", "category_id", truth.label, categories, "a category of the file")
    return DataSet(images, names, sizes, categories, category_names, truth)


def read_coco_results(path: str | os.PathLike[str], data: DataSet | None = None) -> Columns:
    """COCO results, or the annotations with scores of a COCO data set. With ``data`` their images must be among its.

    Categories that only the results have are no error, as in pycocotools: nothing is scored in them.
    """
    boxes = coco_content(path, results=True).boxes
    if data is not None:
        check_known(str(path), "results", "image_id", boxes.image, data.images, "an image of the data set")
    return boxes


def coco_content(path: str | os.PathLike[str], *, results: bool) -> Content:
    """COCO's JSON as it is: what annotations refer to is not looked at. A path that ends in .gz is decompressed."""
    with opened(path) as (file, size):
        if backends.native is None:
            return _python_content(str(path), file, results)
        found = backends.native.read_coco(file, size, results)
    if isinstance(found, str):
        raise FormatError(f"{path}: {found}")
    ids, image, label, boxes, areas, scores, crowd, images, categories, sections = found
    with np.errstate(over="ignore"):
        plain = boxes[:, 2] * boxes[:, 3]
    if len(areas):
        np.copyto(areas, plain, where=np.isnan(areas))
    columns = Columns(image, label, boxes, areas if len(areas) else plain, scores, crowd, ids)
    sizes = np.stack(images[3:], axis=1)
    return Content(columns, (images[0], _names(images), sizes), (categories[0], _names(categories)), sections)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """The file, decompressed where it ends in .gz, and how many bytes it has (0 where that is not known)."""
    if not str(path).endswith(".gz"):
        with open(path, "rb", buffering=0) as plain:
            yield plain, os.path.getsize(path)
        return
    try:
        with gzip.open(path) as packed:
            yield cast("IO[bytes]", packed), 0
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: damaged or truncated gzip: {' '.join(str(error).split())}") from None


def _names(packed: tuple[Any, ...]) -> list[str]:
    _, text, ends, *_ = packed
    starts = [0, *ends.tolist()]
    return [text[a:b].decode("utf-8", "replace") for a, b in pairwise(starts)]


def _python_content(path: str, file: IO[bytes], results: bool) -> Content:
    """Without the C++ backend: the whole file as Python objects, then columns."""
    try:
        tree = json.load(file, object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"{path}: not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    if results and isinstance(tree, list):
        return Content(columns_of(path, "results", tree, results=True), *_no_names(), ANNOTATIONS)
    if not isinstance(tree, dict):
        wanted = "a list of detections" if results else "an object with images, annotations and categories"
        raise FormatError(f"{path}: expected {wanted}, got {'a list' if isinstance(tree, list) else describe(tree)}")
    return content_of(path, tree, results=results)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)}: expected once, got the key twice")
    return found


def _no_names() -> tuple[tuple[Ints, list[str], Ints], tuple[Ints, list[str]]]:
    none = np.zeros(0, np.int64)
    return (none, [], np.zeros((0, 2), np.int64)), (none, [])


def content_of(where: str, tree: Mapping[str, Any], *, results: bool = False) -> Content:
    """The same from a dictionary in COCO's form."""
    sections = sum(
        bit
        for bit, name in ((ANNOTATIONS, "annotations"), (IMAGES, "images"), (CATEGORIES, "categories"))
        if name in tree
    )
    if results and not sections & ANNOTATIONS:
        raise FormatError(f"{where}: expected a list of detections, got an object without annotations")
    boxes = columns_of(where, "annotations", tree.get("annotations", []), results=results)
    if results:
        return Content(boxes, *_no_names(), ANNOTATIONS)
    images, categories = tree.get("images", []), tree.get("categories", [])
    ids, category_ids = _column(where, "images", images, "id"), _column(where, "categories", categories, "id")
    sizes = [
        [x if isinstance(x := i.get(k), int) and 0 <= x < 2**53 else 0 for k in ("width", "height")] for i in images
    ]
    return Content(
        boxes,
        (ids, [_text(i.get("file_name")) for i in images], np.array(sizes, np.int64).reshape(-1, 2)),
        (category_ids, [_text(c.get("name")) for c in categories]),
        sections,
    )


def _text(x: object) -> str:
    return x if isinstance(x, str) else ""


def columns_of(where: str, section: str, records: Sequence[Mapping[str, Any]], *, results: bool) -> Columns:
    """Annotations or results that are dictionaries. NaN in ``scores`` where an annotation has none."""
    if not isinstance(records, list | tuple):
        raise FormatError(f"{where}: {section}: expected a list, got {describe(records)}")
    image, label = (_column(where, section, records, key) for key in ("image_id", "category_id"))
    boxes = _boxes(where, section, records)
    with np.errstate(over="ignore"):
        areas = boxes[:, 2] * boxes[:, 3]
    none = np.zeros(0, np.int64)
    if results:
        return Columns(
            image, label, boxes, areas, _numbers(where, section, records, "score"), np.zeros(0, np.uint8), none
        )
    given = _numbers(where, section, records, "area", 0, "a number >= 0")
    np.copyto(areas, given, where=~np.isnan(given))
    crowd = _numbers(where, section, records, "iscrowd")
    for i in np.flatnonzero((crowd != 0) & (crowd != 1) & ~np.isnan(crowd)):
        _fail(where, section, int(i), "iscrowd", "0 or 1", records[i]["iscrowd"])
    ids = _column(where, section, records, "id")
    scores = _numbers(where, section, records, "score")
    return Columns(image, label, boxes, areas, scores, (crowd == 1).astype(np.uint8) * np.uint8(CROWD), ids)


def _fail(where: str, section: str, index: int, field: str, expected: str, found: object) -> NoReturn:
    raise FormatError(f"{where}: {section}[{index}].{field}: expected {expected}, got {_shown(found)}")


_ABSENT = object()
_NO_NUMBERS = {str, bytes, bool}  # what float() takes, and JSON does not mean


def _shown(x: object) -> str:
    if x is _ABSENT:
        return "no such field"
    try:
        return describe(json.loads(json.dumps(x))) if not isinstance(x, float) else f"{x:.6g}"
    except (TypeError, ValueError):
        return describe(x)


def _values(where: str, section: str, records: Sequence[Mapping[str, Any]], key: str, expected: str) -> list[Any]:
    try:
        return [record[key] for record in records]
    except (KeyError, TypeError, IndexError):
        for i, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise FormatError(f"{where}: {section}[{i}]: expected an object, got {_shown(record)}") from None
            if key not in record:
                _fail(where, section, i, key, expected, _ABSENT)
        raise


def _column(where: str, section: str, records: Sequence[Mapping[str, Any]], key: str) -> Ints:
    values = _values(where, section, records, key, _INTEGER)
    if not values:
        return np.zeros(0, np.int64)
    if set(map(type, values)) <= {int}:
        try:
            return np.fromiter(values, np.int64, len(values))
        except OverflowError:
            pass
    out = np.zeros(len(values), np.int64)
    for i, value in enumerate(values):
        try:
            exact = not isinstance(value, str | bytes) and int(value) == value and -(2**63) <= value < 2**63
        except (TypeError, ValueError, OverflowError):
            exact = False
        if not exact or isinstance(value, bool):
            _fail(where, section, i, key, _INTEGER, value)
        out[i] = int(value)
    return out


def _numbers(
    where: str,
    section: str,
    records: Sequence[Mapping[str, Any]],
    key: str,
    least: float = -math.inf,
    expected: str = _SCORE,
) -> Floats:
    """NaN where the key is absent, unless it is the score of results."""
    needed = section == "results"
    values = _values(where, section, records, key, expected) if needed else [r.get(key, math.nan) for r in records]
    try:
        out = np.fromiter(values, np.float64, len(values))
    except (TypeError, ValueError):
        out = None
    if out is not None and not set(map(type, values)) & (_NO_NUMBERS if key != "iscrowd" else {str, bytes}):
        wrong = ~np.isfinite(out) | (out < least)
        if not wrong.any():
            return out
        if not needed:
            wrong &= np.array([key in r for r in records], bool)
        for i in np.flatnonzero(wrong):
            _fail(where, section, int(i), key, expected, values[i])
        return out
    for i, value in enumerate(values):
        try:
            fits = type(value) not in _NO_NUMBERS and math.isfinite(float(value))
        except (TypeError, ValueError):
            fits = False
        if not fits and (needed or key in records[i]):
            _fail(where, section, i, key, expected, value)
    raise FormatError(f"{where}: {section}: {key}: expected numbers")


def _boxes(where: str, section: str, records: Sequence[Mapping[str, Any]]) -> Floats:
    values = _values(where, section, records, "bbox", _BOX)
    try:
        sides = list(chain.from_iterable(values))
        fits = set(map(len, values)) <= {4} and not set(map(type, sides)) & _NO_NUMBERS
        out = np.fromiter(sides, np.float64, len(sides)).reshape(-1, 4) if fits else None
    except (TypeError, ValueError):
        out = None
    if out is None:
        for i, value in enumerate(values):
            try:
                if isinstance(value, Mapping) or len(value) != 4 or set(map(type, value)) & _NO_NUMBERS:
                    raise ValueError
                [float(x) for x in value]
            except (TypeError, ValueError):  # noqa: PERF203 the slow way in, to find the record that is wrong
                _fail(where, section, i, "bbox", _BOX, value)
        raise FormatError(f"{where}: {section}: expected boxes of four numbers")
    for column, expected in ((0, _BOX), (1, _BOX), (2, "a width >= 0"), (3, "a height >= 0")):
        wrong = ~np.isfinite(out[:, column])
        if column > 1:
            wrong |= out[:, column] < 0
        for i in np.flatnonzero(wrong):
            _fail(where, section, int(i), "bbox", expected, float(out[i, column]))
    return out


# -------------------------------------------------------------------------------------------------- ids
def positions(known: Ints, values: Ints) -> Ints:
    """Where each value lies in ``known`` (rising, distinct); -1 where it does not."""
    if not len(known) or not len(values):
        return np.full(len(values), -1, np.int64)
    low, high = int(known[0]), int(known[-1])
    if high - low < max(1 << 20, 4 * len(values)):  # a table is quicker than a search
        table = np.full(high - low + 3, -1, np.int32)  # its ends: what lies outside
        table[known - low + 1] = np.arange(len(known))
        return table[np.clip(values, max(low - 1, -(2**63)), min(high + 1, 2**63 - 1)) - low + 1].astype(np.int64)
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, at, -1)


def check_known(where: str, section: str, field: str, values: Ints, known: Ints, expected: str) -> None:
    missing = positions(np.unique(known), values) < 0
    if missing.any():
        i = int(np.argmax(missing))
        raise FormatError(f"{where}: {section}[{i}].{field}: expected {expected}, got {values[i]}")


def check_distinct(where: str, section: str, ids: Ints) -> None:
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, second = min((int(order[i + 1]), int(order[i])) for i in again)[::-1]
        raise FormatError(f"{where}: {section}[{second}].id: expected distinct ids, got {ids[second]} as in [{first}]")
