"""OverFeat's greedy merge: pairs of overlapping boxes are replaced by their average."""

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


class Merged(NamedTuple):
    """Merged boxes, and the merged box of each input box."""

    boxes: Any  # (K, 4) float
    scores: Any  # (K,) float
    groups: Any  # (N,) int64, index of the merged box that each input box became a part of


Merged.__module__ = "fastdet.fusion"


def merge_boxes(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    metric: str = "iou",
    backend: str | None = None,
) -> Merged:
    """OverFeat's greedy merge: the pair that overlaps most becomes its average, until no pair is above the threshold.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    iou_threshold : float in [0, 1]; a pair with an overlap equal to it is not merged
    metric : "iou", or "ios" for intersection over the smaller area

    Returns
    -------
    Merged(boxes (K, 4), scores (K,), groups (N,) int64): a merged box is the mean of the two boxes it is made of, as
    in the paper; its score is their sum, since evidence accumulates. By falling score; equal scores: the one with the
    lowest input index first. In the dtypes of boxes and scores.

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN, infinity

    Notes
    -----
    Of equally good pairs the one with the lowest indices is merged first. O(N) memory, about O(N^2) time. The paper
    ranks pairs by centre distance and intersection area in an unpublished mix; overlap stands in for it.
    Source: lecture, "OverFeat"; Sermanet et al., "OverFeat", 2013, section 4.3.

    Examples
    --------
    >>> merge_boxes(np.array([[0, 0, 10, 10], [2, 0, 12, 10]]), np.array([0.5, 0.25]), 0.5)
    Merged(boxes=array([[ 1.,  0., 11., 10.]]), scores=array([0.75]), groups=array([0, 0]))
    """
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.merge_boxes(boxes, scores, iou_threshold, metric, backend)
    op = "merge_boxes"
    b: Any = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s: Any = check.scores(op, to_array(op, "scores", scores), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    check.choice(op, "metric", metric, METRICS)
    kernel: Any = backends.choose(op, backend, merge_boxes_reference, b, s)
    wrap = like(boxes)
    if not isinstance(b, np.ndarray):
        status, *results = kernel(b, s, threshold, metric)
        _check.raise_status(op, status, [b], [s])
        return Merged(*map(wrap, results))
    _check.finite(op, b, s)
    merged, groups = kernel(b.astype(np.float64), threshold, metric)
    total = np.bincount(groups, s, minlength=len(merged)).astype(np.float64)
    order = np.argsort(-total, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Merged(wrap(merged[order].astype(b.dtype)), wrap(total[order].astype(s.dtype)), wrap(place[groups]))


def merge_boxes_reference(boxes: Array, iou_threshold: float, metric: str) -> tuple[Array, NDArray[np.int64]]:
    """Merged boxes in order of their lowest input index, and the merged box of each. Overwrites ``boxes``, float64.

    Each box i keeps its best partner j > i, so that after a merge only boxes with a changed partner are searched again.
    """
    count = len(boxes)
    owner = np.arange(count)  # the slot of each box's group: the lowest index in it
    alive = np.ones(count, bool)
    best, partner = np.full(count, -1.0), np.full(count, -1)

    def find_partner(i: int) -> None:
        others = np.flatnonzero(alive[i + 1 :]) + i + 1
        best[i], partner[i] = -1.0, -1
        if others.size:
            value = box_iou_reference(boxes[i : i + 1], boxes[others], metric, False, None, 0.0, None)[0]
            at = int(np.argmax(value))
            best[i], partner[i] = value[at], others[at]

    for i in range(count):
        find_partner(i)
    while count:
        i = int(np.argmax(best))
        if not best[i] > iou_threshold:
            break
        j = int(partner[i])
        boxes[i] = 0.5 * boxes[i] + 0.5 * boxes[j]
        alive[j], best[j] = False, -1.0
        owner[owner == j] = i
        find_partner(i)
        touched = np.flatnonzero(alive & ((partner == i) | (partner == j)))
        for k in touched[touched != i]:
            find_partner(int(k))
        earlier = np.flatnonzero(alive[:i])
        if earlier.size:
            value = box_iou_reference(boxes[i : i + 1], boxes[earlier], metric, False, None, 0.0, None)[0]
            nearer = (value > best[earlier]) | ((value == best[earlier]) & (i < partner[earlier]))
            best[earlier[nearer]], partner[earlier[nearer]] = value[nearer], i
    slots = np.flatnonzero(alive)
    return boxes[slots], np.searchsorted(slots, owner)
