"""Soft-NMS: overlapping boxes lose score instead of being removed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, quick_cuda, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_negative
from fastdet.boxes.overlap import box_iou_reference
from fastdet.boxes.transforms import extend_boxes

METHODS = ("linear", "gaussian")


def soft_nms(
    boxes: Any,
    scores: Any,
    *,
    method: str | Callable[[float], float] = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
    max_output: int | None = None,
    offset: float = 0.0,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """Soft-NMS: overlapping boxes lose score instead of being removed.

    Keep the box M with the best score and multiply the score of every remaining box b by f(IoU(M, b)). Go on with the
    best of the rescored boxes, until no box has min_score.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    method : "linear", f = 1 - IoU where IoU >= iou_threshold, else 1; "gaussian", f = exp(-IoU^2 / sigma);
        or a callable f(iou) -> weight in [0, 1] on one number: any Python function on the reference backend,
        one compiled by ``numba.njit`` at native speed on the numba backend
    iou_threshold : float in [0, 1], of the linear method
    sigma : float above 0, of the gaussian method
    min_score : 0 or more; a box whose score falls below it is dropped, one that is equal to it stays
    max_output : maximum number of kept boxes; None for all
    offset : added to x2 and y2 before overlaps are computed; 1 for the "+1" pixel sizes of the authors' code

    Returns
    -------
    keep : (K,) int64, in order of selection; equal scores: lower index first
    new_scores : (K,) float, the score at selection, in the wider dtype of boxes and scores

    Raises
    ------
    TypeError            dtype, or mixed devices
    ValueError           shape, range, NaN, a weight outside [0, 1]
    NotImplementedError  a callable on the cpp backend

    Notes
    -----
    Empty input gives an empty result. Equal on every backend: the exponential consists of the same operations
    everywhere. New scores carry no graph where scores requires grad.
    The cpp backend compares near boxes only, the numba backend too where there are more than 4,096. A pair that
    overlaps (linear: by iou_threshold) multiplies a score above 0 and min_score, in order of selection. Where all boxes
    overlap by little and none is dropped (a large sigma, or a threshold of 0, with min_score 0) these are N^2 / 2
    products, which the answer needs: max_output K limits them to K N. The reference and cuda compare each selected box
    with all others, and so does a callable method: K N pairs.
    Source: lecture, "Soft-NMS"; Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017.

    Examples
    --------
    >>> soft_nms(np.array([[0, 0, 10, 10], [0, 0, 10, 5]]), np.array([0.9, 0.8]))
    (array([0, 1]), array([0.9, 0.4]))
    """
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.soft_nms(boxes, scores, method, iou_threshold, sigma, min_score, max_output, offset, backend)
    return _soft_nms(
        "soft_nms", boxes, scores, None, method, iou_threshold, sigma, min_score, max_output, offset, backend
    )


def batched_soft_nms(
    boxes: Any,
    scores: Any,
    idxs: Any,
    *,
    method: str | Callable[[float], float] = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
    max_output: int | None = None,
    offset: float = 0.0,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """Soft-NMS within each group; parameters, results and errors as in `soft_nms` and `batched_nms`.

    Boxes are selected over all groups: at each step the best rescored box of any group.

    Examples
    --------
    >>> batched_soft_nms(np.array([[0, 0, 10, 10], [0, 0, 10, 5]]), np.array([0.9, 0.8]), np.array([1, 2]))
    (array([0, 1]), array([0.9, 0.8]))
    """
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.batched_soft_nms(
            boxes, scores, idxs, method, iou_threshold, sigma, min_score, max_output, offset, backend
        )
    return _soft_nms(
        "batched_soft_nms", boxes, scores, idxs, method, iou_threshold, sigma, min_score, max_output, offset, backend
    )


def _soft_nms(
    op: str,
    boxes: Any,
    scores: Any,
    idxs: Any,
    method: str | Callable[[float], float],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int | None,
    offset: float,
    backend: str | None,
) -> tuple[Any, Any]:
    if (quick := quick_cuda(boxes, backend)) is not None and type(offset) is float and not offset:
        kept = quick.soft_nms(boxes, scores, idxs, method, iou_threshold, sigma, min_score, max_output)
        if kept is not None:
            return kept
    b = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s = check.scores(op, to_array(op, "scores", scores), len(b))
    if b.dtype != s.dtype:
        b, s = b.astype(np.float64, copy=False), s.astype(np.float64, copy=False)
    k = None if op == "soft_nms" else check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    sigma = check.positive(op, "sigma", sigma)
    if not 0 < check.cast(b.dtype, sigma) < np.inf:
        raise ValueError(f"{op}: sigma must be above 0 and finite in {b.dtype}, got {sigma}")
    min_score = check.non_negative(op, "min_score", min_score)  # a negative score would grow when it is weighted
    limit = check.limit(op, "max_output", max_output)
    shift = check.number(op, "offset", offset)
    if shift:
        b = extend_boxes(b, shift)
    if callable(method):
        if backend in (None, "cuda") and not isinstance(b, np.ndarray):
            raise NotImplementedError(f"{op}: backend 'cuda' takes method 'linear' or 'gaussian', not a callable")
        if backend is None:  # native speed where the function is compiled, else plain Python
            backend = "numba" if _is_numba(method) else "reference"
        elif backend == "cpp":
            raise NotImplementedError(f"{op}: backend 'cpp' takes method 'linear' or 'gaussian', not a callable")
        elif backend == "numba" and not _is_numba(method):
            raise TypeError(
                f"{op}: method must be compiled by numba.njit on backend 'numba', got {check.describe(method)}"
            )
    else:
        check.choice(op, "method", method, METHODS)
    kernel = backends.choose("soft_nms", backend, soft_nms_reference, b, s, k)
    result = kernel(b, s, k, method, threshold, sigma, min_score, limit)
    if isinstance(result, int):
        check.raise_nan_code(op, result)
    keep, new_scores = result
    wrap = like(boxes)
    return wrap(keep), wrap(new_scores)


def _is_numba(f: object) -> bool:
    dispatcher = sys.modules.get("numba.core.registry")
    return dispatcher is not None and isinstance(f, dispatcher.CPUDispatcher)


def soft_nms_reference(
    boxes: Array,
    scores: Array,
    idxs: Array | None,
    method: str | Callable[[float], float],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[NDArray[np.int64], Array] | int:
    """The algorithm as it is written above. For a NaN return its code: see `check.find_nan`."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan

    def overlaps(best: int, others: Array) -> Array:
        return box_iou_reference(boxes[best : best + 1], boxes[others], "iou", False, None, 0.0, None)[0]

    return select_softly(scores, idxs, overlaps, method, iou_threshold, sigma, min_score, max_output)


