"""Boxes, NMS and fusion as ops of torch. They have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet import _check, boxes, fusion
from fastdet import nms as suppression
from fastdet._torch_library import (
    backend_name,
    computed,
    count,
    define,
    detached,
    into,
    limit,
    no_batch,
    number,
    tensor,
    unknown_size,
    without_graph,
)

# boxes


def _pairs(boxes1: Any, boxes2: Any, *rest: Any) -> Any:
    aligned = next(x for x in rest if isinstance(x, bool))
    shape = boxes1.shape[:1] if aligned else (boxes1.shape[0], boxes2.shape[0])
    return boxes1.new_empty(shape, dtype=computed(boxes1, boxes2))


def _same(boxes: Any, *rest: Any) -> Any:
    return boxes.new_empty((boxes.shape[0], 4), dtype=computed(boxes))


_box_area = define(
    "box_area(Tensor boxes, str? backend) -> Tensor",
    boxes.box_area,
    lambda boxes, backend: boxes.new_empty(boxes.shape[:1], dtype=computed(boxes)),
)
_box_convert = define(
    "box_convert(Tensor boxes, str in_fmt, str out_fmt, str? backend) -> Tensor", boxes.box_convert, _same
)
_clip_boxes_to_image = define(
    "clip_boxes_to_image(Tensor boxes, float[] size, str? backend) -> Tensor", boxes.clip_boxes_to_image, _same
)
_remove_small_boxes = define(
    "remove_small_boxes(Tensor boxes, float min_size, str? backend) -> Tensor",
    boxes.remove_small_boxes,
    lambda boxes, *rest: boxes.new_empty((unknown_size(),), dtype=torch.int64),
    vmap=no_batch("remove_small_boxes", "call it on each item"),
)
_box_iou = define(
    "box_iou(Tensor boxes1, Tensor boxes2, bool aligned, Tensor? iscrowd, str metric, str? backend) -> Tensor",
    boxes.box_iou,
    _pairs,
)
_generalized_box_iou = define(
    "generalized_box_iou(Tensor boxes1, Tensor boxes2, bool aligned, str? backend) -> Tensor",
    boxes.generalized_box_iou,
    _pairs,
)
_distance_box_iou = define(
    "distance_box_iou(Tensor boxes1, Tensor boxes2, float eps, bool aligned, str? backend) -> Tensor",
    boxes.distance_box_iou,
    _pairs,
)
_complete_box_iou = define(
    "complete_box_iou(Tensor boxes1, Tensor boxes2, float eps, bool aligned, str? backend) -> Tensor",
    boxes.complete_box_iou,
    _pairs,
)


def box_area(boxes: Any, backend: Any) -> Any:
    op = "box_area"
    return _box_area(without_graph(op, "boxes", boxes), backend_name(op, backend))


def box_convert(boxes: Any, in_fmt: Any, out_fmt: Any, backend: Any) -> Any:
    op = "box_convert"
    return _box_convert(
        without_graph(op, "boxes", boxes),
        _check.choice(op, "in_fmt", in_fmt, _check.FORMATS),
        _check.choice(op, "out_fmt", out_fmt, _check.FORMATS),
        backend_name(op, backend),
    )


def clip_boxes_to_image(x: Any, size: Any, backend: Any) -> Any:
    op = "clip_boxes_to_image"
    return _clip_boxes_to_image(
        without_graph(op, "boxes", x), list(boxes.image_size(op, size)), backend_name(op, backend)
    )


def remove_small_boxes(boxes: Any, min_size: Any, backend: Any) -> Any:
    op = "remove_small_boxes"
    return _remove_small_boxes(
        detached(op, "boxes", boxes), number(op, "min_size", min_size), backend_name(op, backend)
    )


def box_iou(boxes1: Any, boxes2: Any, aligned: Any, iscrowd: Any, metric: Any, out: Any, backend: Any) -> Any:
    op = "box_iou"
    result = _box_iou(
        without_graph(op, "boxes1", boxes1),
        without_graph(op, "boxes2", boxes2),
        bool(aligned),
        None if iscrowd is None else tensor(op, "iscrowd", iscrowd),
        _check.choice(op, "metric", metric, boxes.METRICS),
        backend_name(op, backend),
    )
    return into(op, out, result)


def generalized_box_iou(boxes1: Any, boxes2: Any, aligned: Any, out: Any, backend: Any) -> Any:
    return _overlap("generalized_box_iou", _generalized_box_iou, boxes1, boxes2, (), aligned, out, backend)


def distance_box_iou(boxes1: Any, boxes2: Any, eps: Any, aligned: Any, out: Any, backend: Any) -> Any:
    op = "distance_box_iou"
    return _overlap(op, _distance_box_iou, boxes1, boxes2, (number(op, "eps", eps),), aligned, out, backend)


def complete_box_iou(boxes1: Any, boxes2: Any, eps: Any, aligned: Any, out: Any, backend: Any) -> Any:
    op = "complete_box_iou"
    return _overlap(op, _complete_box_iou, boxes1, boxes2, (number(op, "eps", eps),), aligned, out, backend)


def _overlap(
    op: str, native: Any, boxes1: Any, boxes2: Any, eps: tuple[Any, ...], aligned: Any, out: Any, backend: Any
) -> Any:
    a, b = without_graph(op, "boxes1", boxes1), without_graph(op, "boxes2", boxes2)
    return into(op, out, native(a, b, *eps, bool(aligned), backend_name(op, backend)))


# nms


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
_IMAGES = "multiclass_nms takes a batch of images"
_nms = define(f"nms(Tensor boxes, Tensor scores, {_GREEDY}", suppression.nms, _kept, vmap=no_batch("nms", _IMAGES))
_batched_nms = define(
    f"batched_nms(Tensor boxes, Tensor scores, Tensor idxs, {_GREEDY}",
    suppression.batched_nms,
    _kept,
    vmap=no_batch("batched_nms", _IMAGES),
)
_soft_nms = define(
    f"soft_nms(Tensor boxes, Tensor scores, {_SOFT}",
    suppression.soft_nms,
    _rescored,
    vmap=no_batch("soft_nms", "call it on each item"),
)
_batched_soft_nms = define(
    f"batched_soft_nms(Tensor boxes, Tensor scores, Tensor idxs, {_SOFT}",
    suppression.batched_soft_nms,
    _rescored,
    vmap=no_batch("batched_soft_nms", "call it on each item"),
)


def _greedy(op: str, iou_threshold: Any, score_threshold: Any, max_output: Any, metric: Any, backend: Any) -> Any:
    return (
        number(op, "iou_threshold", iou_threshold),
        None if score_threshold is None else number(op, "score_threshold", score_threshold),
        limit(op, "max_output", max_output),
        _check.choice(op, "metric", metric, boxes.METRICS),
        backend_name(op, backend),
    )


def _soft(
    op: str, method: Any, iou_threshold: Any, sigma: Any, min_score: Any, max_output: Any, offset: Any, backend: Any
) -> Any:
    if callable(method):
        raise NotImplementedError(
            f"{op}: method must be 'linear' or 'gaussian' in a call that torch compiles or transforms, "
            f"got {_check.describe(method)}"
        )
    return (
        _check.choice(op, "method", method, suppression.METHODS),
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
    return _nms(*_nms_arrays("nms", boxes, scores), *_greedy("nms", *options))


def batched_nms(boxes: Any, scores: Any, idxs: Any, *options: Any) -> Any:
    op = "batched_nms"
    return _batched_nms(*_nms_arrays(op, boxes, scores), tensor(op, "idxs", idxs), *_greedy(op, *options))


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


def _images_of_images(op: Any) -> Any:
    """vmap: a batch of batches is one batch."""

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
    suppression.multiclass_nms,
    _detections,
    waits=True,
    vmap=_images_of_images,
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
) -> suppression.Detections:
    op = "multiclass_nms"
    result = _multiclass_nms(
        *_nms_arrays(op, x, scores),
        number(op, "iou_threshold", iou_threshold),
        number(op, "score_threshold", score_threshold),
        count(op, "max_output", max_output),
        limit(op, "max_per_class", max_per_class),
        _check.choice(op, "metric", metric, boxes.METRICS),
        backend_name(op, backend),
    )
    return suppression.Detections(*result)


# fusion


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


_merge_boxes = define(
    "merge_boxes(Tensor boxes, Tensor scores, float iou_threshold, str metric, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    fusion.merge_boxes,
    _merged,
    vmap=no_batch("merge_boxes", "call it on each item"),
)
_weighted_boxes_fusion = define(
    "weighted_boxes_fusion(Tensor[] boxes_list, Tensor[] scores_list, Tensor[] labels_list, float[]? weights,"
    " float iou_thr, float skip_box_thr, str conf_type, bool allows_overflow, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    fusion.weighted_boxes_fusion,
    _fused,
    vmap=no_batch("weighted_boxes_fusion", "call it on each item"),
)


def merge_boxes(x: Any, scores: Any, iou_threshold: Any, metric: Any, backend: Any) -> fusion.Merged:
    op = "merge_boxes"
    result = _merge_boxes(
        *_nms_arrays(op, x, scores),
        number(op, "iou_threshold", iou_threshold),
        _check.choice(op, "metric", metric, boxes.METRICS),
        backend_name(op, backend),
    )
    return fusion.Merged(*result)


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
        _check.choice(op, "conf_type", conf_type, fusion.CONF_TYPES),
        bool(allows_overflow),
        backend_name(op, backend),
    )
