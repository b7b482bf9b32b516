"""Read the inputs of ``fastdet evaluate``: a data set and detections. The format is detected from the content."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastdet._files import coco, npz_data, txt, voc, yolo
from fastdet._files.coco_objects import Content
from fastdet._files.data_set import IMAGES, DataSet, ImageNames, area, by_name, check_known, new_ids, positions, stem
from fastdet._files.detections import form as form_of_file
from fastdet._files.errors import ChoiceError, FormatError, one_line
from fastdet.detection.records import Columns, Ints

FORMATS = ("auto", "coco", "voc", "yolo", "txt", "npz")
_FOLDERS = ("voc", "yolo", "txt")
_MAX_NOTES = 10


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
    labels: str | None = None  # "id" or "position": what the labels of detections are

    @property
    def offset(self) -> float | None:
        return None if self.inclusive is None else float(self.inclusive)


@dataclass(frozen=True)
class Inputs:
    """A data set and its detections."""

    data: DataSet
    detections: Columns
    formats: tuple[str, str]
    notes: list[str]


def read(truth: Path, detections: Path, options: Reading) -> Inputs:
    """Read the data set and the detections, and check them against each other. FormatError, ChoiceError, OSError."""
    format = _form(truth, options.format, scored=False)
    if options.format not in ("auto", format):
        what = f"a folder of {format}" if format in _FOLDERS else format
        raise FormatError(f"{truth}: expected {options.format}, as --format says, got {what}")
    _suitable(format, options)
    data = _truth(truth, format, options)
    if options.offset is not None:
        data = data._replace(offset=options.offset)
    notes = list(data.notes) or _without_area(truth, data)
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES:] = [f"{truth}: {len(notes) - _MAX_NOTES:,} more boxes without area"]
    form = _form(detections, options.format, scored=True, otherwise=format)
    if options.labels is not None and form not in ("coco", "npz"):
        raise ChoiceError("labels", f"does not go with detections that are {form}")
    columns, own = _detections(detections, form, data, options)
    if data.offset:
        columns = columns._replace(areas=area(columns.boxes, data.offset))
    if options.image_set is not None:
        data, columns = _subset(data, columns, options.image_set)
    unknown = positions(np.sort(data.categories), columns.label) < 0
    if unknown.any():
        unknown_labels = np.unique(columns.label[unknown])
        labels = sorted(own.get(k, k) for k in unknown_labels.tolist())  # as the file has them
        some = ", ".join(map(str, labels[:5])) + (", ..." if len(labels) > 5 else "")
        which = f": {some}" if form in ("coco", "npz") else ""
        count = int(unknown.sum())
        notes.append(f"{detections}: not scored: {count:,} detections of classes that {truth} lacks{which}")
        if options.labels is None and form in ("coco", "npz") and _counted_from_0(columns.label, data.categories):
            notes.append("if the labels count the classes from 0, use --labels position")
    return Inputs(data, columns, (format, form), notes)


# ------------------------------------------------------------------------------------------ which format
def _form(path: Path, wanted: str, *, scored: bool, otherwise: str | None = None) -> str:
    """The format of a file or folder: ``wanted`` where that is possible, else by the content."""
    if path.is_dir():
        if wanted in _FOLDERS and not (scored and wanted == "voc" and not _by_class(path)):
            return wanted
        return _folder_form(path, scored, otherwise)
    return form_of_file(path)


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
    if parts is None:  # no line shows the format
        if otherwise in ("yolo", "txt") or scored:
            return "yolo" if otherwise == "yolo" else "txt"
        raise FormatError(f"{path}: cannot tell YOLO from plain txt without a line: use --format yolo or --format txt")
    return "yolo" if parts else "txt"


def _lines(path: Path) -> Iterator[list[str]]:
    for child in sorted(path.iterdir()):
        if child.suffix.lower() == ".txt" and child.stem != "classes":
            with child.open(encoding="utf-8-sig", errors="replace") as file:
                yield from (words for line in file if (words := line.split()))


def _by_class(path: Path) -> bool:
    """Whether results are in VOC's layout: one file a class, named ``..._det_..._<class>.txt``."""
    names = [child.stem for child in path.iterdir() if child.suffix.lower() == ".txt"]
    return any("_det_" in name for name in names)


