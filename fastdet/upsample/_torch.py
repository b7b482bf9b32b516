"""Bilinear resampling as ops of torch. It is linear: the gradient of each of the two ops is the other one."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastdet import upsample
from fastdet._core import check
from fastdet._core.torch_library import (
    backend_name,
    define,
    differentiable,
    folded,
    gradient,
    image_like,
    in_onnx_export,
    into,
    traced_size,
    unknown_size,
)
from fastdet.upsample import _aten, _check
from fastdet.upsample.bilinear import new_size


def _resampled(x: Any, size: Any, scale_factor: Any, align_corners: bool, channels_last: bool, backend: Any) -> Any:
    if size is None:
        old = x.shape[-3:-1] if channels_last else x.shape[-2:]
        size = [math.floor(n * f) for n, f in zip(old, scale_factor, strict=True)]
    return image_like(x, size, channels_last)


_upsample_bilinear = define(
    "upsample_bilinear(Tensor x, SymInt[]? size, float[]? scale_factor, bool align_corners, bool channels_last,"
    " str? backend) -> Tensor",
    upsample.upsample_bilinear,
    _resampled,
    half=True,
    vmap=folded(1),
)
_upsample_bilinear_to = define(  # in traces, whose sizes are tensors
    "upsample_bilinear_to(Tensor x, Tensor size, bool align_corners, bool channels_last, str? backend) -> Tensor",
    upsample.upsample_bilinear,
    lambda x, size, align_corners, channels_last, backend: image_like(
        x, [unknown_size(), unknown_size()], channels_last
    ),
    half=True,
    vmap=folded(1),
)
_upsample_bilinear_backward = define(
    "upsample_bilinear_backward(Tensor grad, SymInt[] input_size, float[]? scale_factor, bool align_corners,"
    " bool channels_last, str? backend) -> Tensor",
    upsample.upsample_bilinear_backward,
    lambda grad, input_size, scale_factor, align_corners, channels_last, backend: image_like(
        grad, input_size, channels_last
    ),
    half=True,
    vmap=folded(1),
)


def _keep_size(ctx: Any, inputs: Any, output: Any) -> None:
    x, *ctx.same = inputs
    ctx.options = ctx.same[1:]
    ctx.size = list(x.shape[-3:-1] if inputs[4] else x.shape[-2:])


def _keep_size_to(ctx: Any, inputs: Any, output: Any) -> None:
    x, _, *ctx.options = inputs
    ctx.size = list(x.shape[-3:-1] if inputs[3] else x.shape[-2:])


def _backward_to(ctx: Any, grad: Any) -> Any:
    return _upsample_bilinear_backward(grad, ctx.size, None, *ctx.options), *(None,) * 4


def _backward(ctx: Any, grad: Any) -> Any:
    return _upsample_bilinear_backward(grad, ctx.size, *ctx.options), *(None,) * 5


def _forward(ctx: Any, grad: Any) -> Any:
    size = ctx.size if ctx.options[0] is None else None
    return _upsample_bilinear(grad, size, *ctx.options), *(None,) * 5


_upsample_bilinear = gradient(
    _upsample_bilinear, _keep_size, _backward, folded(1), lambda ctx, x, *_: _upsample_bilinear(x, *ctx.same)
)
_upsample_bilinear_backward = gradient(
    _upsample_bilinear_backward,
    _keep_size,
    _forward,
    folded(1),
    lambda ctx, grad, *_: _upsample_bilinear_backward(grad, *ctx.same),
)
_upsample_bilinear_to = gradient(_upsample_bilinear_to, _keep_size_to, _backward_to, folded(1))


def upsample_bilinear(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    align_corners: Any = False,
    channels_last: Any = False,
    out: Any = None,
    backend: Any = None,
) -> Any:
    op = "upsample_bilinear"
    if (size is None) == (scale_factor is None):
        new_size(op, size, scale_factor, (1, 1))  # raises
    x = differentiable(op, "x", x, out, forward=True)
    if out is None and in_onnx_export():
        factor = None if scale_factor is None else _pair(op, "scale_factor", scale_factor, _check.pair_of_factors)
        sizes = None if size is None else list(size) if isinstance(size, (tuple, list)) else [size, size]
        return _aten.upsample_bilinear(x, sizes, factor, bool(align_corners), bool(channels_last))
    new = None if size is None else traced_size(size)
    if new is not None:
        options = bool(align_corners), bool(channels_last), backend_name(op, backend)
        return into(op, out, _upsample_bilinear_to(x, new, *options))
    result = _upsample_bilinear(
        x,
        None if size is None else _pair(op, "size", size),
        None if scale_factor is None else _pair(op, "scale_factor", scale_factor, _check.pair_of_factors),
        bool(align_corners),
        bool(channels_last),
        backend_name(op, backend),
    )
    return into(op, out, result)


def upsample_bilinear_backward(
    grad: Any,
    input_size: Any,
    scale_factor: Any = None,
    align_corners: Any = False,
    channels_last: Any = False,
    backend: Any = None,
) -> Any:
    op = "upsample_bilinear_backward"
    return _upsample_bilinear_backward(
        differentiable(op, "grad", grad, forward=True),
        _pair(op, "input_size", input_size),
        None if scale_factor is None else _pair(op, "scale_factor", scale_factor, _check.pair_of_factors),
        bool(align_corners),
        bool(channels_last),
        backend_name(op, backend),
    )


def _pair(op: str, name: str, x: Any, read: Any = check.pair_of_sizes) -> list[Any]:
    if torch.compiler.is_compiling():  # numbers may be symbols, which no check takes
        return list(x) if isinstance(x, (tuple, list)) else [x, x]
    return list(read(op, name, x))
