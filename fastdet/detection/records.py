"""From boxes to records: the matching of a whole data set, and the NumPy references of its kernels.

Rows of detections and of true boxes are put into groups, one for each image and class that has any; each group is
matched by itself; what is left of a detection is its score and one outcome for each threshold and area range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends
from fastdet._core.check import Array

FALSE, TRUE, IGNORED = 0, 1, 2  # what becomes of a detection
CROWD, IGNORE = 1, 2  # flags of a true box
PACKED = 5  # outcomes to a byte, base 3: 3^5 = 243

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Rule:
    """How detections are matched: COCO's greedy rule or VOC's, and at what."""

    thresholds: Floats  # (T,)
    ranges: Floats  # (A, 2) least and greatest area, both inside
    max_detections: int = 100  # of an image and class, by score; -1 for all
    offset: float = 0.0  # added to sides: 1 where boxes name their last pixel
    voc: bool = False


class Columns(NamedTuple):
    """A data set's detections or true boxes, one row each, in the order of their files: what readers give."""

    image: Ints  # (N,) image ids, any integers
    label: Ints  # (N,) category ids, any integers
    boxes: Floats  # (N, 4) x y w h
    areas: Floats  # (N,)
    scores: Floats  # (N,); of true boxes: empty
    flags: Bytes  # (N,) CROWD, IGNORE; of detections: empty
    ids: Ints  # (N,) annotation ids, or empty


class Rows(NamedTuple):
    """Detections, or true boxes, of any images and classes in any order."""

    group: Ints  # (N,) class * images + image
    boxes: Floats  # (N, 4) x y w h
    areas: Floats  # (N,)
    scores: Floats  # (N,); of true boxes: empty
    flags: Bytes  # (N,) CROWD, IGNORE; of detections: empty


class Records(NamedTuple):
    """What is kept of matched detections, by group, in a group by falling score."""

    group: Ints  # (G,) rising
    start: Ints  # (G + 1,) the first detection of each group
    counted: Ints  # (G, A) true boxes that are not ignored
    scores: Floats  # (N,)
    outcomes: Bytes  # (N, ceil(T * A / 5))
    row: Ints  # (N,) which row of the detections it was
    matched: Ints | None  # (N, T, A) the row of the true box, -1 without


def match_rows(
    rule: Rule, detections: Rows, truth: Rows, *, matched: bool = False, backend: str | None = None
) -> Records:
    """Match every group of a data set."""
    group, rows, start, true_rows, true_start = backends.choose("group_rows", backend, group_rows_reference)(
        detections.group, truth.group
    )
    order, kept, outcomes, counted, found = backends.choose("match_groups", backend, match_groups_reference)(
        detections.boxes, detections.scores, detections.areas, rows, start,
        truth.boxes, truth.areas, truth.flags, true_rows, true_start,
        rule.thresholds, rule.ranges, rule.max_detections, rule.offset, rule.voc, matched,
    )  # fmt: skip
    n = len(detections.group)
    if int(kept.sum()) < n:
        inside = np.arange(n) - np.repeat(start[:-1], np.diff(start)) < np.repeat(kept, np.diff(start))
        order, outcomes = order[inside], outcomes[inside]
        found = found[inside] if found is not None else None
        start = np.concatenate([[0], np.cumsum(kept)])
    return Records(group, start, counted, detections.scores[order], outcomes, order, found)


def unpack(outcomes: Bytes, thresholds: int, ranges: int) -> Bytes:
    """Packed outcomes as (N, T, A)."""
    digits = outcomes[:, :, None] // (3 ** np.arange(PACKED)).astype(np.uint8) % 3
    n, packed = outcomes.shape
    return digits.reshape(n, packed * PACKED)[:, : thresholds * ranges].reshape(n, thresholds, ranges)


