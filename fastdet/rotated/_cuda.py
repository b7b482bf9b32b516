"""The ops of rotated boxes of the CUDA backend. For a NaN suppression returns its code: see `check.find_nan`."""

from __future__ import annotations

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.nms._cuda import STATUS, read_status


def box_iou_rotated(
    a: DeviceArray,
    b: DeviceArray,
    degrees: bool,
    clockwise: bool,
    metric: str,
    aligned: bool,
    out: DeviceArray | None,
) -> DeviceArray:
    if out is None:
        out = a.empty((len(a),) if aligned else (len(a), len(b)), a.dtype)
    native.box_iou_rotated(
        a.dtype.char,
        a.pointer,
        len(a),
        b.pointer,
        len(b),
        degrees,
        clockwise,
        metric,
        aligned,
        out.pointer,
        *a.where,
    )
    return out


def box_convert_rotated(
    boxes: DeviceArray,
    in_fmt: str,
    out_fmt: str,
    degrees: bool,
    clockwise: bool,
    out_degrees: bool,
    out_clockwise: bool,
) -> DeviceArray:
    out = boxes.empty((len(boxes), 8 if out_fmt == "xyxyxyxy" else 5), boxes.dtype)
    native.box_convert_rotated(
        boxes.dtype.char,
        boxes.pointer,
        len(boxes),
        in_fmt,
        out_fmt,
        degrees,
        clockwise,
        out_degrees,
        out_clockwise,
        out.pointer,
        *boxes.where,
    )
    return out


def min_area_rect(points: DeviceArray, degrees: bool, clockwise: bool) -> DeviceArray:
    n, count, _ = points.shape
    out = points.empty((n, 5), points.dtype)
    workspace = points.empty_bytes(native.min_area_rect_workspace(n, count))
    native.min_area_rect(
        points.dtype.char, points.pointer, n, count, degrees, clockwise, workspace.pointer, out.pointer, *points.where
    )
    return out


def nms_rotated(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    degrees: bool,
    clockwise: bool,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> DeviceArray | int:
    n, where, dtypes = len(boxes), boxes.where, (boxes.dtype.char, scores.dtype.char)
    keep, status = boxes.empty((n,), np.int64), boxes.empty((STATUS,), np.int64)
    workspace = boxes.empty_bytes(native.nms_rotated_workspace(*dtypes, n, idxs is not None, where[0]))
    native.nms_rotated(
        *dtypes,
        boxes.pointer,
        scores.pointer,
        0 if idxs is None else idxs.pointer,
        n,
        degrees,
        clockwise,
        iou_threshold,
        score_threshold,
        max_output,
        metric,
        workspace.pointer,
        keep.pointer,
        status.pointer,
        *where,
    )
    count, code = read_status(status)
    return keep.first(count) if code is None else code


def soft_nms_rotated(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    degrees: bool,
    clockwise: bool,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[DeviceArray, DeviceArray] | int:
    n, where, dtype = len(boxes), boxes.where, boxes.dtype.char
    keep, new_scores = boxes.empty((n,), np.int64), boxes.empty((n,), boxes.dtype)
    status = boxes.empty((STATUS,), np.int64)
    workspace = boxes.empty_bytes(native.soft_nms_rotated_workspace(dtype, n, idxs is not None, where[0]))
    native.soft_nms_rotated(
        dtype,
        boxes.pointer,
        scores.pointer,
        0 if idxs is None else idxs.pointer,
        n,
        degrees,
        clockwise,
        method == "gaussian",
        iou_threshold,
        sigma,
        min_score,
        max_output,
        workspace.pointer,
        keep.pointer,
        new_scores.pointer,
        status.pointer,
        *where,
    )
    count, code = read_status(status)
    return (keep.first(count), new_scores.first(count)) if code is None else code
