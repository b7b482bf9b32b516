"""Losses of the CUDA backend. Kernels write losses and gradients in the dtype that they are returned in.

Values are not checked before a call returns. The next call raises for a wrong label: see `_core.cuda`. A weight that is
negative or not finite gives NaN. A mean over no pixel is 0, with a warning only where calls wait (FASTDET_SYNC=1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.cuda import fault_code, native
from fastdet._core.device_arrays import DeviceArray

Answer = tuple[DeviceArray, DeviceArray | None, float] | int


def cross_entropy(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    weight: DeviceArray | float,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> Answer:
    return _softmax("cross_entropy", logits, last, target, weight, (ignore, reduction, label_smoothing), gradient)


def focal_loss(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    alpha: DeviceArray | float,
    gamma: float,
    ignore: int | None,
    reduction: str,
    gradient: bool,
) -> Answer:
    return _softmax("focal_loss", logits, last, target, alpha, (gamma, ignore, reduction), gradient)


def _softmax(
    op: str,
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    weight: DeviceArray | float,
    options: tuple[Any, ...],
    gradient: bool,
) -> Answer:
    """``weight``: (C,), or one number for every class."""
    shape = _shape(logits, last)
    loss = logits.empty(target.shape if options[-1 if op == "focal_loss" else 1] == "none" else (), logits.dtype)
    grad = logits.empty(logits.shape, logits.dtype) if gradient else None
    workspace, where = logits.empty_bytes(native.softmax_loss_workspace(*shape)), logits.where
    pointer, same = (weight.pointer, 1.0) if isinstance(weight, DeviceArray) else (0, weight)
    labels, into = (target.dtype.char, target.pointer), (loss.pointer, 0 if grad is None else grad.pointer)
    function = getattr(native, op)
    function(logits.dtype.char, logits.pointer, last, *shape, *labels, pointer, same, *options, *into,
             workspace.pointer, *where)  # fmt: skip
    return _answer(op, loss, grad, workspace)


def soft_cross_entropy(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    weight: DeviceArray | float,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> Answer:
    shape = _shape(logits, last)
    images, _, pixels = shape
    loss = logits.empty((images, pixels) if reduction == "none" else (), logits.dtype)
    grad = logits.empty(logits.shape, logits.dtype) if gradient else None
    workspace, where = logits.empty_bytes(native.softmax_loss_workspace(*shape)), logits.where
    pointer, same = (weight.pointer, 1.0) if isinstance(weight, DeviceArray) else (0, weight)
    into = loss.pointer, 0 if grad is None else grad.pointer
    native.soft_cross_entropy(logits.dtype.char, logits.pointer, last, *shape, target.pointer, pointer, same,
                              reduction, label_smoothing, *into, workspace.pointer, *where)  # fmt: skip
    return loss, grad, float(images * pixels)


def ohem_cross_entropy(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    weight: DeviceArray | float,
    ignore: int | None,
    fraction: float,
    min_kept: int,
    threshold: float,
    gradient: bool,
) -> Answer:
    size = native.ohem_cross_entropy_workspace(logits.dtype.char, *_shape(logits, last))
    pointer, same = (weight.pointer, 1.0) if isinstance(weight, DeviceArray) else (0, weight)
    options = pointer, same, ignore, fraction, min_kept, threshold
    return _one_loss("ohem_cross_entropy", size, logits, last, target, options, gradient)


def dice_loss(
    logits: DeviceArray, last: bool, target: DeviceArray, ignore: int | None, eps: float, gradient: bool
) -> Answer:
    size = native.dice_loss_workspace(logits.dtype.char, *_shape(logits, last))
    return _one_loss("dice_loss", size, logits, last, target, (ignore, eps), gradient)


def tversky_loss(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    ignore: int | None,
    alpha: float,
    beta: float,
    eps: float,
    gradient: bool,
) -> Answer:
    size = native.dice_loss_workspace(logits.dtype.char, *_shape(logits, last))
    return _one_loss("tversky_loss", size, logits, last, target, (ignore, alpha, beta, eps), gradient)


def lovasz_softmax_loss(
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    ignore: int | None,
    present: bool,
    per_image: bool,
    gradient: bool,
) -> Answer:
    size = native.lovasz_softmax_loss_workspace(logits.dtype.char, *_shape(logits, last))
    return _one_loss("lovasz_softmax_loss", size, logits, last, target, (ignore, present, per_image), gradient)


def _one_loss(
    op: str,
    size: int,
    logits: DeviceArray,
    last: bool,
    target: DeviceArray,
    options: tuple[Any, ...],
    gradient: bool,
) -> Answer:
    """One loss of all pixels. ``size``: bytes of the workspace."""
    shape, workspace, where = _shape(logits, last), logits.empty_bytes(size), logits.where
    loss, grad = logits.empty((), logits.dtype), logits.empty(logits.shape, logits.dtype) if gradient else None
    labels, into = (target.dtype.char, target.pointer), (loss.pointer, 0 if grad is None else grad.pointer)
    function = getattr(native, op)
    function(logits.dtype.char, logits.pointer, last, *shape, *labels, *options, *into, workspace.pointer, *where)
    return _answer(op, loss, grad, workspace)


def lovasz_hinge_loss(
    inputs: DeviceArray, targets: DeviceArray, ignore: int | None, per_image: bool, gradient: bool
) -> Answer:
    images, pixels = inputs.shape
    workspace = inputs.empty_bytes(native.lovasz_hinge_loss_workspace(inputs.dtype.char, images, pixels))
    loss, grad = inputs.empty((), inputs.dtype), inputs.empty(inputs.shape, inputs.dtype) if gradient else None
    labels, into = (targets.dtype.char, targets.pointer), (loss.pointer, 0 if grad is None else grad.pointer)
    native.lovasz_hinge_loss(inputs.dtype.char, inputs.pointer, images, pixels, *labels, ignore, *into,
                             workspace.pointer, *inputs.where)  # fmt: skip
    return _answer("lovasz_hinge_loss", loss, grad, workspace)


def _shape(logits: DeviceArray, last: bool) -> tuple[int, int, int]:
    """(images, classes, pixels)."""
    images, first, second = logits.shape
    return (images, second, first) if last else (images, first, second)


def _answer(op: str, loss: DeviceArray, grad: DeviceArray | None, workspace: DeviceArray) -> Answer:
    if (code := fault_code(op)) is not None:
        return code
    divisor = math.nan  # not known: reading it would wait for the GPU
    if native.waits():
        divisor = float(np.array(native.read(workspace.pointer, 1, *workspace.where)).view(np.float64)[0])
    return loss, grad, divisor


def box_loss(
    a: DeviceArray, b: DeviceArray, metric: str, eps: float, alpha_eps: float, reduction: str, grad: bool
) -> tuple[DeviceArray, DeviceArray | None, DeviceArray | None]:
    loss = a.empty((len(a),) if reduction == "none" else (), a.dtype)
    grads = (a.empty(a.shape, a.dtype), b.empty(b.shape, b.dtype)) if grad else (None, None)
    to_a, to_b = (0 if x is None else x.pointer for x in grads)
    workspace, where = a.empty_bytes(native.loss_sum_workspace(len(a))), a.where
    native.box_loss(a.dtype.char, a.pointer, b.pointer, len(a), metric, eps, alpha_eps, reduction, loss.pointer, to_a,
                    to_b, workspace.pointer, *where)  # fmt: skip
    return loss, *grads


def sigmoid_focal_loss(
    inputs: DeviceArray, targets: DeviceArray, alpha: float, gamma: float, reduction: str, grad: bool
) -> tuple[DeviceArray, DeviceArray | None]:
    loss = inputs.empty(inputs.shape if reduction == "none" else (), inputs.dtype)
    slope = inputs.empty(inputs.shape, inputs.dtype) if grad else None
    workspace, where = inputs.empty_bytes(native.loss_sum_workspace(inputs.size)), inputs.where
    into = loss.pointer, 0 if slope is None else slope.pointer
    native.sigmoid_focal_loss(inputs.dtype.char, inputs.pointer, targets.pointer, targets.dtype != inputs.dtype,
                              inputs.size, alpha, gamma, reduction, *into, workspace.pointer, *where)  # fmt: skip
    return loss, slope


def scale(grad: DeviceArray, factor: DeviceArray) -> None:
    """``grad *= factor``, a number on the GPU. Where that is 1, as in most training steps, no memory is written."""
    native.scale(grad.dtype.char, grad.pointer, grad.size, factor.pointer, *grad.where)
