"""OverFeat's greedy merge: overlapping boxes averaged pair by pair."""

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
    """Merged boxes and where each box that went in has gone."""

    boxes: Any  # (K, 4) float
    scores: Any  # (K,) float
    groups: Any  # (N,) int64, the merged box that each box went into


Merged.__module__ = "fastdet.fusion"


def merge_boxes(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    metric: str = "iou",
    backend: str | None = None,
) -> Merged:
    """OverFeat's greedy merge: the pair that matches best becomes its average, until none matches.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    iou_threshold : float in [0, 1]; a pair with IoU == threshold is not merged
    metric : "iou", or "ios" for intersection over the smaller area

    Returns
    -------
    Merged(boxes (K, 4), scores (K,), groups (N,) int64): a merged box is the mean of the two it is made of, as in
    the paper, its score their sum (the evidence accumulates). By falling score; equal scores: the one that holds
    the lowest index first. In the dtype of boxes and scores.

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN, infinity

    Notes
    -----
    Of equally good pairs the one with the lowest indices is merged first. O(N) memory. The paper ranks pairs by centre
    distance and intersection area in an unpublished mix; overlap stands in for it.
    Work: on C++ and Numba about N log N, whether boxes are apart, equal, nested or in clusters: each is compared only
    with those that it may overlap most. The more boxes overlap it about equally, the more that is, N^2 at most in all.
    On the other backends it is N^2.
    Source: lecture, "OverFeat"; Sermanet et al., "OverFeat", 2013, section 4.3.
    """
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.merge_boxes(boxes, scores, iou_threshold, metric, backend)
    op = "merge_boxes"
    b: Any = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s: Any = check.scores(op, to_array(op, "scores", scores), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    check.choice(op, "metric", metric, METRICS)
    if isinstance(b, np.ndarray) and isinstance(s, np.ndarray):
        _check.real_and_finite(op, b, s)
    result = backends.choose(op, backend, merge_boxes_reference, b, s)(b, s, threshold, metric)
    if isinstance(result, _check.Faults):
        _check.faults_found(op, result, [b], [s])
    wrap = like(boxes)
    return Merged(*map(wrap, result))


def merge_boxes_reference(
    boxes: Array, scores: Array, iou_threshold: float, metric: str
) -> tuple[Array, Array, NDArray[np.int64]] | _check.Faults:
    """Boxes, scores and groups as `merge_boxes` gives them; Faults on a GPU alone, where values are read there."""
    merged, groups = _merged(boxes.astype(np.float64), iou_threshold, metric)
    return by_score(merged, groups, boxes.dtype, scores)


def by_score(
    merged: Array, groups: NDArray[np.int64], dtype: np.dtype[Any], scores: Array
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Merged boxes with the sums of their scores, by falling score, and the row of each box among them."""
    total = np.bincount(groups, scores, minlength=len(merged)).astype(np.float64)
    order = np.argsort(-total, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return merged[order].astype(dtype), total[order].astype(scores.dtype), place[groups]


def _merged(boxes: Array, iou_threshold: float, metric: str) -> tuple[Array, NDArray[np.int64]]:
    """Merged boxes by their lowest index, and the merged box of each. Consumes ``boxes``, float64.

    Each box i knows its best partner j > i, so that a merge looks again only at the boxes whose partner it touched.
    """
    count = len(boxes)
    owner = np.arange(count)  # the slot that a box's group lives in: its lowest index
    alive = np.ones(count, bool)
    best, partner = np.full(count, -1.0), np.full(count, -1)

    def look(i: int) -> None:
        others = np.flatnonzero(alive[i + 1 :]) + i + 1
        best[i], partner[i] = -1.0, -1
        if others.size:
            value = box_iou_reference(boxes[i : i + 1], boxes[others], metric, False, None, 0.0, None)[0]
            at = int(np.argmax(value))
            best[i], partner[i] = value[at], others[at]

    for i in range(count):
        look(i)
    while count:
        i = int(np.argmax(best))
        if not best[i] > iou_threshold:
            break
        j = int(partner[i])
        boxes[i] = 0.5 * boxes[i] + 0.5 * boxes[j]
        alive[j], best[j] = False, -1.0
        owner[owner == j] = i
        look(i)
        touched = np.flatnonzero(alive & ((partner == i) | (partner == j)))
        for k in touched[touched != i]:
            look(int(k))
        earlier = np.flatnonzero(alive[:i])
        if earlier.size:
            value = box_iou_reference(boxes[i : i + 1], boxes[earlier], metric, False, None, 0.0, None)[0]
            nearer = (value > best[earlier]) | ((value == best[earlier]) & (i < partner[earlier]))
            best[earlier[nearer]], partner[earlier[nearer]] = value[nearer], i
    slots = np.flatnonzero(alive)
    return boxes[slots], np.searchsorted(slots, owner)
