"""``fastdet evaluate``: its options, the figures, and the summary for people and for programs."""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from fastdet._core import backends
from fastdet._core.metric import RESAMPLES, known_mean
from fastdet._files import sources
from fastdet._files.coco import DataSet
from fastdet.cli import report
from fastdet.cli.terminal import Failure, in_a_line, interruptible, read_names, say, stage, wrong_option
from fastdet.detection.inputs import AREAS, METHODS
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import Columns
from fastdet.detection.results import ABSENT

_POINTS = {"coco101": "101 points", "voc2007": "11 points", "area": "area"}
_LEVEL = 0.95


@dataclass(frozen=True)
class Settings:
    """How detections are scored: the arguments of `DetectionMetrics`."""

    method: str
    rule: str
    iou_thresholds: tuple[float, ...]
    max_detections: tuple[int | None, ...]
    areas: dict[str, tuple[float, float]]
    confusion_at: tuple[float, float] | None

    def metrics(self, *, inclusive: bool) -> DetectionMetrics:
        """An empty one. ValueError, TypeError."""
        return DetectionMetrics(box_format="xywh", inclusive=inclusive, on_duplicate="raise", **vars(self))


def evaluate(
    truth: Annotated[Path, typer.Argument(metavar="GT", help="The true boxes: a file or folder, see below.")],
    detections: Annotated[Path, typer.Argument(metavar="DETECTIONS", help="What a detector found, likewise.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes as well.")] = False,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put pictures and report.html into this folder.")
    ] = None,
    ci: Annotated[
        bool, typer.Option("--ci", help=f"95 % intervals: {RESAMPLES:,} bootstrap resamples of the images.")
    ] = False,
    format: Annotated[
        str, typer.Option(metavar="auto|coco|voc|yolo|txt|npz", help="What the data set is, where auto cannot tell.")
    ] = "auto",
    iou: Annotated[
        str | None, typer.Option(metavar="LIST", help="IoU thresholds: 0.5:0.95:0.05 (COCO's), or 0.5, or 0.5,0.75.")
    ] = None,
    max_dets: Annotated[
        str | None, typer.Option(metavar="LIST", help="Most detections of an image and class: 1,10,100, or all.")
    ] = None,
    areas: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Sizes: all,small,medium,large, or NAME=LEAST:GREATEST in square pixels."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(metavar="coco101|voc2007|area", help="Average precision: 101 or 11 points, or VOC 2010's area."),
    ] = "coco101",
    rule: Annotated[
        str | None, typer.Option(metavar="coco|voc", help="How detections are matched; by default as the method goes.")
    ] = None,
    inclusive: Annotated[
        bool | None, typer.Option("--inclusive/--exclusive", help="Whether boxes name their last pixel (VOC does).")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line, in order (voc, yolo).")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The images themselves: YOLO's boxes are parts of their sizes.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="... or the size in pixels that all of them have.")
    ] = None,
    image_set: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of images, one a line: only these are scored.")
    ] = None,
    boxes: Annotated[str | None, typer.Option(metavar="xyxy|xywh", help="What the boxes of txt files are.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="id|position", help="Labels of JSON and NPZ detections: category ids, or 0, 1, ..."),
    ] = None,
    confusion_at: Annotated[
        str | None, typer.Option(metavar="IOU,SCORE", help="Where the confusion matrix is made (0.5,0.25 for --plots).")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Where the work is done: here, or on a Ray cluster, from shards.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of the Ray cluster; without, one of this machine.")
    ] = None,
) -> None:
    """Score detections: COCO's average precision and recall, or VOC's.

    GT: COCO JSON; a folder of VOC's XML; a folder of YOLO's txt ("class cx cy
    w h", in parts of the image; images in the folder beside labels/, or
    --images, or --image-size); a folder of txt ("class x1 y1 x2 y2", a last
    word difficult is known); or NPZ (boxes, labels, image; optional difficult,
    iscrowd, area, image_names, classes).

    DETECTIONS: COCO results JSON (an object with images and categories of its
    own is matched by their names); a folder of txt with "class score x1 y1 x2
    y2", YOLO's "class cx cy w h score", or VOC's files of a class each with
    "image score x1 y1 x2 y2"; or NPZ as fastdet nms writes it.

    --method voc2007 and area match as VOC does, at IoU 0.5, all detections,
    all sizes, unless other options say otherwise.

    A wrong file gets one line that names the record and the field, and no
    figure is printed. -1 stands where there is nothing to find.

    --engine ray: GT and DETECTIONS are each a file, a folder or a pattern in
    quotes of COCO JSON or Parquet shards, which need not be divided alike.
    """
    began = time.perf_counter()
    settings = _settings(method, rule, iou, max_dets, areas, _confusion(confusion_at, plots is not None))
    reading = _reading(format, classes, images, image_size, image_set, boxes, inclusive, labels)
    given_to_local = {
        "--plots": plots, "--ci": ci or None, "--classes": classes, "--images": images, "--image-size": image_size,
        "--image-set": image_set, "--boxes": boxes, "--labels": labels, "--confusion-at": confusion_at,
        "--format": format if format not in ("auto", "coco") else None,
    }  # fmt: skip
    if _on_cluster(engine, address, given_to_local):
        found = _from_cluster(truth, detections, settings, bool(inclusive), address)
        found |= {"backend": backends.default(), "seconds": round(time.perf_counter() - began, 6)}
        print(json.dumps(found)) if as_json else show(found, per_class)
        return
    if plots is not None:
        if not (plots.is_dir() or (not plots.exists() and plots.parent.is_dir())):
            raise Failure(f"evaluate: --plots must be a folder, or a new one in an existing folder, got {plots}")
        try:
            report.need()  # a missing matplotlib is known before the work
        except ImportError as error:
            raise Failure(str(error)) from None
    with stage("reading"):
        given = interruptible(sources.read, truth, detections, reading)
    with stage("matching"):
        metrics = interruptible(score, given.data, given.detections, settings)
    with stage("bootstrap" if ci else "adding up"):
        results = interruptible(lambda: metrics.compute(ci=_LEVEL if ci else None, resamples=RESAMPLES))
    means = [known_mean(ap, ABSENT) for ap in metrics.average_precision()[..., 0]]
    found = {
        "truth": str(truth),
        "detections": str(detections),
        "formats": dict(zip(("truth", "detections"), given.formats, strict=True)),
        **figures(results, settings, inclusive=bool(given.data.offset), of_threshold=means),
        **detail(metrics, settings, given.data),
        "plots": [],
        "notes": given.notes,
    }
    if plots is not None:
        with stage("drawing"):
            found["plots"] = [str(path) for path in interruptible(report.save, metrics, found, plots)]
    found |= {"backend": backends.default(), "seconds": round(time.perf_counter() - began, 6)}
    if as_json:
        print(json.dumps(found))
        return
    for note in given.notes:
        print(f"fastdet: {note}", file=sys.stderr)
    show(found, per_class)
    for path in found["plots"]:
        say(f"written: {path}")


