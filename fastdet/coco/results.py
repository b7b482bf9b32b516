"""What `COCO.loadRes` reads, and the dictionaries that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco import coco_content
from fastdet._files.coco_objects import columns_of, results_of, sizes_of_images
from fastdet._files.coco_shapes import Held
from fastdet._files.data_set import check_known
from fastdet._files.errors import FormatError
from fastdet._files.json_walk import load_tree
from fastdet._files.packed import opened
from fastdet.detection.records import CROWD, Columns, Ints

ImageSizes = tuple[Ints, Ints]  # ids, (I, 2) widths and heights


class Loaded(NamedTuple):
    """Results of a data set, read as far as the first record decides."""

    source: Any  # a path, a list of dictionaries, or an (N, 7) array
    data: Any  # the data set
    columns: Columns
    decided: str  # "bbox", "segmentation" or "keypoints": the field of the first record that decides for all
    records: list[Any] | None  # the dictionaries of a list, to see whether it was changed
    held: Held  # of a file: how many records have each field


def load(source: Any, data: Any, known: Ints, sizes: ImageSizes) -> Loaded:
    """Read results. FormatError for an image that is not ``known``."""
    where, section, held, records = "loadRes", "results", Held(), None
    if isinstance(source, str):
        content = coco_content(source, "results", iou_type="any", sizes=sizes)
        where, section, held = source, content.section, content.held
        columns, decided = content.boxes, content.decided
    elif isinstance(source, np.ndarray):
        columns, decided = array_columns(source), "bbox"
    else:
        content = results_of(where, section, source, iou_type="any", sizes=sizes_of_images(sizes))
        columns, decided, records = content.boxes, content.decided, list(source)
    check_known(where, section, "image_id", columns.image, known, "an image of the data set")
    return Loaded(source, data, columns, decided, records, held)


def columns_of_kind(loaded: Loaded, iou_type: str, sizes: ImageSizes) -> Columns:
    """The columns for a kind of evaluation. Dictionaries are read again: the caller may have changed them."""
    source, first = loaded.source, loaded.columns
    of_file, n = isinstance(source, str), len(first.image)
    if not of_file or (iou_type == "segm" and loaded.decided == "bbox" and loaded.held.segmentation < n):
        if loaded.records is None and iou_type == "bbox":
            return first
        records = read_records(source)
        if iou_type == "segm" and loaded.decided == "bbox":
            records = [r if "segmentation" in r else {**r, "segmentation": box_polygon(r["bbox"])} for r in records]
        columns = columns_of(
            "loadRes", "results", records, results=True, iou_type="any" if iou_type == "bbox" else iou_type,
            sizes=sizes_of_images(sizes), decided=loaded.decided,
        )  # fmt: skip
        columns = columns._replace(areas=first.areas)  # those of loadRes, as in pycocotools
    elif {"bbox": True, "segm": first.masks is not None, "keypoints": first.keypoints is not None}[iou_type]:
        columns = first
    else:
        columns = coco_content(source, "results", iou_type=iou_type, sizes=sizes).boxes
        check_same(source, first, columns)
    if iou_type != "segm":
        columns = columns._replace(masks=None)
    return columns if iou_type == "keypoints" else columns._replace(keypoints=None)


def check_same(where: str, before: Columns, now: Columns) -> None:
    """FormatError if a file that was read for the second time has other records than before."""
    same = len(before.image) == len(now.image) and np.array_equal(before.flags & CROWD, now.flags & CROWD)
    for name in ("image", "label", "ids", "scores", "boxes", "areas"):
        old, new = getattr(before, name), getattr(now, name)
        same = same and bool(((old == new) | (old != old)).all())  # NaN: it was absent then
    if not same:
        raise FormatError(f"{where}: the file has changed since it was read first: load it again")


def read_records(source: Any) -> Sequence[Any]:
    """The dictionaries of results."""
    records = load_file(source) if isinstance(source, str) else source
    if isinstance(records, Mapping):
        records = records["annotations"]
    return dictionaries(records) if isinstance(records, np.ndarray) else records


def load_file(path: str) -> Any:
    """The content of a JSON file."""
    with opened(path) as (file, _):
        return load_tree(path, file.read())


def completed(loaded: Loaded, records: Sequence[Any]) -> list[dict[str, Any]]:
    """The annotations that pycocotools' loadRes makes: in the caller's dictionaries, where they are some."""
    annotations = []
    columns, decided = loaded.columns, loaded.decided
    rows = zip(records, columns.areas.tolist(), columns.boxes.tolist(), strict=True)
    for i, (given_record, area, box) in enumerate(rows, 1):
        record = given_record if isinstance(given_record, dict) else dict(given_record)
        if decided == "keypoints":
            record.update(area=area, id=i, bbox=box)
        elif decided == "segmentation":
            record.setdefault("bbox", box)
            record.update(area=int(area), id=i, iscrowd=0)
        else:
            record.setdefault("segmentation", box_polygon(record["bbox"]))
            record.update(area=area, id=i, iscrowd=0)
        annotations.append(record)
    return annotations


def box_polygon(box: Any) -> list[list[Any]]:
    """The segmentation that a result has if it has only a box."""
    x, y, w, h = box
    return [[x, y, x, y + h, x + w, y + h, x + w, y]]


def dictionaries(rows: Array) -> list[dict[str, Any]]:
    """Results of (N, 7) rows: image id, x, y, width, height, score, class."""
    c = array_columns(rows)
    columns = c.image.tolist(), c.boxes.tolist(), c.scores.tolist(), c.label.tolist()
    return [
        {"image_id": i, "bbox": box, "score": score, "category_id": label}
        for i, box, score, label in zip(*columns, strict=True)
    ]


def array_columns(x: Array) -> Columns:
    """Columns of such rows."""
    if x.ndim != 2 or x.shape[1] != 7:
        raise ValueError(f"loadRes: resFile must have shape (N, 7), got {x.shape}")
    x = x.astype(np.float64)
    invalid = ~np.isfinite(x).all(axis=1) | (x[:, 3:5] < 0).any(axis=1)
    if invalid.any():
        i = int(np.argmax(invalid))
        raise FormatError(f"loadRes: results[{i}]: expected finite numbers and sides >= 0, got {x[i].tolist()}")
    boxes = np.ascontiguousarray(x[:, 1:5])
    image, label = x[:, 0].astype(np.int64), x[:, 6].astype(np.int64)
    areas = boxes[:, 2] * boxes[:, 3]
    return Columns(image, label, boxes, areas, x[:, 5].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))
