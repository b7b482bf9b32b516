"""Bilinear resampling, its gradient, and the weights of an equivalent transposed convolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, quick_cuda, to_array, writable
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import BFLOAT16, narrow, widen
from fastdet._core.layout import from_nchw, from_nhwc, to_nchw, to_nhwc
from fastdet.upsample import _check

FLOATS = (np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64))
BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
DTYPES = (*FLOATS, *BYTES)
SIGN_BIT = np.uint8(128)  # int8 is computed as the value 128 above it
AXES = {False: "(H, W), (C, H, W) or (N, C, H, W)", True: "(H, W, C) or (N, H, W, C)"}


def upsample_bilinear(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    align_corners: bool = False,
    *,
    channels_last: bool = False,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Resample images bilinearly to a larger or smaller size, as torch.nn.functional.interpolate does.

    Parameters
    ----------
    x : (H, W), (C, H, W) or (N, C, H, W) float16, bfloat16, float32, float64, int8 or uint8; H and W of 1 or
        more. Integers in a list are taken as float64
    size : (height, width) of the result, pixels, or one integer for both
    scale_factor : instead of ``size``, (vertical, horizontal) or one number for both: the result has
        floor(H * vertical) x floor(W * horizontal) pixels, and one pixel of the result is 1 / factor pixels of x
    align_corners : True: the centres of the corner pixels of x and of the result coincide, a step is
        (in - 1) / (out - 1). False: the corners of the images do, and pixels past the outermost centres repeat
    channels_last : True: x is (H, W, C) or (N, H, W, C)
    out : array of the result's shape and dtype, in the memory order of x, for the result

    Returns
    -------
    y : axes, dtype and memory order of x, with the new height and width; ``out`` itself if it is passed

    Raises
    ------
    TypeError   dtype, device, out's dtype
    ValueError  shape, both or none of size and scale_factor, a size below 1, an invalid out
    MemoryError a result that cannot be allocated

    Notes
    -----
    No antialiasing: smaller results take only the two nearest pixels of each axis, as torch does by default.
    NaN and infinities pass through the arithmetic: a weight of 0 does not stop them.

    uint8 is computed in float32 and rounded once, halves up. int8 is computed as the uint8 128 above it: both have the
    same results but for the 128. So a quantised image keeps its scale and zero point, and no zero point has to be
    named: the weights add up to 1. For the float32 weights that are taken, the result is the exact real one, rounded
    halves up, but where that is within 2^-13 of a half. It lies between values of x, so nothing is clamped. torch
    rounds rows of uint8 first, then columns, in fixed point, and its quantised tensors halves to even; ONNX Runtime
    cuts off. Their results differ by at most 1.

    Examples
    --------
    >>> upsample_bilinear([[0, 4]], (1, 4))
    array([[0., 1., 3., 4.]])
    >>> upsample_bilinear([[0, 3]], (1, 4), align_corners=True)
    array([[0., 1., 2., 3.]])
    """
    if (ops := registered(__name__, x, out)) is not None:
        return ops.upsample_bilinear(x, size, scale_factor, align_corners, channels_last, out, backend)
    op = "upsample_bilinear"
    if (quick := quick_cuda(x, backend)) is not None and out is None and not channels_last and x.ndim == 4:
        new, factors = new_size(op, size, scale_factor, x.shape[2:])
        result = quick.upsample_bilinear(x, *new, bool(align_corners), *factors)
        if result is not None:
            return result
    array, planes, last = _image(op, "x", x, DTYPES, bool(channels_last))
    height, width = planes.shape[1:3] if last else planes.shape[2:]
    new, factors = new_size(op, size, scale_factor, (height, width))
    buffer = None
    if out is not None:
        half = planes.dtype == BFLOAT16  # whose bits are the tensor's own memory
        buffer = to_array(op, "out", out, differentiable=True, half=True) if half else writable(op, "out", out)
    kernel = backends.choose(op, backend, upsample_bilinear_reference, array, buffer)
    shape = (planes.shape[0], *new, planes.shape[3]) if last else (*planes.shape[:2], *new)
    back = from_nhwc if channels_last else from_nchw
    if buffer is None:
        result = check.empty(op, shape, planes.dtype, planes)
    else:
        full = (*array.shape[:-3], *new, array.shape[-1]) if channels_last else (*array.shape[:-2], *new)
        result, order = (buffer, last) if buffer.ndim != array.ndim else _layout(buffer, bool(channels_last))
        fits = order == last and check.may_share_memory(result, buffer)
        _check.image_out(op, buffer, planes, full, fits or not buffer.size, (array,))
        result = result.reshape(shape)
    kernel(planes, last, bool(align_corners), *factors, result)
    return like(x)(back(result, last, array.ndim)) if out is None else out


