"""The detections that `fastdet nms` reads and writes, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array
from fastdet._files.coco_objects import Spans


@dataclass
class Records:
    """The open JSON input, and the position of each record in it."""

    path: Path
    file: IO[bytes]  # the JSON text: a temporary file where ``path`` is packed by gzip
    spans: Spans


@dataclass
class Table:
    """Raw detections as columns. ``rows[offsets[i]:offsets[i + 1]]`` are the rows of image i."""

    boxes: Array  # (N, 4), x1 y1 x2 y2, or x y width height if xywh
    xywh: bool
    scores: Array  # (N,)
    labels: Array | None  # (N,) integer
    images: Sequence[int | str]  # (I,)
    offsets: NDArray[np.int64]  # (I + 1,)
    rows: NDArray[np.int64] | None  # (N,); None: rows 0 .. N - 1 are in order
    records: Records | None = None  # JSON input only
    layout: dict[str, str] | None = None  # NPZ input only: the name of each array by its role
    kept: Array | None = None  # (M,) which rows of the file are here; None: all
    ignored: tuple[str, ...] = ()  # other arrays of NPZ; other keys around the list of JSON

    def of(self, first: int, last: int) -> NDArray[np.int64]:
        """Rows of the images first .. last - 1."""
        a, b = int(self.offsets[first]), int(self.offsets[last])
        return np.arange(a, b) if self.rows is None else self.rows[a:b]

    def corners(self, rows: Array) -> Array:
        """(K, 4) boxes x1 y1 x2 y2 of K rows."""
        boxes = self.boxes[rows]
        if self.xywh:
            boxes[:, 2:] += boxes[:, :2]
        return boxes

    def close(self) -> None:
        if self.records is not None:
            self.records.file.close()


@dataclass
class Kept:
    """The kept rows of a `Table`, by image, and their new scores where the method changes them."""

    rows: NDArray[np.int64]  # (K,)
    offsets: NDArray[np.int64]  # (I + 1,)
    scores: Array | None  # (K,)


def group(image: Array, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Offsets of ``count`` images, and the rows ordered by image; None if they are in this order already."""
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(image, minlength=count), out=offsets[1:])
    if not len(image) or bool((image[1:] >= image[:-1]).all()):
        return offsets, None
    return offsets, np.argsort(image, kind="stable").astype(np.int64)
