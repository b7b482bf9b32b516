"""Overlaps of masks, group by group: of the detections and the true masks of an image and class."""

from __future__ import annotations

import numpy as np

from fastdet._core import backends
from fastdet._core.check import Array
from fastdet.masks.measures import mask_iou_reference
from fastdet.masks.rle import RLE, Counts, Ints, new_rle

Grouped = tuple[Ints, Ints, Ints, Ints]  # rows and starts of both sides: group i has rows[start[i] : start[i + 1]]


def mask_iou_of_groups(a: RLE, b: RLE, crowd: Array, grouped: Grouped, *, backend: str | None = None) -> Array:
    """The overlap of each mask of ``a`` with each of ``b`` of its group: group after group, row-major, float64.

    ValueError where masks of a group differ in size.
    """
    rows, start, true_rows, true_start = grouped
    _check_sizes(a.sizes[rows], start, b.sizes[true_rows], true_start)
    kernel = backends.choose("mask_iou_of_groups", backend, mask_iou_of_groups_reference)
    out: Array = kernel(a.counts, a.offsets, a.sizes, b.counts, b.offsets, b.sizes, crowd, *grouped)
    return out


def _check_sizes(sizes: Ints, start: Ints, true_sizes: Ints, true_start: Ints) -> None:
    count, true_count = np.diff(start), np.diff(true_start)
    both = np.flatnonzero((count > 0) & (true_count > 0))
    for of, first, many in ((sizes, start, count), (true_sizes, true_start, true_count)):
        want = np.repeat(true_sizes[true_start[both]], many[both], axis=0)
        at = np.repeat(first[both] - np.cumsum(many[both]) + many[both], many[both]) + np.arange(len(want))
        wrong = (of[at] != want).any(1)
        if wrong.any():
            i = int(np.argmax(wrong))
            got, expected = of[at][i].tolist(), want[i].tolist()
            raise ValueError(f"mask_iou: masks of an image must have one size, got {got} and {expected}")


def mask_iou_of_groups_reference(
    counts1: Counts, offsets1: Ints, sizes1: Ints, counts2: Counts, offsets2: Ints, sizes2: Ints, crowd: Array,
    rows1: Ints, start1: Ints, rows2: Ints, start2: Ints,
) -> Array:  # fmt: skip
    a, b = new_rle(sizes1.copy(), counts1, offsets1), new_rle(sizes2.copy(), counts2, offsets2)
    parts = [np.zeros(0)]
    for i in range(len(start1) - 1):
        d, g = rows1[start1[i] : start1[i + 1]], rows2[start2[i] : start2[i + 1]]
        x, y = a[d], b[g]
        overlap = mask_iou_reference(x.counts, x.offsets, y.counts, y.offsets, x.sizes, y.sizes, crowd[g], "iou")
        parts.append(overlap.reshape(-1))
    return np.concatenate(parts)
