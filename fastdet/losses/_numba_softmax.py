"""Numba kernels of the losses of a softmax: the operations of the references in the same order.

Pixels are processed in chunks. ``rows`` holds a chunk's logits, then exponentials, then gradients, (classes, CHUNK);
only the first columns are used in the last chunk of an image. Vectors have one entry for each pixel of the chunk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_elementary import exp_or_zero, log_positive
from fastdet._core.numba_jit import jit, plain, typed
from fastdet._core.sums import ordered_sum, ordered_sums
from fastdet.losses.dice import class_scores
from fastdet.losses.pixels import CHUNK, DICE_LANES, SUM_LANES

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
    form = SMOOTHED if label_smoothing > 0 else CROSS_ENTROPY
    return _loss(logits, last, target, weight, ignore, reduction, form, label_smoothing, 0.0, gradient)


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
    """Copy the logits of a chunk of ``n`` pixels into ``rows``, (classes, CHUNK)."""
    for c in range(rows.shape[0]):
        for i in range(n):
            rows[c, i] = x[image, at + i, c] if last else x[image, c, at + i]


@jit
def _put(rows: Array, last: bool, image: int, at: int, n: int, grad: Array) -> None:
    """Copy the gradients of a chunk out of ``rows``: the way back of `_take`."""
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
    invalid = _read_labels(signed.ravel(), ignore is not None, 0 if ignore is None else ignore, counts, label.ravel())
    return label, counts, invalid


@jit
def _read_labels(target: Array, ignores: bool, ignore: int, counts: Array, label: Array) -> Any:
    """Copy and count the labels, ``classes`` for ignored ones; the position of the first one out of range, or -1."""
    classes = len(counts) - 1
    for i in range(len(target)):
        c = target[i]
        if ignores and c == ignore:
            c = classes
        elif c < 0 or c >= classes:
            return i
        label[i] = c
        counts[c] += 1
    return -1


def _loss(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    form: int,
    label_smoothing: float,
    gamma: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(logits))
    grad, classes, images, pixels = np.empty_like(x), len(weight), *target.shape
    label, counts, invalid = _labels(target, ignore, classes)
    if invalid >= 0:
        return invalid
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
    _softmax(x, last, label, weights, form, int(gamma), constants, gradient, grad, each, parts)
    result = narrow(grad, logits.dtype) if gradient else None
    if reduction == "none":
        return each, result, divisor
    total = float(ordered_sum(parts))
    if reduction == "mean":
        total = total / divisor if divisor > 0 else 0.0
    return total, result, divisor


@jit
def _class_max(rows: Array, top: Array) -> None:
    """The maximum over the classes of each pixel."""
    for i in range(len(top)):
        top[i] = rows[0, i]
    for c in range(1, len(rows)):
        for i in range(len(top)):
            top[i] = rows[c, i] if rows[c, i] > top[i] else top[i]


@jit
def _exponentials(rows: Array, top: Array, rest: Array) -> None:
    """Turn logits into exponentials; ``rest`` gets their sum over the classes."""
    rest[:] = rows.dtype.type(0)
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(len(rest)):
            row[i] = exp_or_zero(row[i] - top[i])
        for i in range(len(rest)):
            rest[i] += row[i]


@jit
def _clear_uncounted(rows: Array, rest: Array, counts: Array) -> None:
    """Set the pixels that do not count to 0 (sum 1) where their logits have made the sum NaN."""
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
    form: int,
    whole: int,
    constants: Array,
    gradient: bool,
    grad: Array,
    each: Array,
    parts: Array,
) -> None:
    """The loss of each pixel, its sum over each chunk, and the gradient, chunk by chunk.

    ``form`` is CROSS_ENTROPY, SMOOTHED or FOCAL. ``constants``: scale of the gradient, 1 - smoothing,
    smoothing / classes, sum of the weights, gamma, and gamma less its ``whole`` part.
    """
    classes, images, pixels = len(weight) - 1, *labels.shape
    rows, lanes = np.empty((classes, CHUNK), x.dtype), np.empty(SUM_LANES, np.float64)
    vectors, counted = np.empty((5, CHUNK), x.dtype), np.empty(CHUNK, np.bool_)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            label, loss = labels[image, at : at + n], each[image, at : at + n]
            top, rest, factor = vectors[0, :n], vectors[1, :n], vectors[2, :n]
            target, smoothed, counts = vectors[3, :n], vectors[4, :n], counted[:n]
            _take(x, last, image, at, n, rows)
            _class_max(rows, top)
            if form == SMOOTHED:
                _smoothed_sums(rows, top, weight, smoothed)
            _split_target(rows, label, weight, form, target, counts)
            _exponentials(rows, top, rest)
            _clear_uncounted(rows, rest, counts)
            _pixel_losses(label, target, top, rest, smoothed, counts, weight, form, whole, constants, loss, factor)
            parts[image, at // CHUNK] = _lane_sum(loss, lanes)
            if gradient:
                _gradients(rows, label, rest, factor, counts, weight, form, constants)
                _put(rows, last, image, at, n, grad)


@jit
def _smoothed_sums(rows: Array, top: Array, weight: Array, smoothed: Array) -> None:
    """The weighted sum over the classes of each pixel's logits less their maximum."""
    smoothed[:] = rows.dtype.type(0)
    for c in range(len(rows)):
        row, w = rows[c], weight[c]
        for i in range(len(smoothed)):
            smoothed[i] += w * (row[i] - top[i])


