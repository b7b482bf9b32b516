"""Numba kernels of keypoints, with the signatures of the references."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_elementary import exp_or_zero
from fastdet._core.numba_jit import jit, plain
from fastdet.keypoints.similarity import Floats, Ints


def oks_of_groups(
    points: Floats, true_points: Floats, areas: Floats, boxes: Floats, sigmas: Floats,
    rows: Ints, start: Ints, true_rows: Ints, true_start: Ints,
) -> Floats:  # fmt: skip
    out = np.zeros(int((np.diff(start) * np.diff(true_start)).sum()))
    arguments: Any = (points, true_points, areas, boxes, (sigmas * 2) ** 2, rows, start, true_rows, true_start)
    kernel: Any = _oks
    kernel(*(plain(x) for x in arguments), out)
    return out


@jit
def _oks(
    points: Floats, true_points: Floats, areas: Floats, boxes: Floats, variances: Floats,
    rows: Ints, start: Ints, true_rows: Ints, true_start: Ints, out: Floats,
) -> None:  # fmt: skip
    K, pairs = len(variances), 0
    counts, terms = np.empty(K, np.int64), np.empty(K)
    stack, sums = np.empty((200, 2), np.int64), np.empty(200)  # of more levels than an array can have
    for i in range(len(start) - 1):
        columns = true_start[i + 1] - true_start[i]
        for j in range(columns):
            row, n = true_rows[true_start[i] + j], 0
            for k in range(K):
                if true_points[row, k, 2] > 0:
                    counts[n] = k
                    n += 1
            by_box = n == 0
            if by_box:
                n = K
                for k in range(K):
                    counts[k] = k
            x0, x1 = boxes[row, 0] - boxes[row, 2], boxes[row, 0] + boxes[row, 2] * 2
            y0, y1 = boxes[row, 1] - boxes[row, 3], boxes[row, 1] + boxes[row, 3] * 2
            scale = areas[row] + 2.0**-52
            for at in range(start[i], start[i + 1]):
                d = rows[at]
                for m in range(n):
                    k = counts[m]
                    x, y = points[d, k, 0], points[d, k, 1]
                    dx, dy = x - true_points[row, k, 0], y - true_points[row, k, 1]
                    if by_box:
                        dx, dy = max(0.0, x0 - x) + max(0.0, x - x1), max(0.0, y0 - y) + max(0.0, y - y1)
                    terms[m] = exp_or_zero(-((dx * dx + dy * dy) / variances[k] / scale / 2))
                out[pairs + (at - start[i]) * columns + j] = _pairwise_sum(terms, n, stack, sums) / n
        pairs += (start[i + 1] - start[i]) * columns


@jit
def _pairwise_sum(x: Array, n: int, stack: Ints, sums: Floats) -> Any:
    """`pairwise_sums` of the first n terms. A function that calls itself cannot be cached: halves wait on a stack.

    stack: (S, 2) first term and number of terms, -1 where two sums are to be added; sums: (S,)
    """
    stack[0, 0], stack[0, 1], depth, top = 0, n, 1, 0
    while depth:
        depth -= 1
        first, count = stack[depth]
        if count < 0:
            top -= 1
            sums[top - 1] += sums[top]
        elif count > 128:
            half = count // 2 - count // 2 % 8
            stack[depth, 1] = -1
            stack[depth + 1, 0], stack[depth + 1, 1] = first + half, count - half
            stack[depth + 2, 0], stack[depth + 2, 1] = first, half
            depth += 3
        else:
            sums[top] = _block_sum(x, first, count)
            top += 1
    return sums[0]


@jit
def _block_sum(x: Array, first: int, n: int) -> Any:
    """`pairwise_sums` of n terms from ``first`` on, n of 128 at most."""
    whole = n - n % 8 if n >= 8 else 0
    total = 0.0
    if whole:
        r0, r1, r2, r3 = x[first], x[first + 1], x[first + 2], x[first + 3]
        r4, r5, r6, r7 = x[first + 4], x[first + 5], x[first + 6], x[first + 7]
        for k in range(first + 8, first + whole, 8):
            r0, r1, r2, r3 = r0 + x[k], r1 + x[k + 1], r2 + x[k + 2], r3 + x[k + 3]
            r4, r5, r6, r7 = r4 + x[k + 4], r5 + x[k + 5], r6 + x[k + 6], r7 + x[k + 7]
        total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for k in range(first + whole, first + n):
        total += x[k]
    return total
