"""Rows of the table of ops: fastdet.nms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from op_rows import Arguments, Op
from samples import Sample

from fastdet import nms


def _scored(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.t), options)


def _soft(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores), {"iou_threshold": s.t, **options})


def _soft_batched(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.idxs), {"iou_threshold": s.t, **options})


def _batch(**options: Any) -> Callable[[Sample], Arguments]:
    def inputs(s: Sample) -> Arguments:
        scores = np.stack([np.stack([s.scores, np.roll(s.scores, 1), s.scores[::-1]], axis=1)] * 2)
        scores[1:] = scores[1:, ::-1]
        return (np.stack([s.boxes, s.boxes2]), scores, s.t), options

    return inputs


OPS: dict[str, Op] = {
    "nms": Op(nms.nms, _scored()),
    "nms ios": Op(nms.nms, _scored(metric="ios")),
    "nms limited": Op(nms.nms, _scored(score_threshold=0.25, max_output=9)),
    "batched_nms": Op(nms.batched_nms, lambda s: ((s.boxes, s.scores, s.idxs, s.t), {})),
    "batched_nms limited": Op(
        nms.batched_nms,
        lambda s: ((s.boxes, s.scores, s.idxs, s.t), {"score_threshold": 0.25, "max_output": 9, "metric": "ios"}),
    ),
    "soft_nms": Op(nms.soft_nms, _soft(), largest=513),
    "soft_nms gaussian": Op(nms.soft_nms, _soft(method="gaussian"), largest=513),
    "soft_nms sigma": Op(nms.soft_nms, _soft(method="gaussian", sigma=0.07, min_score=0.2), largest=513),
    "soft_nms offset": Op(nms.soft_nms, _soft(offset=1.0, min_score=0.0, max_output=20)),
    "batched_soft_nms": Op(nms.batched_soft_nms, _soft_batched(), largest=513),
    "batched_soft_nms gaussian": Op(nms.batched_soft_nms, _soft_batched(method="gaussian", offset=1.0), largest=513),
    "multiclass_nms": Op(nms.multiclass_nms, _batch(max_output=50), largest=513),
    "multiclass_nms limited": Op(
        nms.multiclass_nms, _batch(max_output=9, max_per_class=2, score_threshold=0.25, metric="ios"), largest=513
    ),
}