@jit
def _split_target(rows: Array, label: Array, weight: Array, form: int, target: Array, counts: Array) -> None:
    """Move the logit of each pixel's own class to ``target`` (-inf stays in its place); mark the pixels that count."""
    zero, infinity, classes = rows.dtype.type(0), rows.dtype.type(np.inf), len(rows)
    for i in range(len(label)):
        t = label[i]
        counts[i] = t < classes if form == SMOOTHED else weight[t] > zero
        target[i] = zero
        if t < classes:
            target[i] = rows[t, i]
            rows[t, i] = -infinity


@jit
def _pixel_losses(
    label: Array,
    target: Array,
    top: Array,
    rest: Array,
    smoothed: Array,
    counts: Array,
    weight: Array,
    form: int,
    whole: int,
    constants: Array,
    loss: Array,
    factor: Array,
) -> None:
    """The loss of each pixel, and of its gradient the common factor and, in ``rest``, the entry of its own class.

    ``rest`` comes in as the sum of the exponentials of the other classes.
    """
    zero, one = rest.dtype.type(0), rest.dtype.type(1)
    scale, keep, smooth, weight_sum = constants[0], constants[1], constants[2], constants[3]
    gamma, fraction = constants[4], constants[5]
    for i in range(len(label)):
        w = weight[label[i]]
        z = target[i] - top[i]
        e = exp_or_zero(z)
        total = rest[i] + e
        log_total = log_positive(total)
        nll = log_total + ((rest[i] - (total - one)) / total if z >= zero else zero - z)
        if form == SMOOTHED:
            mine, others = keep * w, smooth * weight_sum
            both = mine + others
            value = mine * nll + smooth * (weight_sum * log_total - smoothed[i])
            step = (both * scale) / total
            own = (others * e - mine * rest[i]) / both if both > zero else zero
        else:
            value, step, own = w * nll, w * scale, zero - rest[i]
            if form == FOCAL:
                p, q = e / total, rest[i] / total
                modulation = _power(q, whole, fraction, one)
                ratio = (p * nll if p > zero else zero) / q if q > zero else one
                value = modulation * value
                step = (modulation * step) * (one + gamma * ratio)
            step = step / total
        loss[i] = value if counts[i] else zero
        factor[i] = step if counts[i] else zero
        rest[i] = own


@jit
def _power(x: Any, whole: int, fraction: Any, one: Any) -> Any:
    """x^(whole + fraction) for x in [0, 1]: an integer power by squaring, times a fractional one."""
    result, square, left = one, x, whole
    while left:
        if left & 1:
            result *= square
        square *= square
        left >>= 1
    if fraction > one - one:
        result *= exp_or_zero(fraction * log_positive(x))
    return result


