"""Read DOTA's files: quadrilaterals in pixels, one file an image, and results, one file a class.

True boxes: lines ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, below optional lines ``imagesource:...`` and ``gsd:...``.
Results: ``Task1_<class>.txt`` of lines ``image score x1 y1 x2 y2 x3 y3 x4 y4``. An object whose last number is 1 or 2
is difficult: it needs no detection.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastdet._files.data_set import DataSet, ImageNames, by_name, new_ids
from fastdet._files.errors import Faults, FormatError, quoted
from fastdet._files.folders import Labels, Rows, data_set, lines, number, texts
from fastdet._files.text import to_float
from fastdet._files.voc import class_of
from fastdet.detection.records import IGNORE, Columns
from fastdet.detection.rotated import areas_of

HEADERS = ("imagesource:", "gsd:")
FIELDS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
DIFFICULT = {"0": False, "1": True, "2": True}


def is_header(words: Sequence[str]) -> bool:
    """Whether a line tells of the image, not of an object."""
    return words[0].lower().startswith(HEADERS)


def is_object(words: Sequence[str]) -> bool:
    """Whether a line looks like a true box of DOTA: eight numbers, then a name."""
    return (
        len(words) in (9, 10)
        and all(to_float(word) is not None for word in words[:8])
        and to_float(words[8]) is None
        and (len(words) == 9 or words[9] in DIFFICULT)
    )


def read_dota(
    folder: str | os.PathLike[str], classes: Sequence[str] | None = None, *, faults: Faults | None = None
) -> DataSet:
    """Read a folder of true boxes. ``classes``: the classes in order; without it they are sorted by name."""
    files, faults = texts(folder, ".txt"), faults or Faults()
    table, corners = Rows(list(classes) if classes is not None else None), list[list[float]]()
    for image, path in enumerate(files):
        for line, words in lines(path):
            if is_header(words):
                continue
            with faults.record():
                where = f"{path}: line {line}"
                if len(words) not in (9, 10):
                    expected = f"expected {' '.join(FIELDS)} class difficult"
                    raise FormatError(f"{where}: {expected}, got {len(words)} words")
                quad = [number(path, line, *pair) for pair in zip(FIELDS, words[:8], strict=True)]
                if table.fixed and words[8] not in table.of_name:
                    raise FormatError(f"{where}: class: expected one of the classes, got {quoted(words[8])}")
                if len(words) == 10 and words[9] not in DIFFICULT:
                    raise FormatError(f"{where}: difficult: expected 0, 1 or 2, got {quoted(words[9])}")
                flag = IGNORE * (len(words) == 10 and DIFFICULT[words[9]])
                x, y, w, h = _around(quad)
                table.note_if_empty(where, w, h, 0)
                table.rows.append((image, table.label(words[8]), x, y, w, h, 0, flag))
                corners.append(quad)
    data = data_set(
        [path.stem for path in files],
        [(0, 0)] * len(files),
        table,
        0.0,
        own_categories=classes is not None,
    )
    return data._replace(truth=_with_corners(data.truth, corners))


def read_dota_results(
    folder: str | os.PathLike[str], data: DataSet, *, faults: Faults | None = None
) -> tuple[Columns, dict[int, str]]:
    """Read detections. Also returns the names of classes that the data set lacks, by the number that they got."""
    table, names, faults = Rows(data.category_names), ImageNames(data), faults or Faults()
    known = by_name(folder, data.categories.tolist(), data.category_names)
    labels, corners = Labels(known, new_ids(data)), list[list[float]]()
    for path in texts(folder, ".txt"):
        label = labels.id_of(class_of(path.stem, known) or path.stem.partition("_")[2] or path.stem)
        for line, words in lines(path):
            with faults.record():
                where = f"{path}: line {line}"
                if len(words) < 10:
                    raise FormatError(f"{where}: expected image score {' '.join(FIELDS)}, got {len(words)} words")
                image = names.known(f"{where}: image", " ".join(words[:-9]))
                score = number(path, line, "score", words[-9])
                quad = [number(path, line, *pair) for pair in zip(FIELDS, words[-8:], strict=True)]
                table.rows.append((image, label, *_around(quad), score, 0))
                corners.append(quad)
    return _with_corners(table.columns(0.0, scores=True), corners), labels.others


def _around(quad: Sequence[float]) -> tuple[float, float, float, float]:
    x, y = quad[0::2], quad[1::2]
    return min(x), min(y), max(x) - min(x), max(y) - min(y)


def _with_corners(columns: Columns, corners: list[list[float]]) -> Columns:
    rotated = np.array(corners, np.float64).reshape(-1, 8)
    return columns._replace(rotated=rotated, areas=areas_of(rotated))


def are_objects(folder: Path) -> bool:
    """Whether the lines of a folder of txt files are DOTA's: by the first that is no header."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".txt" or path.stem == "classes":
            continue
        for _, words in lines(path):
            if not is_header(words):
                return is_object(words)
    return False
