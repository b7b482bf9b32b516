"""Read folders of plain txt files, one an image: lines ``class [score] x1 y1 x2 y2`` (or x y w h) in pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fastdet._files.data_set import DataSet
from fastdet._files.errors import FormatError
from fastdet._files.folders import Parse, Rows, data_set, lines, number, results, texts
from fastdet.detection.records import IGNORE, Columns


def read_txt(folder: str | os.PathLike[str], *, form: str = "xyxy", offset: float = 0.0) -> DataSet:
    """Read true boxes: lines ``class x1 y1 x2 y2`` (``form="xywh"``: ``class x y w h``), in pixels.

    A box whose line ends with the word ``difficult`` is ignored. ``offset`` is 1 where x2 and y2 are the last pixel
    inside, as in VOC.
    """
    files, table = texts(folder, ".txt"), Rows()
    parse = _plain(form, scored=False)
    for image, path in enumerate(files):
        for line, words in lines(path):
            name, (x, y, w, h, flag), _ = parse(path, image, line, words)
            table.note_if_empty(f"{path}: line {line}", w, h, offset)
            table.rows.append((image, table.label(name), x, y, w, h, 0, flag))
    return data_set([path.stem for path in files], [(0, 0)] * len(files), table, offset)


def read_txt_results(folder: str | os.PathLike[str], data: DataSet, *, form: str = "xyxy") -> Columns:
    """Read detections: lines ``class score x1 y1 x2 y2``. Files have the names of the data set's images."""
    return results(folder, data, _plain(form, scored=True))


def _plain(form: str, scored: bool) -> Parse:
    def parse(path: Path, image: int, line: int, words: list[str]) -> tuple[str, Sequence[float], float]:
        need = 6 if scored else 5
        difficult = not scored and len(words) > need and words[-1] == "difficult"
        words = words[:-1] if difficult else words
        if len(words) < need or not _spaced(words, need):
            fields = f"class {'score ' if scored else ''}{'x1 y1 x2 y2' if form == 'xyxy' else 'x y w h'}"
            raise FormatError(f"{path}: line {line}: expected {fields}, got {len(words)} words")
        name = " ".join(words[: len(words) - need + 1])
        numbers = [number(path, line, field, word) for field, word in zip(
            (["score"] if scored else []) + (["x1", "y1", "x2", "y2"] if form == "xyxy" else ["x", "y", "w", "h"]),
            words[len(words) - need + 1 :], strict=True)]  # fmt: skip
        score, (x, y, w, h) = (numbers[0] if scored else 0.0), numbers[-4:]
        if form == "xyxy":
            w, h = w - x, h - y
        for field, side in (("width", w), ("height", h)):
            if side < 0:
                raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {side:g}")
        return name, (x, y, w, h, float(IGNORE * difficult)), score

    return parse


def _spaced(words: list[str], need: int) -> bool:
    """Whether the words after the first of a class name are no numbers."""
    return not any(_is_number(word) for word in words[1 : len(words) - need + 1])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
