"""Bilinear resampling, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._check import Array

__all__: list[str] = []


def taps(
    size: int, out: int, align_corners: bool, scale_factor: float, dtype: np.dtype[Any]
) -> tuple[Array, Array, Array, Array]:
    """Along one axis, output i is ``w0[i] * x[i0[i]] + w1[i] * x[i1[i]]``: (i0, i1, w0, w1).

    torch's rule, in ``dtype`` (float32 or float64). scale_factor <= 0: from the sizes.
    """
    one, half = dtype.type(1), dtype.type(0.5)
    dst = np.arange(out)
    if size == out:
        return dst, dst, np.ones(out, dtype), np.zeros(out, dtype)
    if align_corners:
        at = (dtype.type(size - 1) / dtype.type(out - 1) if out > 1 else dtype.type(0)) * dst.astype(dtype)
    else:
        step = dtype.type(1.0 / scale_factor) if scale_factor > 0 else dtype.type(size) / dtype.type(out)
        at = np.maximum(step * (dst.astype(dtype) + half) - half, 0)
    i0 = np.minimum(at.astype(np.int64), size - 1)
    w1 = np.minimum(at - i0.astype(dtype), one)
    return i0, np.minimum(i0 + 1, size - 1), one - w1, w1
