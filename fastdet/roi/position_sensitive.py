"""Position-sensitive RoI pooling: each bin has channels of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import narrow, widen
from fastdet._core.layout import from_nchw
from fastdet.roi import _check
from fastdet.roi.bins import pixel_bins
from fastdet.roi.taps import axes_of, first_bad_box, weighted_sum


def ps_roi_align(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    *,
    backend: str | None = None,
) -> Any:
    """`roi_align` in which bin (p, q) of channel c is computed from channel ``(c * height + p) * width + q`` of input.

    Parameters
    ----------
    input : (N, C * height * width, H, W) float16, bfloat16, float32 or float64; H and W of 1 or more
    boxes, output_size, spatial_scale, sampling_ratio : as in `roi_align`

    Returns
    -------
    features : (K, C, height, width), dtype and memory order of ``input``

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    Coordinates are moved by half a pixel, as in `roi_align` with ``aligned=True``. A bin without samples is 0, where
    torchvision has NaN.
    Source: Li et al., "Light-Head R-CNN", 2017; the signature and the rules of the border are torchvision's.

    Examples
    --------
    >>> maps = np.arange(4.0)[None, :, None, None] * np.ones((1, 4, 3, 3))
    >>> ps_roi_align(maps, [[0, 0, 0, 3, 3]], 2)[0, 0]
    array([[0., 1.],
           [2., 3.]])
    """
    if (ops := registered(__name__, input, *_check.listed(boxes))) is not None:
        return ops.ps_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, backend)
    op = "ps_roi_align"
    ratio = _check.sampling_ratio(op, sampling_ratio)
    return _forward(op, backend, ps_roi_align_reference, input, boxes, output_size, spatial_scale, ratio)


def ps_roi_align_backward(
    grad: Any,
    boxes: Any,
    input_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    *,
    backend: str | None = None,
) -> Any:
    """The gradient of `ps_roi_align` with respect to ``input``: see `roi_align_backward`.

    Parameters
    ----------
    grad : gradient with respect to the result, (K, C, height, width); float16, bfloat16, float32 or float64
    input_size : (N, C * height * width, H, W), the shape of ``input``
    boxes, spatial_scale, sampling_ratio : as in the call of `ps_roi_align`

    Returns
    -------
    gradient : (N, C * height * width, H, W), dtype and memory order of grad

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Examples
    --------
    >>> ps_roi_align_backward(np.ones((1, 1, 1, 2)), [[0, 0, 0, 2, 1]], (1, 2, 1, 2))[0, :, 0]
    array([[1., 0.],
           [0., 1.]])
    """
    if (ops := registered(__name__, grad, *_check.listed(boxes))) is not None:
        return ops.ps_roi_align_backward(grad, boxes, input_size, spatial_scale, sampling_ratio, backend)
    op = "ps_roi_align_backward"
    ratio = _check.sampling_ratio(op, sampling_ratio)
    return _backward(op, backend, ps_roi_align_backward_reference, grad, boxes, input_size, spatial_scale, ratio)


def ps_roi_pool(
    input: Any, boxes: Any, output_size: Any, spatial_scale: float = 1.0, *, backend: str | None = None
) -> Any:
    """The mean of the pixels of each bin; (p, q) of channel c has channel ``(c * height + p) * width + q`` of input.

    Parameters
    ----------
    input : (N, C * height * width, H, W) float16, bfloat16, float32 or float64; H and W of 1 or more
    boxes, output_size, spatial_scale : as in `roi_pool`

    Returns
    -------
    features : (K, C, height, width), dtype and memory order of ``input``

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    Corners are rounded as in `roi_pool`; a RoI has the pixels [x1, x2) and [y1, y2), at least one each way. As in
    torchvision, the last row and the last column of a map are never looked at. An empty bin is 0.
    Pixels are added row by row, from left to right.
    Source: Dai et al., "R-FCN", 2016; the signature and the rules of the border are torchvision's.

    Examples
    --------
    >>> maps = np.arange(4.0)[None, :, None, None] + np.arange(5.0)
    >>> ps_roi_pool(np.broadcast_to(maps, (1, 4, 5, 5)), [[0, 0, 0, 4, 4]], 2)[0, 0]
    array([[0.5, 3.5],
           [2.5, 5.5]])
    """
    if (ops := registered(__name__, input, *_check.listed(boxes))) is not None:
        return ops.ps_roi_pool(input, boxes, output_size, spatial_scale, backend)
    return _forward("ps_roi_pool", backend, ps_roi_pool_reference, input, boxes, output_size, spatial_scale)


def ps_roi_pool_backward(
    grad: Any, boxes: Any, input_size: Any, spatial_scale: float = 1.0, *, backend: str | None = None
) -> Any:
    """The gradient of `ps_roi_pool` with respect to ``input``: each pixel of a bin gets an equal share.

    Parameters
    ----------
    grad : gradient with respect to the result, (K, C, height, width); float16, bfloat16, float32 or float64
    input_size : (N, C * height * width, H, W), the shape of ``input``
    boxes, spatial_scale : as in the call of `ps_roi_pool`

    Returns
    -------
    gradient : (N, C * height * width, H, W), dtype and memory order of grad

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    The boxes are added one after another. Sums are float32 (float64 for float64), rounded once. torchvision's gradient
    reaches the last row and column of a map, which its own forward pass does not look at; this one is the transpose.

    Examples
    --------
    >>> ps_roi_pool_backward(np.ones((1, 1, 1, 1)), [[0, 0, 0, 2, 1]], (1, 1, 2, 3))[0, 0]
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    if (ops := registered(__name__, grad, *_check.listed(boxes))) is not None:
        return ops.ps_roi_pool_backward(grad, boxes, input_size, spatial_scale, backend)
    op = "ps_roi_pool_backward"
    return _backward(op, backend, ps_roi_pool_backward_reference, grad, boxes, input_size, spatial_scale)


