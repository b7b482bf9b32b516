"""The ops of rotated boxes as ops of torch. They have no gradient."""

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
    limit,
    no_batch,
    number,
    tensor,
    unknown_size,
    without_graph,
)
from fastdet.rotated import greedy, overlap, rectangle, soft, transforms
from fastdet.rotated.geometry import METRICS
from fastdet.rotated.transforms import FORMATS, numbers_of


def _pairs(boxes1: Any, boxes2: Any, format: str, degrees: bool, clockwise: bool, aligned: bool, *rest: Any) -> Any:
    shape = boxes1.shape[:1] if aligned else (boxes1.shape[0], boxes2.shape[0])
    return boxes1.new_empty(shape, dtype=computed(boxes1, boxes2))


def _converted(boxes: Any, in_fmt: str, out_fmt: str, *rest: Any) -> Any:
    return boxes.new_empty((boxes.shape[0], numbers_of(out_fmt)), dtype=computed(boxes))


def _kept(boxes: Any, *rest: Any) -> Any:
    return boxes.new_empty((unknown_size(),), dtype=torch.int64)


def _rescored(boxes: Any, scores: Any, *rest: Any) -> Any:
    size = unknown_size()
    return boxes.new_empty((size,), dtype=torch.int64), boxes.new_empty((size,), dtype=computed(boxes, scores))


_WHAT = "str format, bool degrees, bool clockwise"
_GREEDY = f"float iou_threshold, {_WHAT}, float? score_threshold, int? max_output, str metric, str? backend) -> Tensor"
_SOFT = (
    f"{_WHAT}, str method, float iou_threshold, float sigma, float min_score, int? max_output, str? backend)"
    " -> (Tensor, Tensor)"
)
_ADVICE = "call it on each item"
_box_iou = define(
    f"box_iou_rotated(Tensor boxes1, Tensor boxes2, {_WHAT}, bool aligned, str metric, str? backend) -> Tensor",
    overlap.box_iou_rotated,
    _pairs,
)
_box_convert = define(
    "box_convert_rotated(Tensor boxes, str in_fmt, str out_fmt, bool degrees, bool clockwise, bool out_degrees,"
    " bool out_clockwise, str? backend) -> Tensor",
    transforms.box_convert_rotated,
    _converted,
)
_min_area_rect = define(
    "min_area_rect(Tensor points, bool degrees, bool clockwise, str? backend) -> Tensor",
    rectangle.min_area_rect,
    lambda points, *rest: points.new_empty((points.shape[0], 5), dtype=computed(points)),
)
_nms = define(
    f"nms_rotated(Tensor boxes, Tensor scores, {_GREEDY}",
    greedy.nms_rotated,
    _kept,
    vmap=no_batch("nms_rotated", _ADVICE),
)
_batched_nms = define(
    f"batched_nms_rotated(Tensor boxes, Tensor scores, Tensor idxs, {_GREEDY}",
    greedy.batched_nms_rotated,
    _kept,
    vmap=no_batch("batched_nms_rotated", _ADVICE),
)
_soft_nms = define(
    f"soft_nms_rotated(Tensor boxes, Tensor scores, {_SOFT}",
    soft.soft_nms_rotated,
    _rescored,
    vmap=no_batch("soft_nms_rotated", _ADVICE),
)
_batched_soft_nms = define(
    f"batched_soft_nms_rotated(Tensor boxes, Tensor scores, Tensor idxs, {_SOFT}",
    soft.batched_soft_nms_rotated,
    _rescored,
    vmap=no_batch("batched_soft_nms_rotated", _ADVICE),
)


def _meaning(op: str, format: Any, degrees: Any, clockwise: Any) -> Any:
    return check.choice(op, "format", format, FORMATS), bool(degrees), bool(clockwise)


def box_iou_rotated(
    boxes1: Any,
    boxes2: Any,
    format: Any,
    degrees: Any,
    clockwise: Any,
    aligned: Any,
    metric: Any,
    out: Any,
    backend: Any,
) -> Any:
    op = "box_iou_rotated"
    result = _box_iou(
        without_graph(op, "boxes1", boxes1),
        without_graph(op, "boxes2", boxes2),
        *_meaning(op, format, degrees, clockwise),
        bool(aligned),
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )
    return into(op, out, result)


def box_convert_rotated(
    boxes: Any,
    in_fmt: Any,
    out_fmt: Any,
    degrees: Any,
    clockwise: Any,
    out_degrees: Any,
    out_clockwise: Any,
    backend: Any,
) -> Any:
    op = "box_convert_rotated"
    given, wanted = transforms.angle_options(degrees, clockwise, out_degrees, out_clockwise)
    return _box_convert(
        without_graph(op, "boxes", boxes),
        check.choice(op, "in_fmt", in_fmt, FORMATS),
        check.choice(op, "out_fmt", out_fmt, FORMATS),
        *given,
        *wanted,
        backend_name(op, backend),
    )


def min_area_rect(points: Any, degrees: Any, clockwise: Any, backend: Any) -> Any:
    op = "min_area_rect"
    return _min_area_rect(
        without_graph(op, "points", points), bool(degrees), bool(clockwise), backend_name(op, backend)
    )


def _greedy(
    op: str,
    iou_threshold: Any,
    format: Any,
    degrees: Any,
    clockwise: Any,
    score_threshold: Any,
    max_output: Any,
    metric: Any,
    backend: Any,
) -> Any:
    return (
        number(op, "iou_threshold", iou_threshold),
        *_meaning(op, format, degrees, clockwise),
        None if score_threshold is None else number(op, "score_threshold", score_threshold),
        limit(op, "max_output", max_output),
        check.choice(op, "metric", metric, greedy.METRICS),
        backend_name(op, backend),
    )


def _soft(
    op: str,
    format: Any,
    degrees: Any,
    clockwise: Any,
    method: Any,
    iou_threshold: Any,
    sigma: Any,
    min_score: Any,
    max_output: Any,
    backend: Any,
) -> Any:
    return (
        *_meaning(op, format, degrees, clockwise),
        check.choice(op, "method", method, soft.METHODS),
        number(op, "iou_threshold", iou_threshold),
        number(op, "sigma", sigma),
        number(op, "min_score", min_score),
        limit(op, "max_output", max_output),
        backend_name(op, backend),
    )


def _arrays(op: str, boxes: Any, scores: Any) -> Any:
    return detached(op, "boxes", boxes), detached(op, "scores", scores)


def nms_rotated(boxes: Any, scores: Any, *options: Any) -> Any:
    op = "nms_rotated"
    return _nms(*_arrays(op, boxes, scores), *_greedy(op, *options))


def batched_nms_rotated(boxes: Any, scores: Any, idxs: Any, *options: Any) -> Any:
    op = "batched_nms_rotated"
    return _batched_nms(*_arrays(op, boxes, scores), tensor(op, "idxs", idxs), *_greedy(op, *options))


def soft_nms_rotated(boxes: Any, scores: Any, *options: Any) -> Any:
    op = "soft_nms_rotated"
    return _soft_nms(*_arrays(op, boxes, scores), *_soft(op, *options))


def batched_soft_nms_rotated(boxes: Any, scores: Any, idxs: Any, *options: Any) -> Any:
    op = "batched_soft_nms_rotated"
    return _batched_soft_nms(*_arrays(op, boxes, scores), tensor(op, "idxs", idxs), *_soft(op, *options))
