"""Candidates: the boxes of a YOLO (v5 and later) whose score is above a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array


class Candidates(NamedTuple):
    """The boxes of a batch that go into NMS."""

    boxes: Any  # (K, 4) float, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    images: Any  # (K,) int64, index in the batch


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
    score_threshold : a class with score <= it gives no box
    objectness : True for 5 + C channels (v5, v7, YOLOX): the fifth is Pr(object), and the score of a class is the
        product of the two. False for v8 and later
    multi_label : True: a box for every class above the threshold, not only for the best one
    candidates_last : True for an output (N, 4 + C, P), as of v8; None: P is the longer of the two axes
    backend : "cpp", "numba" or "reference"; None for the fastest available

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
    Of equal scores the lower class wins. Equal on every backend. float16 and bfloat16 are computed in float32. The
    output is read once, in either memory order, without a copy. Tensors are returned without a graph.

    Examples
    --------
    >>> output = np.array([[[50, 40, 20, 10, 0.1, 0.7], [5, 5, 4, 4, 0.2, 0.0]]])  # two candidates, two classes
    >>> candidates = yolo_candidates(output, 0.25, candidates_last=False)
    >>> candidates.boxes, candidates.labels
    (array([[40., 35., 60., 45.]]), array([1]))
    """
    op = "yolo_candidates"
    job = job_of(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap = like(output)
    return Candidates(*(wrap(x) for x in candidates_of(op, job, backend)))


class Job(NamedTuple):
    """A YOLO's output and options as the kernels take them (the first five fields)."""

    data: Any
    planes: bool  # data is (N, channels, candidates)
    objectness: bool
    multi_label: bool
    score_threshold: float
    transposed: bool  # data has the last two axes of the caller's output swapped

    @property
    def classes(self) -> int:
        channels: int = self.data.shape[1 if self.planes else 2]
        return channels - (5 if self.objectness else 4)


def job_of(
    op: str, output: Any, score_threshold: float, objectness: bool, multi_label: bool, candidates_last: bool | None
) -> Job:
    """The checked arguments of `yolo_candidates`."""
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
    min_score = check.number(op, "score_threshold", score_threshold)
    transposed = not x.flags.c_contiguous and x.transpose(0, 2, 1).flags.c_contiguous
    data = check.real(op, "output", x.transpose(0, 2, 1) if transposed else x)
    return Job(data, planes != transposed, bool(objectness), bool(multi_label), min_score, transposed)


def candidates_of(op: str, job: Job, backend: str | None) -> tuple[Array, Array, Array, Array]:
    """Boxes, scores, labels and images of the candidates, by a backend."""
    kernel = backends.choose("yolo_candidates", backend, yolo_candidates_reference, job.data)
    result = kernel(*job[:5])
    if isinstance(result, int):
        raise_nan(op, job, result)
    return result


def raise_nan(op: str, job: Job, flat: int) -> NoReturn:
    """Raise for a NaN at a flat index of ``job.data``, by its index in the caller's output."""
    at = [int(i) for i in np.unravel_index(flat, job.data.shape)]
    check.raise_nan(op, "output", (at[0], at[2], at[1]) if job.transposed else tuple(at))


def yolo_candidates_reference(
    output: Array, planes: bool, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Array, Array, Array, Array] | int:
    """Boxes, scores, labels and images, or the flat index of a NaN. ``planes``: candidates are the last axis."""
    is_nan = np.isnan(output)
    if is_nan.any():
        return int(np.argmax(is_nan))
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
