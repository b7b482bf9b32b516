"""Masks of a network's heads, at the size of the image: dense, as bits, or as run lengths without a dense mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet.masks._check import image_size
from fastdet.masks.dense import encode_reference
from fastdet.masks.rle import new_rle

OUTPUTS = ("dense", "rle", "bits")


def paste_masks(
    masks: Any,
    boxes: Any,
    size: tuple[int, int],
    threshold: float = 0.5,
    out: str = "dense",
    *,
    backend: str | None = None,
) -> Any:
    """Paste the small masks of Mask R-CNN's head into an image, each into its box.

    Parameters
    ----------
    masks : (N, h, w) float, or (N, 1, h, w), in [0, 1]
    boxes : (N, 4) float, pixels of the image, x1 y1 x2 y2
    size : height and width of the image, pixels
    threshold : float above 0; a pixel is 1 where the resampled mask is at least this
    out : "dense", "rle" or "bits"

    Returns
    -------
    dense : (N, H, W) bool, an array of the type of ``masks``
    rle : `RLE` of N masks; no dense mask is made on the way
    bits : (N, H, ceil(W / 8)) uint8, as ``numpy.packbits(dense, axis=2, bitorder="little")``; of the same type

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinity, a threshold of 0 or less

    Notes
    -----
    The rule is detectron2's: bilinear, of pixel centres (``align_corners=False``), zeros outside of a mask. A box
    without area gives an empty mask. Positions are computed in float64, weights and values in float32.

    Examples
    --------
    >>> paste_masks(np.ones((1, 2, 2)), np.array([[1, 0, 3, 2]]), (2, 4)).astype(int)
    array([[[0, 1, 1, 0],
            [0, 1, 1, 0]]])
    """
    op = "paste_masks"
    small = to_array(op, "masks", masks)
    if small.ndim == 4 and small.shape[1] == 1:
        small = small[:, 0]
    if small.ndim != 3 or 0 in small.shape[1:]:
        raise ValueError(f"{op}: masks must have shape (N, h, w) or (N, 1, h, w), got {small.shape}")
    small = _single(op, "masks", small)
    corners = check.require(check.boxes(op, "boxes", to_array(op, "boxes", boxes)), np.float64)
    if len(corners) != len(small):
        raise ValueError(f"{op}: boxes must have shape ({len(small)}, 4), got {corners.shape}")
    height, width = image_size(op, size)
    level = check.cast(small.dtype, check.positive(op, "threshold", threshold))
    level = max(level, np.finfo(np.float32).smallest_subnormal)  # no other value stands between it and 0
    check.choice(op, "out", out, OUTPUTS)
    _check_finite(op, masks=small, boxes=corners)
    kernel = backends.choose(op, backend, paste_masks_reference, small, corners)
    found = kernel(small, corners, height, width, level, out)
    return as_output(found, out, len(small), height, width, like(masks))


def process_mask(
    prototypes: Any,
    coefficients: Any,
    boxes: Any,
    size: tuple[int, int],
    out: str = "dense",
    *,
    backend: str | None = None,
) -> Any:
    """Masks of a prototype head, such as that of YOLO-seg and YOLACT, each cropped to its box.

    Parameters
    ----------
    prototypes : (K, h, w) float, of the whole image
    coefficients : (N, K) float
    boxes : (N, 4) float, pixels of the image, x1 y1 x2 y2
    size : height and width of the image, pixels, to which the prototypes are resampled
    out : "dense", "rle" or "bits", as in `paste_masks`

    Returns
    -------
    dense : (N, H, W) bool; rle : `RLE` of N masks; bits : (N, H, ceil(W / 8)) uint8. Arrays are of the type of
        ``prototypes``

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, NaN or infinity

    Notes
    -----
    A pixel of column c and row r is 1 where x1 <= c < x2, y1 <= r < y2, and the resampled sum of coefficients times
    prototypes is above 0: bilinear, ``align_corners=False``, in float32. The sum is in order of the prototypes.

    Examples
    --------
    >>> process_mask(np.ones((1, 2, 2)), np.array([[3.0]]), np.array([[1, 0, 2.5, 1]]), (2, 4)).astype(int)
    array([[[0, 1, 1, 0],
            [0, 0, 0, 0]]])
    """
    op = "process_mask"
    planes, weights = (
        _floats(op, n, x, d) for n, x, d in (("prototypes", prototypes, 3), ("coefficients", coefficients, 2))
    )
    if 0 in planes.shape:
        raise ValueError(f"{op}: prototypes must have shape (K, h, w), none of them 0, got {planes.shape}")
    if weights.shape[1] != len(planes):
        raise ValueError(f"{op}: coefficients must have shape (N, {len(planes)}), got {weights.shape}")
    corners = check.require(check.boxes(op, "boxes", to_array(op, "boxes", boxes)), np.float64)
    if len(corners) != len(weights):
        raise ValueError(f"{op}: boxes must have shape ({len(weights)}, 4), got {corners.shape}")
    height, width = image_size(op, size)
    check.choice(op, "out", out, OUTPUTS)
    _check_finite(op, prototypes=planes, coefficients=weights, boxes=corners)
    kernel = backends.choose(op, backend, process_mask_reference, planes, weights, corners)
    found = kernel(planes, weights, corners, height, width, out)
    return as_output(found, out, len(weights), height, width, like(prototypes))


def _floats(op: str, name: str, x: Any, axes: int) -> Array:
    array = to_array(op, name, x)
    if array.ndim != axes:
        raise ValueError(f"{op}: {name} must have {axes} axes, got {array.shape}")
    return _single(op, name, array)


def _single(op: str, name: str, x: Array) -> Array:
    """Floats as float32; infinite where it cannot hold them."""
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: {name} must be float, got {x.dtype}")
    with np.errstate(over="ignore"):
        return check.require(x, np.float32)


def _check_finite(op: str, **arrays: Any) -> None:
    for name, x in arrays.items():
        if not x.size:
            continue
        if isinstance(x, np.ndarray):
            finite = bool(np.isfinite(x).all())
        else:  # of an array on a GPU: this waits for it
            finite = math.isfinite(x.min()) and math.isfinite(x.max())
        if not finite:
            own = x if isinstance(x, np.ndarray) else x.host()
            at = tuple(np.argwhere(~np.isfinite(own))[0].tolist())
            raise ValueError(f"{op}: {name} must be finite, got {own[at]} at {at}")


def as_output(found: Any, out: str, n: int, height: int, width: int, made: Callable[[Array], Any]) -> Any:
    """The result of a kernel: an array of the caller's type by ``made``, or an `RLE`."""
    if out != "rle":
        return made(found.view(np.bool_) if out == "dense" else found)
    sizes = np.empty((n, 2), np.int64)
    sizes[:] = height, width
    return new_rle(sizes, *found)


