"""The geometry of RoIs: which pixels a bin is computed from. csrc/roi/taps.h and csrc/roi/bins.h have the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdet._core.check import Array

MAX_ADAPTIVE = 65536  # samples of a bin along one axis, at most, where the size of the RoI decides


@dataclass(frozen=True)
class Axis:
    """A RoI along one axis: ``bins`` of ``grid`` samples each. Numbers are in the dtype that the op computes in."""

    start: Any
    bin: Any
    grid: int
    bins: int

    def taps(self, size: int) -> tuple[Array, Array]:
        """The weights of ``size`` pixels for each bin, (bins, size), and which of them the bin looks at.

        Sample i of bin b is at ``(start + b * bin) + (i + 0.5) * bin / grid``. In [-1, size] it gives weight to the two
        pixels around it; elsewhere to none. The weights of a pixel are added in the order of the samples.
        """
        dtype = type(self.start)
        weights, there = np.zeros((self.bins, size), dtype), np.zeros((self.bins, size), bool)
        if not self.grid:
            return weights, there
        step = max(1, 2**20 // self.grid)
        with np.errstate(all="ignore"):
            inside = (np.arange(self.grid).astype(dtype) + dtype(0.5)) * self.bin / dtype(self.grid)
            for first in range(0, self.bins, step):
                bins = np.arange(first, min(first + step, self.bins))
                at = (self.start + bins.astype(dtype) * self.bin)[:, None] + inside
                bin_of, _ = np.nonzero(valid := (at >= -1) & (at <= dtype(size)))
                at = np.maximum(at[valid], dtype(0))
                low = np.minimum(at.astype(np.int64), size - 1)
                at = np.where(low >= size - 1, low.astype(dtype), at)
                second = at - low.astype(dtype)
                rows = np.repeat(bins[bin_of], 2)
                columns = np.stack([low, np.minimum(low + 1, size - 1)], 1).ravel()
                np.add.at(weights, (rows, columns), np.stack([dtype(1) - second, second], 1).ravel())
                there[rows, columns] = True
        return weights, there


def axes_of(
    box: Array, spatial_scale: float, sampling_ratio: int, aligned: bool, smallest: bool, bins: tuple[int, int]
) -> tuple[Axis, Axis, Any]:
    """The vertical and the horizontal axis of a RoI, and the number of samples of a bin, at least 1.

    ``aligned``: coordinates are moved by half a pixel. ``smallest``: a RoI is at least 1 x 1.
    """
    dtype = box.dtype.type
    with np.errstate(all="ignore"):
        scale, offset = dtype(spatial_scale), dtype(0.5 if aligned else 0)
        x1, y1, x2, y2 = (value * scale - offset for value in box[1:])
        axes = []
        for low, high, count in ((y1, y2, bins[0]), (x1, x2, bins[1])):
            length = high - low
            if smallest and not length >= 1:
                length = dtype(1)
            each = length / dtype(count)
            grid = sampling_ratio
            if grid <= 0:
                grid = int(min(np.ceil(each), dtype(MAX_ADAPTIVE))) if each > 0 else 0
            axes.append(Axis(low, each, grid, count))
        return axes[0], axes[1], max(dtype(axes[0].grid) * dtype(axes[1].grid), dtype(1))


def weighted_sum(values: Array, weights: Array, there: Array) -> Array:
    """For each row of ``weights`` its sum with the last axis of ``values``, in ascending order of those ``there``.

    A sum begins with its first product; without one it is 0.
    """
    counts = there.sum(1)
    order = np.argsort(~there, axis=1, kind="stable")
    total = np.zeros((*values.shape[:-1], len(weights)), values.dtype)
    rows = np.arange(len(weights))
    with np.errstate(all="ignore"):
        for k in range(int(counts.max(initial=0))):
            more = rows[counts > k]
            at = order[more, k]
            term = weights[more, at] * values[..., at]
            total[..., more] = term if k == 0 else total[..., more] + term
    return total


def first_bad_box(boxes: Array, images: int) -> int | None:
    """The first row whose image is not a whole number in [0, images), or with a coordinate that is not finite."""
    with np.errstate(all="ignore"):
        image = boxes[:, 0]
        good = (image >= 0) & (image < 2.0**60) & (image == np.floor(image)) & np.isfinite(boxes).all(1)
        good &= np.where(good, image, 0).astype(np.int64) < images
    return None if good.all() else int(np.argmin(good))


def rows_of(levels: Array | None, level: int, count: int) -> Iterator[int]:
    """The boxes of a level; all where ``levels`` is None."""
    return iter(range(count)) if levels is None else iter(np.flatnonzero(levels == level).tolist())
