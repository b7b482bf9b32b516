"""Shared parts of the readers of folders of text files: YOLO, VOC and plain txt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastdet._core.check import describe
from fastdet._files import text
from fastdet._files.data_set import DataSet, ImageNames, area
from fastdet._files.errors import Faults, FormatError, missing
from fastdet.detection.records import Columns

FRACTIONS = "a box within one pixel: the numbers look like fractions of the image"  # a note


def texts(folder: str | os.PathLike[str], suffix: str) -> list[Path]:
    """The files of a folder with a suffix, sorted by name, without ``classes.txt``."""
    root = Path(folder)
    if not root.is_dir():
        if not root.exists():
            raise missing(folder)
        raise FormatError(f"{folder}: expected a folder of {suffix} files, got a file")
    files = sorted(path for path in root.iterdir() if path.suffix.lower() == suffix and path.stem != "classes")
    if not files:
        raise FormatError(f"{folder}: expected a folder of {suffix} files, got none")
    return files


def lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers from 1 and the words of each line that is not blank."""
    listed = text.lines_of(text.read_text(path, "lines"))
    return [(i, words) for i, line in enumerate(listed, 1) if (words := text.words_of(line))]


def number(path: Path, line: int, field: str, word: str) -> float:
    """A word as a finite number. FormatError names the line and the field."""
    value = text.to_float(word)
    if value is None:
        raise FormatError(f"{path}: line {line}: {field}: expected a number, got {describe(word)}")
    return value


class Rows:
    """Boxes read so far, and their classes. ``fixed``: the names of the classes, where they are known."""

    def __init__(self, fixed: list[str] | None = None) -> None:
        self.fixed = fixed is not None
        self.names = list(fixed or [])
        self.of_name = {name: i for i, name in enumerate(self.names)}
        self.rows: list[tuple[float, ...]] = []  # image, label, x, y, w, h, score, flag
        self.notes: list[str] = []

    def note_if_empty(self, where: str, w: float, h: float, offset: float) -> None:
        """Add a note if a true box has no area."""
        if not (w and h):
            size = f"{w + offset:g} x {h + offset:g}"
            becomes = f"counts as {size} pixels" if offset else "no detection can match it"
            self.notes.append(f"{where}: a box without area, {w:g} x {h:g}: {becomes}")

    def label(self, name: str) -> int:
        """The number of a class; a new name gets the next number."""
        if name not in self.of_name:  # a class that only the detections have
            self.of_name[name] = len(self.of_name)
            if not self.fixed:
                self.names.append(name)
        return self.of_name[name]

    def columns(self, offset: float, *, scores: bool) -> Columns:
        """The rows as detections (``scores``) or true boxes."""
        rows = np.array(self.rows, np.float64).reshape(-1, 8)
        boxes = np.ascontiguousarray(rows[:, 2:6])
        areas = area(boxes, offset)
        # ids come from the tuples, not from the float array: a large integer is no exact float
        image, label = (np.array([row[i] for row in self.rows], np.int64) for i in (0, 1))
        if scores:
            return Columns(image, label, boxes, areas, rows[:, 6].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))
        ids = np.arange(1, len(rows) + 1)
        return Columns(image, label, boxes, areas, np.zeros(0), rows[:, 7].astype(np.uint8), ids)


def data_set(
    stems: list[str], sizes: Sequence[tuple[int, int]], table: Rows, offset: float, *, own_categories: bool
) -> DataSet:
    """Make a data set. Class ids count from 0, in the order of ``table.fixed`` names, else sorted by name."""
    truth = table.columns(offset, scores=False)
    names = table.names
    if not table.fixed:
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        truth, names = truth._replace(label=rank[truth.label] if len(names) else truth.label), [names[i] for i in order]
    ids = np.arange(len(stems))
    of = np.array(sizes, np.int64).reshape(-1, 2)
    return DataSet(
        ids, stems, of, np.arange(len(names)), names, truth, offset, tuple(table.notes), own_images=False,
        own_categories=own_categories,
    )  # fmt: skip


Parse = Callable[[Path, int, int, list[str]], tuple[str, Sequence[float], float]]


def result_files(
    folder: str | os.PathLike[str], data: DataSet, faults: Faults
) -> Iterator[tuple[Path, int, list[tuple[int, list[str]]]]]:
    """Yield each file of detections, one an image: its path, the image's id, and its lines."""
    names = ImageNames(data)
    for path in texts(folder, ".txt"):
        with faults.record():
            yield path, names.known(str(path), path.stem), lines(path)


class Labels:
    """Labels of detections that are names or numbers, while they are read.

    ``known`` has the ids of the data set's categories. Another word gets a number of its own from ``new``, and
    ``others`` tells which word that was.
    """

    def __init__(self, known: Mapping[str, int], new: Iterator[int]) -> None:
        self._ids, self._new = dict(known), new
        self.others: dict[int, str] = {}

    def id_of(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = next(self._new)
            self.others[self._ids[word]] = word
        return self._ids[word]
