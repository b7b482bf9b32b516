"""Read detections of any format, and find the data set's images and categories that they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastdet._files import coco, dota, npz_data, txt, voc, yolo
from fastdet._files.coco_objects import Content
from fastdet._files.coco_shapes import UNKNOWN_SIZE, Held
from fastdet._files.data_set import DataSet, ImageNames, by_name, new_ids, positions
from fastdet._files.errors import ChoiceError, Faults, FormatError, quoted
from fastdet._files.folders import Labels
from fastdet._files.kinds import of_right_size
from fastdet._files.names import read_names
from fastdet._files.readings import check_ids, check_images, check_positions, position_ids
from fastdet._files.text import to_int
from fastdet.detection.records import Columns, Ints


@dataclass(frozen=True)
class Options:
    """How detections are read. None: the usual way of their format, checked against the data set."""

    classes: list[str] | None = None  # the names of labels 0, 1, ...
    boxes: str | None = None  # "xyxy" or "xywh": the boxes of txt files
    labels: str | None = None  # "id", "position" or "position-from-1": what numbers as labels are
    image_ids: str | None = None  # "id" or "name": what numbers as image ids are
    score: str | None = None  # "first" or "last": its place in the lines of txt and YOLO
    points: str | None = None  # "polygon" or "keypoints": what the long lines of YOLO are
    faults: Faults = field(default_factory=Faults)
    iou_type: str = "bbox"  # how COCO JSON is read


class Results(NamedTuple):
    """Detections with the data set's ids."""

    columns: Columns
    others: Mapping[int, str]  # labels that the data set lacks: the file's label by the new id
    notes: Sequence[str] = ()
    held: Held = Held()  # of COCO JSON: how many records have a box, a mask and keypoints
    read: int = 0  # records that held counts


def read_results(path: Path, format: str, data: DataSet, o: Options) -> Results:
    """Read detections. FormatError, ChoiceError, OSError."""
    if format == "voc":
        return Results(*voc.read_voc_results(path, data, faults=o.faults))
    if format == "dota":
        return Results(*dota.read_dota_results(path, data, faults=o.faults))
    if format == "txt":
        form = o.boxes or "xyxy"
        columns, others = txt.read_txt_results(path, data, form=form, score=o.score, faults=o.faults)
        return _words_or_numbers(path, columns, others, data, o)
    if format == "yolo":
        columns, notes = yolo.read_yolo_results(path, data, score=o.score, points=o.points, faults=o.faults)
        listed = path / "classes.txt"
        if o.classes is None and o.labels is None and listed.is_file() and _are_words(data.category_names):
            o = replace(o, classes=read_names("evaluate", listed))
            notes = [*notes, f"{listed}: names the classes of the detections"]
        return _with_notes(_numbered(path, columns, data, o, by_position=True), notes)
    if format == "coco":
        return _coco(path, data, o)
    return _npz(path, data, o)


def _words_or_numbers(path: Path, columns: Columns, others: Mapping[int, str], data: DataSet, o: Options) -> Results:
    """Labels of txt files are names of classes. If all are numbers and no class is called so, they are numbers."""
    kinds = np.unique(columns.label).tolist()
    if not kinds or not all(kind in others and _are_numbers([others[kind]]) for kind in kinds):
        if o.labels is not None:
            raise ChoiceError("labels", f"goes with numbers, and detections in {path} name their classes")
        return Results(columns, others)
    raw = np.array([int(others[kind]) for kind in kinds], np.int64)[np.searchsorted(kinds, columns.label)]
    return _numbered(path, columns._replace(label=raw), data, o)


def _npz(path: Path, data: DataSet, o: Options) -> Results:
    columns, ids, classes = npz_data.read_npz_results(path, data, o.faults)
    if classes is not None and o.classes is None and o.labels is None and _are_words(data.category_names):
        o = replace(o, classes=classes)
    images = _Images(data, o.image_ids)
    notes = images.settle(path, ids)
    place = columns.image
    columns = _place(columns, place, ids, lambda row: f"{path}: row {row}, images", images, o.faults)
    notes += _check_texts(path, columns, place, ids, images, data, o)
    if not notes and not any(isinstance(i, str) for i in ids):
        notes = _check_reading_of_images(path, columns, data, o)
    return _with_notes(_numbered(path, columns, data, o), notes)


def _with_notes(results: Results, notes: Sequence[str]) -> Results:
    return results._replace(notes=[*notes, *results.notes])


