"""Coverage of the confidence intervals of `DetectionMetrics` and `SegmentationMetrics`, by simulation.

    python bench/intervals.py [--images 100 1000] [--repeats 200] [--resamples 300] [--classes 20]

Data sets are drawn from an invented population of images, and the share of 95 % intervals that hold the population's
figure is printed, for percentile intervals of the same draws too. The population's figures are those of 240,000 images.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from fastdet._core.metric import Bootstrap, resample
from fastdet.detection import DetectionMetrics, results, state
from fastdet.detection.records import Columns
from fastdet.segmentation import SegmentationMetrics

LEVEL = 0.95
KEYS = ("map", "map_50", "map_75", "map_small", "map_large", "mar_100")
MAP_KEYS = ("mean_iou", "pixel_accuracy", "mean_dice")


def columns(image: Any, label: Any, boxes: Any, scores: Any) -> Columns:
    none, areas = np.zeros(0, np.int64), boxes[:, 2] * boxes[:, 3]
    return Columns(image, label, boxes, areas, scores, np.zeros(0 if len(scores) else len(image), np.uint8), none)


def detection(seed: int, images: int, classes: int, boxes: float = 4.0, **options: Any) -> DetectionMetrics:
    """Images of unequal difficulty, classes of unequal frequency; detections of true boxes, and false ones."""
    r = np.random.default_rng([seed, images, classes])
    share = 1 / np.arange(1, classes + 1)
    share /= share.sum()
    quality = r.beta(4, 2, images)
    skill = np.linspace(0.9, 0.5, classes)
    image = np.repeat(np.arange(images), r.poisson(boxes, images))
    label = r.choice(classes, len(image), p=share)
    side = np.exp(r.uniform(np.log(10), np.log(200), len(image)))
    box = np.c_[r.uniform(0, 600, (len(image), 2)), side, side * r.uniform(0.6, 1.6, len(image))]
    found = r.random(len(image)) < quality[image] * skill[label] * 1.2
    shift = r.normal(0, 1, box.shape) * (0.02 + 0.12 * (1 - quality[image]))[:, None] * side[:, None]
    score = np.clip(r.normal(0.35 + 0.5 * quality[image], 0.15), 0.01, 0.99)
    false = np.repeat(np.arange(images), r.poisson(1.5, images))
    false_box = np.c_[r.uniform(0, 600, (len(false), 2)), r.uniform(10, 200, (len(false), 2))]
    false_score = np.clip(r.normal(0.3, 0.18, len(false)), 0.01, 0.99)
    detections = columns(
        np.r_[image[found], false], np.r_[label[found], r.choice(classes, len(false), p=share)],
        np.r_[np.abs(box + shift)[found], false_box], np.r_[score[found], false_score],
    )  # fmt: skip
    metrics = DetectionMetrics(class_metrics=False, **options)
    return metrics.update_columns(detections, columns(image, label, box, np.zeros(0)), np.arange(images))


def segmentation(seed: int, images: int, classes: int) -> SegmentationMetrics:
    """Maps of 64 pixels: each image has a few classes, and an accuracy of its own."""
    r = np.random.default_rng([seed, images, classes])
    share = 1 / np.arange(1, classes + 1)
    own = r.choice(classes, (images, 4), p=share / share.sum())
    target = np.take_along_axis(own, r.integers(0, 4, (images, 64)), 1)
    right = r.random((images, 64)) < r.beta(6, 2, images)[:, None]
    prediction = np.where(right, target, np.take_along_axis(own, r.integers(0, 4, (images, 64)), 1))
    metrics = SegmentationMetrics(classes, per_image=True)
    return metrics.update(prediction[:, None].astype(np.uint8), target[:, None].astype(np.uint8))


def percentiles(metrics: DetectionMetrics, options: Bootstrap) -> dict[str, Any]:
    """Percentile intervals from the same draws as those of `DetectionMetrics.compute`."""
    p, chunk, drawn = metrics._parameters, metrics._joined(), []
    for batch in resample(len(chunk.images), options):
        for times in batch:
            sample = state.groups(chunk, np.repeat(np.arange(len(chunk.image)), times[chunk.image]))
            drawn.append(results.summary(p, False, sample.classes, *results.measures(p, sample, None)))
    return {key: np.quantile([one[key] for one in drawn], [0.025, 0.975]) for key in KEYS}


def covered(figures: dict[str, float], ends: dict[str, Any]) -> list[bool]:
    return [bool(ends[key][0] <= figure <= ends[key][1]) for key, figure in figures.items()]


def coverage(
    kind: str, images: int, repeats: int, resamples: int, classes: int, *, compare: bool = False, **options: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """The share of intervals that hold the population's figure, by key; and that of percentile intervals, or none."""
    make: Any = detection if kind == "detection" else segmentation
    keys = KEYS if kind == "detection" else MAP_KEYS
    every = [make(10**6 + seed, 40_000, classes, **options).compute() for seed in range(6)]
    figures = {key: float(np.mean([one[key] for one in every])) for key in keys}
    hits, others = [], []
    for seed in range(repeats):
        metrics = make(seed, images, classes, **options)
        result = metrics.compute(ci=LEVEL, resamples=resamples, seed=seed)
        hits.append(covered(figures, {k: result[f"{k}_ci"] for k in keys} if kind == "detection" else result["ci"]))
        if compare and kind == "detection":
            others.append(covered(figures, percentiles(metrics, Bootstrap(LEVEL, resamples, seed))))
    shares = [dict(zip(keys, np.mean(x, axis=0).tolist(), strict=True)) if x else {} for x in (hits, others)]
    return shares[0], shares[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--classes", type=int, default=20)
    options = parser.parse_args()
    for kind in ("detection", "segmentation"):
        for images in options.images:
            began = time.perf_counter()
            found, plain = coverage(
                kind, images, options.repeats, options.resamples, options.classes, compare=kind == "detection"
            )
            print(f"{kind}, {images} images, {options.repeats} data sets, {time.perf_counter() - began:.0f} s")
            for key, share in found.items():
                beside = f"   percentile {plain[key]:.3f}" if plain else ""
                print(f"  {key:<16} {share:.3f}{beside}", flush=True)


if __name__ == "__main__":
    main()