def upsample_bilinear_backward(
    grad: Any,
    input_size: Any,
    scale_factor: Any = None,
    align_corners: bool = False,
    *,
    channels_last: bool = False,
    backend: str | None = None,
) -> Any:
    """The gradient of `upsample_bilinear` with respect to x: its exact transpose.

    Parameters
    ----------
    grad : gradient with respect to the result, of its shape; float16, bfloat16, float32 or float64
    input_size : (height, width) of x, pixels
    scale_factor, align_corners, channels_last : as in the call of `upsample_bilinear`; scale_factor is None if that
        had a size

    Returns
    -------
    gradient : axes, dtype and memory order of grad, height and width of x; 0 where no output depends on x

    Raises
    ------
    TypeError   dtype, device, a tensor that requires grad
    ValueError  shape, a scale_factor that does not lead from input_size to grad's size

    Notes
    -----
    The order of the sums is fixed, for any number of threads: for each input row its output rows from top to bottom,
    ``h * g``; then for each input column its output columns from left to right, ``w * v``. Sums are float32 (float64
    for float64), rounded once.

    Examples
    --------
    >>> upsample_bilinear_backward(np.array([[1.0, 0.0, 0.0, 2.0]]), (1, 2))
    array([[1., 2.]])
    """
    if (ops := registered(__name__, grad)) is not None:
        return ops.upsample_bilinear_backward(grad, input_size, scale_factor, align_corners, channels_last, backend)
    op = "upsample_bilinear_backward"
    array, planes, last = _image(op, "grad", grad, FLOATS, bool(channels_last))
    new = planes.shape[1:3] if last else planes.shape[2:]
    old = check.pair_of_sizes(op, "input_size", input_size)
    factors = (0.0, 0.0)
    if scale_factor is not None:
        factors = _check.pair_of_factors(op, "scale_factor", scale_factor)
        scaled = tuple(math.floor(min(n * f, 2.0**62)) for n, f in zip(old, factors, strict=True))
        if scaled != new:
            raise ValueError(f"{op}: grad must have height and width {scaled} for that scale_factor, got {new}")
    kernel = backends.choose(op, backend, upsample_bilinear_backward_reference, array)
    shape = (planes.shape[0], *old, planes.shape[3]) if last else (*planes.shape[:2], *old)
    result = check.empty(op, shape, planes.dtype, planes)
    kernel(planes, last, bool(align_corners), *factors, result)
    return like(grad)((from_nhwc if channels_last else from_nchw)(result, last, array.ndim))


