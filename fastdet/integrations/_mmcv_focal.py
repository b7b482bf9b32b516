"""Focal losses of `mmcv._ext`, by the formulas of its CUDA kernels: it has none for the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastdet.integrations._mmcv_nms import computed

SMALLEST = torch.finfo(torch.float32).tiny  # of the argument of a logarithm


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each class into ``output``. A target of C, or any other number outside, is background."""
    p, hit = _sigmoid(input, target)
    positive = (1 - p) ** gamma * p.clamp(min=SMALLEST).log()
    negative = p**gamma * (1 - p).clamp(min=SMALLEST).log()
    loss = torch.where(hit, -alpha * positive, -(1 - alpha) * negative)
    output.copy_(loss * _weights("sigmoid_focal_loss", weight, target)[:, None] if weight.numel() else loss)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    p, hit = _sigmoid(input, target)
    positive = (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=SMALLEST).log())
    negative = p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=SMALLEST).log() - p)
    grad = torch.where(hit, -alpha * positive, -(1 - alpha) * negative)
    grad_input.copy_(grad * _weights("sigmoid_focal_loss", weight, target)[:, None] if weight.numel() else grad)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """``input`` is the softmax. A target below 0 is ignored: its loss is 0."""
    p, valid, label = _softmax(input, target)
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=SMALLEST).log()
    output.copy_(_kept("softmax_focal_loss", loss, valid, weight, label))


def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    p, valid, label = _softmax(input, target)
    slope = -((1 - p) ** gamma) + gamma * (1 - p) ** (gamma - 1) * p * p.clamp(min=SMALLEST).log()
    buff.copy_(_kept("softmax_focal_loss", alpha * slope, valid, weight, label))
    hit = torch.nn.functional.one_hot(label, input.shape[1]) * valid[:, None]
    grad_input.copy_(torch.where(valid[:, None], buff.to(p.dtype)[:, None] * (hit - computed(input)), 0))


def _sigmoid(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    x = computed(input)
    _check("sigmoid_focal_loss", target, input.shape[1])
    return x.sigmoid(), target[:, None] == torch.arange(x.shape[1], device=x.device)


def _softmax(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check("softmax_focal_loss", target, input.shape[1] - 1)
    valid = target >= 0
    label = torch.where(valid, target, 0)
    return computed(input).gather(1, label[:, None])[:, 0], valid, label


def _check(op: str, target: Tensor, last: int) -> None:
    if target.numel() and int(target.max()) > last:
        raise ValueError(f"{op}: target must be at most {last}, got {int(target.max())}")


def _kept(op: str, x: Tensor, valid: Tensor, weight: Tensor, label: Tensor) -> Any:
    if weight.numel():
        x = x * computed(weight)[label]
    return torch.where(valid, x, 0)


def _weights(op: str, weight: Tensor, target: Tensor) -> Tensor:
    """The weight of each row's class. mmcv reads beyond the weights for a row of background."""
    if bool(((target < 0) | (target >= len(weight))).any()):
        raise ValueError(f"{op}: with a weight per class, target must be in [0, {len(weight)}), got {target.tolist()}")
    return computed(weight)[target]
