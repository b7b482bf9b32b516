"""The memory order of images: planes (NCHW) or channels last (NHWC), recognised by the strides."""

from __future__ import annotations

from fastdet._core import check
from fastdet._core.check import Array


def to_nchw(x: Array) -> tuple[Array, bool]:
    """HW, CHW or NCHW ``x`` as a C-contiguous 4-d array: (N, C, H, W) and False, or (N, H, W, C) and True.

    True where the channels of a pixel are neighbours in memory (torch's channels_last, NumPy's moveaxis of HWC). Such
    an image is not copied into planes.
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
    """The way back of `to_nchw`: a 4-d result as an array of ``ndim`` axes, of shape (N, C, H, W) or its end."""
    if channels_last:
        y = y.transpose(0, 3, 1, 2)
    return y[(0,) * (4 - ndim)]


def to_nhwc(x: Array) -> tuple[Array, bool]:
    """`to_nchw` for an ``x`` of shape HWC or NHWC: False (planes) only where its memory is in planes."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if not x.flags.c_contiguous:
        planes = x.transpose(0, 3, 1, 2)
        if planes.flags.c_contiguous and x.shape[3] > 1:
            return (planes if planes.flags.aligned else planes.copy()), False
    return check.require(x, None), True


def from_nhwc(y: Array, channels_last: bool, ndim: int) -> Array:
    """The way back of `to_nhwc`: a 4-d result as an array of ``ndim`` axes, of shape (N, H, W, C) or its end."""
    if not channels_last:
        y = y.transpose(0, 2, 3, 1)
    return y[(0,) * (4 - ndim)]
