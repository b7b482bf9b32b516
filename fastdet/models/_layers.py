"""What several networks are made of: fastdet's ops as they are called here, blocks, weights to start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet import losses, pool, upsample
from fastdet._core import backends


def without_kernels(x: Tensor) -> bool:
    """Whether ``x`` is on a GPU for which this build of fastdet has no kernels: torch's own do the same there."""
    return x.is_cuda and bool(backends.cuda_available())


def max_pool2d(x: Tensor, kernel: int = 2, stride: int | None = None, padding: int = 0, ceil_mode: bool = False) -> Any:
    """Maxima and where they were, for `max_unpool2d` with the same window."""
    if without_kernels(x):
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    return pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, compact=True)


def max_unpool2d(x: Tensor, indices: Tensor, size: Any, kernel: int = 2) -> Tensor:
    """``x`` back at its places in an image of ``size`` (height, width), zeros elsewhere."""
    if without_kernels(x):
        return F.max_unpool2d(x, indices, [kernel, kernel], output_size=size)
    image: Tensor = pool.max_unpool2d(x, indices, kernel, output_size=size)
    return image


def upsample_bilinear(x: Tensor, size: Any, align_corners: bool = False) -> Tensor:
    """``x`` resampled to ``size`` (height, width)."""
    if without_kernels(x):
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    image: Tensor = upsample.upsample_bilinear(x, size, align_corners=align_corners)
    return image


def cross_entropy(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Softmax cross-entropy of (N, C, ...) logits."""
    if without_kernels(logits):
        return F.cross_entropy(logits, target, reduction=reduction)
    loss: Tensor = losses.cross_entropy(logits, target, reduction=reduction)
    return loss


class MaxPool2d(nn.Module):
    """`max_pool2d` without indices, as a layer."""

    def __init__(self, kernel: int = 2, stride: int | None = None, padding: int = 0, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.ceil_mode = kernel, stride, padding, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        if without_kernels(x):
            return F.max_pool2d(x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        options: Any = {"ceil_mode": self.ceil_mode, "return_indices": False}
        values: Tensor = pool.max_pool2d(x, self.kernel, self.stride, self.padding, **options)
        return values

    def extra_repr(self) -> str:
        return f"{self.kernel}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


def scaled(channels: int, width: float) -> int:
    """Channels of a network of another width; at least 1."""
    if not 0 < width < float("inf"):
        raise ValueError(f"width must be above 0 and finite, got {width}")
    return max(1, round(channels * width))


def conv_norm_relu(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    *,
    relu: bool = True,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution that keeps the size (divided by the stride), batch normalisation, ReLU unless it is False."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *[nn.ReLU(inplace=True)] * relu)


def initialise(network: nn.Module) -> None:
    """He's normal weights in every convolution and Linear layer, biases 0: what layers before a ReLU start from."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def convert_linear(linear: nn.Linear, kernel: int = 1, padding: int = 0) -> nn.Conv2d:
    """The convolution that does to every window what ``linear`` does to one flattened (channels, kernel, kernel) map.

    Parameters
    ----------
    linear : (outputs, channels * kernel * kernel)
    kernel : side of the maps that ``linear`` was trained on, cells
    padding : cells of zeros around the image

    Returns
    -------
    conv : weights and bias are copies of ``linear``'s, weights of shape (outputs, channels, kernel, kernel)

    Raises
    ------
    TypeError   linear is no Linear layer
    ValueError  inputs that are no multiple of kernel * kernel

    Notes
    -----
    Source: Long et al., "Fully Convolutional Networks", 2015, section 3.1.
    """
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"convert_linear: linear must be a Linear layer, got {type(linear).__name__}")
    if kernel < 1:
        raise ValueError(f"convert_linear: kernel must be 1 or more, got {kernel}")
    channels, rest = divmod(linear.in_features, kernel * kernel)
    if rest:
        raise ValueError(
            f"convert_linear: linear must have a multiple of {kernel * kernel} inputs, got {linear.in_features}"
        )
    conv = nn.Conv2d(channels, linear.out_features, kernel, padding=padding, bias=linear.bias is not None)
    with torch.no_grad():
        conv.weight.copy_(linear.weight.view_as(conv.weight))
        if conv.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv.to(linear.weight)
