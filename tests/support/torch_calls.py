"""Tables of test_torch: calls of fastdet.proposals on boxes (N, 4), scores (N,), keys (N,); the output of a YOLO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet import boxes, proposals

Call = Callable[[Any, Any, Any], Any]
COUNTS: dict[str, Call] = {  # results whose size depends on values
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
}


def head(torch: Any, whole: bool = False) -> Any:
    """(2, 9, 30), a YOLO's: cx cy w h, and 5 scores. ``whole``: x1 y1 x2 y2, a score, a class."""
    x = np.random.default_rng(3).random((2, 9, 30))
    x[:, :4] *= 40
    if whole:
        x[:, 2:4], x[:, 5] = x[:, :2] + x[:, 2:4], np.arange(30) % 3
    return torch.from_numpy(x)
