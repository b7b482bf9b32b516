"""Read data sets and detections from NPZ files for `fastdet evaluate`, in the layouts of `npz`.

A data set may also have
    difficult, iscrowd   (N,) 0/1, optional
    area [area, areas]   (N,) square pixels, optional
    image_names          (I,) strings, optional: names of images 0, 1, ...; all are scored, also without boxes
    classes [classes, names, class_names]  (K,) strings, optional: names of labels 0, 1, ...

In detections the last two mean the same: images and classes are then matched by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._files import npz
from fastdet._files.archive import Archive
from fastdet._files.data_set import DataSet, area
from fastdet._files.errors import Faults, FormatError, plain, quoted
from fastdet._files.table import Table
from fastdet.detection.records import CROWD, IGNORE, Columns, Ints

_OF_BOXES, _OF_NAMES = ("difficult", "iscrowd", "area", "areas"), ("image_names", "classes", "names", "class_names")


def read_npz(path: Path, offset: float, faults: Faults | None = None) -> DataSet:
    """Read a data set from an NPZ file. FormatError, OSError."""
    table = npz.read_npz(path, scored=False, faults=faults)
    count = len(table.boxes)
    rows = table.rows if table.rows is not None else np.arange(count)
    extra = _npz_extra(path, table.ignored, count if table.kept is None else len(table.kept))
    if table.kept is not None:
        extra |= {name: extra[name][table.kept] for name in _OF_BOXES if name in extra}
    flags = np.zeros(count, np.uint8)
    for name, flag in (("difficult", IGNORE), ("iscrowd", CROWD)):
        if name in extra:
            if not np.isin(extra[name], (0, 1)).all():
                raise FormatError(f"{path}: {name}: expected 0 or 1, got other values")
            flags |= extra[name].astype(np.uint8) * np.uint8(flag)
    boxes = table.corners(np.arange(count)).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    areas = _first(extra, ("area", "areas"), area(boxes, offset)).astype(np.float64)
    if not (areas >= 0).all():
        row = int(np.argmin(areas >= 0))
        raise FormatError(f"{path}: row {row}, area: expected a number >= 0, got {plain(areas[row])}")
    _check_places(path, table, extra.get("image_names"))
    ids, names, place = _npz_image_ids(path, table.images, extra.get("image_names"))
    label = table.labels.astype(np.int64) if table.labels is not None else np.zeros(count, np.int64)
    called = _first(extra, ("classes", "names", "class_names"), None)
    if called is not None:
        wrong = (label < 0) | (label >= len(called))
        if wrong.any():
            row = int(np.argmax(wrong))
            expected = f"a class from 0 to {len(called) - 1}"
            raise FormatError(f"{path}: row {row}, labels: expected {expected}, got {label[row]}")
    kinds = np.unique(label) if called is None else np.arange(len(called))
    words = [str(k) for k in (kinds if called is None else called).tolist()]
    image = np.empty(count, np.int64)
    image[rows] = np.repeat(place, np.diff(table.offsets))
    sizes = np.zeros((len(ids), 2), np.int64)
    truth = Columns(image, label, boxes, areas, np.zeros(0), flags, np.arange(1, count + 1))
    own = not (len(table.images) and isinstance(table.images[0], str))
    return DataSet(ids, names, sizes, kinds, words, truth, offset, own_images=own)


def _npz_extra(path: Path, names: Sequence[str], count: int) -> dict[str, Array]:
    """Those of the arrays that a data set may have besides its boxes."""
    extra = {}
    wanted = [name for name in names if name in (*_OF_BOXES, *_OF_NAMES)]
    with Archive(path) as archive:
        archive.require_size(wanted)
        for name in wanted:
            extra[name] = archive.read(name)
            if name in _OF_BOXES:
                npz.expect(path, name, extra[name], "biuf", "numbers", (count,), f"({count},), one per box")
            else:
                shape = (extra[name].size,)
                npz.expect(path, name, extra[name], "U", "strings", shape, "(K,), one per image or class")
    return extra


def _first(extra: dict[str, Array], names: Sequence[str], default: Any) -> Any:
    return next((extra[name] for name in names if name in extra), default)


def _check_places(path: Path, table: Table, called: Array | None) -> None:
    """FormatError for boxes of several images by name, if nothing says which box is in which image."""
    if called is None or len(called) == 1 or not len(table.boxes) or {"images", "offsets"} & set(table.layout or {}):
        return
    got = f"none, and image_names has {len(called)}"
    raise FormatError(f"{path}: expected an array image or offsets, which says which image a box is in, got {got}")


def _npz_image_ids(path: Path, images: Sequence[int | str], called: Array | None) -> tuple[Ints, list[str], Ints]:
    """Ids and names of all images, and the id of each image of the table."""
    strings = bool(len(images)) and isinstance(images[0], str)
    if called is None:
        ids = np.arange(len(images)) if strings else np.array(images, np.int64)
        return ids, [str(i) for i in images] if strings else [""] * len(ids), ids
    names = [str(name) for name in called.tolist()]
    of = {name: i for i, name in enumerate(names)} if strings else {i: i for i in range(len(names))}
    for i in images:
        if i not in of:
            expected = "one of image_names" if strings else f"a position from 0 to {len(names) - 1} in image_names"
            raise FormatError(f"{path}: images: expected {expected}, got {quoted(i)}")
    return np.arange(len(names)), names, np.array([of[i] for i in images], np.int64)  # type: ignore[index]


class NpzResults(NamedTuple):
    """Detections as they stand in a file."""

    columns: Columns  # images are places in ``ids``
    ids: Sequence[int | str]  # of images; strings are names
    classes: list[str] | None  # the names of labels 0, 1, ..., where the file has them


def read_npz_results(path: Path, data: DataSet, faults: Faults) -> NpzResults:
    """Read detections. FormatError, OSError."""
    table = npz.read_npz(path, faults=faults)
    count = len(table.boxes)
    rows = table.rows if table.rows is not None else np.arange(count)
    ids: Sequence[int | str] = table.images
    extra = _npz_extra(path, [name for name in table.ignored if name in _OF_NAMES], count)
    called = extra.get("image_names")
    if called is not None and not (len(ids) and isinstance(ids[0], str)):
        _check_places(path, table, called)
        _, names, at = _npz_image_ids(path, ids, called)
        ids = [names[i] for i in at.tolist()]
    elif count and "images" not in (table.layout or {}):  # images are counted from 0
        ids = _counted_images(path, len(ids), data)
    place = np.empty(count, np.int64)
    place[rows] = np.repeat(np.arange(len(ids)), np.diff(table.offsets))
    boxes = table.corners(np.arange(count)).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    label = _labels(path, table.labels, count, data)
    scores, none = table.scores.astype(np.float64), np.zeros(0, np.int64)
    columns = Columns(place, label, boxes, area(boxes, 0), scores, np.zeros(0, np.uint8), none)
    classes = _first(extra, ("classes", "class_names"), None)
    if classes is None and "names" in extra and set(extra["names"].tolist()) & set(data.category_names):
        classes = extra["names"]  # else they are of something else, such as of images
    return NpzResults(columns, ids, None if classes is None else classes.tolist())


def _labels(path: Path, labels: Array | None, count: int, data: DataSet) -> Ints:
    """The labels of detections. Without labels all are of the data set's one class."""
    if labels is not None:
        return labels.astype(np.int64)
    if count and len(data.categories) != 1:
        got = f"none, and the data set has {len(data.categories)} classes"
        raise FormatError(f"{path}: expected an array named labels, got {got}")
    return np.full(count, data.categories[0] if len(data.categories) else 0, np.int64)


def _counted_images(path: Path, count: int, data: DataSet) -> list[int]:
    """The ids of images 0, 1, ... of a file without image ids. FormatError if the data set does not count them so."""
    if count == len(data.images) == 1:
        return data.images.tolist()
    if data.own_images and np.array_equal(data.images, np.arange(len(data.images))) and count <= len(data.images):
        return list(range(count))
    got = f"{count:,} images that are only counted"
    raise FormatError(f"{path}: expected an array image_id, by which images are found in the data set, got {got}")
