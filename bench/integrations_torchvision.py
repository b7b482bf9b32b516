"""Cases of torchvision for bench/integrations.py: NMS, regions of interest, and what follows a detector's heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

PACKAGES = ("torchvision", "torch")
Check = Callable[[Any, Any], str]


def near(before: Any, after: Any) -> str:
    """Sums in another order: how far they are apart, in units of the largest value."""
    import numpy as np

    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape or before.dtype != after.dtype:
        raise AssertionError(f"{before.dtype} {before.shape} before, {after.dtype} {after.shape} after")
    apart = float(np.abs(before - after).max() / np.abs(before).max())
    if not apart < 1e-6:
        raise AssertionError(f"apart by {apart:.1e} of the largest value")
    return f"within {apart:.0e} of the largest"


def cases() -> Iterator[tuple[str, Callable[[], Any], Check | None]]:
    import torch
    import torchvision

    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Any:
        return torch.rand(*shape, generator=random)

    def boxes(count: int, side: float) -> Any:
        corner = uniform(count, 2) * side
        return torch.cat([corner, corner + 8 + uniform(count, 2) * 120], 1)

    objects = boxes(300, 1000)

    def candidates(count: int) -> tuple[Any, Any]:
        """Boxes about 300 objects, as a detector's heads give them, and scores."""
        own = torch.randint(0, 300, (count,), generator=random)
        return objects[own] + (uniform(count, 4) - 0.5) * 12, uniform(count)

    def suppressed(count: int) -> Callable[[], Any]:
        b, scores = candidates(count)
        return lambda: torchvision.ops.nms(b, scores, 0.5)

    def by_class(count: int) -> Callable[[], Any]:
        b, scores = candidates(count)
        classes = torch.randint(0, 80, (count,), generator=random)
        return lambda: torchvision.ops.batched_nms(b, scores, classes, 0.5)

    for count in (10, 100, 1_000, 10_000, 100_000):
        yield f"nms {count:,}", suppressed(count), None
    for count in (1_000, 10_000, 100_000):
        yield f"batched_nms {count:,}, 80 classes", by_class(count), None

    maps = uniform(2, 256, 50, 68)

    def regions(count: int) -> Any:
        images = torch.arange(count)[:, None].remainder(2).float()
        return torch.cat([images, boxes(count, 600)], 1)

    def aligned(count: int) -> Callable[[], Any]:
        rois = regions(count)
        return lambda: torchvision.ops.roi_align(maps, rois, 7, 1 / 16, 2, True)

    for count in (100, 500):
        yield f"roi_align {count}, 256 channels, 7 x 7", aligned(count), near
    rois = regions(100)
    yield "roi_pool 100, 256 channels, 7 x 7", lambda: torchvision.ops.roi_pool(maps, rois, 7, 1 / 16), None

    model = torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21)
    model.score_thresh = 0.001
    anchors = [boxes(8732, 250).clamp(max=300)]
    heads = {"bbox_regression": uniform(1, 8732, 4) - 0.5, "cls_logits": 4 * uniform(1, 8732, 21)}

    def detections() -> Any:
        return model.postprocess_detections(heads, anchors, [(300, 300)])

    yield "SSD300 from its heads to its detections", detections, None
