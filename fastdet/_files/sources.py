"""What ``fastdet evaluate`` reads: data sets and detections in any of the forms, told from what the files hold.

NPZ, arrays by name, in the layouts that ``fastdet nms`` takes and writes (see `_formats`). Of a data set also
    difficult, iscrowd   (N,) 0/1, optional
    area [area, areas]   (N,) square pixels, optional
    image_names          (I,) strings, optional: of images 0, 1, ..., all of which are scored
    classes [classes, names, class_names]  (K,) strings, optional: of labels 0, 1, ...
"""

from __future__ import annotations

import itertools
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastdet._core.check import Array
from fastdet._files import coco, records
from fastdet._files import folders as files
from fastdet._files.coco import DataSet, FormatError, opened, positions
from fastdet.cli.terminal import Failure
from fastdet.detection.records import CROWD, IGNORE, Columns, Ints

FORMATS = ("auto", "coco", "voc", "yolo", "txt", "npz")
_FOLDERS = ("voc", "yolo", "txt")
_MOST_NOTES = 10


@dataclass(frozen=True)
class Reading:
    """What the options say of the files; None: what the files' form says."""

    format: str = "auto"
    classes: list[str] | None = None  # names, in order
    images: Path | None = None  # the folder of the images themselves, whose sizes YOLO's labels need
    image_size: tuple[int, int] | None = None  # width and height of every image
    image_set: Path | None = None  # names of the images that are scored
    boxes: str | None = None  # "xyxy" or "xywh" of txt
    inclusive: bool | None = None
    labels: str | None = None  # "id" or "position": what the labels of detections are

    @property
    def offset(self) -> float | None:
        return None if self.inclusive is None else float(self.inclusive)


@dataclass(frozen=True)
class Given:
    """A data set and its detections."""

    data: DataSet
    detections: Columns
    formats: tuple[str, str]
    notes: list[str]


def read(truth: Path, detections: Path, options: Reading) -> Given:
    """Both, checked against each other. FormatError, OSError, Failure."""
    format = _told(truth, options.format, scored=False)
    if options.format not in ("auto", format):
        what = f"a folder of {format}" if format in _FOLDERS else format
        raise FormatError(f"{truth}: expected {options.format}, as --format says, got {what}")
    _suitable(format, options)
    data = _truth(truth, format, options)
    if options.offset is not None:
        data = data._replace(offset=options.offset)
    notes = list(data.notes) or _without_area(truth, data)
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"{truth}: {len(notes) - _MOST_NOTES:,} more boxes without area"]
    form = _told(detections, options.format, scored=True, otherwise=format)
    if options.labels is not None and form not in ("coco", "npz"):
        raise Failure(f"evaluate: --labels does not go with detections that are {form}")
    found, own = _detections(detections, form, data, options)
    if data.offset:
        found = found._replace(areas=files.area(found.boxes, data.offset))
    if options.image_set is not None:
        data, found = _subset(data, found, options.image_set)
    strange = positions(np.sort(data.categories), found.label) < 0
    if strange.any():
        kinds = np.unique(found.label[strange])
        labels = sorted(own.get(k, k) for k in kinds.tolist())  # what the file itself says
        some = ", ".join(map(str, labels[:5])) + (", ..." if len(labels) > 5 else "")
        which = f": {some}" if form in ("coco", "npz") else ""
        notes.append(f"{detections}: {int(strange.sum()):,} detections of no class of {truth} are not scored{which}")
        if options.labels is None and form in ("coco", "npz") and _counted_from_0(found.label, data.categories):
            notes.append("if labels count the classes from 0: --labels position")
    return Given(data, found, (format, form), notes)


