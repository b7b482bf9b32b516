"""Box fusion of the CUDA backend. Sums, confidences and ranks are computed there too: only the status is read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray


class Status(NamedTuple):
    """The kernels' FusionStatus: the first row with each fault, or -1, and the number of results."""

    nan_box: int
    nan_score: int
    infinite_box: int
    infinite_score: int
    negative_score: int
    results: int


def _gathered(
    boxes: Sequence[DeviceArray], scores: Sequence[DeviceArray], labels: Sequence[DeviceArray] | None
) -> tuple[DeviceArray, DeviceArray, int]:
    """The boxes of all models in one buffer, in float64, the status, and the number of boxes."""
    n = sum(map(len, boxes))
    together = boxes[0].empty_bytes(native.fusion_input_bytes(n))
    status = boxes[0].empty((len(Status._fields),), np.int64)
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


def merge_boxes(
    boxes: DeviceArray, scores: DeviceArray, iou_threshold: float, metric: str
) -> tuple[Status, DeviceArray, DeviceArray, DeviceArray]:
    """The status, and boxes, scores and groups as `fastdet.fusion.merge_boxes` gives them."""
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
    read = Status(*native.read(status.pointer, len(Status._fields), *where))
    return read, merged[: read.results], total[: read.results], groups


def weighted_boxes_fusion(
    boxes: Sequence[DeviceArray],
    scores: Sequence[DeviceArray],
    labels: Sequence[DeviceArray],
    share: Sequence[float],
    iou_threshold: float,
    min_score: float,
    confidence: int,
    allows_overflow: bool,
) -> tuple[Status, DeviceArray, DeviceArray, DeviceArray]:
    """The status, and boxes, scores and labels as `fastdet.fusion.weighted_boxes_fusion` gives them."""
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
        confidence,
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
    read = Status(*native.read(status.pointer, len(Status._fields), *where))
    return read, fused[: read.results], value[: read.results], label[: read.results]
