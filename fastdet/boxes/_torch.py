"""Box operations as ops of torch. They have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet._core import check
from fastdet._core.torch_library import (
    backend_name,
    computed,
    define,
    detached,
    into,
    no_batch,
    number,
    tensor,
    unknown_size,
    without_graph,
)
from fastdet.boxes import overlap, transforms
from fastdet.boxes.overlap import METRICS
from fastdet.boxes.transforms import image_size


def _pairs(boxes1: Any, boxes2: Any, *rest: Any) -> Any:
    aligned = next(x for x in rest if isinstance(x, bool))
    rows = () if boxes1.shape == boxes2.shape == (4,) else boxes1.shape[:1]
    shape = rows if aligned else (boxes1.shape[0], boxes2.shape[0])
    return boxes1.new_empty(shape, dtype=computed(boxes1, boxes2))


def _same(boxes: Any, *rest: Any) -> Any:
    return boxes.new_empty((boxes.shape[0], 4), dtype=computed(boxes))


_box_area = define(
    "box_area(Tensor boxes, str? backend) -> Tensor",
    transforms.box_area,
    lambda boxes, backend: boxes.new_empty(boxes.shape[:1], dtype=computed(boxes)),
)
_box_convert = define(
    "box_convert(Tensor boxes, str in_fmt, str out_fmt, str? backend) -> Tensor", transforms.box_convert, _same
)
_clip_boxes_to_image = define(
    "clip_boxes_to_image(Tensor boxes, float[] size, str? backend) -> Tensor", transforms.clip_boxes_to_image, _same
)
_remove_small_boxes = define(
    "remove_small_boxes(Tensor boxes, float min_size, str? backend) -> Tensor",
    transforms.remove_small_boxes,
    lambda boxes, *rest: boxes.new_empty((unknown_size(),), dtype=torch.int64),
    vmap=no_batch("remove_small_boxes", "call it on each item"),
)
_box_iou = define(
    "box_iou(Tensor boxes1, Tensor boxes2, bool aligned, Tensor? iscrowd, str metric, str? backend) -> Tensor",
    overlap.box_iou,
    _pairs,
)
_generalized_box_iou = define(
    "generalized_box_iou(Tensor boxes1, Tensor boxes2, bool aligned, str? backend) -> Tensor",
    overlap.generalized_box_iou,
    _pairs,
)
_distance_box_iou = define(
    "distance_box_iou(Tensor boxes1, Tensor boxes2, float eps, bool aligned, str? backend) -> Tensor",
    overlap.distance_box_iou,
    _pairs,
)
_complete_box_iou = define(
    "complete_box_iou(Tensor boxes1, Tensor boxes2, float eps, bool aligned, str? backend) -> Tensor",
    overlap.complete_box_iou,
    _pairs,
)


def box_area(boxes: Any, backend: Any) -> Any:
    op = "box_area"
    return _box_area(without_graph(op, "boxes", boxes), backend_name(op, backend))


def box_convert(boxes: Any, in_fmt: Any, out_fmt: Any, backend: Any) -> Any:
    op = "box_convert"
    return _box_convert(
        without_graph(op, "boxes", boxes),
        check.choice(op, "in_fmt", in_fmt, check.FORMATS),
        check.choice(op, "out_fmt", out_fmt, check.FORMATS),
        backend_name(op, backend),
    )


def clip_boxes_to_image(x: Any, size: Any, backend: Any) -> Any:
    op = "clip_boxes_to_image"
    return _clip_boxes_to_image(without_graph(op, "boxes", x), list(image_size(op, size)), backend_name(op, backend))


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
        check.choice(op, "metric", metric, METRICS),
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
    op: str, torch_op: Any, boxes1: Any, boxes2: Any, eps: tuple[Any, ...], aligned: Any, out: Any, backend: Any
) -> Any:
    a, b = without_graph(op, "boxes1", boxes1), without_graph(op, "boxes2", boxes2)
    return into(op, out, torch_op(a, b, *eps, bool(aligned), backend_name(op, backend)))
