"""What detections of COCO JSON are scored by: their boxes, masks or keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastdet import masks
from fastdet._files import coco
from fastdet._files.coco_shapes import FIELDS, Held
from fastdet._files.coco_values import FIELD_OF
from fastdet._files.data_set import DataSet, positions
from fastdet._files.errors import ChoiceError, Faults, FormatError
from fastdet.detection.records import SHAPES, Columns

# The words of the command line, and the kinds of overlap that they stand for.
KINDS = {"boxes": "bbox", "masks": "segm", "boundary": "boundary", "keypoints": "keypoints", "rotated": "rotated"}


def _field(kind: str) -> str:
    """What a record has that is scored by a kind."""
    return FIELD_OF[SHAPES[KINDS[kind]]]


def kinds_of(
    truth: Path, detections: Path, formats: tuple[str, str], data: DataSet, wanted: str | None, *, skip: bool
) -> tuple[tuple[str, ...], list[str]]:
    """What to score: the kind that is wanted, or those of the first of the detections that the data set has too.

    ``skip``: invalid records are left out. Also returns notes about kinds that are left out.
    """
    if "dota" in formats or wanted == "rotated":
        got = f"a data set that is {formats[0]} and detections that are {formats[1]}"
        if formats != ("dota", "dota"):
            raise ChoiceError("kind", f"rotated goes with DOTA's files, got {got}")
        if wanted not in (None, "rotated"):
            raise ChoiceError("kind", f"{wanted} goes with files of other formats, got {got}")
        return ("rotated",), []
    if formats != ("coco", "coco"):
        if wanted not in (None, "boxes"):
            got = f"a data set that is {formats[0]} and detections that are {formats[1]}"
            raise ChoiceError("kind", f"{wanted} goes with files of COCO JSON, got {got}")
        return ("boxes",), []
    if wanted is not None:
        return (wanted,), []
    first, count = coco.first_held(detections, skip=skip), len(data.truth.image)
    kinds = [kind for kind in ("boxes", "masks", "keypoints") if _held(first, kind)] or ["boxes"]
    notes, left = [], []
    for kind in kinds:
        true = _held(data.held, kind)
        if true < count:
            left.append(kind)
            notes.append(f"{truth}: {true:,} of {count:,} annotations have {_field(kind)}: {kind} are not scored")
    if len(left) == len(kinds):  # the error of the first one says more
        return tuple(kinds[:1]), []
    return tuple(kind for kind in kinds if kind not in left), notes


def _held(held: Held, kind: str) -> int:
    return held[FIELDS.index(_field(kind))]


def iou_type_of(kinds: Sequence[str], detections: Path, *, skip: bool) -> str:
    """How the detections are read for some kinds."""
    shapes = {SHAPES[KINDS[kind]] for kind in kinds}
    if len(shapes) > 1:
        return "auto"
    if shapes == {"bbox"} and not coco.first_held(detections, skip=skip).bbox:
        return "any"  # boxes of masks or keypoints
    return shapes.pop()


def check_alike(path: Path, held: Held, count: int) -> None:
    """FormatError for a mixture of records."""
    if any(0 < found < count for found in held):
        has = ", ".join(f"{field} in {found:,}" for field, found in zip(FIELDS, held, strict=True) if found)
        text = f"expected {count:,} records of one kind, got {has}: --kind chooses what is scored"
        raise FormatError(f"{path}: {text}")


def of_kind(path: Path, data: DataSet, kind: str, faults: Faults) -> DataSet:
    """The data set with the truth of a kind: masks and keypoints are read now."""
    shape = SHAPES[KINDS[kind]]
    if shape == "rotated":  # DOTA's files hold nothing else
        return data
    if shape == "bbox":
        missing = np.isnan(data.truth.boxes[:, 0])
        for row in np.flatnonzero(missing).tolist():
            faults.add(FormatError(f"{path}: annotations[{row}].bbox: expected four numbers, got none"))
        return data._replace(truth=data.truth.rows(~missing)) if missing.any() else data
    own = Faults(skip=faults.skip)
    read = coco.read_coco(path, own, iou_type=shape)
    faults.texts += [text for text in own.texts if text not in set(faults.texts)]
    return data._replace(truth=read.truth)


_MAX_MASKS = 10_000  # of a file that are compared with their boxes


def notes_on_shapes(path: Path, columns: Columns, *, is_truth: bool) -> list[str]:
    """Notes where most masks do not lie in their boxes, and where the areas of true keypoints are those of boxes."""
    notes = []
    if columns.masks is not None and len(columns.image):
        count = min(len(columns.image), _MAX_MASKS)
        ends = masks.to_boxes(columns.masks[:count])
        stated = columns.boxes[:count].clip(-1e100, 1e100)
        stated = np.concatenate([stated[:, :2], stated[:, :2] + stated[:, 2:]], axis=1)
        sides = (np.minimum(ends, stated)[:, 2:] - np.maximum(ends, stated)[:, :2]).clip(0)
        shared, own, other = (x.prod(axis=1) for x in (sides, ends[:, 2:] - ends[:, :2], stated[:, 2:] - stated[:, :2]))
        wrong = int((2 * shared < own + other - shared).sum())  # an IoU below a half
        if 2 * wrong > count:
            hint = "are rows and columns swapped, or polygons in other units?"
            notes.append(f"{path}: {wrong:,} of {count:,} masks do not lie in the bbox of their record: {hint}")
    if columns.keypoints is not None and is_truth and len(columns.image):
        sides = columns.boxes[:, 2:]
        if (columns.areas == sides[:, 0] * sides[:, 1]).all() and (columns.areas > 0).any():
            hint = "COCO's areas are those of masks, which are smaller and give lower scores"
            notes.append(f"{path}: the area of every object is the width * height of its bbox: {hint}")
    return notes


def check_keypoints(path: Path, truth: Path, columns: Columns, true: Columns | None) -> None:
    """FormatError where detections have another number of keypoints than true objects."""
    if (
        true is None
        or true.keypoints is None
        or columns.keypoints is None
        or not (len(true.ids) and len(columns.image))
    ):
        return
    want, got = true.keypoints.shape[1], columns.keypoints.shape[1]
    if got != want:
        raise FormatError(f"{path}: expected {want} keypoints each, as {truth} has, got {got}")


def of_right_size(path: Path, section: str, columns: Columns, data: DataSet, faults: Faults) -> Columns:
    """The masks that have their image's size. Others are faults; if those stop the reading, row i is record i."""
    if columns.masks is None or not len(columns.image):
        return columns
    order = np.argsort(data.images, kind="stable")
    at = positions(data.images[order], columns.image)
    sizes = np.zeros((len(at), 2), np.int64)
    sizes[at >= 0] = data.sizes[order][at[at >= 0]]
    wrong = (sizes > 0).all(axis=1) & (columns.masks.sizes[:, ::-1] != sizes).any(axis=1)
    for i in np.flatnonzero(wrong).tolist():
        (width, height), (h, w) = sizes[i].tolist(), columns.masks.sizes[i].tolist()
        text = f"expected the image's height and width, {height} x {width}, got {h} x {w}"
        record = f"a mask of image {columns.image[i]}" if faults.skip else f"{section}[{i}].segmentation.size"
        faults.add(FormatError(f"{path}: {record}: {text}"))
    return columns.rows(~wrong) if wrong.any() else columns
