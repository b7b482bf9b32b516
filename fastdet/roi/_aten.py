"""RoI ops in ONNX's own, RoiAlign (opset 16) and MaxRoiPool, for both of torch's exporters.

ONNX has no check of values. Halves are computed in float32 there, too.
"""

from __future__ import annotations

from typing import Any

import torch

from fastdet.roi import align, pooling

Options = dict[str, Any]


class _RoiAlign(torch.autograd.Function):
    """The op for the exporter that traces."""

    @staticmethod
    def forward(ctx: Any, x: Any, boxes: Any, images: Any, options: Options) -> Any:
        rows = torch.cat([images[:, None].to(boxes.dtype), boxes], 1).cpu().numpy()
        aligned = options["coordinate_transformation_mode"] == "half_pixel"
        size = options["output_height"], options["output_width"]
        scale, ratio = options["spatial_scale"], options["sampling_ratio"]
        return torch.from_numpy(align.roi_align(x.cpu().numpy(), rows, size, scale, ratio, aligned)).to(x.device)

    @staticmethod
    def symbolic(g: Any, x: Any, boxes: Any, images: Any, options: Options) -> Any:
        kinds = {str: "s", float: "f", int: "i"}
        return g.op("RoiAlign", x, boxes, images, **{f"{k}_{kinds[type(v)]}": v for k, v in options.items()})


class _MaxRoiPool(torch.autograd.Function):
    """The op for the exporter that traces."""

    @staticmethod
    def forward(ctx: Any, x: Any, boxes: Any, size: list[int], scale: float) -> Any:
        return torch.from_numpy(pooling.roi_pool(x.cpu().numpy(), boxes.cpu().numpy(), size, scale)).to(x.device)

    @staticmethod
    def symbolic(g: Any, x: Any, boxes: Any, size: list[int], scale: float) -> Any:
        return g.op("MaxRoiPool", x, boxes, pooled_shape_i=size, spatial_scale_f=scale)


def _computed(x: Any, boxes: Any) -> tuple[Any, Any]:
    """Maps and boxes in one dtype that ONNX computes in."""
    x = x if x.dtype is torch.float64 else x.float()
    return x, boxes.to(x.dtype)


def _symbolic(name: str, inputs: Any, attributes: Options, x: Any, size: Any, version: int) -> Any:
    symbolic: Any = torch.onnx.ops.symbolic
    shape = (inputs[1].shape[0], x.shape[1], *size)
    return symbolic(name, inputs, attributes, dtype=x.dtype, shape=shape, version=version)


def roi_align(x: Any, boxes: Any, size: Any, scale: Any, ratio: Any, aligned: Any, backend: Any = None) -> Any:
    dtype = x.dtype
    x, boxes = _computed(x, boxes)
    options: Options = {
        "coordinate_transformation_mode": "half_pixel" if aligned else "output_half_pixel",
        "mode": "avg",
        "output_height": int(size[0]),
        "output_width": int(size[1]),
        "sampling_ratio": max(int(ratio), 0),
        "spatial_scale": float(scale),
    }
    inputs = x, boxes[:, 1:], boxes[:, 0].to(torch.int64)
    if torch._C._get_tracing_state() is not None:
        apply: Any = _RoiAlign.apply
        return apply(*inputs, options).to(dtype)
    return _symbolic("RoiAlign", inputs, options, x, size, 16).to(dtype)


def roi_pool(x: Any, boxes: Any, size: Any, scale: Any, backend: Any = None) -> Any:
    dtype = x.dtype
    x, boxes = _computed(x, boxes)
    size = [int(n) for n in size]
    if torch._C._get_tracing_state() is not None:
        apply: Any = _MaxRoiPool.apply
        return apply(x, boxes, size, float(scale)).to(dtype)
    attributes = {"pooled_shape": size, "spatial_scale": float(scale)}
    return _symbolic("MaxRoiPool", (x, boxes), attributes, x, size, 1).to(dtype)
