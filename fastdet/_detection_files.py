"""Data sets and detections from files: COCO JSON, VOC XML folders, YOLO txt folders, plain txt folders.

Every reader gives `DataSet` or `Columns`; a wrong file raises `FormatError`, one line that names the file, the record,
the field, what was expected and what was found. COCO's JSON is read as a stream by the C++ backend (56 bytes a
detection and a quarter of a megabyte, whatever the size of the file), and without it by Python's json.

    COCO   {"images": [{"id", "file_name", ...}], "annotations": [{"id", "image_id", "category_id", "bbox": [x, y,
           width, height], "area", "iscrowd"}], "categories": [{"id", "name"}]}; results: a list of {"image_id",
           "category_id", "bbox", "score"}. ``area`` is width * height where it is absent, ``iscrowd`` 0.
    VOC    a folder of XML files; pixels count from 1 and the last one is inside (``DataSet.offset`` is 1); difficult
           objects are ignored.
    YOLO   a folder of txt files, ``class cx cy w h [score]`` in parts of the image, whose sizes must be given.
    txt    a folder of txt files, ``class [score] x1 y1 x2 y2`` (or x y w h) in pixels.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, cast
from xml.etree import ElementTree

import numpy as np

from fastdet import _backends
from fastdet._check import describe
from fastdet._matching import CROWD, IGNORE, Columns, Floats, Ints

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
    file: IO[bytes]
    packed = str(path).endswith(".gz")
    with cast("IO[bytes]", gzip.open(path)) if packed else open(path, "rb", buffering=0) as file:
        if _backends.native is None:
            return _python_content(str(path), file, results)
        found = _backends.native.read_coco(file, 0 if packed else os.path.getsize(path), results)
    if isinstance(found, str):
        raise FormatError(f"{path}: {found}")
    ids, image, label, boxes, areas, scores, crowd, images, categories, sections = found
    plain = boxes[:, 2] * boxes[:, 3]
    if len(areas):
        np.copyto(areas, plain, where=np.isnan(areas))
    columns = Columns(image, label, boxes, areas if len(areas) else plain, scores, crowd, ids)
    sizes = np.stack(images[3:], axis=1)
    return Content(columns, (images[0], _names(images), sizes), (categories[0], _names(categories)), sections)


def _names(packed: tuple[Any, ...]) -> list[str]:
    _, text, ends, *_ = packed
    starts = [0, *ends.tolist()]
    return [text[a:b].decode("utf-8", "replace") for a, b in zip(starts, starts[1:], strict=False)]


def _python_content(path: str, file: IO[bytes], results: bool) -> Content:
    """Without the C++ backend: the whole file as Python objects, then columns."""
    try:
        tree = json.load(file, object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not JSON: {error}") from None
    except (ValueError, RecursionError) as error:
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
        (ids, [str(i.get("file_name", "")) for i in images], np.array(sizes, np.int64).reshape(-1, 2)),
        (category_ids, [str(c.get("name", "")) for c in categories]),
        sections,
    )


def columns_of(where: str, section: str, records: Sequence[Mapping[str, Any]], *, results: bool) -> Columns:
    """Annotations or results that are dictionaries. NaN in ``scores`` where an annotation has none."""
    if not isinstance(records, list | tuple):
        raise FormatError(f"{where}: {section}: expected a list, got {describe(records)}")
    image, label = (_column(where, section, records, key) for key in ("image_id", "category_id"))
    boxes = _boxes(where, section, records)
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
            except (TypeError, ValueError):
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


# ---------------------------------------------------------------------------------------------- folders
def _texts(folder: str | os.PathLike[str], suffix: str) -> list[Path]:
    """The folder's files by name; every file is an image."""
    root = Path(folder)
    if not root.is_dir():
        raise FormatError(
            f"{folder}: expected a folder of {suffix} files, got {'a file' if root.exists() else 'nothing'}"
        )
    files = sorted(path for path in root.iterdir() if path.suffix.lower() == suffix and path.stem != "classes")
    if not files:
        raise FormatError(f"{folder}: expected a folder of {suffix} files, got none")
    return files


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text: {error}") from None
    return [(i, words) for i, line in enumerate(text.splitlines(), 1) if (words := line.split())]


def _number(path: Path, line: int, field: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}: line {line}: {field}: expected a number, got {describe(word)}")
    return value


