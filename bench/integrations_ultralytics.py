"""Cases of Ultralytics for bench/integrations.py: one image of 640 x 640, and a batch of 8; 80 classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PACKAGES = ("ultralytics", "torch", "torchvision")


def cases() -> Iterator[tuple[str, Any, Any]]:
    """(name, call, check): without ``check`` the answers are equal to the bit."""
    import torch
    import torchvision  # noqa: F401 - Ultralytics takes its NMS where it is imported
    from ultralytics.utils import nms, ops

    def suppress(x: Any, **options: Any) -> Any:
        return lambda: nms.non_max_suppression(x, max_time_img=1e3, **options)

    torch.manual_seed(0)
    yield "detect", suppress(heads(1, 80, 0)), equal
    yield "detect, batch of 8", suppress(heads(8, 80, 0)), equal
    yield "detect, validation, multi_label", suppress(heads(1, 80, 0, 0.001), conf_thres=0.001, multi_label=True), equal
    yield "segment", suppress(heads(1, 80, 32), nc=80), equal
    yield "pose", suppress(heads(1, 1, 51), nc=1), equal
    oriented = heads(1, 15, 1, count=21_504, objects=100)
    yield "oriented boxes", suppress(oriented, nc=15, rotated=True), equal
    yield "end to end, batch of 8", suppress(torch.rand(8, 300, 6)), equal
    protos, coefficients = torch.randn(32, 160, 160), torch.randn(50, 32)
    low = torch.rand(50, 2) * 500
    boxes = torch.cat([low, low + torch.rand(50, 2) * 130 + 10], 1)
    given = protos, coefficients, boxes
    yield "process_mask, 50 masks", lambda: ops.process_mask(*given, (640, 640), upsample=True), equal
    yield "process_mask, 50 masks, not resampled", lambda: ops.process_mask(*given, (640, 640)), equal
    for height, width in ((720, 1280), (717, 1283)):
        large = boxes * torch.tensor([width, height, width, height]) / 640
        yield (
            f"process_mask_native, 50 masks, {height} x {width}",
            lambda large=large, size=(height, width): ops.process_mask_native(protos, coefficients, large, size),
            equal,
        )
    masks = torch.randn(1, 50, 160, 160)
    yield "scale_masks, 50 masks", lambda: ops.scale_masks(masks, (720, 1280)), near


def heads(images: int, classes: int, extras: int, noise: float = 0.01, count: int = 8_400, objects: int = 25) -> Any:
    """(images, channels, count): each object is seen by twelve candidates."""
    import torch

    x = torch.rand(images, 4 + classes + extras, count) * noise
    x[:, :2], x[:, 2:4] = torch.rand(images, 2, count) * 640, torch.rand(images, 2, count) * 100 + 5
    for image in x:
        seen = torch.randperm(count)[: 12 * objects]
        where = torch.rand(objects, 4) * torch.tensor([640, 640, 150, 150]) + torch.tensor([0, 0, 8, 8])
        image[:4, seen] = (where.repeat_interleave(12, 0) * (1 + torch.randn(12 * objects, 4) * 0.03)).T
        image[4 + torch.randint(classes, (objects,)).repeat_interleave(12), seen] = torch.rand(12 * objects)
    return x


def equal(before: Any, after: Any) -> str:
    import torch

    pairs = zip(before, after, strict=True)
    if not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs):
        raise AssertionError("the answers differ")
    return "equal"


def near(before: Any, after: Any) -> str:
    error = float((before - after).abs().max())
    if error > 2.0**-20 * 320 * float(before.abs().max()):
        raise AssertionError(f"the answers differ by {error}")
    return f"within {error:.1e}"