# ------------------------------------------------------------------------------------------------- images
class _Images:
    """Finds the images that ids in detections mean. Strings are names; numbers are ids or names."""

    def __init__(self, data: DataSet, image_ids: str | None) -> None:
        self.names = ImageNames(data)
        self._known = set(data.images.tolist())
        self._numbers = self.names.by_number()
        self._by_name = image_ids == "name" or not data.own_images
        self._is_free, self._by_id = image_ids is None, image_ids == "id"
        if image_ids == "id" and not data.own_images:
            raise ChoiceError("image-ids", "must be name: the data set has names of images and no ids")

    def settle(self, path: Path, ids: Sequence[int | str]) -> list[str]:
        """Read all numbers as names if not all are ids of the data set, but all are names. Returns a note then."""
        numbers = [i for i in ids if not isinstance(i, str)]
        if self._by_name or not self._is_free or not numbers:
            return []
        if all(i in self._known for i in numbers):
            named = [self._numbers.get(i) for i in numbers]
            if len(numbers) < len(ids) and None not in named and named != numbers:
                reason = f"must say what numbers in {path} are: other images have names, and these are ids and names"
                raise ChoiceError("image-ids", f"{reason}: use --image-ids id or --image-ids name")
            return []
        self._by_name = all(self._numbers.get(i) is not None for i in numbers)
        text = f"{path}: image ids are read as names of images: all of them are, and not all are ids of the data set"
        return [text] if self._by_name else []

    def id_of(self, text: str) -> int | None:
        """The image whose id was written as a text."""
        number = to_int(text) if text.isdigit() else None
        return number if number in self._known else None

    def of(self, where: str, i: int | str) -> int:
        """The image's id. FormatError."""
        if isinstance(i, str):
            number = self.id_of(i)
            if number is not None and not self._by_name and (self._by_id or not self.names.has(i)):
                return number
            return self.names.known(where, i)
        if not self._by_name:
            if i in self._known:
                return i
            hint = "; there is an image of that name: see --image-ids name" if i in self._numbers else ""
            raise FormatError(f"{where}: expected an image of the data set, got {i}{hint}")
        if i not in self._numbers:
            raise self.names.unknown(where, i)
        image = self._numbers[i]
        if image is None:
            raise FormatError(f"{where}: expected the name of one image of the data set, got {i}, which fits several")
        return image


def _place(
    columns: Columns,
    place: Ints,
    ids: Sequence[int | str],
    where: Callable[[int], str],
    images: _Images,
    faults: Faults,
) -> Columns:
    """Set the images of detections: row r is of the image that ``ids[place[r]]`` means. Unknown images are faults."""
    used, first = np.unique(place, return_index=True)
    new = np.zeros(len(ids), np.int64)
    unknown: dict[int, tuple[int, str]] = {}
    for row, at in sorted(zip(first.tolist(), used.tolist(), strict=True)):
        found = Faults(skip=faults.skip)
        with found.record():
            new[at] = images.of(where(row), ids[at])
        if found.texts:
            unknown[at] = row, found.texts[0]
    if not unknown:
        return columns._replace(image=new[place])
    left = np.isin(place, list(unknown))
    for row in np.flatnonzero(left).tolist():
        at, text = unknown[int(place[row])]
        faults.add(FormatError(text.replace(where(at), where(row), 1)))
    return columns._replace(image=new[place]).rows(~left)


def _check_texts(
    path: Path, columns: Columns, place: Ints, ids: Sequence[int | str], images: _Images, data: DataSet, o: Options
) -> list[str]:
    """Compare texts, taken as names, with images whose ids are these numbers. Returns a note where both may be."""
    if o.image_ids is not None or not data.own_images or not ids or len(columns.image) != len(place):
        return []
    of = [images.id_of(i) if isinstance(i, str) else None for i in ids]
    if None in of or (other := np.array(of, np.int64)[place]).tolist() == columns.image.tolist():
        return []
    return check_images(data, columns, other, str(path), taken="name")


def _check_reading_of_images(path: Path, columns: Columns, data: DataSet, o: Options) -> list[str]:
    """Compare image ids, taken as ids, with images whose names are these numbers. Returns a note where both may be."""
    if o.image_ids is not None or not data.own_images or not len(columns.image):
        return []
    numbers = ImageNames(data).by_number()
    kinds, inverse = np.unique(columns.image, return_inverse=True)
    if any(i not in numbers for i in kinds.tolist()) or all(numbers[i] == i for i in kinds.tolist()):
        return []
    free = next(i for i in range(-1, -(2**63), -1) if i not in set(data.images.tolist()))
    named = [free if (image := numbers[i]) is None else image for i in kinds.tolist()]  # of several images: of none
    notes = check_images(data, columns, np.array(named, np.int64)[inverse.reshape(-1)], str(path))
    if free in named and not notes:
        several = kinds.tolist()[named.index(free)]
        notes = [
            f"{path}: image_id is taken as an id; names of images are numbers too, and several are called {several}"
        ]
    return notes


