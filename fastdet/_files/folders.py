"""Data sets and detections from files: COCO JSON, VOC XML folders, YOLO txt folders, plain txt folders.

Every reader gives `DataSet` or `Columns`; a wrong file raises `FormatError`, one line that names the file, the record,
the field, what was expected and what was found. COCO's JSON is in `_coco_files`.

    COCO   {"images": [{"id", "file_name", ...}], "annotations": [{"id", "image_id", "category_id", "bbox": [x, y,
           width, height], "area", "iscrowd"}], "categories": [{"id", "name"}]}; results: a list of {"image_id",
           "category_id", "bbox", "score"}. ``area`` is width * height where it is absent, ``iscrowd`` 0.
    VOC    a folder of XML files; pixels count from 1 and the last one is inside (``DataSet.offset`` is 1); difficult
           objects are ignored. Results: a folder with a file for each class, ``..._<class>.txt``, of lines
           ``image score x1 y1 x2 y2``.
    YOLO   a folder of txt files, ``class cx cy w h [score]`` in parts of the image, whose sizes must be given.
    txt    a folder of txt files, ``class [score] x1 y1 x2 y2`` (or x y w h) in pixels.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fastdet._core.check import describe
from fastdet._files.coco import DataSet, FormatError
from fastdet.detection.records import IGNORE, Columns, Floats


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


def area(boxes: Floats, offset: float) -> Floats:
    """(N,) of x y w h boxes; infinite where it overflows."""
    with np.errstate(over="ignore"):
        return (boxes[:, 2] + offset) * (boxes[:, 3] + offset)


class _Table:
    """Rows of folders as they are read."""

    def __init__(self, fixed: list[str] | None = None) -> None:
        self.fixed = fixed is not None
        self.names = list(fixed or [])
        self.of_name = {name: i for i, name in enumerate(self.names)}
        self.rows: list[tuple[float, ...]] = []  # image, label, x, y, w, h, score, flag
        self.notes: list[str] = []

    def odd(self, where: str, w: float, h: float, offset: float) -> None:
        """Make a note of a true box without area."""
        if not (w and h):
            becomes = f"{w + offset:g} x {h + offset:g} pixels as its last one counts" if offset else "nothing meets it"
            self.notes.append(f"{where}: a box without area, {w:g} x {h:g}: {becomes}")

    def label(self, name: str) -> int:
        if name not in self.of_name:  # classes that only detections have come after the data set's
            self.of_name[name] = len(self.of_name)
            if not self.fixed:
                self.names.append(name)
        return self.of_name[name]

    def columns(self, offset: float, *, scores: bool) -> Columns:
        rows = np.array(self.rows, np.float64).reshape(-1, 8)
        boxes = np.ascontiguousarray(rows[:, 2:6])
        areas = area(boxes, offset)
        image, label = (np.array([row[i] for row in self.rows], np.int64) for i in (0, 1))  # ids that no float holds
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
    of = np.array(sizes, np.int64).reshape(-1, 2)
    return DataSet(ids, stems, of, np.arange(len(names)), names, truth, offset, tuple(table.notes))


IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def stem(name: str) -> str:
    """An image's name without folder and suffix; what else has a dot is part of the name."""
    return _shortened(name)[-1]


def _shortened(name: str) -> tuple[str, str, str]:
    """An image's name, the same without suffix, and without folder as well."""
    whole = os.path.normpath(name)
    root, suffix = os.path.splitext(whole)
    bare = root if suffix.lower() in IMAGES else whole
    return whole, bare, os.path.basename(bare)


