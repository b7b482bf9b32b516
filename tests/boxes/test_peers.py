"""Box ops against other libraries, where they are installed."""

from __future__ import annotations

from typing import Any

import pytest
from optional import need
from samples import sample

from fastdet import boxes

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchvision_boxes(backend: str, dtype: str) -> None:
    """IoU and areas are equal; the other metrics differ by up to 16 ulp of 1 (another order of the same operations)."""
    ops, torch = need("torchvision.ops"), need("torch")
    data = sample("clustered", 300, dtype)
    a, b = torch.from_numpy(data.boxes.copy()), torch.from_numpy(data.boxes2.copy())
    assert torch.equal(boxes.box_area(a, backend=backend), ops.box_area(a))
    assert torch.equal(boxes.box_iou(a, b, backend=backend), ops.box_iou(a, b))
    assert torch.equal(
        boxes.clip_boxes_to_image(a, (480, 640), backend=backend), ops.clip_boxes_to_image(a, (480, 640))
    )
    assert torch.equal(boxes.remove_small_boxes(a, 40, backend=backend), ops.remove_small_boxes(a, 40))
    near: dict[str, Any] = {"rtol": 0, "atol": 16 * torch.finfo(a.dtype).eps}
    for name in ("generalized_box_iou", "distance_box_iou", "complete_box_iou"):
        torch.testing.assert_close(getattr(boxes, name)(a, b, backend=backend), getattr(ops, name)(a, b), **near)
    for there in ("xywh", "cxcywh"):
        want = ops.box_convert(a, "xyxy", there)
        # torchvision rounds (x1 + x2) / 2, fastdet x1 / 2 + x2 / 2
        torch.testing.assert_close(boxes.box_convert(a, "xyxy", there, backend=backend), want, rtol=1e-6, atol=1e-4)
