"""``fastdet evaluate``: score detections, as a table or as JSON."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends
from fastdet._core.metric import RESAMPLES, known_mean
from fastdet._files import coco, sources
from fastdet._files.coco_shapes import Held
from fastdet._files.data_set import DataSet
from fastdet._files.errors import ChoiceError, FormatError
from fastdet.cli import report
from fastdet.cli.engine import check_engine
from fastdet.cli.evaluate_options import LEVEL, Options, Settings, reading_of, settings_of
from fastdet.cli.evaluate_panoptic import holds_segments, score_panoptic
from fastdet.cli.summary import show
from fastdet.cli.terminal import (
    MAX_SKIPPED,
    Failure,
    about_intervals,
    command,
    interruptible,
    note,
    say,
    say_json,
    skipped_lines,
    stage,
    wrong_option,
)
from fastdet.detection.errors import BACKGROUND_IOU, of_metrics
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import Columns
from fastdet.detection.results import ABSENT


def run(options: Options) -> None:
    """Score detections: COCO's average precision and recall, LVIS's, or VOC's.

    GT: COCO JSON; a folder of VOC's XML; a folder of YOLO's txt ("class cx cy
    w h", as fractions of the image; needs images/ beside labels/, --images or
    --image-size); a folder of txt ("class x1 y1 x2 y2", then optionally the
    word difficult); a folder of DOTA's txt ("x1 y1 x2 y2 x3 y3 x4 y4 class
    difficult"); or NPZ (boxes, labels, image; optional difficult, iscrowd,
    area, image_names, classes).

    DETECTIONS: COCO results JSON (images and categories are matched by name if
    the file lists them); a folder of txt with "class score x1 y1 x2 y2", YOLO's
    "class cx cy w h score", VOC's one file a class with "image score x1 y1 x2
    y2", or DOTA's Task1_<class>.txt with "image score x1 y1 ... x4 y4"; or NPZ
    as fastdet nms writes it.

    COCO results that hold masks (segmentation) or keypoints are scored by
    these, a table each, if the data set has them; --kind chooses one. boundary
    scores masks by the lesser of the overlaps of masks and of their edges.

    --at 0.5: precision, recall and F1 of the detections with at least this
    score, and the score of the best F1; at IoU 0.5, over all classes and for
    each.

    --errors: detections that are wrong and objects that are missed, by kind, and
    how much AP rises if those of a kind are mended (TIDE); and how far scores
    are from the share of detections that are right.

    --method voc2007 and area use the rule of VOC, IoU 0.5, all detections and
    all sizes, unless other options are set.

    An error in a file is one line that names the record and the field; no
    score is printed. A score without true boxes is -1.

    COCO's panoptic files are scored as fastdet panoptic does it.

    --engine ray: GT and DETECTIONS are each a file, a folder or a pattern in
    quotes of COCO JSON or Parquet shards. The two may be divided differently.
    """
    began = time.perf_counter()
    settings, reading = settings_of(options), reading_of(options)
    try:
        results = _from_cluster(options, settings) if _on_cluster(options) else _from_files(options, settings, reading)
    except (FormatError, Failure):
        if not holds_segments(options.truth):
            raise
        score_panoptic(options)
        return
    results |= {"backend": backends.default(), "seconds": round(time.perf_counter() - began, 6)}
    if options.as_json:
        say_json(results)
        return
    for text in [*results["notes"], *skipped_lines(results["skipped"])]:
        note(text)
    also = results.get("also", {})
    for part in (results, *also.values()):
        if also or part.get("kind", "boxes") != "boxes":
            say(f"{part['kind'].capitalize()}:")
        show(part, options.per_class)
    for path in results["plots"]:
        say(f"written: {path}")


evaluate = command(Options, run)


def _from_files(options: Options, settings: Settings, reading: sources.Reading) -> dict[str, Any]:
    """Score files on this machine. Returns the JSON object."""
    plots = options.plots
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
    parts: dict[str, dict[str, Any]] = {}
    for kind, truth in inputs.truths.items():
        data = inputs.data._replace(truth=truth)
        folder = plots if plots is None or not parts else plots / kind
        parts[kind] = _scored(options, settings_of(options, kind, data), data, inputs, kind, folder)
    first, *others = parts
    summary = {
        "truth": str(options.truth),
        "detections": str(options.detections),
        "formats": dict(zip(("truth", "detections"), inputs.formats, strict=True)),
        **parts[first],
        "notes": _notes(options, inputs, parts[first]["settings"]["rule"]),
        "skipped": {"count": len(inputs.skipped), "records": inputs.skipped[:MAX_SKIPPED]},
    }
    if others:
        summary["also"] = {kind: parts[kind] for kind in others}
        summary["plots"] = [path for part in parts.values() for path in part.pop("plots")]
    return summary


def _scored(
    options: Options, settings: Settings, data: DataSet, inputs: sources.Inputs, kind: str, plots: Path | None
) -> dict[str, Any]:
    """The figures of one kind: its part of the JSON object."""
    ci = options.ci
    with stage("matching"):
        metrics = interruptible(score, data, inputs.detections, settings)
    with stage("bootstrap" if ci else "adding up"):
        results = interruptible(lambda: metrics.compute(ci=LEVEL if ci else None, resamples=RESAMPLES))
    means = [known_mean(ap, ABSENT) for ap in metrics.average_precision()[..., 0]]
    inclusive = bool(data.offset) and kind == "boxes"
    summary = {
        "kind": kind,
        **figures(results, settings, inclusive=inclusive, of_threshold=means, more=more_lines(metrics, settings, data)),
        **detail(metrics, settings, data),
        **({} if options.at is None else at_score(metrics, settings, data, options.at)),
        **(errors(metrics, settings, data, inputs.detections) if options.errors else {}),
        "plots": [],
    }
    if plots is not None:
        with stage("drawing"):
            named = {key: str(getattr(options, key)) for key in ("truth", "detections")}
            report_of = {**named, **summary, "notes": _notes(options, inputs, settings.rule)}
            report_of["skipped"] = {"count": len(inputs.skipped), "records": inputs.skipped[:MAX_SKIPPED]}
            summary["plots"] = [str(path) for path in interruptible(report.save, metrics, report_of, plots)]
    return summary


def _notes(options: Options, inputs: sources.Inputs, rule: str) -> list[str]:
    """What stands before the figures."""
    of_intervals = about_intervals(options.ci, len(inputs.data.images))
    return [*inputs.notes, *_of_settings(options, inputs, rule), *_of_scores(options, inputs), *of_intervals]


def _of_settings(options: Options, inputs: sources.Inputs, rule: str) -> list[str]:
    """Notes where a rule meets a data set that is made for another one."""
    if inputs.data.federated is not None and rule != "lvis":
        return [
            f"{options.truth}: a LVIS data set, scored by {rule.upper()}'s rules: LVIS counts false positives only in "
            "images that were searched for the class, so its figures are higher"
        ]
    of_boxes = "boxes" in inputs.truths and inputs.formats[0] != "voc"
    if options.method == "coco101" or options.inclusive is not None or not of_boxes:
        return []
    return [
        f"boxes of {inputs.formats[0]} end at x2 and y2; figures of VOC take x2 and y2 as the last pixel inside: "
        "use --inclusive for these, or --exclusive"
    ]


def _of_scores(options: Options, inputs: sources.Inputs) -> list[str]:
    """A note where a share is given as a score, and scores are no shares."""
    scores = inputs.detections.scores
    if options.at is None or not 0 < options.at <= 1 or not len(scores) or (scores.min() >= 0 and scores.max() <= 1):
        return []
    ends = f"{scores.min():g} to {scores.max():g}"
    return [f"{options.detections}: scores are from {ends}, not in [0, 1], and --at {options.at:g} is one of these"]


def score(data: DataSet, detections: Columns, settings: Settings) -> DetectionMetrics:
    """Metrics of all images of a data set. Failure."""
    metrics = settings.metrics(inclusive=bool(data.offset))
    try:
        metrics.update_columns(detections, data.truth, data.images, data.federated)
    except ValueError as error:  # readers accept areas that overflow and ids of more than 62 bits
        raise Failure(str(error)) from None
    return metrics


def _on_cluster(o: Options) -> bool:
    """Whether ``--engine ray`` is asked for. Failure for options that do not go with the engine."""
    check_engine("evaluate", o.engine, o.address)
    if o.engine == "local":
        return False
    local_only = {
        "--plots": o.plots, "--ci": o.ci or None, "--classes": o.classes, "--images": o.images,
        "--image-size": o.image_size, "--image-set": o.image_set, "--boxes": o.boxes, "--labels": o.labels,
        "--confusion-at": o.confusion_at, "--at": o.at, "--score": o.score, "--points": o.points,
        "--image-ids": o.image_ids, "--skip-invalid": o.skip_invalid or None,
        "--errors": o.errors or None, "--rule": o.rule if o.rule == "lvis" else None,
        "--format": o.format if o.format not in ("auto", "coco") else None,
        "--kind rotated": "rotated" if o.kind == "rotated" else None,
    }  # fmt: skip
    for option, value in local_only.items():
        if value is not None:
            raise Failure(f"evaluate: {option} does not go with --engine ray")
    return True


def _of_shards(o: Options) -> list[str]:
    """Notes of the first shards. Failure where an LVIS data set would be scored by another rule than its own.

    FileNotFoundError, ValueError.
    """
    from fastdet.distributed import shards

    true, found = (
        [path for path in shards.shards("evaluate", name, str(paths)) if not path.endswith(".parquet")]
        for name, paths in (("ground_truth", o.truth), ("detections", o.detections))
    )
    if true and o.rule is None and o.method == "coco101" and coco.coco_content(true[0], "names").federated is not None:
        text = "is a LVIS data set, whose rule --engine ray does not have"
        raise Failure(f"evaluate: --rule must be coco or voc: {true[0]} {text}")
    held = coco.first_held(found[0]) if found and o.kind is None else Held()
    kinds = [kind for kind, count in (("masks", held.segmentation), ("keypoints", held.keypoints)) if count]
    return [f"{found[0]}: {' and '.join(kinds)} are not scored: --engine ray scores boxes, or --kind"] if kinds else []


_OF_CLUSTER = ("method", "rule", "iou_thresholds", "max_detections", "areas", "iou_type", "sigmas", "use_area")


def _from_cluster(o: Options, settings: Settings) -> dict[str, Any]:
    """Score shards on a Ray cluster. Returns the JSON object. Classes have ids only: no process holds their names."""
    from fastdet import distributed

    inclusive = bool(o.inclusive)
    options: dict[str, Any] = {key: value for key, value in vars(settings).items() if key in _OF_CLUSTER}
    options |= {"address": o.address, "inclusive": inclusive}
    with stage("scoring on the cluster"):
        try:
            notes = _of_shards(o)
            results = distributed.evaluate(str(o.truth), str(o.detections), **options)
        except (ImportError, OSError, ValueError) as error:  # FormatError is one
            raise Failure(str(error)) from None
    limit = settings.max_detections[-1]
    recall = results[f"mar_{'all' if limit is None else limit}_per_class"]
    of_class = zip(results["classes"].tolist(), results["map_per_class"].tolist(), recall.tolist(), strict=True)
    return {
        "truth": str(o.truth),
        "detections": str(o.detections),
        "kind": o.kind or "boxes",
        **figures(results, settings, inclusive=inclusive),
        "classes": int((results["map_per_class"] > -1).sum()),
        "per_class": [{"id": k, "name": str(k), "ap": ap, "ar": ar} for k, ap, ar in of_class],
        "plots": [],
        "notes": notes,
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
    part: str = ""  # "rare classes", "easy images", ...: of which part of the data; "" of all

    def as_json(self) -> dict[str, Any]:
        """The line under its published keys, where ``max_detections`` is "most"."""
        names = {"max_detections": "most"}
        return {names.get(name, name): value for name, value in self._asdict().items() if name != "part" or value}


_FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
_CROWDING = {"easy": (-np.inf, 0.2), "medium": (0.2, 0.8), "hard": (0.8, np.inf)}  # of images, by CrowdPose's index


def more_lines(metrics: DetectionMetrics, settings: Settings, data: DataSet) -> list[Line]:
    """The lines that only some data sets have: recall of keypoints by threshold, LVIS's and CrowdPose's parts."""
    at, limit = settings.iou_thresholds, settings.max_detections[-1]
    span, found = _span(at), []
    if settings.iou_type == "keypoints":
        recall = metrics.curves()[1][..., 0, -1]
        for i, t in enumerate(at if len(at) > 1 else ()):
            if min(abs(t - 0.5), abs(t - 0.75)) < 1e-9:
                found += [Line("", "AR", f"{t:0.2f}", "all", limit, known_mean(recall[i], ABSENT))]
        if not settings.use_area and len(data.crowding):
            for name, (low, high) in _CROWDING.items():
                images = data.images[(data.crowding >= low) & (data.crowding < high)]
                ap = metrics.of_images(images).compute()["map"] if len(images) else ABSENT
                found.append(Line("", "AP", span, "all", limit, round(float(ap), 4), f"{name} images"))
    if settings.rule == "lvis" and data.frequencies:
        precision = np.moveaxis(metrics.average_precision()[..., 0], 1, 0)
        of_class = dict(zip(metrics.records[2].tolist(), precision, strict=True))
        for letter, word in _FREQUENCIES.items():
            ids = [k for k, own in zip(data.categories.tolist(), data.frequencies, strict=True) if own == letter]
            ap = known_mean(np.array([of_class[k] for k in ids if k in of_class]), ABSENT)
            found.append(Line("", "AP", span, "all", limit, ap, f"{word} classes"))
    return found


def _span(at: Sequence[float]) -> str:
    return f"{at[0]:0.2f}:{at[-1]:0.2f}" if len(at) > 1 else f"{at[0]:0.2f}"


def lines(
    results: dict[str, Any],
    settings: Settings,
    of_threshold: Sequence[float] | None = None,
    more: Sequence[Line] = (),
) -> list[Line]:
    """The lines of the summary. COCO's settings give its twelve lines; VOC's methods give one for each threshold.

    ``more``: further lines, as `more_lines` gives them.
    """
    at, limits, areas = settings.iou_thresholds, settings.max_detections, list(settings.areas)
    span, rows = _span(at), list[Line]()

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
    rows += [own for own in more if own.part.endswith("classes")]
    if settings.method == "coco101":
        for limit in limits:
            line(f"mar_{'all' if limit is None else limit}", "AR", span, "all", limit)
        rows += [own for own in more if own.kind == "AR"]
        for area in areas[1:]:
            line(f"mar_{area}", "AR", span, area, limits[-1])
    return rows + [own for own in more if own.part.endswith("images")]


def figures(
    results: dict[str, Any],
    settings: Settings,
    *,
    inclusive: bool,
    of_threshold: Sequence[float] | None = None,
    more: Sequence[Line] = (),
) -> dict[str, Any]:
    """The scores as a part of the JSON object, from the result of `DetectionMetrics.compute` or of a cluster.

    ``of_threshold`` is the mean average precision at each IoU threshold. A score without true boxes is -1.
    """
    every = lines(results, settings, of_threshold, more)
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


def errors(metrics: DetectionMetrics, settings: Settings, data: DataSet, detections: Columns) -> dict[str, Any]:
    """What each kind of error costs, and the calibration of scores. Failure."""
    if settings.rule == "lvis":
        raise Failure("evaluate: --errors does not go with LVIS's rule, which leaves detections out: use --rule coco")
    costs = interruptible(of_metrics, metrics, detections, data.truth, settings.at_iou)
    summary: dict[str, Any] = {"errors": {"iou": settings.at_iou, "background": BACKGROUND_IOU, **costs}}
    if len(detections.scores) and detections.scores.min() >= 0 and detections.scores.max() <= 1:
        found = metrics.calibration(iou=settings.at_iou)
        names = ("iou", "ece", "mce", "mean_ece", "edges", "count", "confidence", "precision")
        summary["calibration"] = {k: v.tolist() if isinstance(v := found[k], np.ndarray) else v for k in names}
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
