"""Matching detections to true boxes: by greedy matching, and by the naive count that reports duplicates as hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet import boxes as _boxes
from fastdet._core import backends, check
from fastdet._core.arrays import like, to_numpy
from fastdet.detection.inputs import finite, thresholds, to_xywh
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
    """What `match_detections` gives; T thresholds, A area ranges, D detections that count."""

    order: Any  # (D,) int64, the detections by falling score
    matched: Any  # (D, T, A) int64, the true box that each took, -1 without
    outcome: Any  # (D, T, A) uint8, 1 true positive, 0 false positive, 2 ignored
    counted: Any  # (A,) int64, true boxes that are to be found: neither crowd nor ignored nor outside the range


Matches.__module__ = "fastdet.detection"


class NaiveCounts(NamedTuple):
    """What `count_naive` gives."""

    tp: int
    fp: int
    fn: int


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
    iscrowd : (M,) 0/1, regions of many objects: IoU is the part of the detection inside, several detections may
        match one, and those are ignored
    ignore : (M,) 0/1, boxes that need not be found (VOC's difficult ones); detections that match one are ignored
    true_areas : (M,) float, square pixels, compared with area_ranges; where it is not above 0, and for None, width
        times height
    iou_thresholds : one or T numbers in (0, 1]
    area_ranges : (A, 2) least and greatest area, both inside. True boxes outside are ignored, and so are unmatched
        detections outside. None for one range that holds all
    max_detections : of each class, the best by score; None for all
    rule : "coco", or "voc": each detection has its one box of greatest IoU, it needs IoU > threshold, and is false
        where that box is taken
    box_format : "xyxy", "xywh" or "cxcywh"
    inclusive : boxes name their last pixel, so that sides are one longer

    Returns
    -------
    Matches : order, matched, outcome and counted

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN or infinity

    Source: COCO's evaluation code (pycocotools); The PASCAL VOC development kit.
    """
    op = "match_detections"
    backends.check_name(op, backend)
    d = _xywh(op, "boxes", boxes, box_format)
    g = _xywh(op, "true_boxes", true_boxes, box_format)
    score = check.scores(op, to_numpy(op, "scores", scores), len(d)).astype(np.float64)
    finite(op, "scores", score)
    if (labels is None) != (true_labels is None):
        raise ValueError(f"{op}: labels and true_labels must be given together")
    mine, theirs = _groups(op, labels, true_labels, len(d), len(g))
    flags = np.zeros(len(g), np.uint8)
    for name, x, flag in (("iscrowd", iscrowd, CROWD), ("ignore", ignore, IGNORE)):
        if x is not None:
            flags |= check.flags(op, name, to_numpy(op, name, x), len(g)).view(np.uint8) * np.uint8(flag)
    offset = float(bool(inclusive))
    with np.errstate(over="ignore"):
        areas, sizes = ((x[:, 2] + offset) * (x[:, 3] + offset) for x in (d, g))
    if true_areas is not None:
        told = to_numpy(op, "true_areas", true_areas)
        if told.shape != (len(g),):
            raise ValueError(f"{op}: true_areas must have shape ({len(g)},), one per true box, got {told.shape}")
        told = check.real(op, "true_areas", told).astype(np.float64)
        finite(op, "true_areas", told)
        sizes = np.where(told > 0, told, sizes)
    at = thresholds(op, "iou_thresholds", [iou_thresholds] if np.ndim(iou_thresholds) == 0 else iou_thresholds)
    voc = check.choice(op, "rule", rule, ("coco", "voc")) == "voc"
    limit = check.limit(op, "max_detections", max_detections)
    records = match_rows(
        Rule(np.array(at), _ranges(op, area_ranges), limit, offset, voc),
        Rows(mine, d, areas, score, flags[:0]),
        Rows(theirs, g, sizes, score[:0], flags),
        matched=True, backend=backend,
    )  # fmt: skip
    assert records.matched is not None
    by_score = np.lexsort((records.row, -records.scores))
    outcome = unpack(records.outcomes[by_score], len(at), records.counted.shape[1])
    give = like(boxes)
    return Matches(
        give(records.row[by_score]), give(records.matched[by_score]), give(outcome), give(records.counted.sum(axis=0))
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
    """Count without matching: several detections of one object are all true positives.

    A true positive is a predicted box whose IoU with some true box of its class is above the threshold; any other
    predicted box is a false positive; a true box that no predicted one of its class meets so is a false negative.

    Parameters
    ----------
    boxes, true_boxes : (N, 4) and (M, 4) float, pixels, x1 y1 x2 y2
    labels, true_labels : (N,) and (M,) integer; None for one class
    iou_threshold : in [0, 1]; an IoU equal to it is not above
    inclusive : boxes name their last pixel, so that sides are one longer

    Returns
    -------
    NaiveCounts : tp, fp, fn; tp + fp == N, and tp + fn need not be M

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN or infinity
    """
    op = "count_naive"
    backends.check_name(op, backend)
    a, b = (check.boxes(op, n, to_numpy(op, n, x)) for n, x in (("boxes", boxes), ("true_boxes", true_boxes)))
    if a.dtype != b.dtype:
        a, b = a.astype(np.float64), b.astype(np.float64)
    for name, x in (("boxes", a), ("true_boxes", b)):
        finite(op, name, x)
    least = check.unit(op, "iou_threshold", iou_threshold)
    if (labels is None) != (true_labels is None):
        raise ValueError(f"{op}: labels and true_labels must be given together")
    mine, theirs = _groups(op, labels, true_labels, len(a), len(b))
    if inclusive:
        a, b = (x + np.array([0, 0, 1, 1], x.dtype) for x in (a, b))
    hit, found = np.zeros(len(a), bool), np.zeros(len(b), bool)
    for label in np.intersect1d(mine, theirs):
        rows, columns = np.flatnonzero(mine == label), np.flatnonzero(theirs == label)
        above = _boxes.box_iou(a[rows], b[columns], backend=backend) > least
        hit[rows], found[columns] = above.any(axis=1), above.any(axis=0)
    tp = int(hit.sum())
    return NaiveCounts(tp, len(a) - tp, int((~found).sum()))


def _enough(op: str, true: Any, counted: Any) -> None:
    """There are no more true positives than boxes to find."""
    more = np.broadcast_to(true > counted, np.shape(true))
    if more.any():
        at = tuple(int(i) for i in np.argwhere(more)[0])
        found, least = np.asarray(true)[at], np.broadcast_to(counted, np.shape(true))[at]
        raise ValueError(f"{op}: counted must be at least the true positives, {found}, got {least}")


def _xywh(op: str, name: str, x: Any, box_format: str) -> Floats:
    """x y w h as float64; sides are taken in the dtype of the boxes, as a training loop's would be."""
    with np.errstate(over="ignore", invalid="ignore"):
        return to_xywh(op, name, to_numpy(op, name, x), check.choice(op, "box_format", box_format, check.FORMATS))


def _groups(op: str, labels: Any, true_labels: Any, n: int, m: int) -> tuple[Ints, Ints]:
    """Labels as numbers from 0."""
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
        raise ValueError(f"{op}: area_ranges must have least <= greatest, got {ranges.tolist()}")
    return ranges
