"""Precision-recall curves of single classes, and average precision."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_numpy
from fastdet._core.check import Array
from fastdet.detection.inputs import METHODS, finite
from fastdet.detection.matching import check_counted
from fastdet.detection.records import (  # fmt: skip
    FALSE,
    IGNORED,
    TRUE,
    Bytes,
    Floats,
    Ints,
    Records,
    accumulate_reference,
    pack,
    unpack,
)


def precision_recall_curve(scores: Any, outcome: Any, counted: int) -> PRCurve:
    """Precision over recall of one class as the score threshold falls.

    Parameters
    ----------
    scores : (N,) float, of the class's detections in any number of images, concatenated
    outcome : (N,) integer from `match_detections`: 1 true positive, 0 false positive, 2 ignored (left out)
    counted : number of true boxes to find

    Returns
    -------
    PRCurve : recall, precision (raw: may rise and fall), interpolated, scores; by falling score, equal scores lower
        index first. Empty where counted is 0

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinity, more true positives than counted

    Examples
    --------
    >>> curve = precision_recall_curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 1]), 4)
    >>> curve.recall, curve.interpolated
    (array([0.25, 0.25, 0.5 , 0.75]), array([1.  , 0.75, 0.75, 0.75]))
    """
    op = "precision_recall_curve"
    score, result, total = _outcomes(op, scores, outcome, counted, 1)
    check_counted(op, (result == TRUE).sum(), total)
    order = np.argsort(-score, kind="stable")
    wrap = like(scores)
    return PRCurve(*map(wrap, curve(score[order], result[order], int(total))))


def average_precision(
    scores: Any,
    outcome: Any,
    counted: Any,
    *,
    labels: Any = None,
    method: str = "coco101",
    backend: str | None = None,
) -> Any:
    """Average precision: the mean of precision over recall, or the area below it.

    Parameters
    ----------
    scores : (N,) float
    outcome : (N,), (N, T) or (N, T, A) integer from `match_detections`: 1 true positive, 0 false positive, 2 ignored
    counted : number of true boxes to find: one number, or (A,). With labels: (K,) or (K, A), for each class
    labels : (N,) integer in [0, K); None for one class
    method : "coco101": the mean of interpolated precision at recalls 0, 0.01, ..., 1; "voc2007": at 0, 0.1, ..., 1;
        "area": the exact area below the interpolated curve (VOC from 2010)
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    ap : float64 of shape outcome.shape[1:], with labels (K, ...); a float where that is (). -1 where counted is 0. The
        mean over classes is ``ap[ap > -1].mean()``

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN or infinity, more true positives than counted

    Examples
    --------
    >>> average_precision(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 1]), 4, method="area")
    0.625
    """
    op = "average_precision"
    backends.check_name(op, backend)
    check.choice(op, "method", method, METHODS)
    score, result, total = _outcomes(op, scores, outcome, counted, 0 if labels is None else 1)
    shape = result.shape[1:]
    result = result.reshape(len(score), *((*shape, 1, 1))[:2])
    T, A = result.shape[1:]
    K = 1 if labels is None else len(total)
    total = np.broadcast_to(total.reshape(K, -1), (K, A))
    label = np.zeros(len(score), np.int64)
    if labels is not None:
        label = check.keys(op, "labels", to_numpy(op, "labels", labels), len(score))
        if len(label) and not (label.min() >= 0 and label.max() < K):
            raise ValueError(f"{op}: labels must be in [0, {K}), got {label.min()} to {label.max()}")
    order = np.lexsort((-score, label))
    score, result = score[order], result[order]
    start = np.searchsorted(label[order], np.arange(K + 1)).astype(np.int64)
    non_empty, true_positives = np.flatnonzero(np.diff(start)), np.zeros((K, T, A), np.int64)
    if len(non_empty):
        true_positives[non_empty] = np.add.reduceat(result == TRUE, start[non_empty], axis=0, dtype=np.int64)
    check_counted(op, true_positives, total[:, None])
    if method == "area":
        ap = np.stack([area_below(result[i:j], total[k]) for k, (i, j) in enumerate(itertools.pairwise(start))])
    else:
        levels = np.linspace(0, 1, 101 if method == "coco101" else 11)
        kernel = backends.choose("accumulate", backend, accumulate_reference)
        precision, _, _ = kernel(
            score, pack(result), start, np.ascontiguousarray(total), np.arange(K + 1), T, levels,
            np.array([check.MAX_COUNT]),
        )  # fmt: skip
        # Each mean is over a contiguous row of its own, so that its rounding does not depend on the other rows.
        ap = np.ascontiguousarray(np.transpose(precision[..., 0], (2, 0, 3, 1))).mean(axis=-1)
    ap = np.where(total[:, None] > 0, ap, -1.0)
    if labels is not None:
        return like(scores)(ap.reshape(K, *shape))
    return like(scores)(ap.reshape(shape)) if shape else float(ap.item())


def _outcomes(op: str, scores: Any, outcome: Any, counted: Any, classes: int) -> tuple[Floats, Array, Ints]:
    """The checked arguments: scores, outcomes as uint8, counts as int64 with ``classes`` axes or one more."""
    result = to_numpy(op, "outcome", outcome)
    if result.dtype.kind not in "biu" and result.size:
        raise TypeError(f"{op}: outcome must be an integer array, got {result.dtype}")
    max_axes = 1 if op == "precision_recall_curve" else 3
    if not 1 <= result.ndim <= max_axes:
        raise ValueError(f"{op}: outcome must have 1 to {max_axes} axes, got shape {result.shape}")
    if result.size and not (int(result.min()) >= 0 and int(result.max()) <= IGNORED):
        raise ValueError(f"{op}: outcome must be 0, 1 or 2, got {int(result.min())} to {int(result.max())}")
    score = to_numpy(op, "scores", scores)
    if score.shape != result.shape[:1]:
        raise ValueError(f"{op}: scores must have shape ({len(result)},), one per outcome, got {score.shape}")
    score = check.real(op, "scores", score).astype(np.float64)
    finite(op, "scores", score)
    total = np.asarray(counted if isinstance(counted, int) else to_numpy(op, "counted", counted))
    if total.dtype.kind not in "iu":
        raise TypeError(f"{op}: counted must be an integer, got {total.dtype}")
    areas = result.shape[2] if result.ndim == 3 else 1
    if not (total.ndim == classes or (total.ndim == classes + 1 and total.shape[-1] == areas)) and op[0] == "a":
        raise ValueError(f"{op}: counted must have a number for each class and area range, got shape {total.shape}")
    if op[0] == "p" and total.size != 1:
        raise ValueError(f"{op}: counted must be a number, got shape {total.shape}")
    if total.size and int(total.min()) < 0:
        raise ValueError(f"{op}: counted must be 0 or more, got {int(total.min())}")
    return score, result.astype(np.uint8), total.astype(np.int64).reshape(() if op[0] == "p" else total.shape)


class PRCurve(NamedTuple):
    """The result of `precision_recall_curve`, one point for each detection that is not ignored."""

    recall: Any  # (N,) float64, never falls
    precision: Any  # (N,) float64, raw: may rise and fall
    interpolated: Any  # (N,) float64, the maximum precision at this recall or above
    scores: Any  # (N,) float64, never rise


PRCurve.__module__ = "fastdet.detection"


def curve(scores: Floats, outcome: Array, total: int) -> PRCurve:
    """The curve of outcomes that are sorted by falling score. ``total``: number of true boxes; 0 gives no points."""
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
    # Each sum is over a contiguous row of its own, so that its rounding does not depend on the other rows.
    rows = np.ascontiguousarray(np.moveaxis(envelope * (outcome == TRUE), 0, -1))
    return rows.sum(axis=-1) / np.maximum(total, 1)


def ranked(records: Records, of_class: Ints, k: int, thresholds: int) -> tuple[Floats, Bytes, Ints]:
    """Class k by falling score: scores (N,), outcomes (N, T, A), and its number of true boxes in each range (A,)."""
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
        at_levels = np.zeros((len(curves), 2, len(levels)))
        for values, points in zip(at_levels, curves, strict=True):
            at = np.searchsorted(points.recall, levels, side="left")
            reached = at < len(points.recall)
            values[0, reached], values[1, reached] = points.precision[at[reached]], points.interpolated[at[reached]]
        sums = sums + at_levels
    return [PRCurve(levels, raw, best, np.zeros(0)) for raw, best in (sums / count if count else ())]