def _forward(
    op: str, backend: str | None, reference: Any, input: Any, boxes: Any, output_size: Any, scale: Any, *ratio: int
) -> Any:
    planes, last = _check.maps(op, "input", input)
    bins, scale = _check.output_size(op, output_size), check.positive(op, "spatial_scale", scale)
    channels = _check.own_channels(op, "input", planes.shape[3 if last else 1], bins)
    rois = _check.boxes(op, boxes, len(planes), planes)
    kernel = backends.choose(op, backend, reference, planes, rois)
    shape = (len(rois), *bins, channels) if last else (len(rois), channels, *bins)
    result = check.empty(op, shape, planes.dtype, planes)
    bad = kernel(planes, last, rois, scale, *ratio, result)
    if bad is not None:
        _check.raise_bad_box(op, rois, bad, len(planes))
    return like(input)(from_nchw(result, last, 4))


def _backward(
    op: str, backend: str | None, reference: Any, grad: Any, boxes: Any, input_size: Any, scale: Any, *ratio: int
) -> Any:
    pooled, last = _check.image(op, "grad", grad, "(K, C, height, width)")
    n, c, h, w = _check.input_size(op, input_size)
    scale = check.positive(op, "spatial_scale", scale)
    rois = _check.boxes(op, boxes, n, pooled)
    bins = pooled.shape[1:3] if last else pooled.shape[2:]
    channels = _check.own_channels(op, "input_size", c, (max(bins[0], 1), max(bins[1], 1)))
    _check.pooled(op, pooled, last, len(rois), channels)
    kernel = backends.choose(op, backend, reference, pooled, rois)
    result = check.empty(op, (n, h, w, c) if last else (n, c, h, w), pooled.dtype, pooled)
    bad = kernel(pooled, last, rois, scale, *ratio, result)
    if bad is not None:
        _check.raise_bad_box(op, rois, bad, n)
    return like(grad)(from_nchw(result, last, 4))


