"""Candidates: the boxes of a YOLO (v5 and later) whose score is above a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.yolo._check import Job, first_wrong, job_of, layout_of, raise_wrong
from fastdet.yolo.end_to_end import rows_of


class Candidates(NamedTuple):
    """The boxes of a batch that go into NMS."""

    boxes: Any  # (K, 4) float, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    images: Any  # (K,) int64, index in the batch


class ExtendedCandidates(NamedTuple):
    """`Candidates`, and what the head gives of each box besides."""

    boxes: Any  # (K, 4) float, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    images: Any  # (K,) int64, index in the batch
    extras: Any  # (K, E) float, mask coefficients, or the keypoints' x y or x y visibility


Candidates.__module__ = ExtendedCandidates.__module__ = "fastdet.yolo"


def yolo_candidates(
    output: Any,
    score_threshold: float = 0.25,
    *,
    layout: str = "detect",
    classes: int | None = None,
    objectness: bool = False,
    multi_label: bool = False,
    candidates_last: bool | None = None,
    backend: str | None = None,
) -> Candidates | ExtendedCandidates:
    """The boxes of a YOLO (v5 and later) whose best class, or each class, is above a threshold.

    Parameters
    ----------
    output : (N, P, channels) float, or (N, channels, P), of P candidates; the channels as ``layout`` says
    score_threshold : a class with score <= it gives no box
    layout : what the channels are
        "detect"              cx cy w h in pixels, and C class scores in [0, 1]
        "segment"             the same, and mask coefficients
        "pose"                the same, and the keypoints' x y, or x y visibility
        "end_to_end"          x1 y1 x2 y2 score class, of a head that needs no NMS (v10), or that NMS is built into
        "end_to_end_segment"  the same, and mask coefficients
        "end_to_end_pose"     the same, and keypoints
    classes : C, which the number of channels must agree with. None: all channels behind the box are classes; "segment"
        and "pose" need a number. With "end_to_end" a class must be below it
    objectness : True for 5 + C channels (v5, v7, YOLOX): the fifth is Pr(object), and the score of a class is the
        product of the two. False for v8 and later
    multi_label : True: a box for every class above the threshold, not only for the best one
    candidates_last : True for an output (N, channels, P), as of v8; None: as ``classes`` or "end_to_end" tell, else P
        is the longer of the two axes
    backend : "cpp", "numba" or "reference"; None for the fastest available

    Returns
    -------
    Candidates(boxes (K, 4) x1 y1 x2 y2, scores (K,), labels (K,) int64, images (K,) int64): in order of image,
    candidate, class. Layouts with "segment" or "pose" give ExtendedCandidates, with extras (K, E) as the fifth

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN, a score outside [0, 1], a number of channels that is not the layout's, 6 channels
        that may be "end_to_end" or 4 + 2 and no ``classes``, a class that is no whole number

    Notes
    -----
    Of equal scores the lower class wins. Equal on every backend. float16 and bfloat16 are computed in float32. The
    output is read once, in either memory order, without a copy; extras are read of the boxes that are kept, as they
    are. Tensors are returned without a graph.

    Examples
    --------
    >>> output = np.array([[[50, 40, 20, 10, 0.1, 0.7], [5, 5, 4, 4, 0.2, 0.0]]])  # two candidates, two classes
    >>> candidates = yolo_candidates(output, 0.25, candidates_last=False)
    >>> candidates.boxes, candidates.labels
    (array([[40., 35., 60., 45.]]), array([1]))
    >>> yolo_candidates([[[10, 20, 30, 40, 0.9, 56], [0, 0, 0, 0, 0, 0]]], layout="end_to_end").labels
    array([56])
    """
    if (ops := registered(__name__, output, grad=False)) is not None:
        return ops.yolo_candidates(
            output, score_threshold, layout, classes, objectness, multi_label, candidates_last, backend
        )
    op = "yolo_candidates"
    options = layout_of(op, layout, classes, objectness, multi_label, candidates_last)
    job = job_of(op, output, score_threshold, options)
    wrap = like(output)
    result = (wrap(x) for x in candidates_of(op, job, backend))
    return ExtendedCandidates(*result) if options.has_extras else Candidates(*result)


def candidates_of(op: str, job: Job, backend: str | None) -> tuple[Any, ...]:
    """Boxes, scores, labels, images, and extras where the layout has them, by a backend."""
    kernel = backends.choose("yolo_candidates", backend, yolo_candidates_reference, job.data)
    if job.layout.end_to_end:
        found: tuple[Any, ...] = rows_of(op, job)
        if not isinstance(job.data, np.ndarray):
            found = tuple(map(job.data.from_host, found))
        return found if job.layout.has_extras else found[:4]
    result = kernel(*job[:6])
    if isinstance(result, int):
        raise_wrong(op, job, result)
    *arrays, rows = result
    return (*arrays, extras_of(job, arrays[3], rows)) if job.layout.has_extras else tuple(arrays)


def extras_of(job: Job, images: Any, rows: Any) -> Any:
    """(K, E): the channels behind the classes, of each candidate by its image and its number there."""
    data = job.data
    if isinstance(data, np.ndarray):
        return (data[images, job.used :, rows] if job.planes else data[images, rows, job.used :]).copy()
    with data.on_device():  # torch and CuPy index as NumPy does
        where = (images.owner, slice(job.used, None), rows.owner)
        picked = data.owner[where if job.planes else (where[0], where[2], where[1])]
        return type(data)(picked).copy()


def yolo_candidates_reference(
    output: Array, planes: bool, classes: int, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Array, Array, Array, Array, Array] | int:
    """Boxes, scores, labels, images and rows, or the flat index of the first wrong value: see `first_wrong`.

    ``planes``: candidates are the last axis. Rows are the candidates' numbers in their images.
    """
    first = 5 if objectness else 4
    wrong = first_wrong(output, planes, slice(4, first + classes), first + classes)
    if wrong is not None:
        return wrong
    rows = output.transpose(0, 2, 1) if planes else output
    scores = rows[..., first : first + classes]
    if objectness:
        scores = rows[..., 4:5] * scores
    above = scores > check.cast(output.dtype, score_threshold)
    if not multi_label:
        above &= np.arange(classes) == scores.argmax(-1)[..., None]
    image, row, label = np.nonzero(above)
    half = output.dtype.type(0.5)
    with np.errstate(all="ignore"):  # infinite boxes overlap nothing
        cx, cy, w, h = rows[image, row, :4].T
        boxes = np.stack([cx - half * w, cy - half * h, cx + half * w, cy + half * h], axis=1)
    return boxes, scores[image, row, label], label, image, row