def paste_masks_reference(masks: Array, boxes: Array, height: int, width: int, threshold: Any, out: str) -> Any:
    """Counts and offsets, uint8 0 and 1, or bits. masks : (N, h, w) float32, boxes : (N, 4) float64"""
    n, h, w = masks.shape
    dense = np.zeros((n, height, width), np.uint8)
    for mask, (x1, y1, x2, y2), to in zip(masks, boxes.tolist(), dense, strict=True):
        if not (x2 > x1 and y2 > y1):
            continue
        column, across = positions(x1, x2, w, width)
        row, down = positions(y1, y2, h, height)
        framed = np.pad(mask, 1)
        left, right = framed[:, column], framed[:, column + 1]
        wide = left + across * (right - left)
        top, bottom = wide[row], wide[row + 1]
        to[:] = top + down[:, None] * (bottom - top) >= threshold
    return of_dense(dense, out)


def positions(low: float, high: float, size: int, pixels: int) -> tuple[Array, Array]:
    """For each pixel of the image: the value before it, counted from the frame of zeros, and the weight of the next."""
    with np.errstate(over="ignore", invalid="ignore"):
        at = (np.arange(pixels) + 0.5 - low) * (size / (high - low)) - 0.5
    at = np.minimum(np.where(at > -1, at, -1.0), size)  # NaN: of a box that has hardly a width
    before = np.minimum(np.floor(at), size - 1)
    return before.astype(np.int64) + 1, (at - before).astype(np.float32)


def of_dense(dense: Array, out: str) -> Any:
    if out == "rle":
        return encode_reference(dense)
    return dense if out == "dense" else np.packbits(dense, axis=2, bitorder="little")


def process_mask_reference(
    prototypes: Array, coefficients: Array, boxes: Array, height: int, width: int, out: str
) -> Any:
    """Counts and offsets, uint8 0 and 1, or bits. All float32; boxes (N, 4) float64"""
    n, (_, h, w) = len(coefficients), prototypes.shape
    dense = np.zeros((n, height, width), np.uint8)
    column, across = clamped(w, width)
    row, down = clamped(h, height)
    with np.errstate(over="ignore", invalid="ignore"):
        for weights, (x1, y1, x2, y2), to in zip(coefficients, boxes.tolist(), dense, strict=True):
            logits = weights[0] * prototypes[0]
            for weight, plane in zip(weights[1:], prototypes[1:], strict=True):
                logits += weight * plane
            left, right = logits[:, column], logits[:, np.minimum(column + 1, w - 1)]
            wide = left + across * (right - left)
            top, bottom = wide[row], wide[np.minimum(row + 1, h - 1)]
            x, y = np.arange(width), np.arange(height)[:, None]
            inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
            to[:] = (top + down[:, None] * (bottom - top) > 0) & inside
    return of_dense(dense, out)


def clamped(size: int, pixels: int) -> tuple[Array, Array]:
    """For each pixel: the value before it, and the weight of the next; positions stay within the values."""
    at = np.clip((np.arange(pixels) + 0.5) * (size / max(pixels, 1)) - 0.5, 0.0, size - 1.0)
    before = np.floor(at)
    return before.astype(np.int64), (at - before).astype(np.float32)