class ImageNames:
    """Ids of a data set's images by name: the whole one, else without suffix, else without folder as well.

    Where an image goes by several names, as ``vid2/1.jpg`` of detections does where the data set has ``vid1/1.jpg``
    alone, it is another image that is meant.
    """

    def __init__(self, data: DataSet) -> None:
        self._names = dict(zip(data.images.tolist(), data.image_names, strict=True))
        self._ids: tuple[dict[str, list[int]], ...] = ({}, {}, {})
        self._found: dict[str, int] = {}
        self._called: dict[int, str] = {}
        for i, name in self._names.items():
            for ids, key in zip(self._ids, _shortened(name), strict=True):
                if name:
                    ids.setdefault(key, []).append(i)

    def find(self, where: str, name: str) -> int | None:
        """The image's id, None where there is none. FormatError where several are meant."""
        if name in self._found:
            return self._found[name]
        for ids, key in zip(self._ids, _shortened(name), strict=True):
            if key in ids:
                break
        else:
            return None
        first, *others = ids[key]
        if others:
            both = f"{self._names[first]!r} (id {first}) and {self._names[others[0]]!r} (id {others[0]})"
            raise FormatError(f"{where}: expected the name of one image of the data set, got {name!r} for {both}")
        if first in self._called:
            both, of = f"{self._called[first]!r} and {name!r}", self._names[first]
            raise FormatError(f"{where}: expected one name for each image of the data set, got {both} for {of!r}")
        self._found[name], self._called[first] = first, name
        return first


def by_name(where: object, ids: Iterable[int], names: Sequence[str]) -> dict[str, int]:
    """Ids of categories by name, for files that call them so. FormatError where the names do not tell."""
    known: dict[str, int] = {}
    for i, name in zip(ids, names, strict=True):
        if not name or name in known:
            got = f"{name!r} for {known[name]} and {i}" if name else f"none for {i}"
            raise FormatError(f"{where}: expected categories with a name each, by which they are matched, got {got}")
        known[name] = i
    return known


def new_ids(data: DataSet) -> Iterator[int]:
    """Ids that no category has, for the classes of detections alone; above all others, where int64 goes on."""
    known = set(data.categories.tolist())
    return (i for i in itertools.count(min(max(known, default=-1) + 1, 2**61)) if i not in known)


def _size(root: ElementTree.Element) -> tuple[int, int]:
    try:
        return int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
    except ValueError:
        return 0, 0


def read_voc(folder: str | os.PathLike[str], classes: Sequence[str] | None = None, *, offset: float = 1.0) -> DataSet:
    """A folder of VOC's XML annotations. ``classes`` gives the order of classes, else they are in order of names."""
    table = _Table(list(classes) if classes is not None else None)
    files, sizes = _texts(folder, ".xml"), []
    for image, path in enumerate(files):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise FormatError(f"{path}: not XML: {error}") from None
        sizes.append(_size(root))
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
            table.odd(f"{path}: object[{i}].bndbox", x2 - x1, y2 - y1, offset)
            difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
            table.rows.append((image, table.label(name), x1, y1, x2 - x1, y2 - y1, 0, IGNORE * difficult))
    return _data_set([path.stem for path in files], sizes, table, offset)


def read_voc_results(folder: str | os.PathLike[str], data: DataSet) -> Columns:
    """Detections as VOC's own tools write them: a file for each class, lines ``image score x1 y1 x2 y2``."""
    table, names = _Table(data.category_names), ImageNames(data)
    known = by_name(folder, data.categories.tolist(), data.category_names)
    fields = ("score", "x1", "y1", "x2", "y2")
    for path in _texts(folder, ".txt"):
        label = known.get(path.stem, known.get(path.stem.rpartition("_")[2]))
        if label is None:
            raise FormatError(f"{path}: expected a name that ends in a class of the data set, got {path.stem!r}")
        for line, words in _lines(path):
            if len(words) != 6:
                raise FormatError(f"{path}: line {line}: expected image score x1 y1 x2 y2, got {len(words)} words")
            image = names.find(f"{path}: line {line}: image", words[0])
            if image is None:
                raise FormatError(f"{path}: line {line}: image: expected one of the data set, got {words[0]!r}")
            score, x1, y1, x2, y2 = (_number(path, line, *pair) for pair in zip(fields, words[1:], strict=True))
            for field, side in (("width", x2 - x1), ("height", y2 - y1)):
                if side < 0:
                    raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {side:g}")
            table.rows.append((image, label, x1, y1, x2 - x1, y2 - y1, score, 0))
    return table.columns(data.offset, scores=True)


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
            table.odd(f"{path}: line {line}", w, h, offset)
            table.rows.append((image, table.label(name), x, y, w, h, 0, flag))
    return _data_set([path.stem for path in files], [(0, 0)] * len(files), table, offset)


