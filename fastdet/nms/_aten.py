"""NMS in ONNX's own op, NonMaxSuppression, for both of torch's exporters; what stands around it in aten's ops.

ONNX computes in float32 and has no check of values. Corners of a box may come in any order there: a box whose x2 is
below its x1 has an area, which it has not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastdet.nms import greedy, multiclass

LOWEST = -3.4028234663852886e38  # of float32: below every score that is a number


class _NonMaxSuppression(torch.autograd.Function):
    """The op for the exporter that traces."""

    @staticmethod
    def forward(ctx: Any, boxes: Any, scores: Any, max_count: int, iou_threshold: float, score_threshold: float) -> Any:
        options: Any = {"score_threshold": score_threshold, "max_output": max_count}
        corners, values = boxes.cpu().numpy(), scores.cpu().numpy()
        chosen = [
            (image, label, row)
            for image, label in np.ndindex(values.shape[:2])
            for row in greedy.nms(corners[image], values[image, label], iou_threshold, **options)
        ]
        return torch.from_numpy(np.array(chosen, np.int64).reshape(-1, 3)).to(boxes.device)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, max_count: int, iou_threshold: float, score_threshold: float) -> Any:
        limits = (
            g.op("Constant", value_t=torch.tensor([max_count])),
            g.op("Constant", value_t=torch.tensor([iou_threshold], dtype=torch.float32)),
            g.op("Constant", value_t=torch.tensor([score_threshold], dtype=torch.float32)),
        )
        return g.op("NonMaxSuppression", boxes, scores, *limits)


def suppressed(boxes: Any, scores: Any, limit: int | None, iou_threshold: float, score_threshold: float | None) -> Any:
    """(K, 3) image, class and row of the boxes that stay: boxes (B, N, 4), scores (B, C, N), ``limit`` of a class."""
    boxes, scores = boxes.float(), scores.float()
    min_score = LOWEST if score_threshold is None else score_threshold
    max_count = 2**30 if limit is None else limit
    if torch._C._get_tracing_state() is not None:
        apply: Any = _NonMaxSuppression.apply
        return apply(boxes, scores, max_count, iou_threshold, min_score)
    limits = (
        torch.full((1,), max_count, dtype=torch.int64),
        torch.full((1,), iou_threshold, dtype=torch.float32),
        torch.full((1,), min_score, dtype=torch.float32),
    )
    unknown = scores.nonzero().shape[0]  # a size that depends on data; the exporter leaves the op itself out
    symbolic: Any = torch.onnx.ops.symbolic
    return symbolic("NonMaxSuppression", (boxes, scores, *limits), dtype=torch.int64, shape=(unknown, 3), version=11)


def _only_iou(op: str, metric: str) -> None:
    if metric != "iou":
        raise NotImplementedError(
            f"{op}: metric must be 'iou' in an export to ONNX, which has no other, got {metric!r}"
        )


def nms(
    boxes: Any, scores: Any, iou_threshold: Any, score_threshold: Any, max_output: Any, metric: Any, backend: Any
) -> Any:
    _only_iou("nms", metric)
    return suppressed(boxes[None], scores[None, None], max_output, iou_threshold, score_threshold)[:, 2]


def batched_nms(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: Any,
    score_threshold: Any,
    max_output: Any,
    metric: Any,
    backend: Any,
) -> Any:
    """Each group is a class of the op; the boxes of other groups have the lowest score in it."""
    _only_iou("batched_nms", metric)
    groups, group = torch.unique(idxs, return_inverse=True)
    mine = group[None] == torch.arange(groups.shape[0], device=idxs.device)[:, None]
    of_group = torch.where(mine, scores.float()[None], LOWEST)
    kept = suppressed(boxes[None], of_group[None], None, iou_threshold, score_threshold)[:, 2]
    kept = kept.sort()[0]  # so that the lower index is first of equal scores
    kept = kept[scores[kept].float().sort(descending=True)[1]]  # ONNX's sort is stable
    return kept if max_output is None else kept[:max_output]


def multiclass_nms(
    boxes: Any,
    scores: Any,
    iou_threshold: Any,
    score_threshold: Any,
    max_output: Any,
    max_per_class: Any,
    metric: Any,
    backend: Any = None,
) -> Any:
    _only_iou("multiclass_nms", metric)
    kept = suppressed(boxes, scores.transpose(1, 2), max_per_class, iou_threshold, score_threshold)
    return padded(boxes, scores, kept, max_output)


def padded(boxes: Any, scores: Any, kept: Any, rows: Any) -> Any:
    """`fastdet.nms.Detections` of (B, N, 4) boxes and (B, N, C) scores, of the (K, 3) that `suppressed` has kept."""
    images, candidates, classes = scores.shape
    flat = (kept[:, 0] * candidates + kept[:, 2]) * classes + kept[:, 1]
    stays = scores.new_zeros([images * candidates * classes]).scatter(0, flat, 1.0)
    values = torch.where(stays > 0, scores.reshape(-1), LOWEST).reshape([images, candidates * classes])
    values = torch.cat([values, values.new_full([images, rows], LOWEST)], 1)  # at least that many
    values, places = values.topk(rows, 1)
    found = values > LOWEST
    places = torch.where(found, places, 0)
    picked = boxes.gather(1, (places // classes)[..., None].expand(-1, -1, 4))
    return multiclass.Detections(
        torch.where(found[..., None], picked, 0),
        torch.where(found, values, 0),
        torch.where(found, places % classes, -1),
        found.sum(1),
    )