def bilinear_kernel(channels: int, factor: int, dtype: Any = np.float32) -> Array:
    """Weights of a transposed convolution that upsamples each channel bilinearly.

    With stride ``factor`` and, for an even factor, padding ``factor // 2`` it gives the values of `upsample_bilinear`
    (align_corners=False), except at the border, where the convolution sees zeros.

    Parameters
    ----------
    channels, factor : integers, 1 or more
    dtype : float16, float32 or float64

    Returns
    -------
    weights : (channels, channels, 2 * factor, 2 * factor), as torch.nn.ConvTranspose2d takes them: in, out, H, W

    Raises
    ------
    TypeError   dtype, a size that is no integer
    ValueError  a size below 1

    Notes
    -----
    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks", 2015, which starts its learned upsampling
    from these weights.

    Examples
    --------
    >>> bilinear_kernel(1, 2)[0, 0, 1]
    array([0.1875, 0.5625, 0.5625, 0.1875], dtype=float32)
    """
    op = "bilinear_kernel"
    sizes = [check.pair_of_sizes(op, name, value)[0] for name, value in (("channels", channels), ("factor", factor))]
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError):
        text = f"{op}: dtype must be float16, float32 or float64, got {check.describe(dtype)}"
        raise TypeError(text) from None
    if kind.char not in "efd":
        raise TypeError(f"{op}: dtype must be float16, float32 or float64, got {kind}")
    channels, factor = sizes
    weights = check.empty(op, (channels, channels, 2 * factor, 2 * factor), kind)
    line = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    weights[...] = 0
    weights[np.arange(channels), np.arange(channels)] = np.outer(line, line)
    return weights


def _image(
    op: str, name: str, x: Any, dtypes: tuple[np.dtype[Any], ...], channels_last: bool
) -> tuple[Array, Array, bool]:
    """The argument as an array, and as a 4-d array in memory order with that order: see `_core.layout`."""
    array = to_array(op, name, x, differentiable=True, half=True)
    if isinstance(x, (list, tuple)) and array.dtype.kind in "iu":
        array = array.astype(np.float64)
    array = _check.image(op, name, array, dtypes, channels_last, AXES[channels_last])
    return array, *_layout(array, channels_last)


def _layout(x: Array, channels_last: bool) -> tuple[Array, bool]:
    return to_nhwc(x) if channels_last else to_nchw(x)


