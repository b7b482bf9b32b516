"""sahi: NMS, NMM and GREEDYNMM of sliced inference, with sahi's own results."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet.integrations import _sahi_objects
from fastdet.integrations._replace import (
    Changes,
    Integration,
    IntegrationError,
    check_parameters,
    check_version,
    fall_back,
    installed,
    integrate,
)
from fastdet.integrations._rounding import floor_float32, just_below

_PARAMETERS = ("predictions", "match_metric", "match_threshold")
_LARGE = {4: 2.0**60, 8: 2.0**500}  # coordinates up to it have areas that do not overflow, by bytes of their dtype
_SPARSE = 2000  # predictions from which sahi's NumPy code compares overlaps in the predictions' own dtype

Function = Callable[..., Any]


def sahi() -> Integration:
    """Replace the post-processing of sahi 0.12 (sliced inference) in this process: NMS, NMM and GREEDYNMM.

    Returns
    -------
    Integration, with what was replaced and `undo`

    Raises
    ------
    IntegrationError   sahi is not installed, or older than 0.12

    Notes
    -----
    ``sahi.postprocess.combine``'s nms, batched_nms, greedy_nmm, batched_greedy_nmm, nmm and batched_nmm keep their
    signatures, types and results: the order of ties (by coordinates), overlaps at the threshold (a match), the
    arithmetic of the backend that ``set_postprocess_backend`` has chosen. The classes that merge objects of
    `ObjectPrediction` use them, and unite the boxes without an object for each step. Masks are united by sahi. What
    holds NaN or infinity, has coordinates of which areas overflow, or is no float array, sahi answers itself.
    One difference: of 2000 predictions or more its "numba" backend compares in float64 where they are dense, in
    the predictions' dtype where they are sparse; fastdet always in float64. LSNMS stays sahi's.

    Examples
    --------
    >>> from fastdet import integrations
    >>> made = integrations.sahi()  # doctest: +SKIP
    >>> result = get_sliced_prediction(image, model, slice_height=512, slice_width=512)  # doctest: +SKIP
    """
    return integrate("sahi", _make)


def _make(changes: Changes) -> tuple[str | None, str]:
    _, version = installed("sahi")
    combine = importlib.import_module("sahi.postprocess.combine")
    try:
        backends = importlib.import_module("sahi.postprocess.backends")
    except ImportError:
        raise IntegrationError(
            f"sahi: version {version} takes tensors of torch, and fastdet replaces the functions of 0.12 or later: "
            f"nothing was replaced; pip install -U sahi"
        ) from None
    check_version("sahi", version, "0.12", "0.12")
    made: dict[str, Function] = {}
    for name in ("nms", "greedy_nmm", "nmm"):
        for public in (name, f"batched_{name}"):
            old = getattr(combine, public)
            check_parameters("sahi", public, old, _PARAMETERS)
            made[public] = _function(public, old, backends.resolve_backend)
    changes.functions([(combine, public, new) for public, new in made.items()])
    for cls, name in ((combine.NMMPostprocess, "nmm"), (combine.GreedyNMMPostprocess, "greedy_nmm")):
        changes.attribute(cls, "_agnostic_func", staticmethod(made[name]))
        changes.attribute(cls, "_batched_func", staticmethod(made[f"batched_{name}"]))
    _sahi_objects.replace(changes, combine, importlib.import_module("sahi.postprocess.utils"))
    return version, "NMS and merging by fastdet, with the arithmetic of sahi's chosen backend"


def _function(public: str, old: Function, resolve: Callable[[], str]) -> Function:
    """sahi's function of that name."""
    kind, batched = public.removeprefix("batched_"), public.startswith("batched_")

    def function(predictions: Any, match_metric: Any = "IOU", match_threshold: Any = 0.5) -> Any:
        if type(predictions) is np.ndarray and len(predictions) == 0:
            return old(predictions, match_metric, match_threshold)
        why = _refused(predictions, match_threshold, batched)
        if why is not None:
            fall_back("sahi", public, why)
            return old(predictions, match_metric, match_threshold)
        if match_threshold <= 0:  # all match, without a look at the boxes
            return old(predictions, match_metric, match_threshold)
        backend, metric = resolve(), "iou" if match_metric == "IOU" else "ios"
        keys = _keys(predictions[:, 5]) if batched else None
        size, rounded = len(predictions), kind == "nmm" if backend == "numba" else predictions.dtype == np.float64
        if keys is not None and rounded:
            counts = np.unique(keys, return_counts=True)[1]
            if counts.min() < _SPARSE <= counts.max():  # overlaps are rounded in one category, not in the other
                return old(predictions, match_metric, match_threshold)  # which calls nmm or the like for each
            size = int(counts.max())
        boxes, above, by_index = _arithmetic(kind, backend, predictions, metric, match_threshold, size)
        if above is None:
            return old(predictions, match_metric, match_threshold)
        return _answer(kind, predictions, boxes, keys, above, metric, by_index)

    function.__name__ = function.__qualname__ = public
    function.__module__, function.__doc__ = old.__module__, old.__doc__
    return function


