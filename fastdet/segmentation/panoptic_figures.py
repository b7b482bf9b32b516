"""Figures of `PanopticMetrics` from counts and sums of IoU: panoptic, segmentation and recognition quality."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array
from fastdet._core.metric import Bootstrap, interval, left_out, ratio, resample

GROUPS = ("all", "things", "stuff")
EACH = ("pq", "sq", "rq", "modified_pq")
FIGURES = tuple(name if group == "all" else f"{name}_{group}" for group in GROUPS for name in EACH)


def figures(counts: Array, sums: Array, is_thing: NDArray[np.bool_]) -> dict[str, Any]:
    """Each of `FIGURES` (...), and each of `EACH` with ``_per_class`` (..., C), NaN where there is none.

    counts : (..., C, 4) true positives, false positives, false negatives, true segments
    sums : (..., C, 2) of the IoU of pairs that match, and of all pairs of one category that overlap
    """
    matched, false, missed, segments = (counts[..., i] for i in range(4))
    weight = matched + 0.5 * false + 0.5 * missed
    known = weight > 0
    sq = np.where(known & (matched == 0), 0.0, ratio(sums[..., 0], matched))
    pq = ratio(sums[..., 0], weight)
    values = {"pq": pq, "sq": sq, "rq": ratio(matched, weight)}
    values["modified_pq"] = np.where(is_thing, pq, ratio(sums[..., 1], segments))
    result: dict[str, Any] = {}
    for group, inside in zip(GROUPS, (np.ones_like(is_thing), is_thing, ~is_thing), strict=True):
        for name, value in values.items():
            result[name if group == "all" else f"{name}_{group}"] = _means(value[..., inside])
    return result | {f"{name}_per_class": value for name, value in values.items()}


def _means(values: Array) -> Array:
    """The mean over the last axis of what is not NaN, added up in order; NaN where there is none."""
    known = ~np.isnan(values)
    total = np.cumsum(np.where(known, values, 0), axis=-1)[..., -1] if values.shape[-1] else np.zeros(values.shape[:-1])
    mean: Array = ratio(total, known.sum(axis=-1))
    return mean


def totals(category: Array, counts: Array, sums: Array, classes: int) -> tuple[Array, Array]:
    """(C, 4) and (C, 2) of the rows of all images. Sums are rounded once, so the order of the images is no matter."""
    whole = np.zeros((classes, counts.shape[1]), np.int64)
    np.add.at(whole, category, counts)
    exact = np.zeros((classes, sums.shape[1]))
    order = np.argsort(category, kind="stable")
    ends = np.searchsorted(category[order], np.arange(classes + 1))
    for c in np.flatnonzero(np.diff(ends)).tolist():
        rows = sums[order[ends[c] : ends[c + 1]]]
        exact[c] = [math.fsum(column) for column in rows.T.tolist()]
    return whole, exact


def intervals(
    image: Array, category: Array, counts: Array, sums: Array, images: int, is_thing: NDArray[np.bool_],
    estimate: dict[str, Any], options: Bootstrap,
) -> dict[str, Any]:  # fmt: skip
    """Basic bootstrap over images, see `metric.interval`. A row of an image counts as often as the image is drawn."""
    order = np.argsort(category, kind="stable")
    image, values = image[order], np.concatenate([counts, sums], axis=1)[order].T
    present, starts = np.unique(category[order], return_index=True)

    def of(times: Array) -> dict[str, Any]:
        whole = np.zeros((len(times), len(is_thing), len(values)))
        if len(present):
            drawn = times[:, image].astype(np.float64)
            for k, value in enumerate(values):
                whole[:, present, k] = np.add.reduceat(drawn * value, starts, axis=1)
        return figures(whole[..., :4], whole[..., 4:], is_thing)

    batches = [of(times) for times in resample(images, options, max(len(image), 6 * len(is_thing)))]
    without = of(left_out(images))
    result: dict[str, Any] = {}
    for name, value in without.items():
        draws = np.concatenate([batch[name] for batch in batches])
        ends = interval(draws, estimate[name], value, images, options.level, np.nan)
        result[name] = (float(ends[0]), float(ends[1])) if ends.ndim == 1 else ends
    return result
