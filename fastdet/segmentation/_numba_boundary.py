"""Numba kernel of `boundary_counts`, with the signature of the reference."""

from __future__ import annotations

import math

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit


def boundary_counts(target: Array, prediction: Array, num_classes: int, reach: int, distance: int) -> Array:
    truth = np.minimum(target, num_classes).astype(np.int32)
    guess = np.where(truth == num_classes, num_classes, np.minimum(prediction, num_classes)).astype(np.int32)
    out = np.zeros((num_classes, 7), np.int64)
    edges = _edges(truth, num_classes), _edges(guess, num_classes)
    side = min(math.isqrt(reach), max(target.shape))
    y, x = np.mgrid[-side : side + 1, -side : side + 1].reshape(2, -1)
    near = y * y + x * x <= reach
    order = np.argsort((y * y + x * x)[near], kind="stable")
    steps = np.ascontiguousarray(np.stack([y[near][order], x[near][order]], 1))
    _count_near(edges[0], edges[1], steps, out, 0)
    _count_near(edges[1], edges[0], steps, out, 1)
    _count_regions(truth, guess, _inner(truth, distance), _inner(guess, distance), out)
    return out


@jit
def _edges(labels: Array, classes: int) -> Array:
    height, width = labels.shape
    out = np.full(labels.shape, np.int32(-1))
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label == classes:
                continue
            if (
                (x > 0 and labels[y, x - 1] != label)
                or (x + 1 < width and labels[y, x + 1] != label)
                or (y > 0 and labels[y - 1, x] != label)
                or (y + 1 < height and labels[y + 1, x] != label)
            ):
                out[y, x] = label
    return out


@jit
def _count_near(own: Array, other: Array, steps: Array, out: Array, side: int) -> None:
    height, width = own.shape
    for y in range(height):
        for x in range(width):
            label = own[y, x]
            if label < 0:
                continue
            out[label, side] += 1
            for k in range(len(steps)):
                to_y, to_x = y + steps[k, 0], x + steps[k, 1]
                if 0 <= to_y < height and 0 <= to_x < width and other[to_y, to_x] == label:
                    out[label, 2 + side] += 1
                    break


@jit
def _inner(labels: Array, distance: int) -> Array:
    """True for each pixel whose square is of its label and inside of the image."""
    height, width = labels.shape
    rows, out = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    for y in range(height):
        start = 0
        while start < width:
            end = start + 1
            while end < width and labels[y, end] == labels[y, start]:
                end += 1
            for x in range(start + distance, end - distance):
                rows[y, x] = True
            start = end
    for x in range(width):
        run = 0
        for y in range(height):
            if not rows[y, x]:
                run = 0
            elif run > 0 and labels[y, x] != labels[y - 1, x]:
                run = 1
            else:
                run += 1
            if run >= 2 * distance + 1:
                out[y - distance, x] = True
    return out


@jit
def _count_regions(truth: Array, guess: Array, inner: Array, inner_guess: Array, out: Array) -> None:
    classes = len(out)
    height, width = truth.shape
    for y in range(height):
        for x in range(width):
            t, p = truth[y, x], guess[y, x]
            of_truth = t < classes and not inner[y, x]
            of_guess = p < classes and not inner_guess[y, x]
            if of_truth:
                out[t, 4] += 1
            if of_guess:
                out[p, 5] += 1
            if of_truth and of_guess and t == p:
                out[t, 6] += 1
