"""RoI max-pooling and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import narrow, widen
from fastdet._core.layout import from_nchw
from fastdet.roi import _check
from fastdet.roi.bins import pixel_bins
from fastdet.roi.taps import first_bad_box


def roi_pool(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    return_indices: bool = False,
    backend: str | None = None,
) -> Any:
    """Pool the features of each box to one size: the maximum of the pixels of each bin.

    Parameters
    ----------
    input : (N, C, H, W) float16, bfloat16, float32 or float64 feature maps; H and W of 1 or more. Integers in a list
        are taken as float64
    boxes : (K, 5) image, x1, y1, x2, y2, or a list of (Ki, 4) boxes x1, y1, x2, y2, one entry per image; pixels of the
        image, which ``spatial_scale`` brings to the map
    output_size : (height, width) of the result, bins, or one integer for both
    spatial_scale : pixels of the map per pixel of the image, above 0
    return_indices : return where each maximum is, too

    Returns
    -------
    features : (K, C, height, width), dtype and memory order of ``input``
    indices : with ``return_indices``, (K, C, height, width) int64: row * W + column in the map; -1 for an empty bin

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite
    MemoryError a result that cannot be allocated

    Notes
    -----
    Corners are rounded to whole pixels, halves away from zero, and cut to +-2^30; a RoI has the pixels from corner to
    corner, both included, and at least one each way. A bin has the pixels [floor, ceil) of its part, cut to the map; an
    empty bin is 0. Of equal maxima the first wins, of NaNs the last, as in `max_pool2d`; torchvision passes over NaN.
    There is no gradient for ``boxes``.
    Source: Girshick, "Fast R-CNN", 2015; the signature and the rules of the border are torchvision's.

    Examples
    --------
    >>> image = np.array([[[[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16.0]]]])
    >>> roi_pool(image, [[0, 0, 0, 3, 3]], 2)[0, 0]
    array([[ 4.,  8.],
           [12., 16.]])
    """
    if (ops := registered(__name__, input, *_check.listed(boxes))) is not None:
        return ops.roi_pool(input, boxes, output_size, spatial_scale, return_indices, backend)
    op = "roi_pool"
    planes, last = _check.maps(op, "input", input)
    bins = _check.output_size(op, output_size)
    scale = check.positive(op, "spatial_scale", spatial_scale)
    rois = _check.boxes(op, boxes, len(planes), planes)
    kernel = backends.choose(op, backend, roi_pool_reference, planes, rois)
    shape = (len(rois), *bins, planes.shape[3]) if last else (len(rois), planes.shape[1], *bins)
    result = check.empty(op, shape, planes.dtype, planes)
    places = check.empty(op, shape, np.dtype(np.int64), planes) if return_indices else None
    bad = kernel(planes, last, rois, scale, result, places)
    if bad is not None:
        _check.raise_bad_box(op, rois, bad, len(planes))
    back = like(input)
    values = back(from_nchw(result, last, 4))
    return values if places is None else (values, back(from_nchw(places, last, 4)))


def roi_pool_backward(grad: Any, indices: Any, boxes: Any, input_size: Any, *, backend: str | None = None) -> Any:
    """The gradient of `roi_pool` with respect to ``input``: each value goes to where its maximum was.

    Parameters
    ----------
    grad : gradient with respect to the features, (K, C, height, width); float16, bfloat16, float32 or float64
    indices : of `roi_pool` with ``return_indices``, (K, C, height, width) int64
    boxes : as in the call of `roi_pool`; only their images are looked at
    input_size : (N, C, H, W), the shape of ``input``

    Returns
    -------
    gradient : (N, C, H, W), dtype and memory order of grad

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, an index outside the map, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    Values for one place are added by box, row and column of bins, in ascending order. Sums are float32 (float64 for
    float64), rounded once.

    Examples
    --------
    >>> roi_pool_backward(np.array([[[[2.0, 3.0]]]]), np.array([[[[1, -1]]]]), [[0, 0, 0, 1, 1]], (1, 1, 1, 2))
    array([[[[0., 2.]]]])
    """
    if (ops := registered(__name__, grad, indices, *_check.listed(boxes))) is not None:
        return ops.roi_pool_backward(grad, indices, boxes, input_size, backend)
    op = "roi_pool_backward"
    pooled, last = _check.image(op, "grad", grad, "(K, C, height, width)")
    n, c, h, w = _check.input_size(op, input_size)
    rois = _check.boxes(op, boxes, n, pooled)
    _check.pooled(op, pooled, last, len(rois), c)
    given = _check.places(op, to_array(op, "indices", indices), pooled, last)
    kernel = backends.choose(op, backend, roi_pool_backward_reference, pooled, given, rois)
    result = check.empty(op, (n, h, w, c) if last else (n, c, h, w), pooled.dtype, pooled)
    bad = kernel(pooled, last, given, rois, result)
    if bad is not None:
        if not bad & 1:
            _check.raise_bad_box(op, rois, bad >> 1, n)
        _check.raise_bad_place(op, given, bad >> 1, last, h * w)
    return like(grad)(from_nchw(result, last, 4))


def roi_pool_reference(
    x: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array, places: Array | None
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    indices = np.empty(result.shape, np.int64)
    width, channels = planes.shape[3], np.arange(planes.shape[1])
    for k in range(len(boxes)):
        image = widen(planes[int(boxes[k, 0])])
        rows, columns = pixel_bins(boxes[k], spatial_scale, True, result.shape[2:], planes.shape[2:])
        best, where = np.zeros(result.shape[1:], boxes.dtype), indices[k]
        for p, (top, bottom) in enumerate(rows):
            for q, (left, right) in enumerate(columns):
                if top >= bottom or left >= right:
                    where[:, p, q] = -1
                    continue
                size = (bottom - top) * (right - left)
                region = image[:, top:bottom, left:right].reshape(len(channels), size)
                hole = np.isnan(region)
                first = np.argmax(np.where(hole, -np.inf, region), 1)
                final = size - 1 - np.argmax(hole[:, ::-1], 1)
                at = np.where(hole.any(1), final, first)
                best[:, p, q] = region[channels, at]
                where[:, p, q] = (top + at // (right - left)) * width + left + at % (right - left)
        result[k] = narrow(best, out.dtype)
    if places is not None:
        places[...] = indices.transpose(0, 2, 3, 1) if channels_last else indices
    return None


def roi_pool_backward_reference(
    grad: Array, channels_last: bool, places: Array, boxes: Array, out: Array
) -> int | None:
    """Twice the row of a bad box, or twice the flat position of a bad index and one."""
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return 2 * bad
    pooled, where, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, places, out))
    size = result.shape[2] * result.shape[3]
    wrong = (places < -1) | (places >= size)
    if wrong.any():
        return 2 * int(np.argmax(wrong)) + 1
    sums = np.zeros((*result.shape[:2], size), boxes.dtype)
    for k in range(len(boxes)):
        flat = (pooled.shape[1], pooled.shape[2] * pooled.shape[3])
        values, at = widen(pooled[k]).reshape(flat), where[k].reshape(flat)
        for i in range(at.shape[1]):
            to = np.flatnonzero(at[:, i] >= 0)
            with np.errstate(all="ignore"):
                sums[int(boxes[k, 0]), to, at[to, i]] += values[to, i]
    result[...] = narrow(sums.reshape(result.shape), out.dtype)
    return None
