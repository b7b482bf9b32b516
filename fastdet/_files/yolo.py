"""Read YOLO's folders of txt files: lines ``class cx cy w h [score]``, as fractions of the image's width and height.

Lines of segmentation (``class x1 y1 x2 y2 ...``, a polygon of three corners or more) and of pose (``class cx cy w h``,
then the keypoints) are read as their boxes, with a note.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastdet._core.check import Array, describe
from fastdet._files.data_set import DataSet, stem
from fastdet._files.errors import ChoiceError, Faults, FormatError, plain
from fastdet._files.folders import Rows, data_set, lines, number, result_files, texts
from fastdet._files.names import read_names
from fastdet._files.text import to_float, to_int
from fastdet.detection.records import Columns

Sizes = Mapping[str, tuple[int, int]]
MAX_OUTSIDE = 0.5  # fractions below -0.5 or above 1.5 are pixels, not boxes that reach out of the image


class Line(NamedTuple):
    """A line of a file."""

    path: Path
    image: int
    number: int
    words: list[str]

    @property
    def where(self) -> str:
        return f"{self.path}: line {self.number}"


def read_yolo(
    folder: str | os.PathLike[str],
    sizes: Sizes,
    classes: Sequence[str] | None = None,
    *,
    points: str | None = None,
    faults: Faults | None = None,
) -> DataSet:
    """Read a folder of YOLO's txt labels. ``sizes``: width and height in pixels by image name without suffix.

    An image with a size and no file has no objects. ``classes`` gives the names of the class numbers; without it the
    folder's ``classes.txt`` does; without that a number is its own name.
    """
    files, faults = texts(folder, ".txt"), faults or Faults()
    called = {path: stem(path.stem) for path in files}
    stems = sorted(set(called.values()) | set(sizes))
    place = {name: i for i, name in enumerate(stems)}
    first_of: dict[str, Path] = {}
    for path, name in called.items():
        if name not in sizes or min(sizes[name]) < 1:
            raise FormatError(f"{path}: expected labels of an image whose size is known, got no image of that name")
        if first_of.setdefault(name, path) is not path:
            raise FormatError(f"{path}: expected one file for each image, got {first_of[name].name} as well")
    if classes is None and (listed := Path(folder) / "classes.txt").is_file():
        classes = read_names("read_yolo", listed)
    of = [(int(sizes[name][0]), int(sizes[name][1])) for name in stems]
    every = [Line(path, place[name], i, words) for path, name in called.items() for i, words in lines(path)]
    keypoints = points_of(folder, every, scored=False, points=points)
    parser, table = _Parser(scored=False, keypoints=keypoints), Rows([])
    max_label = -1
    for line in every:
        with faults.record():
            label, (x, y, w, h), _ = parser.parse(line, of[line.image])
            if classes is not None and label >= len(classes):
                last = f"{len(classes)}, the number of classes"
                raise FormatError(f"{line.where}: class: expected less than {last}, got {label}")
            max_label = max(max_label, label)
            table.note_if_empty(line.where, w, h, 0.0)
            table.rows.append((line.image, label, x, y, w, h, 0, 0))
    table.notes += parser.notes(folder)
    table.names = list(classes) if classes is not None else [str(i) for i in range(max_label + 1)]
    return data_set(stems, of, table, 0.0, own_categories=True)


def read_yolo_results(
    folder: str | os.PathLike[str],
    data: DataSet,
    *,
    score: str | None = None,
    points: str | None = None,
    faults: Faults | None = None,
) -> tuple[Columns, list[str]]:
    """Read detections as YOLO writes them with ``save_txt`` and ``save_conf``: ``class cx cy w h score``.

    ``score="first"`` reads ``class score cx cy w h``. Labels are the class numbers. Also returns notes. ChoiceError
    where the lines look as if the score stood in the other place.
    """
    faults, table = faults or Faults(), Rows(data.category_names)
    sizes = {int(i): (int(w), int(h)) for i, (w, h) in zip(data.images, data.sizes, strict=True)}
    every = [
        Line(path, image, i, words) for path, image, rows in result_files(folder, data, faults) for i, words in rows
    ]
    _check_place_of_score(folder, every, score)
    keypoints = 0 if score == "first" else points_of(folder, every, scored=True, points=points)
    parser = _Parser(scored=True, keypoints=keypoints, first=score == "first")
    for line in every:
        with faults.record():
            if not min(sizes[line.image]):
                hint = "give --images DIR or --image-size WIDTHxHEIGHT"
                raise FormatError(f"{line.path}: expected a data set with the size of this image, got none: {hint}")
            label, (x, y, w, h), confidence = parser.parse(line, sizes[line.image])
            table.rows.append((line.image, label, x, y, w, h, confidence, 0))
    return table.columns(data.offset, scores=True), parser.notes(folder)


def numbers_of(words: Sequence[str]) -> list[float] | None:
    """The words after the class as numbers; None if one is no number."""
    values = [value for word in words[1:] if (value := to_float(word)) is not None]
    return values if len(values) == len(words) - 1 else None


def class_number(word: str) -> int | None:
    """A class number, also written as ``3.0`` or ``3e0``; None for another word."""
    whole = to_int(word)
    if whole is not None:
        return whole if whole >= 0 else None
    value = to_float(word)
    return int(value) if value is not None and 0 <= value < 2**53 and value == value // 1 else None


class _Parser:
    """Reads the lines of one folder. ``keypoints``: the numbers of each, 0 where longer lines are polygons."""

    def __init__(self, *, scored: bool, keypoints: int, first: bool = False) -> None:
        self._scored, self._first, self._keypoints = scored, first, keypoints
        self._odd: list[str] = []  # notes of values a little outside of [0, 1]
        self._long: list[str] = []  # places of the lines of polygons or keypoints

    def parse(self, line: Line, size: tuple[int, int]) -> tuple[int, tuple[float, float, float, float], float]:
        """The class, the box as x y w h in pixels, and the score. FormatError."""
        words = line.words
        label = class_number(words[0])
        if label is None:
            raise FormatError(f"{line.where}: class: expected an integer >= 0, got {describe(words[0])}")
        if label >= 1_000_000:
            raise FormatError(f"{line.where}: class: expected an integer below 1,000,000, got {words[0][:40]}")
        count = len(words) - 1 - self._scored
        if count < 4 or (count > 4 and not self._is_long(count)):
            order = "score cx cy w h" if self._first else "cx cy w h score" if self._scored else "cx cy w h"
            raise FormatError(f"{line.where}: expected class {order}, got {len(words)} words{self._hint(words)}")
        names = ["cx", "cy", "w", "h"] if count == 4 or self._keypoints else ["polygon"] * count
        if self._scored:
            names = ["score", *names] if self._first else names
        names += ["keypoint"] * (len(words) - 1 - len(names) - (self._scored and not self._first))
        names += ["score"] * (len(words) - 1 - len(names))
        values = [number(line.path, line.number, f, w) for f, w in zip(names, words[1:], strict=True)]
        score = values.pop(0 if self._first else -1) if self._scored else 0.0
        if self._scored and not 0 <= score <= 1:
            raise FormatError(f"{line.where}: score: expected a number in [0, 1], got {plain(score)}")
        if count > 4:
            self._long.append(line.where)
        return label, self._box(line, values, size, is_polygon=names[-1 - self._scored] == "polygon"), score

    def _box(
        self, line: Line, values: list[float], size: tuple[int, int], *, is_polygon: bool
    ) -> tuple[float, float, float, float]:
        width, height = size
        if is_polygon:
            self._check_range(line, {f"corner {i // 2}": value for i, value in enumerate(values)})
            xs, ys = values[0::2], values[1::2]
            x, y, right, bottom = min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height
            return x, y, right - x, bottom - y
        cx, cy, w, h = values[:4]
        for field, value in (("width", w), ("height", h)):
            if not 0 <= value <= 1 + MAX_OUTSIDE:
                raise FormatError(f"{line.where}: expected a {field} in [0, 1], got {plain(value)}")
        self._check_range(line, {"cx": cx, "cy": cy, "width": w, "height": h})
        cx, cy, w, h = cx * width, cy * height, w * width, h * height
        return cx - w / 2, cy - h / 2, w, h

    def _check_range(self, line: Line, values: Mapping[str, float]) -> None:
        """FormatError for a value far outside of [0, 1]; a note for one a little outside."""
        for field, value in values.items():
            if 0 <= value <= 1:
                continue
            if not -MAX_OUTSIDE <= value <= 1 + MAX_OUTSIDE:
                got = f"{plain(value)}, which is no fraction of the image's size"
                raise FormatError(f"{line.where}: {field}: expected a number in [0, 1], got {got}")
            self._odd.append(f"{line.where}: {field} is {plain(value)}, outside of [0, 1]: taken as it is")
            return

    def notes(self, folder: str | os.PathLike[str]) -> list[str]:
        """Notes of the lines that were read."""
        notes = self._odd[:5]
        if len(self._odd) > 5:
            notes.append(f"{folder}: {len(self._odd) - 5:,} more lines with values outside of [0, 1]")
        if self._long:
            what = "of boxes with keypoints" if self._keypoints else "of polygons"
            count = f"{len(self._long):,} line{'s' if len(self._long) > 1 else ''} {what}"
            becomes = "the keypoints are not scored" if self._keypoints else "each polygon is read as its box"
            notes.append(f"{folder}: {count}, the first at {Path(self._long[0]).name}: {becomes}")
        return notes

    def _is_long(self, count: int) -> bool:
        return self._keypoints > 0 or (not self._first and count >= 6 and count % 2 == 0)

    def _hint(self, words: list[str]) -> str:
        if not self._scored and len(words) == 6:
            return ": true boxes have no score"
        return ": the score is missing, save it too (save_conf)" if self._scored and len(words) == 5 else ""


def points_of(folder: str | os.PathLike[str], every: Sequence[Line], *, scored: bool, points: str | None) -> int:
    """What the long lines of a folder are: 0 for polygons, else the numbers of a keypoint, 2 or 3.

    ``points``: "polygon" or "keypoints" where the user says it. ChoiceError where the lines do not tell.
    """
    long = [line for line in every if len(line.words) - 1 - scored > 5]
    rows = [numbers for line in long if (numbers := numbers_of(line.words)) is not None]
    if not rows or points == "polygon":
        return 0
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:  # boxes with keypoints all have the same number
        return 0
    values = np.array(rows)[:, : -1 if scored else None]
    count = values.shape[1]
    strides = [stride for stride in (3, 2) if (count - 4) % stride == 0]
    if points == "keypoints":
        return strides[0] if strides else 0
    if count % 2 == 0 and not scored and (count - 4) % 3 == 0 and np.isin(values[:, 6::3], (0, 1, 2)).all():
        return 3  # the third number of each keypoint says how visible it is
    if (values[:, 4:] == 0).all():
        return strides[0] if strides else 0
    fits = [stride for stride in strides if _are_keypoints(values, stride)]
    if count % 2 or not fits:
        return fits[0] if fits else 0
    if fits[0] == 3 or not _are_corners(values):
        return fits[0]
    reason = f"polygon or keypoints must be named: the long lines in {folder} may be polygons, or boxes with keypoints"
    raise ChoiceError("points", reason)


def _are_keypoints(values: Array, stride: int) -> bool:
    """Whether the numbers after cx cy w h are keypoints: the marked ones lie in the box and spread over it."""
    points, boxes = values[:, 4:].reshape(len(values), -1, stride)[..., :2], values[:, :4]
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    marked = np.any(points != 0, axis=-1)
    inside = np.all((points >= low[:, None] - 0.02) & (points <= high[:, None] + 0.02), axis=-1)
    in_image = ((low >= -0.02) & (high <= 1.02)).all(axis=1)
    if not marked.any() or inside[marked].mean() <= 0.9 or in_image.mean() <= 0.9:
        return False
    lines = np.flatnonzero(marked.sum(axis=1) > 1)
    filled = [np.ptp(points[i, marked[i]], axis=0) / np.maximum(boxes[i, 2:], 1e-9) for i in lines.tolist()]
    return not filled or float(np.median(filled)) >= 0.3  # corners of a polygon are near to each other


def _are_corners(values: Array) -> bool:
    """Whether the second pair of numbers lies about where the other pairs do, as a corner of a polygon does."""
    pairs = values.reshape(len(values), -1, 2)
    others = np.delete(pairs, 1, axis=1)
    low, high = others.min(axis=1), others.max(axis=1)
    margin = 0.5 * (high - low).max(axis=1, keepdims=True)
    return bool(((pairs[:, 1] >= low - margin) & (pairs[:, 1] <= high + margin)).all(axis=1).mean() > 0.5)


def _check_place_of_score(folder: str | os.PathLike[str], every: Sequence[Line], score: str | None) -> None:
    """ChoiceError where the boxes fit their images better if the score is the first number, not the last."""
    if score is not None:
        return
    rows = [numbers for line in every if len(line.words) == 6 and (numbers := numbers_of(line.words)) is not None]
    if not rows:
        return
    values = np.array(rows)
    wrong = {"first": _outside(values[:, 1:], values[:, 0]), "last": _outside(values[:, :4], values[:, 4])}
    if wrong["last"] >= 2 and wrong["first"] < wrong["last"]:
        reason = (
            f"first or last must be named: in {folder} {wrong['last']:,} of {len(rows):,} boxes leave their image if "
            f"the lines are class cx cy w h score, and {wrong['first']:,} if they are class score cx cy w h"
        )
        raise ChoiceError("score", reason)


def _outside(boxes: Array, scores: Array) -> int:
    """The number of boxes (cx cy w h) that leave the image, or whose score is outside of [0, 1]."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    inside = (low >= -0.01).all(axis=1) & (high <= 1.01).all(axis=1) & (scores >= 0) & (scores <= 1)
    return int((~inside).sum())
