"""Pooling as ops of torch. The gradient of pooling scatters, that of unpooling gathers: each is that of the other."""

from __future__ import annotations

from typing import Any

import torch

from fastdet import pool
from fastdet._core.torch_library import (
    backend_name,
    define,
    differentiable,
    folded,
    gradient,
    has_tangent,
    image_like,
    in_onnx_export,
    into,
    tensor,
    traced_size,
    unknown_size,
    wants_gradient,
)
from fastdet.pool import _aten, _check

_WINDOW = "int[] kernel_size, int[] stride, int[] padding"


def _pooled(x: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any, compact: Any, backend: Any) -> Any:
    window = *kernel_size, *stride, *padding
    size = _check.pooled_size("max_pool2d", x.shape[-2:], window, ceil_mode)
    return image_like(x, size), image_like(x, size, dtype=torch.uint8 if compact else torch.int64)


def _unpooled(x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any, *rest: Any) -> Any:
    if output_size is None:
        window = zip(x.shape[-2:], kernel_size, stride, padding, strict=True)
        output_size = [(n - 1) * step - 2 * pad + kernel for n, kernel, step, pad in window]
    return image_like(x, output_size[-2:])


def max_pool2d_values(x: Any, **options: Any) -> Any:
    return pool.max_pool2d(x, return_indices=False, **options)


_max_pool2d = define(
    f"max_pool2d(Tensor x, {_WINDOW}, bool ceil_mode, bool compact, str? backend) -> (Tensor, Tensor)",
    pool.max_pool2d,
    _pooled,
    half=True,
    vmap=folded(1),
)
_max_pool2d_values = define(
    f"max_pool2d_values(Tensor x, {_WINDOW}, bool ceil_mode, str? backend) -> Tensor",
    max_pool2d_values,
    lambda x, kernel_size, stride, padding, ceil_mode, backend: _pooled(
        x, kernel_size, stride, padding, ceil_mode, False, backend
    )[0],
    half=True,
    vmap=folded(1),
)
_max_pool2d_backward = define(
    f"max_pool2d_backward(Tensor grad, Tensor indices, SymInt[] input_size, {_WINDOW}, str? backend) -> Tensor",
    pool.max_pool2d_backward,
    lambda grad, indices, input_size, *rest: image_like(grad, input_size[-2:]),
    half=True,
    vmap=folded(2),
)
_max_unpool2d = define(
    f"max_unpool2d(Tensor x, Tensor indices, {_WINDOW}, SymInt[]? output_size, int zero_point, str? backend) -> Tensor",
    pool.max_unpool2d,
    _unpooled,
    half=True,
    vmap=folded(2),
)


def _unpool_to(x: Any, indices: Any, output_size: Any, **options: Any) -> Any:
    return pool.max_unpool2d(x, indices, output_size=tuple(output_size.tolist()), **options)


_unpool_to.__name__ = "max_unpool2d"  # in errors
_max_unpool2d_to = define(  # in traces, whose sizes are tensors
    f"max_unpool2d_to(Tensor x, Tensor indices, Tensor output_size, {_WINDOW}, int zero_point, str? backend) -> Tensor",
    _unpool_to,
    lambda x, *rest: image_like(x, [unknown_size(), unknown_size()]),
    half=True,
    vmap=folded(2),
)
_max_unpool2d_backward = define(
    f"max_unpool2d_backward(Tensor grad, Tensor indices, {_WINDOW}, str? backend) -> Tensor",
    pool.max_unpool2d_backward,
    lambda grad, indices, *rest: image_like(grad, indices.shape[-2:]),
    half=True,
    vmap=folded(2),
)


def _keep_pool(ctx: Any, inputs: Any, output: Any) -> None:
    x, *window, _, _, backend = inputs
    ctx.mark_non_differentiable(output[1])
    _keep(ctx, x, output[1], window, backend)


def _keep_values(ctx: Any, inputs: Any, output: Any) -> None:
    x, *ctx.options = inputs
    ctx.save_for_backward(x)
    ctx.size = list(x.shape[-2:])


def _values_backward(ctx: Any, grad: Any) -> Any:
    """In a program that was traced where no gradient was wanted: the indices are computed now."""
    *window, ceil_mode, backend = ctx.options
    _, indices = _max_pool2d(*ctx.saved_tensors, *window, ceil_mode, False, backend)
    return _max_pool2d_backward(grad, indices, ctx.size, *window, backend), *(None,) * 5


def _keep_unpool(ctx: Any, inputs: Any, output: Any) -> None:
    x, indices, *window, _, _, backend = inputs
    _keep(ctx, x, indices, window, backend, inputs)


def _keep_unpool_to(ctx: Any, inputs: Any, output: Any) -> None:
    x, indices, _, *window, _, backend = inputs
    _keep(ctx, x, indices, window, backend)


def _keep_scatter(ctx: Any, inputs: Any, output: Any) -> None:
    grad, indices, _, *window, backend = inputs
    _keep(ctx, grad, indices, window, backend, inputs)


def _keep_gather(ctx: Any, inputs: Any, output: Any) -> None:
    grad, indices, *window, backend = inputs
    _keep(ctx, grad, indices, window, backend, inputs)


def _keep(ctx: Any, x: Any, indices: Any, window: Any, backend: Any, inputs: Any = ()) -> None:
    ctx.save_for_backward(indices)
    ctx.save_for_forward(indices)
    ctx.size, ctx.window, ctx.backend = list(x.shape[-2:]), window, backend
    ctx.same = inputs[2:]  # options with which the op gives the tangent, since it is linear in x


