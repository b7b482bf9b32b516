"""Numba kernels of matching and accumulation, with the signatures of the references in `records`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.detection.records import CROWD, FALSE, IGNORED, PACKED, TRUE, Bytes, Floats, Ints, group_rows_reference

MAX_THRESHOLD = 1 - 1e-10  # pycocotools' cap on IoU thresholds
EPSILON = float(np.spacing(1))  # pycocotools' guard against 0 / 0


def group_rows(key: Ints, true_key: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    return group_rows_reference(key, true_key)


def match_groups(
    boxes: Floats, scores: Floats, areas: Floats, rows: Ints, start: Ints,
    truth: Floats, truth_areas: Floats, flags: Bytes, truth_rows: Ints, truth_start: Ints,
    thresholds: Floats, ranges: Floats, max_detections: int, offset: float, voc: bool, with_matched: bool,
    overlaps: Floats | None,
) -> tuple[Ints, Ints, Bytes, Ints, Ints | None]:  # fmt: skip
    cells = len(thresholds) * len(ranges)
    by_score = np.lexsort((-scores[rows], np.repeat(np.arange(len(start) - 1), np.diff(start))))
    order, n = rows[by_score], len(rows)
    kept, counted = np.zeros(len(start) - 1, np.int64), np.zeros((len(start) - 1, len(ranges)), np.int64)
    packed = np.zeros((n, -(-cells // PACKED)), np.uint8)
    matched = np.full((n if with_matched else 0, len(thresholds), len(ranges)), -1)
    of_detections = [plain(x) for x in (boxes, areas, start)]
    of_truth = [
        plain(x) for x in (truth[truth_rows], truth_areas[truth_rows], flags[truth_rows], truth_rows, truth_start)
    ]
    rule = (plain(thresholds), plain(ranges), max_detections, float(offset), voc)
    given = (overlaps is not None, plain(np.zeros(0) if overlaps is None else overlaps), by_score)
    arguments: Any = (*of_detections, *of_truth, *rule, *given, order, kept, packed, counted, matched)
    _match(*arguments)
    return order, kept, packed, counted, matched if with_matched else None


@jit
def _overlap(d: Floats, i: int, g: Floats, j: int, crowd: bool, offset: float) -> Any:
    """`overlap_reference` of one pair."""
    dw, dh, gw, gh = d[i, 2] + offset, d[i, 3] + offset, g[j, 2] + offset, g[j, 3] + offset
    w = min(dw + d[i, 0], gw + g[j, 0]) - max(d[i, 0], g[j, 0])
    h = min(dh + d[i, 1], gh + g[j, 1]) - max(d[i, 1], g[j, 1])
    if not (w > 0 and h > 0):
        return 0.0
    inter, area = w * h, dw * dh
    iou = inter / (area if crowd else area + gw * gh - inter)
    return iou if iou == iou else 0.0  # NaN, from areas that overflow, counts as 0


@jit
def _match(
    boxes: Floats, areas: Floats, start: Ints,
    truth: Floats, truth_areas: Floats, flags: Bytes, truth_rows: Ints, truth_start: Ints,
    thresholds: Floats, ranges: Floats, max_detections: int, offset: float, voc: bool,
    given: bool, overlaps: Floats, by_score: Ints,
    order: Ints, kept: Ints, packed: Bytes, counted: Ints, matched: Ints,
) -> None:  # fmt: skip
    T, A, max_count = len(thresholds), len(ranges), 0
    for group in range(len(kept)):
        max_count = max(max_count, truth_start[group + 1] - truth_start[group])
    ignored, taken = np.empty((A, max_count), np.bool_), np.empty((T, A, max_count), np.bool_)
    iou, pairs = np.empty(max_count), 0
    for group in range(len(kept)):
        first, g, count = start[group], truth_start[group], truth_start[group + 1] - truth_start[group]
        for a in range(A):
            for j in range(count):
                area = truth_areas[g + j]
                ignored[a, j] = flags[g + j] > 0 or area < ranges[a, 0] or area > ranges[a, 1]
                counted[group, a] += not ignored[a, j]
        taken[:, :, :count] = False
        kept[group] = start[group + 1] - first
        if max_detections >= 0:
            kept[group] = min(kept[group], max_detections)
        for i in range(first, first + kept[group]):
            row, best = order[i], -1
            for j in range(count):
                if given:
                    iou[j] = overlaps[pairs + (by_score[i] - first) * count + j]
                else:
                    iou[j] = _overlap(boxes, row, truth, g + j, flags[g + j] & CROWD > 0, offset)
                if best < 0 or iou[j] > iou[best]:
                    best = j
            for t in range(T):
                for a in range(A):
                    outside = areas[row] < ranges[a, 0] or areas[row] > ranges[a, 1]
                    result, match = IGNORED if outside else FALSE, -1
                    if best >= 0 and voc and iou[best] > thresholds[t]:
                        match = best
                        if ignored[a, match]:
                            result = IGNORED
                        else:
                            result = FALSE if taken[t, a, match] else TRUE
                            taken[t, a, match] = True
                    elif best >= 0 and not voc and iou[best] >= min(thresholds[t], MAX_THRESHOLD):
                        match = _free(iou, min(thresholds[t], MAX_THRESHOLD), ignored[a], taken[t, a], flags, g, count)
                        if match >= 0:
                            result = IGNORED if ignored[a, match] else TRUE
                            taken[t, a, match] = True
                    cell = t * A + a
                    packed[i, cell // PACKED] += result * 3 ** (cell % PACKED)
                    if len(matched) and match >= 0:
                        matched[i, t, a] = truth_rows[g + match]
        pairs += (start[group + 1] - first) * count


@jit
def _free(iou: Floats, min_iou: float, ignored: Array, taken: Array, flags: Bytes, g: int, count: int) -> Any:
    """The free true box of the maximum IoU from ``min_iou`` up, or -1. Equal IoU: higher index. Ignored boxes last."""
    match = -1
    for pass_ in range(2):
        for j in range(count):
            free = not taken[j] or flags[g + j] & CROWD > 0
            if free and ignored[j] == (pass_ > 0) and iou[j] >= min_iou:
                min_iou, match = iou[j], j
        if match >= 0:
            break
    return match


def accumulate(
    scores: Floats, outcomes: Bytes, start: Ints, counted: Ints, of_class: Ints, T: int, recalls: Floats,
    max_detections: Ints,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    K, A, R, M = len(of_class) - 1, counted.shape[1], len(recalls), len(max_detections)
    precision, at = np.full((T, R, K, A, M), -1.0), np.full((T, R, K, A, M), -1.0)
    recall = np.full((T, K, A, M), -1.0)
    rank = np.arange(len(scores)) - np.repeat(start[:-1], np.diff(start))
    label = np.repeat(np.repeat(np.arange(K), np.diff(of_class)), np.diff(start))
    order = np.lexsort((-scores, label))
    total = np.concatenate([np.zeros((1, A), np.int64), np.cumsum(counted, axis=0)])[of_class]
    _accumulate(
        plain(scores), plain(outcomes), order, rank, plain(start)[of_class], np.diff(total, axis=0), T, plain(recalls),
        plain(max_detections), precision, recall, at,
    )  # fmt: skip
    return precision, recall, at


@jit
def _accumulate(
    scores: Floats, outcomes: Bytes, order: Ints, rank: Ints, start: Ints, total: Ints, T: int, recalls: Floats,
    max_detections: Ints, precision: Floats, recall: Floats, at: Floats,
) -> None:  # fmt: skip
    K, A, max_count = total.shape[0], total.shape[1], 0
    for k in range(K):
        max_count = max(max_count, start[k + 1] - start[k])
    # Only values at true positives are stored: precision rises nowhere else.
    envelope, score = np.empty(max_count + 1), np.empty(max_count)
    for k in range(K):
        rows = order[start[k] : start[k + 1]]
        for m in range(len(max_detections)):
            top_score, has_detections = 0.0, False
            for row in rows:
                if rank[row] < max_detections[m]:
                    top_score, has_detections = scores[row], True
                    break
            for cell in range(T * A):
                t, a = cell // A, cell % A
                if total[k, a] == 0:
                    continue
                digit, hits, seen, count = 3 ** (cell % PACKED), 0, 0.0, float(total[k, a])
                for row in rows:
                    outcome = outcomes[row, cell // PACKED] // digit % 3
                    if rank[row] >= max_detections[m] or outcome == IGNORED:
                        continue
                    seen += 1
                    if outcome == TRUE:
                        hits += 1
                        envelope[hits - 1] = hits / ((seen - hits) + hits + EPSILON)
                        score[hits - 1] = scores[row]
                envelope[hits] = 0.0
                for i in range(hits - 2, -1, -1):
                    envelope[i] = max(envelope[i], envelope[i + 1])
                recall[t, k, a, m] = hits / count if has_detections else 0.0
                i = 0
                for r in range(len(recalls)):
                    while i < hits and (i + 1) / count < recalls[r]:
                        i += 1
                    at_start = recalls[r] <= 0  # recall 0 is reached before the first detection
                    precision[t, r, k, a, m] = envelope[0 if at_start else i]
                    at[t, r, k, a, m] = top_score if at_start else score[i] if i < hits else 0.0
