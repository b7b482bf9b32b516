"""torchvision's operators of NMS and of regions of interest, computed by fastdet with torchvision's rules.

Each function has the arguments of the operator's schema, and stands below autograd, autocast and function transforms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastdet._core import backends, check
from fastdet._core.arrays import to_array, to_torch
from fastdet._core.layout import from_nchw
from fastdet.integrations._rounding import floor_float32
from fastdet.nms import greedy
from fastdet.roi import _check, align, pooling, position_sensitive
from fastdet.rotated import overlap

LARGE = {torch.float16: 2.0**60, torch.float32: 2.0**60, torch.float64: 2.0**500}  # of csrc/core/floats.h
LOWEST = -3.4028234663852886e38  # what roi_pool begins with, in float64 too
_DTYPES = {
    torch.bfloat16: "BFloat16",
    torch.float16: "Half",
    torch.int8: "Char",
    torch.uint8: "Byte",
    torch.int16: "Short",
    torch.int32: "Int",
    torch.int64: "Long",
    torch.bool: "Bool",
    torch.complex64: "ComplexFloat",
    torch.complex128: "ComplexDouble",
}
_FLOATS = (torch.float32, torch.float64)
_HALVES = (torch.float16, *_FLOATS)


def _need(condition: bool, text: str) -> None:
    if not condition:
        raise RuntimeError(text)


def _need_dtype(kernel: str, x: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    """Refuse a dtype that torchvision's kernel has not, in its words."""
    if x.dtype not in dtypes:
        name = _DTYPES.get(x.dtype, str(x.dtype))
        raise RuntimeError(f"\"{kernel}\" not implemented for '{name}'")


def _array(op: str, name: str, x: Tensor) -> Any:
    """The memory of a tensor as the kernels take it."""
    if type(x) is not Tensor:
        x = x.as_subclass(Tensor)
    return to_array(op, name, x.detach() if x.requires_grad else x, half=True)


def _tensor(array: Any) -> Tensor:
    """A result as a contiguous tensor, which torchvision's results are in any memory order of the input."""
    made: Tensor = array.owner if hasattr(array, "owner") else to_torch(array)
    return made.contiguous().view(-1).view(made.shape)  # strides of axes of size 1, too


# NMS


@functools.lru_cache(256)
def _threshold(value: float, dtype: torch.dtype, cuda: bool) -> float:
    """The threshold in [0, 1] whose answers in ``dtype`` are those of ``IoU > value``.

    torchvision compares with a double on the CPU, and with a float32 on a GPU. IoU is at most 1, and NaN is above
    nothing.
    """
    if not value < 1:
        return 1.0
    if cuda:
        return float(np.float32(value))
    return value if dtype is torch.float64 else float(floor_float32(value))


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    _need(dets.dim() == 2, f"boxes should be a 2d tensor, got {dets.dim()}D")
    _need(dets.size(1) == 4, f"boxes should have 4 elements in dimension 1, got {dets.size(1)}")
    _need(scores.dim() == 1, f"scores should be a 1d tensor, got {scores.dim()}D")
    _need(
        dets.size(0) == scores.size(0),
        f"boxes and scores should have same number of elements in dimension 0, got {dets.size(0)} and {scores.size(0)}",
    )
    if dets.is_cuda:
        return _nms_on_gpu(dets, scores, iou_threshold)
    _need_dtype("nms_kernel", dets, _FLOATS)
    _need(dets.dtype == scores.dtype, "dets should have the same type as scores")
    if not len(dets):
        return dets.new_empty((0,), dtype=torch.int64)
    if iou_threshold >= 0 or iou_threshold != iou_threshold:
        threshold = _threshold(iou_threshold, dets.dtype, False)
        b, s = _array("nms", "dets", dets), _array("nms", "scores", scores)
        keep = _nms_of_arrays(b, s, threshold)
        if keep is not None:
            return torch.from_numpy(keep)
        if scores.isnan().any():  # the first in torch's order
            keep = _nms_of_arrays(np.ascontiguousarray(b), _ranks(scores).numpy(), threshold)
        else:
            keep = _nms_of_arrays(np.ascontiguousarray(b), np.ascontiguousarray(s), threshold)
        if keep is not None:
            return torch.from_numpy(keep)
    return _nms_by_rows(dets, scores, iou_threshold)


