"""YOLO's final detections in ONNX's own ops: decoding in aten's ops, then NonMaxSuppression."""

from __future__ import annotations

from typing import Any

import torch

from fastdet.nms._aten import LOWEST, padded, suppressed
from fastdet.yolo._check import Layout, planes_of


def yolo_postprocess(
    x: Any, layout: Layout, iou_threshold: Any, score_threshold: Any, max_output: Any, agnostic: bool, metric: str
) -> Any:
    op = "yolo_postprocess"
    if layout.name != "detect":
        raise NotImplementedError(f"{op}: layout must be 'detect' in an export to ONNX, got {layout.name!r}")
    if metric != "iou":
        raise NotImplementedError(
            f"{op}: metric must be 'iou' in an export to ONNX, which has no other, got {metric!r}"
        )
    if agnostic and layout.multi_label:
        raise NotImplementedError(f"{op}: class_agnostic must be False with multi_label in an export to ONNX, got True")
    rows = (x.transpose(1, 2) if planes_of(op, x.shape, layout) else x).float()
    scores = rows[..., layout.first :] * rows[..., 4:5] if layout.objectness else rows[..., layout.first :]
    centre, half = rows[..., :2], 0.5 * rows[..., 2:4]
    boxes = torch.cat([centre - half, centre + half], -1)
    best = scores.argmax(-1)
    if not layout.multi_label:
        is_best = torch.arange(scores.shape[-1], device=x.device) == best[..., None]
        scores = torch.where(is_best, scores, LOWEST)
    if not agnostic:
        kept = suppressed(boxes, scores.transpose(1, 2), None, iou_threshold, score_threshold)
    else:
        kept = suppressed(boxes, scores.amax(-1)[:, None], None, iou_threshold, score_threshold)
        kept = torch.stack([kept[:, 0], best[kept[:, 0], kept[:, 2]], kept[:, 2]], 1)
    return padded(boxes, scores, kept, max_output)