def pack(outcomes: Bytes) -> Bytes:
    """(N, T, A) outcomes, five to a byte."""
    flat = outcomes.reshape(len(outcomes), int(np.prod(outcomes.shape[1:])))
    wide = np.pad(flat, ((0, 0), (0, -flat.shape[1] % PACKED))).reshape(len(flat), -(-flat.shape[1] // PACKED), PACKED)
    return (wide * (3 ** np.arange(PACKED))).sum(axis=2).astype(np.uint8)


def group_rows_reference(key: Ints, true_key: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(group, rows, start, true_rows, true_start): the keys that there are, and both kinds of rows by their keys."""
    group = np.unique(np.concatenate([key, true_key]))
    found = [group]
    for x in (key, true_key):
        rows = np.argsort(x, kind="stable")
        found += [rows, np.append(np.searchsorted(x[rows], group), len(x)).astype(np.int64)]
    return tuple(found)  # type: ignore[return-value]


def overlap_reference(d: Floats, g: Floats, crowd: NDArray[np.bool_], offset: float) -> Floats:
    """(D, G) IoU of x y w h boxes as pycocotools has it; with a crowd, the part of the detection inside it."""
    side = np.array([0, 0, offset, offset])
    with np.errstate(all="ignore"):
        d, g = (d + side)[:, None], (g + side)[None]
        w = np.minimum(d[..., 2] + d[..., 0], g[..., 2] + g[..., 0]) - np.maximum(d[..., 0], g[..., 0])
        h = np.minimum(d[..., 3] + d[..., 1], g[..., 3] + g[..., 1]) - np.maximum(d[..., 1], g[..., 1])
        inter, area = w * h, d[..., 2] * d[..., 3]
        union = np.where(crowd, area, area + g[..., 2] * g[..., 3] - inter)
        iou = inter / union
    return np.where((w > 0) & (h > 0) & (iou == iou), iou, 0.0)  # NaN: areas that overflow


def match_groups_reference(
    boxes: Floats, scores: Floats, areas: Floats, rows: Ints, start: Ints,
    truth: Floats, truth_areas: Floats, flags: Bytes, truth_rows: Ints, truth_start: Ints,
    thresholds: Floats, ranges: Floats, max_detections: int, offset: float, voc: bool, with_matched: bool,
) -> tuple[Ints, Ints, Bytes, Ints, Ints | None]:  # fmt: skip
    """(order, kept, outcomes, counted, matched): see `Records`; rows past ``kept`` of a group are undefined."""
    groups, T, A = len(start) - 1, len(thresholds), len(ranges)
    order = np.empty(len(boxes), np.int64)
    kept, counted = np.zeros(groups, np.int64), np.zeros((groups, A), np.int64)
    outcomes, matched = np.zeros((len(boxes), T, A), np.uint8), np.full((len(boxes), T, A), -1)
    for i in range(groups):
        d, g = rows[start[i] : start[i + 1]], truth_rows[truth_start[i] : truth_start[i + 1]]
        d = d[np.argsort(-scores[d], kind="stable")]
        order[start[i] : start[i + 1]] = d
        kept[i] = len(d) if max_detections < 0 else min(len(d), max_detections)
        d = d[: kept[i]]
        iou = overlap_reference(boxes[d], truth[g], (flags[g] & CROWD) > 0, offset)
        at = slice(start[i], start[i] + kept[i])
        for a, (least, most) in enumerate(ranges):
            ignored = (flags[g] > 0) | (truth_areas[g] < least) | (truth_areas[g] > most)
            counted[i, a] = np.count_nonzero(~ignored)
            outside = (areas[d] < least) | (areas[d] > most)
            for t, threshold in enumerate(thresholds):
                match, result = match_voc if voc else match_coco, np.where(outside, IGNORED, FALSE)
                found = match(iou, threshold, ignored, (flags[g] & CROWD) > 0, result)
                outcomes[at, t, a] = result
                matched[at, t, a] = np.append(g, -1)[found]
    return order, kept, pack(outcomes), counted, matched if with_matched else None


def match_coco(iou: Floats, threshold: float, ignored: Array, crowd: Array, result: Array) -> Ints:
    """Each detection in turn takes the free true box of greatest IoU; those that are ignored come last."""
    found = np.full(len(iou), -1)
    taken = np.zeros(len(ignored), bool)
    for i, row in enumerate(iou):
        for candidates in (~ignored, ignored):
            free = np.flatnonzero(candidates & (~taken | crowd) & (row >= min(threshold, 1 - 1e-10)))
            if len(free):
                found[i] = free[len(free) - 1 - np.argmax(row[free][::-1])]  # of equals the later
                taken[found[i]] = True
                result[i] = IGNORED if ignored[found[i]] else TRUE
                break
    return found


def match_voc(iou: Floats, threshold: float, ignored: Array, crowd: Array, result: Array) -> Ints:
    """Each detection has its one best true box; a second one on the same box is false."""
    found = np.full(len(iou), -1)
    taken = np.zeros(len(ignored), bool)
    for i, row in enumerate(iou):
        if len(row) == 0 or not row.max() > threshold:
            continue
        found[i] = np.argmax(row)
        result[i] = IGNORED if ignored[found[i]] else FALSE if taken[found[i]] else TRUE
        taken[found[i]] |= result[i] == TRUE
    return found


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
        for m, most in enumerate(max_detections):
            first = rows[rank[rows] < most]
            for a in np.flatnonzero(total):
                for t in range(T):
                    tp = np.cumsum(unpacked[first, t, a] == TRUE).astype(np.float64)
                    fp = np.cumsum(unpacked[first, t, a] == FALSE).astype(np.float64)
                    curve, raw = tp / total[a], tp / (fp + tp + np.spacing(1))
                    envelope = np.maximum.accumulate(raw[::-1])[::-1]
                    where = np.searchsorted(curve, recalls, side="left")
                    met = where < len(first)
                    recall[t, k, a, m] = curve[-1] if len(first) else 0
                    precision[t, :, k, a, m] = at[t, :, k, a, m] = 0
                    precision[t, met, k, a, m] = envelope[where[met]]
                    at[t, met, k, a, m] = scores[first][where[met]]
    return precision, recall, at
