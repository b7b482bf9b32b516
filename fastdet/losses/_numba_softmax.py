"""Numba kernels of the losses on a softmax: the operations of csrc/losses.cpp and losses.py in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_elementary import exp_or_zero, log_positive
from fastdet._core.numba_jit import jit, plain, typed
from fastdet._core.sums import ordered_sum, ordered_sums

CHUNK, SUM_LANES, DICE_LANES = 256, 8, 16
CROSS_ENTROPY, SMOOTHED, FOCAL = range(3)


def cross_entropy(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    kind = SMOOTHED if label_smoothing > 0 else CROSS_ENTROPY
    return _loss(logits, last, target, weight, ignore, reduction, kind, label_smoothing, 0.0, gradient)


def focal_loss(
    logits: Array,
    last: bool,
    target: Array,
    alpha: Array,
    gamma: float,
    ignore: int | None,
    reduction: str,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    return _loss(logits, last, target, alpha, ignore, reduction, FOCAL, 0.0, gamma, gradient)


@jit
def _take(x: Array, last: bool, image: int, at: int, n: int, rows: Array) -> None:
    """The logits of a chunk, as (classes, pixels)."""
    for c in range(rows.shape[0]):
        for i in range(n):
            rows[c, i] = x[image, at + i, c] if last else x[image, c, at + i]


@jit
def _put(rows: Array, last: bool, image: int, at: int, n: int, grad: Array) -> None:
    for c in range(rows.shape[0]):
        for i in range(n):
            if last:
                grad[image, at + i, c] = rows[c, i]
            else:
                grad[image, c, at + i] = rows[c, i]


def _labels(target: Array, ignore: int | None, classes: int) -> tuple[Array, Array, int]:
    """Class numbers, how many of each, and the position of the first that is out of range, or -1."""
    label, counts = np.empty(target.shape, np.int64), np.zeros(classes + 1, np.int64)
    signed = target.astype(np.int64, copy=not target.flags.behaved)
    bad = _read_labels(signed.ravel(), ignore is not None, 0 if ignore is None else ignore, counts, label.ravel())
    return label, counts, bad


@jit
def _read_labels(target: Array, ignores: bool, ignore: int, counts: Array, label: Array) -> Any:
    classes = len(counts) - 1
    for i in range(len(target)):
        known = target[i]
        if ignores and known == ignore:
            known = classes
        elif known < 0 or known >= classes:
            return i
        label[i] = known
        counts[known] += 1
    return -1


def _loss(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    kind: int,
    label_smoothing: float,
    gamma: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(logits))
    grad, classes, images, pixels = np.empty_like(x), len(weight), *target.shape
    label, counts, bad = _labels(target, ignore, classes)
    if bad >= 0:
        return bad
    divisor = weight_sum = 0.0
    for count, w in zip(counts.tolist(), weight.tolist(), strict=False):
        divisor += count * w
        weight_sum += w
    scale = 1.0 if reduction != "mean" else 1 / divisor if divisor > 0 else 0.0
    each = np.empty((images, pixels), x.dtype)
    numbers = (scale, 1 - label_smoothing, label_smoothing / classes, weight_sum, gamma, gamma - int(gamma))
    constants = np.array([typed(x.dtype, number) for number in numbers])
    weights = np.append(weight, x.dtype.type(0))
    parts = np.empty((images, -(-pixels // CHUNK)), np.float64)
    _softmax(x, last, label, weights, kind, int(gamma), constants, gradient, grad, each, parts)
    found = narrow(grad, logits.dtype) if gradient else None
    if reduction == "none":
        return each, found, divisor
    total = float(ordered_sum(parts))
    if reduction == "mean":
        total = total / divisor if divisor > 0 else 0.0
    return total, found, divisor


@jit
def _most(x: Array, most: Array) -> None:
    """The maximum over the classes, x (classes, pixels)."""
    for i in range(x.shape[1]):
        most[i] = x[0, i]
    for c in range(1, x.shape[0]):
        for i in range(x.shape[1]):
            most[i] = x[c, i] if x[c, i] > most[i] else most[i]


@jit
def _exponentials(rows: Array, most: Array, rest: Array) -> None:
    """Logits to exponentials, and their sum over the classes."""
    rest[:] = rows.dtype.type(0)
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(rows.shape[1]):
            row[i] = exp_or_zero(row[i] - most[i])
        for i in range(rows.shape[1]):
            rest[i] += row[i]


@jit
def _clear_uncounted(rows: Array, rest: Array, counts: Array) -> None:
    for i in range(len(rest)):
        if not counts[i] and rest[i] != rest[i]:
            rest[i] = rows.dtype.type(1)
            for c in range(len(rows)):
                rows[c, i] = rows.dtype.type(0)


@jit
def _softmax(
    x: Array,
    last: bool,
    labels: Array,
    weight: Array,
    kind: int,
    whole: int,
    constants: Array,
    gradient: bool,
    grad: Array,
    each: Array,
    parts: Array,
) -> None:
    zero, one, infinity = x.dtype.type(0), x.dtype.type(1), x.dtype.type(np.inf)
    scale, keep, smooth, weight_sum = constants[0], constants[1], constants[2], constants[3]
    gamma, fraction = constants[4], constants[5]
    classes, images, pixels = len(weight) - 1, *labels.shape
    scratch = np.empty((classes, CHUNK), x.dtype)
    most_of, rest_of, factor_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype)
    target_of, smoothed_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype)
    counts_of, lanes = np.empty(CHUNK, np.bool_), np.empty(SUM_LANES, np.float64)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            rows, label, loss = scratch[:, :n], labels[image, at : at + n], each[image, at : at + n]
            most, rest, factor, target = most_of[:n], rest_of[:n], factor_of[:n], target_of[:n]
            smoothed, counts = smoothed_of[:n], counts_of[:n]
            _take(x, last, image, at, n, rows)
            _most(rows, most)
            if kind == SMOOTHED:
                smoothed[:] = zero
                for c in range(classes):
                    for i in range(n):
                        smoothed[i] += weight[c] * (rows[c, i] - most[i])
            for i in range(n):
                t = label[i]
                counts[i] = t < classes if kind == SMOOTHED else weight[t] > zero
                target[i] = zero
                if t < classes:
                    target[i] = rows[t, i]
                    rows[t, i] = -infinity
            _exponentials(rows, most, rest)
            _clear_uncounted(rows, rest, counts)
            for i in range(n):
                w = weight[label[i]]
                z = target[i] - most[i]
                e = exp_or_zero(z)
                total = rest[i] + e
                log_total = log_positive(total)
                nll = log_total + ((rest[i] - (total - one)) / total if z >= zero else zero - z)
                if kind == SMOOTHED:
                    mine, others = keep * w, smooth * weight_sum
                    both = mine + others
                    value = mine * nll + smooth * (weight_sum * log_total - smoothed[i])
                    step = (both * scale) / total
                    own = (others * e - mine * rest[i]) / both if both > zero else zero
                else:
                    value, step, own = w * nll, w * scale, zero - rest[i]
                    if kind == FOCAL:
                        p, q = e / total, rest[i] / total
                        modulation, square, left = one, q, whole
                        while left:
                            if left & 1:
                                modulation *= square
                            square *= square
                            left >>= 1
                        if fraction > zero:
                            modulation *= exp_or_zero(fraction * log_positive(q))
                        ratio = (p * nll if p > zero else zero) / q if q > zero else one
                        value = modulation * value
                        step = (modulation * step) * (one + gamma * ratio)
                    step = step / total
                loss[i] = value if counts[i] else zero
                factor[i] = step if counts[i] else zero
                rest[i] = own
            lanes[:] = 0
            for i in range(n):
                lanes[i % SUM_LANES] += loss[i]
            part = 0.0
            for lane in lanes:
                part += lane
            parts[image, at // CHUNK] = part
            if not gradient:
                continue
            for i in range(n):
                if label[i] < classes:
                    rows[label[i], i] = rest[i]
            for c in range(classes):
                for i in range(n):
                    rows[c, i] *= factor[i]
                if kind == SMOOTHED:
                    step = (smooth * weight[c]) * scale
                    for i in range(n):
                        rows[c, i] -= step * (one if counts[i] else zero)
            _put(rows, last, image, at, n, grad)


def dice_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(logits))
    classes, grad = x.shape[2 if last else 1], np.empty_like(x)
    label, counts, bad = _labels(target, ignore, classes)
    if bad >= 0:
        return bad
    number, chunks = counts[:classes].astype(np.float64), -(-label.shape[1] // CHUNK)
    both, probability = (np.empty((classes, len(label) * chunks)) for _ in range(2))
    _dice_sums(x, last, label, both, probability)
    above, below = 2 * ordered_sums(both) + eps, (ordered_sums(probability) + number) + eps
    mean = 0.0
    for score in (above / below).tolist():
        mean += score
    found = None
    if gradient:
        slope = (above / (below * below) / classes).astype(x.dtype)
        bonus = np.append((-2 / below / classes).astype(x.dtype), x.dtype.type(0))
        _dice_gradient(x, last, label, slope, bonus, grad)
        found = narrow(grad, logits.dtype)
    return 1 - mean / classes, found, float(number.sum())


@jit
def _load(
    x: Array, last: bool, image: int, at: int, label: Array, rows: Array, most: Array, inverse: Array, counts: Array
) -> None:
    """Exponentials of a chunk, and 1 / their sum; 0 for what does not count."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    _take(x, last, image, at, len(label), rows)
    _most(rows, most)
    _exponentials(rows, most, inverse)
    for i in range(len(label)):
        counts[i] = label[i] < len(rows)
    _clear_uncounted(rows, inverse, counts)
    for i in range(len(label)):
        inverse[i] = (one if counts[i] else zero) / inverse[i]


