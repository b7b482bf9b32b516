"""``fastdet evaluate``: score detections, as a table or as JSON."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends
from fastdet._core.metric import RESAMPLES, known_mean
from fastdet._files import sources
from fastdet._files.data_set import DataSet
from fastdet._files.errors import ChoiceError
from fastdet.cli import report
from fastdet.cli.evaluate_options import LEVEL, Options, Settings, reading_of, settings_of
from fastdet.cli.summary import show
from fastdet.cli.terminal import (
    MAX_SKIPPED,
    Failure,
    command,
    interruptible,
    note,
    say,
    say_json,
    skipped_lines,
    stage,
    wrong_option,
)
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import Columns
from fastdet.detection.results import ABSENT


def run(options: Options) -> None:
    """Score detections: COCO's average precision and recall, or VOC's.

    GT: COCO JSON; a folder of VOC's XML; a folder of YOLO's txt ("class cx cy
    w h", as fractions of the image; needs images/ beside labels/, --images or
    --image-size); a folder of txt ("class x1 y1 x2 y2", then optionally the
    word difficult); or NPZ (boxes, labels, image; optional difficult, iscrowd,
    area, image_names, classes).

    DETECTIONS: COCO results JSON (images and categories are matched by name if
    the file lists them); a folder of txt with "class score x1 y1 x2 y2", YOLO's
    "class cx cy w h score", or VOC's one file a class with "image score x1 y1
    x2 y2"; or NPZ as fastdet nms writes it.

    --at 0.5: precision, recall and F1 of the detections with at least this
    score, and the score of the best F1; at IoU 0.5, over all classes and for
    each.

    --method voc2007 and area use the rule of VOC, IoU 0.5, all detections and
    all sizes, unless other options are set.

    An error in a file is one line that names the record and the field; no
    score is printed. A score without true boxes is -1.

    --engine ray: GT and DETECTIONS are each a file, a folder or a pattern in
    quotes of COCO JSON or Parquet shards. The two may be divided differently.
    """
    began = time.perf_counter()
    settings, reading = settings_of(options), reading_of(options)
    results = _from_cluster(options, settings) if _on_cluster(options) else _from_files(options, settings, reading)
    results |= {"backend": backends.default(), "seconds": round(time.perf_counter() - began, 6)}
    if options.as_json:
        say_json(results)
        return
    for text in [*results["notes"], *skipped_lines(results["skipped"])]:
        note(text)
    show(results, options.per_class)
    for path in results["plots"]:
        say(f"written: {path}")


evaluate = command(Options, run)


def _from_files(options: Options, settings: Settings, reading: sources.Reading) -> dict[str, Any]:
    """Score files on this machine. Returns the JSON object."""
    plots, ci = options.plots, options.ci
    if plots is not None:
        if not (plots.is_dir() or (not plots.exists() and plots.parent.is_dir())):
            raise Failure(f"evaluate: --plots must be a folder, or a new one in an existing folder, got {plots}")
        try:
            report.need()  # report a missing matplotlib before the work
        except ImportError as error:
            raise Failure(str(error)) from None
    with stage("reading"):
        try:
            inputs = interruptible(sources.read, options.truth, options.detections, reading)
        except ChoiceError as error:
            raise Failure(f"evaluate: --{error}") from None
    with stage("matching"):
        metrics = interruptible(score, inputs.data, inputs.detections, settings)
    with stage("bootstrap" if ci else "adding up"):
        results = interruptible(lambda: metrics.compute(ci=LEVEL if ci else None, resamples=RESAMPLES))
    means = [known_mean(ap, ABSENT) for ap in metrics.average_precision()[..., 0]]
    summary = {
        "truth": str(options.truth),
        "detections": str(options.detections),
        "formats": dict(zip(("truth", "detections"), inputs.formats, strict=True)),
        **figures(results, settings, inclusive=bool(inputs.data.offset), of_threshold=means),
        **detail(metrics, settings, inputs.data),
        **({} if options.at is None else at_score(metrics, settings, inputs.data, options.at)),
        "plots": [],
        "notes": [*inputs.notes, *_of_settings(options, inputs)],
        "skipped": {"count": len(inputs.skipped), "records": inputs.skipped[:MAX_SKIPPED]},
    }
    if plots is not None:
        with stage("drawing"):
            summary["plots"] = [str(path) for path in interruptible(report.save, metrics, summary, plots)]
    return summary


def _of_settings(options: Options, inputs: sources.Inputs) -> list[str]:
    """A note where VOC's rule meets boxes that may count their last pixel, as VOC's do, or not."""
    if options.method == "coco101" or options.inclusive is not None or inputs.formats[0] == "voc":
        return []
    return [
        f"boxes of {inputs.formats[0]} end at x2 and y2; figures of VOC take x2 and y2 as the last pixel inside: "
        "use --inclusive for these, or --exclusive"
    ]


def score(data: DataSet, detections: Columns, settings: Settings) -> DetectionMetrics:
    """Metrics of all images of a data set. Failure."""
    metrics = settings.metrics(inclusive=bool(data.offset))
    try:
        metrics.update_columns(detections, data.truth, data.images)
    except ValueError as error:  # readers accept areas that overflow and ids of more than 62 bits
        raise Failure(str(error)) from None
    return metrics


def _on_cluster(o: Options) -> bool:
    """Whether ``--engine ray`` is asked for. Failure for options that do not go with the engine."""
    if o.engine not in ("local", "ray"):
        raise Failure(f"evaluate: --engine must be local or ray, got {o.engine}")
    if o.engine == "local":
        if o.address is not None:
            raise Failure("evaluate: --address goes with --engine ray")
        return False
    local_only = {
        "--plots": o.plots, "--ci": o.ci or None, "--classes": o.classes, "--images": o.images,
        "--image-size": o.image_size, "--image-set": o.image_set, "--boxes": o.boxes, "--labels": o.labels,
        "--confusion-at": o.confusion_at, "--at": o.at, "--score": o.score, "--points": o.points,
        "--image-ids": o.image_ids, "--skip-invalid": o.skip_invalid or None,
        "--format": o.format if o.format not in ("auto", "coco") else None,
    }  # fmt: skip
    for option, value in local_only.items():
        if value is not None:
            raise Failure(f"evaluate: {option} does not go with --engine ray")
    return True


def _from_cluster(o: Options, settings: Settings) -> dict[str, Any]:
    """Score shards on a Ray cluster. Returns the JSON object. Classes have ids only: no process holds their names."""
    from fastdet import distributed

    inclusive = bool(o.inclusive)
    options: dict[str, Any] = {key: value for key, value in vars(settings).items() if key != "confusion_at"}
    options |= {"address": o.address, "inclusive": inclusive}
    with stage("scoring on the cluster"):
        try:
            results = distributed.evaluate(str(o.truth), str(o.detections), **options)
        except (ImportError, OSError, ValueError) as error:  # FormatError is one
            raise Failure(str(error)) from None
    limit = settings.max_detections[-1]
    recall = results[f"mar_{'all' if limit is None else limit}_per_class"]
    of_class = zip(results["classes"].tolist(), results["map_per_class"].tolist(), recall.tolist(), strict=True)
    return {
        "truth": str(o.truth),
        "detections": str(o.detections),
        **figures(results, settings, inclusive=inclusive),
        "classes": int((results["map_per_class"] > -1).sum()),
        "per_class": [{"id": k, "name": str(k), "ap": ap, "ar": ar} for k, ap, ar in of_class],
        "plots": [],
        "notes": [],
        "skipped": {"count": 0, "records": []},
    }


# ------------------------------------------------------------------------------------------------ figures
class Line(NamedTuple):
    """A line of the summary, such as one of COCO's twelve."""

    key: str  # key of the result of `DetectionMetrics.compute`; "" if it has none
    kind: str  # "AP" or "AR"
    iou: str
    area: str
    max_detections: int | None
    value: float

    def as_json(self) -> dict[str, Any]:
        """The line under its published keys, where ``max_detections`` is "most"."""
        return {("most" if name == "max_detections" else name): value for name, value in self._asdict().items()}