def read_txt_results(folder: str | os.PathLike[str], data: DataSet, *, form: str = "xyxy") -> Columns:
    """Detections: lines ``class score x1 y1 x2 y2``; files are named after the data set's images."""
    return _results(folder, data, _plain(form, scored=True))


def _results(folder: str | os.PathLike[str], data: DataSet, parse: Parse, *, by_number: bool = False) -> Columns:
    table, names, new = _Table(data.category_names), ImageNames(data), new_ids(data)
    if by_number:
        known = {str(number): i for number, i in enumerate(data.categories.tolist())}
    else:
        known = by_name(folder, data.categories.tolist(), data.category_names)
    for path in _texts(folder, ".txt"):
        image = names.find(str(path), path.stem)
        if image is None:
            raise FormatError(f"{path}: expected the name of an image of the data set, got {path.stem!r}")
        for line, words in _lines(path):
            name, (x, y, w, h, _), score = parse(path, image, line, words)
            kind = str(int(name)) if by_number else name
            if kind not in known:
                known[kind] = next(new)
            table.rows.append((image, known[kind], x, y, w, h, score, 0))
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
        if len(words[0]) > 6:
            raise FormatError(f"{path}: line {line}: class: expected an integer below 1,000,000, got {words[0]}")
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

    An image that has a size and no file has no object. ``classes`` names the numbers; without it the folder's
    ``classes.txt`` does, else they are their own names.
    """
    files = _texts(folder, ".txt")
    stems = sorted({path.stem for path in files} | set(sizes))
    place = {name: i for i, name in enumerate(stems)}
    for path in files:
        if path.stem not in sizes or min(sizes[path.stem]) < 1:
            raise FormatError(f"{path}: expected the image's width and height in pixels, got {sizes.get(path.stem)}")
    if classes is None and (listed := Path(folder) / "classes.txt").is_file():
        classes = [" ".join(words) for _, words in _lines(listed)]
    of = [(int(sizes[stem][0]), int(sizes[stem][1])) for stem in stems]
    parse, found = _yolo(dict(enumerate(of)), scored=False), _Table([])
    most = -1
    for path in files:
        for line, words in _lines(path):
            image = place[path.stem]
            name, (x, y, w, h, flag), _ = parse(path, image, line, words)
            if classes is not None and int(name) >= len(classes):
                raise FormatError(f"{path}: line {line}: class: expected less than {len(classes)}, got {name}")
            most = max(most, int(name))
            found.odd(f"{path}: line {line}", w, h, 0.0)
            found.rows.append((image, int(name), x, y, w, h, 0, flag))
    found.names = list(classes) if classes is not None else [str(i) for i in range(most + 1)]
    return _data_set(stems, of, found, 0.0)


def read_yolo_results(folder: str | os.PathLike[str], data: DataSet) -> Columns:
    """Detections as YOLO's ``save_txt`` with ``save_conf`` writes them: ``class cx cy w h score``."""
    sizes = {int(i): (int(w), int(h)) for i, (w, h) in zip(data.images, data.sizes, strict=True)}
    if not data.sizes.all():
        raise FormatError(f"{folder}: expected a data set that knows its images' sizes, got one without")
    return _results(folder, data, _yolo(sizes, scored=True), by_number=True)
