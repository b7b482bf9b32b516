"""Match the detections of a whole data set, and the NumPy references of the kernels.

Detections and true boxes are grouped by image and class, and each group is matched by itself. The record of a
detection is its score and one outcome for each threshold and area range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends
from fastdet._core.check import Array
from fastdet.keypoints.similarity import oks_of_groups
from fastdet.masks import RLE, boundary
from fastdet.masks.groups import mask_iou_of_groups
from fastdet.rotated.groups import rotated_iou_of_groups

FALSE, TRUE, IGNORED = 0, 1, 2  # outcomes of a detection: false positive, true positive, ignored
CROWD, IGNORE = 1, 2  # flags of a true box
# What each kind of overlap reads of an object: its box, its mask, its keypoints or its rotated box.
SHAPES = {"bbox": "bbox", "segm": "segm", "boundary": "segm", "keypoints": "keypoints", "rotated": "rotated"}
PACKED = 5  # outcomes in a byte, as digits to base 3: 3^5 = 243

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Rule:
    """The options of matching: COCO's or VOC's rule, the thresholds and the area ranges."""

    thresholds: Floats  # (T,)
    ranges: Floats  # (A, 2) minimum and maximum area, both inside the range
    max_detections: int = 100  # the maximum for each image and class, best by score; -1: no limit
    offset: float = 0.0  # added to sides: 1 where coordinates name pixels and the last one is inside
    voc: bool = False
    iou_type: str = "bbox"  # what overlaps are of: "bbox", "segm", "boundary", "keypoints" or "rotated"
    sigmas: Floats | None = None  # (K,) of keypoints
    use_area: bool = True  # keypoints are scaled by the true area; False: by 0.53 times that of the true box


class Columns(NamedTuple):
    """A data set's detections or true boxes as read from files: one row each, in the order of the file."""

    image: Ints  # (N,) image ids, any integers
    label: Ints  # (N,) category ids, any integers
    boxes: Floats  # (N, 4) x y w h
    areas: Floats  # (N,)
    scores: Floats  # (N,); empty for true boxes
    flags: Bytes  # (N,) CROWD, IGNORE; empty for detections
    ids: Ints  # (N,) annotation ids, or empty
    masks: RLE | None = None  # of N masks, if they are read
    keypoints: Floats | None = None  # (N, K, 3) x y visibility, if they are read
    rotated: Floats | None = None  # (N, 5) cx cy w h degrees, or (N, 8) the corners of quadrilaterals, if they are read

    def rows(self, chosen: Array) -> Columns:
        """Some of the rows, by a mask or by indices. Empty columns stay empty."""
        return Columns._make(x if x is None or not len(x) else x[chosen] for x in self)

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """The rows of several, one after the other. All or none of them have masks, keypoints, and rotated boxes."""
        *arrays, masks, keypoints, rotated = zip(*parts, strict=True)
        joined: list[Any] = [np.concatenate(column) for column in arrays]
        joined.append(None if masks[0] is None else RLE.concatenate(masks))
        known = [part for part in keypoints if part is not None and len(part)]  # without rows K is not known
        joined.append(np.concatenate(known) if known else keypoints[0])
        joined.append(None if rotated[0] is None else np.concatenate(rotated))
        return cls._make(joined)


class Rows(NamedTuple):
    """Detections or true boxes of any images and classes, in any order."""

    group: Ints  # (N,) class * images + image
    boxes: Floats  # (N, 4) x y w h
    areas: Floats  # (N,)
    scores: Floats  # (N,); empty for true boxes
    flags: Bytes  # (N,) CROWD, IGNORE; empty for detections
    masks: RLE | None = None  # of N masks, where overlaps are of masks
    keypoints: Floats | None = None  # (N, K, 3), where overlaps are of keypoints
    rotated: Floats | None = None  # (N, 5) or (N, 8), where overlaps are of rotated boxes

    @classmethod
    def of(cls, group: Ints, c: Columns, chosen: Array | None = None) -> Rows:
        """All rows of columns, or the ``chosen`` ones; ``group`` has one entry for each row of the columns."""
        whole = cls(group, c.boxes, c.areas, c.scores, c.flags, c.masks, c.keypoints, c.rotated)
        return whole if chosen is None else cls._make(x if x is None or not len(x) else x[chosen] for x in whole)