def score(data: DataSet, detections: Columns, settings: Settings) -> DetectionMetrics:
    """All images of a data set, on this machine. Failure."""
    metrics = settings.metrics(inclusive=bool(data.offset))
    try:
        metrics.update_columns(detections, data.truth, data.images)
    except ValueError as error:  # areas that overflow, ids of more than 62 bits: what no reader minds
        raise Failure(str(error)) from None
    return metrics


def _on_cluster(engine: str, address: str | None, local_only: dict[str, Any]) -> bool:
    if engine not in ("local", "ray"):
        raise Failure(f"evaluate: --engine must be local or ray, got {engine}")
    if engine == "local":
        if address is not None:
            raise Failure("evaluate: --address goes with --engine ray")
        return False
    for option, value in local_only.items():
        if value is not None:
            raise Failure(f"evaluate: {option} does not go with --engine ray")
    return True


def _from_cluster(
    truth: Path, detections: Path, settings: Settings, inclusive: bool, address: str | None
) -> dict[str, Any]:
    """The figures of shards scored on a Ray cluster; classes by their ids, since no process holds their names."""
    from fastdet import distributed

    options = {key: value for key, value in vars(settings).items() if key != "confusion_at"}
    with stage("scoring on the cluster"):
        try:
            results = distributed.evaluate(str(truth), str(detections), address=address, inclusive=inclusive, **options)
        except (ImportError, OSError, ValueError) as error:  # FormatError is one
            raise Failure(str(error)) from None
    most = settings.max_detections[-1]
    recall = results[f"mar_{'all' if most is None else most}_per_class"]
    of_class = zip(results["classes"].tolist(), results["map_per_class"].tolist(), recall.tolist(), strict=True)
    return {
        "truth": str(truth),
        "detections": str(detections),
        **figures(results, settings, inclusive=inclusive),
        "classes": int((results["map_per_class"] > -1).sum()),
        "per_class": [{"id": k, "name": str(k), "ap": ap, "ar": ar} for k, ap, ar in of_class],
        "plots": [],
        "notes": [],
    }


