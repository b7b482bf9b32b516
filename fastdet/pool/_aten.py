"""Pooling and unpooling in aten's ops, for ONNX: a MaxPool with indices, and a ScatterElements by them.

A window is (kernel, stride, padding), each (height, width).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


def max_pool2d(x: Any, window: Any, ceil_mode: bool, compact: bool, return_indices: bool) -> Any:
    lead = 4 - x.ndim
    kernel, stride, padding = window
    options: Any = {"ceil_mode": ceil_mode, "return_indices": return_indices}
    pooled: Any = F.max_pool2d(x[(None,) * lead], kernel, stride, padding, **options)
    if not return_indices:
        return pooled[(0,) * lead]
    values, indices = (y[(0,) * lead] for y in pooled)
    if compact:
        top, left = _corners(indices, stride, padding)
        row, column = indices // x.shape[-1] - top, indices % x.shape[-1] - left
        indices = (row * kernel[1] + column).to(torch.uint8)
    return values, indices


def max_unpool2d(x: Any, indices: Any, window: Any, output_size: Any, zero_point: int) -> Any:
    kernel, stride, padding = window
    if output_size is None:
        sides = zip(x.shape[-2:], kernel, stride, padding, strict=True)
        output_size = [(n - 1) * step - 2 * pad + side for n, side, step, pad in sides]
    height, width = output_size[-2:]
    if indices.dtype == torch.uint8:
        place = indices.to(torch.int64)
        top, left = _corners(indices, stride, padding)
        indices = (place // kernel[1] + top) * width + place % kernel[1] + left
    lead = list(x.shape[:-2])
    flat = x.new_full([*lead, height * width], zero_point).scatter(-1, indices.flatten(-2), x.flatten(-2))
    return flat.reshape([*lead, height, width])


def _corners(indices: Any, stride: Any, padding: Any) -> tuple[Any, Any]:
    """The row of each window's upper left corner, (h, 1), and its column, (w,)."""
    y, x = (torch.arange(n, device=indices.device) for n in indices.shape[-2:])
    return (y * stride[0] - padding[0])[:, None], x * stride[1] - padding[1]
