"""The matcher: which true box each anchor or proposal belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered

BELOW_LOW, BETWEEN = -1, -2


def match_boxes(
    iou: Any, high: float, low: float, *, allow_low_quality: bool = False, backend: str | None = None
) -> Any:
    """Match each candidate box to a true box, to the background, or to neither.

    Parameters
    ----------
    iou : (M, N) float, overlap of M true boxes with N candidates, as `fastdet.boxes.box_iou` gives it
    high : a candidate whose maximum overlap is at least this is matched
    low : one whose maximum is below this is background; low <= high
    allow_low_quality : also match the candidates that overlap a true box as much as any candidate does, however little.
        Such a candidate is matched to the true box that it overlaps most

    Returns
    -------
    matches : (N,) int64, the index of the true box, -1 for background, -2 between the thresholds

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, low above high, NaN

    Notes
    -----
    Equal overlaps: the true box of the lower index. Without true boxes all candidates are background. With
    allow_low_quality a true box that overlaps no candidate is level with all of them at 0, so that each candidate that
    does not overlap it is matched, to the box that it overlaps most: torchvision's rule.
    Source: Ren et al., "Faster R-CNN", 2015, section 3.1.2; torchvision's `Matcher`.

    Examples
    --------
    >>> match_boxes(np.array([[0.8, 0.4, 0.1], [0.2, 0.45, 0.0]]), 0.7, 0.3)
    array([ 0, -2, -1])
    >>> match_boxes(np.array([[0.8, 0.4, 0.1], [0.2, 0.45, 0.0]]), 0.7, 0.3, allow_low_quality=True)
    array([ 0,  1, -1])
    """
    if (ops := registered(__name__, iou, grad=False)) is not None:
        return ops.match_boxes(iou, high, low, allow_low_quality, backend)
    op = "match_boxes"
    x = to_array(op, "iou", iou)
    if x.ndim != 2:
        raise ValueError(f"{op}: iou must have shape (M, N), got {x.shape}")
    if max(x.shape) > check.MAX_COUNT:
        raise ValueError(f"{op}: iou must have at most {check.MAX_COUNT} rows and columns, got {x.shape}")
    x = check.real(op, "iou", x)
    high, low = check.number(op, "high", high), check.number(op, "low", low)
    if low > high:
        raise ValueError(f"{op}: low must be at most high, {high}, got {low}")
    matches = backends.choose(op, backend, match_boxes_reference, x)(x, high, low, bool(allow_low_quality))
    if isinstance(matches, int):
        check.raise_nan(op, "iou", tuple(int(i) for i in np.unravel_index(matches, x.shape)))
    return like(iou)(matches)


def match_boxes_reference(iou: Array, high: float, low: float, allow_low_quality: bool) -> NDArray[np.int64] | int:
    """A NaN returns its flat index."""
    is_nan = np.isnan(iou).ravel()
    if is_nan.any():
        return int(np.argmax(is_nan))
    rows, columns = iou.shape
    if not rows or not columns:
        return np.full(columns, BELOW_LOW, np.int64)
    best, most = np.argmax(iou, axis=0).astype(np.int64), iou.max(axis=0)
    matches = np.where(most < check.cast(iou.dtype, high), BETWEEN, best)
    matches[most < check.cast(iou.dtype, low)] = BELOW_LOW
    if allow_low_quality:
        restored = (iou == iou.max(axis=1, keepdims=True)).any(axis=0)
        matches[restored] = best[restored]
    return matches
