"""Segmentations and keypoints of COCO's records that are dictionaries, and what follows from them.

Errors have the same text as those of the C++ reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet import masks
from fastdet._core import backends, limits
from fastdet._core.check import Array
from fastdet._files.coco_values import ABSENT, FIELD_OF, NO_NUMBERS, fail, given, is_integer, numbers, refuse
from fastdet.detection.records import Columns, Floats, Ints
from fastdet.keypoints.similarity import extent
from fastdet.masks import RLE
from fastdet.masks.polygons import rle_from_polygons_reference
from fastdet.masks.rle import MAX_PIXELS, new_rle, rle_from_strings_reference

IOU_TYPES = ("bbox", "segm", "keypoints", "auto", "any")
FIELDS = tuple(FIELD_OF.values())  # what says where an object is
_FARTHEST = 2.0**28  # of a corner
_MASK, _POINTS = "polygons or run lengths", "x, y and visibility of each point"
UNKNOWN_SIZE = "whose size is not known"
WANTED = {"bbox": "four numbers", "segmentation": _MASK, "keypoints": _POINTS}

Sizes = Mapping[int, tuple[int, int]]  # height and width of images by id; 0 where unknown


class Held(NamedTuple):
    """How many records have each field: a value other than null and an empty list."""

    bbox: int = 0
    segmentation: int = 0
    keypoints: int = 0


def held_of(records: Sequence[Mapping[str, Any]]) -> Held:
    """Count the fields of records."""
    return Held(*(sum(given(record.get(field)) for record in records) for field in FIELDS))


def decided_by(where: str, section: str, records: Sequence[Mapping[str, Any]], iou_type: str) -> str:
    """The field of the first of some results that decides for all, as in pycocotools' loadRes; "" without one."""
    if iou_type == "bbox" or not records:
        return ""
    first = records[0]
    if isinstance(first, Mapping):
        for field in FIELDS:
            if given(first.get(field)):
                return field
        if iou_type in ("auto", "any"):
            refuse(where, section, 0, "", "expected bbox, segmentation or keypoints, got none of them")
    return ""


class Place(NamedTuple):
    """A list of records, for errors."""

    where: str
    section: str
    records: Sequence[Mapping[str, Any]]
    results: bool = False
    detected: bool = False  # they are detections: the visibility of a keypoint may be any number

    def fail(self, index: int, field: str, expected: str, value: object) -> None:
        fail(self.where, self.section, index, field, expected, value)

    def refuse(self, index: int, field: str, text: str) -> None:
        refuse(self.where, self.section, index, field, text)

    def rows(self, field: str, *, needed: bool) -> list[int]:
        """The indices of the records that have a field."""
        if not needed:
            return [i for i, record in enumerate(self.records) if given(record.get(field))]
        for i, record in enumerate(self.records):
            if field not in record:
                self.fail(i, field, WANTED[field], ABSENT)
        return list(range(len(self.records)))


