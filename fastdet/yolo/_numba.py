"""The Numba kernel of YOLO's candidates. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import Indices, jit, plain, typed


def yolo_candidates(
    output: Array, planes: bool, classes: int, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Array, Array, Indices, Indices, Indices] | int:
    images, candidates, channels = output.shape if not planes else (output.shape[0], output.shape[2], output.shape[1])
    step = (1, candidates) if planes else (channels, 1)  # to the next candidate, to the next channel
    flat, label = plain(output).reshape(-1), np.empty(images * candidates, np.int64)
    job = (
        flat,
        images,
        candidates,
        channels,
        classes,
        step,
        objectness,
        multi_label,
        typed(output.dtype, score_threshold),
    )
    count = _best(*job, label)
    if count < 0:
        return int(-1 - count)
    boxes, scores = np.empty((count, 4), output.dtype), np.empty(count, output.dtype)
    labels, image, rows = (np.empty(count, np.int64) for _ in range(3))
    written = _write(*job, label, boxes, scores, labels, image, rows)
    if written < count:  # another thread has changed the outputs since they were counted: the rest holds nothing
        return boxes[:written], scores[:written], labels[:written], image[:written], rows[:written]
    return boxes, scores, labels, image, rows


@jit
def _best(
    x: Array,
    images: int,
    candidates: int,
    channels: int,
    classes: int,
    step: tuple[int, int],
    objectness: bool,
    multi_label: bool,
    threshold: Any,
    label: Indices,
) -> Any:
    """Write the best class of each candidate, or -1, to ``label``; returns the number of boxes, or -1 - a flat index.

    The index is that of the first value that is wrong: a NaN, or a score outside [0, 1].
    """
    count, first = 0, 5 if objectness else 4
    last = first + classes
    best = np.empty(candidates, x.dtype)
    for image in range(images):
        start, mine = image * candidates * channels, label[image * candidates : (image + 1) * candidates]
        best[:] = -np.inf
        mine[:] = 0
        outer, inner = (channels, candidates) if step[0] == 1 else (candidates, channels)
        for a in range(outer):  # in the order of memory
            for b in range(inner):
                c, i = (a, b) if step[0] == 1 else (b, a)
                if c >= last:
                    break
                value = x[start + a * inner + b]
                if value != value or (c >= 4 and not 0 <= value <= 1):
                    return -1 - (start + a * inner + b)
                if c >= first:
                    score = x[start + i * step[0] + 4 * step[1]] * value if objectness else value
                    if score > best[i]:
                        best[i], mine[i] = score, c - first
        for i in range(candidates):
            if not best[i] > threshold:
                mine[i] = -1
            elif not multi_label:
                count += 1
            else:
                at = start + i * step[0]
                for c in range(first, last):
                    value = x[at + c * step[1]]
                    count += (x[at + 4 * step[1]] * value if objectness else value) > threshold
    return count


@jit
def _write(
    x: Array,
    images: int,
    candidates: int,
    channels: int,
    classes: int,
    step: tuple[int, int],
    objectness: bool,
    multi_label: bool,
    threshold: Any,
    label: Indices,
    boxes: Array,
    scores: Array,
    labels: Indices,
    owner: Indices,
    row: Indices,
) -> Any:
    """Write the boxes, with their image to ``owner`` and their number in it to ``row``; returns how many.

    At most as many as there is room for: another thread may have changed the outputs since they were counted.
    """
    count, first, half = 0, 5 if objectness else 4, x.dtype.type(0.5)
    for image in range(images):
        for i in range(candidates):
            best = label[image * candidates + i]
            if best < 0:
                continue
            at = image * candidates * channels + i * step[0]
            cx, cy = x[at], x[at + step[1]]
            half_w, half_h = half * x[at + 2 * step[1]], half * x[at + 3 * step[1]]
            for c in range(0 if multi_label else best, classes if multi_label else best + 1):
                value = x[at + (first + c) * step[1]]
                score = x[at + 4 * step[1]] * value if objectness else value
                if score > threshold:
                    if count == len(scores):
                        return count
                    boxes[count, 0], boxes[count, 1] = cx - half_w, cy - half_h
                    boxes[count, 2], boxes[count, 3] = cx + half_w, cy + half_h
                    scores[count], labels[count], owner[count], row[count] = score, c, image, i
                    count += 1
    return count
