"""Read the inputs of ``fastdet evaluate``: a data set and detections. The format is detected from the content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastdet._files import coco, dota, npz_data, text, txt, voc, yolo
from fastdet._files.data_set import DataSet, ImageNames, area, positions, stem
from fastdet._files.errors import ChoiceError, Faults, FormatError, plain
from fastdet._files.formats import form_of_detections, form_of_truth, unread
from fastdet._files.kinds import check_alike, check_keypoints, iou_type_of, kinds_of, notes_on_shapes, of_kind
from fastdet._files.readings import BOXES, note_on_boxes, note_on_classes, note_on_keypoints, overlaps
from fastdet._files.results import Options, Results, read_results
from fastdet._files.sizes import sizes_of
from fastdet.detection.records import Columns

_MAX_NOTES = 10
_FORMS = {"coco": 1, "voc": 0, "txt": 0, "npz": 0, "yolo": 2}  # place in `BOXES` of a format's form of boxes
_FEW = 0.75  # share of the images with true boxes: with fewer that have detections, a note says so


@dataclass(frozen=True)
class Reading:
    """The options about the files. None: the default of the files' format."""

    format: str = "auto"
    classes: list[str] | None = None  # names, in order
    images: Path | None = None  # the folder of the image files: YOLO labels need their sizes
    image_size: tuple[int, int] | None = None  # width and height of every image
    image_set: Path | None = None  # a file with the names of the images that are scored
    boxes: str | None = None  # "xyxy" or "xywh": the boxes of txt files
    inclusive: bool | None = None
    labels: str | None = None  # "id", "position" or "position-from-1": what the labels of detections are
    image_ids: str | None = None  # "id" or "name": what numbers as image ids are
    score: str | None = None  # "first" or "last": the place of the score in lines
    points: str | None = None  # "polygon" or "keypoints": what long lines of YOLO are
    skip_invalid: bool = False  # leave out invalid records, and list them
    kind: str | None = None  # one of `KINDS`; None: by what the detections hold

    @property
    def offset(self) -> float | None:
        return None if self.inclusive is None else float(self.inclusive)


@dataclass(frozen=True)
class Inputs:
    """A data set and its detections."""

    data: DataSet  # with the truth of the first kind
    detections: Columns
    formats: tuple[str, str]
    notes: list[str]
    skipped: list[str]  # the errors of the records that were left out
    truths: dict[str, Columns]  # of each kind that is scored


def read(truth: Path, detections: Path, options: Reading) -> Inputs:
    """Read the data set and the detections, and check them against each other. FormatError, ChoiceError, OSError."""
    format, faults = form_of_truth(truth, options.format), Faults(skip=options.skip_invalid)
    if options.classes is not None and format == "npz":
        raise ChoiceError("classes", "does not go with a data set that is npz: its array classes names them")
    data = _truth(truth, format, options, faults)
    if options.offset is not None:
        data = data._replace(offset=options.offset)
    notes = _limited([*data.notes, *_without_area(truth, data, format)], f"{truth}: {{}} more notes of this kind")
    form = form_of_detections(detections, options.format, format, data)
    notes += [*unread(truth), *unread(detections)]
    _suitable(format, form, options)
    skip = options.skip_invalid
    kinds, left = kinds_of(truth, detections, (format, form), data, options.kind, skip=skip)
    if options.inclusive is not None and kinds[0] == "rotated":
        raise ChoiceError("inclusive", "goes with upright boxes, got rotated ones")
    if options.offset and kinds[0] != "boxes":
        raise ChoiceError("inclusive", f"goes with boxes, got {kinds[0]}")
    every = {kind: of_kind(truth, data, kind, faults) for kind in kinds}
    data = every[kinds[0]]
    iou_type = iou_type_of(kinds, detections, skip=skip) if form == "coco" else "bbox"
    result_options = Options(
        options.classes, options.boxes, options.labels, options.image_ids, options.score, options.points, faults,
        iou_type,
    )  # fmt: skip
    results = read_results(detections, form, data, result_options)
    if form == "coco" and options.kind is None:
        check_alike(detections, results.held, results.read)
    notes += [*left, *results.notes]
    columns = results.columns
    if data.offset:
        columns = columns._replace(areas=area(columns.boxes, data.offset))
    truths = {kind: _of_finite_area(truth, "true box", of.truth, faults) for kind, of in every.items()}
    columns = _of_finite_area(detections, "detection", columns, faults)
    if options.image_set is not None:
        data, columns, wanted = _subset(data, columns, options.image_set)
        truths = {kind: rows.rows(np.isin(rows.image, wanted)) for kind, rows in truths.items()}
    data = data._replace(truth=truths[kinds[0]])
    check_keypoints(detections, truth, columns, truths.get("keypoints"))
    for of in truths.values():
        notes += notes_on_shapes(truth, of, is_truth=not len(data.crowding))  # CrowdPose does not use areas
    notes += notes_on_shapes(detections, columns, is_truth=False)
    notes += _unscored(truth, detections, data, columns, results)
    notes += _coverage(detections, form, data, columns)
    pairs = overlaps(data, columns)
    doubts = []
    if form != "dota":  # four corners can be read in one way only
        boxes = tuple(BOXES[1 if options.boxes == "xywh" and of == "txt" else _FORMS[of]] for of in (format, form))
        doubts = note_on_boxes(data, columns, pairs, str(detections), (boxes[0], boxes[1]))
    if options.score is None and form in ("yolo", "txt") and (doubts or not len(pairs)):
        _check_score(detections, form, data, len(pairs), result_options)
    if "keypoints" in truths:
        notes += note_on_keypoints(data._replace(truth=truths["keypoints"]), columns, str(detections))
    notes += doubts or note_on_classes(data, columns, pairs, str(detections))
    return Inputs(data, columns, (format, form), notes, faults.texts, truths)


