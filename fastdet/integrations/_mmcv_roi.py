"""RoIAlign and RoIPool of `mmcv._ext`. The mean is fastdet's kernel, the maximum and RoIPool are torch operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import fastdet.roi
from fastdet.integrations._mmcv_nms import computed

LOWEST = -10000.0  # a maximum that no sample is above
MAX_GRID = 2048  # samples of a bin along an axis


class Taps(NamedTuple):
    """The four pixels of bilinear samples, and their weights: 0 outside of the map."""

    places: tuple[Tensor, ...]  # y * W + x
    weights: tuple[Tensor, ...]


def taps(y: Tensor, x: Tensor, height: int, width: int) -> Taps:
    """Samples within a pixel of the border repeat it; those beyond are 0."""
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)  # NaN is outside
    y, x = (torch.where(inside, v, 0).clamp(min=0) for v in (y, x))
    lows, highs, parts = [], [], []
    for v, size in ((y, height), (x, width)):
        low = v.long().clamp(max=size - 1)
        lows.append(low)
        highs.append((low + 1).clamp(max=size - 1))
        parts.append(torch.where(low >= size - 1, 0, v - low))
    (y0, x0), (y1, x1), (ly, lx) = lows, highs, parts
    hy, hx = 1 - ly, 1 - lx
    places = (y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1)
    return Taps(places, tuple(torch.where(inside, w, 0) for w in (hy * hx, hy * lx, ly * hx, ly * lx)))


def sample(planes: Tensor, images: Tensor, at: Taps) -> Tensor:
    """Interpolated features, (..., C): ``planes`` is (N * H * W, C), ``images`` the first row of each sample's map."""
    total = None
    for place, weight in zip(*at, strict=True):
        term = weight[..., None] * planes[images + place]
        total = term if total is None else total + term
    assert total is not None
    return total


def by_pixel(input: Tensor) -> Tensor:
    """(N * H * W, C): a row for each pixel."""
    return input.permute(0, 2, 3, 1).reshape(-1, input.shape[1])


def check_images(op: str, rois: Tensor, count: int) -> Tensor:
    """The image of each RoI. mmcv reads beyond the maps for an image that is not there."""
    images = rois[:, 0].long()
    if len(rois) and not (int(images.min()) >= 0 and int(images.max()) < count):
        bad = images[(images < 0) | (images >= count)][0]
        raise ValueError(f"{op}: the image of a RoI must be in [0, {count}), got {int(bad)}")
    return images


