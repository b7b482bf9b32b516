"""Boxes averaged instead of suppressed: weighted boxes fusion, and OverFeat's greedy merge.

Both compute in float64 on every backend and are equal on all of them. No function here has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet import _backends, _check
from fastdet._arrays import like, registered, to_array
from fastdet._check import Array
from fastdet.boxes import METRICS, box_iou_reference

__all__ = ["Merged", "merge_boxes", "weighted_boxes_fusion"]

CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")  # csrc/cuda_fusion.h has their order


class Merged(NamedTuple):
    """Merged boxes and where each box that went in has gone."""

    boxes: Any  # (K, 4) float
    scores: Any  # (K,) float
    groups: Any  # (N,) int64, the merged box that each box went into


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
    Of equally good pairs the one with the lowest indices is merged first. O(N) memory, about O(N^2) time. The paper
    ranks pairs by centre distance and intersection area in an unpublished mix; overlap stands in for it.
    Source: lecture, "OverFeat"; Sermanet et al., "OverFeat", 2013, section 4.3.
    """
    if (ops := registered(boxes, scores, grad=False)) is not None:
        return ops.merge_boxes(boxes, scores, iou_threshold, metric, backend)
    op = "merge_boxes"
    b: Any = _check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s: Any = _check.scores(op, to_array(op, "scores", scores), len(b))
    threshold = _check.unit(op, "iou_threshold", iou_threshold)
    _check.choice(op, "metric", metric, METRICS)
    kernel: Any = _backends.choose(op, backend, merge_boxes_reference, b, s)
    wrap = like(boxes)
    if not isinstance(b, np.ndarray):
        found, *results = kernel(b, s, threshold, metric)
        _refuse(op, found, [b], [s])
        return Merged(*map(wrap, results))
    _real_and_finite(op, b, s)
    merged, groups = kernel(b.astype(np.float64), threshold, metric)
    total = np.bincount(groups, s, minlength=len(merged)).astype(np.float64)
    order = np.argsort(-total, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Merged(wrap(merged[order].astype(b.dtype)), wrap(total[order].astype(s.dtype)), wrap(place[groups]))


def _real_and_finite(op: str, boxes: Array, scores: Array) -> None:
    """An average with an infinity or a NaN says nothing: refuse them."""
    nan = _check.find_nan(boxes, scores)
    if nan is not None:
        _check.nan_found(op, nan)
    _check.finite(op, "boxes", boxes)
    _check.finite(op, "scores", scores)


def _refuse(op: str, found: Any, boxes: Sequence[Any], scores: Sequence[Any]) -> None:
    """Raise for what a GPU has `found` (`_cuda_fusion.Found`): the first model's, as on the CPU."""
    first = np.cumsum([0, *map(len, boxes)])
    kinds = ("nan_box", "nan_score", "infinite_box", "infinite_score", "negative_score")
    rows = {kind: getattr(found, kind) for kind in kinds if getattr(found, kind) >= 0}
    if not rows:
        return
    model = {kind: int(np.searchsorted(first, row, "right")) - 1 for kind, row in rows.items()}
    kind = min(rows, key=lambda name: (model[name], kinds.index(name)))
    m, row = model[kind], rows[kind] - int(first[model[kind]])
    name, x = ("boxes", boxes[m]) if kind.endswith("box") else ("scores", scores[m])
    if kind.startswith("nan"):
        _check.nan_error(op, name, (row,))
    if kind == "negative_score":
        raise ValueError(f"{op}: scores must be 0 or more, got {x.host().min()}")
    values = np.atleast_1d(x[row : row + 1].host()[0])
    _check.infinite(op, name, values[np.isinf(values)][0], row)


def merge_boxes_reference(boxes: Array, iou_threshold: float, metric: str) -> tuple[Array, NDArray[np.int64]]:
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


def weighted_boxes_fusion(
    boxes_list: Sequence[Any],
    scores_list: Sequence[Any],
    labels_list: Sequence[Any],
    weights: Sequence[float] | None = None,
    iou_thr: float = 0.55,
    skip_box_thr: float = 0.0,
    conf_type: str = "avg",
    allows_overflow: bool = False,
    *,
    backend: str | None = None,
) -> tuple[Any, Any, Any]:
    """Fuse the boxes of several models (or of one with test-time augmentation) into confidence-weighted means.

    Parameters
    ----------
    boxes_list : for each model (N_i, 4) float, x1 y1 x2 y2, in pixels or any other unit
    scores_list : for each model (N_i,) float, 0 or more
    labels_list : for each model (N_i,) integer; boxes of different labels never meet
    weights : for each model, above 0; None for 1 each
    iou_thr : a box joins the fused box it overlaps most, if the IoU is above this
    skip_box_thr : boxes with score < it are left out
    conf_type : how a fused score is made of its boxes': "avg"; "max"; "box_and_model_avg" (by model weights);
        "absent_model_aware_avg" (models without a box count against it)
    allows_overflow : with "avg", let more boxes than models raise a score above the mean

    Returns
    -------
    boxes (K, 4), scores (K,), labels (K,) int64: by falling score; ties in order of label, then of creation

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN, infinity, lists of different length

    Notes
    -----
    Equal weights times scores are taken in order of model, then index. Degenerate boxes fuse with nothing. Float64
    inside; results in the dtype of the first model's arrays.
    Source: Solovyev et al., "Weighted boxes fusion", 2019.
    """
    op = "weighted_boxes_fusion"
    models = len(boxes_list) if isinstance(boxes_list, (list, tuple)) else -1
    for name, value in (("boxes_list", boxes_list), ("scores_list", scores_list), ("labels_list", labels_list)):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{op}: {name} must be a list with one array per model, got {type(value).__name__}")
        if len(value) != models:
            raise ValueError(f"{op}: {name} must have {models} entries as boxes_list, got {len(value)}")
    if models == 0:
        raise ValueError(f"{op}: boxes_list must hold at least one model's boxes, got none")
    if weights is not None and not isinstance(weights, (list, tuple, np.ndarray)):
        raise TypeError(f"{op}: weights must be a list with one number per model, got {_check.describe(weights)}")
    if (ops := registered(*boxes_list, *scores_list, *labels_list, grad=False)) is not None:
        return ops.weighted_boxes_fusion(
            boxes_list, scores_list, labels_list, weights, iou_thr, skip_box_thr, conf_type, allows_overflow, backend
        )
    share = [1.0] * models if weights is None else [_check.positive(op, "weights", w) for w in weights]
    if len(share) != models:
        raise ValueError(f"{op}: weights must have {models} entries, one per model, got {len(share)}")
    threshold = _check.unit(op, "iou_thr", iou_thr)
    least = _check.number(op, "skip_box_thr", skip_box_thr)
    _check.choice(op, "conf_type", conf_type, CONF_TYPES)

    boxes: list[Any] = []
    scores: list[Any] = []
    labels: list[Any] = []
    for m in range(models):
        b: Any = _check.boxes(op, "boxes", to_array(op, "boxes", boxes_list[m]))
        s = _check.scores(op, to_array(op, "scores", scores_list[m]), len(b))
        if isinstance(b, np.ndarray) and isinstance(s, np.ndarray):
            _real_and_finite(op, b, s)
            if s.size and s.min() < 0:
                raise ValueError(f"{op}: scores must be 0 or more, got {s.min()}")
        boxes.append(b)
        scores.append(s)
        labels.append(_check.keys(op, "labels", to_array(op, "labels", labels_list[m]), len(b)))
    kernel: Any = _backends.choose(op, backend, weighted_boxes_fusion_reference, *boxes, *scores, *labels)
    wrap = like(boxes_list[0])
    if not isinstance(boxes[0], np.ndarray):
        confidence = CONF_TYPES.index(conf_type)
        args = boxes, scores, labels, share, threshold, least, confidence, bool(allows_overflow)
        found, *results = kernel(*args)
        _refuse(op, found, boxes, scores)
        return wrap(results[0]), wrap(results[1]), wrap(results[2])
    dtypes = boxes[0].dtype, scores[0].dtype
    model = np.repeat(np.arange(models), [len(b) for b in boxes])
    b, s, k = (
        np.concatenate(boxes).astype(np.float64),
        np.concatenate(scores).astype(np.float64),
        np.concatenate(labels),
    )
    use = np.flatnonzero(s >= least)
    value = s[use] * np.array(share)[model[use]]
    # by label, then by falling weighted score: fused boxes are then created in that order
    order = np.lexsort((-value, k[use]))
    use, value = use[order], value[order]
    fused, group = kernel(b[use], value, k[use], threshold)
    score = _confidence(value, model[use], group, len(fused), np.array(share), conf_type, bool(allows_overflow))
    label = np.zeros(len(fused), np.int64)
    label[group] = k[use]
    rank = np.argsort(-score, kind="stable")
    return wrap(fused[rank].astype(dtypes[0])), wrap(score[rank].astype(dtypes[1])), wrap(label[rank])


def weighted_boxes_fusion_reference(
    boxes: Array, scores: Array, labels: Array, iou_threshold: float
) -> tuple[Array, NDArray[np.int64]]:
    """Fused boxes and the fused box of each box; all float64, sorted by label, then by falling score."""
    fused = np.zeros((len(boxes), 4))
    total = np.zeros(len(boxes))  # of scores in a fused box
    weighted = np.zeros((len(boxes), 4))  # sum of score * box
    group = np.zeros(len(boxes), np.int64)
    count = first = 0  # fused boxes; the first one of this label
    for i in range(len(boxes)):
        if i and labels[i] != labels[i - 1]:
            first = count
        at = count
        if count > first:
            value = box_iou_reference(boxes[i : i + 1], fused[first:count], "iou", False, None, 0.0, None)[0]
            nearest = int(np.argmax(value))
            if value[nearest] > iou_threshold:
                at = first + nearest
        count = max(count, at + 1)
        group[i] = at
        total[at] += scores[i]
        weighted[at] += scores[i] * boxes[i]
        fused[at] = weighted[at] / total[at] if total[at] > 0 else boxes[i]
    return fused[:count], group


def _confidence(
    value: Array, model: Array, group: Array, count: int, share: Array, conf_type: str, allows_overflow: bool
) -> Array:
    """Score of each fused box from the weighted scores of its boxes."""
    members = np.bincount(group, minlength=count)
    mean = np.bincount(group, value, minlength=count) / np.maximum(members, 1)
    if conf_type == "max":
        top = np.zeros(count)
        np.maximum.at(top, group, value)
        return top / share.max()
    if conf_type == "avg":
        used = members if allows_overflow else np.minimum(members, len(share))
        return mean * used / _in_order(share)
    present = np.zeros((count, len(share)), bool)
    present[group, model] = True
    if conf_type == "box_and_model_avg":
        weight = np.bincount(group, share[model], minlength=count)
        return mean * members / np.where(weight > 0, weight, 1) * _in_order(present * share) / _in_order(share)
    absent = _in_order(~present * share)
    weight = np.bincount(group, share[model], minlength=count)
    return mean * members / np.where(weight + absent > 0, weight + absent, 1)


def _in_order(x: Array) -> Any:
    """The sum along the last axis, one after the other: NumPy's own order depends on the length."""
    return np.add.accumulate(x, axis=-1)[..., -1]