def new_size(
    op: str, size: Any, scale_factor: Any, old: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The new size, and the factors that set the steps; 0 where the sizes set them."""
    if (size is None) == (scale_factor is None):
        got = "none" if size is None else "both"
        raise ValueError(f"{op}: exactly one of size and scale_factor must be set, got {got}")
    if size is not None:
        return check.pair_of_sizes(op, "size", size), (0.0, 0.0)
    factors = _check.pair_of_factors(op, "scale_factor", scale_factor)
    exact = [n * f for n, f in zip(old, factors, strict=True)]
    if min(exact) < 1 or max(exact) >= 2**62:
        raise ValueError(
            f"{op}: scale_factor must lead to a size of 1 or more and below 2^62, got {check.describe(scale_factor)}"
        )
    return (math.floor(exact[0]), math.floor(exact[1])), factors


# The arithmetic treats both layouts alike. An image is (P, H, L): P planes with rows of L = W values or, channels last,
# P images with rows of L = W * C values, where the neighbour of a value is C places further.


def upsample_bilinear_reference(
    x: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array
) -> None:
    rows, result, y, columns = geometry(x, out, channels_last, align_corners, factor_y, factor_x)
    r0, r1, h0, h1 = y
    c0, c1, w0, w1 = columns
    rows = widened(rows)
    h0, h1 = h0[:, None], h1[:, None]
    with np.errstate(all="ignore"):
        for source, target in zip(rows, result, strict=True):
            wide = w0 * source[:, c0] + w1 * source[:, c1]
            target[...] = rounded(h0 * wide[r0] + h1 * wide[r1], out.dtype)


def upsample_bilinear_backward_reference(
    grad: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float, out: Array
) -> None:
    result, rows, y, columns = geometry(out, grad, channels_last, align_corners, factor_y, factor_x)
    rows = widen(rows)
    with np.errstate(all="ignore"):
        for source, target in zip(rows, result, strict=True):
            tall = _gather(source, y, result.shape[1])
            wide = _gather(np.ascontiguousarray(tall.T), columns, result.shape[2])
            target[...] = rounded(np.ascontiguousarray(wide.T), out.dtype)


def _gather(values: Array, axis: tuple[Array, Array, Array, Array], size: int) -> Array:
    """The transpose of `taps` along the first axis: each input sums its outputs in ascending order."""
    i0, i1, w0, w1 = axis
    to, weight = np.stack([i0, i1], 1).ravel(), np.stack([w0, w1], 1).ravel()
    source = np.repeat(np.arange(len(i0)), 2)
    order = np.argsort(to, kind="stable")  # by input, then by output, then w0 before w1
    to, weight, source = to[order], weight[order], source[order]
    rank = np.arange(len(to)) - np.searchsorted(to, to)  # of each term in its sum
    sums = np.zeros((size, values.shape[1]), values.dtype)
    for k in range(int(rank.max()) + 1):
        now = rank == k
        sums[to[now]] += weight[now, None] * values[source[now]]
    return sums


def widened(x: Array) -> Array:
    """The values that are computed with; of int8 those 128 above."""
    if x.dtype not in BYTES:
        return widen(x)
    return (x if x.dtype == np.uint8 else x.view(np.uint8) ^ SIGN_BIT).astype(np.float32)


def rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """The computed values in the result's dtype; uint8, and int8 from 128 above, to the nearest integer, halves up."""
    if dtype in BYTES:
        whole = (values + np.float32(0.5)).astype(np.uint8)
        return whole if dtype == np.uint8 else (whole ^ SIGN_BIT).view(np.int8)
    return narrow(values, dtype)


Axis = tuple[Array, Array, Array, Array]


def geometry(
    small: Array, large: Array, channels_last: bool, align_corners: bool, factor_y: float, factor_x: float
) -> tuple[Array, Array, Axis, Axis]:
    """Input and output as (P, H, L), and the `taps` of rows and of values in a row."""
    axis, channels = (1, small.shape[3]) if channels_last else (2, 1)
    dtype = np.dtype(np.float64 if small.dtype == np.float64 else np.float32)
    (height, width), (new_height, new_width) = small.shape[axis : axis + 2], large.shape[axis : axis + 2]
    planes = small.shape[0] if channels_last else small.shape[0] * small.shape[1]
    y = taps(height, new_height, align_corners, factor_y, dtype)
    i0, i1, w0, w1 = taps(width, new_width, align_corners, factor_x, dtype)
    if channels_last:
        c = np.arange(channels)
        i0, i1 = ((i[:, None] * channels + c).ravel() for i in (i0, i1))
        w0, w1 = (np.repeat(w, channels) for w in (w0, w1))
    return (
        small.reshape(planes, height, width * channels),
        large.reshape(planes, new_height, new_width * channels),
        y,
        (i0, i1, w0, w1),
    )


def taps(size: int, out: int, align_corners: bool, scale_factor: float, dtype: np.dtype[Any]) -> Axis:
    """Along one axis, output i is ``w0[i] * x[i0[i]] + w1[i] * x[i1[i]]``: (i0, i1, w0, w1).

    The rule is torch's, in ``dtype`` (float32 or float64). scale_factor <= 0: the sizes set the step.
    """
    one, half = dtype.type(1), dtype.type(0.5)
    dst = np.arange(out)
    if size == out:
        return dst, dst, np.ones(out, dtype), np.zeros(out, dtype)
    if align_corners:
        at = (dtype.type(size - 1) / dtype.type(out - 1) if out > 1 else dtype.type(0)) * dst.astype(dtype)
    else:
        step = dtype.type(1.0 / scale_factor) if scale_factor > 0 else dtype.type(size) / dtype.type(out)
        at = np.maximum(step * (dst.astype(dtype) + half) - half, 0)
    i0 = np.minimum(at.astype(np.int64), size - 1)
    w1 = np.minimum(at - i0.astype(dtype), one)
    return i0, np.minimum(i0 + 1, size - 1), one - w1, w1
