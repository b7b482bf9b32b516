"""Non-maximum suppression by the overlap of masks: greedy, and matrix NMS."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_numpy
from fastdet._core.check import Array
from fastdet._core.elementary import exp_or_zero
from fastdet.masks._check import check_rle, one_size
from fastdet.masks.measures import METRICS, mask_iou_reference
from fastdet.masks.rle import RLE, Counts, Ints

KERNELS = ("gaussian", "linear")


def mask_nms(
    masks: RLE,
    scores: Any,
    iou_threshold: float,
    *,
    idxs: Any = None,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression by the overlap of masks.

    Keep the mask with the best score, drop every mask whose overlap with it is above the threshold, and go on with the
    best of what is left. `fastdet.nms.nms` does the same with boxes.

    Parameters
    ----------
    masks : N masks of one size
    scores : (N,) float or integer
    iou_threshold : float in [0, 1]; a mask is dropped where its overlap is above it, and stays where it is equal
    idxs : (N,) integer, the class of each mask; masks of different classes do not suppress each other. None: one class
    score_threshold : masks whose score is not above it are left out first; None keeps all
    max_output : maximum number of kept masks, the best by score; None for all
    metric : "iou", or "ios" for the intersection over the smaller area

    Returns
    -------
    keep : (K,) int64, by falling score; equal scores: lower index first. An array of the type of ``scores``

    Raises
    ------
    TypeError   no RLE, dtype
    ValueError  sizes that differ, shape, range, NaN scores

    Notes
    -----
    Overlaps are those of `mask_iou`, float64. Boxes and areas are compared first, which settles most pairs.

    Examples
    --------
    >>> three = encode(np.array([[[1, 1, 1, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]]]))
    >>> mask_nms(three, np.array([0.5, 0.9, 0.7]), 0.5)
    array([1, 2])
    """
    op = "mask_nms"
    numbers, keys = _scored(op, masks, scores, idxs)
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    limit = check.limit(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    order = np.argsort(-numbers, kind="stable")
    if score_threshold is not None:
        least = check.cast(numbers.dtype, check.number(op, "score_threshold", score_threshold))
        order = order[numbers[order] > least]
    kernel = backends.choose(op, backend, mask_nms_reference)
    keep = kernel(masks.counts, masks.offsets, masks.sizes, order, keys, threshold, limit, metric == "ios")
    return like(scores)(keep)


def _scored(op: str, masks: RLE, scores: Any, idxs: Any) -> tuple[Array, Ints]:
    """Scores and classes of masks of one size."""
    check_rle(op, "masks", masks)
    one_size(op, "masks", masks)
    numbers = check.scores(op, to_numpy(op, "scores", scores), len(masks))
    if np.isnan(numbers).any():
        check.raise_nan(op, "scores", (int(np.argmax(np.isnan(numbers))),))
    if idxs is None:
        return numbers, np.zeros(len(masks), np.int64)
    return numbers, check.keys(op, "idxs", to_numpy(op, "idxs", idxs), len(masks))


def mask_nms_reference(
    counts: Counts,
    offsets: Ints,
    sizes: Ints,
    order: Ints,
    keys: Ints,
    threshold: float,
    max_output: int,
    smaller: bool,
) -> Ints:
    """order : the masks that take part, by falling score; keys : (N,), of all masks"""
    keep: list[int] = []
    for i in order.tolist():
        if len(keep) == max_output:
            break
        rivals = np.array([k for k in keep if keys[k] == keys[i]], np.int64)
        overlap = _overlaps(counts, offsets, sizes, rivals, i, smaller)
        if not (overlap > threshold).any():
            keep.append(i)
    return np.array(keep, np.int64)


def _overlaps(counts: Counts, offsets: Ints, sizes: Ints, some: Ints, i: int, smaller: bool) -> Array:
    """The overlap of each of some masks with mask i."""
    rle = RLE(sizes, counts, offsets)
    a, b = rle[some], rle[i]
    metric = "ios" if smaller else "iou"
    return mask_iou_reference(
        a.counts, a.offsets, b.counts, b.offsets, a.sizes, b.sizes, np.zeros(1, np.bool_), metric
    )[:, 0]


def matrix_nms(
    masks: RLE,
    scores: Any,
    *,
    idxs: Any = None,
    method: str = "gaussian",
    sigma: float = 2.0,
    min_score: float = 0.0,
    max_output: int | None = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """Matrix NMS: every mask loses score at once, by its overlaps with better ones.

    Parameters
    ----------
    masks : N masks of one size
    scores : (N,) float or integer, 0 or more
    idxs : (N,) integer, the class of each mask; masks of different classes do not meet. None: one class
    method : "gaussian" or "linear"
    sigma : float above 0, of the gaussian method
    min_score : 0 or more; a mask whose score falls below it is dropped, one that is equal to it stays
    max_output : maximum number of kept masks, the best by new score; None for all

    Returns
    -------
    keep : (K,) int64, by falling new score; equal ones: by falling score, then lower index first
    new_scores : (K,) float, in the dtype of scores. Both are arrays of the type of ``scores``

    Raises
    ------
    TypeError   no RLE, dtype
    ValueError  sizes that differ, shape, range, NaN or negative scores

    Notes
    -----
    The score of a mask j is multiplied by the smallest f(IoU(i, j)) / f(most(i)) over the masks i of its class with a
    better score, and at most by 1: most(i) is the largest IoU of i with a mask that is better than i.
    f(x) = exp(-sigma x^2), or 1 - x; of the linear method, masks i with most(i) = 1 are left out, where others divide
    by 0. Computed in float64. Source: SOLOv2, https://arxiv.org/abs/2003.10152.

    Examples
    --------
    >>> two = encode(np.array([[[1, 1, 1, 0]], [[0, 1, 1, 0]]]))
    >>> matrix_nms(two, np.array([0.9, 0.6]), method="linear")
    (array([0, 1]), array([0.9, 0.2]))
    """
    op = "matrix_nms"
    numbers, keys = _scored(op, masks, scores, idxs)
    if (numbers < 0).any():
        raise ValueError(f"{op}: scores must be 0 or more, got {numbers.min()}")
    check.choice(op, "method", method, KERNELS)
    width = check.positive(op, "sigma", sigma)
    least = check.non_negative(op, "min_score", min_score)
    limit = check.limit(op, "max_output", max_output)
    order = np.argsort(-numbers, kind="stable")
    kernel = backends.choose(op, backend, matrix_nms_reference)
    weight = kernel(masks.counts, masks.offsets, masks.sizes, order, keys, method == "linear")
    if method == "gaussian":
        with np.errstate(over="ignore", invalid="ignore"):
            weight = exp_or_zero(np.where(weight < 0, width * weight, 0.0))
    with np.errstate(invalid="ignore"):  # an infinite score times 0 is NaN, and dropped
        new = (numbers[order] * weight).astype(numbers.dtype)
    order, new = order[new >= check.cast(new.dtype, least)], new[new >= check.cast(new.dtype, least)]
    best = np.argsort(-new, kind="stable")[: None if limit < 0 else limit]
    wrap = like(scores)
    return wrap(order[best]), wrap(new[best])


def matrix_nms_reference(counts: Counts, offsets: Ints, sizes: Ints, order: Ints, keys: Ints, linear: bool) -> Array:
    """(len(order),) float64: the weight of each mask, or with the gaussian method its logarithm over sigma."""
    most, weight = np.zeros(len(order)), np.full(len(order), 1.0 if linear else 0.0)
    for j, mask in enumerate(order.tolist()):
        better = np.flatnonzero(keys[order[:j]] == keys[mask])
        overlap = _overlaps(counts, offsets, sizes, order[better], mask, False)
        better, overlap = better[overlap > 0], overlap[overlap > 0]
        most[j] = overlap.max(initial=0)
        before = most[better]
        rest = before < 1
        ratios = (1 - overlap[rest]) / (1 - before[rest]) if linear else before * before - overlap * overlap
        weight[j] = ratios.min(initial=weight[j])
    return weight
