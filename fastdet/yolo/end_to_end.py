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
    _check_order(op, job, rows, found, image, row)
    labels = found[:, 5]
    named = (labels >= 0) & (labels < job.classes)
    if not named.all():
        at = int(np.argmin(named))
        of = f"[0, {job.classes})" if job.layout.classes else "0, 1, 2, ..."
        raise ValueError(
            f"{op}: output must have classes that are whole numbers of {of} behind the score, got {labels[at]:.9g} in "
            f"row {int(row[at])} of image {int(image[at])}"
        )
    boxes, extras, images = (np.ascontiguousarray(x) for x in (found[:, :4], found[:, ROW:], image))
    return boxes, found[:, 4].copy(), labels.astype(np.int64), images, extras


def _check_order(op: str, job: Job, rows: Array, found: Array, image: Array, row: Array) -> None:
    """ValueError for rows whose numbers stand in another order: a class that is a fraction, x2 < x1 or y2 < y1."""
    order = "output must have rows x1 y1 x2 y2 score class"
    fraction = rows[..., 5] != np.floor(rows[..., 5])
    if fraction.any():
        i, j = np.argwhere(fraction)[0].tolist()
        raise ValueError(
            f"{op}: {order}, with classes that are whole numbers, got class {rows[i, j, 5]:.9g} in row {j} of image {i}"
        )
    turned = (found[:, 2] < found[:, 0]) | (found[:, 3] < found[:, 1])
    if turned.any():
        at = int(np.argmax(turned))
        got = f"{found[at, :4].tolist()} in row {int(row[at])} of image {int(image[at])}"
        raise ValueError(f"{op}: {order}, with x1 <= x2 and y1 <= y2, got {got}: is it cx cy w h?")


def by_score(scores: Array) -> Array:
    """The order of rows by falling score; equal scores in their own order."""
    return np.argsort(-scores, kind="stable")
