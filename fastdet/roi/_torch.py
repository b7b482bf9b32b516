"""RoI ops as ops of torch. Pooling is linear in the features: the gradient of each op is the other one of its pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastdet import roi
from fastdet._core.torch_library import (
    backend_name,
    define,
    differentiable,
    gradient,
    has_tangent,
    in_onnx_export,
    library,
)
from fastdet.roi import _aten, _check, multiscale
from fastdet.roi._torch_arguments import new_features, options_of, pair, ratio_of, rows
from fastdet.roi._torch_bins import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
    roi_pool,
    roi_pool_backward,
)

__all__ = [
    "multiscale_roi_align",
    "multiscale_roi_align_backward",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
]

FLOAT = np.dtype(np.float32)


def _of_bytes(x: Any) -> bool:
    return x.dtype is torch.int8 or x.dtype is torch.uint8


_OPTIONS = "float spatial_scale, int sampling_ratio, bool aligned, str? backend"


_roi_align = define(
    f"roi_align(Tensor input, Tensor boxes, SymInt[] output_size, {_OPTIONS}) -> Tensor",
    roi.roi_align,
    lambda input, boxes, output_size, *rest: new_features(input, boxes.shape[0], input.shape[1], output_size),
    half=True,
)
_roi_align_bytes = define(
    "roi_align_bytes(Tensor input, Tensor boxes, SymInt[] output_size, float spatial_scale, int sampling_ratio,"
    " bool aligned, int zero_point, str? backend) -> Tensor",
    roi.roi_align,
    lambda input, boxes, output_size, *rest: new_features(input, boxes.shape[0], input.shape[1], output_size),
)
_roi_align_backward = define(
    f"roi_align_backward(Tensor grad, Tensor boxes, SymInt[] input_size, {_OPTIONS}) -> Tensor",
    roi.roi_align_backward,
    lambda grad, boxes, input_size, *rest: new_features(grad, input_size[0], input_size[1], input_size[2:]),
    half=True,
)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, boxes, ctx.size, *ctx.options = inputs
    ctx.save_for_backward(boxes)
    ctx.save_for_forward(boxes)
    ctx.input_size = list(x.shape)


def _to_input(ctx: Any, grad: Any) -> Any:
    return _roi_align_backward(grad, *ctx.saved_tensors, ctx.input_size, *ctx.options), *(None,) * 6


def _to_grad(ctx: Any, grad: Any) -> Any:
    return _roi_align(grad, *ctx.saved_tensors, ctx.input_size[2:], *ctx.options), *(None,) * 6


_roi_align = gradient(
    _roi_align,
    _keep,
    _to_input,
    jvp=lambda ctx, x, *_: _roi_align(x, *ctx.saved_tensors, ctx.size, *ctx.options),
)
_roi_align_backward = gradient(
    _roi_align_backward,
    _keep,
    _to_grad,
    jvp=lambda ctx, grad, *_: _roi_align_backward(grad, *ctx.saved_tensors, ctx.size, *ctx.options),
)


def roi_align(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: Any = 1.0,
    sampling_ratio: Any = -1,
    aligned: Any = False,
    backend: Any = None,
    zero_point: Any = 0,
) -> Any:
    op = "roi_align"
    input = differentiable(op, "input", input, forward=True)
    size, options = pair(op, output_size), options_of(op, spatial_scale, sampling_ratio, aligned, backend)
    zero = _check.zero_point(
        op, zero_point, np.dtype(str(input.dtype).removeprefix("torch.")) if _of_bytes(input) else FLOAT
    )
    if _of_bytes(input):
        if in_onnx_export():
            raise NotImplementedError(f"{op}: input must be float in an export to ONNX, got {input.dtype}")
        *rest, backend = options
        return _roi_align_bytes(input, rows(op, input, boxes), size, *rest, zero, backend)
    call = _aten.roi_align if in_onnx_export() else _roi_align
    return call(input, rows(op, input, boxes), size, *options)


def roi_align_backward(
    grad: Any,
    boxes: Any,
    input_size: Any,
    spatial_scale: Any = 1.0,
    sampling_ratio: Any = -1,
    aligned: Any = False,
    backend: Any = None,
) -> Any:
    op = "roi_align_backward"
    grad = differentiable(op, "grad", grad, forward=True)
    size = list(input_size) if torch.compiler.is_compiling() else list(_check.input_size(op, input_size))
    options = options_of(op, spatial_scale, sampling_ratio, aligned, backend)
    return _roi_align_backward(grad, rows(op, grad, boxes, size[0]), size, *options)


_LEVELS = "float[] spatial_scales, int sampling_ratio, bool aligned, float canonical_scale, float canonical_level"
_multiscale = define(
    f"multiscale_roi_align(Tensor[] inputs, Tensor boxes, SymInt[] output_size, {_LEVELS}, str? backend) -> Tensor",
    roi.multiscale_roi_align,
    lambda inputs, boxes, size, *rest: new_features(inputs[0], boxes.shape[0], inputs[0].shape[1], size),
    half=True,
)


def _by_size(grad: Any, boxes: Any, input_sizes: Any, **options: Any) -> Any:
    sizes = [tuple(input_sizes[i : i + 4]) for i in range(0, len(input_sizes), 4)]
    return roi.multiscale_roi_align_backward(grad, boxes, sizes, **options)


_by_size.__name__ = "multiscale_roi_align_backward"  # in errors
_multiscale_backward = define(
    f"multiscale_roi_align_backward(Tensor grad, Tensor boxes, SymInt[] input_sizes, {_LEVELS}, str? backend)"
    " -> Tensor[]",
    _by_size,
    lambda grad, boxes, sizes, *rest: [
        new_features(grad, sizes[i], sizes[i + 1], sizes[i + 2 : i + 4]) for i in range(0, len(sizes), 4)
    ],
    half=True,
)


def _keep_maps(ctx: Any, inputs: Any, output: Any) -> None:
    maps, boxes, _, *ctx.options = inputs
    ctx.save_for_backward(boxes)
    ctx.sizes = [n for x in maps for n in x.shape]


def _to_maps(ctx: Any, grad: Any) -> Any:
    return _multiscale_backward(grad, *ctx.saved_tensors, ctx.sizes, *ctx.options), *(None,) * 8


torch.library.register_autograd(_multiscale.name(), _to_maps, setup_context=_keep_maps, lib=library)


def multiscale_roi_align(
    inputs: Any,
    boxes: Any,
    output_size: Any,
    spatial_scales: Any,
    sampling_ratio: Any,
    aligned: Any,
    canonical_scale: Any,
    canonical_level: Any,
    backend: Any = None,
) -> Any:
    op = "multiscale_roi_align"
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise TypeError(f"{op}: inputs must be a list with one map per level, got {type(inputs).__name__}")
    maps = [differentiable(op, f"inputs[{i}]", x, forward=True) for i, x in enumerate(inputs)]
    scales, bounds = multiscale.levels(op, spatial_scales, len(maps), canonical_scale, canonical_level)
    boxes, size = rows(op, maps[0], boxes), pair(op, output_size)
    ratio, aligned, backend = ratio_of(op, sampling_ratio), bool(aligned), backend_name(op, backend)
    if in_onnx_export() or _transformed(*maps, boxes):  # no rule for a list of tensors: map by map
        return _by_level(maps, boxes, size, scales, bounds, ratio, aligned, backend)
    canonical = float(canonical_scale), float(canonical_level)
    return _multiscale(maps, boxes, size, scales, ratio, aligned, *canonical, backend)


def _transformed(*xs: Any) -> bool:
    """Whether a function transform or forward-mode differentiation is at work."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return not torch.compiler.is_compiling() and any(map(has_tangent, xs))


