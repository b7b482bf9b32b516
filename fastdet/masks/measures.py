"""Areas, boxes and overlaps of masks, and their union."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array, to_numpy
from fastdet._core.check import Array
from fastdet.masks._check import check_rle, one_size
from fastdet.masks.rle import RLE, Counts, Ints, new_rle

METRICS = ("iou", "ios")


def area(rle: RLE, *, backend: str | None = None) -> Ints:
    """Area of each mask: its pixels of 1.

    Parameters
    ----------
    rle : N masks, of any sizes

    Returns
    -------
    area : (N,) int64, pixels

    Examples
    --------
    >>> area(encode(np.ones((2, 4, 5), bool)))
    array([20, 20])
    """
    check_rle("area", "rle", rle)
    out: Ints = backends.choose("rle_area", backend, rle_area_reference)(rle.counts, rle.offsets)
    return out


def rle_area_reference(counts: Counts, offsets: Ints) -> Ints:
    ones = counts.astype(np.int64)
    ones[_zeros(offsets)] = 0
    total = np.concatenate([[0], np.cumsum(ones)])
    out: Ints = total[offsets[1:]] - total[offsets[:-1]]
    return out


def _zeros(offsets: Ints) -> Array:
    """Which runs are of zeros."""
    lengths = np.diff(offsets)
    place: Array = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return place % 2 == 0


def to_boxes(rle: RLE, *, backend: str | None = None) -> Array:
    """The box of each mask.

    Parameters
    ----------
    rle : N masks, of any sizes

    Returns
    -------
    boxes : (N, 4) float64, pixels, x1 y1 x2 y2; x2 and y2 are one past the last pixel. Zeros for a mask without pixels

    Notes
    -----
    As `pycocotools.mask.toBbox`, whose x y w h `fastdet.boxes.box_convert` makes: where a run of ones crosses the
    border of two columns, the box has the mask's full height.

    Examples
    --------
    >>> to_boxes(encode(np.eye(3, 5, 1, dtype=bool)))
    array([[1., 0., 4., 3.]])
    """
    check_rle("to_boxes", "rle", rle)
    out: Array = backends.choose("rle_boxes", backend, rle_boxes_reference)(rle.counts, rle.offsets, rle.sizes)
    return out


def rle_boxes_reference(counts: Counts, offsets: Ints, sizes: Ints) -> Array:
    boxes = np.zeros((len(sizes), 4))
    for i, height in enumerate(sizes[:, 0].tolist()):
        runs = counts[offsets[i] : offsets[i + 1]].astype(np.int64)
        ends = np.cumsum(runs)[1::2]
        starts = ends - runs[1::2]
        starts, ends = starts[ends > starts], ends[ends > starts] - 1
        if not len(starts):
            continue
        x1, y1, x2, y2 = starts // height, starts % height, ends // height, ends % height
        crosses = (x1 < x2).any()
        low, high = (0, height) if crosses else (min(y1.min(), y2.min()), max(y1.max(), y2.max()) + 1)
        boxes[i] = x1[0], low, x2[-1] + 1, high
    return boxes


def masks_to_boxes(masks: Any) -> Any:
    """The box of each dense mask, as `torchvision.ops.masks_to_boxes`: x2 and y2 are those of the last pixel.

    Parameters
    ----------
    masks : (N, H, W) bool, or integers 0 and 1

    Returns
    -------
    boxes : (N, 4) float32, pixels, x1 y1 x2 y2; zeros for a mask without pixels. An array of the type of ``masks``

    Examples
    --------
    >>> masks_to_boxes(np.eye(3, 5, 1, dtype=bool)[None])
    array([[1., 0., 3., 2.]], dtype=float32)
    """
    op = "masks_to_boxes"
    dense = to_array(op, "masks", masks)
    if dense.ndim != 3:
        raise ValueError(f"{op}: masks must have shape (N, H, W), got {dense.shape}")
    if not isinstance(dense, np.ndarray):
        pixels = check.require(dense.astype(np.bool_, copy=False), np.bool_)
        return like(masks)(backends.choose(op, None, masks_to_boxes, dense)(pixels))
    out = np.zeros((len(dense), 4), np.float32)
    if 0 in dense.shape:
        return like(masks)(out)
    for axis, low, high in ((1, 0, 2), (2, 1, 3)):
        line: Array = np.any(dense, axis)
        any_pixel, last = line.any(1), line.shape[1] - 1
        out[:, low] = np.where(any_pixel, line.argmax(1), 0)
        out[:, high] = np.where(any_pixel, last - line[:, ::-1].argmax(1), 0)
    return like(masks)(out)


def merge(rle: RLE, *, intersect: bool = False, backend: str | None = None) -> RLE:
    """The union of all masks, or their intersection.

    Parameters
    ----------
    rle : N masks of one size, N of 1 or more
    intersect : True: the pixels that all masks have

    Returns
    -------
    rle : one mask, of as few runs as possible

    Raises
    ------
    ValueError  no mask, several sizes

    Examples
    --------
    >>> two = encode(np.array([[[1, 1, 0]], [[0, 1, 1]]]))
    >>> merge(two).to_coco(compressed=False), area(merge(two, intersect=True))
    ([{'size': [1, 3], 'counts': [0, 3]}], array([1]))
    """
    op = "merge"
    check_rle(op, "rle", rle)
    if not len(rle):
        raise ValueError(f"{op}: rle must have a mask or more, got none")
    one_size(op, "rle", rle)
    kernel = backends.choose("rle_merge", backend, rle_merge_reference)
    counts = kernel(rle.counts, rle.offsets, len(rle) if intersect else 1)
    return new_rle(rle.sizes[:1].copy(), counts, np.array([0, len(counts)], np.int64))


def rle_merge_reference(counts: Counts, offsets: Ints, least: int) -> Counts:
    """The runs of the pixels that ``least`` masks or more have."""
    starts, ends, pixels = [], [], 0
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        bounds = np.cumsum(counts[first:last], dtype=np.int64)
        pixels = int(bounds[-1]) if len(bounds) else 0
        stop = bounds[1::2]
        start = bounds[0::2][: len(stop)]
        starts.append(start[stop > start])
        ends.append(stop[stop > start])
    places, inverse = np.unique(np.concatenate([*starts, *ends]), return_inverse=True)
    steps = np.zeros(len(places), np.int64)
    many = sum(map(len, starts))
    np.add.at(steps, inverse[:many], 1)
    np.add.at(steps, inverse[many:], -1)
    inside = np.cumsum(steps) >= least
    turns = places[np.diff(inside, prepend=False)]
    runs = np.diff(turns, prepend=0, append=pixels)
    if len(turns) and turns[-1] == pixels:
        runs = runs[:-1]
    return runs.astype(np.uint32)


def mask_iou(a: RLE, b: RLE, iscrowd: Any = None, *, metric: str = "iou", backend: str | None = None) -> Array:
    """The overlap of each mask of ``a`` with each of ``b``.

    Parameters
    ----------
    a, b : N and M masks, all of one size
    iscrowd : (M,) bool or 0 and 1; the overlap with a crowd is the intersection over the area of the mask of ``a``
    metric : "iou", intersection over union, or "ios", over the smaller area

    Returns
    -------
    overlap : (N, M) float64; 0 where two masks have no pixel in common

    Raises
    ------
    TypeError   no RLE
    ValueError  sizes that differ, shape of iscrowd

    Examples
    --------
    >>> a, b = encode(np.array([[[1, 1, 0]]])), encode(np.array([[[0, 1, 1]], [[0, 1, 0]]]))
    >>> mask_iou(a, b).round(3), mask_iou(a, b, metric="ios")
    (array([[0.333, 0.5  ]]), array([[0.5, 1. ]]))
    """
    op = "mask_iou"
    check_rle(op, "a", a)
    check_rle(op, "b", b)
    one_size(op, "a and b", a, b)
    crowd = np.zeros(len(b), np.bool_)
    if iscrowd is not None:
        crowd = check.flags(op, "iscrowd", to_numpy(op, "iscrowd", iscrowd), len(b))
    check.choice(op, "metric", metric, METRICS)
    kernel = backends.choose(op, backend, mask_iou_reference)
    out: Array = kernel(a.counts, a.offsets, b.counts, b.offsets, a.sizes, b.sizes, crowd, metric)
    return out


def mask_iou_reference(
    counts1: Counts,
    offsets1: Ints,
    counts2: Counts,
    offsets2: Ints,
    sizes1: Ints,
    sizes2: Ints,
    crowd: Array,
    metric: str,
) -> Array:
    areas1, areas2 = rle_area_reference(counts1, offsets1), rle_area_reference(counts2, offsets2)
    out = np.zeros((len(areas1), len(areas2)))
    for i in range(len(areas1)):
        starts, ends = _ones(counts1[offsets1[i] : offsets1[i + 1]])
        before = np.concatenate([[0], np.cumsum(ends - starts)])
        for k in range(len(areas2)):
            first, last = _ones(counts2[offsets2[k] : offsets2[k + 1]])
            inter = int((_rank(starts, ends, before, last) - _rank(starts, ends, before, first)).sum())
            if inter == 0:
                continue
            whole = areas1[i] + areas2[k] - inter if metric == "iou" else min(areas1[i], areas2[k])
            out[i, k] = inter / (areas1[i] if crowd[k] else whole)
    return out


def _ones(runs: Counts) -> tuple[Ints, Ints]:
    """Where runs of ones start and end."""
    ends = np.cumsum(runs, dtype=np.int64)[1::2]
    return ends - runs[1::2], ends


def _rank(starts: Ints, ends: Ints, before: Ints, at: Ints) -> Ints:
    """How many ones of a mask stand before each of some pixels."""
    k = np.searchsorted(starts, at, side="right")
    return before[k] - np.where(k > 0, np.maximum(0, ends[np.maximum(k - 1, 0)] - at) if len(ends) else 0, 0)
