"""Read folders of plain txt files, one an image: lines ``class [score] x1 y1 x2 y2`` (or x y w h) in pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fastdet._files.data_set import DataSet, by_name, new_ids
from fastdet._files.errors import ChoiceError, Faults, FormatError, plain, quoted
from fastdet._files.folders import FRACTIONS, Labels, Parse, Rows, data_set, lines, number, result_files, texts
from fastdet._files.text import to_float
from fastdet.detection.records import IGNORE, Columns


def read_txt(
    folder: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    *,
    form: str = "xyxy",
    offset: float = 0.0,
    faults: Faults | None = None,
) -> DataSet:
    """Read true boxes: lines ``class x1 y1 x2 y2`` (``form="xywh"``: ``class x y w h``), in pixels.

    A box whose line ends with the word ``difficult`` is ignored. ``offset`` is 1 where x2 and y2 are the last pixel
    inside, as in VOC. ``classes``: the names of the classes in order.
    """
    files, table, faults = (
        texts(folder, ".txt"),
        Rows(list(classes) if classes is not None else None),
        faults or Faults(),
    )
    parse = _plain(form, scored=False)
    for image, path in enumerate(files):
        for line, words in lines(path):
            with faults.record():
                name, (x, y, w, h, flag), _ = parse(path, image, line, words)
                if table.fixed and name not in table.of_name:
                    raise FormatError(f"{path}: line {line}: class: expected one of the classes, got {quoted(name)}")
                where = f"{path}: line {line}"
                table.note_if_empty(where, w, h, offset)
                if max(x, y, w, h) <= 1 and w and h:
                    table.notes.append(f"{where}: {FRACTIONS}")
                table.rows.append((image, table.label(name), x, y, w, h, 0, flag))
    named = [path.stem for path in files]
    return data_set(named, [(0, 0)] * len(files), table, offset, own_categories=classes is not None)


def read_txt_results(
    folder: str | os.PathLike[str],
    data: DataSet,
    *,
    form: str = "xyxy",
    score: str | None = None,
    faults: Faults | None = None,
) -> tuple[Columns, dict[int, str]]:
    """Read detections: lines ``class score x1 y1 x2 y2``. Files have the names of the data set's images.

    ``score="last"`` reads ``class x1 y1 x2 y2 score``. Also returns the words of classes that the data set lacks, by
    the number that they got. ChoiceError where the lines look as if the score stood in the other place.
    """
    table, faults = Rows(data.category_names), faults or Faults()
    labels = Labels(by_name(folder, data.categories.tolist(), data.category_names), new_ids(data))
    parse = _plain(form, scored=True, last=score == "last")
    first = last = 0  # lines whose first number, or last number, is a score in [0, 1]
    for path, image, rows in result_files(folder, data, faults):
        for line, words in rows:
            with faults.record():
                name, (x, y, w, h, _), confidence = parse(path, image, line, words)
                other = number(path, line, "score", words[-1 if score != "last" else -5])
                first, last = first + (0 <= confidence <= 1), last + (0 <= other <= 1)
                table.rows.append((image, labels.id_of(name), x, y, w, h, confidence, 0))
    if score is None and last > first and last == len(table.rows):
        reason = f"first or last must be named: in {folder} the last number of the lines looks like the score"
        raise ChoiceError("score", reason)
    return table.columns(data.offset, scores=True), labels.others


def _plain(form: str, scored: bool, last: bool = False) -> Parse:
    sides = ["x1", "y1", "x2", "y2"] if form == "xyxy" else ["x", "y", "w", "h"]
    fields = [*sides, "score"] if scored and last else ["score", *sides] if scored else sides
    need = 1 + len(fields)

    def parse(path: Path, image: int, line: int, words: list[str]) -> tuple[str, Sequence[float], float]:
        difficult = not scored and len(words) > need and words[-1] == "difficult"
        words = words[:-1] if difficult else words
        if len(words) < need or not _spaced(words, need):
            hint = _hint(words, need, scored)
            raise FormatError(f"{path}: line {line}: expected class {' '.join(fields)}, got {len(words)} words{hint}")
        name = " ".join(words[: len(words) - need + 1])
        values = dict(zip(fields, words[len(words) - need + 1 :], strict=True))
        numbers = {field: number(path, line, field, word) for field, word in values.items()}
        x, y, w, h = (numbers[side] for side in sides)
        if form == "xyxy":
            w, h = w - x, h - y
        for field, side in (("width", w), ("height", h)):
            if side < 0:
                hint = " (boxes that are x y w h: --boxes xywh)" if form == "xyxy" else ""
                if scored and not last and 0 <= numbers[sides[-1]] <= 1:
                    hint = " (a score that is last: --score last)"
                if all(0 <= numbers[side] <= 1 for side in sides):
                    hint = " (YOLO's fractions, which these may be, go with classes that are numbers)"
                raise FormatError(f"{path}: line {line}: expected a {field} >= 0, got {plain(side)}{hint}")
        return name, (x, y, w, h, float(IGNORE * difficult)), numbers.get("score", 0.0)

    return parse


def _hint(words: list[str], need: int, scored: bool) -> str:
    numbers = sum(map(_is_number, words))
    if not scored and len(words) == need + 1 and numbers >= need:
        return ": true boxes have no score"
    return ": the score is missing" if scored and len(words) == need - 1 else ""


def _spaced(words: list[str], need: int) -> bool:
    """Whether the words after the first of a class name are no numbers."""
    return not any(_is_number(word) for word in words[1 : len(words) - need + 1])


def _is_number(word: str) -> bool:
    return to_float(word) is not None
