"""The memory order of images: planes (NCHW) or channels last (NHWC), recognised by the strides."""

from __future__ import annotations

from typing import Any

from fastdet._core import check
from fastdet._core.check import Array


def neighbours(shape: tuple[Any, ...], strides: tuple[Any, ...], order: tuple[int, ...]) -> bool:
    """Whether the axes lie in memory in this order, the first one's entries next to each other: torch's rule.

    A view of a part of an image need not be contiguous; its order still is that of the image.
    """
    reach = 0
    for axis in order:
        if shape[axis] == 0 or strides[axis] < reach or strides[axis] == 0:
            return False
        if axis == 0 and reach == strides[order[0]]:
            return False  # all other axes have one entry: any order
        reach = strides[axis] * max(shape[axis], 1)
    return True


CHANNELS_INSIDE = (1, 3, 2, 0)  # of NCHW, in channels last
CHANNELS_OUTSIDE = (2, 1, 3, 0)  # of NHWC, in planes


def to_nchw(x: Array) -> tuple[Array, bool]:
    """HW, CHW or NCHW ``x`` as a C-contiguous 4-d array: (N, C, H, W) and False, or (N, H, W, C) and True.

    True where the channels of a pixel are neighbours in memory (torch's channels_last, NumPy's moveaxis of HWC), also
    in a view of a part of such an image. Such an image is not copied into planes.
    """
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if x.flags.c_contiguous and x.flags.aligned:
        return x, False
    if not x.flags.c_contiguous:
        last = x.transpose(0, 2, 3, 1)
        if x.shape[1] > 1 and (last.flags.c_contiguous or neighbours(x.shape, x.strides, CHANNELS_INSIDE)):
            return check.require(last, None), True
    return check.require(x, None), False


def from_nchw(y: Array, channels_last: bool, ndim: int) -> Array:
    """The way back of `to_nchw`: a 4-d result as an array of ``ndim`` axes, of shape (N, C, H, W) or its end."""
    if channels_last:
        y = y.transpose(0, 3, 1, 2)
    return y[(0,) * (4 - ndim)]


def to_nhwc(x: Array) -> tuple[Array, bool]:
    """`to_nchw` for an ``x`` of shape HWC or NHWC: False (planes) only where its memory is in planes, or was."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    if not x.flags.c_contiguous:
        planes = x.transpose(0, 3, 1, 2)
        if x.shape[3] > 1 and (planes.flags.c_contiguous or neighbours(x.shape, x.strides, CHANNELS_OUTSIDE)):
            return check.require(planes, None), False
    return check.require(x, None), True


def from_nhwc(y: Array, channels_last: bool, ndim: int) -> Array:
    """The way back of `to_nhwc`: a 4-d result as an array of ``ndim`` axes, of shape (N, H, W, C) or its end."""
    if not channels_last:
        y = y.transpose(0, 2, 3, 1)
    return y[(0,) * (4 - ndim)]
