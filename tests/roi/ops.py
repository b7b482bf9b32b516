"""Rows of the table of ops: fastdet.roi."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import roi

HOST = ("numba", "cpp")


def channels_last(x: Any) -> Any:
    """The same values with the channels of a pixel next to each other in memory."""
    if hasattr(x, "permute"):
        return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def some_boxes(rng: np.random.Generator, count: int, images: int, side: float) -> Any:
    """(count, 5) boxes: inside, over the border, outside, inverted, of no size, and much larger than the image."""
    box = rng.uniform(-0.3, 1.3, (count, 4)) * side
    small = rng.random(count) < 0.7
    box[small, 2:] = box[small, :2] + rng.random((int(small.sum()), 2)) * side * 0.6
    if count > 8:
        box[3] = [0, 0, side, side]
        box[4] = [-1e6, -5, 1e6, side]
        box[5, 2:] = box[5, :2]
        box[6] = np.round(box[6])
        box[7] = [-1e20, -1e25, 1e30, 1e20]
    return np.hstack([rng.integers(0, max(images, 1), (count, 1)), box])


def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    x = rng.standard_normal(shape) * 10
    if x.size > 2000:
        x.flat[[7, 419, 1837]] = np.nan, np.inf, -np.inf
        x.flat[::11] = -0.0
    return x


def features(
    shape: tuple[int, ...],
    size: Any,
    *rest: Any,
    count: int = 12,
    last: bool = False,
    side: float = 60,
    grad: bool = False,
) -> Case:
    """Maps and boxes, or the gradient of their pooled features and boxes. ``rest``: scale and further options."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes = some_boxes(rng, count, shape[0], side)
        bins = size if isinstance(size, tuple) else (size, size)
        x = cast(values(rng, (count, shape[1], *bins) if grad else shape), dtype)
        return (channels_last(x) if last else x, boxes, shape if grad else size, *rest), {}

    return case


def align_cases(grad: bool) -> dict[str, Case]:
    def each(*args: Any, **options: Any) -> Case:
        return features(*args, **options, grad=grad)

    return {
        "aligned": each((2, 5, 13, 17), (3, 4), 0.25, 2, True),
        "adaptive": each((2, 3, 13, 17), 7, 0.25),
        "channels last": each((2, 37, 13, 17), 5, 0.25, 2, True, last=True),
        "many channels": each((2, 150, 11, 12), (2, 7), 0.2, 3),
        "one channel": each((3, 1, 30, 41), 14, 1.0, -1, True),
        "one pixel": each((1, 2, 1, 1), 2, 1.0, 2, side=3),
        "one bin": each((2, 70, 20, 22), 1, 0.3, 0, True),
        "more samples than pixels": each((1, 3, 4, 5), 2, 0.1, 40),
        "few small boxes": each((2, 66, 40, 50), 3, 0.05, 2, count=3),
        "no box": each((2, 3, 4, 5), 2, count=0),
        "no channel": each((2, 0, 4, 5), 2, 1.0, 2, side=4),
        "large": each((2, 65, 50, 60), 7, 0.25, 2, True, count=60, side=220),
    }


def pyramid(*rest: Any, count: int = 30, grad: bool = False, last: bool = False, channels: int = 3) -> Case:
    """Three maps and boxes of all sizes, or the gradient of their pooled features."""
    shapes = [(2, channels, 24, 32), (2, channels, 12, 16), (2, channels, 6, 8)]

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes = some_boxes(rng, count, 2, 128)
        boxes[::3, 3:] = boxes[::3, 1:3] + rng.choice([16, 32, 50, 64, 100], (len(boxes[::3]), 1))
        maps = [cast(values(rng, shape), dtype) for shape in shapes]
        maps = [channels_last(x) for x in maps] if last else maps
        pooled = cast(values(rng, (count, channels, 3, 2)), dtype)
        own = (pooled, boxes, shapes) if grad else (maps, boxes, (3, 2))
        return (*own, [0.25, 0.125, 0.0625], *rest), {"canonical_scale": 64}

    return case


def pyramid_cases(grad: bool) -> dict[str, Case]:
    return {
        "pyramid": pyramid(grad=grad),
        "adaptive": pyramid(-1, grad=grad),
        "channels last": pyramid(channels=20, last=True, grad=grad),
        "no box": pyramid(count=0, grad=grad),
    }


OPS: dict[str, ArrayOp] = {
    "roi_align": ArrayOp(roi.roi_align, align_cases(False), ALL_FLOATS, HOST, threaded=("large",)),
    "roi_align_backward": ArrayOp(roi.roi_align_backward, align_cases(True), ALL_FLOATS, HOST, threaded=("large",)),
    "multiscale_roi_align": ArrayOp(roi.multiscale_roi_align, pyramid_cases(False), ALL_FLOATS, HOST),
    "multiscale_roi_align_backward": ArrayOp(roi.multiscale_roi_align_backward, pyramid_cases(True), ALL_FLOATS, HOST),
}