def _scatter(ctx: Any, grad: Any, *_: Any) -> Any:
    return _max_pool2d_backward(grad, *ctx.saved_tensors, ctx.size, *ctx.window, ctx.backend)


def _gather(ctx: Any, grad: Any) -> Any:
    return _max_unpool2d_backward(grad, *ctx.saved_tensors, *ctx.window, ctx.backend)


def _pooled_tangent(ctx: Any, tangent: Any, *_: Any) -> Any:
    """The tangent at the places of the maxima; the indices have none."""
    return _gather(ctx, tangent), None


_max_pool2d = gradient(
    _max_pool2d,
    _keep_pool,
    lambda ctx, *grads: (_scatter(ctx, *grads), *(None,) * 6),
    folded(1),
    _pooled_tangent,
)
_max_pool2d_values = gradient(_max_pool2d_values, _keep_values, _values_backward, folded(1))
_max_unpool2d = gradient(
    _max_unpool2d,
    _keep_unpool,
    lambda ctx, grad: (_gather(ctx, grad), *(None,) * 7),
    folded(2),
    lambda ctx, tangent, *_: _max_unpool2d(tangent, *ctx.saved_tensors, *ctx.same),
)
_max_unpool2d_to = gradient(
    _max_unpool2d_to, _keep_unpool_to, lambda ctx, grad: (_gather(ctx, grad), *(None,) * 7), folded(2)
)
_max_pool2d_backward = gradient(
    _max_pool2d_backward,
    _keep_scatter,
    lambda ctx, grad: (_gather(ctx, grad), *(None,) * 6),
    folded(2),
    lambda ctx, tangent, *_: _max_pool2d_backward(tangent, *ctx.saved_tensors, *ctx.same),
)
_max_unpool2d_backward = gradient(
    _max_unpool2d_backward,
    _keep_gather,
    lambda ctx, grad: (_scatter(ctx, grad), *(None,) * 5),
    folded(2),
    lambda ctx, tangent, *_: _max_unpool2d_backward(tangent, *ctx.saved_tensors, *ctx.same),
)


def _window(op: str, kernel_size: Any, stride: Any, padding: Any) -> list[list[int]]:
    window = _check.window(op, kernel_size, stride, padding)
    return [list(window[i : i + 2]) for i in (0, 2, 4)]


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: Any = False,
    return_indices: Any = True,
    compact: Any = False,
    out: Any = None,
    backend: Any = None,
) -> Any:
    op = "max_pool2d"
    x, window = differentiable(op, "x", x, out, forward=True), _window(op, kernel_size, stride, padding)
    backend = backend_name(op, backend)
    if out is None and in_onnx_export():
        made = bool(ceil_mode), bool(compact and return_indices)
        return _aten.max_pool2d(x, window, *made, bool(return_indices))
    if not return_indices:
        if wants_gradient(x) or has_tangent(
            x
        ):  # the gradient needs indices: compact ones, if the kernel has at most 256 places
            fits = window[0][0] * window[0][1] <= 256
            return into(op, out, _max_pool2d(x, *window, bool(ceil_mode), fits, backend)[0])
        return into(op, out, _max_pool2d_values(x, *window, bool(ceil_mode), backend))
    result = _max_pool2d(x, *window, bool(ceil_mode), bool(compact), backend)
    if out is None:
        return result
    if not (isinstance(out, (tuple, list)) and len(out) == 2):
        raise TypeError(f"{op}: out must be (values, indices), got {type(out).__name__}")
    for buffer, value in zip(out, result, strict=True):
        into(op, buffer, value)
    return out


def max_pool2d_backward(
    grad: Any,
    indices: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    backend: Any = None,
) -> Any:
    op = "max_pool2d_backward"
    return _max_pool2d_backward(
        differentiable(op, "grad", grad, forward=True),
        tensor(op, "indices", indices),
        _sizes(op, "input_size", input_size, grad.shape),
        *_window(op, kernel_size, stride, padding),
        backend_name(op, backend),
    )


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    zero_point: Any = 0,
    out: Any = None,
    backend: Any = None,
) -> Any:
    op = "max_unpool2d"
    x = differentiable(op, "x", x, out, forward=True)
    zero = _check.integer(op, "zero_point", zero_point)
    if out is None and in_onnx_export():
        places = tensor(op, "indices", indices)
        return _aten.max_unpool2d(x, places, _window(op, kernel_size, stride, padding), output_size, zero)
    size = None if output_size is None else traced_size(output_size)
    if size is not None:
        window = _window(op, kernel_size, stride, padding)
        result = _max_unpool2d_to(
            x, tensor(op, "indices", indices), size[-2:], *window, zero, backend_name(op, backend)
        )
        return into(op, out, result)
    result = _max_unpool2d(
        x,
        tensor(op, "indices", indices),
        *_window(op, kernel_size, stride, padding),
        None if output_size is None else _sizes(op, "output_size", output_size, x.shape),
        zero,
        backend_name(op, backend),
    )
    return into(op, out, result)


def max_unpool2d_backward(
    grad: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, backend: Any = None
) -> Any:
    op = "max_unpool2d_backward"
    return _max_unpool2d_backward(
        differentiable(op, "grad", grad, forward=True),
        tensor(op, "indices", indices),
        *_window(op, kernel_size, stride, padding),
        backend_name(op, backend),
    )


def _sizes(op: str, name: str, x: Any, shape: Any) -> list[Any]:
    if torch.compiler.is_compiling():  # sizes may be symbols, which no check takes
        return list(x)
    return list(_check.plane_size(op, name, x, tuple(shape)))