# ------------------------------------------------------------------------------------------------------- keypoints
def keypoints_of(place: Place, rows: Sequence[int]) -> Floats:
    """(N, K, 3) keypoints of some records."""
    values = [place.records[i]["keypoints"] for i in rows]
    count = 0
    for i, value in zip(rows, values, strict=True):
        if not isinstance(value, list | tuple | np.ndarray):
            place.fail(i, "keypoints", _POINTS, value)
        for k, x in enumerate(value):
            if not _is_number(x):
                place.fail(i, "keypoints", _POINTS, x)
            if not place.detected and k % 3 == 2 and x not in (0, 1, 2):
                place.fail(i, "keypoints", "a visibility of 0, 1 or 2", x)
        if not len(value) or len(value) % 3:
            place.refuse(i, "keypoints", f"expected {_POINTS}, got {numbers(len(value))}")
        count = count or len(value)
        if len(value) != count:
            text = f"expected {count} numbers, as other records have, got {numbers(len(value))}"
            place.refuse(i, "keypoints", text)
    return np.array(values, np.float64).reshape(len(rows), count // 3, 3)


def without_points(place: Place, keypoints: Floats) -> Array:
    """(N,) whether a true object has no visible keypoint: by ``num_keypoints``, or where absent by the points."""
    out = (keypoints[:, :, 2] > 0).sum(axis=1) == 0
    for i, record in enumerate(place.records):
        if "num_keypoints" in record:
            if not is_integer(record["num_keypoints"]):
                place.fail(i, "num_keypoints", "an integer", record["num_keypoints"])
            out[i] = record["num_keypoints"] == 0
    return out


def _is_number(x: Any) -> bool:
    try:
        return type(x) not in NO_NUMBERS and bool(np.isfinite(float(x)))
    except (TypeError, ValueError, OverflowError):
        return False


# ---------------------------------------------------------------------------------------------------------- masks
class _Read(NamedTuple):
    """Masks as records have them: run lengths, texts of them, or polygons."""

    sizes: Ints  # (N, 2) height and width; zeros of polygons
    runs: list[Any]  # counts, or None
    texts: dict[int, bytes]
    polygons: dict[int, list[Floats]]


def masks_of(place: Place, rows: Sequence[int], images: Sequence[int | None], sizes: Sizes, *, known: bool) -> RLE:
    """Masks of some records. ``images``: their image ids, None for those with a name; with ``known``, each must have a
    size."""
    read = checked_masks(place, rows)
    columns, most, groups = 0, limits.of("runs"), dict[tuple[int, int], list[int]]()
    for k, (i, image) in enumerate(zip(rows, images, strict=True)):
        if known and image not in sizes:
            place.fail(i, "image_id", "an image of the file", image)
        height, width = sizes.get(image, (0, 0)) if image is not None else (0, 0)
        sized = width > 0 and height > 0
        if k not in read.polygons:
            h, w = read.sizes[k].tolist()
            if sized and (h, w) != (height, width):
                text = f"expected the image's height and width, {height} x {width}, got {h} x {w}"
                place.refuse(i, "segmentation.size", text)
            continue
        if not sized:
            name = "with a name" if image is None else image
            text = f"expected run lengths, got polygons of image {name}, {UNKNOWN_SIZE}"
            place.refuse(i, "segmentation", text)
        if height * width > MAX_PIXELS:
            text = f"expected an image of fewer than 2**32 pixels, got {height} x {width}"
            place.refuse(i, "segmentation", text)
        for x in (corners[:, 0] for corners in read.polygons[k]):
            columns += len(x) + int(np.minimum(width, np.abs(x - np.roll(x, -1)).astype(np.int64)).sum())
        if columns > most:
            place.refuse(
                i, "segmentation",
                f"expected at most {most} runs of polygons, got more: {limits.raising('runs', 2 * most)}",
            )  # fmt: skip
        read.sizes[k] = height, width
        groups.setdefault((height, width), []).append(k)
    for size, group in groups.items():
        _draw(read, size, group)
    bounds = np.concatenate([[0], np.cumsum([len(run) for run in read.runs])]).astype(np.int64)
    counts = np.concatenate([np.zeros(0, np.uint32), *read.runs]).astype(np.uint32)
    return new_rle(read.sizes, counts, bounds)


def _draw(read: _Read, size: tuple[int, int], group: Sequence[int]) -> None:
    """Put the runs of polygons in images of one size."""
    points, parts, corners = [0], [0], []
    for k in group:
        for polygon in read.polygons[k]:
            corners.append(polygon)
            points.append(points[-1] + len(polygon))
        parts.append(len(points) - 1)
    kernel = backends.choose("rle_from_polygons", _backend(), rle_from_polygons_reference)
    counts, offsets = kernel(np.concatenate(corners), np.array(points, np.int64), np.array(parts, np.int64), *size)
    for at, k in enumerate(group):
        read.runs[k] = counts[offsets[at] : offsets[at + 1]]


def checked_masks(place: Place, rows: Sequence[int]) -> _Read:
    """The segmentations of some records, checked but for the sizes of images."""
    n = len(rows)
    read = _Read(np.zeros((n, 2), np.int64), [None] * n, {}, {})
    for k, i in enumerate(rows):
        value = place.records[i]["segmentation"]
        if isinstance(value, Mapping):
            read.sizes[k] = _size(place, i, value)
            counts = _counts(place, i, value)
            if isinstance(counts, bytes):
                read.texts[k] = counts
            else:
                read.runs[k] = counts
        elif isinstance(value, list | tuple):
            read.polygons[k] = _polygons(place, i, value)
        else:
            place.fail(i, "segmentation", _MASK, value)
    if read.texts:
        kernel: Any = backends.choose("rle_from_strings", _backend(), rle_from_strings_reference)
        counts, offsets = kernel(list(read.texts.values()))
        if isinstance(counts, str):
            place.refuse(rows[list(read.texts)[offsets]], "segmentation.counts", counts)
        for at, k in enumerate(read.texts):
            read.runs[k] = counts[offsets[at] : offsets[at + 1]]
    for k, i in enumerate(rows):
        if k in read.polygons:
            continue
        height, width = read.sizes[k].tolist()
        got = int(read.runs[k].sum(dtype=np.int64))
        if got != height * width:
            text = f"expected a sum of {height} x {width} = {height * width}, got {got}"
            place.refuse(i, "segmentation.counts", text)
    return read


def _size(place: Place, i: int, value: Mapping[str, Any]) -> tuple[int, int]:
    field, expected = "segmentation.size", "height and width"
    for key in getattr(value, "keys_twice", ()):
        if key in ("size", "counts"):
            place.refuse(i, f"segmentation.{key}", "expected once, got the key twice")
    size = value.get("size", ABSENT)
    if not isinstance(size, list | tuple | np.ndarray):
        place.fail(i, field, expected, size)
    for side in size:
        if not is_integer(side):
            place.fail(i, field, expected, side)
        if not 0 <= side <= MAX_PIXELS:
            place.fail(i, field, "sides from 0 to 2**32 - 1", int(side))
    if len(size) != 2:
        place.refuse(i, field, f"expected {expected}, got {numbers(len(size))}")
    height, width = map(int, size)
    if height * width > MAX_PIXELS:
        place.refuse(i, field, f"expected fewer than 2**32 pixels, got {height} x {width}")
    return height, width


def _counts(place: Place, i: int, value: Mapping[str, Any]) -> Any:
    """Run lengths, or the text of them."""
    field, counts = "segmentation.counts", value.get("counts", ABSENT)
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode("utf-8", "surrogatepass")
    if not isinstance(counts, list | tuple | np.ndarray):
        place.fail(i, field, "text or a list of integers", counts)
    for count in counts:
        if not is_integer(count):
            place.fail(i, field, "integers", count)
        if not 0 <= count <= MAX_PIXELS:
            place.fail(i, field, "counts in [0, 2**32)", int(count))
    return np.array(counts, np.int64).astype(np.uint32)


def _polygons(place: Place, i: int, value: Sequence[Any]) -> list[Floats]:
    field = "segmentation"
    if not len(value):
        place.refuse(i, field, f"expected {_MASK}, got an empty list")
    found = []
    for polygon in value:
        if not isinstance(polygon, list | tuple | np.ndarray):
            place.fail(i, field, "polygons, lists of x1 y1 x2 y2 ...", polygon)
        corners = np.zeros(0)
        if not set(map(type, polygon)) & NO_NUMBERS:
            try:
                corners = np.array(polygon, np.float64)
            except (TypeError, ValueError, OverflowError):
                corners = np.zeros(0)
        if corners.shape != (len(polygon),) or not (np.abs(corners) <= _FARTHEST).all():
            _check_corners(place, i, polygon)
        if len(polygon) < 6 or len(polygon) % 2:
            place.refuse(i, field, f"expected polygons of x1 y1 x2 y2 x3 y3 ..., got {numbers(len(polygon))}")
        found.append(corners.reshape(-1, 2))
    return found


def _check_corners(place: Place, i: int, polygon: Sequence[Any]) -> None:
    for x in polygon:
        if not _is_number(x):
            place.fail(i, "segmentation", "numbers as corners of polygons", x)
        if not abs(x) <= _FARTHEST:
            place.fail(i, "segmentation", "corners of polygons up to 2**28", float(x))


def _backend() -> str | None:
    """This reader is for where C++ is absent, and the reference then does without further modules."""
    return "reference" if backends.native is None else None


# ------------------------------------------------------------------------------------------- boxes and areas of them
def complete(columns: Columns, decided: str, *, results: bool) -> Columns:
    """Fill in the boxes and areas that are NaN, from masks or keypoints.

    Of results, the field that decides says for all: with ``bbox`` the area is width * height; with ``segmentation`` it
    is the mask's, with ``keypoints`` area and box are those of the extent of all points.
    """
    boxes, areas, rle, keypoints = columns.boxes, columns.areas, columns.masks, columns.keypoints
    missing = np.zeros(0, bool)
    if rle is not None or keypoints is not None:
        missing = np.isnan(boxes[:, 0]) if decided != "keypoints" else np.ones(len(boxes), bool)
    if missing.any():
        boxes = boxes.copy()
        if rle is not None and decided != "keypoints":
            of_masks = masks.to_boxes(rle, backend=_backend())
            of_masks[:, 2:] -= of_masks[:, :2]
            boxes[missing] = of_masks[missing]
        elif keypoints is not None:
            with np.errstate(over="ignore"):
                boxes[missing] = extent(keypoints if missing.all() else keypoints[missing])
    with np.errstate(over="ignore"):
        plain = boxes[:, 2] * boxes[:, 3]
    stated = np.zeros(0, bool) if results else ~np.isnan(areas)
    if rle is not None and decided in ("", "segmentation") and not (len(stated) and stated.all()):
        plain = masks.area(rle, backend=_backend()).astype(np.float64)
    if not results:
        np.copyto(plain, areas, where=stated)
    return columns._replace(boxes=boxes, areas=plain)
