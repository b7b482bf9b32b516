"""Inputs on which matching was slow: arguments of `match_detections` with n true boxes, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from samples import Array


def _strips(heights: Array) -> Array:
    """Boxes of one corner and those heights: their IoU with one of height 10 falls from there on."""
    n = len(heights)
    return np.stack([np.zeros(n), np.zeros(n), np.full(n, 10.0), heights], axis=1)


def _against(boxes: Array, true_boxes: Array, **options: Any) -> dict[str, Any]:
    scores = np.linspace(1, 0, len(boxes))
    return {"boxes": boxes, "scores": scores, "true_boxes": true_boxes, "max_detections": None, **options}


def identical(n: int) -> dict[str, Any]:
    return _against(_strips(np.full(n, 10.0)), _strips(np.full(n, 10.0)))


def equal_overlaps(n: int) -> dict[str, Any]:
    """Equal, and below the higher thresholds: no detection is done with all of them."""
    return _against(_strips(np.full(n, 10.0)), _strips(np.full(n, 15.0)), iou_thresholds=(0.5, 0.95))


def rising(n: int) -> dict[str, Any]:
    return _against(_strips(np.full(n, 10.0)), _strips(np.linspace(19, 10, n)), iou_thresholds=(0.5, 0.75))


def falling(n: int) -> dict[str, Any]:
    return _against(_strips(np.full(n, 10.0)), _strips(np.linspace(10, 19, n)), iou_thresholds=(0.5, 0.75))


def few_detections(n: int) -> dict[str, Any]:
    return _against(_strips(np.full(100, 10.0)), _strips(np.linspace(19, 10, n)))


def crowds(n: int) -> dict[str, Any]:
    """Any number of detections may match one, so that none is ever taken."""
    return _against(_strips(np.full(n, 10.0)), _strips(np.linspace(19, 10, n)), iscrowd=np.ones(n, bool))


def by_area(n: int) -> dict[str, Any]:
    """Half of the boxes are ignored in each range of areas."""
    ranges = np.array([[0, 145], [145, 1e10]])
    return _against(_strips(np.full(n, 10.0)), _strips(np.linspace(19, 10, n)), area_ranges=ranges)


MATCHING_CLIFFS: dict[str, Callable[[int], dict[str, Any]]] = {
    make.__name__: make for make in (identical, equal_overlaps, rising, falling, few_detections, crowds, by_area)
}
