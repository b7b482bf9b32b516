"""The results of joined records: curves, means over classes, and confidence intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, limits
from fastdet._core.check import Array
from fastdet._core.metric import Bootstrap, interval, known_mean, left_out, resample
from fastdet.detection import state
from fastdet.detection.curves import PRCurve, area_below, curve, ranked
from fastdet.detection.records import Floats, Ints, Records, accumulate_reference
from fastdet.detection.state import Chunk, Parameters

ABSENT = -1.0  # the value of a figure without true boxes


def curves(p: Parameters, chunk: Chunk, backend: str | None) -> tuple[Floats, Floats, Floats]:
    """Precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M) as in COCO's evaluation."""
    records, of_class = state.to_records(chunk)
    T, R, M = len(p.iou_thresholds), len(p.rec_thresholds), len(p.max_detections)
    require_room("DetectionMetrics", T, R, len(of_class) - 1, len(p.areas), M)
    kernel = backends.choose("accumulate", backend, accumulate_reference)
    result: tuple[Floats, Floats, Floats] = kernel(
        records.scores, records.outcomes, records.start, records.counted, of_class, len(p.iou_thresholds),
        np.array(p.rec_thresholds), np.array(p.max_detections, np.int64),
    )  # fmt: skip
    return result


def require_room(where: str, T: int, R: int, K: int, A: int, M: int) -> None:
    """LimitError if the curves (T, R, K, A, M) of precision and scores would take more than the limit."""
    size = 2 * 8 * T * R * K * A * M
    if size > limits.of("curves"):
        shape = f"{K:,} classes at {T} thresholds, {R} recalls, {A} areas and {M} limits take {size:,} bytes of curves"
        raise limits.LimitError(f"{where}: {shape}: {limits.exceeded('curves', size)}")


def measures(
    p: Parameters, chunk: Chunk, backend: str | None, of_chunk: tuple[Floats, Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """Precision (T, R, K, A, M), or average precision (T, 1, K, A, 1), and recall (T, K, A, M).

    ``of_chunk``: the chunk's `curves`, if they were computed before.
    """
    precision, recall, _ = curves(p, chunk, backend) if of_chunk is None else of_chunk
    return (areas_below(p, chunk)[:, None] if p.method == "area" else precision), recall


def areas_below(p: Parameters, chunk: Chunk) -> Floats:
    """(T, K, A, 1) the exact area below each interpolated curve, with the last of max_detections."""
    records, of_class = state.to_records(chunk)
    T, A = len(p.iou_thresholds), len(p.areas)
    result = np.full((T, len(chunk.classes), A, 1), ABSENT)
    for k in range(len(chunk.classes)):
        _, outcome, total = ranked(records, of_class, k, T)
        result[:, k, :, 0] = np.where(total > 0, area_below(outcome, total), ABSENT)
    return result


def class_curves(p: Parameters, records: Records, of_class: Ints, k: int) -> list[PRCurve]:
    """Precision over recall of class k, one curve for each IoU threshold; empty without a true box."""
    scores, outcome, total = ranked(records, of_class, k, len(p.iou_thresholds))
    return [curve(scores, outcome[:, t, 0], int(total[0])) for t in range(outcome.shape[1]) if total[0]]


def summary(p: Parameters, class_metrics: bool, classes: Ints, precision: Floats, recall: Floats) -> dict[str, Any]:
    """The result of `DetectionMetrics.compute`, from `measures`."""
    results: dict[str, Any] = {"map": _mean(precision[..., 0, -1])}
    for name, threshold in (("map_50", 0.5), ("map_75", 0.75)):
        at = np.flatnonzero(np.isclose(p.iou_thresholds, threshold, rtol=0, atol=1e-9))
        results[name] = _mean(precision[at[:1], ..., 0, -1])
    for a, (name, _, _) in enumerate(p.areas[1:], 1):
        results[f"map_{name}"] = _mean(precision[..., a, -1])
    for m, limit in enumerate(p.max_detections):
        results[f"mar_{state.limit_word(limit)}"] = _mean(recall[..., 0, m])
    for a, (name, _, _) in enumerate(p.areas[1:], 1):
        results[f"mar_{name}"] = _mean(recall[..., a, -1])
    if class_metrics:
        each = range(len(classes))
        results["map_per_class"] = np.array([_mean(precision[:, :, k, 0, -1]) for k in each])
        results[f"mar_{state.limit_word(p.max_detections[-1])}_per_class"] = np.array(
            [_mean(recall[:, k, 0, -1]) for k in each]
        )
    results["classes"] = classes
    return results


def named_by_kind(of_kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The results of every kind of overlap, with its name before each key but ``classes``."""
    found: dict[str, Any] = {}
    for kind, values in of_kinds.items():
        found |= {key if key == "classes" else f"{kind}_{key}": value for key, value in values.items()}
    return found


def intervals(p: Parameters, chunk: Chunk, backend: str | None, options: Bootstrap) -> dict[str, Floats]:
    """``<key>_ci`` (2,) of each number of `summary`: a basic bootstrap over images, see `metric.interval`."""

    def numbers(sample: Chunk) -> list[float]:
        results = summary(p, False, sample.classes, *measures(p, sample, backend))
        return [value for value in results.values() if isinstance(value, float)]

    def drawn(times: Array) -> list[float]:
        return numbers(state.groups(chunk, np.repeat(np.arange(len(chunk.image)), times[chunk.image])))

    images = len(chunk.images)
    of_all = summary(p, False, chunk.classes, *measures(p, chunk, backend))
    keys = [key for key, value in of_all.items() if isinstance(value, float)]
    draws = [drawn(times) for batch in resample(images, options) for times in batch] if images else []
    without = [drawn(times) for times in left_out(images)] if images > 1 else []
    drawn_values, others = (np.reshape(x, (-1, len(keys))) for x in (draws, without))
    ends = interval(drawn_values, numbers(chunk), others, images, options.level, ABSENT)
    return {f"{key}_ci": ends[:, i].copy() for i, key in enumerate(keys)}


def _mean(x: Floats) -> float:
    return known_mean(x, ABSENT)
