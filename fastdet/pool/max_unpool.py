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
from fastdet.pool.places import Size, Window, _as_laid_out, _flat, _given, _placed, _planes, _scatter, positions


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Each value back at the place it was pooled from, zeros elsewhere.

    Parameters
    ----------
    x : (h, w), (C, h, w) or (N, C, h, w) of any float or integer dtype
    indices : x's shape, int64 or uint8, as `max_pool2d` gave them; compact ones are places in the windows of
        these kernel_size, stride and padding
    kernel_size, stride, padding : int or (height, width), pixels; stride None is kernel_size
    output_size : (H, W) or the whole shape of the result; None for (h - 1) stride - 2 padding + kernel, from which
        a given one may differ by less than one stride
    out : array of the result's shape, dtype and layout that receives it; faster for large results

    Returns
    -------
    image : (..., H, W) of x's dtype; ``out`` itself where given

    Raises
    ------
    TypeError   dtype, device, out's dtype
    ValueError  shape, window, output_size, an unfit out (then nothing is written), or an index that lies in no place
        of the image: nothing is returned, and what ``out`` holds is undefined

    Notes
    -----
    Where two values have one place (overlapping windows), the last one, row by row, stays. Equal on every backend.
    Source: Badrinarayanan et al., "SegNet", 2016; torch.nn.functional.max_unpool2d.
    """
    op = "max_unpool2d"
    if (ops := registered(__name__, x, indices, out)) is not None:
        return ops.max_unpool2d(x, indices, kernel_size, stride, padding, output_size, out, backend)
    array = to_array(op, "x", x, differentiable=True, half=True)
    if not (array.dtype == BFLOAT16 or (array.dtype.kind in "fiu" and array.dtype.itemsize <= 8)):
        raise TypeError(f"{op}: x must be float or integer, got {array.dtype}")
    array = _check.planes(op, "x", array)
    window = _check.window(op, kernel_size, stride, padding)
    size = _check.unpooled_size(op, "output_size", output_size, array.shape, window)
    return _scatter(op, x, array, "x", indices, window, size, out, backend, max_unpool2d_reference)


def max_unpool2d_reference(
    x: Array, indices: Array, last: bool, window: Window, size: Size, out: Array | None
) -> Array | None:
    values = _planes(x, last)
    places, bad = positions(_planes(indices, last), window, size)
    if bad.any():
        return None
    image = np.zeros(values.shape[:2] + size, x.dtype)
    image.reshape(-1)[_flat(places, size)] = values.reshape(-1)  # of equal places the last is kept
    return _given(image, last, out)


def max_unpool2d_backward(
    grad: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    backend: str | None = None,
) -> Any:
    """Gradient of `max_unpool2d`: what stands at each value's place.

    Parameters
    ----------
    grad : (..., H, W) of any float or integer dtype, the gradient of the unpooled image
    indices : (..., h, w) int64 or uint8, as `max_unpool2d` had them
    kernel_size, stride, padding : as `max_unpool2d` had them

    Returns
    -------
    grad : (..., h, w) of grad's dtype

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, window, an index that lies in no place of the image

    Notes
    -----
    Where several values had one place, each gets its gradient, as in torch, although only the last was kept.
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
    result = _placed(op, function(image, _as_laid_out(where, last), last, window), where, window, size)
    return like(grad)(from_nchw(result, last, array.ndim))


def max_unpool2d_backward_reference(x: Array, indices: Array, last: bool, window: Window) -> Array | None:
    grad = _planes(x, last)
    size = grad.shape[2], grad.shape[3]
    where = _planes(indices, last)
    places, bad = positions(where, window, size)
    if bad.any():
        return None
    return _given(grad.reshape(-1)[_flat(places, size)].reshape(where.shape), last, None)