def select_softly(
    scores: Array,
    idxs: Array | None,
    overlaps: Callable[[int, Array], Array],
    method: str | Callable[[float], float],
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[NDArray[np.int64], Array]:
    """The loop of Soft-NMS. ``overlaps(best, others)`` gives those of one box with others, in the scores' dtype."""
    left, current = np.arange(len(scores)), scores.copy()
    keep: list[int] = []
    new_scores: list[Any] = []
    lowest = check.cast(scores.dtype, min_score)
    while len(keep) != max_output:
        alive = current >= lowest
        left, current = left[alive], current[alive]
        if not left.size:
            break
        at = int(np.argmax(current))  # the first of equal scores has the lowest index
        best = int(left[at])
        keep.append(best)
        new_scores.append(current[at])
        left, current = np.delete(left, at), np.delete(current, at)
        meets = np.ones(len(left), bool) if idxs is None else idxs[left] == idxs[best]
        iou = overlaps(best, left[meets])
        with np.errstate(invalid="ignore"):  # an infinite score times 0 is NaN, and dropped
            current[meets] *= _weight(iou, method, iou_threshold, sigma)
    return np.array(keep, np.int64), np.array(new_scores, scores.dtype)


def _weight(iou: Array, method: str | Callable[[float], float], iou_threshold: float, sigma: float) -> Array:
    """The weight of each overlap."""
    one = iou.dtype.type
    if callable(method):
        weight = np.array([method(value) for value in iou.tolist()], iou.dtype).reshape(iou.shape)
        if not ((weight >= 0) & (weight <= 1)).all():
            at = int(np.argmin((weight >= 0) & (weight <= 1)))
            raise ValueError(f"soft_nms: method must return a weight in [0, 1], got {weight[at]} for IoU {iou[at]}")
        return weight
    if method == "linear":
        return np.where(iou >= one(iou_threshold), one(1) - iou, one(1))
    with np.errstate(over="ignore"):
        return exp_negative(-(iou * iou) / check.cast(iou.dtype, sigma))
