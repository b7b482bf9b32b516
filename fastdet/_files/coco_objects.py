"""Turn COCO data sets and results that are Python dictionaries into columns.

Errors have the same text as those of the C++ reader.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco_shapes import (
    Held,
    Place,
    Sizes,
    checked_masks,
    complete,
    decided_by,
    keypoints_of,
    masks_of,
    without_points,
)
from fastdet._files.coco_values import ABSENT, FIELD_OF, NO_NUMBERS, fail, given, is_integer, numbers, refuse, shown
from fastdet._files.errors import FormatError
from fastdet.detection.federated import Federated
from fastdet.detection.records import CROWD, IGNORE, Columns, Floats, Ints

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
    federated: Federated | None = None  # of LVIS: what images were searched for
    held: Held = Held()  # how many records have a bbox, a segmentation and keypoints
    decided: str = ""  # results that are not read as boxes: the field of the first record that decides for all
    frequencies: Sequence[str] = ()  # of LVIS: "r", "c" or "f" of each category, "" where absent; empty where all are
    crowding: Floats = np.zeros(0)  # (I,) of CrowdPose: crowdIndex, NaN where absent; empty where all are


def content_of(where: str, tree: Mapping[str, Any], iou_type: str = "bbox") -> Content:
    """Read a data set from a dictionary in COCO's layout."""
    records, names = tree.get("annotations", []), names_of(where, tree)
    boxes = columns_of(
        where, "annotations", records, results=False, iou_type=iou_type, sizes=sizes_of_images(names.images), known=True
    )
    return names._replace(boxes=boxes, ignore=ignored_of(where, records))


def sizes_of_images(images: tuple[Any, ...] | None) -> Sizes:
    """Height and width of images by id. ``images``: their ids first, and last (I, 2) widths and heights."""
    if images is None:
        return {}
    return {i: (height, width) for i, (width, height) in zip(images[0].tolist(), images[-1].tolist(), strict=True)}


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
        federated=_federated(where, images, ids),
        frequencies=_frequencies(categories),
        crowding=_crowding(images),
    )


FREQUENCIES = {ord(letter): letter for letter in "rcf"}  # of LVIS's categories: rare, common and frequent


def _federated(where: str, images: Sequence[Mapping[str, Any]], ids: Ints) -> Federated | None:
    """What images were searched for; None if no image says so."""
    keys = "neg_category_ids", "not_exhaustive_category_ids"
    if not any(key in image for image in images for key in keys):
        return None
    parts = []
    for key in keys:
        pairs: list[tuple[int, int]] = []
        for i, (image, own_id) in enumerate(zip(images, ids.tolist(), strict=True)):
            listed = image.get(key)
            if listed is not None and not isinstance(listed, list | tuple | np.ndarray):
                fail(where, "images", i, key, "a list of integers", listed)
            for category in () if listed is None else listed:
                if not is_integer(category):
                    fail(where, "images", i, key, "a list of integers", category)
                pairs.append((own_id, int(category)))
        parts.append(np.array(pairs, np.int64).reshape(-1, 2))
    return Federated(*parts)