# --------------------------------------------------------------------------------------------------- COCO
def _coco(path: Path, data: DataSet, o: Options) -> Results:
    """Read COCO results. Images are matched by the records' file names, else by the file's list of images, else by id.

    Categories are matched by name if the file lists them with names.
    """
    content = _content(path, data, o)
    found = _found(path, content, data, o)
    return found._replace(held=content.held, read=len(content.boxes.image))


def _content(path: Path, data: DataSet, o: Options) -> Content:
    """The records. Polygons are drawn in the sizes of the data set's images by id."""
    options: Any = {"string_ids": True, "faults": o.faults, "iou_type": o.iou_type}
    if o.iou_type == "bbox":
        return coco.coco_content(path, "results", **options)
    before = len(o.faults.texts)
    try:  # ids may be those of the file's own images: their sizes are compared later
        content = coco.coco_content(path, "results", **options)
        if not any(UNKNOWN_SIZE in text for text in o.faults.texts[before:]):
            return content
    except FormatError as error:
        if UNKNOWN_SIZE not in str(error):
            raise
    del o.faults.texts[before:]
    return coco.coco_content(path, "results", **options, sizes=(data.images, data.sizes))


def _found(path: Path, content: Content, data: DataSet, o: Options) -> Results:
    images, (categories, category_names) = _listed(path, content.section)
    columns, notes = _coco_images(path, content, images, data, o)
    columns = of_right_size(path, content.section, columns, data, o.faults)
    by_names = o.labels in (None, "id") and bool(category_names) and all(category_names) and all(data.category_names)
    if not by_names:
        return _with_notes(_numbered(path, columns, data, o), notes)
    labels = Labels(by_name(path, data.categories.tolist(), data.category_names), new_ids(data))
    of = {i: labels.id_of(name) for name, i in by_name(path, categories.tolist(), category_names).items()}
    expected = "one of the file's categories"
    columns = _renumbered(path, content.section, "category_id", columns, "label", of, expected, o.faults)
    return Results(columns, labels.others, notes)


def _listed(path: Path, section: str) -> tuple[tuple[Ints, list[str]], tuple[Ints, list[str]]]:
    """The images and categories that a file of results lists: ids and names. None if they are not as in a data set."""
    nothing: tuple[Ints, list[str]] = np.zeros(0, np.int64), []
    if section == "results":
        return nothing, nothing
    try:
        content = coco.coco_content(path, "names")
    except FormatError:  # for example, ids that are no integers
        return nothing, nothing
    return content.images[:2], content.categories


def _coco_images(
    path: Path, content: Content, listed: tuple[Ints, list[str]], data: DataSet, o: Options
) -> tuple[Columns, list[str]]:
    images, columns, section = _Images(data, o.image_ids), content.boxes, content.section

    def where(field: str) -> Callable[[int], str]:
        return lambda row: f"{path}: {section}[{row}].{field}"

    file = content.file
    if len(file) and (file >= 0).all() and any(map(images.names.has, content.file_names)):
        placed = _place(columns, file, content.file_names, where("file_name"), images, o.faults)
        return placed, _other_ids(path, content, placed.image, data)
    ids, names = listed
    if not len(content.named) and names and all(names) and all(data.image_names):
        if len(set(names)) < len(names):
            again = Counter(names).most_common(1)[0][0]
            raise FormatError(f"{path}: images: expected a file_name for each image, got {quoted(again)} twice")
        of = {i: images.names.find(f"{path}: images", name) for i, name in zip(ids.tolist(), names, strict=True)}
        known = {i: image for i, image in of.items() if image is not None}
        expected = "an image whose file_name, in the file's images, is one of the data set"
        return _renumbered(path, section, "image_id", columns, "image", known, expected, o.faults), []
    named = content.named if len(content.named) else np.zeros(len(columns.image), bool)
    kinds, of_number = np.unique(columns.image[~named], return_inverse=True)
    every: list[int | str] = [*kinds.tolist(), *content.image_names]
    place = len(kinds) + columns.image
    place[~named] = of_number.reshape(-1)
    notes = images.settle(path, every)
    placed = _place(columns, place, every, where("image_id"), images, o.faults)
    if not len(content.named) and not notes:
        notes = _check_reading_of_images(path, placed, data, o)
    return placed, [*notes, *_check_texts(path, placed, place, every, images, data, o)]


