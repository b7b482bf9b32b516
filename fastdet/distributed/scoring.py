"""Scoring detections in shards on a Ray cluster."""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastdet._core import backends, check
from fastdet.detection.metrics import DetectionMetrics
from fastdet.distributed import shards
from fastdet.distributed.shards import Curves, Piece

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Progress = Callable[[str, int, int], Any]

PART = 1 << 28  # bytes of files whose boxes are matched together


def score(ground_truth: Paths, detections: Paths, **options: Any) -> DetectionMetrics:
    """Score shards in this process.

    Parameters
    ----------
    ground_truth, detections : as in `evaluate`
    options : of `DetectionMetrics`, but for box_format, which is that of the files

    Returns
    -------
    DetectionMetrics : what to call ``compute`` or ``to_bytes`` on

    Raises
    ------
    as `evaluate` does
    """
    op = "score"
    if "box_format" in options:
        raise TypeError(f"{op}: box_format must not be given: it is that of the files, got {options['box_format']!r}")
    metrics = DetectionMetrics(**options)
    truth = [shards.read_truth(path, 1)[0] for path in shards.shards(op, "ground_truth", ground_truth)]
    found = [shards.read_detections(path, 1)[0] for path in shards.shards(op, "detections", detections)]
    metrics.update_columns(*shards.joined(truth, found))
    return metrics


def evaluate(
    ground_truth: Paths,
    detections: Paths,
    *,
    address: str | None = None,
    partitions: int | None = None,
    progress: Progress | None = None,
    iou_thresholds: Sequence[float] | None = None,
    rec_thresholds: Sequence[float] | None = None,
    max_detections: Sequence[int | None] = (1, 10, 100),
    areas: Mapping[str, tuple[float, float]] | None = None,
    class_metrics: bool = True,
    rule: str = "coco",
    method: str = "coco101",
    inclusive: bool = False,
) -> dict[str, Any]:
    """Score a data set of shards on a Ray cluster.

    Shards are read and divided by image id; each part of the images is matched by itself, and its records, 13 to 15
    bytes a detection, are divided by class; each part of the classes is summed up by itself. All of it in parallel, by
    tasks without side effects: one whose worker dies is run again by Ray, and nothing is counted twice.

    Parameters
    ----------
    ground_truth, detections : a file, a folder, a pattern such as ``truth/*.json``, or a list of them; the module says
        what is in the files. Detections may be divided otherwise than true boxes. The order of shards, a folder's or
        a pattern's by name, is the order of tied detections of one image, as of lines in one file
    address : of the cluster, as in ``ray.init``; None for that of RAY_ADDRESS, one that runs on this machine, or a new
        one on this machine. Ray that the caller has started is used as it is
    partitions : into how many parts images, and then classes, are divided; None for one each 256 MB of files, and at
        least one for each processor of the cluster
    progress : called with "read", "match" or "sum up", and how many of how many tasks of it are done
    iou_thresholds, rec_thresholds, max_detections, areas, class_metrics, rule, method, inclusive : of
        `DetectionMetrics`

    Returns
    -------
    results : those of `DetectionMetrics.compute`, the same bit for bit

    Raises
    ------
    TypeError          kind of an argument
    ValueError         its range; a file that is named twice
    FileNotFoundError  a path or pattern without files
    FormatError        a file that is not what it should be; an image that two JSON shards of true boxes list;
        detections of an image that none lists (one line that names the file)
    ImportError        Ray, or for Parquet pyarrow, is not installed

    Notes
    -----
    A process holds one shard, one part of the images or one part of the classes; a class is not divided. What lies
    between the steps, 52 bytes a detection and then 13 to 19, is in Ray's object store, which goes on to disk where
    memory ends.
    """
    op = "evaluate"
    options = {
        "iou_thresholds": iou_thresholds, "rec_thresholds": rec_thresholds, "max_detections": max_detections,
        "areas": areas, "class_metrics": class_metrics, "rule": rule, "method": method, "inclusive": inclusive,
    }  # fmt: skip
    DetectionMetrics(**options)  # type: ignore[arg-type]  # raises here, not on the cluster
    truth = shards.shards(op, "ground_truth", ground_truth)
    found = shards.shards(op, "detections", detections)
    if partitions is not None and not check.count(op, "partitions", partitions):
        raise ValueError(f"{op}: partitions must be above 0, got 0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ImportError(f'{op}: the cluster needs Ray: pip install "fastdet[ray]"') from None
    ours = not ray.is_initialized()
    if not ours and address is not None:
        raise ValueError(f"{op}: address must be None where Ray is initialized already, got {address!r}")
    if ours:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    try:
        if partitions is None:
            size = sum(os.path.getsize(path) for path in (*truth, *found))
            partitions = max(1, int(ray.cluster_resources().get("CPU", 1)), math.ceil(size / PART))
        return _run(ray, options, truth, found, partitions, progress or _silent)
    except ray.exceptions.RayTaskError as error:  # of ours, as it was raised there
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    finally:
        if ours:
            ray.shutdown()


def _run(
    ray: Any, options: dict[str, Any], truth: list[str], found: list[str], parts: int, progress: Progress
) -> dict[str, Any]:
    """Step by step. The first thing that a task gives is small, the others wait in the object store."""
    remote = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    read, match = (remote(work).options(num_returns=parts + 1) for work in (_read, _match))
    pieces = [read.remote(path, parts, i < len(truth)) for i, path in enumerate([*truth, *found])]
    _wait(ray, progress, "read", [done for done, *_ in pieces])
    chunks = [match.remote(options, parts, len(truth), *part) for part in _parts(pieces)]
    del pieces  # Ray forgets each when it has been matched
    _wait(ray, progress, "match", [done for done, *_ in chunks])
    curves = [remote(_sum_up).remote(options, *part) for part in _parts(chunks)]
    del chunks
    _wait(ray, progress, "sum up", curves)
    return shards.results(options, ray.get(curves))


def _parts(refs: list[list[Any]]) -> list[list[Any]]:
    """Of each part, what every task gave."""
    return [list(part) for part in zip(*(ref[1:] for ref in refs), strict=True)]


def _wait(ray: Any, progress: Progress, stage: str, tasks: list[Any]) -> None:
    waiting = tasks
    progress(stage, 0, len(tasks))
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, fetch_local=False)
        ray.get(done)  # raises what the task raised
        progress(stage, len(tasks) - len(waiting), len(tasks))


def _silent(stage: str, done: int, total: int) -> None:
    pass


# What workers run: a process each, so one thread each


def _read(path: str, parts: int, true: bool) -> list[Any]:
    _one_thread()
    pieces = shards.read_truth(path, parts) if true else shards.read_detections(path, parts)
    return [sum(len(piece.rows.image) for piece in pieces), *pieces]


def _match(options: dict[str, Any], parts: int, true: int, *pieces: Piece) -> list[Any]:
    _one_thread()
    chunks = shards.match(options, parts, pieces[:true], pieces[true:])
    return [sum(len(chunk.scores) for chunk in chunks), *chunks]


def _sum_up(options: dict[str, Any], *chunks: Any) -> Curves:
    _one_thread()
    return shards.sum_up(options, chunks)


def _one_thread() -> None:
    if backends.native is not None:
        backends.native.set_num_threads(1)
