"""torchvision's deformable convolution and its gradients, composed of torch's operations, one image at a time.

A point is interpolated between four pixels, of which those outside of the map are 0; a point at or beyond -1, the
height or the width is 0. A point that is NaN is 0, where torchvision reads wild memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastdet.integrations._torchvision_ops import _HALVES, _need, _need_dtype


class _Points:
    """Where one image is looked at: (G, K, P) for G groups of channels, K taps of the kernel, P places."""

    def __init__(self, image: Tensor, offset: Tensor, taps: Tensor) -> None:
        groups, (self.height, self.width) = len(offset), image.shape[1:]
        self.pixels = image.reshape(groups, -1, self.height * self.width)  # (G, C / G, H * W)
        y, x = (taps + offset).unbind(2)
        self.y, self.x, self.top, self.left = y, x, y.floor(), x.floor()
        self.dy, self.dx = y - self.top, x - self.left
        self.inside = (y > -1) & (y < self.height) & (x > -1) & (x < self.width)

    def corner(self, down: int, right: int) -> tuple[Tensor, Tensor]:
        """The pixel of a corner of each point, (G, K * P), and whether it is on the map."""
        row, column = self.top + down, self.left + right
        there = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        at = torch.where(there, row.double() * self.width + column.double(), 0)
        return at.long().flatten(1), there

    def values(self) -> list[list[Tensor]]:
        """The values of the four corners by row and column, (G, C / G, K, P)."""

        def value(down: int, right: int) -> Tensor:
            at, there = self.corner(down, right)
            taken = self.pixels.gather(2, at[:, None].expand(-1, self.pixels.shape[1], -1))
            return torch.where(there[:, None], taken.view(*self.pixels.shape[:2], *there.shape[1:]), 0)

        return [[value(down, right) for right in (0, 1)] for down in (0, 1)]

    def interpolated(self, values: list[list[Tensor]]) -> Tensor:
        up, away = 1 - self.dy, 1 - self.dx
        total = (
            (up * away)[:, None] * values[0][0]
            + (up * self.dx)[:, None] * values[0][1]
            + (self.dy * away)[:, None] * values[1][0]
            + (self.dy * self.dx)[:, None] * values[1][1]
        )
        return torch.where(self.inside[:, None], total, 0)

    def slopes(self, values: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """By how much an interpolated value grows with y and with x."""
        (a, b), (c, d) = values
        dy, dx = self.dy[:, None], self.dx[:, None]
        return dx * (d - b) + (1 - dx) * (c - a), dy * (d - c) + (1 - dy) * (b - a)

    def spread(self, columns: Tensor, mask: Tensor | None) -> Tensor:
        """The gradient of the image from that of the interpolated values, (G, C / G, K, P)."""
        total = torch.zeros_like(self.pixels)
        for down in (0, 1):
            for right in (0, 1):
                at, there = self.corner(down, right)
                far_y, far_x = (self.y - (self.top + down)).abs(), (self.x - (self.left + right)).abs()
                near = there & (far_y < 1) & (far_x < 1)
                weight = ((1 - far_y) * (1 - far_x)) if mask is None else mask * ((1 - far_y) * (1 - far_x))
                share = torch.where(near[:, None], weight[:, None] * columns, 0)
                total.scatter_add_(2, at[:, None].expand(-1, total.shape[1], -1), share.flatten(2))
        return total


class _Convolution:
    """The sizes of a call, checked in torchvision's words."""

    def __init__(
        self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, steps: tuple[int, ...], use_mask: bool
    ) -> None:
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, self.groups, self.offset_groups = steps
        for x, name in ((input, "input"), (offset, "offset"), (weight, "weight")):
            _need(x.dim() == 4, f"deform_conv2d: {name} must have 4 axes, got {x.dim()}")
        _need(not use_mask or mask.dim() == 4, f"deform_conv2d: mask must have 4 axes, got {mask.dim()}")
        batch, channels, height, width = input.shape
        kernel_h, kernel_w = weight.shape[2:]
        self.taps = kernel_h * kernel_w
        _need(kernel_h > 0 and kernel_w > 0, f"weight_h: {kernel_h} weight_w: {kernel_w}")
        _need(stride_h > 0 and stride_w > 0, f"stride_h: {stride_h} stride_w: {stride_w}")
        _need(pad_h >= 0 and pad_w >= 0, f"pad_h: {pad_h} pad_w: {pad_w}")
        _need(dilation_h > 0 and dilation_w > 0, f"dilation_h: {dilation_h} dilation_w: {dilation_w}")
        self.out_h = (height + 2 * pad_h - (dilation_h * (kernel_h - 1) + 1)) // stride_h + 1
        self.out_w = (width + 2 * pad_w - (dilation_w * (kernel_w - 1) + 1)) // stride_w + 1
        text = "deform_conv2d: channels of input must be those of weight times the groups"
        _need(weight.size(1) * self.groups == channels and weight.size(0) % self.groups == 0, text)
        wanted = self.offset_groups * 2 * self.taps
        _need(offset.size(1) == wanted, f"offset.shape[1] is not valid: got: {offset.size(1)} expected: {wanted}")
        wanted = self.offset_groups * self.taps
        _need(
            not use_mask or mask.size(1) == wanted,
            f"mask.shape[1] is not valid: got: {mask.size(1) if use_mask else 0} expected: {wanted}",
        )
        text = "deform_conv2d: channels of input must be a multiple of the groups of offset"
        _need(channels % self.offset_groups == 0, text)
        _need(offset.size(0) == batch, "invalid batch size of offset")
        computed = f"computed output dims: ({self.out_h}, {self.out_w})"
        size = tuple(offset.shape[2:])
        _need(size == (self.out_h, self.out_w), f"offset output dims: {size} - {computed}")
        _need(mask.size(0) == batch, "invalid batch size of mask")
        size = tuple(mask.shape[2:])
        _need(not use_mask or size == (self.out_h, self.out_w), f"mask output dims: {size} - {computed}")
        text = f"Calculated output size too small - out_h: {self.out_h} out_w: {self.out_w}"
        _need(self.out_h > 0 and self.out_w > 0, text)
        for x in (weight, offset, mask):
            _need(x.dtype == input.dtype, f"expected scalar type {input.dtype} but found {x.dtype}")
        if batch:
            _need_dtype("deformable_im2col", input, _HALVES)

        def steps_of(count: int, stride: int, pad: int, taps: int, dilation: int) -> Tensor:
            """(taps, count): where each tap looks for each place of the result, before its offset."""
            place = torch.arange(count, device=input.device) * stride - pad
            return torch.arange(taps, device=input.device)[:, None] * dilation + place

        y = steps_of(self.out_h, stride_h, pad_h, kernel_h, dilation_h)[:, None, :, None]
        x = steps_of(self.out_w, stride_w, pad_w, kernel_w, dilation_w)[None, :, None, :]
        both = torch.stack([y.expand(-1, kernel_w, -1, self.out_w), x.expand(kernel_h, -1, self.out_h, -1)], 2)
        self.places = both.reshape(1, self.taps, 2, -1).to(input.dtype)
        self.kernel = weight.reshape(self.groups, weight.size(0) // self.groups, -1)  # (groups, O / g, C / g * K)

    def points(self, image: Tensor, offset: Tensor) -> _Points:
        return _Points(image, offset.reshape(self.offset_groups, self.taps, 2, -1), self.places)

    def mask(self, mask: Tensor, use_mask: bool) -> Tensor | None:
        return mask.reshape(self.offset_groups, self.taps, -1) if use_mask else None

    def grouped(self, columns: Tensor) -> Tensor:
        """(G, C / G, K, P) as (groups, C / groups * K, P)."""
        return columns.reshape(self.groups, -1, columns.shape[-1])


def deform_conv2d(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *options: Any) -> Tensor:
    *steps, use_mask = options
    made = _Convolution(input, weight, offset, mask, tuple(steps), use_mask)
    out = input.new_zeros((input.size(0), weight.size(0), made.out_h, made.out_w))
    for i in range(len(input)):
        points = made.points(input[i], offset[i])
        columns = points.interpolated(points.values())
        factor = made.mask(mask[i], use_mask)
        columns = columns if factor is None else factor[:, None] * columns
        out[i] = (made.kernel @ made.grouped(columns)).view(out.shape[1:])
    return out + bias.view(1, -1, 1, 1)


def deform_conv2d_backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *options: Any
) -> tuple[Tensor, ...]:
    """The gradients of input, weight, offset, mask and bias."""
    *steps, use_mask = options
    made = _Convolution(input, weight, offset, mask, tuple(steps), use_mask)
    to_input, to_offset, to_mask = (torch.zeros_like(x, memory_format=torch.contiguous_format)
                                    for x in (input, offset, mask))  # fmt: skip
    to_kernel = torch.zeros_like(made.kernel)
    for i in range(len(input)):
        points, factor = made.points(input[i], offset[i]), made.mask(mask[i], use_mask)
        values = points.values()
        own = grad[i].reshape(made.groups, -1, made.out_h * made.out_w)
        plain = points.interpolated(values)
        to_kernel += own @ made.grouped(plain if factor is None else factor[:, None] * plain).transpose(1, 2)
        columns = (made.kernel.transpose(1, 2) @ own).view(plain.shape)
        slopes = (x if factor is None else factor[:, None] * x for x in points.slopes(values))
        to_offset[i] = torch.stack([(x * columns).sum(1) for x in slopes], 2).view(to_offset.shape[1:])
        if factor is not None:
            to_mask[i] = (columns * plain).sum(1).view(to_mask.shape[1:])
        to_input[i] = points.spread(columns, factor).view(to_input.shape[1:])
    return to_input, to_kernel.view(weight.shape), to_offset, to_mask, torch.ones_like(bias) * grad.sum((0, 2, 3))
