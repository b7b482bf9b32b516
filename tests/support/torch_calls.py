"""Tables of test_torch: calls of proposals and of rotated boxes on boxes (N, 4), scores (N,), keys (N,), calls of
roi_align on maps (2, 4, 6, 7); the output of a YOLO."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet import boxes, fusion, proposals, roi, rotated

Call = Callable[[Any, Any, Any], Any]


def turned(b: Any, s: Any) -> Any:
    """Rotated boxes (N, 5), cx cy w h and degrees."""
    sides = (b[:, 2:] - b[:, :2]).abs() + 1
    return sys.modules["torch"].cat([(b[:, :2] + b[:, 2:]) / 2, sides, s[:, None].to(b.dtype) * 90], 1)


COUNTS: dict[str, Call] = {  # results whose size depends on values
    "nms_rotated": lambda b, s, k: rotated.nms_rotated(turned(b, s), s, 0.3, max_output=9),
    "batched_nms_rotated": lambda b, s, k: rotated.batched_nms_rotated(turned(b, s), s, k, 0.3),
    "soft_nms_rotated": lambda b, s, k: rotated.soft_nms_rotated(turned(b, s), s, method="gaussian"),
    "batched_soft_nms_rotated": lambda b, s, k: rotated.batched_soft_nms_rotated(turned(b, s), s, k),
    "sample_balanced": lambda b, s, k: proposals.sample_balanced(k, 9, 0.5, seed=1),
}
FIXED: dict[str, Call] = {
    "encode_boxes": lambda b, s, k: proposals.encode_boxes(b, b.flip(0), (10, 10, 5, 5)),
    "decode_boxes": lambda b, s, k: proposals.decode_boxes(b / 99, b),
    "match_boxes": lambda b, s, k: proposals.match_boxes(boxes.box_iou(b, b) - 0.5, 0.2, 0.1, allow_low_quality=True),
    "generate_proposals": lambda b, s, k: proposals.generate_proposals(
        [s[None], s[None, :9]],
        [b[None] / 99, b[None, :9] / 99],
        [b, b[:9]],
        [(400, 500)],
        pre_nms_top_n=20,
        post_nms_top_n=15,
    ),
    "box_iou_rotated": lambda b, s, k: rotated.box_iou_rotated(turned(b, s), turned(b, s)[:7], clockwise=True),
    "box_convert_rotated": lambda b, s, k: rotated.box_convert_rotated(turned(b, s), "cxcywhr", "xyxyxyxy"),
    "min_area_rect": lambda b, s, k: rotated.min_area_rect(b.reshape(-1, 2, 2), degrees=False),
}
MERGED: dict[str, Any] = {  # their results' size depends on values
    "nmm": lambda b, s, k: fusion.nmm(b, s, 0.3),
    "greedy_nmm": lambda b, s, k: fusion.greedy_nmm(b, s, 0.3, idxs=k, metric="ios"),
    "weighted_boxes_fusion": lambda b, s, k: fusion.weighted_boxes_fusion([b, b], [s, s], [k, k], weights=[1, 2]),
}
ROIS = [[0, 0.2, 1.1, 3.5, 4.25], [1, 0.0, 0.0, 7.0, 6.0], [1, 2.3, 1.7, 4.1, 2.2], [0, 5.5, 4.5, 9.0, 9.0]]
Map = Callable[[Any], Any]
MAPS: dict[str, Map] = {  # of maps (2, 4, 6, 7), linear in them
    "roi_align": lambda x: roi.roi_align(x, x.new_tensor(ROIS), (2, 3), 0.8, 2, True),
    "roi_align adaptive": lambda x: roi.roi_align(x, x.new_tensor(ROIS), 2),
}
GRADIENTS: dict[str, Map] = {  # of gradients (4, 4, 2, 2), linear in them
    "roi_align_backward": lambda g: roi.roi_align_backward(g, g.new_tensor(ROIS), (2, 4, 6, 7), 0.8, 2),
}


def head(torch: Any, whole: bool = False) -> Any:
    """(2, 9, 30), a YOLO's: cx cy w h, and 5 scores. ``whole``: x1 y1 x2 y2, a score, a class."""
    x = np.random.default_rng(3).random((2, 9, 30))
    x[:, :4] *= 40
    if whole:
        x[:, 2:4], x[:, 5] = x[:, :2] + x[:, 2:4], np.arange(30) % 3
    return torch.from_numpy(x)
