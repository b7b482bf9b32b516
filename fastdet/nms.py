"""Non-maximum suppression: greedy, class-wise, soft, and for batches of images.

One rule on every backend: boxes are taken by falling score, equal scores in order of index; a box whose
overlap with a kept one is ABOVE the threshold goes, one that is equal to it stays; the overlap is rounded and
compared in the boxes' dtype; 0/0 is 0; a NaN raises with its index; an infinite box overlaps nothing.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``, on the CPU or an
NVIDIA GPU (fusion: on the CPU), and gives back the type of ``boxes``. Float32 and float64 are computed as such,
float16 and bfloat16 in float32, integers as `fastdet.boxes` says. No function here has a gradient: tensors that
require grad are taken as they are and the results carry no graph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet import _backends, _check
from fastdet._arrays import like, registered, to_array
from fastdet._check import Array
from fastdet.boxes import METRICS, box_iou_reference
from fastdet.fusion import merge_boxes, weighted_boxes_fusion

__all__ = [
    "Detections",
    "batched_nms",
    "batched_soft_nms",
    "merge_boxes",
    "multiclass_nms",
    "nms",
    "soft_nms",
    "weighted_boxes_fusion",
]

METHODS = ("linear", "gaussian")


def nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives
    score_threshold : boxes with score <= it are dropped first; None drops none
    max_output : stop after so many kept boxes; None for all
    metric : "iou", or "ios" for intersection over the smaller area (tiled inference)

    Returns
    -------
    keep : (K,) int64, by falling score; equal scores: lower index first

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN

    Notes
    -----
    Empty input gives an empty result. Equal on every backend. O(N) memory.
    Source: lecture, "Non-maximum suppression".
    """
    plain = type(boxes) is np.ndarray and type(scores) is np.ndarray
    if not plain and (ops := registered(boxes, scores, grad=False)) is not None:
        return ops.nms(boxes, scores, iou_threshold, score_threshold, max_output, metric, backend)
    if (
        backend is None
        and type(iou_threshold) is float
        and score_threshold is None
        and max_output is None
        and metric == "iou"
        and _backends.native is not None
    ):  # small inputs: a call costs as much as the work
        if plain:
            keep = _backends.native.nms_quick(boxes, scores, iou_threshold)
            if keep is not None:
                return keep
        else:
            arrays = to_array("nms", "boxes", boxes), to_array("nms", "scores", scores)
            if all(type(x) is np.ndarray for x in arrays):
                keep = _backends.native.nms_quick(*arrays, iou_threshold)
                if keep is not None:
                    return like(boxes)(keep)
    return _nms("nms", boxes, scores, None, iou_threshold, score_threshold, max_output, metric, backend)


