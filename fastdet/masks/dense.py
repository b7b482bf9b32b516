"""Between dense masks and run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like as type_of
from fastdet._core.arrays import to_array, to_host
from fastdet._core.check import Array
from fastdet.masks._check import check_rle, one_size
from fastdet.masks.rle import MAX_PIXELS, RLE, Counts, Ints, new_rle


def encode(masks: Any, *, backend: str | None = None) -> RLE:
    """Encode dense masks.

    Parameters
    ----------
    masks : (N, H, W) or (H, W) bool, or integers 0 and 1, in any memory order; one on a GPU is copied to the host

    Returns
    -------
    rle : `RLE` of N masks, or of one; as few runs as possible

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a value other than 0 and 1, 2**32 pixels or more

    Examples
    --------
    >>> encode(np.eye(3, dtype=bool)).to_coco(compressed=False)
    [{'size': [3, 3], 'counts': [0, 1, 3, 1, 3, 1]}]
    """
    op = "encode"
    array = to_host(op, "masks", masks)
    if array.ndim not in (2, 3):
        raise ValueError(f"{op}: masks must have shape (N, H, W) or (H, W), got {array.shape}")
    if array.dtype.kind not in "biu":
        raise TypeError(f"{op}: masks must be bool or integers 0 and 1, got {array.dtype}")
    dense = array if array.ndim == 3 else array[None]
    if dense.shape[1] * dense.shape[2] > MAX_PIXELS:
        raise ValueError(f"{op}: masks must have fewer than 2**32 pixels each, got {dense.shape[1]} x {dense.shape[2]}")
    if dense.dtype.itemsize != 1:
        if dense.size and (dense.min() < 0 or dense.max() > 1):
            raise _not_binary(op, dense)
        dense = dense.astype(np.uint8)
    dense = dense.view(np.uint8)
    found = backends.choose(op, backend, encode_reference)(_planes(dense))
    if found is None:
        raise _not_binary(op, dense)
    sizes = np.empty((len(dense), 2), np.int64)
    sizes[:] = dense.shape[1:]
    return new_rle(sizes, *found)


def _planes(x: Array) -> Array:
    """``x`` itself if its rows or its columns are dense, one after the other; else a copy in C order."""
    rows, columns = x.flags.c_contiguous, x.transpose(0, 2, 1).flags.c_contiguous
    return x if rows or columns else np.ascontiguousarray(x)


def _not_binary(op: str, x: Array) -> ValueError:
    i = np.argwhere((x < 0) | (x > 1))[0] if x.dtype.kind == "i" else np.argwhere(x > 1)[0]
    return ValueError(f"{op}: masks must hold 0 and 1 alone, got {x[tuple(i)]} at {tuple(i.tolist())}")


def encode_reference(masks: Array) -> tuple[Counts, Ints] | None:
    """Counts and offsets; None where a value is neither 0 nor 1. masks : (N, H, W) uint8"""
    if masks.size and masks.max() > 1:
        return None
    counts, offsets = [np.zeros(0, np.uint32)], [0]
    for mask in masks:
        flat = mask.T.reshape(-1)
        turns = np.flatnonzero(np.diff(flat, prepend=np.uint8(0)))
        runs = np.diff(turns, prepend=0, append=len(flat))
        counts.append(runs.astype(np.uint32))
        offsets.append(offsets[-1] + len(runs))
    return np.concatenate(counts), np.array(offsets, np.int64)


def decode(rle: RLE, *, columns: bool = False, like: Any = None, backend: str | None = None) -> Any:
    """Decode run lengths to dense masks.

    Parameters
    ----------
    rle : masks of one size
    columns : the memory order. False: rows of pixels are dense, as in images; True: columns are, as pycocotools has it
    like : an array, or a tensor, of whose type and on whose device the masks are wanted; None: a NumPy array

    Returns
    -------
    masks : (N, H, W) uint8, 0 and 1; (0, 0, 0) where there is no mask

    Raises
    ------
    TypeError   rle is no `RLE`
    ValueError  masks of several sizes
    MemoryError

    Examples
    --------
    >>> decode(RLE([[2, 2]], [0, 1, 3], [0, 3]))
    array([[[1, 0],
            [0, 0]]], dtype=uint8)
    """
    op = "decode"
    check_rle(op, "rle", rle)
    height, width = one_size(op, "rle", rle)
    columns = bool(columns)
    order = (len(rle), width, height) if columns else (len(rle), height, width)
    beside = None if like is None else to_array(op, "like", like)
    out: Any
    if beside is None or isinstance(beside, np.ndarray):
        try:
            out = np.zeros(order, np.uint8)  # of pages without a pixel of 1 the system has zeros already
        except MemoryError:
            size = np.prod(order, dtype=object)
            raise MemoryError(f"{op}: no memory for a result of {size} bytes, shape {order}") from None
    else:
        out = check.empty(op, order, np.dtype(np.uint8), beside)
    backends.choose(op, backend, decode_reference, out)(rle.counts, rle.offsets, out, columns)
    masks = out.transpose(0, 2, 1) if columns else out
    return masks if like is None else type_of(like)(masks)


def decode_reference(counts: Counts, offsets: Ints, out: Array, columns: bool) -> None:
    """Write the masks into ``out``, zeros, (N, W, H) if ``columns``, else (N, H, W), uint8."""
    for i in range(len(out)):
        runs = counts[offsets[i] : offsets[i + 1]]
        flat = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs)
        out[i] = flat.reshape(out.shape[1:]) if columns else flat.reshape(out.shape[:0:-1]).T