def _frequencies(categories: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [_text(category.get("frequency")) for category in categories]
    found = [letter if letter in FREQUENCIES.values() else "" for letter in found]
    return found if any(found) else []


def _crowding(images: Sequence[Mapping[str, Any]]) -> Floats:
    values: list[Any] = [image.get("crowdIndex") for image in images]
    out = np.array([float(x) if type(x) in (int, float) and abs(x) <= sys.float_info.max else np.nan for x in values])
    return np.zeros(0) if np.isnan(out).all() else out


def results_of(
    where: str,
    section: str,
    records: Sequence[Mapping[str, Any]],
    *,
    string_ids: bool = False,
    iou_type: str = "bbox",
    sizes: Sizes | None = None,
    decided: str | None = None,
) -> Content:
    """Read results from dictionaries. With ``string_ids``, image ids may be strings, and file names are read.

    ``decided``: the field that decides for all, if the first record is not among ``records``.
    """
    _expect_list(where, section, records)
    named, names = np.zeros(0, bool), []
    if decided is None:
        decided = decided_by(where, section, records, iou_type)
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
    boxes = columns_of(
        where, section, records, results=True, string_ids=string_ids, iou_type=iou_type, sizes=sizes, decided=decided,
        named=named if names else None,
    )  # fmt: skip
    none = np.zeros(0, np.int64)
    nothing: list[str] = []
    images, categories = (none, nothing, np.zeros((0, 2), np.int64)), (none, nothing)
    content = Content(boxes, images, categories, ANNOTATIONS, section, named if names else named[:0], names)
    content = content._replace(decided=decided)
    called = [_text(r.get("file_name")) if string_ids else "" for r in records]
    if not any(called):
        return content
    place = {name: at for at, name in enumerate(dict.fromkeys(name for name in called if name))}
    file = np.array([place.get(name, -1) for name in called], np.int64)
    return content._replace(file=file, file_names=list(place))


def ignored_of(where: str, records: Sequence[Mapping[str, Any]]) -> Array:
    """Which annotations have the key ``ignore`` set. Empty if none has."""
    values = [0 if (value := record.get("ignore")) is None else value for record in records]
    for i, value in enumerate(values):
        if value not in (0, 1):
            fail(where, "annotations", i, "ignore", "0 or 1", value)
    return np.array(values, bool) if any(values) else np.zeros(0, bool)


def _expect_list(where: str, section: str, records: object) -> None:
    if not isinstance(records, list | tuple):
        raise FormatError(f"{where}: {section}: expected a list, got {shown(records)}")


def _side(x: object) -> int:
    """Pixels of a side: a whole number that a double holds, else 0."""
    known = isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 2**53
    return int(x) if known and x == int(x) else 0  # type: ignore[call-overload]


def _text(x: object) -> str:
    return x if isinstance(x, str) else ""


def columns_of(
    where: str,
    section: str,
    records: Sequence[Mapping[str, Any]],
    *,
    results: bool,
    string_ids: bool = False,
    iou_type: str = "bbox",
    sizes: Sizes | None = None,
    decided: str | None = None,
    named: Array | None = None,
    known: bool = False,
    detected: bool | None = None,
) -> Columns:
    """Read annotations or results from dictionaries. An annotation without a score gets NaN.

    iou_type : see `coco.parse`
    sizes : height and width of images by id: polygons need them. ``known``: all images are among them
    decided : of results, the field of the first record that decides for all; None: it is among these
    named : which image ids are names
    detected : the annotations are detections, whose keypoints may have any visibility; None: as ``results``
    """
    _expect_list(where, section, records)
    image = _column(where, section, records, "image_id", _STRING_OR_INTEGER if string_ids else _INTEGER)
    label = _column(where, section, records, "category_id")
    if decided is None:
        decided = decided_by(where, section, records, iou_type) if results else ""
    needs_box = iou_type == "bbox" or decided == "bbox"
    boxes = _boxes(where, section, records) if needs_box else _some_boxes(where, section, records)
    none = np.zeros(0, np.int64)
    if results:
        scores = _numbers(where, section, records, "score", needed=True)
        columns = Columns(image, label, boxes, scores, scores, np.zeros(0, np.uint8), none)
    else:
        areas = _numbers(where, section, records, "area", 0, "a number >= 0")
        crowd = _numbers(where, section, records, "iscrowd")
        for i in np.flatnonzero((crowd != 0) & (crowd != 1) & ~np.isnan(crowd)).tolist():
            fail(where, section, i, "iscrowd", "0 or 1", records[i]["iscrowd"])
        ids = _column(where, section, records, "id")
        scores = _numbers(where, section, records, "score")
        flags = (crowd == 1).astype(np.uint8) * np.uint8(CROWD)
        columns = Columns(image, label, boxes, areas, scores, flags, ids)
    if iou_type != "bbox":
        place = Place(where, section, records, results, results if detected is None else detected)
        columns = _with_shapes(place, columns, named, iou_type, sizes or {}, decided, known=known)
    columns = complete(columns, decided, results=results)
    return columns._replace(masks=None) if iou_type == "keypoints" else columns


def _with_shapes(
    place: Place, columns: Columns, named: Array | None, iou_type: str, sizes: Sizes, decided: str, *, known: bool
) -> Columns:
    """Add the masks and keypoints that are read."""
    needed = FIELD_OF[iou_type] if iou_type in ("segm", "keypoints") else ""
    auto, whole = iou_type == "auto", len(place.records)
    images: list[int | None] = columns.image.tolist()
    if named is not None:
        images = [None if is_name else i for i, is_name in zip(images, named.tolist(), strict=True)]
    if place.results and whole and iou_type != "bbox":  # what may decide for all
        first = place.records[0]
        if given(first.get("segmentation")):
            checked_masks(place, [0])
        if iou_type == "any" and given(first.get("keypoints")):
            keypoints_of(place, [0])
    if auto or "segmentation" in (needed, decided):
        rows = place.rows("segmentation", needed="segmentation" in (needed, decided))
        rle = masks_of(place, rows, [images[i] for i in rows], sizes, known=known)
        if len(rows) == whole and (whole or not auto):
            columns = columns._replace(masks=rle)
    if auto or "keypoints" in (needed, decided):
        rows = place.rows("keypoints", needed="keypoints" in (needed, decided))
        keypoints = keypoints_of(place, rows)
        if len(rows) == whole and (whole or not auto):
            columns = columns._replace(keypoints=keypoints)
            if not place.detected:
                columns = columns._replace(flags=columns.flags | without_points(place, keypoints) * np.uint8(IGNORE))
    return columns


def _values(where: str, section: str, records: Sequence[Mapping[str, Any]], key: str, expected: str) -> list[Any]:
    try:
        return [record[key] for record in records]
    except (KeyError, TypeError, IndexError):
        for i, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise FormatError(f"{where}: {section}[{i}]: expected an object, got {shown(record)}") from None
            if key not in record:
                fail(where, section, i, key, expected, ABSENT)
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
        if not is_integer(value):
            fail(where, section, i, key, expected, value)
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
    if out is not None and not set(map(type, values)) & (NO_NUMBERS if key != "iscrowd" else {str, bytes}):
        wrong = ~np.isfinite(out) | (out < min_value)
        if not wrong.any():
            return out
        if not needed:
            wrong &= np.array([key in r for r in records], bool)
        for i in np.flatnonzero(wrong).tolist():
            fail(where, section, i, key, expected, values[i])
        return out
    for i, value in enumerate(values):
        try:
            fits = type(value) not in NO_NUMBERS and math.isfinite(float(value))
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits and (needed or key in records[i]):
            fail(where, section, i, key, expected, value)
    raise FormatError(f"{where}: {section}: {key}: expected numbers")


def _some_boxes(where: str, section: str, records: Sequence[Mapping[str, Any]]) -> Floats:
    """(N, 4) boxes; NaN of records without one."""
    out = np.full((len(records), 4), np.nan)
    for i, record in enumerate(records):
        if given(record.get("bbox")):
            out[i] = _boxes(where, section, [record], i)[0]
    return out


def _boxes(where: str, section: str, records: Sequence[Mapping[str, Any]], start: int = 0) -> Floats:
    """(N, 4) boxes of records, the first of which is the one at ``start``."""
    values = _values(where, section, records, "bbox", _BOX)
    try:
        sides = list(chain.from_iterable(values))
        fits = set(map(len, values)) <= {4} and not set(map(type, sides)) & NO_NUMBERS
        out = np.fromiter(sides, np.float64, len(sides)).reshape(-1, 4) if fits else None
    except (TypeError, ValueError, OverflowError):
        out = None
    if out is None:
        for i, value in enumerate(values):
            _check_box(where, section, start + i, value)
        raise FormatError(f"{where}: {section}: expected boxes of four numbers")
    for column, expected in enumerate(_SIDES):
        wrong = ~np.isfinite(out[:, column])
        if column > 1:
            wrong |= out[:, column] < 0
        for i in np.flatnonzero(wrong).tolist():
            fail(where, section, start + i, "bbox", expected, float(out[i, column]))
    return out


def _check_box(where: str, section: str, index: int, box: object) -> None:
    """Raise FormatError if a box is not four numbers."""
    try:
        sides = None if isinstance(box, Mapping | str | bytes) else list(box)  # type: ignore[call-overload]
    except TypeError:
        sides = None
    if sides is None:
        fail(where, section, index, "bbox", _BOX, box)
    for side, expected in zip(sides, _SIDES, strict=False):
        try:
            if type(side) in NO_NUMBERS:
                raise TypeError
            float(side)
        except (TypeError, ValueError, OverflowError):  # noqa: PERF203 there are only four
            fail(where, section, index, "bbox", expected, side)
    if len(sides) != 4:
        got = "more" if len(sides) > 4 else numbers(len(sides))
        refuse(where, section, index, "bbox", f"expected {_BOX}, got {got}")
