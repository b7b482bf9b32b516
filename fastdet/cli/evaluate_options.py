"""The options of ``fastdet evaluate``, parsed into the settings of the metrics and of the readers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fastdet._core.metric import RESAMPLES
from fastdet._files import sources
from fastdet._files.data_set import DataSet
from fastdet._files.formats import FORMATS
from fastdet._files.kinds import KINDS
from fastdet._files.names import read_names
from fastdet._files.readings import LABELS
from fastdet.cli.terminal import Failure, wrong_option
from fastdet.detection.inputs import AREAS, METHODS, RULES
from fastdet.detection.metrics import DetectionMetrics
from fastdet.keypoints.similarity import COCO_SIGMAS, CROWDPOSE_SIGMAS

LEVEL = 0.95  # confidence level of the intervals


@dataclass
class Options:
    """The command's arguments and options."""

    truth: Annotated[Path, typer.Argument(metavar="GT", help="The true boxes: a file or folder, see below.")]
    detections: Annotated[Path, typer.Argument(metavar="DETECTIONS", help="The detections, likewise.")]
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes as well.")] = False
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put pictures and report.html into this folder.")
    ] = None
    at: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Precision, recall and F1 at this score, and the best F1.")
    ] = None
    errors: Annotated[
        bool, typer.Option("--errors", help="What each kind of error costs, and whether scores can be trusted.")
    ] = False
    ci: Annotated[
        bool, typer.Option("--ci", help=f"95 % intervals: {RESAMPLES:,} bootstrap resamples of the images.")
    ] = False
    format: Annotated[
        str, typer.Option(metavar="auto|coco|voc|yolo|txt|dota|npz", help="The data set's format, if auto fails.")
    ] = "auto"
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="boxes|masks|boundary|keypoints|rotated",
            help="What is scored; default: what the detections hold, each.",
        ),
    ] = None
    sigmas: Annotated[
        str | None,
        typer.Option(metavar="coco|crowdpose|LIST", help="Of keypoints: how far apart people place each one."),
    ] = None
    iou: Annotated[
        str | None, typer.Option(metavar="LIST", help="IoU thresholds: 0.5:0.95:0.05 (COCO's), or 0.5, or 0.5,0.75.")
    ] = None
    max_dets: Annotated[
        str | None, typer.Option(metavar="LIST", help="Detections of an image and class: 1,10,100, or all.")
    ] = None
    areas: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Sizes: all,small,medium,large, or NAME=MIN:MAX in square pixels."),
    ] = None
    method: Annotated[
        str,
        typer.Option(metavar="coco101|voc2007|area", help="Average precision: 101 or 11 points, or VOC 2010's area."),
    ] = "coco101"
    rule: Annotated[
        str | None,
        typer.Option(metavar="coco|voc|lvis", help="How objects are matched; default: that of --method and GT."),
    ] = None
    inclusive: Annotated[
        bool | None, typer.Option("--inclusive/--exclusive", help="Whether boxes name their last pixel (VOC does).")
    ] = None
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names of classes 0, 1, ...: one a line, or a data.yaml with names."),
    ] = None
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The image files: YOLO boxes are fractions of their sizes.")
    ] = None
    image_size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="... or the size in pixels of all images.")
    ] = None
    image_set: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of images, one a line: only these are scored.")
    ] = None
    boxes: Annotated[str | None, typer.Option(metavar="xyxy|xywh", help="The layout of the boxes in txt files.")] = None
    score: Annotated[
        str | None, typer.Option(metavar="first|last", help="Where the score stands in lines: last in YOLO's.")
    ] = None
    points: Annotated[
        str | None, typer.Option(metavar="polygon|keypoints", help="What the long lines of YOLO files hold.")
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="id|position|position-from-1", help="Numbers as labels: category ids, or places of the classes."
        ),
    ] = None
    image_ids: Annotated[
        str | None, typer.Option(metavar="id|name", help="Numbers as image ids: the data set's ids, or file names.")
    ] = None
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out invalid records, and list them.")] = (
        False
    )
    confusion_at: Annotated[
        str | None, typer.Option(metavar="IOU,SCORE", help="Of the confusion matrix (0.5,0.25 with --plots).")
    ] = None
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Score on this machine, or from shards on a Ray cluster.")
    ] = "local"
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; without it, one on this machine.")
    ] = None


