"""Losses as ops of torch. Where a gradient is wanted, it is computed with the loss and kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastdet._core import arrays, check
from fastdet._core.dispatch import registered
from fastdet._core.label_images import as_labels
from fastdet._core.torch_library import (
    backend_name,
    computed,
    define,
    differentiable,
    gradient,
    number,
    single,
    tensor,
    wants_gradient,
    without_graph,
)
from fastdet.losses import _check, boxes, dice, sigmoid_focal, softmax
from fastdet.losses.reduction import REDUCTIONS


class Loss:
    """Two ops of torch: the loss alone, and the loss with the gradients of its first ``inputs`` arguments.

    The backward pass of the second op multiplies the gradients that it has computed by the upstream gradient. These
    gradients stay in the graph, so that a second derivative, which does not exist, raises an error. The first op is for
    calls that want no gradient. If one is wanted after all (in an exported graph), its backward pass calls the second.
    """

    def __init__(
        self,
        arguments: str,
        loss: Callable[..., Any],
        with_grad: Callable[..., Any],
        fake: Callable[..., Any],
        *,
        inputs: int = 1,
        half: bool = True,
        grad_like: Callable[[Any, Any], Any] = lambda x, loss: x.new_empty(x.shape, dtype=loss.dtype),
        rows: Callable[[Any, Any], Any] = lambda upstream, grad: upstream,
    ) -> None:
        self.name, self.inputs, self.rows = loss.__name__, inputs, rows
        alone = define(f"{self.name}({arguments}, str? backend) -> Tensor", loss, fake, half=half)
        self.loss = gradient(alone, self._keep_inputs, self._recompute)

        def both(**options: Any) -> Any:  # errors name the function that the user called
            try:
                return with_grad(**options)
            except (TypeError, ValueError, NotImplementedError) as error:
                text = str(error).replace(f"{with_grad.__name__}:", f"{self.name}:", 1)
                raise type(error)(text) from None

        def fake_both(*args: Any) -> Any:
            value = fake(*args)
            return value, *(grad_like(x, value) for x in args[:inputs])

        both.__name__ = self.name
        results = ", ".join(["Tensor"] * (1 + inputs))
        schema = f"{self.name}_with_grad({arguments}, str? backend) -> ({results})"
        self.both = gradient(define(schema, both, fake_both, half=half), self._keep, self._backward)

    def __call__(self, *args: Any) -> Any:
        if wants_gradient(*args[: self.inputs]):
            return self.both(*args)[0]
        return self.loss(*args)

    def _keep(self, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)
        needed = zip(ctx.needs_input_grad[: self.inputs], output[1:], strict=True)
        ctx.save_for_backward(*(grad if need else None for need, grad in needed))
        ctx.rest = len(inputs) - self.inputs

    def _keep_inputs(self, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*(x if isinstance(x, torch.Tensor) else None for x in inputs))
        ctx.others = [None if isinstance(x, torch.Tensor) else x for x in inputs]

    def _recompute(self, ctx: Any, upstream: Any) -> Any:
        saved = zip(ctx.saved_tensors, ctx.others, strict=True)
        _, *grads = self.both(*(other if x is None else x for x, other in saved))
        return *(x * self.rows(upstream, x) for x in grads), *(None,) * (len(ctx.others) - self.inputs)

    def _backward(self, ctx: Any, upstream: Any, *second: Any) -> Any:
        if any(x is not None for x in second):
            raise NotImplementedError(f"{self.name}: has no second derivative")
        grads = [
            None if grad is None or upstream is None else _times(grad, self.rows(upstream, grad))
            for grad in ctx.saved_tensors
        ]
        return *grads, *(None,) * ctx.rest


def _times(grad: Any, upstream: Any) -> Any:
    """``grad * upstream``, in place where nothing else can read ``grad``."""
    if registered(__name__, grad, upstream) is None:
        grad, on_gpu = grad.detach(), arrays.on_cuda(grad)
        if upstream.numel() == 1 and not on_gpu and upstream.item() == 1:
            return grad
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            if upstream.numel() == 1 and on_gpu and grad.untyped_storage().nbytes() == grad.nbytes:
                return _scaled(grad, upstream)
            return grad.mul_(upstream)
    return grad * upstream


def _scaled(grad: Any, upstream: Any) -> Any:
    """``grad.mul_(upstream)`` on a GPU. Does not wait for the number, and writes nothing where it is 1."""
    from fastdet._core.device_arrays import TorchArray
    from fastdet.losses import _cuda

    _cuda.scale(TorchArray(grad), TorchArray(upstream.detach().to(grad.dtype)))
    return grad


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


def _logits(op: str, name: str, x: Any) -> Any:
    return single(differentiable(op, name, x))


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
        tensor(op, "target", as_labels(op, "target", target)),
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
    return _reduced(boxes1, boxes1.shape[:1], reduction, computed(boxes1, boxes2))


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
        differentiable(op, "boxes1", boxes1),
        differentiable(op, "boxes2", boxes2),
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
