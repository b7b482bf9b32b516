"""The NMS family of the CUDA backend. For a NaN the functions return its code: see `check.find_nan`."""

from __future__ import annotations

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray

STATUS = 3  # entries of the kernels' `Status`: first NaN of the boxes, of the scores (-1: none); count


def nms(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> DeviceArray | int:
    keep, status = nms_padded(boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric)
    count, code = read_status(status)
    return keep.first(count) if code is None else code


def nms_padded(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
    *,
    max_per_key: int = -1,
) -> tuple[DeviceArray, DeviceArray]:
    """Kept indices (N,), of which the first ``status[2]`` are valid, and the status (3,) int64.

    Nothing is read back, so the call can be captured in a CUDA graph.
    """
    n, where, dtypes = len(boxes), boxes.where, (boxes.dtype.char, scores.dtype.char)
    keep, status = boxes.empty((n,), np.int64), boxes.empty((STATUS,), np.int64)
    size = native.nms_workspace(*dtypes, n, idxs is not None, iou_threshold, metric, where[0])
    workspace = boxes.empty_bytes(size)
    native.nms(
        *dtypes,
        boxes.pointer,
        scores.pointer,
        0 if idxs is None else idxs.pointer,
        n,
        iou_threshold,
        score_threshold,
        metric,
        max_output,
        max_per_key,
        workspace.pointer,
        keep.pointer,
        status.pointer,
        *where,
    )
    return keep, status


def soft_nms(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[DeviceArray, DeviceArray] | int:
    n, where, dtype = len(boxes), boxes.where, boxes.dtype.char
    keep, new_scores = boxes.empty((n,), np.int64), boxes.empty((n,), boxes.dtype)
    status = boxes.empty((STATUS,), np.int64)
    workspace = boxes.empty_bytes(native.soft_nms_workspace(dtype, n, idxs is not None, where[0]))
    native.soft_nms(
        dtype,
        boxes.pointer,
        scores.pointer,
        0 if idxs is None else idxs.pointer,
        n,
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


def multiclass_nms(
    boxes: DeviceArray,
    scores: DeviceArray,
    iou_threshold: float,
    score_threshold: float,
    max_output: int,
    max_per_class: int,
    metric: str,
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray] | int:
    """Reads back the number of candidates, to allocate memory for those only, not for every class of every box."""
    batch, n, classes = scores.shape
    where, dtypes = boxes.where, (boxes.dtype.char, scores.dtype.char)
    entries, status = boxes.empty((scores.size,), np.int64), boxes.empty((STATUS,), np.int64)
    workspace = boxes.empty_bytes(native.multiclass_workspace(scores.size))
    shape = batch, n, classes
    native.multiclass_select(
        *dtypes,
        boxes.pointer,
        scores.pointer,
        *shape,
        score_threshold,
        workspace.pointer,
        entries.pointer,
        status.pointer,
        *where,
    )
    count, code = read_status(status)
    if code is not None:
        return code
    candidates, values = boxes.empty((count, 4), boxes.dtype), boxes.empty((count,), scores.dtype)
    keys = boxes.empty((count,), np.int64)
    native.multiclass_gather(
        *dtypes,
        boxes.pointer,
        scores.pointer,
        n,
        classes,
        entries.pointer,
        count,
        candidates.pointer,
        values.pointer,
        keys.pointer,
        *where,
    )
    keep, status = nms_padded(candidates, values, keys, iou_threshold, None, -1, metric, max_per_key=max_per_class)
    return placed(candidates, values, keys, keep, status, batch, classes, max_output)


def placed(
    candidates: DeviceArray,
    values: DeviceArray,
    keys: DeviceArray,
    keep: DeviceArray,
    status: DeviceArray,
    batch: int,
    classes: int,
    max_output: int,
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray]:
    """Kept candidates, whose keys are image * classes + class, as padded boxes, scores, labels and counts."""
    boxes = candidates.empty((batch, max_output, 4), candidates.dtype)
    scores = candidates.empty((batch, max_output), values.dtype)
    labels, counts = candidates.empty((batch, max_output), np.int64), candidates.empty((batch,), np.int64)
    native.multiclass_place(
        candidates.dtype.char,
        values.dtype.char,
        candidates.pointer,
        values.pointer,
        keys.pointer,
        keep.pointer,
        status.pointer,
        batch,
        classes,
        max_output,
        boxes.pointer,
        scores.pointer,
        labels.pointer,
        counts.pointer,
        *candidates.where,
    )
    return boxes, scores, labels, counts


def read_status(status: DeviceArray) -> tuple[int, int | None]:
    """The number of results, and the code of the first NaN."""
    nan_box, nan_score, count = native.read(status.pointer, STATUS, *status.where)
    return count, nan_code(nan_box, nan_score)


def nan_code(nan_box: int, nan_score: int) -> int | None:
    """The code of `check.find_nan` from the rows of the status."""
    if nan_box >= 0:
        return 2 * nan_box
    return 2 * nan_score + 1 if nan_score >= 0 else None
