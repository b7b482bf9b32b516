"""Rows of the table of ops: fastdet.fusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from op_rows import Arguments, Op
from samples import Sample

from fastdet import fusion, nms


def _scored(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.t), options)


def _keyed(**options: Any) -> Callable[[Sample], Arguments]:
    return lambda s: ((s.boxes, s.scores, s.t), {"idxs": s.idxs, **options})


def _few_scores(**options: Any) -> Callable[[Sample], Arguments]:
    """Most scores are equal to others."""
    return lambda s: ((s.boxes, np.trunc(s.scores * 4).astype(s.scores.dtype), s.t), options)


def _models(**options: Any) -> Callable[[Sample], Arguments]:
    """The boxes dealt out to three models; the last may have none."""
    hands = (slice(0, None, 3), slice(1, None, 3), slice(2, None, 3))
    return lambda s: (([s.boxes[h] for h in hands], [s.scores[h] for h in hands], [s.idxs[h] for h in hands]), options)


OPS: dict[str, Op] = {
    "nmm": Op(fusion.nmm, _scored(), largest=257, finite=True),
    "nmm ios": Op(fusion.nmm, _keyed(metric="ios"), largest=257, finite=True),
    "nmm ties": Op(fusion.nmm, _few_scores(), largest=257, finite=True),
    "greedy_nmm": Op(fusion.greedy_nmm, _scored(), largest=257, finite=True),
    "greedy_nmm ios": Op(fusion.greedy_nmm, _keyed(metric="ios"), largest=257, finite=True),
    "greedy_nmm ties": Op(fusion.greedy_nmm, _few_scores(), largest=257, finite=True),
    "merge_boxes": Op(nms.merge_boxes, _scored(), largest=129, finite=True),
    "merge_boxes ios": Op(nms.merge_boxes, _scored(metric="ios"), largest=129, finite=True),
    "weighted_boxes_fusion": Op(nms.weighted_boxes_fusion, _models(), largest=257, finite=True),
    "weighted_boxes_fusion max": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="max", weights=[1, 2, 0.5], skip_box_thr=0.1),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion model": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="box_and_model_avg", weights=[1, 2, 0.5], iou_thr=0.3),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion absent": Op(
        nms.weighted_boxes_fusion,
        _models(conf_type="absent_model_aware_avg", iou_thr=0.0),
        largest=257,
        finite=True,
    ),
    "weighted_boxes_fusion overflow": Op(
        nms.weighted_boxes_fusion, _models(allows_overflow=True), largest=257, finite=True
    ),
}