def _other_ids(path: Path, content: Content, image: Ints, data: DataSet) -> list[str]:
    """A note if image ids that are ids of the data set belong to other images than the file names."""
    ids = content.boxes.image
    if len(content.named) or not data.own_images or len(ids) != len(image):
        return []
    other = (positions(np.sort(data.images), ids) >= 0) & (ids != image)
    count = int(other.sum())
    text = f"{path}: {count:,} detections have the image_id of another image than their file_name: file_name counts"
    return [text] if count else []


def _renumbered(
    path: Path,
    section: str,
    name: str,
    columns: Columns,
    column: str,
    to: Mapping[int, int],
    expected: str,
    faults: Faults,
) -> Columns:
    """Replace the ids of a column. Ids that ``to`` lacks are faults."""
    ids: Ints = getattr(columns, column)
    kinds, inverse = np.unique(ids, return_inverse=True)
    known = np.array([i in to for i in kinds.tolist()], bool)[inverse.reshape(-1)]
    for row in np.flatnonzero(~known).tolist():
        faults.add(FormatError(f"{path}: {section}[{row}].{name}: expected {expected}, got {ids[row]}"))
    new = np.array([to.get(i, 0) for i in kinds.tolist()], np.int64)[inverse.reshape(-1)]
    changed: Any = {column: new}
    return columns._replace(**changed).rows(known)


# ------------------------------------------------------------------------------------------------- labels
def _numbered(path: Path, columns: Columns, data: DataSet, o: Options, *, by_position: bool = False) -> Results:
    """Find the categories of labels that are numbers. ``by_position``: they are class numbers, as YOLO's are."""
    raw, others, notes = columns.label, dict[int, str](), list[str]()
    if not len(raw):
        return Results(columns, others)
    if o.classes is not None and o.labels is None:
        label, others = _by_class_names(path, raw, data, o.classes)
    elif o.labels in ("position", "position-from-1"):
        label, others, notes = position_ids(data, columns, int(o.labels == "position-from-1"))
    elif not data.own_categories:
        label, others = _by_numeric_names(path, raw, data, o)
    elif by_position and o.labels is None:
        label, others, notes = position_ids(data, columns)
        if others and not _are_numbers(data.category_names):
            reason = f"must be given: {path} has class {next(iter(others.values()))}, and the data set has"
            raise ChoiceError("classes", f"{reason} {len(data.categories)} classes; it names the detector's classes")
        check_positions(data, columns._replace(label=label), raw, str(path))
    else:
        label = raw
        if o.labels is None:
            check_ids(data, columns, str(path))
    return Results(columns._replace(label=label), others, notes)


def _by_class_names(path: Path, raw: Ints, data: DataSet, classes: Sequence[str]) -> tuple[Ints, dict[int, str]]:
    """Labels are places in a list of names."""
    kinds, inverse = np.unique(raw, return_inverse=True)
    for kind in kinds.tolist():
        if not 0 <= kind < len(classes):
            got = f"{kind}, and there are {len(classes)} names of classes"
            raise FormatError(f"{path}: expected labels from 0 to {len(classes) - 1}, got {got}")
    labels = Labels(by_name(path, data.categories.tolist(), data.category_names), new_ids(data))
    if not set(classes) & set(data.category_names):
        got = f"{quoted(classes[0])}, ..., and the data set has {quoted(data.category_names[0])}, ..."
        raise ChoiceError("classes", f"must have names of the data set's classes, got {got}")
    ids = np.array([labels.id_of(classes[kind]) for kind in kinds.tolist()], np.int64)
    return ids[inverse.reshape(-1)] if len(raw) else raw, labels.others


def _by_numeric_names(path: Path, raw: Ints, data: DataSet, o: Options) -> tuple[Ints, dict[int, str]]:
    """Labels are the names of classes, if these are numbers. The data set has no ids of classes."""
    if o.labels == "id" or not _are_numbers(data.category_names):
        shown = ", ".join(f"{i} is {quoted(name)}" for i, name in enumerate(data.category_names[:2]))
        reason = f"must say what the numbers in {path} are: the data set's classes have names and no ids"
        raise ChoiceError("labels", f"{reason}; if {shown}, ..., use --labels position, else give --classes FILE")
    kinds, inverse = np.unique(raw, return_inverse=True)
    known = {str(int(name)): i for i, name in zip(data.categories.tolist(), data.category_names, strict=True)}
    labels = Labels(known, new_ids(data))
    ids = np.array([labels.id_of(str(kind)) for kind in kinds.tolist()], np.int64)
    return ids[inverse.reshape(-1)] if len(raw) else raw, labels.others


def _are_words(names: Sequence[str]) -> bool:
    return all(names) and not _are_numbers(names)


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdigit() and to_int(name) is not None for name in names)