def _refused(predictions: Any, threshold: Any, batched: bool) -> str | None:
    """Why sahi has to answer itself."""
    if type(predictions) is not np.ndarray or predictions.dtype not in (np.float32, np.float64):
        return "predictions are no array of float32 or float64"
    if predictions.ndim != 2 or predictions.shape[1] < 5 + batched:
        return "predictions are not (N, 6)"
    if type(threshold) not in (float, int, np.float32, np.float64) or threshold != threshold:
        return "match_threshold is no number"
    used = predictions[:, : 5 + batched]
    low, high = float(used.min()), float(used.max())
    if not max(-low, high) <= _LARGE[predictions.itemsize]:
        return "predictions hold NaN, infinity or coordinates of which areas overflow"
    return None


def _keys(categories: Array) -> Array:
    """Categories as integers that rise with them."""
    whole = categories.astype(np.int64)
    return whole if (whole == categories).all() else np.unique(categories, return_inverse=True)[1]


def _arithmetic(
    kind: str, backend: str, predictions: Array, metric: str, threshold: Any, size: int
) -> tuple[Array, float | None, bool]:
    """Boxes in the dtype in which sahi's backend computes, the number that its matches are above, and how it orders.

    None: of the smallest thresholds, where it is not above 0. Last: equal scores by index, not by coordinates.
    """
    boxes = predictions[:, :4]
    sparse = size >= _SPARSE
    if kind == "nms" and metric == "iou" and backend == "torchvision":  # strictly above, compared in float64
        return boxes.astype(np.float32), float(floor_float32(threshold)), True
    if backend == "numba" and kind != "nmm":
        return boxes.astype(np.float64), _below(float(threshold), np.dtype(np.float64)), False
    wide = backend == "numba" and not sparse
    boxes = boxes.astype(np.float64) if wide else boxes
    if backend == "torchvision" and not sparse:
        boxes = boxes.astype(np.float32)
    if sparse or boxes.dtype == np.float32:
        return boxes, _below(threshold, boxes.dtype), False
    cut32 = _ceil(threshold, np.dtype(np.float32))  # overlaps in float64, compared as float32
    if not cut32 > 0:
        return boxes, None, False
    middle = 0.5 * float(just_below(cut32)) + 0.5 * float(cut32)
    return boxes, float(just_below(np.float64(middle))) if np.float32(middle) == cut32 else middle, False


def _ceil(threshold: Any, dtype: np.dtype[Any]) -> Any:
    """The least number of the dtype at which NumPy finds an overlap of that dtype to be at the threshold."""
    with np.errstate(all="ignore"):
        near = dtype.type(threshold)
    if isinstance(threshold, np.generic) and near < threshold:  # a scalar of NumPy keeps its own dtype
        near = np.nextafter(near, dtype.type(np.inf))
    return near


def _below(threshold: Any, dtype: np.dtype[Any]) -> float | None:
    """The number that overlaps at the threshold are above; None where that is not 0 or more."""
    least = _ceil(threshold, dtype)
    return float(just_below(least)) if least > 0 else None


def _by_coordinates(predictions: Array, ranked: Array, same: Array) -> Array:
    """Predictions by falling score, of equal scores by their coordinates, then by index; ``same``: as the next one."""
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    rows = ranked[tied]
    ranked[tied] = rows[np.lexsort((rows, *predictions[rows, 3::-1].T, -predictions[rows, 4]))]
    return ranked


def _answer(
    kind: str, predictions: Array, boxes: Array, keys: Array | None, above: float, metric: str, by_index: bool
) -> Any:
    from fastdet.fusion import greedy_nmm, nmm
    from fastdet.nms import batched_nms
    from fastdet.nms import nms as plain_nms

    scores, order = predictions[:, 4], None
    ranked = np.argsort(-scores)
    same = scores[ranked[1:]] == scores[ranked[:-1]]
    ties = bool(same.any())
    if ties and not by_index:
        order = _by_coordinates(predictions, ranked, same)
        boxes, scores, keys = boxes[order], scores[order], None if keys is None else keys[order]
    above = min(above, 1.0)  # no overlap is above 1
    if kind == "nms":
        if keys is None:
            keep = plain_nms(boxes, scores, above, metric=metric)
        else:
            keep = batched_nms(boxes, scores, keys, above, metric=metric)
            if ties:  # by category first
                keep = keep[np.lexsort((keys[keep], -scores[keep]))]
        return (keep if order is None else order[keep]).tolist()
    merge = nmm if kind == "nmm" else greedy_nmm
    found = merge(boxes, scores, above, idxs=keys, metric=metric)
    members, groups = found.order, found.groups
    if order is not None:
        if kind == "nmm":  # those that one box claims, by index
            parents = found.parents[members]
            best = parents == members
            siblings = (parents[1:] == parents[:-1]) & ~best[1:] & ~best[:-1]
            run = np.concatenate([[0], np.cumsum(~siblings)])
            members = members[np.argsort(run * len(scores) + order[members])]
        members = order[members]
    ends = np.cumsum(np.bincount(groups, minlength=len(found.keep))).tolist()
    rows = list(zip([0, *ends[:-1]], ends, strict=True))
    if keys is not None:  # categories one after the other
        rows = [rows[row] for row in np.argsort(keys[found.keep], kind="stable")]
    flat = members.tolist()
    return {flat[begin]: flat[begin + 1 : end] for begin, end in rows}
