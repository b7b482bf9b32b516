"""Box operations of the CUDA backend.

The pattern of every area's `_cuda`: allocate results on the input's device, then pass pointers, shapes, and `where`
(device and stream) to the native function.
"""

from __future__ import annotations

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray


def box_area(boxes: DeviceArray) -> DeviceArray:
    out = boxes.empty((len(boxes),), boxes.dtype)
    native.box_area(boxes.dtype.char, boxes.pointer, len(boxes), out.pointer, *boxes.where)
    return out


def box_convert(boxes: DeviceArray, in_fmt: str, out_fmt: str) -> DeviceArray:
    out = boxes.empty(boxes.shape, boxes.dtype)
    native.box_convert(boxes.dtype.char, boxes.pointer, len(boxes), in_fmt, out_fmt, out.pointer, *boxes.where)
    return out


def clip_boxes_to_image(boxes: DeviceArray, height: float, width: float) -> DeviceArray:
    out = boxes.empty(boxes.shape, boxes.dtype)
    native.clip_boxes_to_image(boxes.dtype.char, boxes.pointer, len(boxes), height, width, out.pointer, *boxes.where)
    return out


def extend_boxes(boxes: DeviceArray, offset: float) -> DeviceArray:
    out = boxes.empty(boxes.shape, boxes.dtype)
    native.extend_boxes(boxes.dtype.char, boxes.pointer, len(boxes), offset, out.pointer, *boxes.where)
    return out


def remove_small_boxes(boxes: DeviceArray, min_size: float) -> DeviceArray:
    keep, count = boxes.empty((len(boxes),), np.int64), boxes.empty((1,), np.int64)
    workspace = boxes.empty_bytes(native.remove_small_workspace(len(boxes)))
    where = boxes.where
    native.remove_small_boxes(
        boxes.dtype.char, boxes.pointer, len(boxes), min_size, workspace.pointer, keep.pointer, count.pointer, *where
    )
    return keep[: native.read(count.pointer, 1, *where)[0]]


def box_iou(
    a: DeviceArray,
    b: DeviceArray,
    metric: str,
    aligned: bool,
    crowd: DeviceArray | None,
    eps: float,
    out: DeviceArray | None,
) -> DeviceArray:
    if out is None:
        out = a.empty((len(a),) if aligned else (len(a), len(b)), a.dtype)
    flags = 0 if crowd is None else crowd.pointer
    native.box_iou(
        a.dtype.char, a.pointer, len(a), b.pointer, len(b), metric, aligned, flags, eps, out.pointer, *a.where
    )
    return out
