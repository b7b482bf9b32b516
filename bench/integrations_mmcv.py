"""mmcv's public calls with `fastdet.integrations.mmcv`.

mmcv-lite has no ops of its own: before, it cannot answer, and there is no ratio, only a time. With a compiled mmcv
there are both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PACKAGES = ("torch", "mmcv-lite", "mmengine")
Case = tuple[str, Callable[[], Any], Callable[[Any, Any], str]]


def cases() -> Iterator[Case]:
    """Name, mmcv's call on fixed inputs, and how two answers compare."""
    import mmcv.ops as ops
    import torch

    rng = np.random.default_rng(0)

    def tensor(x: Any) -> Any:
        return torch.from_numpy(np.asarray(x, np.float32))

    def boxes(n: int, size: float = 800.0) -> Any:
        low, sides = rng.uniform(0, size, (n, 2)), rng.uniform(8, 200, (n, 2))
        return tensor(np.concatenate([low, low + sides], 1))

    def same(a: Any, b: Any) -> str:
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0)
        return "equal"

    def near(a: Any, b: Any) -> str:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        return "within 1e-4"

    many, scores = boxes(2000), tensor(rng.permutation(2000) / 2000)
    labels = torch.from_numpy(rng.integers(0, 80, 2000))
    yield "nms, 2000 boxes", lambda: ops.nms(many, scores, 0.5), same
    config = {"type": "nms", "iou_threshold": 0.5}
    yield "batched_nms, 2000 boxes, 80 classes", lambda: ops.batched_nms(many, scores, labels, config), same
    yield "soft_nms, 2000 boxes", lambda: ops.soft_nms(many, scores, 0.5, min_score=0.05), same
    anchors, truth = boxes(20000), boxes(50)
    yield "bbox_overlaps, 20000 x 50", lambda: ops.bbox_overlaps(anchors, truth), near
    turned = tensor(np.concatenate([rng.uniform(0, 800, (1000, 2)), rng.uniform(8, 200, (1000, 2))], 1))
    turned = torch.cat([turned, tensor(rng.uniform(-3, 3, (1000, 1)))], 1)
    yield "nms_rotated, 1000 boxes", lambda: ops.nms_rotated(turned, scores[:1000], 0.1), same
    yield "box_iou_rotated, 1000 x 50", lambda: ops.box_iou_rotated(turned, turned[:50]), near
    features = tensor(rng.normal(0, 1, (2, 256, 100, 100)))
    rois = torch.cat([tensor(rng.integers(0, 2, (256, 1))), boxes(256, 600)], 1)
    yield "roi_align, 256 RoIs, 256 channels", lambda: ops.roi_align(features, rois, 7, 0.125, 2), near
    spun = torch.cat([rois[:, :1], turned[:256]], 1)
    yield "roi_align_rotated, 256 RoIs", lambda: ops.roi_align_rotated(features, spun, 7, 0.125, 2), near
    yield "roi_pool, 256 RoIs", lambda: ops.roi_pool(features, rois, 7, 0.125), near
    logits, target = tensor(rng.normal(-4, 2, (20000, 80))), torch.from_numpy(rng.integers(0, 81, 20000))
    yield "sigmoid_focal_loss, 20000 x 80", lambda: ops.sigmoid_focal_loss(logits, target), near
