"""Read COCO JSON, data sets and results, into columns. Errors name the record and the field.

    data set   {"images": [{"id", "file_name", ...}], "annotations": [{"id", "image_id", "category_id", "bbox": [x, y,
               width, height], "area", "iscrowd"}], "categories": [{"id", "name"}]}
    results    [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}], or an object whose
               ``annotations`` are such a list

Other keys are allowed. A missing ``area`` is width * height, a missing ``iscrowd`` is 0. Files may be packed by gzip.

This is the only reader of COCO JSON. The C++ backend reads a stream: it takes 56 bytes a detection and a quarter of a
megabyte, whatever the size of the file. Without it Python's json reads the whole file, which is slower and takes more
memory.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any, cast

import numpy as np

from fastdet._core import backends
from fastdet._files import coco_text
from fastdet._files.coco_objects import ANNOTATIONS, CATEGORIES, IMAGES, Content, Spans
from fastdet._files.data_set import DataSet, check_distinct, check_known
from fastdet._files.errors import FormatError, one_line
from fastdet.detection.records import Columns

GZIP = b"\x1f\x8b"


def read_coco(path: str | os.PathLike[str]) -> DataSet:
    """Read a COCO data set. Ids must be unique; annotations must refer to images and categories of the file."""
    content = coco_content(path, "data set")
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
    """Read COCO results, or the annotations of a COCO data set that have scores.

    With ``data``, every image must be one of its images. A category that only the results have is no error, as in
    pycocotools: nothing is scored in it.
    """
    content = coco_content(path, "results")
    boxes = content.boxes
    if data is not None:
        check_known(str(path), content.section, "image_id", boxes.image, data.images, "an image of the data set")
    return boxes


def coco_content(path: str | os.PathLike[str], kind: str, *, string_ids: bool = False) -> Content:
    """Read a file without looking up the ids that annotations refer to. See `parse`."""
    with opened(path) as (file, size):
        return parse(str(path), file, size, kind, string_ids=string_ids)


def parse(
    where: str, file: IO[bytes], size: int, kind: str, *, string_ids: bool = False, spans: bool = False
) -> Content:
    """Read COCO JSON from an open file.

    Parameters
    ----------
    where : the name of the file in errors
    size : its size in bytes, 0 where it is not known
    kind : "data set"; "results"; or "names", which reads images and categories and skips the annotations
    string_ids : image ids of results may be strings
    spans : also return where each record of results lies in the file
    """
    if backends.native is None:
        return coco_text.parse(where, file, kind, string_ids=string_ids, spans=spans)
    content: Any = backends.native.read_coco(file, size, kind, string_ids, spans)
    if isinstance(content, str):
        raise FormatError(f"{where}: {content}")
    boxes, areas, images = content["boxes"], content["areas"], content["images"]
    with np.errstate(over="ignore"):
        plain = boxes[:, 2] * boxes[:, 3]
    if len(areas):
        np.copyto(areas, plain, where=np.isnan(areas))
    columns = Columns(
        content["image"], content["label"], boxes, areas if len(areas) else plain, content["scores"], content["crowd"],
        content["ids"],
    )  # fmt: skip
    return Content(
        columns,
        (images[0], _names(images), np.stack(images[3:], axis=1)),
        (content["categories"][0], _names(content["categories"])),
        content["sections"],
        content["section"],
        content["named"].astype(bool),
        content["image_names"],
        Spans(*(content[key] for key in Spans._fields)) if spans else None,
    )


def _names(packed: tuple[Any, ...]) -> list[str]:
    _, text, ends, *_ = packed
    starts = [0, *ends.tolist()]
    return [text[a:b].decode("utf-8", "replace") for a, b in pairwise(starts)]


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, unpacked if it is gzip. Yields it and its size in bytes (0 where that is not known)."""
    with open(path, "rb", buffering=0) as plain:
        if not is_packed(path, plain):
            yield plain, os.path.getsize(path)
            return
        try:
            with gzip.GzipFile(fileobj=plain) as packed:
                yield cast("IO[bytes]", packed), 0
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FormatError(f"{path}: damaged or truncated gzip: {one_line(error)}") from None


def is_packed(path: str | os.PathLike[str], file: IO[bytes]) -> bool:
    """Whether an open file is gzip: by its first bytes, or by its name where it cannot be rewound."""
    if not file.seekable():
        return str(path).endswith(".gz")
    start = file.read(2)
    file.seek(0)
    return start == GZIP
