"""The final detections of a YOLO (v5 and later): candidates, then class-wise NMS."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import METRICS
from fastdet.nms.greedy import nms_reference
from fastdet.nms.multiclass import Detections
from fastdet.yolo._check import Job, job_of, layout_of, raise_wrong
from fastdet.yolo.candidates import candidates_of, yolo_candidates_reference
from fastdet.yolo.end_to_end import by_score


class ExtendedDetections(NamedTuple):
    """`fastdet.nms.Detections`, and what the head gives of each box besides."""

    boxes: Any  # (N, K, 4) float
    scores: Any  # (N, K) float
    labels: Any  # (N, K) int64
    count: Any  # (N,) int64
    extras: Any  # (N, K, E) float, mask coefficients, or the keypoints' x y or x y visibility; padded with 0


ExtendedDetections.__module__ = "fastdet.yolo"


def yolo_postprocess(
    output: Any,
    iou_threshold: float = 0.45,
    *,
    score_threshold: float = 0.25,
    max_output: int = 300,
    layout: str = "detect",
    classes: int | None = None,
    objectness: bool = False,
    multi_label: bool = False,
    class_agnostic: bool = False,
    candidates_last: bool | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Detections | ExtendedDetections:
    """The final detections of a YOLO (v5 and later): `yolo_candidates`, then class-wise NMS.

    Parameters
    ----------
    output, score_threshold, layout, classes, objectness, multi_label, candidates_last : as in `yolo_candidates`
    iou_threshold, metric, backend : as in `fastdet.nms.nms`; not used with "end_to_end", whose rows are final
    max_output : maximum number of detections of an image, the best by score; K is this, or P C where that is less (P
        with "end_to_end")
    class_agnostic : True: boxes suppress boxes of other classes too

    Returns
    -------
    `fastdet.nms.Detections`: boxes (N, K, 4) x1 y1 x2 y2, scores (N, K), labels (N, K) int64, count (N,) int64, each
    image's by falling score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1.
    Layouts with "segment" or "pose" give `ExtendedDetections`, with extras (N, K, E) as the fifth

    Raises
    ------
    TypeError   dtype, device
    ValueError  as `yolo_candidates`; infinite boxes

    Notes
    -----
    On a GPU, layouts with extras finish on the host: NMS sees only what is above the threshold.

    Examples
    --------
    >>> rows = [[50, 40, 20, 10, 0.1, 0.7], [51, 40, 20, 10, 0.1, 0.6], [90, 9, 4, 4, 0.5, 0.0]]
    >>> detections = yolo_postprocess(np.array([rows]), candidates_last=False, max_output=2)
    >>> detections.scores, detections.labels
    (array([[0.7, 0.5]]), array([[1, 0]]))
    >>> mask = [[50, 40, 20, 10, 0.7, 2.5, -0.5]]  # one class, two mask coefficients
    >>> yolo_postprocess(np.array([mask]), layout="segment", classes=1, candidates_last=False).extras
    array([[[ 2.5, -0.5]]])
    """
    if (ops := registered(__name__, output, grad=False)) is not None:
        return ops.yolo_postprocess(
            output,
            iou_threshold,
            score_threshold,
            max_output,
            layout,
            classes,
            objectness,
            multi_label,
            class_agnostic,
            candidates_last,
            metric,
            backend,
        )
    op = "yolo_postprocess"
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    rows = check.count(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    agnostic = bool(class_agnostic)
    options = layout_of(op, layout, classes, objectness, multi_label, candidates_last, agnostic)
    job, wrap = job_of(op, output, score_threshold, options), like(output)
    rows = min(rows, job.candidates * (1 if options.end_to_end else job.classes))
    if not (isinstance(job.data, np.ndarray) or options.end_to_end or options.has_extras):
        whole: Any = backends.choose(op, backend, yolo_candidates_reference, job.data)
        final = whole(*job[:6], agnostic, threshold, metric, rows)
        if isinstance(final[0], int):
            wrong, image = final
            if wrong >= 0:
                raise_wrong(op, job, wrong)
            _raise_infinite(op, image)
        return Detections(*(wrap(x) for x in final))
    found = candidates_of(op, job, backend)
    back: Any = wrap
    if not isinstance(job.data, np.ndarray):
        found, backend = tuple(x.host() for x in found), None

        def back(x: Array) -> Any:
            return wrap(job.data.from_host(x))

    keep = _kept(op, job, found, threshold, agnostic, metric, rows, backend)
    result = (back(x) for x in _padded(found, keep, len(job.data), rows))
    return ExtendedDetections(*result) if options.has_extras else Detections(*result)


def _kept(
    op: str,
    job: Job,
    found: tuple[Array, ...],
    threshold: float,
    agnostic: bool,
    metric: str,
    rows: int,
    backend: str | None,
) -> Array:
    """Which candidates stay, by falling score over all images."""
    boxes, scores, labels, images = found[:4]
    if job.layout.end_to_end:
        return by_score(scores)
    groups = images if agnostic else images * job.classes + labels
    kernel = backends.choose("nms", backend, nms_reference)
    keep = kernel(boxes, scores, groups, threshold, None, rows if len(job.data) == 1 else -1, metric)
    if isinstance(keep, int):  # a NaN: an infinite centre less an infinite side
        _raise_infinite(op, images[keep >> 1])
    return keep


def _padded(found: tuple[Array, ...], keep: Array, count: int, rows: int) -> list[Array]:
    """Boxes, scores, labels, count, and extras where there are some, of ``count`` images with ``rows`` rows each."""
    boxes, scores, labels, images, *extras = found
    padded = [np.zeros((count, rows, *x.shape[1:]), x.dtype) for x in (boxes, scores, labels, *extras)]
    padded[2][:] = -1
    counts, of_image = np.zeros(count, np.int64), images[keep]
    for i in range(count):
        mine = (keep if count == 1 else keep[of_image == i])[:rows]
        counts[i] = n = len(mine)
        for target, source in zip(padded, (boxes, scores, labels, *extras), strict=True):
            target[i, :n] = source[mine]
    return [*padded[:3], counts, *padded[3:]]


def _raise_infinite(op: str, image: int) -> NoReturn:
    raise ValueError(f"{op}: output must not hold infinite boxes, got one in image {image}")
