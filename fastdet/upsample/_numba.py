"""Numba kernels of bilinear resampling. `_core.numba_jit` has the rules of all kernels."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet._core.half import widen
from fastdet._core.numba_jit import jit, plain
from fastdet.upsample.bilinear import geometry, rounded, widened


def upsample_bilinear(
    x: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array
) -> None:
    rows, result, y, columns = geometry(x, out, channels_last, align_corners, factor_y, factor_x)
    rows = plain(widened(rows))
    exact = result if result.dtype == rows.dtype else np.empty(result.shape[1:], rows.dtype)
    for p in range(len(rows)):
        _expand(rows[p], *y, *columns, result[p] if exact is result else exact)
        if exact is not result:
            result[p] = rounded(exact, out.dtype)


@jit
def _expand(
    x: Array, r0: Array, r1: Array, h0: Array, h1: Array, c0: Array, c1: Array, w0: Array, w1: Array, out: Array
) -> None:
    """Resample one plane. The last two expanded rows of the input are kept: row i in kept[i % 2]."""
    kept, held = np.empty((2, out.shape[1]), x.dtype), np.full(2, -1)
    for i in range(len(out)):
        for row in (r0[i], r1[i]):
            if held[row % 2] != row:
                held[row % 2] = row
                source, to = x[row], kept[row % 2]
                for j in range(len(to)):
                    to[j] = w0[j] * source[c0[j]] + w1[j] * source[c1[j]]
        a, b, above, below, line = kept[r0[i] % 2], kept[r1[i] % 2], h0[i], h1[i], out[i]
        for j in range(len(line)):
            line[j] = above * a[j] + below * b[j]


def upsample_bilinear_backward(
    grad: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array
) -> None:
    result, rows, y, columns = geometry(out, grad, channels_last, align_corners, factor_y, factor_x)
    rows = plain(widen(rows))
    for p in range(len(rows)):
        sums = np.zeros(result.shape[1:], rows.dtype)
        _gather(rows[p], *y, *columns, sums)
        result[p] = rounded(sums, out.dtype)


@jit
def _gather(
    g: Array, r0: Array, r1: Array, h0: Array, h1: Array, c0: Array, c1: Array, w0: Array, w1: Array, sums: Array
) -> None:
    """The gradient of one plane. Outputs in ascending order give the sum of each input in ascending order."""
    tall = np.zeros((len(sums), g.shape[1]), g.dtype)
    for i in range(len(g)):
        line, above, below = g[i], h0[i], h1[i]
        to = tall[r0[i]]
        for j in range(len(line)):
            to[j] += above * line[j]
        to = tall[r1[i]]
        for j in range(len(line)):
            to[j] += below * line[j]
    for r in range(len(sums)):
        line, to = tall[r], sums[r]
        for j in range(len(line)):
            to[c0[j]] += w0[j] * line[j]
            to[c1[j]] += w1[j] * line[j]
