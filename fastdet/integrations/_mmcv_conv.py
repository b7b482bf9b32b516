"""Deformable and masked convolutions of `mmcv._ext`, of torch operations; gradients are those of autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _columns(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """(N, C, kernel pixels, outputs): the input at the moved places. It is 0 beyond the border."""
    n, channels, height, width = x.shape
    out_h, out_w = offset.shape[2:]
    taps, count = kernel[0] * kernel[1], out_h * out_w
    moved = offset.reshape(n, groups, taps, 2, out_h, out_w)
    places = []
    for axis, out in ((0, out_h), (1, out_w)):
        grid = torch.arange(out, device=x.device) * stride[axis] - padding[axis]
        tap = torch.arange(kernel[axis], device=x.device) * dilation[axis]
        tap = (tap[:, None] if axis == 0 else tap[None]).expand(kernel).reshape(taps, 1, 1)
        places.append((tap + (grid[:, None] if axis == 0 else grid[None])) + moved[:, :, :, axis])
    y, x_at = places
    inside = (y > -1) & (y < height) & (x_at > -1) & (x_at < width)
    y, x_at = torch.where(inside, y, 0), torch.where(inside, x_at, 0)  # NaN and infinities too
    y0, x0 = y.detach().floor(), x_at.detach().floor()
    ly, lx = y - y0, x_at - x0
    source = x.reshape(n, groups, channels // groups, height * width)
    total: Tensor | float = 0.0
    for row, wy in ((y0, 1 - ly), (y0 + 1, ly)):
        for column, wx in ((x0, 1 - lx), (x0 + 1, lx)):
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = torch.where(there, row * width + column, 0).long().reshape(n, groups, 1, taps * count)
            value = source.gather(3, at.expand(-1, -1, channels // groups, -1))
            weight = torch.where(there, wy * wx, 0).reshape(n, groups, 1, taps * count)
            total = total + weight * value
    assert isinstance(total, Tensor)
    if mask is not None:
        total = total * mask.reshape(n, groups, 1, taps * count)
    return total.reshape(n, channels * taps, count)


def _convolve(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    group: int,
    deformable_group: int,
) -> Tensor:
    kernel = (weight.shape[2], weight.shape[3])
    columns = _columns(x, offset, mask, kernel, stride, padding, dilation, deformable_group)
    n, _, count = columns.shape
    columns = columns.reshape(n, group, -1, count)
    out = torch.einsum("gok,ngkp->ngop", weight.reshape(group, weight.shape[0] // group, -1), columns)
    out = out.reshape(n, weight.shape[0], *offset.shape[2:])
    return out if bias is None else out + bias[:, None, None]


def _gradients(run: Callable[..., Tensor], inputs: list[Tensor], grad_output: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(run(*leaves), leaves, grad_output.detach())


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    x, w, o = input.detach(), weight.detach(), offset.detach()
    options = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    output.copy_(_convolve(x, w, o, None, None, *options).reshape(output.shape))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    options = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    w = weight.detach()
    found = _gradients(lambda x, o: _convolve(x, w, o, None, None, *options), [input, offset], gradOutput)
    gradInput.copy_(found[0])
    gradOffset.copy_(found[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    options = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    x, o = input.detach(), offset.detach()
    found = _gradients(lambda w: _convolve(x, w, o, None, None, *options), [gradWeight], gradOutput)
    gradWeight += scale * found[0]


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    x, w, b, o, m = (t.detach() for t in (input, weight, bias, offset, mask))
    options = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group
    output.copy_(_convolve(x, w, o, m, b if with_bias else None, *options).reshape(output.shape))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    options = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group
    found = _gradients(
        lambda x, w, o, m: _convolve(x, w, o, m, None, *options), [input, weight, offset, mask], grad_output
    )
    for target, new in zip((grad_input, grad_weight, grad_offset, grad_mask), found, strict=True):
        target += new
    if with_bias:
        grad_bias += grad_output.sum((0, 2, 3))


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Columns of the named outputs only; stride and dilation are 1, and there is one image."""
    width = im.shape[3] + 2 * pad_w - kernel_w + 1
    every = F.unfold(im.detach()[:1], (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    col.copy_(every[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    im[0, :, mask_h_idx, mask_w_idx] = col.detach().reshape(channels, -1).to(im.dtype)
