"""What the readers of folders of text files share: YOLO's, VOC's results and plain txt. Every file is an image."""

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
    """The folder's files by name; every file is an image."""
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
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text: {error}") from None
    return [(i, words) for i, line in enumerate(text.splitlines(), 1) if (words := line.split())]


def number(path: Path, line: int, field: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}: line {line}: {field}: expected a number, got {describe(word)}")
    return value


class Rows:
    """Rows of folders as they are read."""

    def __init__(self, fixed: list[str] | None = None) -> None:
        self.fixed = fixed is not None
        self.names = list(fixed or [])
        self.of_name = {name: i for i, name in enumerate(self.names)}
        self.rows: list[tuple[float, ...]] = []  # image, label, x, y, w, h, score, flag
        self.notes: list[str] = []

    def note_if_empty(self, where: str, w: float, h: float, offset: float) -> None:
        """Make a note of a true box without area."""
        if not (w and h):
            becomes = f"{w + offset:g} x {h + offset:g} pixels as its last one counts" if offset else "nothing meets it"
            self.notes.append(f"{where}: a box without area, {w:g} x {h:g}: {becomes}")

    def label(self, name: str) -> int:
        if name not in self.of_name:  # classes that only detections have come after the data set's
            self.of_name[name] = len(self.of_name)
            if not self.fixed:
                self.names.append(name)
        return self.of_name[name]

    def columns(self, offset: float, *, scores: bool) -> Columns:
        rows = np.array(self.rows, np.float64).reshape(-1, 8)
        boxes = np.ascontiguousarray(rows[:, 2:6])
        areas = area(boxes, offset)
        image, label = (np.array([row[i] for row in self.rows], np.int64) for i in (0, 1))  # ids that no float holds
        if scores:
            return Columns(image, label, boxes, areas, rows[:, 6].copy(), np.zeros(0, np.uint8), np.zeros(0, np.int64))
        ids = np.arange(1, len(rows) + 1)
        return Columns(image, label, boxes, areas, np.zeros(0), rows[:, 7].astype(np.uint8), ids)


def data_set(stems: list[str], sizes: Sequence[tuple[int, int]], table: Rows, offset: float) -> DataSet:
    """Classes of a folder by name in rising order, ids from 0, unless their order is given."""
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
            kind = str(int(name)) if by_number else name
            if kind not in known:
                known[kind] = next(new)
            table.rows.append((image, known[kind], x, y, w, h, score, 0))
    return table.columns(data.offset, scores=True)
