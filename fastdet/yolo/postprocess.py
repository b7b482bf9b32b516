"""The final detections of a YOLO (v5 and later): candidates, then class-wise NMS."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like
from fastdet.boxes.overlap import METRICS
from fastdet.nms.greedy import nms_reference
from fastdet.nms.multiclass import Detections
from fastdet.yolo.candidates import _candidates, _nan_found, _outputs, yolo_candidates_reference


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
    max_output : the most detections of an image, the best by score; K is this, or P C where that is less
    class_agnostic : boxes suppress those of other classes too

    Returns
    -------
    `fastdet.nms.Detections`: boxes (N, K, 4) x1 y1 x2 y2, scores (N, K), labels (N, K) int64, count (N,) int64, each
    image's by falling score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN
    """
    op = "yolo_postprocess"
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    most = check.count(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    given = _outputs(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap, count = like(output), len(given.laid)
    most = min(most, given.laid.shape[2 if given.planes else 1] * given.classes)
    if not isinstance(given.laid, np.ndarray):
        whole: Any = backends.choose(op, backend, yolo_candidates_reference, given.laid)
        final = whole(*given[:5], bool(class_agnostic), threshold, metric, most)
        if isinstance(final[0], int):
            nan, image = final
            if nan >= 0:
                _nan_found(op, given, nan)
            _infinite_found(op, image)
        return Detections(*(wrap(x) for x in final))
    boxes, scores, labels, images = _candidates(op, given, backend)
    groups = images if class_agnostic else images * given.classes + labels
    limit = most if count == 1 else -1
    kernel = backends.choose("nms", backend, nms_reference)
    keep = kernel(boxes, scores, groups, threshold, None, limit, metric)
    if isinstance(keep, int):  # an infinite centre less an infinite side
        _infinite_found(op, images[keep >> 1])
    padded = Detections(
        np.zeros((count, most, 4), boxes.dtype),
        np.zeros((count, most), scores.dtype),
        np.full((count, most), -1, np.int64),
        np.zeros(count, np.int64),
    )
    of_image = images[keep]
    for i in range(count):
        mine = keep if count == 1 else keep[of_image == i][:most]
        padded.count[i] = n = len(mine)
        padded.boxes[i, :n], padded.scores[i, :n], padded.labels[i, :n] = boxes[mine], scores[mine], labels[mine]
    return Detections(*(wrap(x) for x in padded))


def _infinite_found(op: str, image: int) -> NoReturn:
    raise ValueError(f"{op}: output must not hold infinite boxes, got one in image {image}")
