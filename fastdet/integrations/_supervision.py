"""supervision: IoU of boxes and masks, and NMS of boxes, are computed by fastdet."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet import boxes as box_ops
from fastdet import masks as mask_ops
from fastdet import nms as nms_ops
from fastdet._core.check import Array
from fastdet.integrations._replace import (
    Changes,
    Integration,
    check_parameters,
    check_version,
    fall_back,
    installed,
    integrate,
)
from fastdet.integrations._rounding import floor_float32, just_below

_FIRST, _LAST = "0.31", "0.31"
_SMALL = 16  # pairs up to which NumPy is as quick
_ROWS = 1 << 22  # pairs of one step, in float64
_MAX_PIXELS = 1 << 23  # the framework counts pixels, and adds two counts, in float32: exact up to here


def supervision() -> Integration:
    """Replace `box_iou_batch`, `mask_iou_batch` and `box_non_max_suppression` of supervision in this process.

    `Detections.with_nms`, `InferenceSlicer`, the trackers and the metrics call them. Signatures and results are kept,
    to the bit. Complex or infinite boxes, boxes of negative size, compact masks and masks that are not of bool are left
    to supervision.

    Returns
    -------
    Integration, with what was replaced and `undo`

    Raises
    ------
    IntegrationError   the package is not installed, or its functions take other arguments: nothing was replaced

    Examples
    --------
    >>> from fastdet import integrations
    >>> made = integrations.supervision()  # doctest: +SKIP
    >>> detections.with_nms(0.5)                      # doctest: +SKIP
    """
    return integrate("supervision", _make)


def _make(changes: Changes) -> tuple[str | None, str]:
    _, version = installed("supervision")
    check_version("supervision", version, _FIRST, _LAST)
    module: Any = importlib.import_module("supervision.detection.utils.iou_and_nms")
    wanted = {
        "box_iou_batch": ("boxes_true", "boxes_detection", "overlap_metric"),
        "mask_iou_batch": ("masks_true", "masks_detection", "overlap_metric", "memory_limit"),
        "box_non_max_suppression": ("predictions", "iou_threshold", "overlap_metric"),
    }
    for name, parameters in wanted.items():
        check_parameters("supervision", name, getattr(module, name), parameters)
    new = _functions(module)
    changes.functions([(module, name, new[name]) for name in wanted])
    return version, "NumPy arrays"


def _functions(module: Any) -> dict[str, Callable[..., Any]]:
    own_iou, own_masks, own_nms = module.box_iou_batch, module.mask_iou_batch, module.box_non_max_suppression
    iou, metric_of = module.OverlapMetric.IOU, module.OverlapMetric.from_value

    @functools.wraps(own_iou)
    def box_iou_batch(boxes_true: Any, boxes_detection: Any, overlap_metric: Any = iou) -> Any:
        if _are_boxes(boxes_true) and _are_boxes(boxes_detection) and len(boxes_true) * len(boxes_detection) > _SMALL:
            metric = "iou" if metric_of(overlap_metric) is iou else "ios"
            a, b = (np.ascontiguousarray(x, np.float64) for x in (boxes_true, boxes_detection))
            if _are_ordinary(a) and _are_ordinary(b):
                made = np.empty((len(a), len(b)), np.float32)
                step = max(_ROWS // len(b), 1)
                for first in range(0, len(a), step):
                    made[first : first + step] = box_ops.box_iou(a[first : first + step], b, metric=metric)
                return made
            fall_back("supervision", "box_iou_batch", "boxes that are not finite, or of negative size")
        return own_iou(boxes_true, boxes_detection, overlap_metric)

    @functools.wraps(own_masks)
    def mask_iou_batch(
        masks_true: Any, masks_detection: Any, overlap_metric: Any = iou, memory_limit: int = 1024 * 5
    ) -> Any:
        both = masks_true, masks_detection
        fits = all(type(x) is np.ndarray and x.ndim == 3 and x.dtype == np.bool_ and x.size for x in both)
        same = fits and overlap_metric is iou and masks_true.shape[1:] == masks_detection.shape[1:]
        if same and type(memory_limit) in (int, float) and masks_true[0].size <= _MAX_PIXELS:
            a = mask_ops.encode(masks_true)
            b = a if masks_detection is masks_true else mask_ops.encode(masks_detection)
            return mask_ops.mask_iou(a, b).astype(np.float32).astype(np.float64)  # rounded as it does
        return own_masks(masks_true, masks_detection, overlap_metric, memory_limit)

    @functools.wraps(own_nms)
    def box_non_max_suppression(predictions: Any, iou_threshold: float = 0.5, overlap_metric: Any = iou) -> Any:
        keep = None
        if _fits(predictions, iou_threshold):  # else its own function names what is wrong, in its own order
            keep = _keep(predictions, iou_threshold, "iou" if metric_of(overlap_metric) is iou else "ios")
        return own_nms(predictions, iou_threshold, overlap_metric) if keep is None else keep

    return {
        "box_iou_batch": box_iou_batch,
        "mask_iou_batch": mask_iou_batch,
        "box_non_max_suppression": box_non_max_suppression,
    }


def _are_boxes(x: Any) -> bool:
    return type(x) is np.ndarray and x.ndim == 2 and x.shape[1] == 4 and x.dtype.kind in "iuf"


def _are_ordinary(boxes: Array) -> bool:
    """Whether sides are not negative and no area overflows. False for NaN."""
    return bool(np.abs(boxes).max(initial=0) < 1e150 and (boxes[:, 2:] >= boxes[:, :2]).all())


def _fits(predictions: Any, iou_threshold: Any) -> bool:
    """Whether fastdet answers for these predictions."""
    if type(predictions) is not np.ndarray or predictions.ndim != 2 or predictions.shape[1] not in (5, 6):
        return False
    if predictions.dtype not in (np.float32, np.float64) or type(iou_threshold) not in (int, float):
        return False
    return bool(0 <= iou_threshold <= 1 and len(predictions) and np.isfinite(predictions).all())


def _keep(predictions: Array, iou_threshold: float, metric: str) -> Array | None:
    """Which predictions stay; None where the framework's own function is to answer.

    It computes IoU in float64, rounds it to float32 and compares that with a float64; boxes are in the order of
    `numpy.argsort`, reversed, whatever that does with equal scores.
    """
    order = np.flip(predictions[:, 4].argsort())
    boxes = predictions[order, :4].astype(np.float64)
    if not _are_ordinary(boxes):
        fall_back("supervision", "box_non_max_suppression", "boxes of negative size")
        return None
    ranks, level = -np.arange(len(boxes), dtype=np.float64), _before_rounding(float(iou_threshold))
    if predictions.shape[1] == 5:
        kept = nms_ops.nms(boxes, ranks, level, metric=metric)
    else:
        groups = np.unique(predictions[order, 5], return_inverse=True)[1].astype(np.int64)
        kept = nms_ops.batched_nms(boxes, ranks, groups, level, metric=metric)
    keep = np.zeros(len(boxes), np.bool_)
    keep[order[kept]] = True
    return keep


def _before_rounding(threshold: float) -> float:
    """The largest float64 that, rounded to float32, is not above the threshold: at most 1."""
    below = floor_float32(threshold)
    above = np.nextafter(below, np.float32(2))
    middle = (float(below) + float(above)) / 2  # exact
    level = middle if float(np.float32(middle)) <= threshold else float(just_below(middle))
    return min(max(level, 0.0), 1.0)
