"""Region proposals of the CUDA backend. The code of a wrong value is read back, so the calls wait for the GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import MAX_COUNT
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.nms._cuda import nms_padded, placed
from fastdet.proposals.coder import MAX_LOG_RATIO, Weights

MAX_LEVELS = 16
DROPPED = -0.5  # scores of dropped candidates are -1


def encode_boxes(boxes: DeviceArray, anchors: DeviceArray, weights: Weights) -> DeviceArray | int:
    out, wrong = boxes.empty(boxes.shape, boxes.dtype), boxes.empty((1,), np.int64)
    native.encode_boxes(
        boxes.dtype.char,
        boxes.pointer,
        anchors.pointer,
        len(boxes),
        list(weights),
        out.pointer,
        wrong.pointer,
        *boxes.where,
    )
    (code,) = native.read(wrong.pointer, 1, *boxes.where)
    return out if code < 0 else int(code)


def decode_boxes(
    deltas: DeviceArray, anchors: DeviceArray, weights: Weights, max_log_ratio: float
) -> DeviceArray | int:
    out, wrong = deltas.empty(deltas.shape, deltas.dtype), deltas.empty((2,), np.int64)
    native.decode_boxes(
        deltas.dtype.char,
        deltas.pointer,
        anchors.pointer,
        len(deltas),
        max(len(deltas) // max(len(anchors), 1), 1),
        list(weights),
        max_log_ratio,
        out.pointer,
        wrong.pointer,
        *deltas.where,
    )
    codes = [int(code) for code in native.read(wrong.pointer, 2, *deltas.where) if code >= 0]
    return codes[0] if codes else out


def match_boxes(iou: DeviceArray, high: float, low: float, allow_low_quality: bool) -> DeviceArray | int:
    rows, columns = iou.shape
    in_row, best = iou.empty((rows,), np.int64), iou.empty((columns,), np.int32)
    matches, wrong = iou.empty((columns,), np.int64), iou.empty((1,), np.int64)
    native.match_boxes(
        iou.dtype.char,
        iou.pointer,
        rows,
        columns,
        high,
        low,
        allow_low_quality,
        in_row.pointer,
        best.pointer,
        matches.pointer,
        wrong.pointer,
        *iou.where,
    )
    (nan,) = native.read(wrong.pointer, 1, *iou.where)
    return matches if nan < 0 else int(nan)


def generate_proposals(
    scores: list[DeviceArray],
    deltas: list[DeviceArray],
    anchors: list[DeviceArray],
    image_sizes: NDArray[np.float64],
    pre_nms_top_n: int,
    post_nms_top_n: int,
    iou_threshold: float,
    min_size: float,
    score_threshold: float,
) -> tuple[DeviceArray, DeviceArray, DeviceArray] | int:
    """Two sorts and a kernel for the tops of all levels, then NMS as `multiclass_nms` has it: levels are classes."""
    first, images = scores[0], len(scores[0])
    counts, places = [x.shape[1] for x in scores], sum(x.size for x in scores)
    if len(scores) > MAX_LEVELS or places > MAX_COUNT:
        got = f"{len(scores)} levels of {places} logits"
        raise ValueError(
            f"generate_proposals: a GPU takes at most {MAX_LEVELS} levels of {MAX_COUNT} logits, got {got}"
        )
    rows = images * sum(min(pre_nms_top_n, count) for count in counts)
    boxes, values = first.empty((rows, 4), first.dtype), first.empty((rows,), first.dtype)
    keys, wrong = first.empty((rows,), np.int64), first.empty((2,), np.int64)
    workspace = first.empty_bytes(native.propose_workspace(first.dtype.char, places, first.where[0]))
    sizes = first.from_host(np.ascontiguousarray(image_sizes))
    native.propose(
        first.dtype.char,
        [x.pointer for x in scores],
        [x.pointer for x in deltas],
        [x.pointer for x in anchors],
        counts,
        images,
        sizes.pointer,
        pre_nms_top_n,
        min_size,
        score_threshold,
        MAX_LOG_RATIO,
        workspace.pointer,
        boxes.pointer,
        values.pointer,
        keys.pointer,
        wrong.pointer,
        *first.where,
    )
    codes = [int(code) for code in native.read(wrong.pointer, 2, *first.where) if code >= 0]
    if codes:
        return codes[0]
    keep, status = nms_padded(boxes, values, keys, iou_threshold, DROPPED, -1, "iou", max_per_key=post_nms_top_n)
    found = placed(boxes, values, keys, keep, status, images, len(scores), post_nms_top_n)
    return found[0], found[1], found[3]
