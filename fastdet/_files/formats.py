"""Detect the format of the inputs of ``fastdet evaluate`` from their content."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from fastdet._files.data_set import DataSet, ImageNames
from fastdet._files.detections import form as form_of_file
from fastdet._files.dota import are_objects
from fastdet._files.errors import FormatError, few
from fastdet._files.folders import lines
from fastdet._files.voc import class_of
from fastdet._files.yolo import MAX_OUTSIDE, class_number, numbers_of

FORMATS = ("auto", "coco", "voc", "yolo", "txt", "dota", "npz")
FOLDERS = ("voc", "yolo", "txt", "dota")
_MAX_LINES = 2000  # lines that decide between YOLO and plain txt


def form_of_truth(path: Path, wanted: str) -> str:
    """The format of a data set: ``wanted``, if that is not "auto", else by the content. FormatError."""
    if not path.is_dir():
        format = form_of_file(path)
    elif wanted in FOLDERS:
        return wanted
    else:
        format = _form_of_folder(path)
    if wanted not in ("auto", format):
        what = f"a folder of {format}" if format in FOLDERS else format
        raise FormatError(f"{path}: expected {wanted}, as --format says, got {what}")
    return format


def form_of_detections(path: Path, wanted: str, truth: str, data: DataSet) -> str:
    """The format of detections: ``wanted`` where that is possible, else by the content. FormatError."""
    if not path.is_dir():
        return form_of_file(path)
    if not _has(path, ".txt"):
        raise FormatError(f"{path}: expected a folder of .txt files, got none{_inside(path)}")
    if truth == "dota":
        return "dota"
    if _by_class(path, data, likely=wanted == "voc" or truth == "voc"):
        return "voc"
    if wanted in ("yolo", "txt"):
        return wanted
    yolo = _are_fractions(path)
    if yolo is None:  # no line shows the format
        return "yolo" if truth == "yolo" else "txt"
    return "yolo" if yolo else "txt"


def _has(path: Path, suffix: str) -> bool:
    return any(child.suffix.lower() == suffix for child in path.iterdir())


def unread(path: Path) -> list[str]:
    """A note about folders inside a folder of text files: they are not read."""
    inside = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
    names = [child.name for child in inside if _has(child, ".txt") or _has(child, ".xml")]
    return [f"{path}: its folders are not read: {few(names, 3)}"] if names else []


def _inside(path: Path) -> str:
    """A hint at the folders inside that may be meant, such as VOC's ``Annotations``."""
    folders = sorted(child for child in path.iterdir() if child.is_dir())
    likely = [child.name for child in folders if _has(child, ".txt") or _has(child, ".xml")]
    likely += [
        f"{child.name}/{inner.name}"
        for child in folders
        for inner in sorted(child.iterdir())
        if inner.is_dir() and (_has(inner, ".txt") or _has(inner, ".xml"))
    ]
    return f"; it has the folder {' and '.join(likely[:3])}: name that one" if likely else ""


def _form_of_folder(path: Path) -> str:
    if _has(path, ".xml"):
        return "voc"
    if not _has(path, ".txt"):
        raise FormatError(f"{path}: expected a folder of .xml or .txt files, got none{_inside(path)}")
    if are_objects(path):
        return "dota"
    yolo = _are_fractions(path)
    if yolo is None:
        if (path / "classes.txt").is_file():
            return "yolo"
        raise FormatError(f"{path}: cannot tell YOLO from plain txt without a line: use --format yolo or --format txt")
    return "yolo" if yolo else "txt"


def _by_class(path: Path, data: DataSet, *, likely: bool) -> bool:
    """Whether results are in VOC's layout, one file a class: by the names of the files, then by the first words."""
    files = [child for child in path.iterdir() if child.suffix.lower() == ".txt" and child.stem != "classes"]
    names = ImageNames(data)
    of_class = [child for child in files if class_of(child.stem, data.category_names) is not None]
    of_image = sum(names.has(child.stem) for child in files)
    if not of_class or len(of_class) < of_image or (of_image == len(files) and not likely):
        return False
    if _are_fractions(path):  # YOLO's lines; boxes of VOC are in pixels
        return False
    if len(of_class) > of_image and (likely or len(of_class) == len(files)):
        return True
    first = [words[0] for words in itertools.islice(_lines(of_class), 200)]
    return bool(first) and sum(map(names.has, first)) > len(first) / 2


def _lines(files: list[Path]) -> Iterator[list[str]]:
    for child in sorted(files):
        yield from (words for _, words in lines(child))


def _are_fractions(path: Path) -> bool | None:
    """Whether most lines look like YOLO: a class number, then numbers about in [0, 1]. None without lines."""
    files = [child for child in path.iterdir() if child.suffix.lower() == ".txt" and child.stem != "classes"]
    votes = [_is_yolo(words) for words in itertools.islice(_lines(files), _MAX_LINES)]
    return 2 * sum(votes) >= len(votes) if votes else None


def _is_yolo(words: list[str]) -> bool:
    values = numbers_of(words)
    return (
        values is not None
        and len(words) >= 5
        and class_number(words[0]) is not None
        and all(-MAX_OUTSIDE <= x <= 1 + MAX_OUTSIDE for x in values[:4])
    )
