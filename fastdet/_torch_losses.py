"""Losses as ops of torch: where a gradient is wanted it is computed with the loss and kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastdet import _check, box_losses
from fastdet._arrays import registered
from fastdet._torch_library import (
    backend_name,
    computed,
    define,
    differentiable,
    gradient,
    number,
    wants_gradient,
)


class Loss:
    """Two ops of torch: the loss alone, and the loss with the gradients of its first ``inputs`` arguments.

    Only the second one has a gradient: what it has computed, times the upstream gradient. The gradients that it gives
    keep their place in the graph, so that a second derivative, which there is none of, is noticed.
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
        rows: Callable[[Any, Any], Any] = lambda upstream, grad: upstream,
    ) -> None:
        self.name, self.inputs, self.rows = loss.__name__, inputs, rows
        self.loss = define(f"{self.name}({arguments}, str? backend) -> Tensor", loss, fake, half=half)

        def both(**options: Any) -> Any:  # errors name the function that was called
            try:
                return with_grad(**options)
            except (TypeError, ValueError, NotImplementedError) as error:
                text = str(error).replace(f"{with_grad.__name__}:", f"{self.name}:", 1)
                raise type(error)(text) from None

        def fake_both(*args: Any) -> Any:
            value = fake(*args)
            return value, *(torch.empty_like(x, dtype=value.dtype) for x in args[:inputs])

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

    def _backward(self, ctx: Any, upstream: Any, *second: Any) -> Any:
        if any(x is not None for x in second):
            raise NotImplementedError(f"{self.name}: has no second derivative")
        grads = [
            None if grad is None or upstream is None else _times(grad, self.rows(upstream, grad))
            for grad in ctx.saved_tensors
        ]
        return *grads, *(None,) * ctx.rest


def _times(grad: Any, upstream: Any) -> Any:
    """``grad * upstream``, without a second buffer where nothing else may look at the first one."""
    if registered(grad, upstream) is None:
        grad = grad.detach()
        if upstream.numel() == 1 and upstream.item() == 1:
            return grad
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            return grad.mul_(upstream)
    return grad * upstream


def _first_axes(upstream: Any, grad: Any) -> Any:
    """Of losses per row (or one for all): upstream gradients as they go with the gradients of rows."""
    return upstream.reshape(upstream.shape + (1,) * (grad.ndim - upstream.ndim)) if upstream.ndim else upstream


# Boxes


def _box_loss(boxes1: Any, boxes2: Any, reduction: str, eps: float, backend: Any) -> Any:
    shape = boxes1.shape[:1] if reduction == "none" else ()
    return boxes1.new_empty(shape, dtype=computed(boxes1, boxes2))


_BOXES = "Tensor boxes1, Tensor boxes2, str reduction, float eps"
_giou_loss, _diou_loss, _ciou_loss = (
    Loss(
        _BOXES,
        getattr(box_losses, name),
        getattr(box_losses, f"{name}_with_grad"),
        _box_loss,
        inputs=2,
        half=False,
        rows=_first_axes,
    )
    for name in ("giou_loss", "diou_loss", "ciou_loss")
)


def _of_boxes(loss: Loss, boxes1: Any, boxes2: Any, reduction: Any, eps: Any, backend: Any) -> Any:
    op = loss.name
    return loss(
        differentiable(op, "boxes1", boxes1),
        differentiable(op, "boxes2", boxes2),
        _check.choice(op, "reduction", reduction, box_losses.REDUCTIONS),
        number(op, "eps", eps),
        backend_name(op, backend),
    )


def giou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_giou_loss, boxes1, boxes2, reduction, eps, backend)


def diou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_diou_loss, boxes1, boxes2, reduction, eps, backend)


def ciou_loss(boxes1: Any, boxes2: Any, reduction: Any = "none", eps: Any = 1e-7, backend: Any = None) -> Any:
    return _of_boxes(_ciou_loss, boxes1, boxes2, reduction, eps, backend)