# ------------------------------------------------------------------------------------------------ options
def _settings(
    method: str,
    rule: str | None,
    iou: str | None,
    max_dets: str | None,
    areas: str | None,
    confusion_at: tuple[float, float] | None,
) -> Settings:
    for option, value, choices in (("method", method, METHODS), ("rule", rule, ("coco", "voc"))):
        if value is not None and value not in choices:
            raise Failure(f"evaluate: --{option} must be one of {', '.join(choices)}, got {value}")
    voc = method != "coco101"
    settings = Settings(
        method,
        rule or ("voc" if voc else "coco"),
        _thresholds(iou or ("0.5" if voc else "0.5:0.95:0.05")),
        _most(max_dets or ("all" if voc else "1,10,100")),
        _areas(areas or ("all" if voc else ",".join(AREAS))),
        confusion_at,
    )
    try:
        settings.metrics(inclusive=False)
    except (TypeError, ValueError) as error:
        text = str(error)
        if max_dets is not None and ": max_detections" in text:  # in the words of the option, not as numbers for them
            text = f"{text.partition(', got ')[0]}, got {max_dets}"
        raise wrong_option("evaluate", text, {"iou_thresholds": "iou", "max_detections": "max-dets"}) from None
    return settings


def _reading(
    format: str,
    classes: Path | None,
    images: Path | None,
    image_size: str | None,
    image_set: Path | None,
    boxes: str | None,
    inclusive: bool | None,
    labels: str | None,
) -> sources.Reading:
    allowed = {"format": sources.FORMATS, "boxes": ("xyxy", "xywh"), "labels": ("id", "position")}
    for option, value in (("format", format), ("boxes", boxes), ("labels", labels)):
        if value is not None and value not in allowed[option]:
            raise Failure(f"evaluate: --{option} must be one of {', '.join(allowed[option])}, got {value}")
    if images is not None and image_size is not None:
        raise Failure("evaluate: --images does not go with --image-size")
    size = None
    if image_size is not None:
        width, _, height = image_size.lower().partition("x")
        if not all(side.isdecimal() and len(side) < 10 and int(side) for side in (width, height)):
            raise Failure(f"evaluate: --image-size must be WIDTHxHEIGHT in pixels, such as 640x480, got {image_size}")
        size = int(width), int(height)
    names = None if classes is None else read_names("evaluate", classes)
    return sources.Reading(format, names, images, size, image_set, boxes, inclusive, labels)


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        if ":" not in text:
            return tuple(float(word) for word in text.split(","))
        first, last, step = (float(word) for word in text.split(":"))
        count = round((last - first) / step) + 1
        if count < 1 or not math.isclose(first + (count - 1) * step, last, abs_tol=1e-9):
            raise ValueError
        return tuple(np.linspace(first, last, count).tolist())
    except (ValueError, OverflowError, ZeroDivisionError):
        raise Failure(f"evaluate: --iou must be numbers, or FIRST:LAST:STEP, got {text}") from None


def _most(text: str) -> tuple[int | None, ...]:
    try:
        return tuple(None if word.strip() == "all" else int(word) for word in text.split(","))
    except ValueError:
        raise Failure(f"evaluate: --max-dets must be integers, or all, got {text}") from None


