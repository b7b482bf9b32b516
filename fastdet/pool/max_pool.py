"""Max-pooling with indices and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends
from fastdet._core.arrays import like, quick_cuda, to_array, writable
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import BFLOAT16, narrow, widen
from fastdet._core.layout import from_nchw, to_nchw
from fastdet.pool import _check
from fastdet.pool.places import Size, Window, as_planes, flat_places, in_layout, positions, scatter

WIDER = {**dict.fromkeys("hH", np.int32), **dict.fromkeys("IL", np.int64)}  # dtypes that are pooled as a wider one


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    return_indices: bool = True,
    compact: bool = False,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """The maximum of each window, and its place.

    Parameters
    ----------
    x : (H, W), (C, H, W) or (N, C, H, W) float16, bfloat16, float32, float64 or integer (not uint64)
    kernel_size, stride, padding : int or (height, width), pixels; stride None is kernel_size; padding is at most half
        the kernel and counts as lower than every value
    ceil_mode : True: round the number of windows up instead of down; a last window that would begin in the right or
        lower padding is dropped
    return_indices : False for the values alone
    compact : True for uint8 places in the window instead of int64 places in the plane; kernels of at most 256 places
    out : (values, indices), or the values alone where return_indices is False: arrays of the results' shape, dtype
        and layout, for the results; faster for large ones

    Returns
    -------
    values : (..., OH, OW) of x's dtype, OH = floor((H + 2 padding - kernel) / stride) + 1 (ceil in ceil_mode)
    indices : (..., OH, OW) int64, or uint8 if compact

    Raises
    ------
    TypeError   dtype, device, out's dtype
    ValueError  shape, window, an image too small for one window, compact with too large a kernel, an invalid out

    Notes
    -----
    The first of equal maxima wins (0.0 equals -0.0). NaN propagates, and the index is that of the last NaN in the
    window. A window of -inf only has the index of its first place in the image. Equal on every backend, and to torch.
    Quantised images are pooled exactly, as the int8 or uint8 that they are: the maximum of the numbers is the number of
    the maximum, so values have the scale and zero point of x. Padding is never a maximum: it needs no zero point. int8
    and uint8 are the quickest, 64 values at a time.
    Source: Badrinarayanan et al., "SegNet", 2016; torch.nn.functional.max_pool2d.

    Examples
    --------
    >>> max_pool2d(np.array([[1, 9, 2, 3], [4, 5, 8, 6]]), 2)
    (array([[9, 8]]), array([[1, 6]]))
    """
    op = "max_pool2d"
    if (ops := registered(__name__, x, out)) is not None:
        return ops.max_pool2d(x, kernel_size, stride, padding, ceil_mode, return_indices, compact, out, backend)
    if (quick := quick_cuda(x, backend)) is not None and out is None and x.ndim == 4:
        window = _check.window(op, kernel_size, stride, padding)
        size = _check.pooled_size(op, x.shape[2:], window, ceil_mode)
        results = quick.max_pool2d(x, window, size, bool(compact), bool(return_indices))
        if results is not None:
            return results
    array = to_array(op, "x", x, differentiable=True, half=True)
    if not (array.dtype == BFLOAT16 or (array.dtype.char in "efdbBhHiIlqL" and array.dtype != np.uint64)):
        raise TypeError(f"{op}: x must be float16, bfloat16, float32, float64 or integer, got {array.dtype}")
    array = _check.planes(op, "x", array)
    window = _check.window(op, kernel_size, stride, padding)
    size = _check.pooled_size(op, array.shape[-2:], window, ceil_mode)
    if compact and window[0] * window[1] > 256:
        raise ValueError(f"{op}: kernel_size must have at most 256 places if compact, got {window[:2]}")
    image, last = to_nchw(array)
    wider = WIDER.get(array.dtype.char)
    index_type = "none" if not return_indices else "compact" if compact else "flat"
    shape = (*array.shape[:-2], *size)
    buffers: list[Array | None] = [None, None]
    if out is not None:
        if return_indices and not (isinstance(out, (tuple, list)) and len(out) == 2):
            raise TypeError(f"{op}: out must be (values, indices), got {type(out).__name__}")
        dtypes = image.dtype, np.dtype(np.uint8 if compact else np.int64)
        for i, buffer in enumerate(out if return_indices else (out,)):
            apart = [array, *(b for b in buffers if b is not None)]
            buffers[i] = _check.out_image(op, writable(op, "out", buffer), shape, dtypes[i], last, apart)
    function = backends.choose(op, backend, max_pool2d_reference, array, *buffers)
    if wider is None:
        values, indices = function(image, last, window, size, index_type, *buffers)
    else:
        values, indices = function(image.astype(wider), last, window, size, index_type, None, buffers[1])
        values = values.astype(array.dtype)
        if buffers[0] is not None:
            buffers[0][...] = values
    if out is not None:
        return out
    results = [like(x)(from_nchw(y, last, array.ndim)) for y in (values, indices) if y is not None]
    return tuple(results) if return_indices else results[0]


def max_pool2d_reference(
    x: Array, last: bool, window: Window, size: Size, index_type: str, values: Array | None, indices: Array | None
) -> tuple[Array, Array | None]:
    kh, kw, sh, sw, ph, pw = window
    compute = widen(as_planes(x, last))
    n, c, height, width = compute.shape
    kh, taps = min(kh, height + ph), min(kw, width + pw)  # places of the window that can lie in the image
    lowest = -np.inf if compute.dtype.kind == "f" else np.iinfo(compute.dtype).min
    best = np.full((n, c, *size), lowest, compute.dtype)
    y0, x0 = (np.arange(count) * step - pad for count, step, pad in zip(size, (sh, sw), (ph, pw), strict=True))
    where = np.empty((n, c, *size), np.int64)  # the place in the window; it starts as the first place in the image
    where[...] = np.maximum(-y0, 0)[:, None] * kw + np.maximum(-x0, 0)
    for ky in range(kh):
        rows = np.flatnonzero((y0 + ky >= 0) & (y0 + ky < height))
        for kx in range(taps):
            columns = np.flatnonzero((x0 + kx >= 0) & (x0 + kx < width))
            if not (len(rows) and len(columns)):
                continue
            inside = np.s_[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            value = compute[:, :, (y0 + ky)[rows]][..., (x0 + kx)[columns]]
            with np.errstate(invalid="ignore"):
                take = (value > best[inside]) | (value != value)  # the last NaN wins, as in torch
            best[inside] = np.where(take, value, best[inside])
            where[inside] = np.where(take, ky * kw + kx, where[inside])
    index = None
    if index_type == "flat":
        index = (y0[:, None] + where // kw) * width + (x0 + where % kw)
    elif index_type == "compact":
        index = where.astype(np.uint8)
    return in_layout(narrow(best, x.dtype), last, values), None if index is None else in_layout(index, last, indices)


def max_pool2d_backward(
    grad: Any,
    indices: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    backend: str | None = None,
) -> Any:
    """Gradient of `max_pool2d`: the gradient of each value goes to the place that the value came from.

    Parameters
    ----------
    grad : (..., OH, OW) float16, bfloat16, float32 or float64, the gradient of the values
    indices : (..., OH, OW) int64 or uint8, as `max_pool2d` returns them
    input_size : (H, W) of the pooled image, or its whole shape
    kernel_size, stride, padding : as in the call of `max_pool2d`

    Returns
    -------
    grad : (..., H, W) of grad's dtype; 0 where no maximum was

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, window, sizes that do not match, an index outside the image

    Notes
    -----
    Where windows overlap, the gradients of one place are added in the order of the windows, row by row, halves in
    float32. So the result is deterministic, and equal on every backend and for any number of threads.

    Examples
    --------
    >>> max_pool2d_backward(np.array([[0.5, 2.0]]), np.array([[1, 6]]), (2, 4), 2)
    array([[0. , 0.5, 0. , 0. ],
           [0. , 0. , 2. , 0. ]])
    """
    if (ops := registered(__name__, grad, indices)) is not None:
        return ops.max_pool2d_backward(grad, indices, input_size, kernel_size, stride, padding, backend)
    op = "max_pool2d_backward"
    array = to_array(op, "grad", grad, differentiable=True, half=True)
    if not (array.dtype == BFLOAT16 or (array.dtype.kind == "f" and array.dtype.itemsize <= 8)):
        raise TypeError(f"{op}: grad must be float16, bfloat16, float32 or float64, got {array.dtype}")
    window = _check.window(op, kernel_size, stride, padding)
    size = _check.plane_size(op, "input_size", input_size, array.shape)
    sizes = {_check.window_counts(size, window, ceil_mode) for ceil_mode in (False, True)}
    if array.ndim >= 2 and array.shape[-2:] not in sizes:
        allowed = " or ".join(map(str, sorted(sizes)))
        raise ValueError(f"{op}: grad must have height and width {allowed}, got {array.shape[-2:]}")
    return scatter(op, grad, array, "grad", indices, window, size, None, backend, max_pool2d_backward_reference)


def max_pool2d_backward_reference(x: Array, indices: Array, last: bool, window: Window, size: Size) -> Array | None:
    values = as_planes(x, last)
    places, outside = positions(as_planes(indices, last), window, size)
    if outside.any():
        return None
    total = np.zeros(values.shape[:2] + size, widen(values).dtype)
    with np.errstate(all="ignore"):
        np.add.at(total.reshape(-1), flat_places(places, size), widen(values).reshape(-1))  # in order, one by one
    return in_layout(narrow(total, x.dtype), last, None)
