"""Boundaries of label maps: how many boundary pixels of each class two maps share, exactly and nearly.

A boundary pixel of a class has a neighbour of another label at one of its four sides, inside of the image. A class's
boundary region is its mask less the mask's erosion, by a square of 2 d + 1 pixels; what is outside of the image is
outside of the mask. Void belongs to no class, and where the target is void, the prediction is taken as void.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends
from fastdet._core.check import Array

COUNTS = ("true", "predicted", "true_near", "predicted_near", "true_region", "predicted_region", "shared_region")
Codes = NDArray[np.uint16]


def count_boundaries(
    target: Codes, prediction: Codes, classes: int, reach: int, distance: int, backend: str | None
) -> NDArray[np.int64]:
    """(C, 7) int64, `COUNTS` of each class: boundary pixels of the target and of the prediction; those of them that
    have one of the other map within ``reach``; pixels of both boundary regions, and those in both.

    target, prediction : (H, W) class numbers, ``classes`` for void
    reach : the greatest squared distance that counts as near
    distance : d of the regions, 1 or more
    """
    kernel = backends.choose("boundary_counts", backend, boundary_counts_reference)
    counts: NDArray[np.int64] = kernel(target, prediction, classes, reach, distance)
    return counts


def boundary_counts_reference(
    target: Codes, prediction: Codes, num_classes: int, reach: int, distance: int
) -> NDArray[np.int64]:
    truth = target.astype(np.int64)
    guess = np.where(truth == num_classes, num_classes, prediction.astype(np.int64))
    edges = [np.where(_edge(x) & (x != num_classes), x, -1) for x in (truth, guess)]
    near = [np.zeros(truth.shape, bool), np.zeros(truth.shape, bool)]
    radius = min(math.isqrt(reach), max(target.shape))
    wide = [np.pad(edge, radius, constant_values=-1) for edge in edges]
    height, width = truth.shape
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= reach:
                there = np.s_[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
                for side in (0, 1):
                    near[side] |= (edges[side] >= 0) & (wide[1 - side][there] == edges[side])
    regions = [_region(x, distance) & (x != num_classes) for x in (truth, guess)]
    columns = [
        (truth, edges[0] >= 0),
        (guess, edges[1] >= 0),
        (truth, near[0]),
        (guess, near[1]),
        (truth, regions[0]),
        (guess, regions[1]),
        (truth, regions[0] & regions[1] & (truth == guess)),
    ]
    found = [np.bincount(labels[chosen], minlength=num_classes)[:num_classes] for labels, chosen in columns]
    return np.stack(found, axis=1).astype(np.int64)


def _edge(labels: Array) -> Array:
    """Where one of the four neighbours has another label."""
    edge = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _region(labels: Array, distance: int) -> Array:
    """Where the square of ``2 * distance + 1`` pixels around a pixel leaves the image or holds another label."""
    height, width = labels.shape
    wide = np.pad(labels, 1, constant_values=-1)
    inner = np.ones(labels.shape, bool)
    for dy in range(3):
        for dx in range(3):
            inner &= wide[dy : dy + height, dx : dx + width] == labels
    for _ in range(min(distance, max(labels.shape)) - 1):
        wide = np.pad(inner, 1)
        inner = np.ones(labels.shape, bool)
        for dy in range(3):
            for dx in range(3):
                inner &= wide[dy : dy + height, dx : dx + width]
    return ~inner
