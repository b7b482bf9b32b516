"""Read COCO JSON, data sets and results, into columns. Errors name the record and the field.

    data set   {"images": [{"id", "file_name", ...}], "annotations": [{"id", "image_id", "category_id", "bbox": [x, y,
               width, height], "area", "iscrowd"}], "categories": [{"id", "name"}]}; also "segmentation", which is
               polygons or {"size", "counts"} with text or a list, and "keypoints" [x, y, visibility, ...]
    results    [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}], or an object whose
               ``annotations`` are such a list

Other keys are allowed. A key that is read must not come twice. Texts are UTF-8. Ids are integers of 64 bits, also
written as whole numbers below 9e15, such as 3.0. A missing ``area`` is width * height, a missing ``iscrowd`` is 0.
Files may be packed by gzip. `limits` says how much a file may hold.

This is the only reader of COCO JSON. The C++ backend reads a stream: it takes 56 bytes a detection and a quarter of a
megabyte, whatever the size of the file. Without it Python's json reads the whole file, which is slower and takes more
memory.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from typing import IO, Any

import numpy as np

from fastdet._core import backends, limits
from fastdet._files import coco_text
from fastdet._files.coco_objects import (
    ANNOTATIONS,
    CATEGORIES,
    FREQUENCIES,
    IMAGES,
    Content,
    Spans,
    sizes_of_images,
)
from fastdet._files.coco_shapes import FIELDS, IOU_TYPES, Held, complete
from fastdet._files.data_set import DataSet, check_distinct, check_known, positions
from fastdet._files.errors import Faults, FormatError
from fastdet._files.packed import opened
from fastdet.detection.federated import Federated
from fastdet.detection.records import IGNORE, Columns, Ints
from fastdet.masks.rle import new_rle


def read_coco(path: str | os.PathLike[str], faults: Faults | None = None, *, iou_type: str = "bbox") -> DataSet:
    """Read a COCO data set. Ids must be unique; annotations must refer to images and categories of the file.

    Annotations with ``ignore`` set are ignored, as VOC's difficult objects are; a note says so. ``faults``: what
    becomes of invalid annotations. ``iou_type``: "segm" and "keypoints" read masks or keypoints too.
    """
    content = coco_content(path, "data set", faults=faults, iou_type=iou_type)
    for bit, name in ((IMAGES, "images"), (ANNOTATIONS, "annotations"), (CATEGORIES, "categories")):
        if not content.sections & bit:
            raise FormatError(f"{path}: expected the key {name!r}, got no such key")
    (images, names, sizes), (categories, category_names) = content.images, content.categories
    truth = content.boxes._replace(scores=np.zeros(0))
    notes = []
    if content.ignore.any():
        truth = truth._replace(flags=truth.flags | content.ignore.astype(np.uint8) * np.uint8(IGNORE))
        count = int(content.ignore.sum())
        notes.append(
            f"{path}: {count:,} annotations have ignore set: neither found nor missed (pycocotools scores them)"
        )
    for section, ids in (("images", images), ("categories", categories)):
        check_distinct(str(path), section, ids)
    if faults is not None and faults.skip:
        truth = _referring(str(path), truth, images, categories, faults)
    check_distinct(str(path), "annotations", truth.ids)
    check_known(str(path), "annotations", "image_id", truth.image, images, "an image of the file")
    check_known(str(path), "annotations", "category_id", truth.label, categories, "a category of the file")
    placeholder = _placeholder(content, truth)
    return DataSet(
        images, names, sizes, categories, category_names, truth, notes=tuple(notes), placeholder=placeholder,
        held=content.held, federated=content.federated, frequencies=content.frequencies, crowding=content.crowding,
    )  # fmt: skip


def _referring(where: str, truth: Columns, images: Ints, categories: Ints, faults: Faults) -> Columns:
    """The annotations of known images and categories whose ids are new."""
    keep = np.ones(len(truth.ids), bool)
    _, first = np.unique(truth.ids, return_index=True)
    again = np.ones(len(truth.ids), bool)
    again[first] = False
    for field, values, wrong, expected in (
        ("image_id", truth.image, positions(np.unique(images), truth.image) < 0, "an image of the file"),
        ("category_id", truth.label, positions(np.unique(categories), truth.label) < 0, "a category of the file"),
        ("id", truth.ids, again, "unique ids"),
    ):
        for row in np.flatnonzero(wrong & keep).tolist():
            record = f"annotation {truth.ids[row]}"
            faults.add(FormatError(f"{where}: {record}.{field}: expected {expected}, got {values[row]}"))
        keep &= ~wrong
    return truth.rows(keep)


def _placeholder(content: Content, truth: Columns) -> int | None:
    """The id of a category without boxes whose name is the supercategory of all others. None if there is none."""
    ids, names = content.categories
    count = Counter(content.parents)
    for i, name, parent in zip(ids.tolist(), names, content.parents, strict=True):
        others = len(names) - 1
        if name and others and count[name] - (parent == name) == others and not (truth.label == i).any():
            return int(i)
    return None


def read_coco_results(path: str | os.PathLike[str], data: DataSet | None = None, *, iou_type: str = "bbox") -> Columns:
    """Read COCO results, or the annotations of a COCO data set that have scores.

    With ``data``, every image must be one of its images, and polygons are drawn in their sizes. A category that only
    the results have is no error, as in pycocotools: nothing is scored in it. ``iou_type``: see `parse`.
    """
    sizes = None if data is None else (data.images, data.sizes)
    content = coco_content(path, "results", iou_type=iou_type, sizes=sizes)
    boxes = content.boxes
    if data is not None:
        check_known(str(path), content.section, "image_id", boxes.image, data.images, "an image of the data set")
    return boxes


def coco_content(
    path: str | os.PathLike[str],
    kind: str,
    *,
    string_ids: bool = False,
    faults: Faults | None = None,
    iou_type: str = "bbox",
    sizes: tuple[Ints, Ints] | None = None,
) -> Content:
    """Read a file without looking up the ids that annotations refer to. See `parse`."""
    with opened(path) as (file, size):
        return parse(str(path), file, size, kind, string_ids=string_ids, faults=faults, iou_type=iou_type, sizes=sizes)


def first_held(path: str | os.PathLike[str], *, skip: bool = False) -> Held:
    """Which fields the first record of results has; none if it cannot be read, which the whole reading says.

    ``skip``: invalid records are left out, so the first that has one of the fields counts.
    """
    try:
        with opened(path) as (file, size):
            if backends.native is None or skip:
                return coco_text.first_held(str(path), file)
            content: Any = _native(file, size, "results", "first", string_ids=True)
    except FormatError:
        return Held()
    return Held() if isinstance(content, str) else Held(*content["held"])


def _native(
    file: IO[bytes],
    size: int,
    kind: str,
    iou_type: str,
    *,
    string_ids: bool = False,
    spans: bool = False,
    sizes: tuple[Ints, Ints] | None = None,
) -> Any:
    assert backends.native is not None
    known = (np.zeros(0, np.int64), np.zeros((0, 2), np.int64)) if sizes is None else sizes
    return backends.native.read_coco(
        file, size, kind, string_ids, spans, iou_type, *map(np.ascontiguousarray, known),
        limits.of("text"), limits.of("images"), limits.of("runs"),
    )  # fmt: skip


def parse(
    where: str,
    file: IO[bytes],
    size: int,
    kind: str,
    *,
    string_ids: bool = False,
    spans: bool = False,
    faults: Faults | None = None,
    iou_type: str = "bbox",
    sizes: tuple[Ints, Ints] | None = None,
) -> Content:
    """Read COCO JSON from an open file.

    Parameters
    ----------
    where : the name of the file in errors
    size : its size in bytes, 0 where it is not known
    kind : "data set"; "results"; or "names", which reads images and categories and skips the annotations
    string_ids : image ids of results may be strings
    spans : also return where each record of results lies in the file
    faults : what becomes of invalid records; if they are skipped, Python's json reads the whole file
    iou_type : "bbox", "segm" or "keypoints": what every record must have. With "segm" `Columns.masks` are read, with
        "keypoints" `Columns.keypoints`, and true objects without a visible one are ignored; then a record may lack
        its box, which is that of the mask or of the points. "auto", of results: whatever all records have. "any":
        boxes, NaN of a record without one; of results what the first record decides by
    sizes : ids (I,) and widths and heights (I, 2), int64, of the images of results, 0 where unknown: polygons need
        them, run lengths must have them

    Areas that a data set lacks are those of masks with "segm", else width * height. Of results, the first record
    decides for all, as in pycocotools' loadRes: if it has ``bbox``, areas are width * height; else, if it has
    ``segmentation``, those of masks; else those of the extent of all ``keypoints``, which is the box too.
    """
    if iou_type not in IOU_TYPES or (iou_type == "auto" and kind != "results"):
        raise ValueError(f"coco: iou_type must be bbox, segm, keypoints, any, or auto for results, got {iou_type!r}")
    if backends.native is None or (faults is not None and faults.skip):
        return coco_text.parse(
            where, file, kind, string_ids=string_ids, spans=spans, faults=faults, iou_type=iou_type,
            sizes=sizes_of_images(sizes),
        )  # fmt: skip
    content = _native(file, size, kind, iou_type, string_ids=string_ids, spans=spans, sizes=sizes)
    if isinstance(content, str):
        raise FormatError(f"{where}: {content}")
    images = content["images"]
    rle, decided = content["masks"], "" if content["decided"] < 0 else FIELDS[content["decided"]]
    columns = Columns(
        content["image"], content["label"], content["boxes"], content["areas"], content["scores"], content["crowd"],
        content["ids"], None if rle is None else new_rle(*rle), content["keypoints"],
    )  # fmt: skip
    columns = complete(columns, decided, results=kind == "results")
    if iou_type == "keypoints":
        columns = columns._replace(masks=None)
    return Content(
        columns,
        (images[0], _names(images), np.stack(images[3:], axis=1)),
        (content["categories"][0], _names(content["categories"])),
        content["sections"],
        content["section"],
        content["named"].astype(bool),
        content["image_names"],
        Spans(*(content[key] for key in Spans._fields)) if spans else None,
        content["file"],
        content["file_names"],
        content["ignore"].astype(bool),
        _names((None, *content["parents"])),
        None if content["federated"] is None else Federated(*content["federated"]),
        Held(*content["held"]),
        decided,
        [FREQUENCIES.get(letter, "") for letter in content["frequency"]],
        content["crowding"],
    )


def _names(packed: tuple[Any, ...]) -> list[str]:
    _, text, ends, *_ = packed
    starts = [0, *ends.tolist()]
    return [text[a:b].decode() for a, b in pairwise(starts)]
