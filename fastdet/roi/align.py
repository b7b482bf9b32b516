"""RoIAlign and its gradient."""

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
from fastdet.roi.taps import axes_of, first_bad_box, rows_of, weighted_sum


def roi_align(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    zero_point: int = 0,
    backend: str | None = None,
) -> Any:
    """Resample the features of each box to one size: the mean of bilinear samples in each bin, without rounding.

    Parameters
    ----------
    input : (N, C, H, W) float16, bfloat16, float32, float64, int8 or uint8 feature maps; H and W of 1 or more.
        Integers in a list are taken as float64
    boxes : (K, 5) image, x1, y1, x2, y2, or a list of (Ki, 4) boxes x1, y1, x2, y2, one entry per image; pixels of the
        image, which ``spatial_scale`` brings to the map
    output_size : (height, width) of the result, bins, or one integer for both
    spatial_scale : pixels of the map per pixel of the image, above 0
    sampling_ratio : samples of a bin along each axis, at most 4096. 0 or less: ceil(size of a bin), at most 65536
    aligned : True: coordinates are moved by half a pixel, so that the centre of the first pixel is at 0.5. False: they
        are not, and a RoI is at least 1 x 1 pixels of the map
    zero_point : the number that means 0 in a quantised (int8 or uint8) input, of its dtype; 0 of floats

    Returns
    -------
    features : (K, C, height, width), dtype and memory order of ``input``

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite
    MemoryError a result that cannot be allocated

    Notes
    -----
    A sample with y < -1, y > H, x < -1 or x > W is 0; one within a pixel of the border repeats the border. The sum is
    divided by the number of all samples, at least 1.
    An inverted box (x2 < x1 or y2 < y1) has size 1 where ``aligned`` is False; else its samples run backwards, and with
    ``sampling_ratio`` of 0 or less it has none: the result is 0. So it is for a box that overflows when it is scaled.
    The weights of the samples of a bin are added by row and by column first: a bin is ``sum(wy * sum(wx * x)) / count``
    over the rows and columns that its samples look at, in ascending order. torchvision adds sample by sample: results
    differ in the last bits only. NaN and infinities pass through the arithmetic: a weight of 0 does not stop them.
    int8 and uint8: the result has the scale and zero point of ``input``. Steps from the zero point are averaged in
    float32, the zero point is added, and the sum is rounded once, halves up; a sample outside is the zero point.
    There is no gradient for ``boxes``.
    Source: He et al., "Mask R-CNN", 2017; the signature and the rules of the border are torchvision's.

    Examples
    --------
    >>> ramp = np.arange(25.0).reshape(1, 1, 5, 5)
    >>> roi_align(ramp, [[0, 1, 1, 3, 3]], 2, aligned=True)[0, 0]
    array([[ 6.,  7.],
           [11., 12.]])
    """
    if (ops := registered(__name__, input, *_check.listed(boxes))) is not None:
        return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned, backend, zero_point)
    op = "roi_align"
    planes, last = _check.maps(op, "input", input, (*_check.FLOATS, *_check.BYTES))
    dtype, zero = planes.dtype, _check.zero_point(op, zero_point, planes.dtype)
    if dtype in _check.BYTES:
        planes = _check.from_bytes(planes, zero)
    bins = _check.output_size(op, output_size)
    scale, ratio = check.positive(op, "spatial_scale", spatial_scale), _check.sampling_ratio(op, sampling_ratio)
    rois = _check.boxes(op, boxes, len(planes), planes)
    kernel = backends.choose(op, backend, roi_align_reference, planes, rois)
    shape = (len(rois), *bins, planes.shape[3]) if last else (len(rois), planes.shape[1], *bins)
    result = check.empty(op, shape, planes.dtype, planes)
    bad = kernel(planes, last, rois, None, 0, scale, ratio, bool(aligned), result)
    if bad is not None:
        _check.raise_bad_box(op, rois, bad, len(planes))
    if dtype in _check.BYTES:
        result = _check.to_bytes(result, zero, dtype)
    return like(input)(from_nchw(result, last, 4))