@dataclass(frozen=True)
class Settings:
    """How detections are scored: the arguments of `DetectionMetrics`."""

    method: str
    rule: str
    iou_thresholds: tuple[float, ...]
    max_detections: tuple[int | None, ...]
    areas: dict[str, tuple[float, float]]
    confusion_at: tuple[float, float] | None
    iou_type: str = "bbox"
    sigmas: tuple[float, ...] | None = None
    use_area: bool = True

    @property
    def at_iou(self) -> float:
        """The IoU threshold of precision, recall and F1 at a score: 0.5, or the first where that is not scored."""
        is_scored = any(abs(t - 0.5) < 1e-9 for t in self.iou_thresholds)
        return 0.5 if is_scored else self.iou_thresholds[0]

    def metrics(self, *, inclusive: bool) -> DetectionMetrics:
        """Metrics without images yet. ValueError, TypeError."""
        form = "xyxyxyxy" if self.iou_type == "rotated" else "xywh"
        return DetectionMetrics(box_format=form, inclusive=inclusive, on_duplicate="raise", **vars(self))


def settings_of(o: Options, kind: str | None = None, data: DataSet | None = None) -> Settings:
    """The settings that the options ask for, of a kind and of a data set that is read. Failure."""
    kind = kind or o.kind or "boxes"
    if o.at is not None and not math.isfinite(o.at):
        raise Failure(f"evaluate: --at must be a finite number, got {o.at}")
    choices = (("method", o.method, METHODS), ("rule", o.rule, RULES), ("kind", o.kind, tuple(KINDS)))
    for option, value, allowed in choices:
        if value is not None and value not in allowed:
            raise Failure(f"evaluate: --{option} must be one of {', '.join(allowed)}, got {value}")
    voc, lvis = o.method != "coco101", data is not None and data.federated is not None
    rule = o.rule or ("voc" if voc else "lvis" if lvis else "coco")
    if rule == "lvis" and data is not None and not lvis:
        raise Failure("evaluate: --rule lvis goes with a LVIS data set, whose images have neg_category_ids")
    poses = kind == "keypoints"
    sigmas, crowded = _sigmas(o.sigmas, data) if poses else (None, False)
    limits = "all" if voc else "300" if rule == "lvis" else "20" if poses else "1,10,100"
    sizes = [name for name in AREAS if name == "all" or (not (voc or crowded) and not (poses and name == "small"))]
    settings = Settings(
        o.method,
        rule,
        _thresholds(o.iou if o.iou is not None else "0.5" if voc else "0.5:0.95:0.05"),
        _limits(o.max_dets if o.max_dets is not None else limits),
        _areas(o.areas if o.areas is not None else ",".join(sizes)),
        _confusion(o.confusion_at, o.plots is not None),
        KINDS[kind],
        sigmas,
        not crowded,
    )
    try:
        settings.metrics(inclusive=False)
    except (TypeError, ValueError) as error:
        text = str(error)
        if o.max_dets is not None and ": max_detections" in text:  # show the option as typed
            text = f"{text.partition(', got ')[0]}, got {o.max_dets}"
        raise wrong_option("evaluate", text, {"iou_thresholds": "iou", "max_detections": "max-dets"}) from None
    return settings


