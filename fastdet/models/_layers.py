"""Parts that several networks share: fastdet's ops with torch's fallback, blocks, initial weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fastdet import losses, pool, upsample
from fastdet._core import backends


def without_kernels(x: Tensor) -> bool:
    """Whether ``x`` is on a GPU and this build of fastdet has no CUDA kernels; then torch's own ops are used."""
    return x.is_cuda and bool(backends.cuda_available())


def checks_sizes(x: Any) -> bool:
    """Whether an if may look at the sizes of ``x``.

    Not in `torch.jit.trace`, which writes one outcome down for all images, and not in `torch.fx.symbolic_trace`, which
    has no sizes.
    """
    if isinstance(x, fx.Proxy):
        return False
    return bool(torch.compiler.is_compiling()) or torch._C._get_tracing_state() is None


_is_exporting: Any = getattr(torch.compiler, "is_exporting", bool)  # torch 2.7 or later


def any_size(x: Any) -> bool:
    """Whether a network must take the branch that is right for any size: in a trace and in an export."""
    return bool(_is_exporting()) or not checks_sizes(x)


F_ = TypeVar("F_", bound=Callable[..., Any])


def leaf(function: F_) -> F_:
    """The function as one node of `torch.fx.symbolic_trace`, which cannot look into it."""

    @wraps(function)
    def call(x: Any, *args: Any, **options: Any) -> Any:
        if isinstance(x, fx.Proxy):
            return x.tracer.create_proxy("call_function", call, (x, *args), options)
        return function(x, *args, **options)

    return cast(F_, call)


@leaf
def max_pool2d(x: Tensor, kernel: int = 2, stride: int | None = None, padding: int = 0, ceil_mode: bool = False) -> Any:
    """Maxima and their indices, for `max_unpool2d` with the same window."""
    if without_kernels(x):
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    return pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, compact=not torch.onnx.is_in_onnx_export())


@leaf
def max_unpool2d(x: Tensor, indices: Tensor, size: Any, kernel: int = 2) -> Tensor:
    """``x`` at its indices in an image of ``size`` (height, width), zeros elsewhere."""
    if without_kernels(x):
        return F.max_unpool2d(x, indices, [kernel, kernel], output_size=size)
    image: Tensor = pool.max_unpool2d(x, indices, kernel, output_size=size)
    return image


@leaf
def upsample_bilinear(x: Tensor, size: Any, align_corners: bool = False) -> Tensor:
    """``x`` resampled to ``size`` (height, width)."""
    if without_kernels(x):
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    image: Tensor = upsample.upsample_bilinear(x, size, align_corners=align_corners)
    return image


@leaf
def adaptive_mean(x: Tensor, bins: int) -> Tensor:
    """Means over bins x bins parts of the map, as `torch.nn.functional.adaptive_avg_pool2d`.

    ONNX has no such op: there they are two products with the weights of rows and columns.
    """
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_avg_pool2d(x, bins)
    part = torch.arange(bins, device=x.device)[:, None]
    weights = []
    for length in x.shape[-2:]:
        start, end = part * length // bins, ((part + 1) * length + bins - 1) // bins
        at = torch.arange(length, device=x.device)
        weights.append(((at >= start) & (at < end)).to(x.dtype) / (end - start).to(x.dtype))
    return weights[0] @ x @ weights[1].T


class AdaptiveMean(nn.Module):
    """`adaptive_mean`, as a layer."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_mean(x, self.bins)


def cross_entropy(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Softmax cross-entropy of (N, C, ...) logits."""
    if without_kernels(logits):
        return F.cross_entropy(logits, target, reduction=reduction)
    loss: Tensor = losses.cross_entropy(logits, target, reduction=reduction)
    return loss


@leaf
def max_values(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False) -> Tensor:
    """`max_pool2d` without indices."""
    if without_kernels(x):
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    values: Tensor = pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=False)
    return values


class MaxPool2d(nn.Module):
    """`max_values`, as a layer."""

    def __init__(self, kernel: int = 2, stride: int | None = None, padding: int = 0, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.ceil_mode = kernel, stride, padding, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return max_values(x, self.kernel, self.stride, self.padding, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"{self.kernel}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


def scaled(channels: int, width: float) -> int:
    """Channels scaled by ``width`` and rounded; at least 1."""
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
    """Convolution that keeps the size (divided by the stride), batch normalisation, and ReLU if ``relu``."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *[nn.ReLU(inplace=True)] * relu)


def initialise(network: nn.Module) -> None:
    """Initialise for ReLU: He's normal weights in every convolution and Linear layer, biases 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def convert_linear(linear: nn.Linear, kernel: int = 1, padding: int = 0) -> nn.Conv2d:
    """Convert a Linear layer on flattened (channels, kernel, kernel) maps to the convolution that equals it.

    On a map of kernel x kernel cells the convolution gives what ``linear`` gives; on a larger one it gives that for
    every window.

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
    TypeError   linear is not a Linear layer
    ValueError  the number of inputs is not a multiple of kernel * kernel

    Notes
    -----
    Source: Long et al., "Fully Convolutional Networks", 2015, section 3.1.

    Examples
    --------
    >>> convert_linear(nn.Linear(512 * 7 * 7, 4096), 7)
    Conv2d(512, 4096, kernel_size=(7, 7), stride=(1, 1))
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


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits."""
    if without_kernels(logits):
        return F.binary_cross_entropy_with_logits(logits, target)
    loss: Tensor = losses.sigmoid_focal_loss(logits, target, -1.0, 0.0, "mean")
    return loss


def sigmoid_focal_sum(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum of RetinaNet's focal loss."""
    if without_kernels(logits):
        right = torch.where(target > 0, logits, -logits)
        weight = torch.where(target > 0, alpha, 1 - alpha) * torch.sigmoid(-right) ** gamma
        return -(weight * F.logsigmoid(right)).sum()
    loss: Tensor = losses.sigmoid_focal_loss(logits, target, alpha, gamma, "sum")
    return loss
