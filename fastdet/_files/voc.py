"""Read VOC's folders of XML files, and its results.

Pixels count from 1, and x2 and y2 are the last pixel inside (``DataSet.offset`` is 1). Difficult objects are ignored.
Results are a folder with one file a class, ``..._<class>.txt``, of lines ``image score x1 y1 x2 y2``.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from fastdet._core.check import describe
from fastdet._files.data_set import DataSet, ImageNames, by_name, new_ids
from fastdet._files.errors import Faults, FormatError, one_line, plain, quoted
from fastdet._files.folders import FRACTIONS, Labels, Rows, data_set, lines, number, texts
from fastdet._files.text import read_bytes, to_float, to_int
from fastdet.detection.records import IGNORE, Columns

# What <difficult> may hold. "Unspecified" is what some labelling tools write where nobody said anything.
_DIFFICULT = {
    **dict.fromkeys(("", "0", "0.0", "false", "no", "unspecified"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Elements that hold boxes, in lower case: outside of an <object> none of them may be passed over.
_OF_BOXES = re.compile(
    r"(objects?|obj|boxe?s?|bndbox|bbox|robndbox|polygons?|points?|rect|rectangles?|regions?|items?|shapes?|"
    r"[xy]_?(min|max)|[xy][12]|xtl|ytl|xbr|ybr)(_?[0-9]+)?"
)
_ENCODING = re.compile(rb"""^<\?xml[^>]*?\bencoding\s*=\s*["']([^"']*)["'][^>]*\?>""")
_PARSED = ("", "utf-8", "iso-8859-1", "us-ascii")  # read by the XML parser; others by Python
_BOM = codecs.BOM_UTF8
_CHINESE = {"gb2312": "gb18030", "gbk": "gb18030"}  # files that say the first often have characters of the last


def read_voc(
    folder: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    *,
    offset: float = 1.0,
    faults: Faults | None = None,
) -> DataSet:
    """Read a folder of VOC's XML annotations. ``classes``: the classes in order; without it they are sorted by name."""
    table, faults = Rows(list(classes) if classes is not None else None), faults or Faults()
    files, sizes, unsaid = texts(folder, ".xml"), [], 0
    for image, path in enumerate(files):
        root = _root(path)
        sizes.append(_size(root))
        for i, item in enumerate(root.iter("object")):
            with faults.record():
                name, corners = _object(path, i, item)
                if table.fixed and name not in table.of_name:
                    raise FormatError(f"{path}: object[{i}].name: expected one of the classes, got {quoted(name)}")
                word = (item.findtext("difficult") or "").strip()
                if word.lower() not in _DIFFICULT:
                    raise FormatError(f"{path}: object[{i}].difficult: expected 0 or 1, got {quoted(word)}")
                unsaid += word.lower() == "unspecified"
                x1, y1, x2, y2 = corners
                table.note_if_empty(f"{path}: object[{i}].bndbox", x2 - x1, y2 - y1, offset)
                if max(corners) <= 1 and x1 < x2 and y1 < y2:
                    table.notes.append(f"{path}: object[{i}].bndbox: {FRACTIONS}")
                flag = IGNORE * _DIFFICULT[word.lower()]
                table.rows.append((image, table.label(name), x1, y1, x2 - x1, y2 - y1, 0, flag))
    if unsaid:
        table.notes.append(f"{folder}: {unsaid:,} objects with difficult 'Unspecified': taken as not difficult")
    return data_set([path.stem for path in files], sizes, table, offset, own_categories=classes is not None)