def _suitable(format: str, form: str, o: Reading) -> None:
    """Raise ChoiceError for an option that neither file has a use for."""
    if o.boxes is not None and "txt" not in (format, form):
        raise ChoiceError("boxes", f"does not go with a data set that is {format} and detections that are {form}")
    for option, value, takes in (
        ("labels", o.labels, ("coco", "npz", "yolo", "txt")),
        ("image-ids", o.image_ids, ("coco", "npz")),
        ("score", o.score, ("txt", "yolo")),
    ):
        if value is not None and form not in takes:
            raise ChoiceError(option, f"does not go with detections that are {form}")
    if o.points is not None and "yolo" not in (format, form):
        raise ChoiceError("points", f"does not go with a data set that is {format} and detections that are {form}")
    if o.classes is not None and format == "coco" and form == "voc":
        raise ChoiceError("classes", f"does not go with detections that are {form}, which name their classes")


# ---------------------------------------------------------------------------------------------- data sets
def _truth(path: Path, format: str, o: Reading, faults: Faults) -> DataSet:
    if format == "coco":
        data = coco.read_coco(path, faults, iou_type="any")
    elif format == "voc":
        data = voc.read_voc(path, o.classes, offset=1.0 if o.offset is None else o.offset, faults=faults)
    elif format == "dota":
        data = dota.read_dota(path, o.classes, faults=faults)
    elif format == "txt":
        data = txt.read_txt(path, o.classes, form=o.boxes or "xyxy", offset=o.offset or 0.0, faults=faults)
    elif format == "yolo":
        sizes = sizes_of(path, o.images, o.image_size)
        return yolo.read_yolo(path, sizes, o.classes, points=o.points, faults=faults)
    else:
        data = npz_data.read_npz(path, o.offset or 0.0, faults)
    if o.image_size is not None:
        data = data._replace(sizes=np.tile(np.array(o.image_size, np.int64), (len(data.images), 1)))
    elif o.images is not None:
        sizes = sizes_of(path, o.images, None)
        known = [sizes.get(stem(name), (0, 0)) for name in data.image_names]
        data = data._replace(sizes=np.array(known, np.int64).reshape(-1, 2))
    return data


def _without_area(path: Path, data: DataSet, format: str) -> list[str]:
    """A note for each true box without area, for files whose reader makes none."""
    if format in ("voc", "yolo", "txt", "dota"):
        return []
    sides = data.truth.boxes[:, 2:]
    rows = np.flatnonzero((sides == 0).any(axis=1)).tolist()
    ids = data.truth.ids.tolist()
    return [f"{path}: annotation {ids[i]}: a box without area, {sides[i, 0]:g} x {sides[i, 1]:g}" for i in rows]


def _of_finite_area(path: Path, what: str, columns: Columns, faults: Faults) -> Columns:
    """The boxes whose area does not overflow. Others are faults."""
    finite = np.isfinite(columns.areas)
    for row in np.flatnonzero(~finite).tolist():
        w, h = columns.boxes[row, 2:].tolist()
        faults.add(FormatError(f"{path}: {what} {row}: expected a box with a finite area, got {plain(w)} x {plain(h)}"))
    return columns if finite.all() else columns.rows(finite)