@jit
def _lane_sum(loss: Array, lanes: Array) -> Any:
    """The sum of a chunk in float64, in interleaved lanes first."""
    lanes[:] = 0
    for i in range(len(loss)):
        lanes[i % SUM_LANES] += loss[i]
    part = 0.0
    for lane in lanes:
        part += lane
    return part


@jit
def _gradients(
    rows: Array, label: Array, own: Array, factor: Array, counts: Array, weight: Array, form: int, constants: Array
) -> None:
    """Turn the exponentials of a chunk into the gradients of its logits."""
    zero, one, classes = rows.dtype.type(0), rows.dtype.type(1), len(rows)
    scale, smooth = constants[0], constants[2]
    for i in range(len(label)):
        if label[i] < classes:
            rows[label[i], i] = own[i]
    for c in range(classes):
        row = rows[c]
        for i in range(len(label)):
            row[i] *= factor[i]
        if form == SMOOTHED:
            step = (smooth * weight[c]) * scale
            for i in range(len(label)):
                row[i] -= step * (one if counts[i] else zero)


def dice_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    return _overlap_loss(logits, last, target, ignore, None, eps, gradient)


def tversky_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, alpha: float, beta: float, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    return _overlap_loss(logits, last, target, ignore, (alpha, beta), eps, gradient)


def _overlap_loss(
    logits: Array,
    last: bool,
    target: Array,
    ignore: int | None,
    tversky: tuple[float, float] | None,
    eps: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(logits))
    classes, grad = x.shape[2 if last else 1], np.empty_like(x)
    label, counts, invalid = _labels(target, ignore, classes)
    if invalid >= 0:
        return invalid
    number, chunks = counts[:classes].astype(np.float64), -(-label.shape[1] // CHUNK)
    both, probability = (np.empty((classes, len(label) * chunks)) for _ in range(2))
    _dice_sums(x, last, label, both, probability)
    scores, slopes, bonuses = class_scores(ordered_sums(probability), ordered_sums(both), number, tversky, eps)
    mean = 0.0
    for score in scores.tolist():
        mean += score
    result = None
    if gradient:
        slope = (slopes / classes).astype(x.dtype)
        bonus = np.append((bonuses / classes).astype(x.dtype), x.dtype.type(0))
        _dice_gradient(x, last, label, slope, bonus, grad)
        result = narrow(grad, logits.dtype)
    return 1 - mean / classes, result, float(number.sum())


@jit
def _load(
    x: Array, last: bool, image: int, at: int, label: Array, rows: Array, top: Array, inverse: Array, counts: Array
) -> None:
    """Load a chunk's exponentials, and 1 / their sum; 0 for pixels that do not count."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    _take(x, last, image, at, len(label), rows)
    _class_max(rows, top)
    _exponentials(rows, top, inverse)
    for i in range(len(label)):
        counts[i] = label[i] < len(rows)
    _clear_uncounted(rows, inverse, counts)
    for i in range(len(label)):
        inverse[i] = (one if counts[i] else zero) / inverse[i]


@jit
def _dice_sums(x: Array, last: bool, labels: Array, both: Array, probability: Array) -> None:
    """Sums of each class over each chunk: of its probability, and of that where the pixel is of the class."""
    classes, images, pixels = len(both), *labels.shape
    rows, lanes = np.empty((classes, CHUNK), x.dtype), np.empty((classes, DICE_LANES), x.dtype)
    top_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    own, chunk = np.empty(classes, np.float64), 0
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            label, inverse = labels[image, at : at + n], inverse_of[:n]
            _load(x, last, image, at, label, rows, top_of[:n], inverse, counts_of[:n])
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
    """The gradient of each logit from the derivatives by the sums: ``slope`` of all pixels, ``bonus`` of own ones."""
    zero = x.dtype.type(0)
    classes, images, pixels = len(slope), *labels.shape
    rows = np.empty((classes, CHUNK), x.dtype)
    top_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            label = labels[image, at : at + n]
            mean, inverse, counts = top_of[:n], inverse_of[:n], counts_of[:n]
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
