"""RoI ops whose bins are made of whole pixels, or have channels of their own, as ops of torch."""

from __future__ import annotations

from typing import Any

import torch

from fastdet import roi
from fastdet._core.torch_library import (
    backend_name,
    define,
    differentiable,
    gradient,
    has_tangent,
    in_onnx_export,
    tensor,
    wants_gradient,
)
from fastdet.roi import _aten, _check
from fastdet.roi._torch_arguments import new_features, number_of, pair, ratio_of, rows

_OPTIONS = "float spatial_scale, str? backend"


def _pooled(input: Any, boxes: Any, output_size: Any, *rest: Any) -> Any:
    return new_features(input, boxes.shape[0], input.shape[1], output_size)


def _with_places(input: Any, boxes: Any, output_size: Any, *rest: Any) -> Any:
    made = _pooled(input, boxes, output_size)
    return made, torch.empty_like(made, dtype=torch.int64)


def roi_pool_indices(**options: Any) -> Any:
    return roi.roi_pool(**options, return_indices=True)


roi_pool_indices.__name__ = "roi_pool"  # in errors
_roi_pool_values = define(
    f"roi_pool(Tensor input, Tensor boxes, SymInt[] output_size, {_OPTIONS}) -> Tensor",
    roi.roi_pool,
    _pooled,
    half=True,
)
_roi_pool = define(
    f"roi_pool_indices(Tensor input, Tensor boxes, SymInt[] output_size, {_OPTIONS}) -> (Tensor, Tensor)",
    roi_pool_indices,
    _with_places,
    half=True,
)
_roi_pool_backward = define(
    "roi_pool_backward(Tensor grad, Tensor indices, Tensor boxes, SymInt[] input_size, str? backend) -> Tensor",
    roi.roi_pool_backward,
    lambda grad, indices, boxes, size, *rest: new_features(grad, size[0], size[1], size[2:]),
    half=True,
)


def _keep_pool(ctx: Any, inputs: Any, output: Any) -> None:
    x, boxes, _, _, ctx.backend = inputs
    ctx.mark_non_differentiable(output[1])
    _keep(ctx, output[1], boxes, x)


def _keep_scatter(ctx: Any, inputs: Any, output: Any) -> None:
    _, places, boxes, ctx.size, ctx.backend = inputs
    _keep(ctx, places, boxes, output)


def _keep(ctx: Any, places: Any, boxes: Any, x: Any) -> None:
    ctx.save_for_backward(places, boxes)
    ctx.save_for_forward(places, boxes)
    ctx.size = list(x.shape)


def _keep_values(ctx: Any, inputs: Any, output: Any) -> None:
    x, boxes, *ctx.options = inputs
    ctx.save_for_backward(x, boxes)


def _scatter(ctx: Any, grad: Any, *_: Any) -> Any:
    return _roi_pool_backward(grad, *ctx.saved_tensors, ctx.size, ctx.backend)


def _values_backward(ctx: Any, grad: Any) -> Any:
    """In a program that was traced where no gradient was wanted: the places are computed now."""
    x, boxes = ctx.saved_tensors
    _, places = _roi_pool(x, boxes, *ctx.options)
    return _roi_pool_backward(grad, places, boxes, list(x.shape), ctx.options[-1]), *(None,) * 4


def _read(ctx: Any, x: Any) -> Any:
    """The values of maps at the places of the maxima, 0 where a bin is empty."""
    places, boxes = ctx.saved_tensors
    _, c, h, w = x.shape
    plane = boxes[:, 0].to(torch.int64)[:, None] * c + torch.arange(c, device=x.device)
    flat = plane[:, :, None, None] * (h * w) + places.clamp(min=0)
    return torch.where(places >= 0, x.reshape(-1)[flat], 0)


_roi_pool_values = gradient(_roi_pool_values, _keep_values, _values_backward)
_roi_pool = gradient(
    _roi_pool,
    _keep_pool,
    lambda ctx, *grads: (_scatter(ctx, *grads), *(None,) * 4),
    jvp=lambda ctx, tangent, *_: (_read(ctx, tangent), None),
)
_roi_pool_backward = gradient(
    _roi_pool_backward,
    _keep_scatter,
    lambda ctx, grad: (_read(ctx, grad), *(None,) * 4),
    jvp=lambda ctx, tangent, *_: _scatter(ctx, tangent),
)


def roi_pool(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: Any = 1.0,
    return_indices: Any = False,
    backend: Any = None,
) -> Any:
    op = "roi_pool"
    input = differentiable(op, "input", input, forward=True)
    options = pair(op, output_size), number_of(op, spatial_scale), backend_name(op, backend)
    boxes = rows(op, input, boxes)
    if in_onnx_export() and not return_indices:
        return _aten.roi_pool(input, boxes, *options)
    if return_indices:
        return _roi_pool(input, boxes, *options)
    if wants_gradient(input) or has_tangent(input):
        return _roi_pool(input, boxes, *options)[0]
    return _roi_pool_values(input, boxes, *options)