# -------------------------------------------------------------------------------------------------- notes
def _limited(notes: Sequence[str], more: str) -> list[str]:
    """The first notes, and how many more there are."""
    rest = len(notes) - _MAX_NOTES
    return [*notes[:_MAX_NOTES], *([more.format(f"{rest:,}")] if rest > 0 else [])]


def _unscored(truth: Path, path: Path, data: DataSet, columns: Columns, results: Results) -> list[str]:
    """A note about detections of classes that the data set lacks. FormatError if all are."""
    unknown = positions(np.sort(data.categories), columns.label) < 0
    if not unknown.any():
        return []
    kinds = [results.others.get(k, str(k)) for k in np.unique(columns.label[unknown]).tolist()]
    kinds.sort(key=lambda word: (0, int(word), "") if word.lstrip("-").isdecimal() else (1, 0, word))
    some = ", ".join(kinds[:5]) + (", ..." if len(kinds) > 5 else "")
    if unknown.all() and len(data.truth.image):
        known = ", ".join(data.category_names[:5]) + (", ..." if len(data.category_names) > 5 else "")
        raise FormatError(f"{path}: expected detections of the classes of {truth} ({known}), got only others ({some})")
    return [f"{path}: not scored: {int(unknown.sum()):,} detections of classes that {truth} lacks: {some}"]


def _check_score(path: Path, form: str, data: DataSet, before: int, o: Options) -> None:
    """ChoiceError if the boxes overlap more than ``before`` true ones where the score is at the lines' other end."""
    place = "first" if form == "yolo" else "last"
    try:
        other = read_results(path, form, data, replace(o, score=place, faults=Faults(skip=True))).columns
    except (ChoiceError, FormatError):
        return
    after = len(overlaps(data, other))
    if after > before:
        reason = f"first or last must be named: detections in {path} overlap {before:,} true boxes"
        raise ChoiceError("score", f"{reason}, and {after:,} if the score is {place} in the lines")


def _coverage(path: Path, form: str, data: DataSet, columns: Columns) -> list[str]:
    """Notes about a data set without boxes, and about images without detections."""
    if not len(data.truth.image):
        return ["the data set has no true box: every score is -1"]
    if data.truth.flags.all():
        return ["all true boxes are difficult, crowds or ignored: every score is -1"]
    if not len(columns.image):
        return [f"{path}: no detection: every true box is missed"]
    with_boxes, seen = np.unique(data.truth.image), np.unique(columns.image)
    if form in ("txt", "yolo"):  # a file without lines says that its image was looked at
        names = ImageNames(data)
        files = [names.find(str(child), child.stem) for child in path.iterdir() if child.suffix.lower() == ".txt"]
        seen = np.union1d(seen, np.array([i for i in files if i is not None], np.int64))
    count = int(np.isin(with_boxes, seen).sum())
    if count >= _FEW * len(with_boxes):
        return []
    return [
        f"{path}: only {count:,} of {len(with_boxes):,} images with true boxes have detections, and the boxes of the "
        "others count as missed: to score some images only, name them with --image-set"
    ]


def _subset(data: DataSet, detections: Columns, path: Path) -> tuple[DataSet, Columns, list[int]]:
    """Keep the images that a file names, one a line, as VOC's ImageSets do. Text after the name is skipped."""
    lines = text.lines_of(text.read_text(path, "lines", "one image name a line"))
    names = ImageNames(data)
    wanted = []
    for number, whole in enumerate(lines, 1):
        line, where = whole.strip(" \t"), f"{path}: line {number}"
        if not line:
            continue
        image = names.find(where, line)
        if image is None:
            image = names.find(where, text.words_of(line)[0])
        if image is None:
            raise names.unknown(where, line)
        wanted.append(image)
    if not wanted:
        raise FormatError(f"{path}: expected one image name a line, got none")
    keep = np.isin(data.images, wanted)
    left = [name for name, kept in zip(data.image_names, keep.tolist(), strict=True) if kept]
    crowding = data.crowding[keep] if len(data.crowding) else data.crowding
    data = data._replace(images=data.images[keep], image_names=left, sizes=data.sizes[keep], crowding=crowding)
    return data, detections.rows(np.isin(detections.image, wanted)), wanted