class Records(NamedTuple):
    """Matched detections, sorted by group, then by falling score. A group is an image and a class."""

    group: Ints  # (G,) rising
    start: Ints  # (G + 1,) the first detection of each group
    counted: Ints  # (G, A) true boxes that are not ignored
    scores: Floats  # (N,)
    outcomes: Bytes  # (N, ceil(T * A / 5))
    row: Ints  # (N,) the row of each record's detection in `Rows`
    matched: Ints | None  # (N, T, A) the row of the matched true box, or -1


def match_rows(
    rule: Rule, detections: Rows, truth: Rows, *, matched: bool = False, backend: str | None = None
) -> Records:
    """Match the detections of every group with its true boxes."""
    group, rows, start, true_rows, true_start = backends.choose("group_rows", backend, group_rows_reference)(
        detections.group, truth.group
    )
    overlaps = None
    if rule.iou_type != "bbox":
        rows, start = _best(rule, detections.scores, rows, start)
        overlaps = overlaps_of_groups(rule, detections, truth, (rows, start, true_rows, true_start), backend)
    order, kept, outcomes, counted, matches = backends.choose("match_groups", backend, match_groups_reference)(
        detections.boxes, detections.scores, detections.areas, rows, start,
        truth.boxes, truth.areas, truth.flags, true_rows, true_start,
        rule.thresholds, rule.ranges, rule.max_detections, rule.offset, rule.voc, matched, overlaps,
    )  # fmt: skip
    n = len(rows)
    if int(kept.sum()) < n:
        inside = np.arange(n) - np.repeat(start[:-1], np.diff(start)) < np.repeat(kept, np.diff(start))
        order, outcomes = order[inside], outcomes[inside]
        matches = matches[inside] if matches is not None else None
        start = np.concatenate([[0], np.cumsum(kept)])
    return Records(group, start, counted, detections.scores[order], outcomes, order, matches)


def _best(rule: Rule, scores: Floats, rows: Ints, start: Ints) -> tuple[Ints, Ints]:
    """(rows, start) without the detections beyond the limit, whose overlaps nobody needs."""
    size = np.diff(start)
    limit = rule.max_detections
    if limit < 0 or not len(size) or size.max() <= limit:
        return rows, start
    order = rows[np.lexsort((-scores[rows], np.repeat(np.arange(len(size)), size)))]
    rank = np.arange(len(rows)) - np.repeat(start[:-1], size)
    return order[rank < limit], np.concatenate([[0], np.cumsum(np.minimum(size, limit))])


def overlaps_of_groups(
    rule: Rule, detections: Rows, truth: Rows, grouped: tuple[Ints, Ints, Ints, Ints], backend: str | None
) -> Floats:
    """The overlaps of the rule's kind, group after group, each (detections, true boxes)."""
    crowd = (truth.flags & CROWD) > 0
    if rule.iou_type == "bbox":
        rows, start, true_rows, true_start = grouped
        parts = [np.zeros(0)]
        for i in range(len(start) - 1):
            d, g = rows[start[i] : start[i + 1]], true_rows[true_start[i] : true_start[i + 1]]
            parts.append(overlap_reference(detections.boxes[d], truth.boxes[g], crowd[g], rule.offset).reshape(-1))
        return np.concatenate(parts)
    if rule.iou_type == "keypoints":
        assert detections.keypoints is not None
        assert truth.keypoints is not None
        assert rule.sigmas is not None
        area = truth.areas if rule.use_area else truth.boxes[:, 2] * truth.boxes[:, 3] * 0.53
        return oks_of_groups(
            detections.keypoints, truth.keypoints, area, truth.boxes, rule.sigmas, grouped, backend=backend
        )
    if rule.iou_type == "rotated":
        assert detections.rotated is not None
        assert truth.rotated is not None
        return rotated_iou_of_groups(detections.rotated, truth.rotated, crowd, grouped, backend=backend)
    assert detections.masks is not None
    assert truth.masks is not None
    overlaps = mask_iou_of_groups(detections.masks, truth.masks, crowd, grouped, backend=backend)
    if rule.iou_type == "boundary":
        edges, true_edges = boundary(detections.masks, backend=backend), boundary(truth.masks, backend=backend)
        of_edges = mask_iou_of_groups(edges, true_edges, crowd, grouped, backend=backend)
        _, start, true_rows, true_start = grouped
        of_crowd = crowd[true_rows[pairs_of_groups(start, true_start)[1]]]
        overlaps = np.where(of_crowd, overlaps, np.minimum(overlaps, of_edges))
    return overlaps


