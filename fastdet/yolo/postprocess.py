"""The final detections of a YOLO (v5 and later): candidates, then class-wise NMS."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet.boxes.overlap import METRICS
from fastdet.nms.greedy import nms_reference
from fastdet.nms.multiclass import Detections
from fastdet.yolo.candidates import candidates_of, job_of, raise_nan, yolo_candidates_reference


def yolo_postprocess(
    output: Any,
    iou_threshold: float = 0.45,
    *,
    score_threshold: float = 0.25,
    max_output: int = 300,
    objectness: bool = False,
    multi_label: bool = False,
    class_agnostic: bool = False,
    candidates_last: bool | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Detections:
    """The final detections of a YOLO (v5 and later): `yolo_candidates`, then class-wise NMS.

    Parameters
    ----------
    output, score_threshold, objectness, multi_label, candidates_last : as in `yolo_candidates`
    iou_threshold, metric, backend : as in `fastdet.nms.nms`
    max_output : maximum number of detections of an image, the best by score; K is this, or P C where that is less
    class_agnostic : True: boxes suppress boxes of other classes too

    Returns
    -------
    `fastdet.nms.Detections`: boxes (N, K, 4) x1 y1 x2 y2, scores (N, K), labels (N, K) int64, count (N,) int64, each
    image's by falling score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN, infinite boxes

    Examples
    --------
    >>> rows = [[50, 40, 20, 10, 0.1, 0.7], [51, 40, 20, 10, 0.1, 0.6], [90, 9, 4, 4, 0.5, 0.0]]
    >>> detections = yolo_postprocess(np.array([rows]), candidates_last=False, max_output=2)
    >>> detections.scores, detections.labels
    (array([[0.7, 0.5]]), array([[1, 0]]))
    """
    op = "yolo_postprocess"
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    rows = check.count(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    job = job_of(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap, count = like(output), len(job.data)
    rows = min(rows, job.data.shape[2 if job.planes else 1] * job.classes)
    if not isinstance(job.data, np.ndarray):
        whole: Any = backends.choose(op, backend, yolo_candidates_reference, job.data)
        final = whole(*job[:5], bool(class_agnostic), threshold, metric, rows)
        if isinstance(final[0], int):
            nan, image = final
            if nan >= 0:
                raise_nan(op, job, nan)
            _raise_infinite(op, image)
        return Detections(*(wrap(x) for x in final))
    boxes, scores, labels, images = candidates_of(op, job, backend)
    groups = images if class_agnostic else images * job.classes + labels
    limit = rows if count == 1 else -1
    kernel = backends.choose("nms", backend, nms_reference)
    keep = kernel(boxes, scores, groups, threshold, None, limit, metric)
    if isinstance(keep, int):  # a NaN: an infinite centre less an infinite side
        _raise_infinite(op, images[keep >> 1])
    padded = Detections(
        np.zeros((count, rows, 4), boxes.dtype),
        np.zeros((count, rows), scores.dtype),
        np.full((count, rows), -1, np.int64),
        np.zeros(count, np.int64),
    )
    of_image = images[keep]
    for i in range(count):
        mine = keep if count == 1 else keep[of_image == i][:rows]
        padded.count[i] = n = len(mine)
        padded.boxes[i, :n], padded.scores[i, :n], padded.labels[i, :n] = boxes[mine], scores[mine], labels[mine]
    return Detections(*(wrap(x) for x in padded))


def _raise_infinite(op: str, image: int) -> NoReturn:
    raise ValueError(f"{op}: output must not hold infinite boxes, got one in image {image}")
