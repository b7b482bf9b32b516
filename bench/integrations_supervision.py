"""Cases of supervision for bench/integrations.py; 80 classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

PACKAGES = ("supervision",)


def cases() -> Iterator[tuple[str, Any, Any]]:
    """(name, call, check): answers are equal to the bit."""
    import supervision as sv

    r = np.random.default_rng(0)
    for n in (100, 1_000, 5_000):
        centre, side = r.uniform(0, 1000, (n, 2)), r.uniform(10, 80, (n, 2))
        boxes = np.hstack([centre - side / 2, centre + side / 2]).astype(np.float32)
        found = sv.Detections(xyxy=boxes, confidence=r.random(n).astype(np.float32), class_id=r.integers(0, 80, n))
        yield f"Detections.with_nms {n}", lambda found=found: found.with_nms(0.5).xyxy, None
        yield f"box_iou_batch {n} x {n}", lambda boxes=boxes: sv.box_iou_batch(boxes, boxes), None
    masks = np.zeros((50, 480, 640), np.bool_)
    for mask, x, y in zip(masks, r.integers(0, 500, 50), r.integers(0, 400, 50), strict=True):
        mask[y : y + 70, x : x + 120] = True
    yield "mask_iou_batch 50 x 50, 480 x 640", lambda: sv.mask_iou_batch(masks, masks), None