def _root(path: Path) -> ElementTree.Element:
    """The <annotation> of a file. Name spaces are dropped. FormatError for other XML."""
    raw = read_bytes(path, "xml")  # the XML parser before expat 2.6 takes quadratic time for a long attribute
    said = _ENCODING.match(raw.removeprefix(_BOM))
    word = said[1].decode("ascii", "replace") if said and not raw.startswith(_BOM) else ""
    if raw.startswith(_BOM) and said:  # the mark says more than the words
        raw = raw[len(_BOM) + said.end() :]
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        word = "utf-16"
    try:
        if word.lower() in _PARSED:
            if b"\0" in raw:
                raise FormatError(f"{path}: not XML: it has zero bytes: UTF-16 must begin with its mark")
            _no_entities(path, b"<!ENTITY" in raw)
            root = ElementTree.fromstring(raw)
        else:
            text = raw.decode(_CHINESE.get(word.lower(), word))
            if len(text) > 2 * len(raw):
                raise LookupError
            _no_entities(path, "<!ENTITY" in text)
            root = ElementTree.fromstring(text[re.match(r"\s*<\?xml[^>]*\?>|", text).end() :])  # type: ignore[union-attr]
    except LookupError:
        raise FormatError(f"{path}: expected XML in an encoding that Python knows, got {describe(word)}") from None
    except UnicodeError as error:
        raise FormatError(f"{path}: not XML in the encoding that it names: {one_line(error)}") from None
    except (ElementTree.ParseError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: not XML: {one_line(error)}") from None
    for item in root.iter():
        if isinstance(item.tag, str):
            item.tag = item.tag.rpartition("}")[2]
    _check_voc(path, root)
    return root


def _no_entities(path: Path, found: bool) -> None:
    """FormatError for XML that defines entities: a few of them can stand for gigabytes of text."""
    if found:
        raise FormatError(f"{path}: expected XML without entities of its own, got <!ENTITY")


def _check_voc(path: Path, root: ElementTree.Element) -> None:
    """FormatError for XML that has other elements than VOC's: none of its boxes may be passed over."""
    if root.tag != "annotation":
        raise FormatError(f"{path}: expected VOC's XML, an <annotation>, got <{root.tag}>: export it as Pascal VOC")
    inside = {id(part) for item in root.iter("object") for part in item.iter()}
    for item in root.iter():
        tag = item.tag.lower() if isinstance(item.tag, str) else ""
        if tag == "difficult" and item.tag != "difficult":
            raise FormatError(f"{path}: expected <difficult>, got <{item.tag}>")
        if id(item) not in inside and _OF_BOXES.fullmatch(tag):
            if len(item) == 0 and not item.attrib and tag in ("objects", "region", "regions", "shape", "item", "items"):
                continue  # a text, or an empty list
            if tag == "objects" and all(child.tag == "object" for child in item):
                continue
            raise FormatError(f"{path}: expected each box as <object><bndbox>, got <{item.tag}> elsewhere")


def _check_fields(where: str, part: ElementTree.Element, fields: Iterable[str]) -> None:
    """FormatError for a field that comes twice, or as an attribute."""
    for field in fields:
        if sum(child.tag == field for child in part) > 1:
            raise FormatError(f"{where}.{field}: expected one, got several")
        if field in part.attrib:
            raise FormatError(f"{where}.{field}: expected an element, got an attribute")


def _object(path: Path, i: int, item: ElementTree.Element) -> tuple[str, list[float]]:
    """The name and the corners of an <object>. FormatError."""
    _check_fields(f"{path}: object[{i}]", item, ("name", "difficult", "bndbox"))
    if (box := item.find("bndbox")) is not None:
        _check_fields(f"{path}: object[{i}].bndbox", box, _CORNERS)
    name = (item.findtext("name") or "").strip()
    if not name:
        raise FormatError(f"{path}: object[{i}].name: expected a name, got 'none'")
    corners = []
    for field in _CORNERS:
        word = (item.findtext(f"bndbox/{field}") or "").strip(" \t\r\n")
        value = to_float(word)
        if value is None:
            raise FormatError(f"{path}: object[{i}].bndbox.{field}: expected a number, got {describe(word or 'none')}")
        corners.append(value)
    x1, y1, x2, y2 = corners
    for field, low, high in (("xmax", x1, x2), ("ymax", y1, y2)):
        if high < low:
            expected = f"at least {plain(low)}"
            raise FormatError(f"{path}: object[{i}].bndbox.{field}: expected {expected}, got {plain(high)}")
    return name, corners


def _size(root: ElementTree.Element) -> tuple[int, int]:
    width, height = (
        to_int((root.findtext(f"size/{side}") or "").strip(" \t\r\n")) or 0 for side in ("width", "height")
    )
    return (width, height) if 0 < width < 2**31 and 0 < height < 2**31 else (0, 0)


def class_of(name: str, classes: Iterable[str]) -> str | None:
    """The class that the name of a file of results ends in: the longest that fits. None if there is none."""
    fits = [word for word in classes if word and (name == word or name.endswith(f"_{word}"))]
    return max(fits, key=len, default=None)


def read_voc_results(
    folder: str | os.PathLike[str], data: DataSet, *, faults: Faults | None = None
) -> tuple[Columns, dict[int, str]]:
    """Read detections in VOC's layout: one file a class, lines ``image score x1 y1 x2 y2``.

    Files of classes that the data set lacks have the same text before the class as the others. Also returns the names
    of these classes, by the number that they got.
    """
    table, names, faults = Rows(data.category_names), ImageNames(data), faults or Faults()
    known = by_name(folder, data.categories.tolist(), data.category_names)
    labels = Labels(known, new_ids(data))
    files = texts(folder, ".txt")
    word_of = {path: class_of(path.stem, known) for path in files}
    starts = {path.stem.removesuffix(word) for path, word in word_of.items() if word is not None}
    fields = ("score", "x1", "y1", "x2", "y2")
    for path, word in word_of.items():
        if word is None:
            rest = [path.stem.removeprefix(start) for start in starts if start and path.stem.startswith(start)]
            if not rest:
                raise FormatError(
                    f"{path}: expected a name that ends in a class of the data set, got {quoted(path.stem)}"
                )
            word = min(rest, key=len)
        label = labels.id_of(word)
        for line, words in lines(path):
            with faults.record():
                if len(words) < 6:
                    raise FormatError(f"{path}: line {line}: expected image score x1 y1 x2 y2, got {len(words)} words")
                image = names.known(f"{path}: line {line}: image", " ".join(words[:-5]))
                score, x1, y1, x2, y2 = (number(path, line, *pair) for pair in zip(fields, words[-5:], strict=True))
                for field, side in (("width", x2 - x1), ("height", y2 - y1)):
                    if side < 0:
                        raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {plain(side)}")
                table.rows.append((image, label, x1, y1, x2 - x1, y2 - y1, score, 0))
    return table.columns(data.offset, scores=True), labels.others
