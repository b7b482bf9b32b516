"""Box fusion of the CUDA backend: sums, confidences and ranks too, so that only what is found comes to the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.fusion._check import Faults
from fastdet.fusion.weighted import CONF_TYPES

Result = tuple[DeviceArray, DeviceArray, DeviceArray] | Faults


STATUS = len(Faults._fields) + 1  # csrc/fusion/cuda.h, FusionStatus: the faults, and how many results there are


def _gathered(
    boxes: Sequence[DeviceArray], scores: Sequence[DeviceArray], labels: Sequence[DeviceArray] | None
) -> tuple[DeviceArray, DeviceArray, int]:
    """The models' boxes in one, in float64, and the status."""
    n = sum(map(len, boxes))
    together = boxes[0].empty_bytes(native.fusion_input_bytes(n))
    status = boxes[0].empty((STATUS,), np.int64)
    first = 0
    for m, (b, s) in enumerate(zip(boxes, scores, strict=True)):
        native.fusion_gather(
            b.dtype.char,
            s.dtype.char,
            b.pointer,
            s.pointer,
            0 if labels is None else labels[m].pointer,
            len(b),
            m,
            first,
            together.pointer,
            n,
            status.pointer,
            *b.where,
        )
        first += len(b)
    return together, status, n


def merge_boxes(boxes: DeviceArray, scores: DeviceArray, iou_threshold: float, metric: str) -> Result:
    """Boxes, scores and groups as `fastdet.fusion.merge_boxes` gives them, or the faults that the GPU has found."""
    together, status, n = _gathered([boxes], [scores], None)
    where, dtypes = boxes.where, (boxes.dtype.char, scores.dtype.char)
    workspace = boxes.empty_bytes(native.merge_boxes_workspace(n))
    merged, total = boxes.empty((n, 4), boxes.dtype), boxes.empty((n,), scores.dtype)
    groups = boxes.empty((n,), np.int64)
    native.merge_boxes(
        *dtypes,
        together.pointer,
        n,
        iou_threshold,
        metric,
        workspace.pointer,
        merged.pointer,
        total.pointer,
        groups.pointer,
        status.pointer,
        *where,
    )
    *found, count = native.read(status.pointer, STATUS, *where)
    faults = Faults(*found)._replace(negative_score=-1)  # sums may be of any sign; only averages need weights
    if max(faults) >= 0:
        return faults
    return merged.first(count), total.first(count), groups


def nmm(
    boxes: DeviceArray,
    scores: DeviceArray,
    idxs: DeviceArray | None,
    iou_threshold: float,
    metric: str,
    transitive: bool,
) -> tuple[DeviceArray, ...] | Faults:
    """The results of `nmm_reference`, or the faults that the GPU has found."""
    n, where, dtypes = len(boxes), boxes.where, (boxes.dtype.char, scores.dtype.char)
    size = native.nmm_workspace(*dtypes, n, idxs is not None, iou_threshold, metric, transitive, where[0])
    workspace = boxes.empty_bytes(size)
    united, best = boxes.empty((n, 4), boxes.dtype), boxes.empty((n,), scores.dtype)
    keep, groups, order, parents = (boxes.empty((n,), np.int64) for _ in range(4))
    status = boxes.empty((STATUS,), np.int64)
    native.nmm(
        *dtypes,
        boxes.pointer,
        scores.pointer,
        0 if idxs is None else idxs.pointer,
        n,
        iou_threshold,
        metric,
        transitive,
        workspace.pointer,
        united.pointer,
        best.pointer,
        keep.pointer,
        groups.pointer,
        order.pointer,
        parents.pointer,
        status.pointer,
        *where,
    )
    *faults, count = native.read(status.pointer, STATUS, *where)
    if max(faults) >= 0:
        return Faults(*faults)
    return united[:count], best[:count], keep[:count], groups, order, parents


def weighted_boxes_fusion(
    boxes: Sequence[DeviceArray],
    scores: Sequence[DeviceArray],
    labels: Sequence[DeviceArray],
    share: Sequence[float],
    iou_threshold: float,
    min_score: float,
    conf_type: str,
    allows_overflow: bool,
) -> Result:
    """Boxes, scores and labels as `fastdet.fusion.weighted_boxes_fusion` gives them, or the faults found on the GPU."""
    together, status, n = _gathered(boxes, scores, labels)
    b, where, models = boxes[0], boxes[0].where, len(boxes)
    dtypes = b.dtype.char, scores[0].dtype.char
    workspace = b.empty_bytes(native.weighted_boxes_fusion_workspace(n, models, where[0]))
    weights = b.from_host(np.array(share, np.float64))
    fused, value = b.empty((n, 4), b.dtype), b.empty((n,), scores[0].dtype)
    label = b.empty((n,), np.int64)
    native.weighted_boxes_fusion(
        *dtypes,
        together.pointer,
        n,
        iou_threshold,
        min_score,
        CONF_TYPES.index(conf_type),
        allows_overflow,
        weights.pointer,
        models,
        sum(share),
        max(share),
        workspace.pointer,
        fused.pointer,
        value.pointer,
        label.pointer,
        status.pointer,
        *where,
    )
    *faults, count = native.read(status.pointer, STATUS, *where)
    if max(faults) >= 0:
        return Faults(*faults)
    return fused.first(count), value.first(count), label.first(count)
