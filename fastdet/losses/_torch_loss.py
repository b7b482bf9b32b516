"""How a loss becomes an op of torch that keeps the gradient which it has computed with the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastdet._core import arrays
from fastdet._core.dispatch import registered
from fastdet._core.torch_library import define, forward_ad, gradient, wants_gradient


class Loss:
    """Two ops of torch: the loss alone, and the loss with the gradients of its first ``inputs`` arguments.

    The backward pass of the second op multiplies the gradients that it has computed by the upstream gradient. These
    gradients stay in the graph, so that a second derivative, which does not exist, raises an error. The first op is for
    calls that want no gradient. If one is wanted after all (in an exported graph), its backward pass calls the second;
    so does its forward-mode derivative.
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
        self.loss = gradient(alone, self._keep_inputs, self._recompute, jvp=self._tangent)

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
        self.both = gradient(
            define(schema, both, fake_both, half=half), self._keep, self._backward, jvp=self._no_second_derivative
        )

    def __call__(self, *args: Any) -> Any:
        if forward_ad._current_level < 0 and wants_gradient(*args[: self.inputs]):
            return self.both(*args)[0]
        return self.loss(*args)

    def _keep(self, ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)
        needed = zip(ctx.needs_input_grad[: self.inputs], output[1:], strict=True)
        ctx.save_for_backward(*(grad if need else None for need, grad in needed))
        ctx.rest = len(inputs) - self.inputs

    def _keep_inputs(self, ctx: Any, inputs: Any, output: Any) -> None:
        tensors = [x if isinstance(x, torch.Tensor) else None for x in inputs]
        ctx.save_for_backward(*tensors)
        if hasattr(ctx, "save_for_forward"):
            ctx.save_for_forward(*tensors)
        ctx.others = [None if isinstance(x, torch.Tensor) else x for x in inputs]

    def _with_grads(self, ctx: Any) -> Any:
        """The gradients of the inputs that `_keep_inputs` kept, as the second op computes them."""
        saved = zip(ctx.saved_tensors, ctx.others, strict=True)
        return self.both(*(other if x is None else x for x, other in saved))

    def _recompute(self, ctx: Any, upstream: Any) -> Any:
        _, *grads = self._with_grads(ctx)
        return *(x * self.rows(upstream, x) for x in grads), *(None,) * (len(ctx.others) - self.inputs)

    def _tangent(self, ctx: Any, *tangents: Any) -> Any:
        """The derivative of the loss along the tangents of the inputs: gradients times tangents, summed for each loss.

        The gradients of single losses are those of their sum, and each depends on its own item alone.
        """
        loss, *grads = self._with_grads(ctx)
        parts = [grad * x for grad, x in zip(grads, tangents, strict=False) if x is not None]
        if not parts:
            return torch.zeros_like(loss)
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if loss.shape == total.shape:
            return total
        return total.sum(1) if loss.ndim else total.sum()

    def _no_second_derivative(self, ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(f"{self.name}: has no second derivative")

    def _backward(self, ctx: Any, upstream: Any, *second: Any) -> Any:
        if any(x is not None for x in second):
            self._no_second_derivative(ctx)
        grads = [
            None if grad is None or upstream is None else _times(ctx, grad, self.rows(upstream, grad))
            for grad in ctx.saved_tensors
        ]
        return *grads, *(None,) * ctx.rest


def _times(ctx: Any, grad: Any, upstream: Any) -> Any:
    """``grad * upstream``; in the memory of ``grad`` where nothing else can read it, now or in a second backward pass.

    Then nothing is written where ``upstream`` is 1, as in most training steps.
    """
    plain = registered(__name__, grad, upstream) is None and not torch._C._functorch.is_legacy_batchedtensor(upstream)
    if not plain or torch._C._autograd._get_current_graph_task_keep_graph() or _is_read_elsewhere(ctx, grad):
        return grad * upstream
    grad, on_gpu = grad.detach(), arrays.on_cuda(grad)
    if upstream.numel() == 1 and not on_gpu and upstream.item() == 1:
        return grad
    if upstream.numel() == 1 and on_gpu and grad.untyped_storage().nbytes() == grad.nbytes:
        return _scaled(grad, upstream)
    return grad.mul_(upstream)


def _is_read_elsewhere(ctx: Any, grad: Any) -> bool:
    """Whether a saved-tensors hook may have kept the gradient, or another tensor lies in its memory."""
    if any(getattr(saved, "unpack_hook", saved) is not None for saved in ctx._raw_saved_tensors):
        return True  # also where this version of torch cannot tell
    storage = grad.untyped_storage()
    own = 3  # what the graph saved, `grad`, `storage`
    return bool(torch._C._storage_Use_Count(storage._cdata) > own)  # type: ignore[attr-defined, unused-ignore]


def _scaled(grad: Any, upstream: Any) -> Any:
    """``grad.mul_(upstream)`` on a GPU. Does not wait for the number, and writes nothing where it is 1."""
    from fastdet._core.device_arrays import TorchArray
    from fastdet.losses import _cuda

    _cuda.scale(TorchArray(grad), TorchArray(upstream.detach().to(grad.dtype)))
    return grad