def _areas(text: str) -> dict[str, tuple[float, float]]:
    """``all`` comes first, whether it is named or not."""
    found = {"all": AREAS["all"]}
    for item in text.split(","):
        name, given, span = item.strip().partition("=")
        least, colon, most = span.partition(":")
        try:
            if not name or name.isdecimal() or (bool(given) != bool(colon)):
                raise ValueError
            found[name] = (float(least or 0), float(most or "inf")) if given else AREAS[name]
        except (KeyError, ValueError):
            raise Failure(
                f"evaluate: --areas must be of {', '.join(AREAS)}, or NAME=LEAST:GREATEST, got {item.strip()}"
            ) from None
    return found


def _confusion(text: str | None, needed: bool) -> tuple[float, float] | None:
    if text is None:
        return (0.5, 0.25) if needed else None
    try:
        iou, least = (float(word) for word in text.split(","))
    except ValueError:
        raise Failure(f"evaluate: --confusion-at must be IOU,SCORE, got {text}") from None
    return iou, least


# ------------------------------------------------------------------------------------------------ figures
class Line(NamedTuple):
    """A line of the summary, as COCO's twelve are."""

    key: str  # of `DetectionMetrics.compute`; "" where it has none
    kind: str  # AP, AR
    iou: str
    area: str
    most: int | None
    value: float


def lines(results: dict[str, Any], settings: Settings, of_threshold: Sequence[float] | None = None) -> list[Line]:
    """The twelve lines of COCO with its settings, those that there are with others; VOC's: one for each threshold."""
    at, most, areas = settings.iou_thresholds, settings.max_detections, list(settings.areas)
    span = f"{at[0]:0.2f}:{at[-1]:0.2f}" if len(at) > 1 else f"{at[0]:0.2f}"
    found = []

    def line(key: str, kind: str, iou: str, area: str, limit: int | None) -> None:
        found.append(Line(key, kind, iou, area, limit, float(results[key])))

    if settings.method != "coco101" and len(at) > 1 and of_threshold is not None:
        found += [Line("", "AP", f"{t:0.2f}", "all", most[-1], ap) for t, ap in zip(at, of_threshold, strict=True)]
    line("map", "AP", span, "all", most[-1])
    if len(at) > 1 and settings.method == "coco101":
        for key, threshold in (("map_50", 0.5), ("map_75", 0.75)):
            if np.isclose(at, threshold, rtol=0, atol=1e-9).any():
                line(key, "AP", f"{threshold:0.2f}", "all", most[-1])
    for area in areas[1:]:
        line(f"map_{area}", "AP", span, area, most[-1])
    if settings.method == "coco101":
        for limit in most:
            line(f"mar_{'all' if limit is None else limit}", "AR", span, "all", limit)
        for area in areas[1:]:
            line(f"mar_{area}", "AR", span, area, most[-1])
    return found


def figures(
    results: dict[str, Any], settings: Settings, *, inclusive: bool, of_threshold: Sequence[float] | None = None
) -> dict[str, Any]:
    """Results of `DetectionMetrics.compute`, or of whatever computes the same, as a part of one JSON object.

    ``of_threshold`` is the mean average precision at each IoU threshold. -1 stands where there is nothing to find.
    """
    every = lines(results, settings, of_threshold)
    ends = {key.removesuffix("_ci"): value.tolist() for key, value in results.items() if key.endswith("_ci")}
    found: dict[str, Any] = {
        "settings": {
            "method": settings.method, "rule": settings.rule, "inclusive": inclusive,
            "iou": list(settings.iou_thresholds), "max_dets": list(settings.max_detections),
            "areas": {k: [a, None if math.isinf(b) else b] for k, (a, b) in settings.areas.items()},
        },
        "stats": [line.value for line in every],
        "summary": [{**line._asdict(), "ci": ends.get(line.key)} if ends else line._asdict() for line in every],
        **{key: value for key, value in results.items() if isinstance(value, float)},
    }  # fmt: skip
    if ends:
        found["ci"] = {"level": _LEVEL, "resamples": RESAMPLES, "seed": 0}
    return found