class Bins(NamedTuple):
    """The grid of samples of RoIs."""

    start: Tensor  # (R, 2) y, x
    size: Tensor  # (R, 2) of a bin
    grid: Tensor  # (R, 2) samples in a bin

    def samples(self, pooled: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each place in a bin's grid: the RoIs that have it, and y (r, PH) and x (r, PW) of their samples."""
        most = self.grid.amax(0).tolist() if len(self.grid) else [0, 0]
        if max(most) > MAX_GRID:
            raise ValueError(f"roi_align: a bin has {max(most)} samples along an axis, at most {MAX_GRID} are taken")
        steps = [torch.arange(n, device=self.start.device) for n in pooled]
        for iy in range(most[0]):
            for ix in range(most[1]):
                rows = ((self.grid[:, 0] > iy) & (self.grid[:, 1] > ix)).nonzero()[:, 0]
                y, x = (
                    self.start[rows, k, None]
                    + steps[k] * self.size[rows, k, None]
                    + (i + 0.5) * self.size[rows, k, None] / self.grid[rows, k, None]
                    for k, i in ((0, iy), (1, ix))
                )
                yield rows, y, x


def bins_of(start: Tensor, sides: Tensor, pooled: tuple[int, int], sampling_ratio: int) -> Bins:
    """``sides`` are (R, 2), height and width of the RoIs."""
    size = sides / sides.new_tensor(pooled)
    grid = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else size.ceil()
    return Bins(start, size, grid.long())


def checked_sides(op: str, sides: Tensor, aligned: bool) -> Tensor:
    if not aligned:
        return torch.where(sides > 1, sides, 1)  # NaN too
    if not bool((sides >= 0).all()):
        bad = sides[~(sides >= 0)][0]
        raise RuntimeError(f"{op}: with aligned=True a RoI must have sides of 0 or more, got {float(bad)}")
    return sides


def _upright(op: str, rois: Tensor, spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    corners = rois[:, 1:] * float(np.float32(spatial_scale)) - (0.5 if aligned else 0.0)
    start = corners[:, :2].flip(1)
    return start, checked_sides(op, corners[:, 2:].flip(1) - start, aligned)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the maximum (mode 0) or the mean (mode 1) of the samples of each bin into ``output``."""
    x, boxes, pooled = computed(input), computed(rois).to(computed(input).dtype), (aligned_height, aligned_width)
    images = check_images("roi_align", boxes, len(x))
    start, sides = _upright("roi_align", boxes, spatial_scale, aligned)
    if pool_mode == 1:
        scale = float(np.float32(spatial_scale))
        found = fastdet.roi.roi_align(x, boxes, pooled, scale, max(sampling_ratio, 0), bool(aligned))
        output.copy_(found)
        return
    planes, (height, width) = by_pixel(x), x.shape[2:]
    shape = (len(boxes), *pooled, x.shape[1])
    best, best_y, best_x = (x.new_full(shape, value) for value in (LOWEST, -1.0, -1.0))
    for rows, y, at_x in bins_of(start, sides, pooled, sampling_ratio).samples(pooled):
        y, at_x = y[:, :, None].expand(-1, -1, pooled[1]), at_x[:, None].expand(-1, pooled[0], -1)
        value = sample(planes, images[rows, None, None] * height * width, taps(y, at_x, height, width))
        above = value > best[rows]
        for target, new in ((best, value), (best_y, y[..., None]), (best_x, at_x[..., None])):
            target[rows] = torch.where(above, new, target[rows])
    for result, found in ((output, best), (argmax_y, best_y), (argmax_x, best_x)):
        result.copy_(found.permute(0, 3, 1, 2))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of the features to ``grad_input``."""
    grad, boxes, pooled = computed(grad_output), computed(rois).to(computed(grad_output).dtype), grad_output.shape[2:]
    images = check_images("roi_align", boxes, len(grad_input))
    if pool_mode == 1:
        _upright("roi_align", boxes, spatial_scale, aligned)
        scale, shape = float(np.float32(spatial_scale)), tuple(grad_input.shape)
        grad_input += fastdet.roi.roi_align_backward(
            grad, boxes, shape, scale, max(sampling_ratio, 0), bool(aligned)
        ).to(grad_input.dtype)
        return
    count, channels, height, width = grad_input.shape
    y, x = computed(argmax_y).to(grad.dtype), computed(argmax_x).to(grad.dtype)
    at = taps(torch.where(y == -1, -2.0, y), x, height, width)  # -1: no sample was a maximum
    planes = images[:, None] * channels + torch.arange(channels, device=images.device)
    flat = grad.new_zeros(count * channels * height * width)
    for place, weight in zip(*at, strict=True):
        flat.index_add_(0, (planes[..., None, None] * height * width + place).flatten(), (grad * weight).flatten())
    assert tuple(pooled) == (aligned_height, aligned_width)
    grad_input += flat.reshape(grad_input.shape).to(grad_input.dtype)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the maximum of the pixels of each bin into ``output``, and its place, -1 where a bin is empty."""
    x, boxes, pooled = computed(input), computed(rois).to(computed(input).dtype), (pooled_height, pooled_width)
    images = check_images("roi_pool", boxes, len(x))
    height, width = x.shape[2:]
    scale = float(np.float32(spatial_scale))
    start, end = boxes[:, 1:3].flip(1) * scale, (boxes[:, 3:].flip(1) + 1) * scale
    edges = []
    for k, size in ((0, height), (1, width)):
        step, length = torch.arange(pooled[k], device=x.device), (end - start)[:, k, None] / pooled[k]
        low, high = step * length + start[:, k, None], (step + 1) * length + start[:, k, None]
        edges.append([v.nan_to_num(0).clamp(0, size).long() for v in (low.floor(), high.ceil())])
    (y0, y1), (x0, x1) = edges
    good = ((end - start) > 0).all(1).tolist()
    best, place = x.new_zeros(output.shape), torch.full(output.shape, -1, dtype=torch.int64, device=x.device)
    lowest = float(np.finfo(np.float32).min)  # a pixel that is not above it, or NaN, is no maximum
    numbers = torch.where(x.isnan(), -torch.inf, x)
    rows = [(low.tolist(), high.tolist()) for low, high in ((y0, y1), (x0, x1))]
    for n, image in enumerate(images.tolist()):
        down, across = (
            [(k, a, b) for k, (a, b) in enumerate(zip(low[n], high[n], strict=True)) if b > a] for low, high in rows
        )
        if not (good[n] and down and across):
            continue
        first = down[0][1]
        crop = numbers[image, :, first : down[-1][2]]
        by_row = [crop[:, :, a:b].max(2) for _, a, b in across]  # the first of equal ones
        tall = torch.stack([value for value, _ in by_row], 2)
        columns = torch.stack([at + a for (_, at), (_, a, _) in zip(by_row, across, strict=True)], 2)
        steps = [j for j, _, _ in across]
        for i, a, b in down:
            value, at = tall[:, a - first : b - first].max(1)
            column = columns[:, a - first : b - first].gather(1, at[:, None])[:, 0]
            best[n, :, i, steps] = value.clamp(min=lowest)
            place[n, :, i, steps] = torch.where(value > lowest, (at + a) * width + column, -1)
    output.copy_(best)
    argmax.copy_(place)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each gradient to ``grad_input`` at the place of its maximum."""
    grad, (count, channels, height, width) = computed(grad_output), grad_input.shape
    images = check_images("roi_pool", computed(rois), count)
    planes = images[:, None] * channels + torch.arange(channels, device=images.device)
    places, found = argmax.long(), argmax >= 0
    flat = grad.new_zeros(count * channels * height * width)
    flat.index_add_(0, (planes[..., None, None] * height * width + places)[found], grad[found])
    grad_input += flat.reshape(grad_input.shape).to(grad_input.dtype)
