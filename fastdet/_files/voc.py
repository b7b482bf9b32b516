"""Read VOC's folders of XML files, and its results.

Pixels count from 1, and x2 and y2 are the last pixel inside (``DataSet.offset`` is 1). Difficult objects are ignored.
Results are a folder with one file a class, ``..._<class>.txt``, of lines ``image score x1 y1 x2 y2``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from xml.etree import ElementTree

from fastdet._files.data_set import DataSet, ImageNames, by_name
from fastdet._files.errors import FormatError
from fastdet._files.folders import Rows, data_set, lines, number, texts
from fastdet.detection.records import IGNORE, Columns


def _size(root: ElementTree.Element) -> tuple[int, int]:
    try:
        return int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
    except ValueError:
        return 0, 0


def read_voc(folder: str | os.PathLike[str], classes: Sequence[str] | None = None, *, offset: float = 1.0) -> DataSet:
    """Read a folder of VOC's XML annotations. ``classes``: the classes in order; without it they are sorted by name."""
    table = Rows(list(classes) if classes is not None else None)
    files, sizes = texts(folder, ".xml"), []
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
            table.note_if_empty(f"{path}: object[{i}].bndbox", x2 - x1, y2 - y1, offset)
            difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
            table.rows.append((image, table.label(name), x1, y1, x2 - x1, y2 - y1, 0, IGNORE * difficult))
    return data_set([path.stem for path in files], sizes, table, offset)


def read_voc_results(folder: str | os.PathLike[str], data: DataSet) -> Columns:
    """Read detections in VOC's layout: one file a class, lines ``image score x1 y1 x2 y2``."""
    table, names = Rows(data.category_names), ImageNames(data)
    known = by_name(folder, data.categories.tolist(), data.category_names)
    fields = ("score", "x1", "y1", "x2", "y2")
    for path in texts(folder, ".txt"):
        label = known.get(path.stem, known.get(path.stem.rpartition("_")[2]))
        if label is None:
            raise FormatError(f"{path}: expected a name that ends in a class of the data set, got {path.stem!r}")
        for line, words in lines(path):
            if len(words) != 6:
                raise FormatError(f"{path}: line {line}: expected image score x1 y1 x2 y2, got {len(words)} words")
            image = names.find(f"{path}: line {line}: image", words[0])
            if image is None:
                raise FormatError(f"{path}: line {line}: image: expected one of the data set, got {words[0]!r}")
            score, x1, y1, x2, y2 = (number(path, line, *pair) for pair in zip(fields, words[1:], strict=True))
            for field, side in (("width", x2 - x1), ("height", y2 - y1)):
                if side < 0:
                    raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {side:g}")
            table.rows.append((image, label, x1, y1, x2 - x1, y2 - y1, score, 0))
    return table.columns(data.offset, scores=True)
