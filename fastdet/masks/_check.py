"""Checks that several files of this area share."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet.masks.rle import MAX_PIXELS, RLE


def check_rle(op: str, name: str, x: Any) -> RLE:
    if not isinstance(x, RLE):
        raise TypeError(f"{op}: {name} must be an RLE, got {check.describe(x)}: see RLE.from_coco and encode")
    return x


def one_size(op: str, name: str, *batches: RLE) -> tuple[int, int]:
    """The size that all masks have; (0, 0) where there is none."""
    sizes = np.concatenate([batch.sizes for batch in batches])
    if not len(sizes):
        return 0, 0
    other = (sizes != sizes[0]).any(1)
    if other.any():
        got = f"{sizes[0].tolist()} and {sizes[np.argmax(other)].tolist()}"
        raise ValueError(f"{op}: {name} must have masks of one size, got {got}")
    return int(sizes[0, 0]), int(sizes[0, 1])


def image_size(op: str, size: Any) -> tuple[int, int]:
    """(height, width) of an image of fewer than 2**32 pixels."""
    height, width = check.pair(op, "size", size, 0)
    if height * width > MAX_PIXELS:
        raise ValueError(f"{op}: size must have fewer than 2**32 pixels, got {check.describe(size)}")
    return height, width