def lines(results: dict[str, Any], settings: Settings, of_threshold: Sequence[float] | None = None) -> list[Line]:
    """The lines of the summary. COCO's settings give its twelve lines; VOC's methods give one for each threshold."""
    at, limits, areas = settings.iou_thresholds, settings.max_detections, list(settings.areas)
    span = f"{at[0]:0.2f}:{at[-1]:0.2f}" if len(at) > 1 else f"{at[0]:0.2f}"
    rows = []

    def line(key: str, kind: str, iou: str, area: str, limit: int | None) -> None:
        rows.append(Line(key, kind, iou, area, limit, float(results[key])))

    if settings.method != "coco101" and len(at) > 1 and of_threshold is not None:
        rows += [Line("", "AP", f"{t:0.2f}", "all", limits[-1], ap) for t, ap in zip(at, of_threshold, strict=True)]
    line("map", "AP", span, "all", limits[-1])
    if len(at) > 1 and settings.method == "coco101":
        for key, threshold in (("map_50", 0.5), ("map_75", 0.75)):
            if np.isclose(at, threshold, rtol=0, atol=1e-9).any():
                line(key, "AP", f"{threshold:0.2f}", "all", limits[-1])
    for area in areas[1:]:
        line(f"map_{area}", "AP", span, area, limits[-1])
    if settings.method == "coco101":
        for limit in limits:
            line(f"mar_{'all' if limit is None else limit}", "AR", span, "all", limit)
        for area in areas[1:]:
            line(f"mar_{area}", "AR", span, area, limits[-1])
    return rows