def roi_pool_backward(grad: Any, indices: Any, boxes: Any, input_size: Any, backend: Any = None) -> Any:
    op = "roi_pool_backward"
    grad = differentiable(op, "grad", grad, forward=True)
    size = _size(op, input_size)
    places = tensor(op, "indices", indices)
    return _roi_pool_backward(grad, places, rows(op, grad, boxes, size[0]), size, backend_name(op, backend))


def _size(op: str, x: Any) -> list[Any]:
    return list(x) if torch.compiler.is_compiling() else list(_check.input_size(op, x))


def _linear(name: str, options: str, forward: Any, backward: Any) -> tuple[Any, Any]:
    """A pair of ops, each the gradient of the other, whose bins have channels of their own."""

    def pooled(input: Any, boxes: Any, size: Any, *rest: Any) -> Any:
        return new_features(input, boxes.shape[0], input.shape[1] // (size[0] * size[1]), size)

    one: Any = define(
        f"{name}(Tensor input, Tensor boxes, SymInt[] output_size, {options}) -> Tensor", forward, pooled, half=True
    )
    other: Any = define(
        f"{name}_backward(Tensor grad, Tensor boxes, SymInt[] input_size, {options}) -> Tensor",
        backward,
        lambda grad, boxes, size, *rest: new_features(grad, size[0], size[1], size[2:]),
        half=True,
    )

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        x, boxes, ctx.size, *ctx.options = inputs
        ctx.save_for_backward(boxes)
        ctx.save_for_forward(boxes)
        ctx.maps, ctx.bins = list(x.shape), list(x.shape[2:])

    def to_input(ctx: Any, grad: Any) -> Any:
        return ops[1](grad, *ctx.saved_tensors, ctx.maps, *ctx.options), *(None,) * (2 + len(ctx.options))

    def to_grad(ctx: Any, grad: Any) -> Any:
        return ops[0](grad, *ctx.saved_tensors, ctx.bins, *ctx.options), *(None,) * (2 + len(ctx.options))

    def tangent(i: int) -> Any:
        return lambda ctx, x, *_: ops[i](x, *ctx.saved_tensors, ctx.size, *ctx.options)

    ops = gradient(one, keep, to_input, jvp=tangent(0)), gradient(other, keep, to_grad, jvp=tangent(1))
    return ops


_SAMPLED = "float spatial_scale, int sampling_ratio, str? backend"
_ps_roi_align, _ps_roi_align_backward = _linear("ps_roi_align", _SAMPLED, roi.ps_roi_align, roi.ps_roi_align_backward)
_ps_roi_pool, _ps_roi_pool_backward = _linear("ps_roi_pool", _OPTIONS, roi.ps_roi_pool, roi.ps_roi_pool_backward)


def ps_roi_align(
    input: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0, sampling_ratio: Any = -1, backend: Any = None
) -> Any:
    op = "ps_roi_align"
    options = number_of(op, spatial_scale), ratio_of(op, sampling_ratio), backend_name(op, backend)
    return _own_forward(op, _ps_roi_align, input, boxes, output_size, *options)


def ps_roi_align_backward(
    grad: Any, boxes: Any, input_size: Any, spatial_scale: Any = 1.0, sampling_ratio: Any = -1, backend: Any = None
) -> Any:
    op = "ps_roi_align_backward"
    options = number_of(op, spatial_scale), ratio_of(op, sampling_ratio), backend_name(op, backend)
    return _own_backward(op, _ps_roi_align_backward, grad, boxes, input_size, *options)


def ps_roi_pool(input: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0, backend: Any = None) -> Any:
    op = "ps_roi_pool"
    options = number_of(op, spatial_scale), backend_name(op, backend)
    return _own_forward(op, _ps_roi_pool, input, boxes, output_size, *options)


def ps_roi_pool_backward(grad: Any, boxes: Any, input_size: Any, spatial_scale: Any = 1.0, backend: Any = None) -> Any:
    op = "ps_roi_pool_backward"
    options = number_of(op, spatial_scale), backend_name(op, backend)
    return _own_backward(op, _ps_roi_pool_backward, grad, boxes, input_size, *options)


def _own_forward(op: str, call: Any, input: Any, boxes: Any, output_size: Any, *options: Any) -> Any:
    input = differentiable(op, "input", input, forward=True)
    return call(input, rows(op, input, boxes), pair(op, output_size), *options)


def _own_backward(op: str, call: Any, grad: Any, boxes: Any, input_size: Any, *options: Any) -> Any:
    grad, size = differentiable(op, "grad", grad, forward=True), _size(op, input_size)
    return call(grad, rows(op, grad, boxes, size[0]), size, *options)
