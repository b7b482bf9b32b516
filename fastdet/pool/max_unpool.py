"""Max-unpooling and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import BFLOAT16
from fastdet._core.layout import from_nchw, to_nchw
from fastdet.pool import _check
from fastdet.pool.places import (
    Size,
    Window,
    as_laid_out,
    as_planes,
    checked_result,
    flat_places,
    in_layout,
    positions,
    scatter,
)


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    zero_point: int = 0,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Put each value back at the place that it was pooled from; zeros, or the zero point, elsewhere.

    Parameters
    ----------
    x : (h, w), (C, h, w) or (N, C, h, w) of any float or integer dtype
    indices : x's shape, int64 or uint8, as `max_pool2d` returns them; compact ones are places in the windows of
        these kernel_size, stride and padding
    kernel_size, stride, padding : int or (height, width), pixels; stride None is kernel_size
    output_size : (H, W) or the whole shape of the result; it may differ from (h - 1) stride - 2 padding + kernel, which
        None stands for, by less than one stride
    zero_point : the number that means 0 in a quantised x, and so the value of all other places: an integer of x's
        dtype; 0 where x is float
    out : array of the result's shape, dtype and layout, for the result; faster for large results

    Returns
    -------
    image : (..., H, W) of x's dtype; ``out`` itself if it is passed

    Raises
    ------
    TypeError   dtype, device, out's dtype
    ValueError  shape, window, output_size, zero_point, an invalid out (nothing is written), an index outside the image
        (what is written to ``out`` is then undefined)

    Notes
    -----
    Where two values have one place (overlapping windows), the last one, row by row, stays. Equal on every backend.
    Quantised images are moved exactly: the result has the scale and zero point of x.
    Source: Badrinarayanan et al., "SegNet", 2016; torch.nn.functional.max_unpool2d.

    Examples
    --------
    >>> max_unpool2d(np.array([[9, 8]]), np.array([[1, 6]]), 2)
    array([[0, 9, 0, 0],
           [0, 0, 8, 0]])
    >>> max_unpool2d(np.array([[9, 8]], np.int8), np.array([[1, 6]]), 2, zero_point=-3)  # quantised: -3 means 0
    array([[-3,  9, -3, -3],
           [-3, -3,  8, -3]], dtype=int8)
    """
    op = "max_unpool2d"
    if (ops := registered(__name__, x, indices, out)) is not None:
        return ops.max_unpool2d(x, indices, kernel_size, stride, padding, output_size, zero_point, out, backend)
    array = to_array(op, "x", x, differentiable=True, half=True)
    if not (array.dtype == BFLOAT16 or (array.dtype.kind in "fiu" and array.dtype.itemsize <= 8)):
        raise TypeError(f"{op}: x must be float or integer, got {array.dtype}")
    array = _check.planes(op, "x", array)
    window = _check.window(op, kernel_size, stride, padding)
    size = _check.unpooled_size(op, "output_size", output_size, array.shape, window)
    zero = _check.zero_point(op, zero_point, array.dtype)
    return scatter(op, x, array, "x", indices, window, size, out, backend, max_unpool2d_reference, zero)


def max_unpool2d_reference(
    x: Array, indices: Array, last: bool, window: Window, size: Size, zero_point: int, out: Array | None
) -> Array | None:
    values = as_planes(x, last)
    places, outside = positions(as_planes(indices, last), window, size)
    if outside.any():
        return None
    image = np.zeros(values.shape[:2] + size, x.dtype)
    if zero_point:
        image[...] = zero_point
    image.reshape(-1)[flat_places(places, size)] = values.reshape(-1)  # of equal places NumPy keeps the last
    return in_layout(image, last, out)


def max_unpool2d_backward(
    grad: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    backend: str | None = None,
) -> Any:
    """Gradient of `max_unpool2d`: the gradient at the place of each value.

    Parameters
    ----------
    grad : (..., H, W) of any float or integer dtype, the gradient of the unpooled image
    indices, kernel_size, stride, padding : as in the call of `max_unpool2d`; indices are (..., h, w)

    Returns
    -------
    grad : (..., h, w) of grad's dtype

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, window, an index outside the image

    Notes
    -----
    Where several values had one place, each gets its gradient, as in torch, although only the last was kept.

    Examples
    --------
    >>> max_unpool2d_backward(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[1, 6]]), 2)
    array([[2, 7]])
    """
    if (ops := registered(__name__, grad, indices)) is not None:
        return ops.max_unpool2d_backward(grad, indices, kernel_size, stride, padding, backend)
    op = "max_unpool2d_backward"
    array = to_array(op, "grad", grad, differentiable=True, half=True)
    if not (array.dtype == BFLOAT16 or (array.dtype.kind in "fiu" and array.dtype.itemsize <= 8)):
        raise TypeError(f"{op}: grad must be float or integer, got {array.dtype}")
    array = _check.planes(op, "grad", array)
    window = _check.window(op, kernel_size, stride, padding)
    where = _check.indices(op, to_array(op, "indices", indices))
    _check.planes(op, "indices", where)
    if where.shape[:-2] != array.shape[:-2]:
        raise ValueError(f"{op}: indices must have shape {(*array.shape[:-2], 'h', 'w')}, got {where.shape}")
    size = _check.unpooled_size(op, "grad", array.shape, where.shape, window)
    image, last = to_nchw(array)
    function = backends.choose(op, backend, max_unpool2d_backward_reference, array, where)
    result = checked_result(op, function(image, as_laid_out(where, last), last, window), where, window, size)
    return like(grad)(from_nchw(result, last, array.ndim))


def max_unpool2d_backward_reference(x: Array, indices: Array, last: bool, window: Window) -> Array | None:
    grad = as_planes(x, last)
    size = grad.shape[2], grad.shape[3]
    where = as_planes(indices, last)
    places, outside = positions(where, window, size)
    if outside.any():
        return None
    return in_layout(grad.reshape(-1)[flat_places(places, size)].reshape(where.shape), last, None)
