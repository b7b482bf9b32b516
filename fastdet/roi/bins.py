"""The geometry of RoIs that are pooled over whole pixels. csrc/roi/bins.h has the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array

MAX_PIXEL = 2.0**30  # rounded coordinates are cut to it


def rounded(values: Array) -> Array:
    """To the nearest integer, halves away from zero, cut to +-`MAX_PIXEL`; int64."""
    whole = np.trunc(values)
    whole = whole + np.where(np.abs(values - whole) >= 0.5, np.copysign(values.dtype.type(1), values), 0)
    return np.clip(np.where(np.isinf(values), values, whole), -MAX_PIXEL, MAX_PIXEL).astype(np.int64)


def pixel_bins(
    box: Array, spatial_scale: float, inclusive: bool, bins: tuple[int, int], size: tuple[int, int]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The rows and the columns [begin, end) of each bin of a RoI, cut to a map of that size.

    ``inclusive``: the last pixel belongs to the RoI, and all pixels of the map can be pooled, as in roi_pool. Else it
    does not, and the map's last row and column cannot, as in torchvision's ps_roi_pool.
    """
    with np.errstate(all="ignore"):
        x1, y1, x2, y2 = rounded(box[1:] * box.dtype.type(spatial_scale)).tolist()
    more, less = (1, 0) if inclusive else (0, 1)
    rows = _of_axis(y1, max(y2 - y1 + more, 1), bins[0], size[0] - less, box.dtype.type)
    return rows, _of_axis(x1, max(x2 - x1 + more, 1), bins[1], size[1] - less, box.dtype.type)


def _of_axis(start: int, length: int, bins: int, limit: int, dtype: Any) -> list[tuple[int, int]]:
    each = dtype(length) / dtype(bins)
    edges = np.arange(bins + 1).astype(dtype) * each
    begin = np.clip(np.floor(edges[:-1]).astype(np.int64) + start, 0, limit)
    end = np.clip(np.ceil(edges[1:]).astype(np.int64) + start, 0, limit)
    return list(zip(begin.tolist(), end.tolist(), strict=True))
