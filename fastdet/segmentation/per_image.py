"""The per-image records of `SegmentationMetrics`, and the figures of many images or resamples at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.metric import Bootstrap, interval, known_means, left_out, ratio, resample

FIGURES = (
    "mean_iou",
    "pixel_accuracy",
    "mean_class_accuracy",
    "mean_dice",
    "frequency_weighted_iou",
    "iou",
    "class_accuracy",
    "dice",
)
_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


def record(matrix: Array, classes: int) -> Array:
    """(K,) the sums that the figures of one image need under every convention, from its matrix with void last.

    C numbers each: pixels predicted right; pixels of each true class that were predicted as a class; pixels of each
    predicted class whose truth is a class. With void also: pixels of each true class that were predicted void (C),
    pixels of each predicted class whose truth is void (C), and pixels that are void in both (1).
    """
    c = classes
    inner = matrix[:c, :c]
    parts = [inner.diagonal(), inner.sum(1), inner.sum(0)]
    if len(matrix) > c:
        parts += [matrix[:c, c], matrix[c, :c], matrix[c, c:]]
    return np.concatenate(parts)


def sums(records: Array, classes: int, void: str) -> tuple[Array, Array, Array]:
    """From records (..., K): pixels predicted right, true pixels and predicted pixels of each class, (..., C) each."""
    c = classes
    intersection, target, predicted = records[..., :c], records[..., c : 2 * c], records[..., 2 * c : 3 * c]
    if records.shape[-1] > 3 * c:
        if void != "drop":
            target = target + records[..., 3 * c : 4 * c]
        if void == "count":
            predicted = predicted + records[..., 4 * c : 5 * c]
    return intersection, target, predicted


def figures(intersection: Array, target: Array, predicted: Array) -> dict[str, Array]:
    """Each of `FIGURES` of many images or resamples at once, from the pixels of each class (..., C).

    Equal to the functions of `fastdet.segmentation` on one matrix, except for the order of a mean's sum.
    """
    iou = ratio(intersection, target + predicted - intersection)
    accuracy = ratio(intersection, target)
    dice = ratio(2 * intersection, target + predicted)
    pixels = target.sum(-1)
    return {
        "mean_iou": known_means(iou),
        "pixel_accuracy": ratio(intersection.sum(-1), pixels),
        "mean_class_accuracy": known_means(accuracy),
        "mean_dice": known_means(dice),
        "frequency_weighted_iou": ratio((target * np.nan_to_num(iou)).sum(-1), pixels),
        "iou": iou,
        "class_accuracy": accuracy,
        "dice": dice,
    }


def spread(records: Array, classes: int, void: str) -> dict[str, Any]:
    """The entry "per_image" of `SegmentationMetrics.compute`, from the records (I, K) of the images."""
    single = figures(*sums(records, classes, void))
    scores = single["mean_iou"]
    scored = scores[~np.isnan(scores)]
    levels = list(_QUANTILES.values())
    values = np.quantile(scored, levels) if len(scored) else np.full(len(levels), np.nan)
    return {
        "mean_iou": scores,
        "pixel_accuracy": single["pixel_accuracy"],
        "mean": float(known_means(scores)),
        "quantiles": dict(zip(_QUANTILES, values.tolist(), strict=True)),
        "scored": len(scored),
    }


def intervals(records: Array, classes: int, void: str, options: Bootstrap) -> dict[str, tuple[float, float] | Array]:
    """Basic bootstrap over images, see `metric.interval`.

    The sums of a resample are (times each image was drawn) @ (its counts).
    """
    images = len(records)
    scores = figures(*sums(records, classes, void))["mean_iou"]
    # float64 multiplies fast, and is exact while every sum is below 2**53; larger sums are computed in int64.
    exact = images * int(records.max(initial=0)) < 2**53
    counts = records.astype(np.float64) if exact else records
    has, known = (~np.isnan(scores)).astype(np.float64), np.nan_to_num(scores)

    def of(times: Array) -> dict[str, Array]:
        found = figures(*sums(times.astype(counts.dtype) @ counts, classes, void))
        # Not by @: the last bits would depend on the order of the BLAS library's sums.
        found["per_image_mean"] = ratio((times * known).sum(1), (times * has).sum(1))
        return found

    batches = [of(times) for times in resample(images, options, records.shape[1])]
    estimate, without = of(np.ones((1, images), np.int64)), of(left_out(images))
    result: dict[str, tuple[float, float] | Array] = {}
    for name, value in estimate.items():
        draws = np.concatenate([batch[name] for batch in batches])
        ends = interval(draws, value[0], without[name], images, options.level, np.nan)
        result[name] = (float(ends[0]), float(ends[1])) if ends.ndim == 1 else ends
    return result
