"""Scoring detections in shards on a Ray cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastdet._core import backends, check
from fastdet.detection.metrics import DetectionMetrics
from fastdet.distributed import shards
from fastdet.distributed.cluster import cluster
from fastdet.distributed.shards import Curves, Piece

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Progress = Callable[[str, int, int], Any]

PART_BYTES = 1 << 28  # bytes of files for each part of the images


def score(ground_truth: Paths, detections: Paths, **options: Any) -> DetectionMetrics:
    """Score shards in this process.

    Parameters
    ----------
    ground_truth, detections : as in `evaluate`
    options : as in `DetectionMetrics`, without box_format, which is that of the files

    Returns
    -------
    DetectionMetrics : call ``compute`` for its results, or ``to_bytes`` for its state

    Raises
    ------
    the errors of `evaluate`
    """
    op = "score"
    if "box_format" in options:
        raise TypeError(f"{op}: box_format must be left out, the files have their own, got {options['box_format']!r}")
    metrics = DetectionMetrics(**options)
    shape = shards.shape_of(options)
    truth = [shards.read_truth(path, 1, shape)[0] for path in shards.shards(op, "ground_truth", ground_truth)]
    predicted = [shards.read_detections(path, 1, shape)[0] for path in shards.shards(op, "detections", detections)]
    metrics.update_columns(*shards.joined(truth, predicted))
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
    max_detections: Sequence[int | None] | None = None,
    areas: Mapping[str, tuple[float, float]] | None = None,
    class_metrics: bool = True,
    rule: str = "coco",
    method: str = "coco101",
    inclusive: bool = False,
    iou_type: str | Sequence[str] = "bbox",
    sigmas: Sequence[float] | None = None,
    use_area: bool = True,
) -> dict[str, Any]:
    """Score a data set of shards on a Ray cluster.

    Shards are read and divided by image id. Each part of the images is matched by itself, and its records, 13 to 15
    bytes a detection, are divided by class. Each part of the classes is summed up by itself. All steps run in parallel,
    as tasks without side effects: if a worker dies, Ray runs its task again, and nothing is counted twice.

    Parameters
    ----------
    ground_truth, detections : a file, a folder, a pattern such as ``truth/*.json``, or a list of these. The module's
        docstring describes the files. Shards of detections and of true boxes need not have the same images. The order
        of shards, by name within a folder or pattern, decides ties between detections of one image
    address : the cluster's, as in ``ray.init``; None: RAY_ADDRESS, else a cluster that runs on this machine, else a
        new one on this machine. If the caller has called ``ray.init``, that cluster is used
    partitions : number of parts of the images, and then of the classes; None: one for each 256 MB of files, and at
        least one for each processor of the cluster
    progress : function that is called with "read", "match" or "sum up", the number of done tasks and of all tasks
    iou_thresholds, rec_thresholds, max_detections, areas, class_metrics, rule, method, inclusive, iou_type, sigmas,
    use_area : as in `DetectionMetrics`, but for the rule "lvis", which needs lists that shards do not have

    Returns
    -------
    results : as from `DetectionMetrics.compute` on all images, equal bit for bit

    Raises
    ------
    TypeError          kind of an argument
    ValueError         range of an argument; a file that is named twice
    FileNotFoundError  a path or pattern without files
    FormatError        an invalid file; an image in two JSON shards of true boxes; detections of an image that no shard
        of true boxes lists (one line that names the file)
    ImportError        Ray is not installed; or, for Parquet, pyarrow

    Notes
    -----
    A process holds one shard, one part of the images or one part of the classes; a class is never divided. Between the
    steps, data is in Ray's object store, which spills to disk: 52 bytes a detection, then 13 to 19.
    """
    op = "evaluate"
    options = {
        "iou_thresholds": iou_thresholds, "rec_thresholds": rec_thresholds, "max_detections": max_detections,
        "areas": areas, "class_metrics": class_metrics, "rule": rule, "method": method, "inclusive": inclusive,
        "iou_type": iou_type, "sigmas": sigmas, "use_area": use_area,
    }  # fmt: skip
    DetectionMetrics(**options)  # type: ignore[arg-type]  # wrong options raise here, not on the cluster
    if rule == "lvis":
        raise ValueError(f"{op}: rule must be 'coco' or 'voc' on a cluster, got 'lvis'")
    truth = shards.shards(op, "ground_truth", ground_truth)
    predicted = shards.shards(op, "detections", detections)
    if partitions is not None and not check.count(op, "partitions", partitions):
        raise ValueError(f"{op}: partitions must be above 0, got 0")
    with cluster(op, address) as ray:
        if partitions is None:
            size = sum(os.path.getsize(path) for path in (*truth, *predicted))
            partitions = max(1, int(ray.cluster_resources().get("CPU", 1)), math.ceil(size / PART_BYTES))
        return _run(ray, options, truth, predicted, partitions, progress or _silent)


def _run(
    ray: Any, options: dict[str, Any], truth: list[str], predicted: list[str], parts: int, progress: Progress
) -> dict[str, Any]:
    """Run the three steps. A task's first result is a small number to wait for; the others stay in the object store."""
    remote = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    read, match = (remote(work).options(num_returns=parts + 1) for work in (_read, _match))
    shape = shards.shape_of(options)
    pieces = [read.remote(path, parts, i < len(truth), shape) for i, path in enumerate([*truth, *predicted])]
    _wait(ray, progress, "read", [done for done, *_ in pieces])
    chunks = [match.remote(options, parts, len(truth), *part) for part in _parts(pieces)]
    del pieces  # lets Ray free each piece once it has been matched
    _wait(ray, progress, "match", [done for done, *_ in chunks])
    curves = [remote(_sum_up).remote(options, *part) for part in _parts(chunks)]
    del chunks
    _wait(ray, progress, "sum up", curves)
    return shards.results(options, ray.get(curves))


def _parts(refs: list[list[Any]]) -> list[list[Any]]:
    """For each part, the results of every task."""
    return [list(part) for part in zip(*(ref[1:] for ref in refs), strict=True)]


def _wait(ray: Any, progress: Progress, stage: str, tasks: list[Any]) -> None:
    waiting = tasks
    progress(stage, 0, len(tasks))
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, fetch_local=False)
        ray.get(done)  # raises the task's error
        progress(stage, len(tasks) - len(waiting), len(tasks))


def _silent(stage: str, done: int, total: int) -> None:
    pass


# The tasks. Ray runs each in a process of its own for each processor, so each uses one thread.


def _read(path: str, parts: int, true: bool, shape: str) -> list[Any]:
    _one_thread()
    pieces = shards.read_truth(path, parts, shape) if true else shards.read_detections(path, parts, shape)
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
