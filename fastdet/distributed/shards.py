"""The steps of `fastdet.distributed.evaluate`: shards are read, divided by image, matched, divided by class, summed.

Each step is a function of its arguments alone and gives the same bytes whenever it is run again. None sees more than
one shard, one part of the images, or one part of the classes.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco import read_coco, read_coco_results
from fastdet._files.data_set import check_known
from fastdet._files.errors import FormatError
from fastdet._files.parquet import read_parquet, read_parquet_results
from fastdet.detection import state
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import Columns, Floats, Ints
from fastdet.detection.results import summary
from fastdet.detection.state import Chunk

SUFFIXES = (".json", ".json.gz", ".parquet")
_NONE = Columns(
    np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0, np.uint8),
    np.zeros(0, np.int64),
)  # fmt: skip


class Piece(NamedTuple):
    """What one shard has of one part of the images."""

    shard: str
    images: Ints  # rising ids of those that a shard of true boxes lists; of detections: empty
    whole: bool  # every row of these images is here
    rows: Columns  # in the shard's order; no ids, and of detections no areas


class Curves(NamedTuple):
    """Of some classes: what `DetectionMetrics` takes its results from."""

    classes: Ints  # (K,) rising
    precision: Floats  # (T, R, K, A, M); average precision as R = M = 1 where the method is an area
    recall: Floats  # (T, K, A, M)


def shards(op: str, name: str, given: Any) -> list[str]:
    """The files of a path, folder or pattern, or of several; those of a folder or pattern by name."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    if not several and not isinstance(given, str | os.PathLike):
        raise TypeError(f"{op}: {name} must be a path, a pattern or a list of them, got {type(given).__name__}")
    found: list[str] = []
    for one in given if several else [given]:
        if not isinstance(one, str | os.PathLike):
            raise TypeError(f"{op}: {name} must be a path, a pattern or a list of them, got {type(one).__name__} in it")
        path = os.fspath(one)
        if os.path.isdir(path):
            files = sorted(os.path.join(path, file) for file in os.listdir(path) if file.endswith(SUFFIXES))
        elif os.path.exists(path):
            files = [path]
        else:
            files = sorted(glob.glob(path, recursive=True))
        if not files:
            raise FileNotFoundError(f"{op}: {name} must be files that exist, got none at {path}")
        found += files
    absolute = [os.path.abspath(path) for path in found]
    if len(set(absolute)) < len(absolute):
        again = next(path for path in absolute if absolute.count(path) > 1)
        raise ValueError(f"{op}: {name} must name each file once, got {again} twice")
    for path in absolute:
        if not path.endswith(SUFFIXES):
            raise ValueError(f"{op}: {name} must be {', '.join(SUFFIXES)} files, got {path}")
    return absolute


def part_of(ids: Ints, parts: int) -> Ints:
    """Which part each id belongs to: even, whatever pattern ids follow."""
    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(parts)).astype(np.int64)


def read_truth(path: str, parts: int) -> list[Piece]:
    """A shard of true boxes, divided by image."""
    if path.endswith(".parquet"):
        images, rows = read_parquet(path)
    else:
        data = read_coco(path)
        images, rows = np.sort(data.images), data.truth
    of_image = part_of(images, parts)
    return [
        Piece(path, images[of_image == part], not path.endswith(".parquet"), some)
        for part, some in enumerate(_divided(rows, parts))
    ]


def read_detections(path: str, parts: int) -> list[Piece]:
    """A shard of detections, divided by image."""
    rows = read_parquet_results(path) if path.endswith(".parquet") else read_coco_results(path)
    rows = rows._replace(areas=rows.scores[:0])
    return [Piece(path, rows.ids[:0], False, some) for some in _divided(rows, parts)]


def _divided(rows: Columns, parts: int) -> list[Columns]:
    part = part_of(rows.image, parts)
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(parts + 1))
    rows = rows._replace(label=_narrow(rows.label), ids=rows.ids[:0])
    return [Columns._make(x[order[a:b]] if len(x) else x for x in rows) for a, b in itertools.pairwise(ends)]


def _narrow(x: Array) -> Array:
    """Integers in 32 bits where they fit."""
    return x.astype(np.int32) if x.size and x.min() >= -(2**31) and x.max() < 2**31 else x


def joined(truth: Sequence[Piece], detections: Sequence[Piece]) -> tuple[Columns, Columns, Ints]:
    """Detections and true boxes in the order of the shards, as if they were one file, and the ids of all images.

    Raises
    ------
    FormatError  an image that two shards list, or that none does
    """
    listed = np.sort(np.concatenate([_NONE.image, *(p.images for p in truth if p.whole)]))
    again = np.flatnonzero(listed[1:] == listed[:-1])
    if len(again):
        image = listed[again[0]]
        first, second = [p.shard for p in truth if p.whole and image in p.images][:2]
        raise FormatError(f"{second}: images: expected each in one shard, got {image} as in {first}")
    images = np.unique(np.concatenate([listed, *(p.images for p in truth if not p.whole)]))
    for p in detections:
        check_known(p.shard, "results", "image_id", p.rows.image, images, "an image of the ground truth")
    found, true = (_concatenated([p.rows for p in pieces]) for pieces in (detections, truth))
    return found._replace(areas=found.boxes[:, 2] * found.boxes[:, 3]), true, images


def _concatenated(rows: Sequence[Columns]) -> Columns:
    one = Columns._make(np.concatenate(column) for column in zip(_NONE, *rows, strict=True))
    return one._replace(label=one.label.astype(np.int64))


def match(options: dict[str, Any], parts: int, truth: Sequence[Piece], detections: Sequence[Piece]) -> list[Chunk]:
    """The records of a part of the images, divided by class."""
    metrics = DetectionMetrics(**options)
    metrics.update_columns(*joined(truth, detections))
    chunk = metrics._joined()
    of_class = part_of(chunk.classes, parts)
    return [state.of_classes(chunk, of_class == part) for part in range(parts)]


def sum_up(options: dict[str, Any], chunks: Sequence[Chunk]) -> Curves:
    """Precision and recall of a part of the classes, from the records of all images."""
    metrics = DetectionMetrics(**options)
    metrics._chunks = list(chunks)
    one = metrics._joined()
    return Curves(one.classes, *metrics._measures(one))


def results(options: dict[str, Any], every: Sequence[Curves]) -> dict[str, Any]:
    """The results of all classes, as `DetectionMetrics.compute` gives them."""
    classes = np.concatenate([c.classes for c in every])
    order = np.argsort(classes)
    precision = np.concatenate([c.precision for c in every], axis=2)[:, :, order]
    recall = np.concatenate([c.recall for c in every], axis=1)[:, order]
    metrics = DetectionMetrics(**options)
    return summary(metrics._parameters, metrics._class_metrics, classes[order], precision, recall)
