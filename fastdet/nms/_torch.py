"""NMS as ops of torch. They have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet._core import check
from fastdet._core.torch_library import (
    backend_name,
    computed,
    count,
    define,
    detached,
    in_onnx_export,
    limit,
    no_batch,
    number,
    tensor,
    unknown_size,
)
from fastdet.boxes.overlap import METRICS
from fastdet.nms import _aten, greedy, multiclass, soft
from fastdet.nms.soft import METHODS


def _kept(boxes: Any, *rest: Any) -> Any:
    return boxes.new_empty((unknown_size(),), dtype=torch.int64)


def _rescored(boxes: Any, scores: Any, *rest: Any) -> Any:
    size = unknown_size()
    return boxes.new_empty((size,), dtype=torch.int64), boxes.new_empty((size,), dtype=computed(boxes, scores))


_GREEDY = "float iou_threshold, float? score_threshold, int? max_output, str metric, str? backend) -> Tensor"
_SOFT = (
    "str method, float iou_threshold, float sigma, float min_score, int? max_output, float offset, str? backend)"
    " -> (Tensor, Tensor)"
)
_ADVICE = "multiclass_nms takes a batch of images"
_nms = define(f"nms(Tensor boxes, Tensor scores, {_GREEDY}", greedy.nms, _kept, vmap=no_batch("nms", _ADVICE))
_batched_nms = define(
    f"batched_nms(Tensor boxes, Tensor scores, Tensor idxs, {_GREEDY}",
    greedy.batched_nms,
    _kept,
    vmap=no_batch("batched_nms", _ADVICE),
)
_soft_nms = define(
    f"soft_nms(Tensor boxes, Tensor scores, {_SOFT}",
    soft.soft_nms,
    _rescored,
    vmap=no_batch("soft_nms", "call it on each item"),
)
_batched_soft_nms = define(
    f"batched_soft_nms(Tensor boxes, Tensor scores, Tensor idxs, {_SOFT}",
    soft.batched_soft_nms,
    _rescored,
    vmap=no_batch("batched_soft_nms", "call it on each item"),
)


def _greedy(op: str, iou_threshold: Any, score_threshold: Any, max_output: Any, metric: Any, backend: Any) -> Any:
    return (
        number(op, "iou_threshold", iou_threshold),
        None if score_threshold is None else number(op, "score_threshold", score_threshold),
        limit(op, "max_output", max_output),
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )


def _soft(
    op: str, method: Any, iou_threshold: Any, sigma: Any, min_score: Any, max_output: Any, offset: Any, backend: Any
) -> Any:
    if callable(method):
        raise NotImplementedError(
            f"{op}: method must be 'linear' or 'gaussian' in a call that torch compiles or transforms, "
            f"got {check.describe(method)}"
        )
    return (
        check.choice(op, "method", method, METHODS),
        number(op, "iou_threshold", iou_threshold),
        number(op, "sigma", sigma),
        number(op, "min_score", min_score),
        limit(op, "max_output", max_output),
        number(op, "offset", offset),
        backend_name(op, backend),
    )


def _nms_arrays(op: str, boxes: Any, scores: Any) -> Any:
    return detached(op, "boxes", boxes), detached(op, "scores", scores)


def nms(boxes: Any, scores: Any, *options: Any) -> Any:
    arguments = *_nms_arrays("nms", boxes, scores), *_greedy("nms", *options)
    return _aten.nms(*arguments) if in_onnx_export() else _nms(*arguments)


def batched_nms(boxes: Any, scores: Any, idxs: Any, *options: Any) -> Any:
    op = "batched_nms"
    arguments = *_nms_arrays(op, boxes, scores), tensor(op, "idxs", idxs), *_greedy(op, *options)
    return _aten.batched_nms(*arguments) if in_onnx_export() else _batched_nms(*arguments)


def soft_nms(boxes: Any, scores: Any, *options: Any) -> Any:
    return _soft_nms(*_nms_arrays("soft_nms", boxes, scores), *_soft("soft_nms", *options))


def batched_soft_nms(boxes: Any, scores: Any, idxs: Any, *options: Any) -> Any:
    op = "batched_soft_nms"
    return _batched_soft_nms(*_nms_arrays(op, boxes, scores), tensor(op, "idxs", idxs), *_soft(op, *options))


def _detections(
    boxes: Any, scores: Any, iou_threshold: Any, score_threshold: Any, max_output: int, max_per_class: Any, *rest: Any
) -> Any:
    images = boxes.shape[0]
    return (
        boxes.new_empty((images, max_output, 4), dtype=computed(boxes)),
        boxes.new_empty((images, max_output), dtype=computed(scores)),
        boxes.new_empty((images, max_output), dtype=torch.int64),
        boxes.new_empty((images,), dtype=torch.int64),
    )


def _batch_of_batches(op: Any) -> Any:
    """A rule for vmap: a batch of batches becomes one batch."""

    def rule(info: Any, in_dims: Any, boxes: Any, scores: Any, *options: Any) -> Any:
        batch = info.batch_size
        both = [
            x.expand(batch, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((boxes, scores), in_dims, strict=False)
        ]
        result = op(*(x.flatten(0, 1) for x in both), *options)
        return tuple(x.unflatten(0, (batch, x.shape[0] // batch)) for x in result), (0,) * len(result)

    return rule


_multiclass_nms = define(
    "multiclass_nms(Tensor boxes, Tensor scores, float iou_threshold, float score_threshold, int max_output,"
    " int? max_per_class, str metric, str? backend) -> (Tensor, Tensor, Tensor, Tensor)",
    multiclass.multiclass_nms,
    _detections,
    waits=True,
    vmap=_batch_of_batches,
)


def multiclass_nms(
    x: Any,
    scores: Any,
    iou_threshold: Any,
    score_threshold: Any,
    max_output: Any,
    max_per_class: Any,
    metric: Any,
    backend: Any,
) -> multiclass.Detections:
    op = "multiclass_nms"
    arguments = (
        *_nms_arrays(op, x, scores),
        number(op, "iou_threshold", iou_threshold),
        number(op, "score_threshold", score_threshold),
        count(op, "max_output", max_output),
        limit(op, "max_per_class", max_per_class),
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )
    if in_onnx_export():
        made: multiclass.Detections = _aten.multiclass_nms(*arguments)
        return made
    return multiclass.Detections(*_multiclass_nms(*arguments))
