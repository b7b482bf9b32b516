"""Rows of the table of ops: fastdet.roi."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows import ALL_FLOATS, Arguments, ArrayOp, Case, cast

from fastdet import roi


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


def of_bytes(shape: tuple[int, ...], size: Any, *rest: Any, last: bool = False, count: int = 12) -> Case:
    """Quantised maps."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max + 1, shape).astype(dtype)
        boxes = some_boxes(rng, count, shape[0], 60)
        return (channels_last(x) if last else x, boxes, size, *rest), {"zero_point": 7}

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


def pool_cases() -> dict[str, Case]:
    return {
        "maxima": features((2, 5, 13, 17), (3, 4), 0.25),
        "channels last": features((2, 70, 13, 17), 5, 0.25, last=True),
        "many channels": features((2, 150, 11, 12), (2, 7), 0.2),
        "one channel": features((3, 1, 30, 41), 14),
        "one pixel": features((1, 2, 1, 1), 2, side=3),
        "few small boxes": features((2, 66, 40, 50), 3, 0.05, count=3),
        "no box": features((2, 3, 4, 5), 2, count=0),
        "no channel": features((2, 0, 4, 5), 2, side=4),
        "large": features((2, 65, 50, 60), 7, 0.25, count=60, side=220),
    }


def with_indices(case: Case) -> Case:
    def made(dtype: str, rng: np.random.Generator) -> Arguments:
        args, options = case(dtype, rng)
        return args, {**options, "return_indices": True}

    return made


def scattered(shape: tuple[int, ...], size: int, *, last: bool = False, side: float = 60, count: int = 12) -> Case:
    """The gradient of maxima and where they were."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes = some_boxes(rng, count, shape[0], side)
        x = rng.standard_normal(shape).round(1)
        indices = roi.roi_pool(x, boxes, size, 0.25, return_indices=True, backend="reference")[1]
        grad = cast(values(rng, indices.shape), dtype)
        return (channels_last(grad) if last else grad, channels_last(indices) if last else indices, boxes, shape), {}

    return case


def own_channels(
    shape: tuple[int, ...],
    size: tuple[int, int],
    *rest: Any,
    grad: bool,
    last: bool = False,
    count: int = 12,
    side: float = 60,
) -> Case:
    """Maps of which each bin has channels of its own; ``shape``'s channels are those of the result."""

    def case(dtype: str, rng: np.random.Generator) -> Arguments:
        boxes = some_boxes(rng, count, shape[0], side)
        whole = (shape[0], shape[1] * size[0] * size[1], *shape[2:])
        x = cast(values(rng, (count, shape[1], *size) if grad else whole), dtype)
        return (channels_last(x) if last else x, boxes, whole if grad else size, *rest), {}

    return case


def own_cases(grad: bool, *ratio: int) -> dict[str, Case]:
    return {
        "bins": own_channels((2, 3, 13, 17), (3, 4), 0.25, *ratio, grad=grad),
        "channels last": own_channels((2, 5, 13, 17), (3, 3), 0.25, *ratio, grad=grad, last=True),
        "adaptive": own_channels((2, 2, 9, 12), (2, 3), 0.2, grad=grad),
        "one pixel": own_channels((1, 2, 1, 1), (2, 2), grad=grad, side=3),
        "no box": own_channels((2, 3, 4, 5), (2, 2), grad=grad, count=0),
        "no channel": own_channels((2, 0, 4, 5), (2, 2), grad=grad, side=4),
        "large": own_channels((2, 9, 40, 50), (7, 7), 0.25, *ratio, grad=grad, count=50, side=180),
    }


OPS: dict[str, ArrayOp] = {
    "roi_align": ArrayOp(roi.roi_align, align_cases(False), ALL_FLOATS, threaded=("large",)),
    "roi_align_backward": ArrayOp(roi.roi_align_backward, align_cases(True), ALL_FLOATS, threaded=("large",)),
    "roi_align of bytes": ArrayOp(
        roi.roi_align,
        {
            "planes": of_bytes((2, 5, 13, 17), (3, 4), 0.25, 2, True),
            "channels last": of_bytes((2, 37, 13, 17), 5, 0.25, last=True),
            "no box": of_bytes((2, 3, 4, 5), 2, count=0),
        },
        ("uint8", "int8"),
    ),
    "multiscale_roi_align": ArrayOp(roi.multiscale_roi_align, pyramid_cases(False), ALL_FLOATS),
    "multiscale_roi_align_backward": ArrayOp(roi.multiscale_roi_align_backward, pyramid_cases(True), ALL_FLOATS),
    "roi_pool": ArrayOp(roi.roi_pool, pool_cases(), ALL_FLOATS, threaded=("large",)),
    "roi_pool with indices": ArrayOp(
        roi.roi_pool, {name: with_indices(case) for name, case in pool_cases().items()}, ALL_FLOATS, threaded=("large",)
    ),
    "roi_pool_backward": ArrayOp(
        roi.roi_pool_backward,
        {
            "maxima": scattered((2, 5, 13, 17), 3),
            "channels last": scattered((2, 33, 13, 17), 2, last=True),
            "no box": scattered((2, 3, 4, 5), 2, count=0),
            "large": scattered((2, 65, 50, 60), 7, count=60, side=220),
        },
        ALL_FLOATS,
        threaded=("large",),
    ),
    "ps_roi_align": ArrayOp(roi.ps_roi_align, own_cases(False, 2), ALL_FLOATS, threaded=("large",)),
    "ps_roi_align_backward": ArrayOp(roi.ps_roi_align_backward, own_cases(True, 2), ALL_FLOATS, threaded=("large",)),
    "ps_roi_pool": ArrayOp(roi.ps_roi_pool, own_cases(False), ALL_FLOATS, threaded=("large",)),
    "ps_roi_pool_backward": ArrayOp(roi.ps_roi_pool_backward, own_cases(True), ALL_FLOATS, threaded=("large",)),
}