def _by_level(
    maps: Any, boxes: Any, size: Any, scales: Any, bounds: Any, ratio: int, aligned: bool, backend: Any
) -> Any:
    dtype = torch.float64 if maps[0].dtype is torch.float64 else torch.float32
    b = boxes.to(dtype)
    area = (b[:, 3] - b[:, 1]) * (b[:, 4] - b[:, 2])
    result = roi_align(maps[0], boxes, size, scales[0], ratio, aligned, backend)
    for x, scale, bound in zip(maps[1:], scales[1:], bounds, strict=True):
        later = roi_align(x, boxes, size, scale, ratio, aligned, backend)
        result = torch.where((area >= torch.tensor(bound, dtype=dtype))[:, None, None, None], later, result)
    return result


def multiscale_roi_align_backward(
    grad: Any,
    boxes: Any,
    input_sizes: Any,
    spatial_scales: Any,
    sampling_ratio: Any,
    aligned: Any,
    canonical_scale: Any,
    canonical_level: Any,
    backend: Any = None,
) -> Any:
    op = "multiscale_roi_align_backward"
    grad = differentiable(op, "grad", grad)
    sizes = multiscale.map_sizes(op, input_sizes)
    scales, _ = multiscale.levels(op, spatial_scales, len(sizes), canonical_scale, canonical_level)
    canonical = float(canonical_scale), float(canonical_level)
    flat = [n for size in sizes for n in size]
    options = ratio_of(op, sampling_ratio), bool(aligned), *canonical, backend_name(op, backend)
    return tuple(_multiscale_backward(grad, rows(op, grad, boxes, sizes[0][0]), flat, scales, *options))
