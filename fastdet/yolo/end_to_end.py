"""Rows of a head that is trained without NMS: x1 y1 x2 y2 score class. They are few, so they are read on the host."""

from __future__ import annotations

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.yolo._check import ROW, Job, first_wrong, raise_wrong

Rows = tuple[Array, Array, Array, Array, Array]


def rows_of(op: str, job: Job) -> Rows:
    """Boxes, scores, labels, images and extras of the rows above the threshold, in order of image and row."""
    data = job.data if isinstance(job.data, np.ndarray) else job.data.host()
    wrong = first_wrong(data, job.planes, slice(4, 5), ROW)
    if wrong is not None:
        raise_wrong(op, job, wrong)
    rows = data.transpose(0, 2, 1) if job.planes else data
    image, row = np.nonzero(rows[..., 4] > check.cast(data.dtype, job.score_threshold))
    found = rows[image, row]
    labels = found[:, 5]
    named = (labels == np.floor(labels)) & (labels >= 0) & (labels < job.classes)
    if not named.all():
        at = int(np.argmin(named))
        of = f"[0, {job.classes})" if job.layout.classes else "0, 1, 2, ..."
        raise ValueError(
            f"{op}: output must have classes that are whole numbers of {of} behind the score, got {labels[at]:.9g} in "
            f"row {int(row[at])} of image {int(image[at])}"
        )
    boxes, extras, images = (np.ascontiguousarray(x) for x in (found[:, :4], found[:, ROW:], image))
    return boxes, found[:, 4].copy(), labels.astype(np.int64), images, extras


def by_score(scores: Array) -> Array:
    """The order of rows by falling score; equal scores in their own order."""
    return np.argsort(-scores, kind="stable")
