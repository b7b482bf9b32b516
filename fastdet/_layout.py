"""Images in memory: planes (NCHW) or channels last (NHWC), told from each other by the strides."""

from __future__ import annotations

import numpy as np

from fastdet._check import Array


def to_nchw(x: Array) -> tuple[Array, bool]:
    """HW, CHW or NCHW ``x`` as a C-contiguous 4-d array: (N, C, H, W) and False, or (N, H, W, C) and True.

    True where the channels of a pixel are neighbours in memory (torch's channels_last, NumPy's moveaxis of HWC):
    such an image is taken as it is, not copied into planes.
    """
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if not x.flags.c_contiguous:
        last = x.transpose(0, 2, 3, 1)
        if last.flags.c_contiguous and x.shape[1] > 1:
            return (last if last.flags.aligned else last.copy()), True
    return np.require(x, None, ["C", "A"]), False


def from_nchw(y: Array, channels_last: bool, ndim: int) -> Array:
    """A 4-d result of that layout as an (N, C, H, W)-shaped array of ``ndim`` axes."""
    if channels_last:
        y = y.transpose(0, 3, 1, 2)
    return y[(0,) * (4 - ndim)]