def detail(metrics: DetectionMetrics, settings: Settings, data: DataSet) -> dict[str, Any]:
    """The other part: how much there is, each class, and the confusion matrix where it is asked for."""
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
    found: dict[str, Any] = {
        "images": len(metrics),
        "classes": sum(row["true_boxes"] > 0 for row in rows),
        "true_boxes": sum(row["true_boxes"] for row in rows),
        "scored_detections": sum(row["detections"] for row in rows),
        "per_class": rows,
    }
    if settings.confusion_at is not None:
        called = [names.get(int(i)) or str(i) for i in labels]
        found["confusion"] = {
            "iou": settings.confusion_at[0], "score": settings.confusion_at[1],
            "classes": [*called, "background"], "matrix": metrics.confusion_matrix().tolist(),
        }  # fmt: skip
    return found


def _named_thresholds(settings: Settings) -> list[tuple[int, float]]:
    """Those that have a column of their own: 0.5 and 0.75 of many, all of a few."""
    at = settings.iou_thresholds
    if len(at) == 1:
        return []
    return [(i, t) for i, t in enumerate(at) if len(at) <= 4 or min(abs(t - 0.5), abs(t - 0.75)) < 1e-9]


# ---------------------------------------------------------------------------------------------- on stdout
def show(found: dict[str, Any], per_class: bool) -> None:
    """The summary for people."""
    say(headline(found))
    method = found["settings"]["method"]
    for line in found["summary"]:
        say(words(line, method, found.get("ci")))
    if per_class:
        _table(found["per_class"])


def headline(found: dict[str, Any]) -> str:
    """How much there is of everything."""
    said = []  # of what is known: an engine that holds no whole counts nothing
    for key, one, many in (
        ("images", "image", "images"), ("classes", "class", "classes"),
        ("true_boxes", "true box to find", "true boxes to find"), ("scored_detections", "detection", "detections"),
    ):  # fmt: skip
        if key in found:
            said.append(f"{found[key]:,} {one if found[key] == 1 else many}")
    return ", ".join(said)


def words(line: dict[str, Any], method: str, ci: dict[str, Any] | None = None) -> str:
    """A line of the summary; COCO's as pycocotools has them."""
    most = "all" if line["most"] is None else line["most"]
    if method == "coco101":
        title = "Average Precision" if line["kind"] == "AP" else "Average Recall"
        kind, value = f"({line['kind']})", f"{line['value']:0.3f}"
    else:
        title, kind = "Mean AP", f"({_POINTS[method]})"
        value = f"{line['value']:0.4f}" + (f" ({100 * line['value']:.2f} %)" if line["value"] >= 0 else "")
    text = f" {title:<18} {kind} @[ IoU={line['iou']:<9} | area={line['area']:>6s} | maxDets={most:>3} ] = {value}"
    if ci and line["ci"] is not None and line["ci"][0] >= 0:
        text += f"  ({100 * ci['level']:g} %: {line['ci'][0]:.3f} to {line['ci'][1]:.3f})"
    return text


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Keys of the classes' rows that a table shows, and their titles."""
    keys = [key for key in rows[0] if key not in ("id", "name")] if rows else ["ap", "ar", "true_boxes", "detections"]
    return {key: (key[:2].upper() + key[2:] if key[:2] in ("ap", "ar") else key).replace("_", " ") for key in keys}


def _table(rows: Sequence[dict[str, Any]]) -> None:
    titles = columns(rows)
    cells = [["class", *titles.values()]]
    cells += [[in_a_line(row["name"]), *(number(row[key]) for key in titles)] for row in rows]
    first, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    say("")
    for name, *values in cells:
        say("  ".join([name.ljust(first), *(c.rjust(width) for c, width in zip(values, widths, strict=True))]))


def number(x: float) -> str:
    """Counts as they are, scores with four digits, and what is absent."""
    return f"{x:,}" if isinstance(x, int) else "absent" if x < 0 else f"{x:.4f}"
