"""Match the detections of one image with its true boxes greedily, or count hits naively, duplicates included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet import boxes as _boxes
from fastdet._core import backends, check
from fastdet._core.arrays import like, to_numpy
from fastdet.detection.inputs import finite, read_boxes, thresholds
from fastdet.detection.records import (  # fmt: skip
    CROWD,
    IGNORE,
    Floats,
    Ints,
    Rows,
    Rule,
    match_rows,
    unpack,
)


class Matches(NamedTuple):
    """The result of `match_detections` for T thresholds, A area ranges and D detections within max_detections."""

    order: Any  # (D,) int64, indices of the detections by falling score
    matched: Any  # (D, T, A) int64, index of the matched true box, or -1
    outcome: Any  # (D, T, A) uint8, 1 true positive, 0 false positive, 2 ignored
    counted: Any  # (A,) int64, number of true boxes to find: neither crowd nor ignored nor outside the range


Matches.__module__ = "fastdet.detection"


class NaiveCounts(NamedTuple):
    """The result of `count_naive`."""

    tp: int  # true positives
    fp: int  # false positives
    fn: int  # false negatives


NaiveCounts.__module__ = "fastdet.detection"


def match_detections(
    boxes: Any,
    scores: Any,
    true_boxes: Any,
    *,
    labels: Any = None,
    true_labels: Any = None,
    iscrowd: Any = None,
    ignore: Any = None,
    true_areas: Any = None,
    iou_thresholds: float | Sequence[float] = 0.5,
    area_ranges: Any = None,
    max_detections: int | None = 100,
    rule: str = "coco",
    box_format: str = "xyxy",
    inclusive: bool = False,
    backend: str | None = None,
) -> Matches:
    """Match the detections of one image with its true boxes.

    Parameters
    ----------
    boxes : (N, 4) float, pixels
    scores : (N,) float
    true_boxes : (M, 4) float, pixels
    labels, true_labels : (N,) and (M,) integer; detections match true boxes of their own label only. None: one class
    iscrowd : (M,) 0/1, regions of many objects. The overlap with one is the share of the detection inside it; any
        number of detections may match one, and they are ignored
    ignore : (M,) 0/1, boxes that need no detection (VOC's difficult ones); detections that match one are ignored
    true_areas : (M,) float, square pixels, compared with area_ranges. Width times height where this is None, or an
        entry is not above 0
    iou_thresholds : one or T numbers in (0, 1]
    area_ranges : (A, 2) minimum and maximum area, both inclusive. True boxes outside are ignored, and so are unmatched
        detections outside. None: one range that holds every area
    max_detections : maximum number of detections of each class, the best by score; None: all
    rule : "coco": detections take turns by falling score, and each takes the free true box of the maximum IoU, if that
        is at least the threshold. "voc": each detection has one true box, that of its maximum IoU, if that is above
        the threshold; it is a false positive if the box is taken
    box_format : "xyxy", "xywh" or "cxcywh"
    inclusive : True: coordinates name pixels and the last one is inside, so that each side is longer by 1
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    Matches : order, matched, outcome and counted

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN or infinity

    Source: COCO's evaluation code (pycocotools); The PASCAL VOC development kit.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 10, 9], [0, 0, 10, 8]])
    >>> match_detections(boxes, np.array([0.9, 0.8]), np.array([[0.0, 0, 10, 10]])).outcome[:, 0, 0]
    array([1, 0], dtype=uint8)
    """
    op = "match_detections"
    backends.check_name(op, backend)
    predicted = _xywh(op, "boxes", boxes, box_format)
    true = _xywh(op, "true_boxes", true_boxes, box_format)
    score = check.scores(op, to_numpy(op, "scores", scores), len(predicted)).astype(np.float64)
    finite(op, "scores", score)
    if (labels is None) != (true_labels is None):
        raise ValueError(f"{op}: labels and true_labels must be passed together, got only {_passed(labels)}")
    groups, true_groups = _groups(op, labels, true_labels, len(predicted), len(true))
    flags = np.zeros(len(true), np.uint8)
    for name, x, flag in (("iscrowd", iscrowd, CROWD), ("ignore", ignore, IGNORE)):
        if x is not None:
            flags |= check.flags(op, name, to_numpy(op, name, x), len(true)).view(np.uint8) * np.uint8(flag)
    offset = float(bool(inclusive))
    with np.errstate(over="ignore"):
        areas, sizes = ((x[:, 2] + offset) * (x[:, 3] + offset) for x in (predicted, true))
    if true_areas is not None:
        stated = to_numpy(op, "true_areas", true_areas)
        if stated.shape != (len(true),):
            raise ValueError(f"{op}: true_areas must have shape ({len(true)},), one per true box, got {stated.shape}")
        stated = check.real(op, "true_areas", stated).astype(np.float64)
        finite(op, "true_areas", stated)
        sizes = np.where(stated > 0, stated, sizes)
    one = not isinstance(iou_thresholds, Iterable) or check.is_scalar_array(iou_thresholds)
    levels = thresholds(op, "iou_thresholds", [iou_thresholds] if one else iou_thresholds)
    voc = check.choice(op, "rule", rule, ("coco", "voc")) == "voc"
    limit = check.limit(op, "max_detections", max_detections)
    records = match_rows(
        Rule(np.array(levels), _ranges(op, area_ranges), limit, offset, voc),
        Rows(groups, predicted, areas, score, flags[:0]),
        Rows(true_groups, true, sizes, score[:0], flags),
        matched=True, backend=backend,
    )  # fmt: skip
    assert records.matched is not None
    by_score = np.lexsort((records.row, -records.scores))
    outcome = unpack(records.outcomes[by_score], len(levels), records.counted.shape[1])
    wrap = like(boxes)
    return Matches(
        wrap(records.row[by_score]), wrap(records.matched[by_score]), wrap(outcome), wrap(records.counted.sum(axis=0))
    )


def count_naive(
    boxes: Any,
    true_boxes: Any,
    *,
    labels: Any = None,
    true_labels: Any = None,
    iou_threshold: float = 0.5,
    inclusive: bool = False,
    backend: str | None = None,
) -> NaiveCounts:
    """Count hits without matching: several detections of one object are all true positives.

    A predicted box is a true positive if its IoU with some true box of its class is above the threshold, else a false
    positive. A true box is a false negative if no predicted box of its class has such an IoU with it.

    Parameters
    ----------
    boxes, true_boxes : (N, 4) and (M, 4) float, pixels, x1 y1 x2 y2
    labels, true_labels : (N,) and (M,) integer; None for one class
    iou_threshold : in [0, 1]; a pair with IoU equal to it is not a hit
    inclusive : True: coordinates name pixels and the last one is inside, so that each side is longer by 1
    backend : computes the IoU, as in `fastdet.boxes.box_iou`

    Returns
    -------
    NaiveCounts : tp, fp, fn; tp + fp is N, but tp + fn may differ from M

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN or infinity

    Examples
    --------
    >>> count_naive(np.array([[0.0, 0, 10, 9], [0, 0, 10, 8]]), np.array([[0.0, 0, 10, 10]]))
    NaiveCounts(tp=2, fp=0, fn=0)
    """
    op = "count_naive"
    backends.check_name(op, backend)
    a, b = (check.boxes(op, n, to_numpy(op, n, x)) for n, x in (("boxes", boxes), ("true_boxes", true_boxes)))
    if a.dtype != b.dtype:
        a, b = a.astype(np.float64), b.astype(np.float64)
    for name, x in (("boxes", a), ("true_boxes", b)):
        finite(op, name, x)
    iou_threshold = check.unit(op, "iou_threshold", iou_threshold)
    if (labels is None) != (true_labels is None):
        raise ValueError(f"{op}: labels and true_labels must be passed together, got only {_passed(labels)}")
    groups, true_groups = _groups(op, labels, true_labels, len(a), len(b))
    if inclusive:
        a, b = (x + np.array([0, 0, 1, 1], x.dtype) for x in (a, b))
    is_hit, is_detected = np.zeros(len(a), bool), np.zeros(len(b), bool)
    for group in np.intersect1d(groups, true_groups):
        rows, columns = np.flatnonzero(groups == group), np.flatnonzero(true_groups == group)
        above = _boxes.box_iou(a[rows], b[columns], backend=backend) > iou_threshold
        is_hit[rows], is_detected[columns] = above.any(axis=1), above.any(axis=0)
    tp = int(is_hit.sum())
    return NaiveCounts(tp, len(a) - tp, int((~is_detected).sum()))


def _passed(labels: Any) -> str:
    """The one of labels and true_labels that is not None."""
    return "true_labels" if labels is None else "labels"


def check_counted(op: str, true_positives: Any, counted: Any) -> None:
    """Raise ValueError where there are more true positives than true boxes to find."""
    too_many = np.broadcast_to(true_positives > counted, np.shape(true_positives))
    if too_many.any():
        at = tuple(int(i) for i in np.argwhere(too_many)[0])
        tp, got = np.asarray(true_positives)[at], np.broadcast_to(counted, np.shape(true_positives))[at]
        raise ValueError(f"{op}: counted must be at least {tp}, the number of true positives, got {got}")


def _xywh(op: str, name: str, x: Any, box_format: str) -> Floats:
    """Boxes as x y w h in float64. Sides are computed in the boxes' own dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return read_boxes(op, name, x, check.choice(op, "box_format", box_format, check.FORMATS))


def _groups(op: str, labels: Any, true_labels: Any, n: int, m: int) -> tuple[Ints, Ints]:
    """The labels of both sets of boxes, renumbered from 0."""
    if labels is None:
        return np.zeros(n, np.int64), np.zeros(m, np.int64)
    both = [
        check.keys(op, name, to_numpy(op, name, x), count)
        for name, x, count in (("labels", labels, n), ("true_labels", true_labels, m))
    ]
    _, group = np.unique(np.concatenate(both), return_inverse=True)
    group = group.reshape(-1).astype(np.int64)
    return group[:n], group[n:]


def _ranges(op: str, area_ranges: Any) -> Floats:
    if area_ranges is None:
        return np.array([[-np.inf, np.inf]])
    ranges = to_numpy(op, "area_ranges", area_ranges)
    if ranges.ndim != 2 or ranges.shape[1] != 2 or not len(ranges):
        raise ValueError(f"{op}: area_ranges must have shape (A, 2), got {ranges.shape}")
    ranges = check.real(op, "area_ranges", ranges).astype(np.float64)
    if not (ranges[:, 0] <= ranges[:, 1]).all():
        raise ValueError(f"{op}: area_ranges must have minimum <= maximum, got {ranges.tolist()}")
    return ranges
