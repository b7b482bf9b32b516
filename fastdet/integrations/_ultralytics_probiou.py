"""Fast-NMS of oriented boxes as Ultralytics computes it: by the overlap of Gaussians, not of rectangles.

A box is dropped where its overlap with any box of a higher score is above the threshold, kept or not. The framework
computes all N x N overlaps. The distance of two Gaussians grows with that of their centres, so only boxes that are near
each other can be above a threshold: these pairs are found first, with a margin, and the framework's own function
computes them, so the decisions are its own to the bit.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import torch

from fastdet._core.check import Array

SMALL = 48  # up to here all pairs are quicker
MAX_PAIRS = 1 << 20  # of one step
MAX_RATIO = 100.0  # of a box's sides: rounding is bounded up to here
MIN_AREA, MAX_SIDE = 0.2, 1e6  # pixels; and so it is within these


class Pairs:
    """Pairs of boxes that may overlap, and the framework's function for them."""

    def __init__(self, module: Any) -> None:
        metrics: Any = importlib.import_module("ultralytics.utils.metrics")
        self.probiou, self.all_pairs = metrics.probiou, module.batch_probiou

    def fast_nms(self, boxes: Any, scores: Any, iou_threshold: float) -> Any:
        """Kept indices by falling score; None where all pairs have to be computed."""
        reach = _reach(iou_threshold)
        if len(boxes) <= SMALL or reach is None:
            return None
        order = torch.argsort(scores, descending=True)
        ordered = boxes[order]
        values = ordered.numpy().astype(np.float64)
        tame = _are_tame(values)
        wild = np.flatnonzero(~tame)
        if len(wild) * 8 > len(values):
            return None
        dropped = np.zeros(len(values), np.bool_)
        tame_index = np.flatnonzero(tame)
        for first, second in _near(values[tame_index], reach):
            self._drop(ordered, tame_index[first], tame_index[second], iou_threshold, dropped)
        if len(wild):
            places, wilds = torch.arange(len(values)), torch.from_numpy(wild)
            for start in range(0, len(wild), 256):
                rows = wilds[start : start + 256]
                part = ordered[rows]
                over = self.all_pairs(part, ordered) > iou_threshold
                dropped |= (over & (rows[:, None] < places)).any(0).numpy()
                over = self.all_pairs(ordered, part) > iou_threshold
                dropped[rows.numpy()] |= (over & (places[:, None] < rows)).any(0).numpy()
        return order[torch.from_numpy(~dropped)]

    def _drop(self, boxes: Any, first: Array, second: Array, iou_threshold: float, dropped: Array) -> None:
        """Mark the box of lower score of each pair that overlaps."""
        if not len(first):
            return
        high, low = np.minimum(first, second), np.maximum(first, second)
        if len(high) == 1:  # one row is laid out as many are not, and torch may round it otherwise
            high, low = np.repeat(high, 2), np.repeat(low, 2)
        overlap = self.probiou(boxes[torch.from_numpy(high)], boxes[torch.from_numpy(low)])
        dropped[low[(overlap > iou_threshold).numpy()[:, 0]]] = True


def _reach(iou_threshold: float) -> float | None:
    """The largest squared distance of two centres over the sum of their longer sides' squares; None: no bound.

    Overlap is 1 - sqrt(1 - exp(-d)), and d is at least the squared distance over four times the largest variance of the
    sum of both Gaussians, whose variances are a twelfth of the squared sides. Margins are for float32.
    """
    least = 1 - (1 - iou_threshold + 1e-5) ** 2 - 1e-5
    if least <= 1e-4:
        return None
    distance = -math.log(least) * 1.05 + 0.02
    return 4 * distance / 12


def _are_tame(boxes: Array) -> Array:
    """Which boxes the margins hold for."""
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:4]
        long, short = sides.max(1), sides.min(1)
        fits = (long < MAX_SIDE) & (short * MAX_RATIO >= long) & (long * short >= MIN_AREA)
        return fits & (np.abs(boxes[:, :2]).max(1) < 1e12) & (np.abs(boxes[:, 4]) < 1e6)  # all False for NaN


def _near(boxes: Array, reach: float) -> Any:
    """Pairs of indices of ``boxes`` (N, 5) float64 whose centres are near, in steps; some pairs twice.

    Each pair is found from its box with the longer side, in a window of x.
    """
    by_x = np.argsort(boxes[:, 0], kind="stable")
    x, y, side = boxes[by_x, 0], boxes[by_x, 1], boxes[by_x, 2:4].max(1)
    window = np.sqrt(2 * reach) * side * (1 + 1e-9)
    first, last = np.searchsorted(x, x - window, "left"), np.searchsorted(x, x + window, "right")
    counts = last - first
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < len(x):
        stop = max(int(np.searchsorted(ends, done + MAX_PAIRS, "right")), start + 1)
        some = counts[start:stop]
        one = np.repeat(np.arange(start, stop), some)
        other = np.arange(len(one)) + np.repeat(first[start:stop] - (ends[start:stop] - some - done), some)
        near = (side[other] <= side[one]) & (other != one)
        one, other = one[near], other[near]
        apart = (x[one] - x[other]) ** 2 + (y[one] - y[other]) ** 2
        near = apart <= reach * (side[one] ** 2 + side[other] ** 2)
        yield by_x[one[near]], by_x[other[near]]
        start, done = stop, int(ends[stop - 1])
