"""YOLO's candidates and detections as ops of torch. They have no gradient. Two ops each: with and without extras."""

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
    no_batch,
    number,
    unknown_size,
)
from fastdet.boxes.overlap import METRICS
from fastdet.nms.multiclass import Detections
from fastdet.yolo import _aten, _check, candidates, postprocess


def _candidates(x: Any, score_threshold: Any, layout: Any, classes: Any, *rest: Any) -> Any:
    size, dtype = unknown_size(), computed(x)
    made = x.new_empty((size, 4), dtype=dtype), x.new_empty((size,), dtype=dtype)
    return *made, *(x.new_empty((size,), dtype=torch.int64) for _ in range(2))


def _candidates_with_extras(
    x: Any, score_threshold: Any, layout: Any, classes: Any, objectness: Any, multi_label: Any, last: Any, *rest: Any
) -> Any:
    found = _candidates(x, score_threshold, layout, classes)
    _, extras = _sizes(x, layout, classes, objectness, last)
    return *found, x.new_empty((found[0].shape[0], extras), dtype=computed(x))


def _detections(
    x: Any,
    iou_threshold: Any,
    score_threshold: Any,
    max_output: Any,
    layout: Any,
    classes: Any,
    objectness: Any,
    multi_label: Any,
    agnostic: Any,
    last: Any,
    *rest: Any,
) -> Any:
    max_rows, _ = _sizes(x, layout, classes, objectness, last)
    images, rows, dtype = x.shape[0], _sym_min(max_output, max_rows), computed(x)
    return (
        x.new_empty((images, rows, 4), dtype=dtype),
        x.new_empty((images, rows), dtype=dtype),
        x.new_empty((images, rows), dtype=torch.int64),
        x.new_empty((images,), dtype=torch.int64),
    )


def _detections_with_extras(x: Any, *options: Any) -> Any:
    found = _detections(x, *options)
    _, extras = _sizes(x, options[3], options[4], options[5], options[8])
    return *found, x.new_empty((*found[1].shape, extras), dtype=computed(x))


_sym_min: Any = torch.sym_min


def _sizes(x: Any, layout: Any, classes: Any, objectness: Any, last: Any) -> Any:
    """The largest number of boxes of an image, and the number of extras of a box."""
    made = _check.Layout(layout, classes, objectness, False, last)
    planes = _check.planes_of("yolo_candidates", x.shape, made)
    channels, rows = (x.shape[1], x.shape[2]) if planes else (x.shape[2], x.shape[1])
    if made.end_to_end:
        return rows, channels - _check.ROW
    if classes is None:
        return rows * (channels - made.first), 0
    return rows * classes, channels - made.first - classes


_LAYOUT = "str layout, SymInt? classes, bool objectness, bool multi_label"
_CANDIDATES = f"(Tensor output, float score_threshold, {_LAYOUT}, bool? candidates_last, str? backend) ->"
_DETECTIONS = (
    f"(Tensor output, float iou_threshold, float score_threshold, SymInt max_output, {_LAYOUT}, bool class_agnostic,"
    " bool? candidates_last, str metric, str? backend) ->"
)
_FOUR, _FIVE = "(Tensor, Tensor, Tensor, Tensor)", "(Tensor, Tensor, Tensor, Tensor, Tensor)"
_no_batch = no_batch("yolo_candidates", "it takes a batch of images")
_yolo_candidates = define(
    f"yolo_candidates{_CANDIDATES} {_FOUR}", candidates.yolo_candidates, _candidates, vmap=_no_batch
)
_yolo_candidates_with_extras = define(
    f"yolo_candidates_with_extras{_CANDIDATES} {_FIVE}",
    candidates.yolo_candidates,
    _candidates_with_extras,
    vmap=_no_batch,
)
_yolo_postprocess = define(
    f"yolo_postprocess{_DETECTIONS} {_FOUR}", postprocess.yolo_postprocess, _detections, waits=True
)
_yolo_postprocess_with_extras = define(
    f"yolo_postprocess_with_extras{_DETECTIONS} {_FIVE}",
    postprocess.yolo_postprocess,
    _detections_with_extras,
    waits=True,
)


def _layout(
    op: str, layout: Any, classes: Any, objectness: Any, multi_label: Any, last: Any, agnostic: bool = False
) -> Any:
    if isinstance(classes, torch.SymInt):
        symbol: Any = classes
        return _check.Layout(layout, symbol, bool(objectness), bool(multi_label), last)
    return _check.layout_of(op, layout, classes, objectness, multi_label, last, agnostic)


def yolo_candidates(
    output: Any,
    score_threshold: Any,
    layout: Any,
    classes: Any,
    objectness: Any,
    multi_label: Any,
    candidates_last: Any,
    backend: Any,
) -> Any:
    op = "yolo_candidates"
    made = _layout(op, layout, classes, objectness, multi_label, candidates_last)
    arguments = number(op, "score_threshold", score_threshold), *made, backend_name(op, backend)
    if made.has_extras:
        found = _yolo_candidates_with_extras(detached(op, "output", output), *arguments)
        return candidates.ExtendedCandidates(*found)
    return candidates.Candidates(*_yolo_candidates(detached(op, "output", output), *arguments))


def yolo_postprocess(
    output: Any,
    iou_threshold: Any,
    score_threshold: Any,
    max_output: Any,
    layout: Any,
    classes: Any,
    objectness: Any,
    multi_label: Any,
    class_agnostic: Any,
    candidates_last: Any,
    metric: Any,
    backend: Any,
) -> Any:
    op, agnostic = "yolo_postprocess", bool(class_agnostic)
    made = _layout(op, layout, classes, objectness, multi_label, candidates_last, agnostic)
    arguments = (
        number(op, "iou_threshold", iou_threshold),
        number(op, "score_threshold", score_threshold),
        count(op, "max_output", max_output),
        *made[:4],
        agnostic,
        made.candidates_last,
        check.choice(op, "metric", metric, METRICS),
        backend_name(op, backend),
    )
    if in_onnx_export():
        limits = arguments[0], arguments[1], arguments[2]
        final: Detections = _aten.yolo_postprocess(detached(op, "output", output), made, *limits, agnostic, metric)
        return final
    if made.has_extras:
        found = _yolo_postprocess_with_extras(detached(op, "output", output), *arguments)
        return postprocess.ExtendedDetections(*found)
    return Detections(*_yolo_postprocess(detached(op, "output", output), *arguments))
