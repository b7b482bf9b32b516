"""Bilinear resampling of the CUDA backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray

MAX_SIZE = 2**30  # rows, and values of a row: the kernels count them in 32 bits


def upsample_bilinear(
    x: DeviceArray, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: DeviceArray
) -> None:
    _resample("upsample_bilinear", native.upsample_bilinear, x, out, x, out, channels_last, align_corners, factor_y,
              factor_x)  # fmt: skip


def upsample_bilinear_backward(
    grad: DeviceArray, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: DeviceArray
) -> None:
    _resample("upsample_bilinear_backward", native.upsample_bilinear_backward, grad, out, out, grad, channels_last,
              align_corners, factor_y, factor_x)  # fmt: skip


def _resample(
    op: str,
    kernel: Callable[..., None],
    source: DeviceArray,
    result: DeviceArray,
    small: DeviceArray,
    large: DeviceArray,
    channels_last: bool,
    *options: Any,
) -> None:
    """Call ``kernel`` from ``source`` to ``result``. ``small`` and ``large``: input and result of the forward pass."""
    n, c, *_ = small.shape
    planes, channels = (n, small.shape[3]) if channels_last else (n * c, 1)
    sizes = [*small.shape[1:3], *large.shape[1:3]] if channels_last else [*small.shape[2:], *large.shape[2:]]
    if max(*sizes, sizes[1] * channels, sizes[3] * channels) >= MAX_SIZE:
        shapes = f"{small.shape} and {large.shape}"
        raise ValueError(f"{op}: images on a GPU must have below 2^30 rows and values a row, got {shapes}")
    kernel(source.dtype.char, source.pointer, planes, channels, *sizes, *options, result.pointer, *source.where)
