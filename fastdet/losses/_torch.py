"""Losses as ops of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastdet._core import check
from fastdet._core.label_images import as_labels
from fastdet._core.torch_library import (
    backend_name,
    computed,
    count,
    number,
    single,
    tensor,
    without_graph,
)
from fastdet.losses import _check, boxes, dice, lovasz, ohem, sigmoid_focal, softmax, tversky
from fastdet.losses._torch_loss import Loss
from fastdet.losses.reduction import REDUCTIONS


def _reduced(x: Any, shape: Any, reduction: str, dtype: Any = None) -> Any:
    return x.new_empty(shape if reduction == "none" else (), dtype=dtype)


# Classes of pixels


def _without_classes(logits: Any) -> Any:
    return () if logits.ndim == 1 else (logits.shape[0], *logits.shape[2:])


def _classes_as_in(x: Any, loss: Any) -> Any:
    """An empty gradient of logits, with the classes last in memory if theirs are."""
    if x.ndim > 1 and not x.is_contiguous():
        last = x.movedim(1, -1)
        if last.is_contiguous():
            return x.new_empty(last.shape).movedim(-1, 1)
        if x.ndim == 2 and x.t().is_contiguous():
            return x.new_empty(x.t().shape).t()
    return x.new_empty(x.shape)


def _per_row(upstream: Any, grad: Any) -> Any:
    """Upstream gradients of pixels (or boxes) in a shape that multiplies the gradients; one number stays as it is."""
    return upstream.unsqueeze(1) if upstream.ndim else upstream


_cross_entropy = Loss(
    "Tensor logits, Tensor target, Tensor? weight, int ignore_index, str reduction, float label_smoothing",
    softmax.cross_entropy,
    softmax.cross_entropy_with_grad,
    lambda logits, target, weight, ignore_index, reduction, *rest: _reduced(
        logits, _without_classes(logits), reduction
    ),
    grad_like=_classes_as_in,
    rows=_per_row,
)
_focal_loss = Loss(
    "Tensor logits, Tensor target, Tensor? alpha, float gamma, int ignore_index, str reduction",
    softmax.focal_loss,
    softmax.focal_loss_with_grad,
    lambda logits, target, alpha, gamma, ignore_index, reduction, backend: _reduced(
        logits, _without_classes(logits), reduction
    ),
    grad_like=_classes_as_in,
    rows=_per_row,
)
_dice_loss = Loss(
    "Tensor logits, Tensor target, int ignore_index, float eps",
    dice.dice_loss,
    dice.dice_loss_with_grad,
    lambda logits, *rest: logits.new_empty(()),
    grad_like=_classes_as_in,
)


_tversky_loss = Loss(
    "Tensor logits, Tensor target, float alpha, float beta, int ignore_index, float eps",
    tversky.tversky_loss,
    tversky.tversky_loss_with_grad,
    lambda logits, *rest: logits.new_empty(()),
    grad_like=_classes_as_in,
)
_ohem_cross_entropy = Loss(
    "Tensor logits, Tensor target, Tensor? weight, int ignore_index, float fraction, SymInt min_kept, float? threshold",
    ohem.ohem_cross_entropy,
    ohem.ohem_cross_entropy_with_grad,
    lambda logits, *rest: logits.new_empty(()),
    grad_like=_classes_as_in,
)
_lovasz_softmax_loss = Loss(
    "Tensor logits, Tensor target, int ignore_index, str classes, bool per_image",
    lovasz.lovasz_softmax_loss,
    lovasz.lovasz_softmax_loss_with_grad,
    lambda logits, *rest: logits.new_empty(()),
    grad_like=_classes_as_in,
)
_lovasz_hinge_loss = Loss(
    "Tensor inputs, Tensor targets, int ignore_index, bool per_image",
    lovasz.lovasz_hinge_loss,
    lovasz.lovasz_hinge_loss_with_grad,
    lambda inputs, *rest: inputs.new_empty(()),
)


def _logits(op: str, name: str, x: Any) -> Any:
    return single(tensor(op, name, x))


def _ignored(op: str, x: Any) -> Any:
    """The label as a schema takes it. One beyond int64 cannot occur in a tensor, so -2^63 stands for it."""
    _check.ignored_label(op, x, np.dtype(np.int64))
    return x if -(2**63) <= x < 2**63 else -(2**63)


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: Any = -100,
    reduction: Any = "mean",
    label_smoothing: Any = 0.0,
    backend: Any = None,
) -> Any:
    op = "cross_entropy"
    return _cross_entropy(
        _logits(op, "logits", logits),
        without_graph(op, "target", as_labels(op, "target", target)),
        None if weight is None else without_graph(op, "weight", weight),
        _ignored(op, ignore_index),
        check.choice(op, "reduction", reduction, REDUCTIONS),
        number(op, "label_smoothing", label_smoothing),
        backend_name(op, backend),
    )


def focal_loss(
    logits: Any,
    target: Any,
    alpha: Any = None,
    gamma: Any = 2.0,
    ignore_index: Any = -100,
    reduction: Any = "mean",
    backend: Any = None,
) -> Any:
    op = "focal_loss"
    if alpha is not None and not isinstance(alpha, (torch.Tensor, np.ndarray, list, tuple)):
        alpha = torch.full((), number(op, "alpha", alpha), dtype=torch.float64)
    return _focal_loss(
        _logits(op, "logits", logits),
        tensor(op, "target", as_labels(op, "target", target)),
        None if alpha is None else without_graph(op, "alpha", alpha),
        number(op, "gamma", gamma),
        _ignored(op, ignore_index),
        check.choice(op, "reduction", reduction, REDUCTIONS),
        backend_name(op, backend),
    )


def dice_loss(logits: Any, target: Any, ignore_index: Any = -100, eps: Any = 1.0, backend: Any = None) -> Any:
    op = "dice_loss"
    return _dice_loss(
        _logits(op, "logits", logits),
        tensor(op, "target", as_labels(op, "target", target)),
        _ignored(op, ignore_index),
        number(op, "eps", eps),
        backend_name(op, backend),
    )


def tversky_loss(
    logits: Any,
    target: Any,
    alpha: Any = 0.5,
    beta: Any = 0.5,
    ignore_index: Any = -100,
    eps: Any = 1.0,
    backend: Any = None,
) -> Any:
    op = "tversky_loss"
    return _tversky_loss(
        _logits(op, "logits", logits),
        tensor(op, "target", target),
        number(op, "alpha", alpha),
        number(op, "beta", beta),
        _ignored(op, ignore_index),
        number(op, "eps", eps),
        backend_name(op, backend),
    )


def ohem_cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: Any = -100,
    fraction: Any = 0.25,
    min_kept: Any = 1,
    threshold: Any = None,
    backend: Any = None,
) -> Any:
    op = "ohem_cross_entropy"
    return _ohem_cross_entropy(
        _logits(op, "logits", logits),
        tensor(op, "target", target),
        None if weight is None else without_graph(op, "weight", weight),
        _ignored(op, ignore_index),
        number(op, "fraction", fraction),
        count(op, "min_kept", min_kept),
        None if threshold is None else number(op, "threshold", threshold),
        backend_name(op, backend),
    )


def lovasz_softmax_loss(
    logits: Any,
    target: Any,
    ignore_index: Any = -100,
    classes: Any = "present",
    per_image: Any = False,
    backend: Any = None,
) -> Any:
    op = "lovasz_softmax_loss"
    return _lovasz_softmax_loss(
        _logits(op, "logits", logits),
        tensor(op, "target", target),
        _ignored(op, ignore_index),
        check.choice(op, "classes", classes, lovasz.CLASSES),
        _check.flag(op, "per_image", per_image),
        backend_name(op, backend),
    )


def lovasz_hinge_loss(
    inputs: Any, targets: Any, ignore_index: Any = -100, per_image: Any = False, backend: Any = None
) -> Any:
    op = "lovasz_hinge_loss"
    return _lovasz_hinge_loss(
        _logits(op, "inputs", inputs),
        tensor(op, "targets", targets),
        _ignored(op, ignore_index),
        _check.flag(op, "per_image", per_image),
        backend_name(op, backend),
    )


_sigmoid_focal_loss = Loss(
    "Tensor inputs, Tensor targets, float alpha, float gamma, str reduction",
    sigmoid_focal.sigmoid_focal_loss,
    sigmoid_focal.sigmoid_focal_loss_with_grad,
    lambda inputs, targets, alpha, gamma, reduction, backend: _reduced(inputs, inputs.shape, reduction),
)


def sigmoid_focal_loss(
    inputs: Any, targets: Any, alpha: Any = 0.25, gamma: Any = 2.0, reduction: Any = "none", backend: Any = None
) -> Any:
    op = "sigmoid_focal_loss"
    return _sigmoid_focal_loss(
        _logits(op, "inputs", inputs),
        without_graph(op, "targets", targets),
        number(op, "alpha", alpha),
        number(op, "gamma", gamma),
        check.choice(op, "reduction", reduction, REDUCTIONS),
        backend_name(op, backend),
    )


# Boxes


def _box_loss(boxes1: Any, boxes2: Any, reduction: str, eps: float, backend: Any) -> Any:
    rows = () if boxes1.shape == (4,) else boxes1.shape[:1]
    return _reduced(boxes1, rows, reduction, computed(boxes1, boxes2))


_BOXES = "Tensor boxes1, Tensor boxes2, str reduction, float eps"
_giou_loss, _diou_loss, _ciou_loss = (
    Loss(
        _BOXES,
        getattr(boxes, name),
        getattr(boxes, f"{name}_with_grad"),
        _box_loss,
        inputs=2,
        half=False,
        rows=_per_row,
    )
    for name in ("giou_loss", "diou_loss", "ciou_loss")
)


def _of_boxes(loss: Loss, boxes1: Any, boxes2: Any, reduction: Any, eps: Any, backend: Any) -> Any:
    op = loss.name
    return loss(
        tensor(op, "boxes1", boxes1),
        tensor(op, "boxes2", boxes2),
        check.choice(op, "reduction", reduction, REDUCTIONS),
        number(op, "eps", eps),
        backend_name(op, backend),
    )


def giou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_giou_loss, boxes1, boxes2, reduction, eps, backend)


def diou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_diou_loss, boxes1, boxes2, reduction, eps, backend)


def ciou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_ciou_loss, boxes1, boxes2, reduction, eps, backend)
