"""Read YOLO's folders of txt files: lines ``class cx cy w h [score]``, boxes as fractions of the image size."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastdet._core.check import describe
from fastdet._files.data_set import DataSet
from fastdet._files.errors import FormatError
from fastdet._files.folders import Parse, Rows, data_set, lines, number, results, texts
from fastdet.detection.records import Columns

Sizes = Mapping[str, tuple[int, int]]


def _yolo(sizes: Mapping[int, tuple[int, int]], scored: bool) -> Parse:
    def parse(path: Path, image: int, line: int, words: list[str]) -> tuple[str, Sequence[float], float]:
        need = 6 if scored else 5
        if len(words) != need:
            raise FormatError(
                f"{path}: line {line}: expected class cx cy w h{' score' if scored else ''}, got {len(words)} words"
            )
        if not (words[0].isascii() and words[0].isdigit()):
            raise FormatError(f"{path}: line {line}: class: expected an integer >= 0, got {describe(words[0])}")
        if len(words[0]) > 6:
            raise FormatError(f"{path}: line {line}: class: expected an integer below 1,000,000, got {words[0]}")
        values = [number(path, line, f, w) for f, w in zip(("cx", "cy", "w", "h", "score"), words[1:], strict=False)]
        for field, value in zip(("width", "height"), values[2:4], strict=True):
            if not 0 <= value <= 1:
                raise FormatError(f"{path}: line {line}: expected a {field} in [0, 1], got {value:g}")
        width, height = sizes[image]
        cx, cy, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
        return words[0], (cx - w / 2, cy - h / 2, w, h, 0.0), values[4] if scored else 0.0

    return parse


def read_yolo(folder: str | os.PathLike[str], sizes: Sizes, classes: Sequence[str] | None = None) -> DataSet:
    """Read a folder of YOLO's txt labels. ``sizes``: width and height in pixels by image name without suffix.

    An image with a size and no file has no objects. ``classes`` gives the names of the class numbers; without it the
    folder's ``classes.txt`` does; without that a number is its own name.
    """
    files = texts(folder, ".txt")
    stems = sorted({path.stem for path in files} | set(sizes))
    place = {name: i for i, name in enumerate(stems)}
    for path in files:
        if path.stem not in sizes or min(sizes[path.stem]) < 1:
            raise FormatError(f"{path}: expected the image's width and height in pixels, got {sizes.get(path.stem)}")
    if classes is None and (listed := Path(folder) / "classes.txt").is_file():
        classes = [" ".join(words) for _, words in lines(listed)]
    of = [(int(sizes[stem][0]), int(sizes[stem][1])) for stem in stems]
    parse, table = _yolo(dict(enumerate(of)), scored=False), Rows([])
    max_label = -1
    for path in files:
        for line, words in lines(path):
            image = place[path.stem]
            name, (x, y, w, h, flag), _ = parse(path, image, line, words)
            if classes is not None and int(name) >= len(classes):
                raise FormatError(f"{path}: line {line}: class: expected less than {len(classes)}, got {name}")
            max_label = max(max_label, int(name))
            table.note_if_empty(f"{path}: line {line}", w, h, 0.0)
            table.rows.append((image, int(name), x, y, w, h, 0, flag))
    table.names = list(classes) if classes is not None else [str(i) for i in range(max_label + 1)]
    return data_set(stems, of, table, 0.0)


def read_yolo_results(folder: str | os.PathLike[str], data: DataSet) -> Columns:
    """Read detections as YOLO writes them with ``save_txt`` and ``save_conf``: ``class cx cy w h score``."""
    sizes = {int(i): (int(w), int(h)) for i, (w, h) in zip(data.images, data.sizes, strict=True)}
    if not data.sizes.all():
        raise FormatError(f"{folder}: expected a data set with the sizes of its images, got one without")
    return results(folder, data, _yolo(sizes, scored=True), by_number=True)