@jit
def _dice_sums(x: Array, last: bool, labels: Array, both: Array, probability: Array) -> None:
    classes, images, pixels = len(both), *labels.shape
    scratch, lanes = np.empty((classes, CHUNK), x.dtype), np.empty((classes, DICE_LANES), x.dtype)
    most_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    own, chunk = np.empty(classes, np.float64), 0
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            rows, label, inverse = scratch[:, :n], labels[image, at : at + n], inverse_of[:n]
            _load(x, last, image, at, label, rows, most_of[:n], inverse, counts_of[:n])
            lanes[:] = x.dtype.type(0)
            own[:] = 0
            for c in range(classes):
                for i in range(n):
                    lanes[c, i % DICE_LANES] += rows[c, i] * inverse[i]
            for i in range(n):
                if label[i] < classes:
                    own[label[i]] += rows[label[i], i] * inverse[i]
            for c in range(classes):
                part = 0.0
                for lane in lanes[c]:
                    part += lane
                probability[c, chunk] = part
                both[c, chunk] = own[c]
            chunk += 1


@jit
def _dice_gradient(x: Array, last: bool, labels: Array, slope: Array, bonus: Array, grad: Array) -> None:
    zero = x.dtype.type(0)
    classes, images, pixels = len(slope), *labels.shape
    scratch = np.empty((classes, CHUNK), x.dtype)
    most_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            rows, label = scratch[:, :n], labels[image, at : at + n]
            mean, inverse, counts = most_of[:n], inverse_of[:n], counts_of[:n]
            _load(x, last, image, at, label, rows, mean, inverse, counts)
            mean[:] = zero
            for c in range(classes):
                for i in range(n):
                    mean[i] += rows[c, i] * slope[c]
            for i in range(n):
                extra = (rows[label[i], i] if counts[i] else zero) * bonus[label[i]]
                mean[i] = (mean[i] + extra) * inverse[i] if counts[i] else zero
                more = extra * inverse[i]
                for c in range(classes):
                    rows[c, i] = (rows[c, i] * inverse[i]) * (slope[c] - mean[i])
                if counts[i]:
                    rows[label[i], i] += more
            _put(rows, last, image, at, n, grad)
