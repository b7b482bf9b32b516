"""Numba kernels of confusion matrices, with the signatures of the references. See `fastdet._core.numba_jit`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import widen
from fastdet._core.numba_jit import jit, plain
from fastdet.segmentation._numba_boundary import boundary_counts as boundary_counts
from fastdet.upsample.bilinear import taps


def confusion_matrix(target: Array, prediction: Array, num_classes: int, ignore_index: int | None) -> Array | int:
    side = num_classes + (ignore_index is not None)
    matrix = np.zeros((side, side), np.int64)
    truth, predicted = _unsigned(target), _unsigned(prediction)
    limits = np.array(
        [_limits(target.dtype, num_classes, ignore_index), _limits(prediction.dtype, num_classes, ignore_index)]
    )
    if not _count(truth, predicted, limits, num_classes, matrix):
        bad = _first_out_of_range(truth, limits[0])
        return 2 * int(bad) if bad >= 0 else 2 * int(_first_out_of_range(predicted, limits[1])) + 1
    return matrix


def _unsigned(labels: Array) -> Array:
    """Labels as unsigned integers of the same width, so that kernels are compiled for half as many dtypes."""
    return plain(labels.ravel().view(f"u{labels.itemsize}"))


def _limits(dtype: np.dtype[Any], classes: int, ignore: int | None) -> Array:
    """(highest class, ignored label, 1 if there is an ignored label else 0), for labels seen as unsigned."""
    info = np.iinfo(dtype)
    has_ignored = ignore is not None and info.min <= ignore <= info.max
    void = (ignore or 0) % 2 ** (8 * dtype.itemsize) if has_ignored else 0
    return np.array([min(classes - 1, info.max), void, has_ignored], np.uint64)


@jit
def _count(target: Array, prediction: Array, limits: Array, classes: int, matrix: Array) -> bool:
    """Add runs of equal pixels to the matrix; False if a label is out of range."""
    n, first = len(target), 0
    while first < n:
        t, p = target[first], prediction[first]
        last = first + 1
        while last < n and target[last] == t and prediction[last] == p:
            last += 1
        row = column = np.int64(classes)
        if not (limits[0, 2] and t == limits[0, 1]):
            row = np.int64(t)
            if t > limits[0, 0]:
                return False
        if not (limits[1, 2] and p == limits[1, 1]):
            column = np.int64(p)
            if p > limits[1, 0]:
                return False
        matrix[row, column] += last - first
        first = last
    return True


@jit
def _first_out_of_range(labels: Array, limits: Array) -> int:
    for i in range(len(labels)):
        if labels[i] > limits[0] and not (limits[2] and labels[i] == limits[1]):
            return i
    return -1


def confusion_matrix_from_logits(
    target: Array, logits: Array, ignore_index: int | None, channels_last: bool, align_corners: bool
) -> Array | int:
    image = plain(widen(logits))
    classes = image.shape[3 if channels_last else 1]
    height, width = image.shape[1:3] if channels_last else image.shape[2:]
    same = (height, width) == target.shape[1:]
    is_valid = _first_invalid(image.ravel(), not same) < 0
    prediction = np.zeros(target.shape, np.uint16)
    if is_valid and target.size:
        strides = np.array(image.strides)[[0, 3, 1, 2] if channels_last else [0, 1, 2, 3]] // image.itemsize
        rows, columns = (
            taps(n, out, align_corners, 0.0, image.dtype)
            for n, out in zip((height, width), target.shape[1:], strict=True)
        )
        inputs, weights = np.stack(rows[:2]), np.stack(rows[2:])
        across, across_weights = np.stack(columns[:2]), np.stack(columns[2:])
        _predict(image.ravel(), strides, classes, same, inputs, across, weights, across_weights, prediction)
    answer = confusion_matrix(target, prediction, classes, ignore_index)
    if not is_valid and not (isinstance(answer, int) and not answer & 1):
        scores = image.transpose(0, 3, 1, 2) if channels_last else image
        return 2 * int(np.argmax(np.isnan(scores) if same else ~np.isfinite(scores))) + 1
    return answer


@jit
def _first_invalid(x: Array, finite: bool) -> int:
    """The index of the first NaN, or with ``finite`` of the first NaN or infinity; -1 without one."""
    for i in range(len(x)):
        if x[i] != x[i] or (finite and x[i] - x[i] != 0):
            return i
    return -1


@jit
def _predict(
    x: Array,
    strides: Array,
    classes: int,
    same: bool,
    rows: Array,
    columns: Array,
    row_weights: Array,
    column_weights: Array,
    prediction: Array,
) -> None:
    """Write the class of the highest score of each pixel, a row at a time. ``strides`` of x are (N, C, H, W)."""
    images, height, width = prediction.shape
    wide = np.empty((2, classes, width), x.dtype)  # two input rows, resampled along the row
    row_in = np.empty(2, np.int64)  # which input row each half of ``wide`` holds; -1: none
    best = np.empty(width, x.dtype)
    for n in range(images):
        row_in[:] = -1
        for y in range(height):
            answer = prediction[n, y]
            h0, h1 = row_weights[0, y], row_weights[1, y]
            for k in range(2):
                i = rows[k, y]
                if row_in[i % 2] == i:
                    continue
                row_in[i % 2] = i
                for c in range(classes):
                    start = n * strides[0] + c * strides[1] + i * strides[2]
                    to = wide[i % 2, c]
                    if same:
                        for j in range(width):
                            to[j] = x[start + j * strides[3]]
                    else:
                        for j in range(width):
                            a = x[start + columns[0, j] * strides[3]]
                            b = x[start + columns[1, j] * strides[3]]
                            to[j] = column_weights[0, j] * a + column_weights[1, j] * b
            for c in range(classes):
                upper, lower = wide[rows[0, y] % 2, c], wide[rows[1, y] % 2, c]
                for j in range(width):
                    score = upper[j] if same else h0 * upper[j] + h1 * lower[j]
                    if c == 0:
                        best[j] = score
                    elif not best[j] >= score:
                        best[j] = score
                        answer[j] = c


def segment_pairs(target: Array, prediction: Array) -> Array:
    pixels = target.shape[0] * target.shape[1]
    keys, runs = np.empty(pixels, np.uint64), np.empty(pixels, np.int64)
    n = _pair_runs(_bytes(target), _bytes(prediction), keys, runs)
    found, which = np.unique(keys[:n], return_inverse=True)
    counts = np.zeros(len(found), np.int64)
    np.add.at(counts, which, runs[:n])
    return np.stack(
        [(found >> np.uint64(32)).astype(np.int64), (found & np.uint64(2**32 - 1)).astype(np.int64), counts], 1
    )


def _bytes(ids: Array) -> Array:
    """(pixels, bytes of an id), lowest first, so that the kernel is compiled once for all dtypes."""
    if ids.ndim == 2:
        ids = ids.astype(ids.dtype.newbyteorder("<"), copy=False)
    return plain(ids.view(np.uint8).reshape(ids.shape[0] * ids.shape[1], -1 if ids.size else 1))


@jit
def _pair_runs(target: Array, prediction: Array, keys: Array, runs: Array) -> int:
    """Write the pair of ids of each run of equal pixels, and the length of the run; returns their number."""
    pixels, n = len(target), 0
    a, b = target.shape[1], prediction.shape[1]
    for i in range(pixels):
        same = i > 0
        for c in range(a):
            same = same and target[i, c] == target[i - 1, c]
        for c in range(b):
            same = same and prediction[i, c] == prediction[i - 1, c]
        if same:
            runs[n - 1] += 1
            continue
        t = p = np.uint64(0)
        for c in range(a):
            t |= np.uint64(target[i, c]) << np.uint64(8 * c)
        for c in range(b):
            p |= np.uint64(prediction[i, c]) << np.uint64(8 * c)
        keys[n] = t << np.uint64(32) | p
        runs[n] = 1
        n += 1
    return n