def ps_roi_align_reference(
    x: Array, channels_last: bool, boxes: Array, spatial_scale: float, sampling_ratio: int, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    bins = result.shape[2:]
    for k in range(len(boxes)):
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, True, False, bins)
        (wy, there_y), (wx, there_x) = rows.taps(planes.shape[2]), columns.taps(planes.shape[3])
        image = widen(planes[int(boxes[k, 0])]).reshape(result.shape[1], *bins, *planes.shape[2:])
        made = np.empty(result.shape[1:], boxes.dtype)
        for p in range(bins[0]):
            for q in range(bins[1]):
                wide = weighted_sum(image[:, p, q][:, there_y[p]], wx[q : q + 1], there_x[q : q + 1])[..., 0]
                own = there_y[p : p + 1, there_y[p]]
                made[:, p, q] = weighted_sum(wide, wy[p : p + 1, there_y[p]], own)[..., 0]
        with np.errstate(all="ignore"):
            result[k] = narrow(made / count, out.dtype)
    return None


def ps_roi_align_backward_reference(
    grad: Array, channels_last: bool, boxes: Array, spatial_scale: float, sampling_ratio: int, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    bins = pooled.shape[2:]
    sums = np.zeros((len(result), pooled.shape[1], *bins, *result.shape[2:]), boxes.dtype)
    for k in range(len(boxes)):
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, True, False, bins)
        (wy, there_y), (wx, there_x) = rows.taps(result.shape[2]), columns.taps(result.shape[3])
        with np.errstate(all="ignore"):
            each = widen(pooled[k]) / count
            for p in range(bins[0]):
                for q in range(bins[1]):
                    y, x = np.flatnonzero(there_y[p]), np.flatnonzero(there_x[q])
                    share = wy[p, y][:, None] * (wx[q, x] * each[:, p, q, None])[:, None]
                    sums[int(boxes[k, 0])][:, p, q][:, y[:, None], x] += share
    result[...] = narrow(sums.reshape(result.shape), out.dtype)
    return None


def ps_roi_pool_reference(x: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    bins = result.shape[2:]
    for k in range(len(boxes)):
        rows, columns = pixel_bins(boxes[k], spatial_scale, False, bins, planes.shape[2:])
        image = widen(planes[int(boxes[k, 0])]).reshape(result.shape[1], *bins, *planes.shape[2:])
        made = np.zeros(result.shape[1:], boxes.dtype)
        for p, (top, bottom) in enumerate(rows):
            for q, (left, right) in enumerate(columns):
                if top < bottom and left < right:
                    size = (bottom - top) * (right - left)
                    region = image[:, p, q, top:bottom, left:right].reshape(len(image), size)
                    with np.errstate(all="ignore"):
                        total = np.add.accumulate(region, 1)[:, -1]  # one after another
                        made[:, p, q] = total / boxes.dtype.type(size)
        result[k] = narrow(made, out.dtype)
    return None


def ps_roi_pool_backward_reference(
    grad: Array, channels_last: bool, boxes: Array, spatial_scale: float, out: Array
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    bins = pooled.shape[2:]
    sums = np.zeros((len(result), pooled.shape[1], *bins, *result.shape[2:]), boxes.dtype)
    for k in range(len(boxes)):
        rows, columns = pixel_bins(boxes[k], spatial_scale, False, bins, result.shape[2:])
        values = widen(pooled[k])
        for p, (top, bottom) in enumerate(rows):
            for q, (left, right) in enumerate(columns):
                if top < bottom and left < right:
                    area = boxes.dtype.type((bottom - top) * (right - left))
                    with np.errstate(all="ignore"):
                        share = (values[:, p, q] / area)[:, None, None]
                        sums[int(boxes[k, 0])][:, p, q, top:bottom, left:right] += share
    result[...] = narrow(sums.reshape(result.shape), out.dtype)
    return None
