"""Numba kernels of cross-entropy against probabilities of classes, and of the pixels with the highest losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_elementary import exp_or_zero, log_positive
from fastdet._core.numba_jit import jit, plain, typed
from fastdet._core.sums import ordered_sum
from fastdet.losses._numba_softmax import _class_max, _labels, _lane_sum, _put, _take, cross_entropy
from fastdet.losses.pixels import CHUNK, SUM_LANES


def soft_cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Any, Array | None, float]:
    x = plain(widen(logits))
    images, pixels = (x.shape[0], x.shape[1]) if last else (x.shape[0], x.shape[2])
    classes, count = len(weight), images * pixels
    grad, each = np.empty_like(x), np.empty((images, pixels), x.dtype)
    scale = 1 / count if reduction == "mean" and count else 1.0
    constants = np.array([typed(x.dtype, n) for n in (scale, 1 - label_smoothing, label_smoothing / classes)])
    parts = np.empty((images, -(-pixels // CHUNK)), np.float64)
    args: Any = x, last, plain(target), plain(weight), label_smoothing > 0, constants, gradient, grad, each, parts
    _soft(*args)
    result = narrow(grad, logits.dtype) if gradient else None
    if reduction == "none":
        return each, result, float(count)
    total = float(ordered_sum(parts))
    return total / count if reduction == "mean" and count else total, result, float(count)


@jit
def _soft(
    x: Array, last: bool, target: Array, weight: Array, smoothed: bool, constants: Array, gradient: bool, grad: Array,
    each: Array, parts: Array,
) -> None:  # fmt: skip
    """`soft_cross_entropy_reference`, chunk by chunk. ``constants``: scale, 1 - smoothing, smoothing / classes."""
    classes, images, pixels = len(weight), *each.shape
    rows, shares = np.empty((classes, CHUNK), x.dtype), np.empty((classes, CHUNK), x.dtype)
    lanes, top_of = np.empty(SUM_LANES, np.float64), np.empty(CHUNK, x.dtype)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    scale, keep, smooth = constants[0], constants[1], constants[2]
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            top, loss = top_of[:n], each[image, at : at + n]
            _take(x, last, image, at, n, rows)
            _take(target, last, image, at, n, shares)
            _class_max(rows, top)
            for i in range(n):
                share = weighted = rest = ties = zero
                for c in range(classes):
                    t = shares[c, i]
                    if smoothed:
                        t = keep * t + smooth
                    a, z = weight[c] * t, rows[c, i] - top[i]
                    e = exp_or_zero(z)
                    share += a
                    weighted += zero if a == zero else a * z
                    if e >= one:
                        ties += one
                    else:
                        rest += e
                    shares[c, i], rows[c, i] = a, e
                total = rest + ties
                log_total = log_positive(total) + (rest - (total - ties)) / total
                nothing = share == zero
                loss[i] = zero if nothing else share * log_total - weighted
                factor = scale / total
                for c in range(classes if gradient else 0):
                    a, e = shares[c, i], rows[c, i]
                    others = rest + (ties - one) if e >= one else total - e
                    rows[c, i] = zero if nothing else (e * (share - a) - a * others) * factor
            parts[image, at // CHUNK] = _lane_sum(loss, lanes)
            if gradient:
                _put(rows, last, image, at, n, grad)


def ohem_cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    fraction: float,
    min_kept: int,
    threshold: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    label, _, invalid = _labels(target, ignore, len(weight))
    if invalid >= 0:
        return invalid
    first: Any = cross_entropy(logits, last, label, weight, len(weight), "none", 0.0, False)
    loss, kept = first[0].ravel(), np.empty(target.size, np.int32)
    bounds = np.array([fraction, typed(loss.dtype, threshold)], np.float64)
    number = _hardest(loss, label.ravel(), np.append(weight, weight.dtype.type(0)), bounds, min_kept, kept)
    total = float(ordered_sum(np.where(kept >= 0, loss, loss.dtype.type(0))))
    share = 1 / number if number else 0.0
    grad = None
    if gradient:
        weights, labels = weight * weight.dtype.type(share), kept.reshape(target.shape)
        second: Any = cross_entropy(logits, last, labels, weights, -1, "sum", 0.0, True)
        grad = second[1]
    return total / number if number else 0.0, grad, float(number)


@jit
def _hardest(loss: Array, label: Array, weight: Array, bounds: Array, min_kept: int, kept: Array) -> Any:
    """Labels of the pixels that are kept, -1 for others; how many. ``bounds``: fraction and threshold."""
    counted = 0
    scores = np.empty(len(loss), loss.dtype)
    for i in range(len(loss)):
        if weight[label[i]] > 0:
            scores[counted] = loss[i] if loss[i] == loss[i] else np.inf
            counted += 1
    min_count = min(counted, max(int(bounds[0] * counted), min_kept))
    if min_count == 0:
        kept[:] = -1
        return 0
    lowest = np.partition(scores[:counted], counted - min_count)[counted - min_count]
    ties = min_count
    for k in range(counted):
        if scores[k] > lowest:
            ties -= 1
    number = 0
    for i in range(len(loss)):
        kept[i] = -1
        if weight[label[i]] > 0:
            score = loss[i] if loss[i] == loss[i] else loss.dtype.type(np.inf)
            keep = score > lowest or score > bounds[1]
            if score == lowest and ties > 0:
                ties -= 1
                keep = True
            if keep:
                kept[i] = label[i]
                number += 1
    return number
