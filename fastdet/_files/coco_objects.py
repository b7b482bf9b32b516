"""Turn COCO data sets and results that are Python dictionaries into columns.

Errors have the same text as those of the C++ reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core.check import Array, describe
from fastdet._files.errors import FormatError, plain
from fastdet.detection.records import CROWD, Columns, Floats, Ints

ANNOTATIONS, IMAGES, CATEGORIES = 1, 2, 4  # sections of COCO's JSON

_INTEGER, _BOX, _SCORE = "an integer", "four numbers", "a number"
_STRING_OR_INTEGER = "an integer or a string"
_SIDES = (_BOX, _BOX, "a width >= 0", "a height >= 0")  # of a bbox


class Spans(NamedTuple):
    """Positions in bytes of the records of results in their file."""

    start: Ints  # (N,)
    length: Array  # (N,) int32
    score_at: Array  # (N,) int32, from the start of the record to its score
    bounds: tuple[int, int]  # start and end of the list, brackets included
    other_keys: list[str]  # keys of the object around the list


class Content(NamedTuple):
    """The content of COCO JSON."""

    boxes: Columns
    images: tuple[Ints, list[str], Ints]  # ids, names, sizes
    categories: tuple[Ints, list[str]]  # ids, names
    sections: int  # the sum of ANNOTATIONS, IMAGES and CATEGORIES that the file has
    section: str = "annotations"  # the name of the records in errors: "results" where the file is a plain list
    named: Array = np.zeros(0, bool)  # (N,) whether the image id is a string; empty if no id is
    image_names: Sequence[str] = ()  # in ``named`` rows, boxes.image is an index into this list
    spans: Spans | None = None
    file: Ints = np.zeros(0, np.int64)  # (N,) results: index into ``file_names``, -1 for none; empty if no row has one
    file_names: Sequence[str] = ()
    ignore: Array = np.zeros(0, bool)  # (N,) true boxes: the key ``ignore``; empty if it is set nowhere
    parents: Sequence[str] = ()  # supercategories of ``categories``, "" where absent
    federated: bool = False  # images have LVIS's lists of categories


def content_of(where: str, tree: Mapping[str, Any]) -> Content:
    """Read a data set from a dictionary in COCO's layout."""
    records = tree.get("annotations", [])
    boxes = columns_of(where, "annotations", records, results=False)
    return names_of(where, tree)._replace(boxes=boxes, ignore=_ignored(where, records))


def names_of(where: str, tree: Mapping[str, Any]) -> Content:
    """Read only the images and categories."""
    sections = sum(
        bit
        for bit, name in ((ANNOTATIONS, "annotations"), (IMAGES, "images"), (CATEGORIES, "categories"))
        if name in tree
    )
    images, categories = tree.get("images", []), tree.get("categories", [])
    for section, listed in (("images", images), ("categories", categories)):
        _expect_list(where, section, listed)
    ids, category_ids = _column(where, "images", images, "id"), _column(where, "categories", categories, "id")
    sizes = [[_side(i.get(k)) for k in ("width", "height")] for i in images]
    return Content(
        columns_of(where, "annotations", [], results=False),
        (ids, [_text(i.get("file_name")) for i in images], np.array(sizes, np.int64).reshape(-1, 2)),
        (category_ids, [_text(c.get("name")) for c in categories]),
        sections,
        parents=[_text(c.get("supercategory")) for c in categories],
        federated=any("neg_category_ids" in i or "not_exhaustive_category_ids" in i for i in images),
    )


def results_of(where: str, section: str, records: Sequence[Mapping[str, Any]], *, string_ids: bool) -> Content:
    """Read results from dictionaries. With ``string_ids``, image ids may be strings, and file names are read."""
    _expect_list(where, section, records)
    named, names = np.zeros(0, bool), []
    if string_ids:
        ids = _values(where, section, records, "image_id", _STRING_OR_INTEGER)
        named = np.array([isinstance(i, str) for i in ids], bool)
        names = list(dict.fromkeys(i for i in ids if isinstance(i, str)))
        if names:
            place = {name: at for at, name in enumerate(names)}
            whole = [
                {**r, "image_id": place[i]} if isinstance(i, str) else r for r, i in zip(records, ids, strict=True)
            ]
            records = whole
    boxes = columns_of(where, section, records, results=True, string_ids=string_ids)
    none = np.zeros(0, np.int64)
    nothing: list[str] = []
    images, categories = (none, nothing, np.zeros((0, 2), np.int64)), (none, nothing)
    content = Content(boxes, images, categories, ANNOTATIONS, section, named if names else named[:0], names)
    called = [_text(r.get("file_name")) if string_ids else "" for r in records]
    if not any(called):
        return content
    place = {name: at for at, name in enumerate(dict.fromkeys(name for name in called if name))}
    file = np.array([place.get(name, -1) for name in called], np.int64)
    return content._replace(file=file, file_names=list(place))


def _ignored(where: str, records: Sequence[Mapping[str, Any]]) -> Array:
    """Which annotations have the key ``ignore`` set. Empty if none has."""
    values = [0 if (value := record.get("ignore")) is None else value for record in records]
    for i, value in enumerate(values):
        if value not in (0, 1):
            _fail(where, "annotations", i, "ignore", "0 or 1", value)
    return np.array(values, bool) if any(values) else np.zeros(0, bool)


def _expect_list(where: str, section: str, records: object) -> None:
    if not isinstance(records, list | tuple):
        raise FormatError(f"{where}: {section}: expected a list, got {_shown(records)}")


