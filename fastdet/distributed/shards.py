"""The steps of `fastdet.distributed.evaluate`: read shards, divide by image, match, divide by class, sum up.

Each step is a pure function: run again, it gives the same bytes. Each holds one shard, one part of the images or one
part of the classes.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._files.coco import read_coco, read_coco_results
from fastdet._files.data_set import check_known
from fastdet._files.errors import FormatError
from fastdet._files.parquet import read_parquet, read_parquet_results
from fastdet.detection import state
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import SHAPES, Columns, Floats, Ints
from fastdet.detection.results import measures, named_by_kind, summary
from fastdet.detection.state import Chunk

SUFFIXES = (".json", ".json.gz", ".parquet")
NO_IMAGES = np.zeros(0, np.int64)


class Piece(NamedTuple):
    """The rows of one shard that belong to one part of the images."""

    shard: str
    images: Ints  # rising ids of the images that a shard of true boxes lists; for detections: empty
    whole: bool  # whether the shard has all rows of these images
    rows: Columns  # in the shard's order; without ids, and for detected boxes without areas


class Curves(NamedTuple):
    """Precision and recall of some classes, from which `DetectionMetrics` takes its results."""

    classes: Ints  # (K,) rising
    # Of each kind of overlap: precision (T, R, K, A, M), with method "area": average precision, R = M = 1; and recall
    # (T, K, A, M)
    measures: list[tuple[Floats, Floats]]


def shards(op: str, name: str, paths: Any) -> list[str]:
    """The files of a path, folder or pattern, or of a list of these; those of a folder or pattern in order of name."""
    is_list = isinstance(paths, Sequence) and not isinstance(paths, str)
    if not is_list and not isinstance(paths, str | os.PathLike):
        raise TypeError(f"{op}: {name} must be a path, a pattern or a list of them, got {type(paths).__name__}")
    all_files: list[str] = []
    for one in paths if is_list else [paths]:
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
        all_files += files
    absolute = [os.path.abspath(path) for path in all_files]
    if len(set(absolute)) < len(absolute):
        repeated = next(path for path in absolute if absolute.count(path) > 1)
        raise ValueError(f"{op}: {name} must name each file once, got {repeated} twice")
    for path in absolute:
        if not path.endswith(SUFFIXES):
            raise ValueError(f"{op}: {name} must be {', '.join(SUFFIXES)} files, got {path}")
    return absolute


def part_of(ids: Ints, parts: int) -> Ints:
    """The part that each id belongs to; ids are hashed, so parts are even whatever pattern the ids follow."""
    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(parts)).astype(np.int64)


def shape_of(options: dict[str, Any]) -> str:
    """What the options of `DetectionMetrics` need of a record: "bbox", "segm" or "keypoints"."""
    kinds = DetectionMetrics(**options)._parameters.iou_types
    if "rotated" in kinds:
        raise ValueError("evaluate: iou_type must be one that COCO's files hold, got 'rotated': use DetectionMetrics")
    return next((shape for kind in kinds if (shape := SHAPES[kind]) != "bbox"), "bbox")


def read_truth(path: str, parts: int, shape: str) -> list[Piece]:
    """A shard of true boxes, divided by image. ``shape``: see `shape_of`."""
    if path.endswith(".parquet"):
        images, rows = read_parquet(path, shape)
    else:
        data = read_coco(path, iou_type=shape)
        images, rows = np.sort(data.images), data.truth
    of_image = part_of(images, parts)
    return [
        Piece(path, images[of_image == part], not path.endswith(".parquet"), part_rows)
        for part, part_rows in enumerate(_divided(rows, parts))
    ]


def read_detections(path: str, parts: int, shape: str) -> list[Piece]:
    """A shard of detections, divided by image. ``shape``: see `shape_of`."""
    parquet = path.endswith(".parquet")
    rows = read_parquet_results(path, shape) if parquet else read_coco_results(path, iou_type=shape)
    if shape == "bbox":
        rows = rows._replace(areas=rows.scores[:0])
    return [Piece(path, rows.ids[:0], False, part_rows) for part_rows in _divided(rows, parts)]


def _divided(rows: Columns, parts: int) -> list[Columns]:
    part = part_of(rows.image, parts)
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(parts + 1))
    rows = rows._replace(label=_narrow(rows.label), ids=rows.ids[:0])
    return [rows.rows(order[a:b]) for a, b in itertools.pairwise(ends)]


def _narrow(x: Array) -> Array:
    """Integers in 32 bits where they fit."""
    return x.astype(np.int32) if x.size and x.min() >= -(2**31) and x.max() < 2**31 else x


def joined(truth: Sequence[Piece], detections: Sequence[Piece]) -> tuple[Columns, Columns, Ints]:
    """Detections and true boxes in the order of the shards, as if from one file; and the ids of all images.

    Raises
    ------
    FormatError  an image that two shards of true boxes list; detections of an image that none lists
    """
    listed = np.sort(np.concatenate([NO_IMAGES, *(p.images for p in truth if p.whole)]))
    repeated = np.flatnonzero(listed[1:] == listed[:-1])
    if len(repeated):
        image = listed[repeated[0]]
        first, second = [p.shard for p in truth if p.whole and image in p.images][:2]
        raise FormatError(f"{second}: images: expected each in one shard, got {image} as in {first}")
    images = np.unique(np.concatenate([listed, *(p.images for p in truth if not p.whole)]))
    for p in detections:
        check_known(p.shard, "results", "image_id", p.rows.image, images, "an image of the ground truth")
    predicted, true = (_concatenated([p.rows for p in pieces]) for pieces in (detections, truth))
    if not len(predicted.areas):
        predicted = predicted._replace(areas=predicted.boxes[:, 2] * predicted.boxes[:, 3])
    return predicted, true, images


def _concatenated(rows: Sequence[Columns]) -> Columns:
    one = Columns.concatenate(rows)
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
    p = metrics._parameters
    one = state.join(p, list(chunks))
    every = [
        measures(replace(p, iou_types=(kind,)), state.of_type(p, one, i), None) for i, kind in enumerate(p.iou_types)
    ]
    return Curves(one.classes, every)


def results(options: dict[str, Any], curves: Sequence[Curves]) -> dict[str, Any]:
    """The results for all classes, as from `DetectionMetrics.compute`."""
    classes = np.concatenate([c.classes for c in curves])
    order = np.argsort(classes)
    metrics = DetectionMetrics(**options)
    p, found = metrics._parameters, {}
    for i, kind in enumerate(p.iou_types):
        precision = np.concatenate([c.measures[i][0] for c in curves], axis=2)[:, :, order]
        recall = np.concatenate([c.measures[i][1] for c in curves], axis=1)[:, order]
        found[kind] = summary(p, metrics._class_metrics, classes[order], precision, recall)
    return found[p.iou_types[0]] if len(found) == 1 else named_by_kind(found)
