"""The Numba kernel of overlaps of masks, group by group."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.masks._numba_runs import common, rle_area, rle_boxes
from fastdet.masks.rle import Counts, Ints


def mask_iou_of_groups(
    counts1: Counts, offsets1: Ints, sizes1: Ints, counts2: Counts, offsets2: Ints, sizes2: Ints, crowd: Array,
    rows1: Ints, start1: Ints, rows2: Ints, start2: Ints,
) -> Array:  # fmt: skip
    out = np.zeros(int((np.diff(start1) * np.diff(start2)).sum()))
    boxes = rle_boxes(counts1, offsets1, sizes1), rle_boxes(counts2, offsets2, sizes2)
    areas = rle_area(counts1, offsets1), rle_area(counts2, offsets2)
    runs = [plain(x) for x in (counts1, offsets1, counts2, offsets2)]
    groups: Any = [plain(x) for x in (crowd, rows1, start1, rows2, start2)]
    kernel: Any = _overlaps
    kernel(*runs, *boxes, *areas, *groups, out)
    return out


@jit
def _overlaps(
    counts1: Counts, offsets1: Ints, counts2: Counts, offsets2: Ints, boxes1: Array, boxes2: Array,
    areas1: Ints, areas2: Ints, crowd: Array, rows1: Ints, start1: Ints, rows2: Ints, start2: Ints, out: Array,
) -> None:  # fmt: skip
    at = 0
    for group in range(len(start1) - 1):
        for x in range(start1[group], start1[group + 1]):
            i = rows1[x]
            for y in range(start2[group], start2[group + 1]):
                k = rows2[y]
                a, b = boxes1[i], boxes2[k]
                if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
                    inter = common(counts1[offsets1[i] : offsets1[i + 1]], counts2[offsets2[k] : offsets2[k + 1]])
                    if inter > 0:
                        out[at] = inter / (areas1[i] if crowd[k] else areas1[i] + areas2[k] - inter)
                at += 1