def _sigmas(text: str | None, data: DataSet | None) -> tuple[tuple[float, ...] | None, bool]:
    """The sigmas of keypoints, and whether CrowdPose's rules are meant: by the data set, or by name."""
    named = {"coco": COCO_SIGMAS, "crowdpose": CROWDPOSE_SIGMAS}
    points = None if data is None or data.truth.keypoints is None else data.truth.keypoints.shape[1]
    of_crowd = data is not None and len(data.crowding) > 0 and points == len(CROWDPOSE_SIGMAS)
    if text is None and of_crowd:
        text = "crowdpose"
    if text is None:
        if points and points != len(COCO_SIGMAS):
            raise Failure(f"evaluate: --sigmas must be given for {points} keypoints: coco is for 17, crowdpose for 14")
        return None, False
    try:
        sigmas = named[text] if text in named else tuple(float(word) for word in text.split(","))
    except ValueError:
        raise Failure(f"evaluate: --sigmas must be coco, crowdpose, or numbers above 0, got {text}") from None
    if points and points != len(sigmas):
        raise Failure(f"evaluate: --sigmas must be {points} numbers, one for each keypoint, got {len(sigmas)}")
    return sigmas, text == "crowdpose"


def reading_of(o: Options) -> sources.Reading:
    """The options about the files. Failure, FormatError, OSError."""
    choices = {
        "format": (o.format, FORMATS), "boxes": (o.boxes, ("xyxy", "xywh")),
        "labels": (o.labels, LABELS), "image-ids": (o.image_ids, ("id", "name")), "score": (o.score, ("first", "last")),
        "points": (o.points, ("polygon", "keypoints")),
    }  # fmt: skip
    for option, (value, allowed) in choices.items():
        if value is not None and value not in allowed:
            raise Failure(f"evaluate: --{option} must be one of {', '.join(allowed)}, got {value}")
    if o.images is not None and o.image_size is not None:
        raise Failure("evaluate: --images does not go with --image-size")
    size = None
    if o.image_size is not None:
        width, _, height = o.image_size.lower().partition("x")
        if not all(side.isdecimal() and len(side) < 10 and int(side) for side in (width, height)):
            expected = "WIDTHxHEIGHT in pixels, such as 640x480"
            raise Failure(f"evaluate: --image-size must be {expected}, got {o.image_size}")
        size = int(width), int(height)
    if o.sigmas is not None and o.kind not in (None, "keypoints"):
        raise Failure(f"evaluate: --sigmas goes with keypoints, got --kind {o.kind}")
    names = None if o.classes is None else read_names("evaluate", o.classes)
    return sources.Reading(
        o.format, names, o.images, size, o.image_set, o.boxes, o.inclusive, o.labels, o.image_ids, o.score, o.points,
        o.skip_invalid, o.kind,
    )  # fmt: skip


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


def _limits(text: str) -> tuple[int | None, ...]:
    try:
        return tuple(None if word.strip() == "all" else int(word) for word in text.split(","))
    except ValueError:
        raise Failure(f"evaluate: --max-dets must be integers, or all, got {text}") from None


def _areas(text: str) -> dict[str, tuple[float, float]]:
    """The size ranges by name. ``all`` always comes first."""
    areas = {"all": AREAS["all"]}
    for item in text.split(","):
        name, equals, span = item.strip().partition("=")
        low, colon, high = span.partition(":")
        try:
            if not name or name.isdecimal() or (bool(equals) != bool(colon)):
                raise ValueError
            areas[name] = (float(low or 0), float(high or "inf")) if equals else AREAS[name]
        except (KeyError, ValueError):
            raise Failure(
                f"evaluate: --areas must be of {', '.join(AREAS)}, or NAME=MIN:MAX, got {item.strip()}"
            ) from None
    return areas


def _confusion(text: str | None, needed: bool) -> tuple[float, float] | None:
    if text is None:
        return (0.5, 0.25) if needed else None
    try:
        iou, score = (float(word) for word in text.split(","))
    except ValueError:
        raise Failure(f"evaluate: --confusion-at must be IOU,SCORE, got {text}") from None
    return iou, score