def roi_align_backward(
    grad: Any,
    boxes: Any,
    input_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """The gradient of `roi_align` with respect to ``input``: its exact transpose, the same bits in every run.

    Parameters
    ----------
    grad : gradient with respect to the result, (K, C, height, width); float16, bfloat16, float32 or float64
    boxes : as in the call of `roi_align`
    input_size : (N, C, H, W), the shape of ``input``
    spatial_scale, sampling_ratio, aligned : as in the call of `roi_align`

    Returns
    -------
    gradient : (N, C, H, W), dtype and memory order of grad; 0 where no sample looks

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, range, an image that is not there, a coordinate that is NaN or infinite

    Notes
    -----
    A box adds ``sum(wy * sum(wx * (g / count)))`` to a pixel, over the rows and columns of bins that look at it, in
    ascending order; the boxes are added one after another. Sums are float32 (float64 for float64), rounded once.

    Examples
    --------
    >>> roi_align_backward(np.ones((1, 1, 2, 2)), [[0, 0, 0, 1, 1]], (1, 1, 2, 2), 1.0, 2, True)[0, 0]
    array([[3.0625, 0.4375],
           [0.4375, 0.0625]])
    """
    if (ops := registered(__name__, grad, *_check.listed(boxes))) is not None:
        return ops.roi_align_backward(grad, boxes, input_size, spatial_scale, sampling_ratio, aligned, backend)
    op = "roi_align_backward"
    pooled, last = _check.image(op, "grad", grad, "(K, C, height, width)")
    n, c, h, w = _check.input_size(op, input_size)
    scale, ratio = check.positive(op, "spatial_scale", spatial_scale), _check.sampling_ratio(op, sampling_ratio)
    rois = _check.boxes(op, boxes, n, pooled)
    _check.pooled(op, pooled, last, len(rois), c)
    kernel = backends.choose(op, backend, roi_align_backward_reference, pooled, rois)
    result = check.empty(op, (n, h, w, c) if last else (n, c, h, w), pooled.dtype, pooled)
    bad = kernel(pooled, last, rois, None, 0, scale, ratio, bool(aligned), result)
    if bad is not None:
        _check.raise_bad_box(op, rois, bad, n)
    return like(grad)(from_nchw(result, last, 4))


# Boxes whose level is not `level` are left out: `multiscale_roi_align` calls the kernels once for each map.


def roi_align_reference(
    x: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Array,
) -> int | None:
    if (bad := first_bad_box(boxes, len(x))) is not None:
        return bad
    planes, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (x, out))
    for k in rows_of(levels, level, len(boxes)):
        bins = result.shape[2:]
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, aligned, not aligned, bins)
        wy, there_y = rows.taps(planes.shape[2])
        wx, there_x = columns.taps(planes.shape[3])
        seen = there_y.any(0)
        image = widen(planes[int(boxes[k, 0])][:, seen])
        wide = weighted_sum(image, wx, there_x)
        tall = weighted_sum(wide.swapaxes(1, 2), wy[:, seen], there_y[:, seen])
        with np.errstate(all="ignore"):
            result[k] = narrow(np.ascontiguousarray(tall.swapaxes(1, 2)) / count, out.dtype)
    return None


def roi_align_backward_reference(
    grad: Array,
    channels_last: bool,
    boxes: Array,
    levels: Array | None,
    level: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Array,
) -> int | None:
    if (bad := first_bad_box(boxes, len(out))) is not None:
        return bad
    pooled, result = (y.transpose(0, 3, 1, 2) if channels_last else y for y in (grad, out))
    sums = np.zeros(result.shape, boxes.dtype)
    for k in rows_of(levels, level, len(boxes)):
        bins = pooled.shape[2:]
        rows, columns, count = axes_of(boxes[k], spatial_scale, sampling_ratio, aligned, not aligned, bins)
        wy, there_y = rows.taps(result.shape[2])
        wx, there_x = columns.taps(result.shape[3])
        seen_y, seen_x = there_y.any(0), there_x.any(0)
        if not (seen_y.any() and seen_x.any()):
            continue
        with np.errstate(all="ignore"):
            each = widen(pooled[k]) / count
        wide = weighted_sum(each, wx[:, seen_x].T, there_x[:, seen_x].T)
        tall = weighted_sum(wide.swapaxes(1, 2), wy[:, seen_y].T, there_y[:, seen_y].T)
        with np.errstate(all="ignore"):
            sums[int(boxes[k, 0])][np.ix_(np.arange(len(tall)), seen_y, seen_x)] += tall.swapaxes(1, 2)
    result[...] = narrow(sums, out.dtype)
    return None
