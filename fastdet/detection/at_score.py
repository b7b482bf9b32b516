"""Precision, recall and F1 of joined records at a score, and the score that gives the best F1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet._core.metric import known_mean
from fastdet.detection.records import FALSE, TRUE, Floats, Ints, outcomes_of
from fastdet.detection.results import ABSENT
from fastdet.detection.state import Chunk, Parameters, min_kept_score

DEFAULT_IOU = 0.5


def threshold(op: str, p: Parameters, iou: Any) -> int:
    """The position of ``iou`` in the IoU thresholds. ValueError if it is not one of them."""
    wanted = DEFAULT_IOU if iou is None else check.number(op, "iou", iou)
    at = np.flatnonzero(np.isclose(p.iou_thresholds, wanted, rtol=0, atol=1e-9))
    if not len(at):
        known = ", ".join(f"{t:g}" for t in p.iou_thresholds)
        raise ValueError(
            f"{op}: iou must be one of iou_thresholds ({known}), got {wanted:g}; "
            f"make the object with iou_thresholds=[{wanted:g}]"
        )
    return int(at[0])


class Outcomes(NamedTuple):
    """The detections that count, by class and then by falling score, and the true boxes of each class."""

    label: Ints  # (N,) positions in the chunk's classes
    scores: Floats  # (N,)
    true: Array  # (N,) bool; the others are false positives
    total: Ints  # (K,) true boxes


def counted(p: Parameters, chunk: Chunk, t: int) -> Outcomes:
    """What counts at IoU threshold ``t`` with the first area and the largest of max_detections."""
    outcome = outcomes_of(chunk.outcomes, t * len(p.areas))
    label = np.repeat(chunk.label.astype(np.int64), chunk.size.astype(np.int64))
    rows = np.flatnonzero((outcome == TRUE) | (outcome == FALSE))
    rows = rows[np.lexsort((-chunk.scores[rows].astype(np.float64), label[rows]))]
    total = np.bincount(chunk.label, chunk.counted[:, 0], minlength=len(chunk.classes)).astype(np.int64)
    return Outcomes(label[rows], chunk.scores[rows].astype(np.float64), outcome[rows] == TRUE, total)


def at(p: Parameters, chunk: Chunk, t: int, score: float) -> dict[str, Any]:
    """The result of `DetectionMetrics.at_score`."""
    x = counted(p, chunk, t)
    kept, K = x.scores >= min_kept_score(score), len(x.total)
    tp = np.bincount(x.label[kept & x.true], minlength=K).astype(np.int64)
    fp = np.bincount(x.label[kept & ~x.true], minlength=K).astype(np.int64)
    scores = np.full(K, float(score))
    return figures(p, chunk, t, x.total, (scores, tp, fp), (float(score), int(tp.sum()), int(fp.sum())))


def best(p: Parameters, chunk: Chunk, t: int) -> dict[str, Any]:
    """The result of `DetectionMetrics.best_f1`."""
    x = counted(p, chunk, t)
    first = np.searchsorted(x.label, np.arange(len(x.total) + 1))
    each = [
        best_of(x.scores[first[k] : first[k + 1]], x.true[first[k] : first[k + 1]], int(x.total[k]))
        for k in range(len(x.total))
    ]
    order = np.argsort(-x.scores, kind="stable")
    scores = np.array([score for score, _, _ in each], np.float64)
    tp, fp = (np.array([one[i] for one in each], np.int64) for i in (1, 2))
    return figures(p, chunk, t, x.total, (scores, tp, fp), best_of(x.scores[order], x.true[order], int(x.total.sum())))


def best_of(scores: Floats, true: Array, total: int) -> tuple[float, int, int]:
    """(score, true positives, false positives) of the best F1. ``scores`` fall."""
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    tp = np.cumsum(true)[last]  # equal scores are kept or left out together
    if not (tp.any() and total):
        return ABSENT, 0, 0
    kept = last + 1
    i = int(np.argmax(2 * tp / (kept + total)))
    return float(scores[last[i]]), int(tp[i]), int(kept[i] - tp[i])


def figures(
    p: Parameters, chunk: Chunk, t: int, total: Ints, each: tuple[Floats, Ints, Ints], pooled: tuple[float, int, int]
) -> dict[str, Any]:
    """The dictionary of results from (score, true positives, false positives) of each class and of all together."""
    score, tp, fp = (np.array([x]) for x in pooled)
    overall = {key: value[0].item() for key, value in columns(score, tp, fp, total.sum(keepdims=True)).items()}
    per_class = columns(*each, total)
    return {
        "iou": p.iou_thresholds[t],
        **overall,
        "macro_f1": known_mean(per_class["f1"], ABSENT),
        "classes": chunk.classes,
        **{f"{key}_per_class": value for key, value in per_class.items()},
    }


def columns(score: Array, tp: Array, fp: Array, total: Array) -> dict[str, Array]:
    """The figures of one class or more."""
    return {
        "score": score, "true_positives": tp, "false_positives": fp, "false_negatives": total - tp,
        "precision": share(tp, tp + fp, tp + fp), "recall": share(tp, total, total),
        "f1": share(2 * tp, tp + fp + total, total),
    }  # fmt: skip


def share(part: Array, whole: Array, known: Array) -> Floats:
    """part / whole; -1 where ``known`` is 0."""
    return np.where(known > 0, part / np.maximum(whole, 1), ABSENT)
