"""RoI ops of the CUDA backend."""

from __future__ import annotations

from typing import Any

from fastdet._core.cuda import fault_code, native
from fastdet._core.device_arrays import DeviceArray


def _call(
    op: str,
    map_: DeviceArray,
    pooled: DeviceArray,
    forward: bool,
    channels_last: bool,
    boxes: DeviceArray,
    levels: DeviceArray | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    *more: int,
) -> int | None:
    """Call the native function between ``map_`` (N, C, H, W) and ``pooled``; the code of a fault, if calls wait."""
    order = (0, 3, 1, 2) if channels_last else (0, 1, 2, 3)
    sizes = [map_.shape[i] for i in order] + [pooled.shape[i] for i in (order[0], *order[2:])]
    if max(sizes) >= 2**31 or map_.size >= 2**36 or pooled.size >= 2**36:
        shapes = f"{map_.shape} and {pooled.shape}"
        raise ValueError(f"{op}: maps and features on a GPU must have below 2^36 values, got shapes {shapes}")
    source, result = (map_, pooled) if forward else (pooled, map_)
    scratch = map_.empty_bytes(16)
    arrays = (
        map_.dtype.char, source.pointer, result.pointer, channels_last, boxes.pointer,
        0 if levels is None else levels.pointer, level, spatial_scale, sampling_ratio, aligned, scratch.pointer,
    )  # fmt: skip
    getattr(native, op)(arrays, sizes, *more, *map_.where)
    return fault_code(op)


def roi_align(
    x: DeviceArray,
    channels_last: bool,
    boxes: DeviceArray,
    levels: DeviceArray | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: DeviceArray,
) -> int | None:
    options = levels, level, spatial_scale, sampling_ratio, aligned
    return _call("roi_align", x, out, True, channels_last, boxes, *options)


def roi_align_backward(
    grad: DeviceArray,
    channels_last: bool,
    boxes: DeviceArray,
    levels: DeviceArray | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: DeviceArray,
) -> int | None:
    options = levels, level, spatial_scale, sampling_ratio, aligned
    return _call("roi_align_backward", out, grad, False, channels_last, boxes, *options)


def roi_levels(boxes: DeviceArray, bounds: list[float], out: DeviceArray) -> None:
    native.roi_levels(boxes.dtype.char, boxes.pointer, len(boxes), bounds, out.pointer, *boxes.where)


def roi_pool(
    x: DeviceArray,
    channels_last: bool,
    boxes: DeviceArray,
    spatial_scale: float,
    out: DeviceArray,
    places: DeviceArray | None,
) -> int | None:
    to = 0 if places is None else places.pointer
    return _call("roi_pool", x, out, True, channels_last, boxes, None, 0, spatial_scale, 0, False, to)


def roi_pool_backward(
    grad: DeviceArray, channels_last: bool, places: DeviceArray, boxes: DeviceArray, out: DeviceArray
) -> int | None:
    sums = out.empty((out.size,), boxes.dtype)
    pointers = places.pointer, sums.pointer
    return _call("roi_pool_backward", out, grad, False, channels_last, boxes, None, 0, 1.0, 0, False, *pointers)


def ps_roi_align(
    x: DeviceArray, channels_last: bool, boxes: DeviceArray, spatial_scale: float, sampling_ratio: int, out: DeviceArray
) -> int | None:
    options: Any = None, 0, spatial_scale, sampling_ratio, True
    return _call("ps_roi_align", x, out, True, channels_last, boxes, *options)


def ps_roi_align_backward(
    grad: DeviceArray,
    channels_last: bool,
    boxes: DeviceArray,
    spatial_scale: float,
    sampling_ratio: int,
    out: DeviceArray,
) -> int | None:
    options: Any = None, 0, spatial_scale, sampling_ratio, True
    return _call("ps_roi_align_backward", out, grad, False, channels_last, boxes, *options)


def ps_roi_pool(
    x: DeviceArray, channels_last: bool, boxes: DeviceArray, spatial_scale: float, out: DeviceArray
) -> int | None:
    return _call("ps_roi_pool", x, out, True, channels_last, boxes, None, 0, spatial_scale, 0, False)


def ps_roi_pool_backward(
    grad: DeviceArray, channels_last: bool, boxes: DeviceArray, spatial_scale: float, out: DeviceArray
) -> int | None:
    return _call("ps_roi_pool_backward", out, grad, False, channels_last, boxes, None, 0, spatial_scale, 0, False)