def batched_nms(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression within each group (class, image, or both in one key).

    Parameters as in `nms`, and

    idxs : (N,) integer, the group of each box, any values; boxes of different groups never meet. The group
        is a key, not an offset of coordinates, so nothing is lost to rounding
    max_output : over all groups together, the best by score

    Returns
    -------
    keep : (K,) int64, by falling score over all groups; equal scores: lower index first
    """
    if (ops := registered(boxes, scores, idxs, grad=False)) is not None:
        return ops.batched_nms(boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric, backend)
    return _nms("batched_nms", boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric, backend)


def _nms(
    op: str,
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int | None,
    metric: str,
    backend: str | None,
) -> Any:
    b = _check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s = _check.scores(op, to_array(op, "scores", scores), len(b))
    k = None if op == "nms" else _check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = _check.unit(op, "iou_threshold", iou_threshold)
    least = None if score_threshold is None else _check.number(op, "score_threshold", score_threshold)
    most = _check.limit(op, "max_output", max_output)
    if metric != "iou":
        _check.choice(op, "metric", metric, METRICS)
    kernel = _backends.choose("nms", backend, nms_reference, b, s, k)
    keep = kernel(b, s, k, threshold, least, most, metric)
    if isinstance(keep, int):
        _check.nan_found(op, keep)
    return like(boxes)(keep)


def nms_reference(
    boxes: Array,
    scores: Array,
    idxs: Array | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> NDArray[np.int64] | int:
    """One kept box at a time against all that are left. A NaN is answered as `_check.find_nan` codes it."""
    nan = _check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    threshold = boxes.dtype.type(iou_threshold)
    left = np.argsort(-scores, kind="stable")
    if score_threshold is not None:
        left = left[scores[left] > _check.cast(scores.dtype, score_threshold)]
    keep: list[int] = []
    while left.size and len(keep) != max_output:
        best, left = left[0], left[1:]
        keep.append(best)
        overlap = box_iou_reference(boxes[best : best + 1], boxes[left], metric, False, None, 0.0, None)[0]
        stays = ~(overlap > threshold)
        if idxs is not None:
            stays |= idxs[left] != idxs[best]
        left = left[stays]
    return np.array(keep, np.int64)


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

    Take the best-scored box M, keep it, multiply the score of every remaining box b by f(IoU(M, b)), and again
    with the best of the re-scored boxes, until none has min_score.

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
    max_output : stop after so many kept boxes; None for all
    offset : added to x2 and y2 before the overlap is taken; 1 for the "+1" pixel sizes of the authors' code

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
    Empty input gives an empty result. Equal on every backend: the exponential is our own, the same operations
    everywhere. New scores carry no graph where scores requires grad.
    Source: lecture, "Soft-NMS"; Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017.
    """
    if (ops := registered(boxes, scores, grad=False)) is not None:
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
    """Soft-NMS within each group; parameters and results as in `soft_nms` and `batched_nms`.

    The order of selection is the global one: at each step the best re-scored box of all groups.
    """
    if (ops := registered(boxes, scores, idxs, grad=False)) is not None:
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
    b = _check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s = _check.scores(op, to_array(op, "scores", scores), len(b))
    if b.dtype != s.dtype:
        b, s = b.astype(np.float64, copy=False), s.astype(np.float64, copy=False)
    k = None if op == "soft_nms" else _check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = _check.unit(op, "iou_threshold", iou_threshold)
    sigma = _check.positive(op, "sigma", sigma)
    if not 0 < _check.cast(b.dtype, sigma) < np.inf:
        raise ValueError(f"{op}: sigma must be above 0 and finite in {b.dtype}, got {sigma}")
    least = _check.number(op, "min_score", min_score)
    if least < 0:  # a negative score would grow when it is weighted
        raise ValueError(f"{op}: min_score must be 0 or more, got {least}")
    most = _check.limit(op, "max_output", max_output)
    shift = _check.number(op, "offset", offset)
    if shift:
        b = _extended(b, shift)
    if callable(method):
        if backend in (None, "cuda") and not isinstance(b, np.ndarray):
            raise NotImplementedError(f"{op}: backend 'cuda' takes method 'linear' or 'gaussian', not a callable")
        if backend is None:  # native speed where the function is compiled, else plain Python
            backend = "numba" if _is_numba(method) else "reference"
        elif backend == "cpp":
            raise NotImplementedError(f"{op}: backend 'cpp' takes method 'linear' or 'gaussian', not a callable")
        elif backend == "numba" and not _is_numba(method):
            raise TypeError(
                f"{op}: method must be compiled by numba.njit on backend 'numba', got {_check.describe(method)}"
            )
    else:
        _check.choice(op, "method", method, METHODS)
    kernel = _backends.choose("soft_nms", backend, soft_nms_reference, b, s, k)
    result = kernel(b, s, k, method, threshold, sigma, least, most)
    if isinstance(result, int):
        _check.nan_found(op, result)
    keep, new_scores = result
    wrap = like(boxes)
    return wrap(keep), wrap(new_scores)


def _extended(boxes: Any, offset: float) -> Any:
    """Boxes whose x2 and y2 are moved."""
    if not isinstance(boxes, np.ndarray):
        from fastdet._cuda_ops import extend_boxes

        return extend_boxes(boxes, offset)
    with np.errstate(over="ignore"):
        return boxes + np.array([0, 0, offset, offset]).astype(boxes.dtype)


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
    nan = _check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    left, current = np.arange(len(boxes)), scores.copy()
    keep: list[int] = []
    new_scores: list[Any] = []
    least = _check.cast(scores.dtype, min_score)
    while len(keep) != max_output:
        alive = current >= least
        left, current = left[alive], current[alive]
        if not left.size:
            break
        at = int(np.argmax(current))  # the first of equals: the lowest index
        best = left[at]
        keep.append(best)
        new_scores.append(current[at])
        left, current = np.delete(left, at), np.delete(current, at)
        meets = np.ones(len(left), bool) if idxs is None else idxs[left] == idxs[best]
        overlap = box_iou_reference(boxes[best : best + 1], boxes[left[meets]], "iou", False, None, 0.0, None)[0]
        with np.errstate(invalid="ignore"):  # an infinite score times 0 is gone
            current[meets] *= _weight(overlap, method, iou_threshold, sigma)
    return np.array(keep, np.int64), np.array(new_scores, scores.dtype)


def _weight(iou: Array, method: str | Callable[[float], float], iou_threshold: float, sigma: float) -> Array:
    one = iou.dtype.type
    if callable(method):
        weight = np.array([method(value) for value in iou.tolist()], iou.dtype).reshape(iou.shape)
        if not ((weight >= 0) & (weight <= 1)).all():
            bad = int(np.argmin((weight >= 0) & (weight <= 1)))
            raise ValueError(f"soft_nms: method must give a weight in [0, 1], got {weight[bad]} for IoU {iou[bad]}")
        return weight
    if method == "linear":
        return np.where(iou >= one(iou_threshold), one(1) - iou, one(1))
    with np.errstate(over="ignore"):
        return exp_negative(-(iou * iou) / _check.cast(iou.dtype, sigma))


def exp_negative(x: Array) -> Array:
    """exp(x) for x <= 0, to about 2 ulp, by the same operations in the same order on every backend.

    exp is no IEEE operation: libraries differ in the last bit, and one bit reorders near ties. So: x = n ln 2 + r,
    the series of exp(r), times 2^n; csrc/exp.h and _numba.py follow it line by line.
    """
    one = x.dtype.type
    single = x.dtype == np.float32
    low, magic, degree = (-87, 1.5 * 2**23, 7) if single else (-708, 1.5 * 2**52, 13)
    x = np.maximum(x, one(low))  # 2^n stays a normal number
    n = (x * one(1.4426950408889634) + one(magic)) - one(magic)  # rint
    if single:
        r = (x - n * one(0.693359375)) - n * one(-2.12194440e-4)
    else:
        r = (x - n * one(0.6931471803691238)) - n * one(1.9082149292705877e-10)
    p = np.full_like(r, one(INVERSE_FACTORIAL[degree]))
    for k in range(degree - 1, -1, -1):
        p = p * r + one(INVERSE_FACTORIAL[k])
    return np.ldexp(p, n.astype(np.int32))


INVERSE_FACTORIAL = [1.0]
for _k in range(1, 14):
    INVERSE_FACTORIAL.append(INVERSE_FACTORIAL[-1] / _k)


class Detections(NamedTuple):
    """Fixed-shape detections of B images; rows from ``count`` on are padding (boxes 0, score 0, label -1)."""

    boxes: Any  # (B, K, 4) float
    scores: Any  # (B, K) float
    labels: Any  # (B, K) int64
    count: Any  # (B,) int64


def multiclass_nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    score_threshold: float = 0.0,
    max_output: int = 100,
    max_per_class: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Detections:
    """Class-wise NMS over a batch of images, padded to a fixed shape.

    Parameters
    ----------
    boxes : (B, N, 4) float, pixels, x1 y1 x2 y2: one box for all classes of a candidate
    scores : (B, N, C) float
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives
    score_threshold : a class of a candidate with score <= it is no detection
    max_output : K, the most detections of an image, the best by score
    max_per_class : the most detections of one class of an image; None for no limit
    metric : "iou" or "ios"

    Returns
    -------
    Detections(boxes (B, K, 4), scores (B, K), labels (B, K) int64, count (B,) int64): each image's by falling
    score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN
    """
    if (ops := registered(boxes, scores, grad=False)) is not None:
        return ops.multiclass_nms(
            boxes, scores, iou_threshold, score_threshold, max_output, max_per_class, metric, backend
        )
    op = "multiclass_nms"
    b, s = to_array(op, "boxes", boxes), to_array(op, "scores", scores)
    if b.ndim != 3 or b.shape[2] != 4:
        raise ValueError(f"{op}: boxes must have shape (B, N, 4), got {b.shape}")
    if s.ndim != 3 or s.shape[:2] != b.shape[:2]:
        raise ValueError(f"{op}: scores must have shape ({b.shape[0]}, {b.shape[1]}, C), got {s.shape}")
    if s.shape[1] * s.shape[2] > _check.MAX_COUNT:
        raise ValueError(f"{op}: scores must have at most {_check.MAX_COUNT} entries an image, got {s.shape}")
    b, s = _check.real(op, "boxes", b), _check.real(op, "scores", s)
    threshold = _check.unit(op, "iou_threshold", iou_threshold)
    least = _check.number(op, "score_threshold", score_threshold)
    most = _check.count(op, "max_output", max_output)
    per_class = _check.limit(op, "max_per_class", max_per_class)
    _check.choice(op, "metric", metric, METRICS)
    kernel = _backends.choose(op, backend, multiclass_nms_reference, b, s)
    result = kernel(b, s, threshold, least, most, per_class, metric)
    if isinstance(result, int):
        array, flat = ("scores", s) if result & 1 else ("boxes", b)
        _check.nan_error(op, array, tuple(int(i) for i in np.unravel_index(result >> 1, flat.shape)))
    wrap = like(boxes)
    return Detections(*(wrap(x) for x in result))


def multiclass_nms_reference(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float,
    max_output: int,
    max_per_class: int,
    metric: str,
) -> tuple[Array, Array, Array, Array] | int:
    for which, array in enumerate((boxes, scores)):
        bad = np.isnan(array).ravel()
        if bad.any():
            return int(np.argmax(bad)) * 2 + which
    batch, _, classes = scores.shape
    padded = (
        np.zeros((batch, max_output, 4), boxes.dtype),
        np.zeros((batch, max_output), scores.dtype),
        np.full((batch, max_output), -1, np.int64),
        np.zeros(batch, np.int64),
    )
    for image in range(batch):
        row, label = np.nonzero(scores[image] > _check.cast(scores.dtype, score_threshold))
        value = scores[image][row, label]
        keep = [np.zeros(0, np.int64)]
        for c in range(classes):
            mine = np.flatnonzero(label == c)
            kept = nms_reference(boxes[image][row[mine]], value[mine], None, iou_threshold, None, max_per_class, metric)
            keep.append(mine[kept])
        chosen = np.sort(np.concatenate(keep))
        chosen = chosen[np.argsort(-value[chosen], kind="stable")][:max_output]
        count = len(chosen)
        padded[0][image, :count] = boxes[image][row[chosen]]
        padded[1][image, :count] = value[chosen]
        padded[2][image, :count] = label[chosen]
        padded[3][image] = count
    return padded
