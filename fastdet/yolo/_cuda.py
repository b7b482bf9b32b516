"""YOLO's candidates and final detections of the CUDA backend. Their number is read back, or where a value is wrong."""

from __future__ import annotations

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.nms._cuda import STATUS, nms_padded, placed

Arrays = tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray, DeviceArray, DeviceArray]


def yolo_candidates(
    output: DeviceArray, planes: bool, classes: int, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray, DeviceArray] | int:
    arrays, _ = _candidates(output, planes, classes, objectness, multi_label, score_threshold)
    return arrays if isinstance(arrays, int) else arrays[:5]


def _candidates(
    output: DeviceArray, planes: bool, classes: int, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Arrays | int, int]:
    """(boxes, scores, labels, images, rows, image * classes + label), or a flat index; and an image, or -1.

    The index is that of the first value that is wrong: a NaN, or a score outside [0, 1].

    The image is the first one with an infinite box.
    """
    images, *sides = output.shape
    channels, candidates = sides if planes else sides[::-1]
    where = output.where
    job = (
        output.dtype.char,
        output.pointer,
        images,
        candidates,
        channels,
        classes,
        planes,
        objectness,
        score_threshold,
        multi_label,
    )
    entries = images * candidates * (classes if multi_label else 1)
    workspace, places = output.empty_bytes(native.yolo_workspace(entries)), output.empty((entries,), np.int64)
    status = output.empty((STATUS,), np.int64)
    native.yolo_look(*job, workspace.pointer, places.pointer, status.pointer, *where)
    wrong, infinite, count = native.read(status.pointer, STATUS, *where)
    if wrong >= 0:
        return wrong, -1
    boxes, scores = output.empty((count, 4), output.dtype), output.empty((count,), output.dtype)
    labels, of_image, rows, keys = (output.empty((count,), np.int64) for _ in range(4))
    native.yolo_write(
        *job,
        workspace.pointer,
        places.pointer,
        count,
        boxes.pointer,
        scores.pointer,
        labels.pointer,
        of_image.pointer,
        rows.pointer,
        keys.pointer,
        *where,
    )
    return (boxes, scores, labels, of_image, rows, keys), infinite // max(candidates, 1) if infinite >= 0 else -1


def yolo_postprocess(
    output: DeviceArray,
    planes: bool,
    classes: int,
    objectness: bool,
    multi_label: bool,
    score_threshold: float,
    class_agnostic: bool,
    iou_threshold: float,
    metric: str,
    max_output: int,
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray] | tuple[int, int]:
    """The padded detections; or the flat index of a wrong value and -1; or -1 and the image of an infinite box."""
    arrays, infinite = _candidates(output, planes, classes, objectness, multi_label, score_threshold)
    if isinstance(arrays, int):
        return arrays, -1
    if infinite >= 0:
        return -1, infinite
    boxes, scores, _, images, _, keys = arrays
    groups = images if class_agnostic else keys
    keep, status = nms_padded(boxes, scores, groups, iou_threshold, None, -1, metric)
    return placed(boxes, scores, keys, keep, status, len(output), classes, max_output)
