"""RoIAlign from a pyramid of maps: the size of a box chooses the map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.layout import from_nchw
from fastdet.roi import _check
from fastdet.roi.align import roi_align_backward_reference, roi_align_reference

EPSILON = 1e-6  # of a level, so that a box of exactly the canonical scale is of the canonical level


def multiscale_roi_align(
    inputs: Any,
    boxes: Any,
    output_size: Any,
    spatial_scales: Any,
    sampling_ratio: int = 2,
    *,
    aligned: bool = False,
    canonical_scale: float = 224,
    canonical_level: float = 4,
    backend: str | None = None,
) -> Any:
    """`roi_align` of each box on the map of a feature pyramid that fits its size, in one call and one result.

    Parameters
    ----------
    inputs : list of L maps, finest first, each (N, C, Hl, Wl) of one dtype: float16, bfloat16, float32 or float64
    boxes : (K, 5) image, x1, y1, x2, y2, or a list of (Ki, 4) boxes, one entry per image; pixels of the image
    output_size : (height, width) of the result, bins, or one integer for both
    spatial_scales : for each map its pixels per pixel of the image, each half of the one before
    sampling_ratio, aligned : as in `roi_align`
    canonical_scale, canonical_level : a box with sides of that many pixels is taken from the map of that level; the
        first map has level -log2(spatial_scales[0])

    Returns
    -------
    features : (K, C, height, width), dtype and memory order of the first map

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    The level is ``floor(canonical_level + log2(sqrt(area) / canonical_scale) + 1e-6)``, cut to the levels that there
    are; a box of negative area is of the first. The area is compared with the levels' bounds, so no logarithm is
    rounded: torchvision may choose another level for areas within two millionths of a bound.
    Source: Lin et al., "Feature Pyramid Networks", 2017; torchvision.ops.MultiScaleRoIAlign.

    Examples
    --------
    >>> maps = [np.full((1, 1, 8, 8), 1.0), np.full((1, 1, 4, 4), 2.0)]
    >>> multiscale_roi_align(maps, [[0, 0, 0, 20, 20], [0, 0, 0, 30, 30]], 1, [0.25, 0.125], canonical_scale=100)
    array([[[[1.]]],
    <BLANKLINE>
    <BLANKLINE>
           [[[2.]]]])
    """
    if (ops := registered(__name__, *_check.listed(inputs), *_check.listed(boxes))) is not None:
        return ops.multiscale_roi_align(inputs, boxes, output_size, spatial_scales, sampling_ratio, aligned,
                                        canonical_scale, canonical_level, backend)  # fmt: skip
    op = "multiscale_roi_align"
    maps, last = _maps(op, inputs)
    bins, ratio = _check.output_size(op, output_size), _check.sampling_ratio(op, sampling_ratio)
    scales, bounds = levels(op, spatial_scales, len(maps), canonical_scale, canonical_level)
    rois = _check.boxes(op, boxes, len(maps[0]), maps[0])
    align = backends.choose("roi_align", backend, roi_align_reference, *maps, rois)
    chosen = _levels_of(op, backend, rois, bounds, maps[0])
    channels = maps[0].shape[3 if last else 1]
    shape = (len(rois), *bins, channels) if last else (len(rois), channels, *bins)
    result = check.empty(op, shape, maps[0].dtype, maps[0])
    for i, (planes, scale) in enumerate(zip(maps, scales, strict=True)):
        bad = align(planes, last, rois, chosen, i, scale, ratio, bool(aligned), result)
        if bad is not None:
            _check.raise_bad_box(op, rois, bad, len(planes))
    return like(inputs[0])(from_nchw(result, last, 4))


def multiscale_roi_align_backward(
    grad: Any,
    boxes: Any,
    input_sizes: Any,
    spatial_scales: Any,
    sampling_ratio: int = 2,
    *,
    aligned: bool = False,
    canonical_scale: float = 224,
    canonical_level: float = 4,
    backend: str | None = None,
) -> Any:
    """The gradients of `multiscale_roi_align` with respect to ``inputs``: see `roi_align_backward`.

    Parameters
    ----------
    grad : gradient with respect to the result, (K, C, height, width); float16, bfloat16, float32 or float64
    input_sizes : for each map its shape (N, C, Hl, Wl)
    boxes, spatial_scales, sampling_ratio, aligned, canonical_scale, canonical_level : as in the call of
        `multiscale_roi_align`

    Returns
    -------
    gradients : tuple of L arrays (N, C, Hl, Wl), dtype and memory order of grad

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Examples
    --------
    >>> sizes = [(1, 1, 4, 4), (1, 1, 2, 2)]
    >>> fine, coarse = multiscale_roi_align_backward(np.ones((1, 1, 1, 1)), [[0, 0, 0, 9, 9]], sizes, [1.0, 0.5])
    >>> float(fine.sum()), float(coarse.sum())
    (0.25, 0.0)
    """
    if (ops := registered(__name__, grad, *_check.listed(boxes))) is not None:
        return ops.multiscale_roi_align_backward(grad, boxes, input_sizes, spatial_scales, sampling_ratio, aligned,
                                                 canonical_scale, canonical_level, backend)  # fmt: skip
    op = "multiscale_roi_align_backward"
    pooled, last = _check.image(op, "grad", grad, "(K, C, height, width)")
    sizes = map_sizes(op, input_sizes)
    ratio = _check.sampling_ratio(op, sampling_ratio)
    scales, bounds = levels(op, spatial_scales, len(sizes), canonical_scale, canonical_level)
    rois = _check.boxes(op, boxes, sizes[0][0], pooled)
    _check.pooled(op, pooled, last, len(rois), sizes[0][1])
    spread = backends.choose("roi_align_backward", backend, roi_align_backward_reference, pooled, rois)
    chosen = _levels_of(op, backend, rois, bounds, pooled)
    results = []
    for i, ((n, c, h, w), scale) in enumerate(zip(sizes, scales, strict=True)):
        result = check.empty(op, (n, h, w, c) if last else (n, c, h, w), pooled.dtype, pooled)
        bad = spread(pooled, last, rois, chosen, i, scale, ratio, bool(aligned), result)
        if bad is not None:
            _check.raise_bad_box(op, rois, bad, n)
        results.append(like(grad)(from_nchw(result, last, 4)))
    return tuple(results)


def _maps(op: str, inputs: Any) -> tuple[list[Array], bool]:
    """The maps, all in the memory order of the first one."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise TypeError(f"{op}: inputs must be a list with one map per level, got {check.describe(inputs)}")
    maps, orders = zip(*(_check.maps(op, f"inputs[{i}]", x) for i, x in enumerate(inputs)), strict=True)
    made = []
    for i, (planes, last) in enumerate(zip(maps, orders, strict=True)):
        shape = (planes.shape[0], planes.shape[3 if last else 1])
        first = (maps[0].shape[0], maps[0].shape[3 if orders[0] else 1])
        if shape != first:
            raise ValueError(f"{op}: inputs[{i}] must have N and C {first} as inputs[0], got {shape}")
        if planes.dtype != maps[0].dtype:
            want, got = check.dtype_name(maps[0].dtype), check.dtype_name(planes.dtype)
            raise TypeError(f"{op}: inputs[{i}] must be {want} as inputs[0], got {got}")
        if last != orders[0]:
            planes = check.require(planes.transpose(*((0, 3, 1, 2) if last else (0, 2, 3, 1))), None)
        made.append(planes)
    return made, orders[0]


