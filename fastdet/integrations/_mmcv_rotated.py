"""Rotated RoIAlign of `mmcv._ext`, of torch operations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastdet.integrations._mmcv_nms import computed
from fastdet.integrations._mmcv_roi import Bins, Taps, bins_of, by_pixel, check_images, checked_sides, taps


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Write the mean of the samples of each bin of RoIs ``image cx cy w h radians`` into ``output``."""
    x, pooled = computed(input), (pooled_height, pooled_width)
    boxes = computed(rois).to(x.dtype)
    images = check_images("roi_align_rotated", boxes, len(x))
    height, width = x.shape[2:]
    planes, total = by_pixel(x), x.new_zeros(len(boxes), *pooled, x.shape[1])
    bins = _bins(boxes, pooled, spatial_scale, sampling_ratio, aligned)
    for rows, at in _samples(boxes, bins, pooled, spatial_scale, aligned, clockwise, height, width):
        first = images[rows, None, None] * height * width
        places = torch.stack([first + place for place in at.places], -1).reshape(-1, 4)
        weights = torch.stack(at.weights, -1).reshape(-1, 4)  # four pixels are added in one pass over memory
        found = F.embedding_bag(places, planes, mode="sum", per_sample_weights=weights)
        total.index_add_(0, rows, found.reshape(len(rows), *pooled, -1))
    count = bins.grid.prod(1).clamp(min=1).to(x.dtype)
    output.copy_((total / count[:, None, None, None]).permute(0, 3, 1, 2))


def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Add the gradient of the features to ``grad_input``: each sample gives its weights back."""
    grad, pooled = computed(grad_output).permute(0, 2, 3, 1), (pooled_height, pooled_width)
    boxes = computed(rois).to(grad.dtype)
    count, channels, height, width = grad_input.shape
    images = check_images("roi_align_rotated", boxes, count)
    bins = _bins(boxes, pooled, spatial_scale, sampling_ratio, aligned)
    grad = grad / bins.grid.prod(1).clamp(min=1).to(grad.dtype)[:, None, None, None]
    planes = grad.new_zeros(count * height * width, channels)
    for rows, at in _samples(boxes, bins, pooled, spatial_scale, aligned, clockwise, height, width):
        some, first = grad[rows], images[rows, None, None] * height * width
        for place, weight in zip(*at, strict=True):
            planes.index_add_(0, (first + place).flatten(), (weight[..., None] * some).reshape(-1, channels))
    grad_input += planes.reshape(count, height, width, channels).permute(0, 3, 1, 2).to(grad_input.dtype)


def _bins(boxes: Tensor, pooled: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool) -> Bins:
    sides = boxes[:, 3:5].flip(1) * float(np.float32(spatial_scale))
    sides = checked_sides("roi_align_rotated", sides, aligned)
    return bins_of(-sides / 2, sides, pooled, sampling_ratio)


def _samples(
    boxes: Tensor,
    bins: Bins,
    pooled: tuple[int, int],
    spatial_scale: float,
    aligned: bool,
    clockwise: bool,
    height: int,
    width: int,
) -> Iterator[tuple[Tensor, Taps]]:
    """The samples of the upright RoI at the origin are turned, then moved to its centre."""
    centres = boxes[:, 1:3] * float(np.float32(spatial_scale)) - (0.5 if aligned else 0.0)
    theta = -boxes[:, 5] if clockwise else boxes[:, 5]
    cos, sin = torch.cos(theta), torch.sin(theta)
    for rows, y, x in bins.samples(pooled):
        c, s, cx, cy = (v[rows, None, None] for v in (cos, sin, centres[:, 0], centres[:, 1]))
        y, x = y[:, :, None], x[:, None]
        yield rows, taps(y * c - x * s + cy, y * s + x * c + cx, height, width)
