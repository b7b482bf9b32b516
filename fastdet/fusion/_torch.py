"""Box fusion as ops of torch. They have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet._core import check
from fastdet._core.torch_library import (
    backend_name,
    computed,
    define,
    detached,
    no_batch,
    number,
    tensor,
    unknown_size,
)
from fastdet.boxes.overlap import METRICS
from fastdet.fusion import merge, non_maximum, weighted
from fastdet.fusion.weighted import CONF_TYPES


def _merged(boxes: Any, scores: Any, *rest: Any) -> Any:
    size = unknown_size()
    return (
        boxes.new_empty((size, 4), dtype=computed(boxes)),
        boxes.new_empty((size,), dtype=computed(scores)),
        boxes.new_empty(boxes.shape[:1], dtype=torch.int64),
    )


def _fused(boxes_list: Any, scores_list: Any, *rest: Any) -> Any:
    size = unknown_size()
    boxes, scores = boxes_list[0], scores_list[0]
    return (
        boxes.new_empty((size, 4), dtype=computed(boxes)),
        boxes.new_empty((size,), dtype=computed(scores)),
        boxes.new_empty((size,), dtype=torch.int64),
    )


def _united(boxes: Any, scores: Any, *rest: Any) -> Any:
    size, n = unknown_size(), boxes.shape[:1]
    return (
        boxes.new_empty((size, 4), dtype=computed(boxes)),
        boxes.new_empty((size,), dtype=computed(scores)),
        boxes.new_empty((size,), dtype=torch.int64),
        *(boxes.new_empty(n, dtype=torch.int64) for _ in range(3)),
    )


_merge_boxes = define(
    "merge_boxes(Tensor boxes, Tensor scores, float iou_threshold, str metric, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    merge.merge_boxes,
    _merged,
    vmap=no_batch("merge_boxes", "call it on each item"),
)
_GROUPED = (
    "(Tensor boxes, Tensor scores, float iou_threshold, Tensor? idxs, str metric, str? backend)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_nmm = define(f"nmm{_GROUPED}", non_maximum.nmm, _united, vmap=no_batch("nmm", "call it on each item"))
_greedy_nmm = define(
    f"greedy_nmm{_GROUPED}", non_maximum.greedy_nmm, _united, vmap=no_batch("greedy_nmm", "call it on each item")
)
_weighted_boxes_fusion = define(
    "weighted_boxes_fusion(Tensor[] boxes_list, Tensor[] scores_list, Tensor[] labels_list, float[]? weights,"
    " float iou_thr, float skip_box_thr, str conf_type, bool allows_overflow, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    weighted.weighted_boxes_fusion,
    _fused,
    vmap=no_batch("weighted_boxes_fusion", "call it on each item"),
)


def merge_boxes(x: Any, scores: Any, iou_threshold: Any, metric: Any, backend: Any) -> merge.Merged:
    op = "merge_boxes"
    result = _merge_boxes(
        detached(op, "boxes", x),
        detached(op, "scores", scores),
        number(op, "iou_threshold", iou_threshold),
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )
    return merge.Merged(*result)


def _grouped(
    op: str, kernel: Any, x: Any, scores: Any, iou_threshold: Any, idxs: Any, metric: Any, backend: Any
) -> non_maximum.MergedGroups:
    result = kernel(
        detached(op, "boxes", x),
        detached(op, "scores", scores),
        number(op, "iou_threshold", iou_threshold),
        None if idxs is None else tensor(op, "idxs", idxs),
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )
    return non_maximum.MergedGroups(*result)


def nmm(*arguments: Any) -> non_maximum.MergedGroups:
    return _grouped("nmm", _nmm, *arguments)


def greedy_nmm(*arguments: Any) -> non_maximum.MergedGroups:
    return _grouped("greedy_nmm", _greedy_nmm, *arguments)


def weighted_boxes_fusion(
    boxes_list: Any,
    scores_list: Any,
    labels_list: Any,
    weights: Any,
    iou_thr: Any,
    skip_box_thr: Any,
    conf_type: Any,
    allows_overflow: Any,
    backend: Any,
) -> Any:
    op = "weighted_boxes_fusion"
    return _weighted_boxes_fusion(
        [detached(op, "boxes", x) for x in boxes_list],
        [detached(op, "scores", x) for x in scores_list],
        [tensor(op, "labels", x) for x in labels_list],
        None if weights is None else [number(op, "weights", x) for x in weights],
        number(op, "iou_thr", iou_thr),
        number(op, "skip_box_thr", skip_box_thr),
        check.choice(op, "conf_type", conf_type, CONF_TYPES),
        bool(allows_overflow),
        backend_name(op, backend),
    )
