"""Whether scores are shares of true positives: reliability and expected calibration error of joined records."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.metric import known_mean
from fastdet.detection.at_score import counted
from fastdet.detection.records import Floats, Ints
from fastdet.detection.results import ABSENT
from fastdet.detection.state import Chunk, Parameters


def calibration(p: Parameters, chunk: Chunk, t: int, bins: int) -> dict[str, Any]:
    """The result of `DetectionMetrics.calibration`."""
    x = counted(p, chunk, t)
    K, edges = len(x.total), np.linspace(0, 1, bins + 1)
    bin_ = np.clip(np.searchsorted(edges, x.scores, side="right") - 1, 0, bins - 1)
    of_class = [sums(x.label * bins + bin_, values, K * bins).reshape(K, bins) for values in (None, x.scores, x.true)]
    count, score, true = of_class
    every = [values.sum(axis=0) for values in of_class]
    gaps = error(*every)
    return {
        "ece": expected(every[0], gaps),
        "mce": float(gaps.max()) if every[0].any() else ABSENT,
        "iou": p.iou_thresholds[t],
        "edges": edges,
        "count": every[0].astype(np.int64),
        "confidence": mean(every[1], every[0]),
        "precision": mean(every[2], every[0]),
        "classes": chunk.classes,
        "ece_per_class": (each := np.array([expected(count[k], error(count[k], score[k], true[k])) for k in range(K)])),
        "mean_ece": known_mean(each, ABSENT),
    }


def sums(place: Ints, values: Array | None, size: int) -> Floats:
    return np.bincount(place, values, minlength=size).astype(np.float64)


def mean(total: Floats, count: Floats) -> Floats:
    """total / count; -1 where ``count`` is 0."""
    return np.where(count > 0, total / np.maximum(count, 1), ABSENT)


def error(count: Floats, score: Floats, true: Floats) -> Floats:
    """How far the share of true positives is from the mean score of each bin; 0 for an empty one."""
    return np.abs(true - score) / np.maximum(count, 1)


def expected(count: Floats, gaps: Floats) -> float:
    return float((count * gaps).sum() / count.sum()) if count.any() else ABSENT
