"""Weighted boxes fusion: the boxes of several models averaged by score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import box_iou_reference
from fastdet.fusion import _check

Result = tuple[Array, Array, NDArray[np.int64]] | _check.Faults
CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")  # csrc/fusion/fusion.h has their order


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
    Work: on C++ and Numba about N log N, whether boxes are apart, equal, nested or in clusters: each is compared only
    with the fused boxes that it may overlap most, by more than iou_thr. The more of them it overlaps about equally, the
    more that is, N K at most in all, with K fused boxes. On the other backends it is N K. "absent_model_aware_avg" adds
    K numbers a model: on C++ only where a weight is not a whole number.
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
    if weights is not None and (not isinstance(weights, (list, tuple, np.ndarray)) or check.is_scalar_array(weights)):
        raise TypeError(f"{op}: weights must be a list with one number per model, got {check.describe(weights)}")
    if (ops := registered(__name__, *boxes_list, *scores_list, *labels_list, grad=False)) is not None:
        return ops.weighted_boxes_fusion(
            boxes_list, scores_list, labels_list, weights, iou_thr, skip_box_thr, conf_type, allows_overflow, backend
        )
    share = [1.0] * models if weights is None else [check.positive(op, "weights", w) for w in weights]
    if len(share) != models:
        raise ValueError(f"{op}: weights must have {models} entries, one per model, got {len(share)}")
    threshold = check.unit(op, "iou_thr", iou_thr)
    min_score = check.number(op, "skip_box_thr", skip_box_thr)
    check.choice(op, "conf_type", conf_type, CONF_TYPES)

    boxes: list[Any] = []
    scores: list[Any] = []
    labels: list[Any] = []
    for m in range(models):
        b: Any = check.boxes(op, "boxes", to_array(op, "boxes", boxes_list[m]))
        s = check.scores(op, to_array(op, "scores", scores_list[m]), len(b))
        if isinstance(b, np.ndarray) and isinstance(s, np.ndarray):
            _check.real_and_finite(op, b, s)
            if s.size and s.min() < 0:
                raise ValueError(f"{op}: scores must be 0 or more, got {s.min()}")
        boxes.append(b)
        scores.append(s)
        labels.append(check.keys(op, "labels", to_array(op, "labels", labels_list[m]), len(b)))
    kernel = backends.choose(op, backend, weighted_boxes_fusion_reference, *boxes, *scores, *labels)
    result = kernel(boxes, scores, labels, share, threshold, min_score, conf_type, bool(allows_overflow))
    if isinstance(result, _check.Faults):
        _check.faults_found(op, result, boxes, scores)
    wrap = like(boxes_list[0])
    return wrap(result[0]), wrap(result[1]), wrap(result[2])


def weighted_boxes_fusion_reference(
    boxes: Sequence[Array],
    scores: Sequence[Array],
    labels: Sequence[NDArray[np.int64]],
    share: Sequence[float],
    iou_threshold: float,
    min_score: float,
    conf_type: str,
    allows_overflow: bool,
) -> Result:
    """Boxes, scores and labels as `weighted_boxes_fusion` gives them; Faults on a GPU alone.

    ``share``: the weight of each model.
    """
    return fuse(_fused, boxes, scores, labels, share, iou_threshold, min_score, conf_type, allows_overflow)


def fuse(
    fused_of: Callable[[Array, Array, Array, float], tuple[Array, NDArray[np.int64]]],
    boxes: Sequence[Array],
    scores: Sequence[Array],
    labels: Sequence[NDArray[np.int64]],
    share: Sequence[float],
    iou_threshold: float,
    min_score: float,
    conf_type: str,
    allows_overflow: bool,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """`weighted_boxes_fusion_reference`, with ``fused_of`` for what decides which boxes belong together."""
    dtypes = boxes[0].dtype, scores[0].dtype
    weights = np.array(share)
    model = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
    b, s, k = (
        np.concatenate(boxes).astype(np.float64),
        np.concatenate(scores).astype(np.float64),
        np.concatenate(labels),
    )
    use = np.flatnonzero(s >= min_score)
    value = s[use] * weights[model[use]]
    # by label, then by falling weighted score: fused boxes are then created in that order
    order = np.lexsort((-value, k[use]))
    use, value = use[order], value[order]
    fused, group = fused_of(b[use], value, k[use], iou_threshold)
    score = _confidence(value, model[use], group, len(fused), weights, conf_type, allows_overflow)
    label = np.zeros(len(fused), np.int64)
    label[group] = k[use]
    rank = np.argsort(-score, kind="stable")
    return fused[rank].astype(dtypes[0]), score[rank].astype(dtypes[1]), label[rank]


def _fused(boxes: Array, scores: Array, labels: Array, iou_threshold: float) -> tuple[Array, NDArray[np.int64]]:
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
    weight = np.bincount(group, share[model], minlength=count)
    if conf_type == "box_and_model_avg":
        seen = _sums_of_models(group, model, count, share, lambda present: present)
        return mean * members / np.where(weight > 0, weight, 1) * seen / _in_order(share)
    whole = weight + _sums_of_models(group, model, count, share, np.logical_not)
    return mean * members / np.where(whole > 0, whole, 1)


def _sums_of_models(
    group: Array, model: Array, count: int, share: Array, chosen: Callable[[Array], Array]
) -> NDArray[np.float64]:
    """The sum of the shares of the models chosen by which are present, for each fused box; a few boxes at a time."""
    order = np.argsort(group, kind="stable")
    group, model = group[order], model[order]
    sums, step = np.zeros(count), max(1, 2**20 // len(share))
    for first in range(0, count, step):
        here = slice(*np.searchsorted(group, [first, first + step]))
        present = np.zeros((min(step, count - first), len(share)), bool)
        present[group[here] - first, model[here]] = True
        sums[first : first + step] = _in_order(chosen(present) * share)
    return sums


def _in_order(x: Array) -> Any:
    """The sum along the last axis, one after the other: NumPy's own order depends on the length."""
    return np.add.accumulate(x, axis=-1)[..., -1]
