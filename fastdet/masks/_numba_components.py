"""Numba kernel of connected components: pixels are joined in a forest whose roots are the pixels that come first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit

_Found = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], Array, NDArray[np.int64]]


def connected_components(labels: Array, eight: bool) -> _Found:
    n, height, width = labels.shape
    numbers = np.zeros(labels.shape, np.int32)
    firsts, offsets = [np.zeros(0, np.int64)], np.zeros(n + 1, np.int64)
    parent = np.empty(height * width, np.int32)
    for i in range(n):
        # A copy: no thread may change what is read twice.
        first = _label(labels[i].copy(), eight, parent, numbers[i])
        firsts.append(first + i * height * width)
        offsets[i + 1] = offsets[i] + len(first)
    areas, ends = np.zeros(offsets[-1], np.int64), np.empty((offsets[-1], 4), np.int64)
    _measure(numbers, offsets, areas, ends)
    kinds = labels.reshape(-1)[np.concatenate(firsts)]
    return numbers, areas, ends.astype(np.float64), kinds, offsets


@jit
def _root(parent: Array, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit
def _join(parent: Array, i: int, k: int) -> None:
    i, k = _root(parent, i), _root(parent, k)
    parent[max(i, k)] = min(i, k)


@jit
def _label(labels: Array, eight: bool, parent: Array, numbers: Array) -> Array:
    """Write the numbers of a map. Returns the places of the components' first pixels."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            at, label = y * width + x, labels[y, x]
            parent[at] = at
            if label == 0:
                continue
            if x > 0 and labels[y, x - 1] == label:
                _join(parent, at, at - 1)
            if y > 0:
                if labels[y - 1, x] == label:
                    _join(parent, at, at - width)
                if eight and x > 0 and labels[y - 1, x - 1] == label:
                    _join(parent, at, at - width - 1)
                if eight and x + 1 < width and labels[y - 1, x + 1] == label:
                    _join(parent, at, at - width + 1)
    count = 0
    for at in range(height * width):
        if labels[at // width, at % width] != 0 and parent[at] == at:
            count += 1
    first = np.empty(count, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if labels[y, x] == 0:
                continue
            at = y * width + x
            if parent[at] == at:
                first[count] = at
                count += 1
                numbers[y, x] = count
            else:
                root = _root(parent, at)
                numbers[y, x] = numbers[root // width, root % width]
    return first


@jit
def _measure(numbers: Array, offsets: Array, areas: Array, ends: Array) -> None:
    n, height, width = numbers.shape
    for i in range(n):
        for y in range(height):
            for x in range(width):
                if numbers[i, y, x] == 0:
                    continue
                k = offsets[i] + numbers[i, y, x] - 1
                if areas[k] == 0:
                    ends[k, 0], ends[k, 1], ends[k, 2], ends[k, 3] = x, y, x + 1, y + 1
                areas[k] += 1
                ends[k, 0] = min(ends[k, 0], x)
                ends[k, 2] = max(ends[k, 2], x + 1)
                ends[k, 3] = y + 1