def _side(x: object) -> int:
    """Pixels of a side: a whole number that a double holds, else 0."""
    known = isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 2**53
    return int(x) if known and x == int(x) else 0  # type: ignore[call-overload]


def _text(x: object) -> str:
    return x if isinstance(x, str) else ""


def columns_of(
    where: str, section: str, records: Sequence[Mapping[str, Any]], *, results: bool, string_ids: bool = False
) -> Columns:
    """Read annotations or results from dictionaries. An annotation without a score gets NaN."""
    _expect_list(where, section, records)
    image = _column(where, section, records, "image_id", _STRING_OR_INTEGER if string_ids else _INTEGER)
    label = _column(where, section, records, "category_id")
    boxes = _boxes(where, section, records)
    with np.errstate(over="ignore"):
        areas = boxes[:, 2] * boxes[:, 3]
    none = np.zeros(0, np.int64)
    if results:
        return Columns(
            image,
            label,
            boxes,
            areas,
            _numbers(where, section, records, "score", needed=True),
            np.zeros(0, np.uint8),
            none,
        )
    own_areas = _numbers(where, section, records, "area", 0, "a number >= 0")
    np.copyto(areas, own_areas, where=~np.isnan(own_areas))
    crowd = _numbers(where, section, records, "iscrowd")
    for i in np.flatnonzero((crowd != 0) & (crowd != 1) & ~np.isnan(crowd)):
        _fail(where, section, int(i), "iscrowd", "0 or 1", records[i]["iscrowd"])
    ids = _column(where, section, records, "id")
    scores = _numbers(where, section, records, "score")
    return Columns(image, label, boxes, areas, scores, (crowd == 1).astype(np.uint8) * np.uint8(CROWD), ids)


def _fail(where: str, section: str, index: int, field: str, expected: str, value: object) -> NoReturn:
    raise FormatError(f"{where}: {section}[{index}].{field}: expected {expected}, got {_shown(value)}")


_ABSENT = object()
_WHOLE = 9e15  # ids may be written as whole numbers with a point or an exponent below this
_NO_NUMBERS = {str, bytes, bool}  # float() takes these types, but they are no JSON numbers


def _shown(x: object) -> str:
    """A value as the C++ reader prints it."""
    if x is _ABSENT:
        return "no such field"
    if isinstance(x, float):
        return plain(x)
    if isinstance(x, Mapping):
        return "an object"
    if isinstance(x, list | tuple):
        return "a list"
    try:
        text = json.dumps(x)
        is_long = isinstance(x, int) and len(text) > 40
        return f"{text[:20]}... ({len(text)} characters)" if is_long else text[:40]
    except (TypeError, ValueError, OverflowError):  # an array or another Python object
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


def _column(where: str, section: str, records: Sequence[Mapping[str, Any]], key: str, expected: str = _INTEGER) -> Ints:
    values = _values(where, section, records, key, expected)
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
            exact &= not isinstance(value, float) or abs(value) < _WHOLE
        except (TypeError, ValueError, OverflowError):
            exact = False
        if not exact or isinstance(value, bool):
            _fail(where, section, i, key, expected, value)
        out[i] = int(value)
    return out


def _numbers(
    where: str,
    section: str,
    records: Sequence[Mapping[str, Any]],
    key: str,
    min_value: float = -math.inf,
    expected: str = _SCORE,
    *,
    needed: bool = False,
) -> Floats:
    """Values of a key. NaN where it is absent; with ``needed`` that is an error."""
    values = _values(where, section, records, key, expected) if needed else [r.get(key, math.nan) for r in records]
    try:
        out = np.fromiter(values, np.float64, len(values))
    except (TypeError, ValueError, OverflowError):
        out = None
    if out is not None and not set(map(type, values)) & (_NO_NUMBERS if key != "iscrowd" else {str, bytes}):
        wrong = ~np.isfinite(out) | (out < min_value)
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
        except (TypeError, ValueError, OverflowError):
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
    except (TypeError, ValueError, OverflowError):
        out = None
    if out is None:
        for i, value in enumerate(values):
            _check_box(where, section, i, value)
        raise FormatError(f"{where}: {section}: expected boxes of four numbers")
    for column, expected in enumerate(_SIDES):
        wrong = ~np.isfinite(out[:, column])
        if column > 1:
            wrong |= out[:, column] < 0
        for i in np.flatnonzero(wrong):
            _fail(where, section, int(i), "bbox", expected, float(out[i, column]))
    return out


def _check_box(where: str, section: str, index: int, box: object) -> None:
    """Raise FormatError if a box is not four numbers."""
    try:
        sides = None if isinstance(box, Mapping | str | bytes) else list(box)  # type: ignore[call-overload]
    except TypeError:
        sides = None
    if sides is None:
        _fail(where, section, index, "bbox", _BOX, box)
    for side, expected in zip(sides, _SIDES, strict=False):
        try:
            if type(side) in _NO_NUMBERS:
                raise TypeError
            float(side)
        except (TypeError, ValueError, OverflowError):  # noqa: PERF203 there are only four
            _fail(where, section, index, "bbox", expected, side)
    if len(sides) != 4:
        got = "more" if len(sides) > 4 else f"{len(sides)} number{'' if len(sides) == 1 else 's'}"
        raise FormatError(f"{where}: {section}[{index}].bbox: expected {_BOX}, got {got}")
