"""Precision over recall of one class: the curve, and the exact area below it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastdet._check import Array
from fastdet._matching import FALSE, IGNORED, TRUE, Bytes, Floats, Ints, Records, unpack


class PRCurve(NamedTuple):
    """What `precision_recall_curve` gives, one point for each detection that counts."""

    recall: Any  # (N,) float64, never falls
    precision: Any  # (N,) float64, raw: can rise and fall
    interpolated: Any  # (N,) float64, the greatest precision at this or a greater recall
    scores: Any  # (N,) falling


def curve(scores: Floats, outcome: Array, total: int) -> PRCurve:
    """From scores that fall and the outcome of each; empty where ``total``, the true boxes, is 0."""
    keep = np.flatnonzero(outcome != IGNORED) if total else np.zeros(0, np.int64)
    tp, fp = np.cumsum(outcome[keep] == TRUE), np.cumsum(outcome[keep] == FALSE)
    precision = tp / np.maximum(tp + fp, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1].copy()
    return PRCurve(tp / max(total, 1), precision, envelope, scores[keep])


def area_below(outcome: Array, total: Array) -> Floats:
    """VOC's average precision from outcomes (N, ...) by falling score and the number of true boxes (...)."""
    tp, fp = np.cumsum(outcome == TRUE, axis=0), np.cumsum(outcome == FALSE, axis=0)
    precision = tp / np.maximum(tp + fp, 1)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    # each sum over its own contiguous row: rounded alike, however many there are
    rows = np.ascontiguousarray(np.moveaxis(envelope * (outcome == TRUE), 0, -1))
    return rows.sum(axis=-1) / np.maximum(total, 1)


def ranked(records: Records, of_class: Ints, k: int, thresholds: int) -> tuple[Floats, Bytes, Ints]:
    """Class k by falling score: scores (N,), outcomes (N, T, A), and its true boxes of each area range (A,)."""
    groups = slice(of_class[k], of_class[k + 1])
    rows = np.arange(records.start[of_class[k]], records.start[of_class[k + 1]])
    rows = rows[np.argsort(-records.scores[rows], kind="stable")]
    outcome = unpack(records.outcomes[rows], thresholds, records.counted.shape[1])
    return records.scores[rows], outcome, records.counted[groups].sum(axis=0)


def mean_curves(classes: Iterable[list[PRCurve]], levels: Floats) -> list[PRCurve]:
    """The mean over classes at recall levels, from each class's curves at T thresholds; empty without a class."""
    sums: Any = 0
    count = 0
    for curves in classes:
        count += 1
        here = np.zeros((len(curves), 2, len(levels)))
        for total, one in zip(here, curves, strict=True):
            at = np.searchsorted(one.recall, levels, side="left")
            met = at < len(one.recall)
            total[0, met], total[1, met] = one.precision[at[met]], one.interpolated[at[met]]
        sums = sums + here
    return [PRCurve(levels, raw, best, np.zeros(0)) for raw, best in (sums / count if count else ())]