def _parts_of_images(path: Path) -> bool | None:
    """Whether the first lines look like YOLO: a class number, then numbers in [0, 1]. None without lines."""
    all_parts = None
    for words in itertools.islice(_lines(path), 200):
        try:
            values = [float(word) for word in words[1:]]
        except ValueError:
            return False
        if len(words) not in (5, 6) or not words[0].isdigit() or not all(0 <= x <= 1 for x in values):
            return False
        all_parts = True
    return all_parts


def _suitable(format: str, o: Reading) -> None:
    """Raise ChoiceError for an option that the format does not have."""
    options = {"classes": o.classes, "boxes": o.boxes}
    takes = {"classes": ("voc", "yolo"), "boxes": ("txt",)}
    for option, value in options.items():
        if value is not None and format not in takes[option]:
            raise ChoiceError(option, f"does not go with a data set that is {format}")


# ---------------------------------------------------------------------------------------------- data sets
def _truth(path: Path, format: str, o: Reading) -> DataSet:
    if format == "coco":
        data = coco.read_coco(path)
    elif format == "voc":
        data = voc.read_voc(path, o.classes, offset=1.0 if o.offset is None else o.offset)
    elif format == "txt":
        data = txt.read_txt(path, form=o.boxes or "xyxy", offset=o.offset or 0.0)
    elif format == "yolo":
        return yolo.read_yolo(path, _sizes(path, o), o.classes)
    else:
        data = npz_data.read_npz(path, o.offset or 0.0)
    if o.images is not None or o.image_size is not None:
        sizes = _sizes(path, o)
        known = [sizes.get(stem(name), (0, 0)) for name in data.image_names]
        data = data._replace(sizes=np.array(known, np.int64).reshape(-1, 2))
    return data


def _sizes(labels: Path, o: Reading) -> dict[str, tuple[int, int]]:
    """Width and height of each image by name, from ``--image-size`` or the images' headers."""
    if o.image_size is not None:
        return {child.stem: o.image_size for child in labels.iterdir() if child.suffix.lower() in (".txt", ".xml")}
    folder = o.images or _beside(labels)
    if folder is None:
        hint = "give --images DIR or --image-size WIDTHxHEIGHT"
        raise FormatError(f"{labels}: YOLO boxes are fractions of the image size, which is not known: {hint}")
    if not folder.is_dir():
        raise ChoiceError("images", f"must be a folder, got {folder}")
    sizes: dict[str, tuple[int, int]] = {}
    for child in sorted(folder.iterdir()):
        if child.suffix.lower() in IMAGES:
            if child.stem in sizes:
                raise FormatError(f"{child}: expected one image of that name, got another suffix as well")
            sizes[child.stem] = _picture_size(child)
    return sizes


def _beside(labels: Path) -> Path | None:
    """The folder of images in YOLO's usual layout: the path with ``images`` instead of ``labels``."""
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
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # Exif: shown with width and height swapped
            width, height = picture.size
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: expected an image, got {one_line(error)}") from None
    return (height, width) if turned else (width, height)


def _without_area(path: Path, data: DataSet) -> list[str]:
    """A note for each true box without area, for files whose reader makes none."""
    sides = data.truth.boxes[:, 2:]
    rows = np.flatnonzero((sides == 0).any(axis=1)).tolist()
    ids = data.truth.ids.tolist()
    return [f"{path}: annotation {ids[i]}: a box without area, {sides[i, 0]:g} x {sides[i, 1]:g}" for i in rows]


# --------------------------------------------------------------------------------------------- detections
def _detections(path: Path, format: str, data: DataSet, o: Reading) -> tuple[Columns, dict[int, int]]:
    """Detections with the data set's ids, and a dictionary from changed class ids to the file's own labels."""
    if format == "yolo":
        return yolo.read_yolo_results(path, data), {}
    if format == "voc":
        return voc.read_voc_results(path, data), {}
    if format == "txt":
        return txt.read_txt_results(path, data, form=o.boxes or "xyxy"), {}
    by_position = o.labels == "position"
    if format == "coco":
        columns, own = _coco_results(path, data, by_position)
    else:
        columns, own = npz_data.read_npz_results(path, data), {}
    if by_position:
        to, new = dict(enumerate(data.categories.tolist())), new_ids(data)
        own = {next(new): k for k in np.unique(columns.label).tolist() if k not in to}
        to |= {k: i for i, k in own.items()}
        columns = columns._replace(label=_renumbered(path, "category_id", columns.label, to, "a position"))
    return columns, own