# -------------------------------------------------------------------------------------------- which form
def _told(path: Path, wanted: str, *, scored: bool, otherwise: str | None = None) -> str:
    """The form of a file or folder: the one that is wanted where it can be, else by what it holds."""
    if path.is_dir():
        if wanted in _FOLDERS and not (scored and wanted == "voc" and not _by_class(path)):
            return wanted
        return _folder_form(path, scored, otherwise)
    if not path.exists():
        raise FormatError(f"{path}: expected a file or a folder, got nothing")
    with path.open("rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:2] == b"PK":
        return "npz"
    if start[:1] in (b"{", b"[") or start[:2] == b"\x1f\x8b" or path.suffix.lower() == ".json":
        return "coco"
    raise FormatError(f"{path}: expected COCO JSON, NPZ or a folder, got other data")


def _folder_form(path: Path, scored: bool, otherwise: str | None) -> str:
    suffixes = {child.suffix.lower() for child in path.iterdir()}
    if ".xml" in suffixes and not scored:
        return "voc"
    if ".txt" not in suffixes:
        expected = ".txt files" if scored else ".xml or .txt files"
        raise FormatError(f"{path}: expected a folder of {expected}, got none")
    if scored and _by_class(path):
        return "voc"
    parts = _parts_of_images(path)
    if parts is None and (path / "classes.txt").is_file():
        return "yolo"
    if parts is None:  # no line that tells
        if otherwise in ("yolo", "txt") or scored:
            return "yolo" if otherwise == "yolo" else "txt"
        raise FormatError(f"{path}: expected lines that tell YOLO from plain txt, got none; say --format yolo or txt")
    return "yolo" if parts else "txt"


def _lines(path: Path) -> Iterator[list[str]]:
    for child in sorted(path.iterdir()):
        if child.suffix.lower() == ".txt" and child.stem != "classes":
            with child.open(encoding="utf-8-sig", errors="replace") as file:
                yield from (words for line in file if (words := line.split()))


def _by_class(path: Path) -> bool:
    """Whether results are a file for each class (lines start with an image's name, then a score) as VOC has them."""
    names = [child.stem for child in path.iterdir() if child.suffix.lower() == ".txt"]
    return any("_det_" in name for name in names)


def _parts_of_images(path: Path) -> bool | None:
    """Whether the first lines are numbers within [0, 1] after a class that is a number, as YOLO's are."""
    found = None
    for words in itertools.islice(_lines(path), 200):
        try:
            values = [float(word) for word in words[1:]]
        except ValueError:
            return False
        if len(words) not in (5, 6) or not words[0].isdigit() or not all(0 <= x <= 1 for x in values):
            return False
        found = True
    return found


def _suitable(format: str, o: Reading) -> None:
    given = {"--classes": o.classes, "--boxes": o.boxes}
    takes = {"--classes": ("voc", "yolo"), "--boxes": ("txt",)}
    for option, value in given.items():
        if value is not None and format not in takes[option]:
            raise Failure(f"evaluate: {option} does not go with a data set that is {format}")


# ---------------------------------------------------------------------------------------------- data sets
def _truth(path: Path, format: str, o: Reading) -> DataSet:
    if format == "coco":
        data = coco.read_coco(path)
    elif format == "voc":
        data = files.read_voc(path, o.classes, offset=1.0 if o.offset is None else o.offset)
    elif format == "txt":
        data = files.read_txt(path, form=o.boxes or "xyxy", offset=o.offset or 0.0)
    elif format == "yolo":
        return files.read_yolo(path, _sizes(path, o), o.classes)
    else:
        data = _npz_truth(path, o.offset or 0.0)
    if o.images is not None or o.image_size is not None:
        sizes = _sizes(path, o)
        known = [sizes.get(files.stem(name), (0, 0)) for name in data.image_names]
        data = data._replace(sizes=np.array(known, np.int64).reshape(-1, 2))
    return data


def _sizes(labels: Path, o: Reading) -> dict[str, tuple[int, int]]:
    """Width and height of each image by name, from ``--image-size`` or the images' headers."""
    if o.image_size is not None:
        return {child.stem: o.image_size for child in labels.iterdir() if child.suffix.lower() in (".txt", ".xml")}
    folder = o.images or _beside(labels)
    if folder is None:
        raise Failure(
            f"evaluate: {labels}: YOLO's boxes are parts of their image: give --images DIR or --image-size WIDTHxHEIGHT"
        )
    if not folder.is_dir():
        raise Failure(f"evaluate: --images must be a folder, got {folder}")
    found: dict[str, tuple[int, int]] = {}
    for child in sorted(folder.iterdir()):
        if child.suffix.lower() in files.IMAGES:
            if child.stem in found:
                raise FormatError(f"{child}: expected one image of that name, got another suffix as well")
            found[child.stem] = _picture_size(child)
    return found


def _beside(labels: Path) -> Path | None:
    """The images of YOLO's usual layout: ``images`` in the place of ``labels``."""
    parts = list(labels.absolute().parts)
    for at in range(len(parts) - 1, 0, -1):
        if parts[at] == "labels":
            folder = Path(*parts[:at], "images", *parts[at + 1 :])
            return folder if folder.is_dir() else None
    return None


def _picture_size(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by a quarter, when it is shown
            width, height = picture.size
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: expected an image, got {' '.join(str(error).split())}") from None
    return (height, width) if turned else (width, height)


def _npz_truth(path: Path, offset: float) -> DataSet:
    table = records.read_npz(path, scored=False)
    count = len(table.boxes)
    rows = table.rows if table.rows is not None else np.arange(count)
    extra = _npz_extra(path, table.ignored, count)
    flags = np.zeros(count, np.uint8)
    for name, flag in (("difficult", IGNORE), ("iscrowd", CROWD)):
        if name in extra:
            if not np.isin(extra[name], (0, 1)).all():
                raise FormatError(f"{path}: {name}: expected 0 or 1, got other values")
            flags |= extra[name].astype(np.uint8) * np.uint8(flag)
    boxes = table.corners(np.arange(count)).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    areas = _first(extra, ("area", "areas"), files.area(boxes, offset)).astype(np.float64)
    if not (areas >= 0).all():
        row = int(np.argmin(areas >= 0))
        raise FormatError(f"{path}: row {row}, area: expected a number >= 0, got {areas[row]:g}")
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
    return DataSet(ids, names, sizes, kinds, words, truth, offset)


_OF_BOXES, _OF_NAMES = ("difficult", "iscrowd", "area", "areas"), ("image_names", "classes", "names", "class_names")


def _npz_extra(path: Path, names: Sequence[str], count: int) -> dict[str, Array]:
    """Those of the arrays that a data set may have besides its boxes."""
    extra = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in (name for name in names if name in (*_OF_BOXES, *_OF_NAMES)):
            try:
                extra[name] = archive[name]
            except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
                raise FormatError(
                    f"{path}: {name}: expected a plain array, got {' '.join(str(error).split())}"
                ) from None
            if name in _OF_BOXES:
                records.expect(path, name, extra[name], "biuf", "numbers", (count,), f"({count},), one per box")
            else:
                shape = (extra[name].size,)
                records.expect(path, name, extra[name], "U", "strings", shape, "(K,), one per image or class")
    return extra


def _first(extra: dict[str, Array], names: Sequence[str], default: Any) -> Any:
    return next((extra[name] for name in names if name in extra), default)


def _npz_image_ids(path: Path, images: Sequence[int | str], called: Array | None) -> tuple[Ints, list[str], Ints]:
    """Ids and names of all images, and the id of each of the table's."""
    strings = bool(len(images)) and isinstance(images[0], str)
    if called is None:
        ids = np.arange(len(images)) if strings else np.array(images, np.int64)
        return ids, [str(i) for i in images] if strings else [""] * len(ids), ids
    names = [str(name) for name in called.tolist()]
    of = {name: i for i, name in enumerate(names)} if strings else {i: i for i in range(len(names))}
    for i in images:
        if i not in of:
            expected = "one of image_names" if strings else f"a position from 0 to {len(names) - 1} in image_names"
            raise FormatError(f"{path}: images: expected {expected}, got {i!r}")
    return np.arange(len(names)), names, np.array([of[i] for i in images], np.int64)  # type: ignore[index]


def _without_area(path: Path, data: DataSet) -> list[str]:
    """A note of each true box of a file whose reader makes none."""
    sides = data.truth.boxes[:, 2:]
    rows = np.flatnonzero((sides == 0).any(axis=1)).tolist()
    ids = data.truth.ids.tolist()
    return [f"{path}: annotation {ids[i]}: a box without area, {sides[i, 0]:g} x {sides[i, 1]:g}" for i in rows]


# --------------------------------------------------------------------------------------------- detections
def _detections(path: Path, format: str, data: DataSet, o: Reading) -> tuple[Columns, dict[int, int]]:
    """Detections of the data set's ids, and the file's own labels by the ids that stand for others."""
    if format == "yolo":
        return files.read_yolo_results(path, data), {}
    if format == "voc":
        return files.read_voc_results(path, data), {}
    if format == "txt":
        return files.read_txt_results(path, data, form=o.boxes or "xyxy"), {}
    by_position = o.labels == "position"
    found, own = _coco_results(path, data, by_position) if format == "coco" else (_npz_results(path, data), {})
    if by_position:
        to, new = dict(enumerate(data.categories.tolist())), files.new_ids(data)
        own = {next(new): k for k in np.unique(found.label).tolist() if k not in to}
        to |= {k: i for i, k in own.items()}
        found = found._replace(label=_renumbered(path, "category_id", found.label, to, "a position"))
    return found, own


class _Named(msgspec.Struct):
    id: int
    file_name: Any = ""
    name: Any = ""


class _Own(msgspec.Struct):
    images: list[_Named] = []
    categories: list[_Named] = []


def _coco_results(path: Path, data: DataSet, by_position: bool) -> tuple[Columns, dict[int, int]]:
    """COCO results; an object that lists its own images and categories is matched with the data set by their names."""
    ours: dict[int, int] = {}
    with opened(path) as (file, _):
        if file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
            return coco.read_coco_results(path, data), ours
        file.seek(0)
        content = file.read()
    found = coco.read_coco_results(path)
    try:
        own = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=_Own)
    except msgspec.MsgspecError:  # ids that are no integers, for example
        own = _Own()
    except RecursionError:
        raise FormatError(f"{path}: expected images and categories, got what is nested too deeply") from None
    if _named(image.file_name for image in own.images) and all(data.image_names):
        names = files.ImageNames(data)
        there = {image.id: names.find(f"{path}: images", image.file_name) for image in own.images}
        found = found._replace(image=_renumbered(path, "image_id", found.image, there, "an image of the data set"))
    else:
        found = coco.read_coco_results(path, data)
    if not by_position and _named(c.name for c in own.categories) and all(data.category_names):
        known, new = files.by_name(path, data.categories.tolist(), data.category_names), files.new_ids(data)
        listed = files.by_name(path, [c.id for c in own.categories], [c.name for c in own.categories])
        kinds = {i: known[name] if name in known else next(new) for name, i in listed.items()}
        label = _renumbered(path, "category_id", found.label, kinds, "one of the file's categories")
        found, ours = found._replace(label=label), {new: i for i, new in kinds.items()}
    return found, ours


def _named(names: Iterable[Any]) -> bool:
    """Whether there are names, and all are such."""
    found = list(names)
    return bool(found) and all(isinstance(name, str) and name for name in found)


def _renumbered(path: Path, field: str, ids: Ints, to: Mapping[int, int | None], expected: str) -> Ints:
    kinds, inverse = np.unique(ids, return_inverse=True)
    new = [to.get(i) for i in kinds.tolist()]
    for i, value in zip(kinds.tolist(), new, strict=True):
        if value is None:
            row = int(np.argmax(ids == i))
            raise FormatError(f"{path}: annotations[{row}].{field}: expected {expected}, got {i}")
    return np.array(new, np.int64)[inverse.reshape(-1)] if len(ids) else ids


def _npz_results(path: Path, data: DataSet) -> Columns:
    table = records.read_npz(path)
    count = len(table.boxes)
    rows = table.rows if table.rows is not None else np.arange(count)
    names, known = files.ImageNames(data), set(data.images.tolist())
    ids = []
    for i in table.images:
        found = names.find(f"{path}: images", i) if isinstance(i, str) else i if i in known else None
        if found is None:
            raise FormatError(f"{path}: images: expected images of the data set, got {i!r}")
        ids.append(found)
    image = np.empty(count, np.int64)
    image[rows] = np.repeat(np.array(ids, np.int64), np.diff(table.offsets))
    boxes = table.corners(np.arange(count)).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    label = table.labels.astype(np.int64) if table.labels is not None else np.zeros(count, np.int64)
    scores, none = table.scores.astype(np.float64), np.zeros(0, np.int64)
    return Columns(image, label, boxes, files.area(boxes, 0), scores, np.zeros(0, np.uint8), none)


def _counted_from_0(labels: Ints, categories: Ints) -> bool:
    return bool(labels.min() >= 0 and labels.max() < len(categories))


def _subset(data: DataSet, found: Columns, path: Path) -> tuple[DataSet, Columns]:
    """The images that a file names, one a line, as VOC's ImageSets do; what else is on the line is passed over."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise FormatError(f"{path}: expected a name of an image on each line, got other data") from None
    names = files.ImageNames(data)
    wanted = []
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        image = names.find(where, line)
        if image is None:
            image = names.find(where, line.split()[0])
        if image is None:
            raise FormatError(f"{where}: expected the name of an image, got {line!r}")
        wanted.append(image)
    if not wanted:
        raise FormatError(f"{path}: expected a name of an image on each line, got none")
    keep = np.isin(data.images, wanted)
    truth, found = (
        Columns._make(x[inside] if len(x) else x for x in c)
        for c in (data.truth, found)
        for inside in (np.isin(c.image, wanted),)
    )
    left = [name for name, kept in zip(data.image_names, keep.tolist(), strict=True) if kept]
    return data._replace(images=data.images[keep], image_names=left, sizes=data.sizes[keep], truth=truth), found
