"""Non-maximum merging: boxes that NMS would remove are merged into the box that they overlap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import METRICS, box_iou_reference
from fastdet.fusion import _check

Indices = NDArray[np.int64]
Result = tuple[Array, Array, Indices, Indices, Indices, Indices] | _check.Faults


class MergedGroups(NamedTuple):
    """Groups of boxes, each with its best box and the union of its boxes."""

    boxes: Any  # (K, 4) float, united
    scores: Any  # (K,) float, of the best box of each group
    keep: Any  # (K,) int64, the best box of each group
    groups: Any  # (N,) int64, the row of the group that each box is in
    order: Any  # (N,) int64, the boxes group by group: the best one, then the others in order of merging
    parents: Any  # (N,) int64, the box that claimed each box; the box itself where it is the best of its group


MergedGroups.__module__ = "fastdet.fusion"


def greedy_nmm(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    idxs: Any = None,
    metric: str = "iou",
    backend: str | None = None,
) -> MergedGroups:
    """Greedy non-maximum merging: each box that `nms` would remove joins the box that removes it.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    iou_threshold : float in [0, 1]; a pair with IoU == threshold is not merged
    idxs : (N,) integer, a key of each box, such as its class; boxes of different keys never meet. None: one key
    metric : "iou", or "ios" for intersection over the smaller area

    Returns
    -------
    MergedGroups(boxes (K, 4), scores (K,), keep (K,), groups (N,), order (N,), parents (N,)): groups by falling score
    of their best boxes, equal scores: lower index first. ``keep`` is what `nms` keeps, ``scores`` their scores.
    ``boxes`` are the unions: the best box takes in the others in order of merging, each if it overlaps the union so
    far by more than iou_threshold. ``order`` holds the indices of the first group, then of the second, ...: the best
    box, then the others by falling score. Floats in the dtypes of boxes and scores, the others int64.

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN, infinity

    Notes
    -----
    sahi's GREEDYNMM. It counts a pair at the threshold as a match, and takes boxes of equal scores by their
    coordinates: `fastdet.integrations.sahi` gives its very answers. O(N) memory. With C++ and Numba O(N log N) time in
    practice; a GPU compares each box with the kept ones before it. In C++ it is more, up to O(N^2), for many thousand
    thin strips that cross each other at a threshold of 0.
    Source: sahi 0.12, postprocess/combine.py, "greedy_nmm".

    Examples
    --------
    >>> boxes = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [2, 0, 12, 10], [40, 0, 50, 10]])
    >>> merged = greedy_nmm(boxes, np.array([0.9, 0.8, 0.7, 0.6]), 0.5)
    >>> merged.keep, merged.groups
    (array([0, 1, 3]), array([0, 1, 0, 2]))
    >>> merged.boxes[0]
    array([ 0.,  0., 12., 10.])
    """
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.greedy_nmm(boxes, scores, iou_threshold, idxs, metric, backend)
    return _nmm("greedy_nmm", boxes, scores, iou_threshold, idxs, metric, backend)


def nmm(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    idxs: Any = None,
    metric: str = "iou",
    backend: str | None = None,
) -> MergedGroups:
    """Non-maximum merging: a box joins the group of the best box that it overlaps, whichever group that one is in.

    Parameters, results and errors as in `greedy_nmm`, but boxes that have joined a group claim others for it: a chain
    of boxes, each of which overlaps the next, is one group. A box is claimed by the one of the highest score, of equal
    scores the lower index. Boxes of one score claim each other only if they are equal. In ``order`` the boxes of a
    group come by falling score of the box that claimed them, those of one by index.

    Notes
    -----
    sahi's NMM, with the differences that `greedy_nmm` tells of. As there, ``boxes`` take in only what overlaps the
    union so far. O(N) memory. With C++ and Numba O(N log N) time in practice; a GPU compares each box with all before
    it until one claims it.
    Source: sahi 0.12, postprocess/combine.py, "nmm".

    Examples
    --------
    >>> boxes = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [3, 0, 13, 10], [40, 0, 50, 10]])
    >>> merged = nmm(boxes, np.array([0.9, 0.7, 0.8, 0.6]), 0.5)
    >>> merged.keep, merged.groups, merged.parents
    (array([0, 3]), array([0, 0, 0, 1]), array([0, 2, 0, 3]))
    """
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.nmm(boxes, scores, iou_threshold, idxs, metric, backend)
    return _nmm("nmm", boxes, scores, iou_threshold, idxs, metric, backend)


def _nmm(
    op: str, boxes: Any, scores: Any, iou_threshold: float, idxs: Any, metric: str, backend: str | None
) -> MergedGroups:
    b: Any = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s: Any = check.scores(op, to_array(op, "scores", scores), len(b))
    k = None if idxs is None else check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    check.choice(op, "metric", metric, METRICS)
    if isinstance(b, np.ndarray) and isinstance(s, np.ndarray):
        _check.real_and_finite(op, b, s)
    kernel = backends.choose("nmm", backend, nmm_reference, b, s, k)
    result = kernel(b, s, k, threshold, metric, op == "nmm")
    if isinstance(result, _check.Faults):
        _check.faults_found(op, result, [b], [s])
    return MergedGroups(*map(like(boxes), result))


def nmm_reference(
    boxes: Array, scores: Array, idxs: Indices | None, iou_threshold: float, metric: str, transitive: bool
) -> Result:
    """One box at a time claims boxes that are left. Faults on a GPU alone, where values are read there."""
    threshold, n = boxes.dtype.type(iou_threshold), len(boxes)
    ranked = np.argsort(-scores, kind="stable")
    parents, groups = np.arange(n), np.full(n, -1)
    keep: list[int] = []
    merged: list[list[int]] = []
    for at, i in enumerate(ranked):
        if groups[i] < 0:
            groups[i] = len(keep)
            keep.append(int(i))
            merged.append([])
        elif not transitive:
            continue
        left = ranked[at + 1 :][groups[ranked[at + 1 :]] < 0]
        if idxs is not None:
            left = left[idxs[left] == idxs[i]]
        if transitive:
            left = left[(scores[left] < scores[i]) | (boxes[left] == boxes[i]).all(axis=1)]
            left = np.sort(left)
        left = left[overlaps(boxes[i], boxes[left], metric) > threshold]
        parents[left], groups[left] = i, groups[i]
        merged[groups[i]] += left.tolist()
    united = boxes[keep]
    for row, others in enumerate(merged):
        for other in others:
            if overlaps(united[row], boxes[[other]], metric)[0] > threshold:
                united[row] = unite(united[row], boxes[other])
    order = [i for best, others in zip(keep, merged, strict=True) for i in (best, *others)]
    return united, scores[keep], np.array(keep, np.int64), groups, np.array(order, np.int64), parents


def overlaps(box: Array, others: Array, metric: str) -> Array:
    """Those of one box with others."""
    return box_iou_reference(box[None], others, metric, False, None, 0.0, None)[0]


def unite(a: Array, b: Array) -> Array:
    """The smallest box that holds both."""
    return np.concatenate([np.where(b[:2] < a[:2], b[:2], a[:2]), np.where(b[2:] > a[2:], b[2:], a[2:])])