class _Table:
    """Rows of folders as they are read."""

    def __init__(self, fixed: list[str] | None = None) -> None:
        self.fixed = fixed is not None
        self.names = list(fixed or [])
        self.of_name = {name: i for i, name in enumerate(self.names)}
        self.rows: list[tuple[float, ...]] = []  # image, label, x, y, w, h, score, flag

    def label(self, name: str) -> int:
        if name not in self.of_name:  # classes that only detections have come after the data set's
            self.of_name[name] = len(self.of_name)
            if not self.fixed:
                self.names.append(name)
        return self.of_name[name]

    def columns(self, offset: float, *, scores: bool) -> Columns:
        rows = np.array(self.rows, np.float64).reshape(-1, 8)
        boxes = np.ascontiguousarray(rows[:, 2:6])
        areas = (boxes[:, 2] + offset) * (boxes[:, 3] + offset)
        image, label = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
        if scores:
            return Columns(image, label, boxes, areas, rows[:, 6].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))
        ids = np.arange(1, len(rows) + 1)
        return Columns(image, label, boxes, areas, np.zeros(0), rows[:, 7].astype(np.uint8), ids)


def _data_set(stems: list[str], sizes: Sequence[tuple[int, int]], table: _Table, offset: float) -> DataSet:
    """Classes of a folder by name in rising order, ids from 0, unless their order is given."""
    truth = table.columns(offset, scores=False)
    names = table.names
    if not table.fixed:
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        truth, names = truth._replace(label=rank[truth.label] if len(names) else truth.label), [names[i] for i in order]
    ids = np.arange(len(stems))
    return DataSet(ids, stems, np.array(sizes, np.int64).reshape(-1, 2), np.arange(len(names)), names, truth, offset)


def _known_image(path: Path, stems: Mapping[str, int]) -> int:
    if path.stem not in stems:
        raise FormatError(f"{path}: expected the name of an image of the data set, got {path.stem!r}")
    return stems[path.stem]


def _stems(data: DataSet) -> dict[str, int]:
    return {Path(name).stem: int(i) for i, name in zip(data.images, data.image_names, strict=True)}


def read_voc(folder: str | os.PathLike[str], classes: Sequence[str] | None = None) -> DataSet:
    """A folder of VOC's XML annotations. ``classes`` gives the order of classes, else they are in order of names."""
    table = _Table(list(classes) if classes is not None else None)
    files, sizes = _texts(folder, ".xml"), []
    for image, path in enumerate(files):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise FormatError(f"{path}: not XML: {error}") from None
        sizes.append((int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)))
        for i, item in enumerate(root.iter("object")):
            name = (item.findtext("name") or "").strip()
            if not name or (table.fixed and name not in table.of_name):
                expected = "one of the classes" if name else "a name"
                raise FormatError(f"{path}: object[{i}].name: expected {expected}, got {name or 'none'!r}")
            corners = []
            for field in ("xmin", "ymin", "xmax", "ymax"):
                word = (item.findtext(f"bndbox/{field}") or "").strip()
                try:
                    corners.append(float(word))
                except ValueError:
                    corners.append(math.nan)
                if not math.isfinite(corners[-1]):
                    raise FormatError(f"{path}: object[{i}].bndbox.{field}: expected a number, got {word or 'none'!r}")
            x1, y1, x2, y2 = corners
            for field, low, high in (("xmax", x1, x2), ("ymax", y1, y2)):
                if high < low:
                    raise FormatError(f"{path}: object[{i}].bndbox.{field}: expected at least {low:g}, got {high:g}")
            difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
            table.rows.append((image, table.label(name), x1, y1, x2 - x1, y2 - y1, 0, IGNORE * difficult))
    return _data_set([path.stem for path in files], sizes, table, 1.0)


Parse = Callable[[Path, int, int, list[str]], tuple[str, Sequence[float], float]]


def _plain(form: str, scored: bool) -> Parse:
    def parse(path: Path, image: int, line: int, words: list[str]) -> tuple[str, Sequence[float], float]:
        need = 6 if scored else 5
        difficult = not scored and len(words) > need and words[-1] == "difficult"
        words = words[:-1] if difficult else words
        if len(words) < need or not _spaced(words, need):
            fields = f"class {'score ' if scored else ''}{'x1 y1 x2 y2' if form == 'xyxy' else 'x y w h'}"
            raise FormatError(f"{path}: line {line}: expected {fields}, got {len(words)} words")
        name = " ".join(words[: len(words) - need + 1])
        numbers = [_number(path, line, field, word) for field, word in zip(
            (["score"] if scored else []) + (["x1", "y1", "x2", "y2"] if form == "xyxy" else ["x", "y", "w", "h"]),
            words[len(words) - need + 1 :], strict=True)]  # fmt: skip
        score, (x, y, w, h) = (numbers[0] if scored else 0.0), numbers[-4:]
        if form == "xyxy":
            w, h = w - x, h - y
        for field, side in (("width", w), ("height", h)):
            if side < 0:
                raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {side:g}")
        return name, (x, y, w, h, float(IGNORE * difficult)), score

    return parse


