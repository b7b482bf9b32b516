"""The ops of rotated boxes as ops of torch: the same answers compiled, exported, fake and vectorised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need
from rotated_boxes import some_boxes

from fastdet import rotated

torch: Any = need("torch")
BOXES, SCORES = some_boxes(np.random.default_rng(0), 20, 40).astype(np.float32), np.linspace(1, 0.1, 20, dtype="f")
GROUPS = np.arange(20) % 3
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "box_iou_rotated": (lambda a, b: rotated.box_iou_rotated(a, b, clockwise=True), (BOXES, BOXES[:7])),
    "aligned": (lambda a, b: rotated.box_iou_rotated(a, b, aligned=True, metric="ios"), (BOXES[1:], BOXES[:-1])),
    "box_convert_rotated": (lambda b: rotated.box_convert_rotated(b, "cxcywhr", "xyxyxyxy"), (BOXES,)),
    "min_area_rect": (lambda p: rotated.min_area_rect(p, degrees=False), (BOXES[:, :4].reshape(-1, 2, 2),)),
    "nms_rotated": (lambda b, s: rotated.nms_rotated(b, s, 0.2, max_output=9), (BOXES, SCORES)),
    "batched_nms_rotated": (lambda b, s, k: rotated.batched_nms_rotated(b, s, k, 0.2), (BOXES, SCORES, GROUPS)),
    "soft_nms_rotated": (lambda b, s: rotated.soft_nms_rotated(b, s, method="gaussian"), (BOXES, SCORES)),
    "batched_soft_nms_rotated": (
        lambda b, s, k: rotated.batched_soft_nms_rotated(b, s, k),
        (BOXES, SCORES, GROUPS),
    ),
}
FIXED = ("box_iou_rotated", "aligned", "box_convert_rotated", "min_area_rect")


def flat(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("name", CALLS)
def test_compiled_and_exported(name: str) -> None:
    function, arrays = CALLS[name]
    want = flat(function(*arrays))
    tensors = tuple(map(torch.from_numpy, arrays))

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *xs: Any) -> Any:
            return function(*xs)

    compiled = torch.compile(Module(), fullgraph=True, backend="eager")
    exported = torch.export.export(Module(), tensors).module()
    for call in (function, compiled, exported):
        got = flat(call(*tensors))
        assert all(isinstance(x, torch.Tensor) for x in got)
        for x, y in zip(got, want, strict=True):
            np.testing.assert_array_equal(x.numpy(), y, strict=True)


@pytest.mark.parametrize("name", FIXED)
def test_vmap(name: str) -> None:
    function, arrays = CALLS[name]
    batch = tuple(torch.from_numpy(np.stack([x, x[::-1]])) for x in arrays)
    got = torch.vmap(function)(*batch)
    for i in range(2):
        np.testing.assert_array_equal(got[i], function(*(x[i].contiguous() for x in batch)))


def test_a_gradient_is_refused() -> None:
    b = torch.from_numpy(BOXES).requires_grad_()
    with pytest.raises(TypeError, match="box_iou_rotated: boxes1"):
        rotated.box_iou_rotated(b, b)
    with torch.no_grad():
        assert rotated.box_iou_rotated(b, b).shape == (20, 20)