def pairs_of_groups(start: Ints, true_start: Ints) -> tuple[Ints, Ints]:
    """The places of both sides of every pair, group after group."""
    size, true_size = np.diff(start), np.diff(true_start)
    pairs = size * true_size
    group = np.repeat(np.arange(len(pairs)), pairs)
    place = np.arange(len(group)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    return start[group] + place // true_size[group], true_start[group] + place % true_size[group]


def unpack(outcomes: Bytes, thresholds: int, ranges: int) -> Bytes:
    """(N, T, A) outcomes from packed ones."""
    digits = outcomes[:, :, None] // (3 ** np.arange(PACKED)).astype(np.uint8) % 3
    n, packed = outcomes.shape
    return digits.reshape(n, packed * PACKED)[:, : thresholds * ranges].reshape(n, thresholds, ranges)


def outcomes_of(outcomes: Bytes, position: int) -> Bytes:
    """(N,) outcomes of one threshold and area range from packed ones: ``position`` is t * A + a."""
    byte, digit = divmod(position, PACKED)
    return outcomes[:, byte] // np.uint8(3**digit) % np.uint8(3)


def pack(outcomes: Bytes) -> Bytes:
    """(N, ceil(T * A / 5)) packed outcomes from (N, T, A) ones: five per byte, as digits to base 3."""
    flat = outcomes.reshape(len(outcomes), int(np.prod(outcomes.shape[1:])))
    wide = np.pad(flat, ((0, 0), (0, -flat.shape[1] % PACKED))).reshape(len(flat), -(-flat.shape[1] // PACKED), PACKED)
    return (wide * (3 ** np.arange(PACKED))).sum(axis=2).astype(np.uint8)


def group_rows_reference(key: Ints, true_key: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(group, rows, start, true_rows, true_start): the distinct keys, and the rows of both kinds sorted by key."""
    group = np.unique(np.concatenate([key, true_key]))
    result = [group]
    for x in (key, true_key):
        rows = np.argsort(x, kind="stable")
        result += [rows, np.append(np.searchsorted(x[rows], group), len(x)).astype(np.int64)]
    return tuple(result)  # type: ignore[return-value]


def overlap_reference(d: Floats, g: Floats, crowd: NDArray[np.bool_], offset: float) -> Floats:
    """(D, G) IoU of x y w h boxes by pycocotools' formula; with a crowd, the share of the detection inside it."""
    side = np.array([0, 0, offset, offset])
    with np.errstate(all="ignore"):
        d, g = (d + side)[:, None], (g + side)[None]
        w = np.minimum(d[..., 2] + d[..., 0], g[..., 2] + g[..., 0]) - np.maximum(d[..., 0], g[..., 0])
        h = np.minimum(d[..., 3] + d[..., 1], g[..., 3] + g[..., 1]) - np.maximum(d[..., 1], g[..., 1])
        inter, area = w * h, d[..., 2] * d[..., 3]
        union = np.where(crowd, area, area + g[..., 2] * g[..., 3] - inter)
        iou = inter / union
    return np.where((w > 0) & (h > 0) & (iou == iou), iou, 0.0)  # NaN, from areas that overflow, counts as 0


def match_groups_reference(
    boxes: Floats, scores: Floats, areas: Floats, rows: Ints, start: Ints,
    truth: Floats, truth_areas: Floats, flags: Bytes, truth_rows: Ints, truth_start: Ints,
    thresholds: Floats, ranges: Floats, max_detections: int, offset: float, voc: bool, with_matched: bool,
    overlaps: Floats | None,
) -> tuple[Ints, Ints, Bytes, Ints, Ints | None]:  # fmt: skip
    """(order, kept, outcomes, counted, matched), see `Records`; a group's rows beyond ``kept`` are undefined.

    ``overlaps``: see `overlaps_of_groups`; None: those of the boxes.
    """
    groups, T, A, n, pairs = len(start) - 1, len(thresholds), len(ranges), len(rows), 0
    order = np.empty(n, np.int64)
    kept, counted = np.zeros(groups, np.int64), np.zeros((groups, A), np.int64)
    outcomes, matched = np.zeros((n, T, A), np.uint8), np.full((n, T, A), -1)
    for i in range(groups):
        d, g = rows[start[i] : start[i + 1]], truth_rows[truth_start[i] : truth_start[i + 1]]
        by_score = np.argsort(-scores[d], kind="stable")
        kept[i] = len(d) if max_detections < 0 else min(len(d), max_detections)
        if overlaps is not None:
            of_group = overlaps[pairs : pairs + len(d) * len(g)].reshape(len(d), len(g))
            iou, pairs = of_group[by_score[: kept[i]]], pairs + len(d) * len(g)
        d = d[by_score]
        order[start[i] : start[i + 1]] = d
        d = d[: kept[i]]
        if overlaps is None:
            iou = overlap_reference(boxes[d], truth[g], (flags[g] & CROWD) > 0, offset)
        at = slice(start[i], start[i] + kept[i])
        for a, (min_area, max_area) in enumerate(ranges):
            ignored = (flags[g] > 0) | (truth_areas[g] < min_area) | (truth_areas[g] > max_area)
            counted[i, a] = np.count_nonzero(~ignored)
            outside = (areas[d] < min_area) | (areas[d] > max_area)
            for t, threshold in enumerate(thresholds):
                match, result = match_voc if voc else match_coco, np.where(outside, IGNORED, FALSE)
                matches = match(iou, threshold, ignored, (flags[g] & CROWD) > 0, result)
                outcomes[at, t, a] = result
                matched[at, t, a] = np.append(g, -1)[matches]
    return order, kept, pack(outcomes), counted, matched if with_matched else None


def match_coco(iou: Floats, threshold: float, ignored: Array, crowd: Array, result: Array) -> Ints:
    """COCO's rule: each detection in turn takes the free true box of the maximum IoU; ignored true boxes come last.

    Returns the index of each detection's true box, or -1, and writes outcomes into ``result``.
    """
    matches = np.full(len(iou), -1)
    taken = np.zeros(len(ignored), bool)
    for i, row in enumerate(iou):
        for candidates in (~ignored, ignored):
            free = np.flatnonzero(candidates & (~taken | crowd) & (row >= min(threshold, 1 - 1e-10)))
            if len(free):
                matches[i] = free[len(free) - 1 - np.argmax(row[free][::-1])]  # equal IoU: the higher index
                taken[matches[i]] = True
                result[i] = IGNORED if ignored[matches[i]] else TRUE
                break
    return matches


def match_voc(iou: Floats, threshold: float, ignored: Array, crowd: Array, result: Array) -> Ints:
    """VOC's rule: each detection has one true box, that of its maximum IoU; a second detection of a box is false.

    Returns the index of each detection's true box, or -1, and writes outcomes into ``result``.
    """
    matches = np.full(len(iou), -1)
    taken = np.zeros(len(ignored), bool)
    for i, row in enumerate(iou):
        if len(row) == 0 or not row.max() > threshold:
            continue
        matches[i] = np.argmax(row)
        result[i] = IGNORED if ignored[matches[i]] else FALSE if taken[matches[i]] else TRUE
        taken[matches[i]] |= result[i] == TRUE
    return matches


def accumulate_reference(
    scores: Floats, outcomes: Bytes, start: Ints, counted: Ints, of_class: Ints, T: int, recalls: Floats,
    max_detections: Ints,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """(precision (T, R, K, A, M), recall (T, K, A, M), scores (T, R, K, A, M)); -1 where a class has no true box."""
    K, A, R, M = len(of_class) - 1, counted.shape[1], len(recalls), len(max_detections)
    precision, at = np.full((T, R, K, A, M), -1.0), np.full((T, R, K, A, M), -1.0)
    recall = np.full((T, K, A, M), -1.0)
    rank = np.arange(len(scores)) - np.repeat(start[:-1], np.diff(start))
    unpacked = unpack(outcomes, T, A)
    for k in range(K):
        groups = slice(of_class[k], of_class[k + 1])
        total = counted[groups].sum(axis=0)
        rows = np.arange(start[of_class[k]], start[of_class[k + 1]])
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        for m, limit in enumerate(max_detections):
            first = rows[rank[rows] < limit]
            for a in np.flatnonzero(total):
                for t in range(T):
                    tp = np.cumsum(unpacked[first, t, a] == TRUE).astype(np.float64)
                    fp = np.cumsum(unpacked[first, t, a] == FALSE).astype(np.float64)
                    curve, raw = tp / total[a], tp / (fp + tp + np.spacing(1))
                    envelope = np.maximum.accumulate(raw[::-1])[::-1]
                    where = np.searchsorted(curve, recalls, side="left")
                    reached = where < len(first)
                    recall[t, k, a, m] = curve[-1] if len(first) else 0
                    precision[t, :, k, a, m] = at[t, :, k, a, m] = 0
                    precision[t, reached, k, a, m] = envelope[where[reached]]
                    at[t, reached, k, a, m] = scores[first][where[reached]]
    return precision, recall, at