def _spaced(words: list[str], need: int) -> bool:
    """A class of several words: those after the first are no numbers."""
    return not any(_is_number(word) for word in words[1 : len(words) - need + 1])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_txt(folder: str | os.PathLike[str], *, form: str = "xyxy", offset: float = 0.0) -> DataSet:
    """A folder of txt files with lines ``class x1 y1 x2 y2`` (``form="xywh"``: ``class x y w h``), in pixels.

    A last word ``difficult`` makes a box ignored. ``offset`` is 1 where the last pixel is inside, as in VOC.
    """
    files, table = _texts(folder, ".txt"), _Table()
    parse = _plain(form, scored=False)
    for image, path in enumerate(files):
        for line, words in _lines(path):
            name, (x, y, w, h, flag), _ = parse(path, image, line, words)
            table.rows.append((image, table.label(name), x, y, w, h, 0, flag))
    return _data_set([path.stem for path in files], [(0, 0)] * len(files), table, offset)


def read_txt_results(folder: str | os.PathLike[str], data: DataSet, *, form: str = "xyxy") -> Columns:
    """Detections: lines ``class score x1 y1 x2 y2``; files are named after the data set's images."""
    return _results(folder, data, _plain(form, scored=True))


def _results(folder: str | os.PathLike[str], data: DataSet, parse: Parse, *, by_number: bool = False) -> Columns:
    table, stems = _Table(data.category_names), _stems(data)
    after = int(data.categories.max(initial=-1)) + 1
    known = {name: int(i) for name, i in zip(data.category_names, data.categories, strict=True)}
    ids = data.categories.tolist()
    for path in _texts(folder, ".txt"):
        image = _known_image(path, stems)
        for line, words in _lines(path):
            name, (x, y, w, h, _), score = parse(path, image, line, words)
            if by_number:
                label = ids[int(name)] if int(name) < len(ids) else after + int(name)
            else:
                label = known.setdefault(name, after + len(known) - len(ids))
            table.rows.append((image, label, x, y, w, h, score, 0))
    return table.columns(data.offset, scores=True)


# ------------------------------------------------------------------------------------------------- YOLO
Sizes = Mapping[str, tuple[int, int]]


def _yolo(sizes: Mapping[int, tuple[int, int]], scored: bool) -> Parse:
    def parse(path: Path, image: int, line: int, words: list[str]) -> tuple[str, Sequence[float], float]:
        need = 6 if scored else 5
        if len(words) != need:
            raise FormatError(
                f"{path}: line {line}: expected class cx cy w h{' score' if scored else ''}, got {len(words)} words"
            )
        if not (words[0].isascii() and words[0].isdigit()):
            raise FormatError(f"{path}: line {line}: class: expected an integer >= 0, got {describe(words[0])}")
        values = [_number(path, line, f, w) for f, w in zip(("cx", "cy", "w", "h", "score"), words[1:], strict=False)]
        for field, value in zip(("width", "height"), values[2:4], strict=True):
            if not 0 <= value <= 1:
                raise FormatError(f"{path}: line {line}: expected a {field} in [0, 1], got {value:g}")
        width, height = sizes[image]
        cx, cy, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
        return words[0], (cx - w / 2, cy - h / 2, w, h, 0.0), values[4] if scored else 0.0

    return parse


def read_yolo(folder: str | os.PathLike[str], sizes: Sizes, classes: Sequence[str] | None = None) -> DataSet:
    """A folder of YOLO's txt labels. ``sizes``: width and height of each image in pixels by its name without suffix.

    ``classes`` names the numbers; without it the folder's ``classes.txt`` does, else they are their own names.
    """
    files = _texts(folder, ".txt")
    stems = [path.stem for path in files]
    for path in files:
        if path.stem not in sizes or min(sizes[path.stem]) < 1:
            raise FormatError(f"{path}: expected the image's width and height in pixels, got {sizes.get(path.stem)}")
    if classes is None and (listed := Path(folder) / "classes.txt").is_file():
        classes = [" ".join(words) for _, words in _lines(listed)]
    of = [tuple(sizes[stem]) for stem in stems]
    parse, found = _yolo(dict(enumerate(of)), scored=False), _Table([])
    most = -1
    for image, path in enumerate(files):
        for line, words in _lines(path):
            name, (x, y, w, h, flag), _ = parse(path, image, line, words)
            if classes is not None and int(name) >= len(classes):
                raise FormatError(f"{path}: line {line}: class: expected less than {len(classes)}, got {name}")
            most = max(most, int(name))
            found.rows.append((image, int(name), x, y, w, h, 0, flag))
    found.names = list(classes) if classes is not None else [str(i) for i in range(most + 1)]
    return _data_set(stems, of, found, 0.0)


def read_yolo_results(folder: str | os.PathLike[str], data: DataSet) -> Columns:
    """Detections as YOLO's ``save_txt`` with ``save_conf`` writes them: ``class cx cy w h score``."""
    sizes = {int(i): (int(w), int(h)) for i, (w, h) in zip(data.images, data.sizes, strict=True)}
    if not data.sizes.all():
        raise FormatError(f"{folder}: expected a data set that knows its images' sizes, got one without")
    return _results(folder, data, _yolo(sizes, scored=True), by_number=True)
