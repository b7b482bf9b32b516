"""Numba kernels of the Lovász losses: the operations of the references in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.numba_jit import jit, plain
from fastdet._core.sums import ordered_sum
from fastdet.losses._numba_softmax import _labels, _load, _put
from fastdet.losses.pixels import CHUNK


def lovasz_softmax_loss(
    logits: Array, last: bool, target: Array, ignore: int | None, present: bool, per_image: bool, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(logits))
    classes = x.shape[2 if last else 1]
    label, _, invalid = _labels(target, ignore, classes)
    if invalid >= 0:
        return invalid
    images, pixels = label.shape
    errors = np.empty((classes, images, pixels), x.dtype)
    _errors(x, last, label, errors)
    slope, total, whole = np.zeros_like(errors), 0.0, [slice(None)]
    groups = [slice(i, i + 1) for i in range(images)] if per_image else whole
    for group in groups:
        own = label[group].ravel()
        counts = np.bincount(own, minlength=classes + 1)[:classes].tolist()
        chosen = [c for c in range(classes) if counts[c] or not present]
        scale, image_loss = 1 / (len(chosen) * len(groups)) if chosen else 0.0, 0.0
        for c in chosen:
            values = errors[c, group].ravel()
            products, steps = np.empty(len(values)), np.empty(len(values))
            _terms(values, own, c, classes, products, steps)
            image_loss += float(ordered_sum(products))
            signed = np.where(own == c, -1.0, 1.0) * steps * scale
            slope[c, group] = signed.astype(x.dtype).reshape(slope[c, group].shape)
        total += image_loss / len(chosen) if chosen else 0.0
    grad = None
    if gradient:
        grads = np.empty_like(x)
        _gradient(x, last, label, slope, grads)
        grad = narrow(grads, logits.dtype)
    return total / len(groups) if groups else 0.0, grad, float((label < classes).sum())


def lovasz_hinge_loss(
    inputs: Array, targets: Array, ignore: int | None, per_image: bool, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    x = plain(widen(inputs))
    label, _, invalid = _labels(targets, ignore, 2)
    if invalid >= 0:
        return invalid
    errors, grads, total = np.empty_like(x), np.empty_like(x), 0.0
    _hinge(x, label, errors)
    for i in range(len(x)):
        products, steps = np.empty(x.shape[1]), np.empty(x.shape[1])
        _terms(errors[i], label[i], 1, 2, products, steps)
        total += float(ordered_sum(products))
        _hinge_gradient(errors[i], label[i], steps, 1 / len(x), grads[i])
    grad = narrow(grads, inputs.dtype) if gradient else None
    return total / len(x) if len(x) else 0.0, grad, float((label < 2).sum())


@jit
def _errors(x: Array, last: bool, labels: Array, errors: Array) -> None:
    """|t - p| of every class and pixel."""
    classes, images, pixels = errors.shape
    rows, one = np.empty((classes, CHUNK), x.dtype), x.dtype.type(1)
    top_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            label, inverse = labels[image, at : at + n], inverse_of[:n]
            _load(x, last, image, at, label, rows, top_of[:n], inverse, counts_of[:n])
            for c in range(classes):
                for i in range(n):
                    p = rows[c, i] * inverse[i]
                    errors[c, image, at + i] = one - p if label[i] == c else p


@jit
def _hinge(x: Array, label: Array, errors: Array) -> None:
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            margin = one - x[i, k] * (one if label[i, k] == 1 else -one)
            errors[i, k] = zero if margin <= zero else margin


@jit
def _terms(errors: Array, label: Array, own: int, ignored: int, products: Array, steps: Array) -> None:
    """`lovasz_terms`: the products by rank, the steps by pixel."""
    score = np.empty(len(errors), errors.dtype)
    counted = total = 0
    for i in range(len(errors)):
        e = errors[i]
        if label[i] == ignored:
            score[i] = 1
        else:
            score[i] = -e if e == e else -np.inf
            counted += 1
            total += label[i] == own
    order = np.argsort(score, kind="mergesort")
    found, before = 0, 0.0
    for rank in range(len(order)):
        i = order[rank]
        if rank >= counted:
            steps[i] = products[rank] = 0
            continue
        found += label[i] == own
        jaccard = 1 - (total - found) / (total + (rank + 1 - found))
        steps[i] = jaccard - before
        products[rank] = np.float64(errors[i]) * (jaccard - before)
        before = jaccard


@jit
def _gradient(x: Array, last: bool, labels: Array, slope: Array, grad: Array) -> None:
    """p (s - sum p s) from the derivatives s by the probabilities."""
    classes, images, pixels = slope.shape
    rows, zero = np.empty((classes, CHUNK), x.dtype), x.dtype.type(0)
    top_of, inverse_of, counts_of = np.empty(CHUNK, x.dtype), np.empty(CHUNK, x.dtype), np.empty(CHUNK, np.bool_)
    for image in range(images):
        for at in range(0, pixels, CHUNK):
            n = min(CHUNK, pixels - at)
            label, mean, inverse = labels[image, at : at + n], top_of[:n], inverse_of[:n]
            _load(x, last, image, at, label, rows, mean, inverse, counts_of[:n])
            mean[:] = zero
            for c in range(classes):
                for i in range(n):
                    mean[i] += rows[c, i] * slope[c, image, at + i]
            for i in range(n):
                mean[i] *= inverse[i]
            for c in range(classes):
                for i in range(n):
                    rows[c, i] = (rows[c, i] * inverse[i]) * (slope[c, image, at + i] - mean[i])
            _put(rows, last, image, at, n, grad)


@jit
def _hinge_gradient(errors: Array, label: Array, steps: Array, scale: float, grad: Array) -> None:
    zero = errors.dtype.type(0)
    for i in range(len(errors)):
        if label[i] == 2 or errors[i] <= zero:
            grad[i] = zero
        elif errors[i] == errors[i]:
            grad[i] = (-steps[i] if label[i] == 1 else steps[i]) * scale
        else:
            grad[i] = np.nan
