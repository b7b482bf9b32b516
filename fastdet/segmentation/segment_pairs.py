"""Pairs of segments: how many pixels each true segment shares with each predicted one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import to_host
from fastdet._core.check import Array
from fastdet._core.label_images import is_image

MAX_ID = 2**32 - 1
_RGB = np.array([1, 256, 65536], np.int64)


def id_map(op: str, name: str, x: Any) -> Array:
    """A map of segment ids as a kernel takes it: (H, W) unsigned, or (H, W, 3) uint8 whose id is R + 256 G + 65536 B.

    ``x``: integers (H, W) in [0, 2**32), or (H, W, 3) uint8, or an RGB image of Pillow.
    """
    ids = np.asarray(x) if is_image(x) and x.mode == "RGB" else to_host(op, name, x)
    if ids.ndim == 3 and ids.shape[2] == 3:
        if ids.dtype != np.uint8:
            raise TypeError(f"{op}: {name} must be uint8 where it is (H, W, 3), got {ids.dtype}")
        return np.ascontiguousarray(ids)
    if ids.ndim != 2:
        raise ValueError(f"{op}: {name} must have shape (H, W), or (H, W, 3) of colours, got {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must hold integers, got {ids.dtype}")
    if ids.dtype.kind == "i" or ids.itemsize == 8:
        bad = (ids < 0) | (ids > MAX_ID)
        if bad.any():
            row, column = np.unravel_index(int(np.argmax(bad)), ids.shape)
            got = f"{int(ids[row, column])} at row {row}, column {column}"
            raise ValueError(f"{op}: {name} must hold ids in [0, 2**32), got {got}")
    wide = ids.dtype.newbyteorder("=") if ids.dtype.kind == "u" and ids.itemsize <= 4 else np.dtype(np.uint32)
    return check.require(ids.astype(wide, copy=False), wide)


def count_segment_pairs(target: Array, prediction: Array, backend: str | None) -> NDArray[np.int64]:
    """(K, 3) int64: true id, predicted id and the number of their common pixels, by true id, then by predicted id.

    target, prediction : of one size, as `id_map` gives them
    """
    pairs: NDArray[np.int64] = backends.choose("segment_pairs", backend, segment_pairs_reference)(target, prediction)
    return pairs


def numbers_of(ids: Array) -> NDArray[np.int64]:
    """The ids of a map that may be of colours, flat."""
    if ids.ndim == 3:
        return (ids.astype(np.int64) @ _RGB).ravel()
    return ids.astype(np.int64).ravel()


def segment_pairs_reference(target: Array, prediction: Array) -> NDArray[np.int64]:
    keys = numbers_of(target).astype(np.uint64) << np.uint64(32) | numbers_of(prediction).astype(np.uint64)
    found, counts = np.unique(keys, return_counts=True)
    return np.stack([found >> np.uint64(32), found & np.uint64(MAX_ID), counts.astype(np.uint64)], 1).astype(np.int64)
