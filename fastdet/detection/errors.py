"""What costs average precision: every wrong detection and missed object has one kind of error (TIDE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet._core.metric import known_mean
from fastdet.detection import inputs
from fastdet.detection.metrics import DetectionMetrics
from fastdet.detection.records import (  # fmt: skip
    FALSE,
    IGNORED,
    TRUE,
    Columns,
    Ints,
    Rows,
    accumulate_reference,
    match_rows,
    overlaps_of_groups,
    pack,
    pairs_of_groups,
    unpack,
)
from fastdet.detection.results import ABSENT
from fastdet.detection.rotated import format_of
from fastdet.detection.state import Parameters

OP = "error_analysis"
BACKGROUND_IOU = 0.1
KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND = range(5)


def error_analysis(
    predictions: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    *,
    iou_type: str = "bbox",
    box_format: str = "xyxy",
    foreground: float = 0.5,
    background: float = BACKGROUND_IOU,
    max_detections: int | None = 100,
    sigmas: Sequence[float] | None = None,
    use_area: bool = True,
    backend: str | None = None,
) -> dict[str, Any]:
    """How much average precision each kind of error costs.

    Parameters
    ----------
    predictions, targets : for each image a dictionary, as in `DetectionMetrics.update`
    iou_type : "bbox", "segm", "boundary", "keypoints" or "rotated": what overlaps are of
    box_format : "xyxy", "xywh" or "cxcywh"; of rotated boxes as in `DetectionMetrics`
    foreground : IoU from which a detection can match, in (0, 1]
    background : IoU below which a detection is on nothing, in (0, foreground)
    max_detections : maximum number of detections of an image and class, best by score; None: all
    sigmas, use_area : of keypoints, as in `DetectionMetrics`
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    results : ``ap``, average precision at ``foreground``, as COCO has it, and for each kind of error ``<kind>_count``
        (int) and ``<kind>_dap``: how much ``ap`` rises if all errors of this kind are mended. ``false_positives_dap``
        and ``false_negatives_dap``: if all wrong detections are left out, and all objects without a detection. Where no
        class has a true box, ``ap`` and each dap are -1

    Raises
    ------
    TypeError   type of an argument
    ValueError  range of an argument; what `DetectionMetrics.update` refuses

    Notes
    -----
    A detection that is a false positive is, by the first of these that applies:

    - localization: its greatest IoU with an object of its class is at least ``background`` and below ``foreground``;
    - classification: its IoU with an object of another class is at least ``foreground``;
    - duplicate: its IoU with an object of its class is, but a better detection has the object;
    - background: its IoU with every object is below ``background``;
    - both: any other.

    An object without a detection is missed, unless a localization or classification error is on it. Mending such an
    error makes the best one on a free object a true positive, and takes the others away; mending a duplicate, a
    background error and both takes the detection away; mending a missed object takes the object away. Crowds and
    ignored objects, and detections on them, count nowhere.

    Source: Bolya, Foley, Hays and Hoffman, TIDE: A General Toolbox for Identifying Object Detection Errors (2020).

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    >>> prediction = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "labels": np.array([0, 1])}
    >>> target = {"boxes": boxes, "labels": np.array([0, 0])}
    >>> results = error_analysis([prediction], [target])
    >>> results["classification_count"], round(results["classification_dap"], 3)
    (1, 0.495)
    """
    check.choice(OP, "iou_type", iou_type, inputs.IOU_TYPES)
    level = check.number(OP, "foreground", foreground)
    if not 0 < level <= 1:
        raise ValueError(f"{OP}: foreground must be in (0, 1], got {level}")
    given = {
        "iou_type": iou_type, "iou_thresholds": [level], "rec_thresholds": None, "max_detections": [max_detections],
        "areas": {"all": (0, np.inf)}, "rule": "coco", "method": "coco101", "inclusive": False, "confusion_at": None,
        "sigmas": sigmas, "use_area": use_area,
    }  # fmt: skip
    parameters = inputs.parameters(given, OP)
    inputs.check_lists(OP, predictions, targets)
    if iou_type == "rotated":
        box_format = format_of(OP, box_format)
    else:
        check.choice(OP, "box_format", box_format, check.FORMATS)
    images = [
        inputs.read_image(OP, i, prediction, target, box_format, parameters)
        for i, (prediction, target) in enumerate(zip(predictions, targets, strict=True))
    ]
    if not images:
        return of_columns(parameters, None, background, backend)
    return of_columns(parameters, inputs.columns(images, parameters)[0], background, backend)


def of_metrics(metrics: DetectionMetrics, detections: Columns, truth: Columns, foreground: float) -> dict[str, Any]:
    """The result of `error_analysis` of whole columns, with the kind of overlap and limit of a metric object."""
    p = replace(
        metrics._parameters, iou_thresholds=(foreground,), max_detections=metrics._parameters.max_detections[-1:],
        areas=(("all", 0.0, np.inf),), rule="coco", method="coco101", confusion_at=None,
    )  # fmt: skip
    return of_columns(p, (detections, truth), BACKGROUND_IOU, metrics.backend)


class Data(NamedTuple):
    """The detections that count, and the objects."""

    label: Ints  # (N,) position in the classes
    score: Array
    true: Array  # (N,) bool
    total: Ints  # (K,) objects of each class


class Found(NamedTuple):
    """The errors of all false positives, and the objects that no detection has."""

    row: Ints  # (E,) rows of `Data`
    kind: Ints  # (E,)
    mended: Array  # (E,) whether mending it makes it a true positive
    label: Ints  # (E,) its class then
    missed: Ints  # (K,) objects of each class that no error is on
    free: Ints  # (K,) objects of each class without a detection


def of_columns(
    p: Parameters, both: tuple[Columns, Columns] | None, background: float, backend: str | None
) -> dict[str, Any]:
    """The result of `error_analysis`. ``both``: detections and true boxes; None: no image."""
    low = check.number(OP, "background", background)
    if not 0 < low < p.iou_thresholds[0]:
        raise ValueError(f"{OP}: background must be in (0, foreground), got {low:g} of {p.iou_thresholds[0]:g}")
    if both is None or not (both[1].flags == 0).any():
        results: dict[str, Any] = {"ap": ABSENT}
        results |= {f"{kind}_count": 0 for kind in KINDS}
        return results | {f"{kind}_dap": ABSENT for kind in (*KINDS, "false_positives", "false_negatives")}
    data, found = errors(p, *both, low, backend)
    return figures(data, found, backend)


def errors(
    p: Parameters, detections: Columns, truth: Columns, background: float, backend: str | None
) -> tuple[Data, Found]:
    """Match, and find the kind of every error."""
    classes, label = np.unique(np.concatenate([detections.label, truth.label]), return_inverse=True)
    label, n, K = label.reshape(-1).astype(np.int64), len(detections.label), len(classes)
    image = np.unique(np.concatenate([detections.image, truth.image]), return_inverse=True)[1].reshape(-1)
    count = int(image.max()) + 1
    group = label * count + image
    rule = p.matching(p.iou_types[0])
    every, true = Rows.of(group[:n], detections), Rows.of(group[n:], truth)
    records = match_rows(rule, every, true, matched=True, backend=backend)
    assert records.matched is not None
    outcome, matched = unpack(records.outcomes, 1, 1).reshape(-1), records.matched.reshape(-1)
    counts = np.flatnonzero(outcome != IGNORED)
    row, hit, has = records.row[counts], outcome[counts] == TRUE, matched[counts]
    objects = np.flatnonzero(truth.flags == 0)
    taken = np.zeros(len(truth.label), bool)
    taken[has[hit]] = True
    total = np.bincount(label[n:][objects], minlength=K)
    data = Data(label[:n][row], detections.scores[row], hit, total)

    wrong = np.flatnonzero(~hit)
    wrong = wrong[np.lexsort((row[wrong], -detections.scores[row[wrong]], image[row[wrong]]))]
    d = Rows.of(image[:n], detections, row[wrong])
    g = objects[np.argsort(image[n:][objects], kind="stable")]
    start, true_start = (np.searchsorted(x, np.arange(count + 1)) for x in (image[row[wrong]], image[n:][g]))
    grouped = np.arange(len(wrong)), start, np.arange(len(g)), true_start
    overlap = overlaps_of_groups(rule, d, Rows.of(image[n:], truth, g), grouped, backend)
    place, object_ = pairs_of_groups(start, true_start)
    same = data.label[wrong][place] == label[n:][g][object_]
    own, own_at = greatest(overlap, place, object_, same, len(wrong))
    other, other_at = greatest(overlap, place, object_, ~same, len(wrong))
    foreground = min(p.iou_thresholds[0], 1 - 1e-10)
    kind = np.select(
        [(own >= background) & (own < foreground), other >= foreground, own >= foreground,
         np.maximum(own, other) < background],
        [LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH,
    )  # fmt: skip
    at = np.where(kind == LOCALIZATION, own_at, np.where(kind == CLASSIFICATION, other_at, -1))
    on_free = np.flatnonzero((at >= 0) & ~taken[g][at])
    by_score = on_free[np.lexsort((on_free, -data.score[wrong][on_free], at[on_free]))]
    best = by_score[np.append(True, np.diff(at[by_score]) != 0)] if len(by_score) else by_score
    mended = np.zeros(len(wrong), bool)
    mended[best] = True
    free = ~taken[g]
    missed = free.copy()
    missed[at[on_free]] = False
    of_object = label[n:][g]
    return data, Found(
        wrong, kind, mended, np.where(mended, of_object[at], 0),
        np.bincount(of_object[missed], minlength=K), np.bincount(of_object[free], minlength=K),
    )  # fmt: skip


def greatest(overlap: Array, place: Ints, object_: Ints, wanted: Array, n: int) -> tuple[Array, Ints]:
    """(n,) the greatest overlap of each detection among the wanted pairs, and its object; -1 where there is none."""
    value, at = np.full(n, -1.0), np.full(n, -1, np.int64)
    rows = np.flatnonzero(wanted)
    rows = rows[np.lexsort((object_[rows], -overlap[rows], place[rows]))]
    first = rows[np.append(True, np.diff(place[rows]) != 0)] if len(rows) else rows
    value[place[first]], at[place[first]] = overlap[first], object_[first]
    return value, at


def figures(data: Data, found: Found, backend: str | None) -> dict[str, Any]:
    base = ap(data, data.total, backend)
    results: dict[str, Any] = {"ap": base}
    for number, name in enumerate(KINDS[:-1]):
        of_kind = found.kind == number
        results[f"{name}_count"] = int(of_kind.sum())
    results["missed_count"] = int(found.missed.sum())
    for number, name in enumerate(KINDS[:-1]):
        results[f"{name}_dap"] = ap(mend(data, found, found.kind == number), data.total, backend) - base
    results["missed_dap"] = ap(data._replace(total=data.total - found.missed), data.total, backend) - base
    right = np.flatnonzero(data.true)
    without = data._replace(label=data.label[right], score=data.score[right], true=data.true[right])
    results["false_positives_dap"] = ap(without, data.total, backend) - base
    results["false_negatives_dap"] = ap(data._replace(total=data.total - found.free), data.total, backend) - base
    return results


def mend(data: Data, found: Found, chosen: Array) -> Data:
    """The detections with the chosen errors mended."""
    label, true, keep = data.label.copy(), data.true.copy(), np.ones(len(data.label), bool)
    keep[found.row[chosen & ~found.mended]] = False
    best = chosen & found.mended
    label[found.row[best]], true[found.row[best]] = found.label[best], True
    return Data(label[keep], data.score[keep], true[keep], data.total)


def ap(data: Data, total: Ints, backend: str | None) -> float:
    """Mean average precision over the classes that have objects in ``total``, and objects or detections in ``data``."""
    K = len(total)
    order = np.argsort(data.label, kind="stable")
    start = np.searchsorted(data.label[order], np.arange(K + 1)).astype(np.int64)
    outcomes = pack(np.where(data.true[order], TRUE, FALSE).astype(np.uint8)[:, None, None])
    kernel = backends.choose("accumulate", backend, accumulate_reference)
    precision, _, _ = kernel(
        data.score[order], outcomes, start, data.total[:, None].astype(np.int64), np.arange(K + 1), 1,
        np.linspace(0, 1, 101), np.array([check.MAX_COUNT]),
    )  # fmt: skip
    of_class = np.where(data.total > 0, precision[0, :, :, 0, 0].mean(axis=0), 0.0)
    counts = (total > 0) & ((data.total > 0) | (np.diff(start) > 0))
    return known_mean(of_class[counts], ABSENT)