def _nms_of_arrays(boxes: Any, scores: Any, threshold: float) -> Any:
    """Kept boxes; None where fastdet's rule differs from torchvision's: NaN, areas that overflow."""
    if backends.native is not None:
        return backends.native.nms_quick(boxes, scores, threshold, True)
    size = np.abs(boxes)
    if not ((size <= LARGE[getattr(torch, str(boxes.dtype))]) | np.isinf(size)).all() or np.isnan(scores).any():
        return None
    return greedy.nms(boxes, scores, threshold)


def _nms_on_gpu(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    _need(scores.is_cuda, "scores must be a CUDA tensor")
    if not len(dets):
        return dets.new_empty((0,), dtype=torch.int64)
    _need_dtype("nms_kernel", dets, _HALVES)
    size = dets.abs()
    usual = ((size <= LARGE[dets.dtype]) | size.isinf()).all()
    if iou_threshold < 0 or not bool(usual):
        return _nms_by_rows(dets, scores, float(np.float32(iou_threshold)))
    ranks = _ranks(scores)
    threshold = _threshold(iou_threshold, dets.dtype, True)
    return _tensor(greedy.nms(_array("nms", "dets", dets), _array("nms", "scores", ranks), threshold))


def _ranks(scores: Tensor) -> Tensor:
    """Scores that fall in torch's order, which has NaN first, and equal ones by index."""
    order = scores.detach().argsort(descending=True, stable=True)
    falling = torch.arange(0, -len(scores), -1, dtype=torch.float64, device=scores.device)
    return torch.empty_like(falling).scatter_(0, order, falling)


def _nms_by_rows(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """One kept box at a time, with torchvision's arithmetic for any number: NaN, areas that overflow, a negative t."""
    boxes = dets.detach().float() if dets.dtype is torch.float16 else dets.detach()
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    left = scores.detach().argsort(descending=True, stable=True)
    keep = []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        width = torch.minimum(x2[best], x2[left]) - torch.maximum(x1[best], x1[left])
        height = torch.minimum(y2[best], y2[left]) - torch.maximum(y1[best], y1[left])
        inter = torch.where(width > 0, width, 0) * torch.where(height > 0, height, 0)
        overlaps = inter / (areas[best] + areas[left] - inter)
        left = left[~(overlaps.double() > iou_threshold)]
    return torch.stack(keep) if keep else dets.new_empty((0,), dtype=torch.int64)


# Regions of interest


def _check_rois(kernel: str, x: Tensor, rois: Tensor, name: str, columns: str | None) -> None:
    _need(columns is None or rois.size(1) == 5, f"{columns} have shape as Tensor[K, 5]")
    _need(x.dtype == rois.dtype, f"{name} should have the same type as rois")
    _need_dtype(kernel, x, _HALVES)


def _by_rois(rois: Tensor, call: Callable[[Tensor], Any]) -> Any:
    """``call(rois)``; where fastdet refuses them, again with the index of each image cut to an integer, as C++ does."""
    if rois.is_cuda:
        return call(_whole(rois))
    try:
        return call(rois)
    except ValueError:
        whole = _whole(rois)
        if whole is rois:
            raise
        return call(whole)


def _whole(rois: Tensor) -> Tensor:
    image = rois[:, 0]
    cut = image.trunc()
    if not rois.is_cuda and not bool((cut != image).any()):
        return rois
    return torch.cat([cut[:, None], rois[:, 1:]], 1)


def _scaled(rois: Tensor, scale: float) -> tuple[Tensor, float]:
    """fastdet's scale is above 0: by another one the boxes are multiplied here."""
    if scale > 0:
        return rois, scale
    return torch.cat([rois[:, :1], rois[:, 1:] * scale], 1), 1.0


def _pooled(
    op: str, reference: Any, input: Tensor, rois: Tensor, bins: tuple[int, int], channels: int, call: Any, places: bool
) -> tuple[Tensor, Tensor | None]:
    """Features (K, channels, *bins), and their places: ``call(kernel, planes, last, rois, out, places)``."""

    def make(rois: Tensor) -> tuple[Tensor, Tensor | None]:
        planes, last = _check.maps(op, "input", _array(op, "input", input))
        boxes = _check.boxes(op, _array(op, "rois", rois), len(planes), planes)
        kernel = backends.choose(op, None, reference, planes, boxes)
        shape = (len(boxes), *bins, channels) if last else (len(boxes), channels, *bins)
        out = check.empty(op, shape, planes.dtype, planes)
        where = check.empty(op, shape, np.dtype(np.int64), planes) if places else None
        bad = call(kernel, planes, last, boxes, out, where)
        if bad is not None:
            _check.raise_bad_box(op, boxes, bad, len(planes))
        return _tensor(from_nchw(out, last, 4)), None if where is None else _tensor(from_nchw(where, last, 4))

    made: tuple[Tensor, Tensor | None] = _by_rois(rois, make)
    return made


def roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _check_rois("roi_align_forward_kernel", input, rois, "input", "rois must")
    shape = rois.size(0), input.size(1), pooled_height, pooled_width
    if 0 in shape:
        return input.new_zeros(shape)
    rois, scale = _scaled(rois, spatial_scale)

    def call(kernel: Any, planes: Any, last: bool, boxes: Any, out: Any, _: Any) -> Any:
        return kernel(planes, last, boxes, None, 0, scale, max(sampling_ratio, 0), aligned, out)

    bins = pooled_height, pooled_width
    return _pooled("roi_align", align.roi_align_reference, input, rois, bins, shape[1], call, False)[0]


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _check_rois("roi_align_backward_kernel", grad, rois, "grad", None)
    shape = batch_size, channels, height, width
    if not grad.numel():
        return grad.new_zeros(shape)
    rois, scale = _scaled(rois, spatial_scale)

    def call(kernel: Any, pooled: Any, last: bool, boxes: Any, out: Any) -> Any:
        return kernel(pooled, last, boxes, None, 0, scale, max(sampling_ratio, 0), aligned, out)

    reference = align.roi_align_backward_reference
    return _gradient("roi_align_backward", reference, grad, rois, shape, channels, call)


def _gradient(
    op: str, reference: Any, grad: Tensor, rois: Tensor, shape: tuple[int, ...], channels: int, call: Any
) -> Tensor:
    """The gradient of maps of a shape, where features have ``channels``: ``call(kernel, pooled, last, rois, out)``."""

    def make(rois: Tensor) -> Tensor:
        pooled, last = _check.image(op, "grad", _array(op, "grad", grad), "(K, C, height, width)")
        n, c, h, w = _check.input_size(op, shape)
        boxes = _check.boxes(op, _array(op, "rois", rois), n, pooled)
        _check.pooled(op, pooled, last, len(boxes), channels)
        kernel = backends.choose(op, None, reference, pooled, boxes)
        out = check.empty(op, (n, h, w, c) if last else (n, c, h, w), pooled.dtype, pooled)
        bad = call(kernel, pooled, last, boxes, out)
        if bad is not None:
            _check.raise_bad_box(op, boxes, bad, n)
        return _tensor(from_nchw(out, last, 4))

    made: Tensor = _by_rois(rois, make)
    return made


def roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    _check_rois("roi_pool_forward_kernel", input, rois, "input", None)
    shape = rois.size(0), input.size(1), pooled_height, pooled_width
    if 0 in shape:
        return input.new_zeros(shape), input.new_zeros(shape, dtype=torch.int32)
    rois, scale = _scaled(rois, spatial_scale)

    def pool(x: Tensor) -> tuple[Tensor, Any]:
        def call(kernel: Any, planes: Any, last: bool, boxes: Any, out: Any, where: Any) -> Any:
            return kernel(planes, last, boxes, scale, out, where)

        return _pooled("roi_pool", pooling.roi_pool_reference, x, rois, shape[2:], shape[1], call, True)

    values, places = pool(input)
    lowest = torch.tensor(LOWEST, device=input.device).to(input.dtype)
    if input.is_cuda or not bool(values.amin() > lowest):  # a NaN, or nothing that is above the number it begins with
        values, places = pool(torch.where(input > lowest, input, lowest))
        places = torch.where(values == lowest, -1, places)
    return values, places.to(torch.int32)


def roi_pool_backward(
    grad: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
) -> Tensor:
    op = "roi_pool_backward"
    _check_rois("roi_pool_backward_kernel", grad, rois, "grad", "Tensor rois should")
    shape = batch_size, channels, height, width
    if not grad.numel():
        return grad.new_zeros(shape)
    places = _array(op, "argmax", argmax.to(torch.int64))
    made: Tensor = _by_rois(
        rois,
        lambda rois: _tensor(
            pooling.roi_pool_backward(_array(op, "grad", grad), places, _array(op, "rois", rois), shape)
        ),
    )
    return made


def _own_channels(op: str, channels: int, pooled_height: int, pooled_width: int) -> int:
    if pooled_height < 1 or pooled_width < 1:  # torchvision divides by 0
        raise ValueError(f"{op}: output_size must be 1 or more, got ({pooled_height}, {pooled_width})")
    text = "input channels must be a multiple of pooling height * pooling width"
    _need(channels % (pooled_height * pooled_width) == 0, text)
    return channels // (pooled_height * pooled_width)


def _channel_of_bins(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The channel of ``x`` that each bin is computed from."""
    channels = torch.arange(shape[1] * shape[2] * shape[3], dtype=torch.int32, device=x.device)
    return channels.view(shape[1:]).repeat(shape[0], 1, 1, 1)


def _position_sensitive(
    op: str, reference: Any, input: Tensor, rois: Tensor, scale: float, bins: tuple[int, int], options: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Features of bins that each see channels of their own, and these channels. ``options`` follow the scale."""
    _check_rois(f"{op}_forward_kernel", input, rois, "input", "Tensor rois should")
    channels = _own_channels(op, input.size(1), *bins)
    shape = rois.size(0), channels, *bins
    if 0 in shape:
        return input.new_zeros(shape), input.new_zeros(shape, dtype=torch.int32)
    rois, scale = _scaled(rois, scale)

    def call(kernel: Any, planes: Any, last: bool, boxes: Any, out: Any, _: Any) -> Any:
        return kernel(planes, last, boxes, scale, *options, out)

    values, _ = _pooled(op, reference, input, rois, bins, channels, call, False)
    return values, _channel_of_bins(input, shape)


def ps_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    bins, options = (pooled_height, pooled_width), (max(sampling_ratio, 0),)
    reference = position_sensitive.ps_roi_align_reference
    values, channels = _position_sensitive("ps_roi_align", reference, input, rois, spatial_scale, bins, options)
    if sampling_ratio <= 0 and values.numel():
        values = _divided_by_no_samples(values, *_scaled(rois, spatial_scale))
    return values, channels


def _divided_by_no_samples(values: Tensor, rois: Tensor, scale: float) -> Tensor:
    """torchvision divides by the number of samples, which is 0 for a RoI without a size, and may be negative."""
    corners = (rois[:, 1:].float() if rois.dtype is torch.float16 else rois[:, 1:]) * scale - 0.5
    bins = torch.tensor([values.shape[3], values.shape[2]], dtype=corners.dtype, device=corners.device)
    samples = ((corners[:, 2:] - corners[:, :2]) / bins).ceil()
    thin = (samples <= 0).any(1)
    if not thin.is_cuda and not bool(thin.any()):
        return values
    return torch.where(thin[:, None, None, None], (0 / samples.prod(1))[:, None, None, None].to(values.dtype), values)


def ps_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    channel_mapping: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
) -> Tensor:
    op = "ps_roi_align_backward"
    _check_rois("ps_roi_align_backward_kernel", grad, rois, "grad", None)
    shape = batch_size, channels, height, width
    if not grad.numel():
        return grad.new_zeros(shape)
    rois, scale = _scaled(rois, spatial_scale)

    def call(kernel: Any, pooled: Any, last: bool, boxes: Any, out: Any) -> Any:
        return kernel(pooled, last, boxes, scale, max(sampling_ratio, 0), out)

    own = _own_channels(op, channels, pooled_height, pooled_width)
    reference = position_sensitive.ps_roi_align_backward_reference
    return _gradient(op, reference, grad, rois, shape, own, call)


def ps_roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    reference = position_sensitive.ps_roi_pool_reference
    return _position_sensitive("ps_roi_pool", reference, input, rois, spatial_scale, (pooled_height, pooled_width), ())


def ps_roi_pool_backward(
    grad: Tensor,
    rois: Tensor,
    channel_mapping: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
) -> Tensor:
    op = "ps_roi_pool_backward"
    _check_rois("ps_roi_pool_backward_kernel", grad, rois, "grad", None)
    if not grad.numel():
        return grad.new_zeros((batch_size, channels, height, width))
    rois, scale = _scaled(rois, spatial_scale)
    if rois.dtype is torch.float64:  # it rounds corners by a function of float32 here
        rois, scale = torch.cat([rois[:, :1], (rois[:, 1:] * scale).float().double()], 1), 1.0
    # its gradient reaches the last row and the last column, which its forward pass leaves out: fastdet leaves them out
    # of both, so it gets maps with one row and one column more
    shape = batch_size, channels, height + 1, width + 1

    def call(kernel: Any, pooled: Any, last: bool, boxes: Any, out: Any) -> Any:
        return kernel(pooled, last, boxes, scale, out)

    own = _own_channels(op, channels, pooled_height, pooled_width)
    reference = position_sensitive.ps_roi_pool_backward_reference
    whole = _gradient(op, reference, grad, rois, shape, own, call)
    return whole[:, :, :height, :width].contiguous()


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU in float32, which torchvision returns for float64, too."""
    op = "box_iou_rotated"
    for name, x in (("boxes1", boxes1), ("boxes2", boxes2)):
        _need(x.dim() == 2, f"{name} should be a 2d tensor, got {x.dim()}D")
        _need(x.size(1) == 5, f"{name} should have 5 elements in dimension 1, got {x.size(1)}")
    _need(boxes1.dtype == boxes2.dtype, "boxes1 and boxes2 must have the same dtype")
    _need_dtype(op if boxes1.is_cuda else f"{op}_cpu", boxes1, _FLOATS)
    return _tensor(overlap.box_iou_rotated(_array(op, "boxes1", boxes1), _array(op, "boxes2", boxes2))).float()


KERNELS: dict[str, Callable[..., Any]] = {  # what a working binary is replaced by
    "nms": nms,
    "roi_align": roi_align,
    "_roi_align_backward": roi_align_backward,
    "roi_pool": roi_pool,
    "_roi_pool_backward": roi_pool_backward,
    "ps_roi_align": ps_roi_align,
    "_ps_roi_align_backward": ps_roi_align_backward,
    "ps_roi_pool": ps_roi_pool,
    "_ps_roi_pool_backward": ps_roi_pool_backward,
}