def map_sizes(op: str, x: Any) -> list[tuple[int, int, int, int]]:
    """The shapes of the maps: N and C are the same in all."""
    if not isinstance(x, (list, tuple)) or not x:
        raise ValueError(f"{op}: input_sizes must be a list of (N, C, H, W), got {check.describe(x)}")
    sizes = [_check.input_size(op, size, f"input_sizes[{i}]") for i, size in enumerate(x)]
    for i, size in enumerate(sizes):
        if size[:2] != sizes[0][:2]:
            raise ValueError(f"{op}: input_sizes[{i}] must have N and C {sizes[0][:2]}, got {size[:2]}")
    return sizes


def levels(op: str, scales: Any, count: int, scale: Any, level: Any) -> tuple[list[float], list[float]]:
    """The maps' scales, and the areas from which on boxes are taken from the second, third, ... map."""
    listed = isinstance(scales, (list, tuple, np.ndarray)) and not check.is_scalar_array(scales)
    if not listed or len(scales) != count:
        raise ValueError(f"{op}: spatial_scales must have {count} entries, one per map, got {check.describe(scales)}")
    values = [check.positive(op, "spatial_scales", value) for value in scales]
    for i, value in enumerate(values):
        if value != values[0] / 2**i:
            raise ValueError(f"{op}: spatial_scales must halve from map to map, got {check.describe(scales)}")
    scale, level = check.positive(op, "canonical_scale", scale), check.number(op, "canonical_level", level)
    first = int(-math.log2(values[0]))
    bounds = []
    for i in range(1, count):
        exponent = 2 * (math.log2(scale) + first + i - level - EPSILON)
        bounds.append(0.0 if exponent < -1074 else math.inf if exponent >= 1024 else 2.0**exponent)
    return values, bounds


def _levels_of(op: str, backend: str | None, rois: Array, bounds: list[float], beside: Array) -> Array:
    chosen = check.empty(op, (len(rois),), np.dtype(np.int64), rois if not isinstance(rois, np.ndarray) else beside)
    backends.choose("roi_levels", backend, roi_levels_reference, rois, chosen)(rois, bounds, chosen)
    return chosen


def roi_levels_reference(boxes: Array, bounds: list[float], out: Array) -> None:
    """For each box how many of the ascending ``bounds`` its area reaches."""
    with np.errstate(all="ignore"):
        area = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
        out[...] = sum((area >= boxes.dtype.type(bound) for bound in bounds), np.zeros(len(boxes), np.int64))
