"""Images in memory: planes (NCHW) or channels last (NHWC), told from each other by the strides."""

from __future__ import annotations

from fastdet._core import check
from fastdet._core.check import Array


def to_nchw(x: Array) -> tuple[Array, bool]:
    """HW, CHW or NCHW ``x`` as a C-contiguous 4-d array: (N, C, H, W) and False, or (N, H, W, C) and True.

    True where the channels of a pixel are neighbours in memory (torch's channels_last, NumPy's moveaxis of HWC):
    such an image is taken as it is, not copied into planes.
    """
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if x.flags.c_contiguous and x.flags.aligned:
        return x, False
    if not x.flags.c_contiguous:
        last = x.transpose(0, 2, 3, 1)
        if last.flags.c_contiguous and x.shape[1] > 1:
            return (last if last.flags.aligned else last.copy()), True
    return check.require(x, None), False


def from_nchw(y: Array, channels_last: bool, ndim: int) -> Array:
    """A 4-d result of that layout as an (N, C, H, W)-shaped array of ``ndim`` axes."""
    if channels_last:
        y = y.transpose(0, 3, 1, 2)
    return y[(0,) * (4 - ndim)]


def to_nhwc(x: Array) -> tuple[Array, bool]:
    """`to_nchw` for an ``x`` of shape HWC or NHWC: planes (False) only where its memory is that."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if not x.flags.c_contiguous:
        planes = x.transpose(0, 3, 1, 2)
        if planes.flags.c_contiguous and x.shape[3] > 1:
            return (planes if planes.flags.aligned else planes.copy()), False
    return check.require(x, None), True


def from_nhwc(y: Array, channels_last: bool, ndim: int) -> Array:
    """A 4-d result of that layout as an (N, H, W, C)-shaped array of ``ndim`` axes."""
    if not channels_last:
        y = y.transpose(0, 2, 3, 1)
    return y[(0,) * (4 - ndim)]