def _coco_results(path: Path, data: DataSet, by_position: bool) -> tuple[Columns, dict[int, int]]:
    """Read COCO results. If the file lists its own images and categories, they are matched by name."""
    ours: dict[int, int] = {}
    content = coco.coco_content(path, "results", string_ids=True)
    columns, section = content.boxes, content.section
    (images, image_names, _), (categories, category_names) = _own(path, section)
    names = ImageNames(data)
    if len(content.named):
        columns = columns._replace(image=_by_name(path, content, names, data))
    elif _all_named(image_names) and all(data.image_names):
        ids = images.tolist()
        there = {i: names.find(f"{path}: images", name) for i, name in zip(ids, image_names, strict=True)}
        columns = columns._replace(
            image=_renumbered(path, "image_id", columns.image, there, "an image of the data set")
        )
    else:
        check_known(str(path), section, "image_id", columns.image, data.images, "an image of the data set")
    if not by_position and _all_named(category_names) and all(data.category_names):
        known, new = by_name(path, data.categories.tolist(), data.category_names), new_ids(data)
        listed = by_name(path, categories.tolist(), category_names)
        kinds = {i: known[name] if name in known else next(new) for name, i in listed.items()}
        label = _renumbered(path, "category_id", columns.label, kinds, "one of the file's categories")
        columns, ours = columns._replace(label=label), {new: i for i, new in kinds.items()}
    return columns, ours


def _own(path: Path, section: str) -> tuple[tuple[Ints, list[str], Ints], tuple[Ints, list[str]]]:
    """The images and categories that a file of results lists; none if they are not as in a data set."""
    nothing = np.zeros(0, np.int64)
    if section == "results":
        return (nothing, [], nothing), (nothing, [])
    try:
        content = coco.coco_content(path, "names")
    except FormatError:  # for example, ids that are no integers
        return (nothing, [], nothing), (nothing, [])
    return content.images, content.categories


def _by_name(path: Path, content: Content, names: ImageNames, data: DataSet) -> Ints:
    """Ids of the data set's images. Image ids that are strings are taken as names, as in NPZ."""
    rows = np.flatnonzero(content.named)
    place = content.boxes.image[rows]
    places, first = np.unique(place, return_index=True)
    ids = np.zeros(len(content.image_names), np.int64)
    expected = "an image of the data set"
    for at, row in zip(places.tolist(), rows[first].tolist(), strict=True):
        name = content.image_names[at]
        where = f"{path}: {content.section}[{row}].image_id"
        image_id = names.find(where, name)
        if image_id is None:
            raise FormatError(f"{where}: expected {expected}, got {name!r}")
        ids[at] = image_id
    image = content.boxes.image.copy()
    image[rows] = ids[place]
    known = positions(np.unique(data.images), image) >= 0
    if not known.all():
        row = int(np.argmin(known))
        raise FormatError(f"{path}: {content.section}[{row}].image_id: expected {expected}, got {image[row]}")
    return image


def _all_named(names: Sequence[str]) -> bool:
    """Whether there are names and none is empty."""
    return bool(names) and all(names)


def _renumbered(path: Path, field: str, ids: Ints, to: Mapping[int, int | None], expected: str) -> Ints:
    kinds, inverse = np.unique(ids, return_inverse=True)
    new = [to.get(i) for i in kinds.tolist()]
    for i, value in zip(kinds.tolist(), new, strict=True):
        if value is None:
            row = int(np.argmax(ids == i))
            raise FormatError(f"{path}: annotations[{row}].{field}: expected {expected}, got {i}")
    return np.array(new, np.int64)[inverse.reshape(-1)] if len(ids) else ids


def _counted_from_0(labels: Ints, categories: Ints) -> bool:
    return bool(labels.min() >= 0 and labels.max() < len(categories))


def _subset(data: DataSet, detections: Columns, path: Path) -> tuple[DataSet, Columns]:
    """Keep the images that a file names, one a line, as VOC's ImageSets do. Text after the name is skipped."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise FormatError(f"{path}: expected one image name a line, got data that is not UTF-8 text") from None
    names = ImageNames(data)
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
        raise FormatError(f"{path}: expected one image name a line, got none")
    keep = np.isin(data.images, wanted)
    truth, detections = (
        Columns._make(x[inside] if len(x) else x for x in c)
        for c in (data.truth, detections)
        for inside in (np.isin(c.image, wanted),)
    )
    left = [name for name, kept in zip(data.image_names, keep.tolist(), strict=True) if kept]
    return data._replace(images=data.images[keep], image_names=left, sizes=data.sizes[keep], truth=truth), detections