def figures(
    results: dict[str, Any], settings: Settings, *, inclusive: bool, of_threshold: Sequence[float] | None = None
) -> dict[str, Any]:
    """The scores as a part of the JSON object, from the result of `DetectionMetrics.compute` or of a cluster.

    ``of_threshold`` is the mean average precision at each IoU threshold. A score without true boxes is -1.
    """
    every = lines(results, settings, of_threshold)
    ends = {key.removesuffix("_ci"): value.tolist() for key, value in results.items() if key.endswith("_ci")}
    summary: dict[str, Any] = {
        "settings": {
            "method": settings.method, "rule": settings.rule, "inclusive": inclusive,
            "iou": list(settings.iou_thresholds), "max_dets": list(settings.max_detections),
            "areas": {k: [a, None if math.isinf(b) else b] for k, (a, b) in settings.areas.items()},
        },
        "stats": [line.value for line in every],
        "summary": [{**line.as_json(), "ci": ends.get(line.key)} if ends else line.as_json() for line in every],
        **{key: value for key, value in results.items() if isinstance(value, float)},
    }  # fmt: skip
    if ends:
        summary["ci"] = {"level": LEVEL, "resamples": RESAMPLES, "seed": 0}
    return summary


def detail(metrics: DetectionMetrics, settings: Settings, data: DataSet) -> dict[str, Any]:
    """The other part of the JSON object: counts, each class, and the confusion matrix if it is asked for."""
    records, of_class, labels = metrics.records
    total = [int(records.counted[a:b, 0].sum()) for a, b in itertools.pairwise(of_class)]
    detections = np.diff(records.start[of_class])
    names = dict(zip(data.categories.tolist(), data.category_names, strict=True))
    precision, recall = metrics.average_precision(), metrics.curves()[1][..., -1]
    named = _named_thresholds(settings)
    rows = []
    for k in np.flatnonzero(np.isin(labels, data.categories)).tolist():
        row: dict[str, Any] = {"id": int(labels[k]), "name": names[int(labels[k])] or str(labels[k])}
        row["ap"] = known_mean(precision[:, k, 0], ABSENT)
        row |= {f"ap{100 * t:g}": float(precision[i, k, 0]) for i, t in named}
        row["ar"] = known_mean(recall[:, k, 0], ABSENT)
        row |= {f"ap_{area}": known_mean(precision[:, k, a], ABSENT) for a, area in enumerate(settings.areas) if a}
        rows.append({**row, "true_boxes": total[k], "detections": int(detections[k])})
    summary: dict[str, Any] = {
        "images": len(metrics),
        "classes": sum(row["true_boxes"] > 0 for row in rows),
        "true_boxes": sum(row["true_boxes"] for row in rows),
        "scored_detections": sum(row["detections"] for row in rows),
        "per_class": rows,
    }
    if settings.confusion_at is not None:
        called = [names.get(int(i)) or str(i) for i in labels]
        summary["confusion"] = {
            "iou": settings.confusion_at[0], "score": settings.confusion_at[1],
            "classes": [*called, "background"], "matrix": metrics.confusion_matrix().tolist(),
        }  # fmt: skip
    return summary


_AT_SCORE = ("score", "precision", "recall", "f1", "true_positives", "false_positives", "false_negatives")


def at_score(metrics: DetectionMetrics, settings: Settings, data: DataSet, score: float) -> dict[str, Any]:
    """Precision, recall and F1 at a score, and those at the score of the best F1: of all classes, and of each."""
    try:
        found = {
            "at_score": metrics.at_score(score, iou=settings.at_iou),
            "best_f1": metrics.best_f1(iou=settings.at_iou),
        }
    except ValueError as error:
        raise wrong_option("evaluate", str(error), {"score": "at"}) from None
    names = dict(zip(data.categories.tolist(), data.category_names, strict=True))
    summary: dict[str, Any] = {}
    for key, of in found.items():
        columns = {name: of[f"{name}_per_class"].tolist() for name in _AT_SCORE}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        summary[key] = {
            "iou": float(of["iou"]), **{name: of[name] for name in _AT_SCORE}, "macro_f1": of["macro_f1"],
            "per_class": [
                {"id": k, "name": names[k] or str(k), **row}
                for k, row in zip(of["classes"].tolist(), rows, strict=True) if k in names
            ],
        }  # fmt: skip
    return summary


def _named_thresholds(settings: Settings) -> list[tuple[int, float]]:
    """The IoU thresholds with a column of their own: all of up to four, else 0.5 and 0.75."""
    at = settings.iou_thresholds
    if len(at) == 1:
        return []
    return [(i, t) for i, t in enumerate(at) if len(at) <= 4 or min(abs(t - 0.5), abs(t - 0.75)) < 1e-9]
