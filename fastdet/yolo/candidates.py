"""The boxes of a YOLO (v5 and later) whose score is above a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array


class Candidates(NamedTuple):
    """The boxes of a batch that are worth suppressing."""

    boxes: Any  # (K, 4) float, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    images: Any  # (K,) int64, of the batch


Candidates.__module__ = "fastdet.yolo"


def yolo_candidates(
    output: Any,
    score_threshold: float = 0.25,
    *,
    objectness: bool = False,
    multi_label: bool = False,
    candidates_last: bool | None = None,
    backend: str | None = None,
) -> Candidates:
    """The boxes of a YOLO (v5 and later) whose best class, or each class, is above a threshold.

    Parameters
    ----------
    output : (N, P, 4 + C) float, or (N, 4 + C, P): P candidates' cx, cy, w, h in pixels, and C class scores in [0, 1]
    score_threshold : a class with score <= it is none
    objectness : 5 + C channels, the fifth is Pr(object), and a class's score the product of the two (v5, v7, YOLOX);
        False for v8 and later
    multi_label : every class above the threshold, not only the best one
    candidates_last : output is (N, 4 + C, P), as v8 gives it; None: P is the longer of the two axes
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    Candidates(boxes (K, 4) x1 y1 x2 y2, scores (K,), labels (K,) int64, images (K,) int64): in order of image,
    candidate, class

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN

    Notes
    -----
    The lower class wins equal scores. Equal on every backend. float16 and bfloat16 compute in float32. Either layout in
    memory is read as it lies, once. Tensors come back without a graph.
    """
    op = "yolo_candidates"
    given = _outputs(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap = like(output)
    return Candidates(*(wrap(x) for x in _candidates(op, given, backend)))


class _Outputs(NamedTuple):
    """A YOLO's outputs as kernels take them, and which axes the caller gave the other way round."""

    laid: Any
    planes: bool
    objectness: bool
    multi_label: bool
    score_threshold: float
    turned: bool

    @property
    def classes(self) -> int:
        channels: int = self.laid.shape[1 if self.planes else 2]
        return channels - (5 if self.objectness else 4)


def _outputs(
    op: str, output: Any, score_threshold: float, objectness: bool, multi_label: bool, candidates_last: bool | None
) -> _Outputs:
    x = to_array(op, "output", output)
    if x.ndim != 3:
        raise ValueError(f"{op}: output must have shape (N, P, 4 + C) or (N, 4 + C, P), got {x.shape}")
    planes = x.shape[2] > x.shape[1] if candidates_last is None else bool(candidates_last)
    channels, first = x.shape[1 if planes else 2], 5 if objectness else 4
    if channels <= first:
        raise ValueError(
            f"{op}: output must have {first} + C channels with C of 1 or more, got {channels} in {x.shape}"
        )
    if channels - first > check.MAX_CLASSES:
        raise ValueError(f"{op}: output must have at most {check.MAX_CLASSES} classes, got {channels - first}")
    if x.shape[1] * x.shape[2] > check.MAX_COUNT:
        raise ValueError(f"{op}: output must have at most {check.MAX_COUNT} entries an image, got {x.shape}")
    least = check.number(op, "score_threshold", score_threshold)
    turned = not x.flags.c_contiguous and x.transpose(0, 2, 1).flags.c_contiguous
    laid = check.real(op, "output", x.transpose(0, 2, 1) if turned else x)
    return _Outputs(laid, planes != turned, bool(objectness), bool(multi_label), least, turned)


def _candidates(op: str, given: _Outputs, backend: str | None) -> tuple[Array, Array, Array, Array]:
    kernel = backends.choose("yolo_candidates", backend, yolo_candidates_reference, given.laid)
    result = kernel(*given[:5])
    if isinstance(result, int):
        _nan_found(op, given, result)
    return result


def _nan_found(op: str, given: _Outputs, flat: int) -> NoReturn:
    at = [int(i) for i in np.unravel_index(flat, given.laid.shape)]
    check.raise_nan(op, "output", (at[0], at[2], at[1]) if given.turned else tuple(at))


def yolo_candidates_reference(
    output: Array, planes: bool, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Array, Array, Array, Array] | int:
    """``planes``: candidates are the last axis. A NaN is answered by its flat index."""
    bad = np.isnan(output)
    if bad.any():
        return int(np.argmax(bad))
    rows = output.transpose(0, 2, 1) if planes else output
    scores = rows[..., 4:]
    if objectness:
        with np.errstate(all="ignore"):
            scores = rows[..., 4:5] * rows[..., 5:]
        scores[np.isnan(scores)] = -np.inf  # 0 * inf
    above = scores > check.cast(output.dtype, score_threshold)
    if not multi_label:
        above &= np.arange(scores.shape[-1]) == scores.argmax(-1)[..., None]
    image, row, label = np.nonzero(above)
    half = output.dtype.type(0.5)
    with np.errstate(all="ignore"):  # infinite boxes overlap nothing
        cx, cy, w, h = rows[image, row, :4].T
        boxes = np.stack([cx - half * w, cy - half * h, cx + half * w, cy + half * h], axis=1)
    return boxes, scores[image, row, label], label, image
