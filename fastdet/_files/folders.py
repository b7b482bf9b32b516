"""Shared parts of the readers of folders of text files: YOLO, VOC and plain txt."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastdet._core.check import describe
from fastdet._files.data_set import DataSet, ImageNames, area, by_name, new_ids
from fastdet._files.errors import FormatError, missing
from fastdet.detection.records import Columns


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
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text: {error}") from None
    return [(i, words) for i, line in enumerate(text.splitlines(), 1) if (words := line.split())]


def number(path: Path, line: int, field: str, word: str) -> float:
    """A word as a finite number. FormatError names the line and the field."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
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


def data_set(stems: list[str], sizes: Sequence[tuple[int, int]], table: Rows, offset: float) -> DataSet:
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
    return DataSet(ids, stems, of, np.arange(len(names)), names, truth, offset, tuple(table.notes))


Parse = Callable[[Path, int, int, list[str]], tuple[str, Sequence[float], float]]


def results(folder: str | os.PathLike[str], data: DataSet, parse: Parse, *, by_number: bool = False) -> Columns:
    """Read detections, one file an image. ``by_number``: files name a class by its id, not by its name."""
    table, names, new = Rows(data.category_names), ImageNames(data), new_ids(data)
    if by_number:
        known = {str(number): i for number, i in enumerate(data.categories.tolist())}
    else:
        known = by_name(folder, data.categories.tolist(), data.category_names)
    for path in texts(folder, ".txt"):
        image = names.find(str(path), path.stem)
        if image is None:
            raise FormatError(f"{path}: expected the name of an image of the data set, got {path.stem!r}")
        for line, words in lines(path):
            name, (x, y, w, h, _), score = parse(path, image, line, words)
            key = str(int(name)) if by_number else name
            if key not in known:
                known[key] = next(new)
            table.rows.append((image, known[key], x, y, w, h, score, 0))
    return table.columns(data.offset, scores=True)
