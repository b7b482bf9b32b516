"""Formats of rotated boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.rotated.geometry import cosine_sine, turn_of

FORMATS = ("cxcywhr", "xywhr", "xyxyxyxy")
PER_DEGREE, PER_RADIAN = 0.017453292519943295, 57.29577951308232


def numbers_of(format: str) -> int:
    """Of a box of that format."""
    return 8 if format == "xyxyxyxy" else 5


def box_convert_rotated(
    boxes: Any,
    in_fmt: str,
    out_fmt: str,
    *,
    degrees: bool = True,
    clockwise: bool = False,
    out_degrees: bool | None = None,
    out_clockwise: bool | None = None,
    backend: str | None = None,
) -> Any:
    """Convert rotated boxes from one format, and one way to give angles, to another.

    Parameters
    ----------
    boxes : (N, 5) or (N, 8) float, pixels and angles
    in_fmt, out_fmt : "cxcywhr" (centre, width, height, angle), "xywhr" (the corner that is top left at angle 0, width,
        height, angle) or "xyxyxyxy" (the corners: that one, then along the width, then down the height). Their
        definitions are torchvision's
    degrees : angles of ``boxes`` are in degrees, else in radians
    clockwise : angles of ``boxes`` grow clockwise on the screen (y down), else counter-clockwise
    out_degrees, out_clockwise : the same of the result; None: as those of ``boxes``

    Returns
    -------
    boxes : (N, 5) or (N, 8) float, a new array also where nothing changes

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, an unknown format

    Notes
    -----
    From corners: the width is the first side, the height the second, the angle that of the first, in (-180, 180]
    degrees; the fourth corner is not read. `min_area_rect` gives a box for four corners of any place. Computed in
    float64 and rounded once. A NaN or an infinite number gives NaN. mmcv's boxes are "cxcywhr" with degrees=False and
    clockwise=True.

    Examples
    --------
    >>> box_convert_rotated(np.array([[5, 5, 4, 2, 90]]), "cxcywhr", "xyxyxyxy")
    array([[4., 7., 4., 3., 6., 3., 6., 7.]])
    """
    boxes = plain("box_convert_rotated", "boxes", boxes, in_fmt if in_fmt in FORMATS else None)
    if (ops := registered(__name__, boxes, grad=False)) is not None:
        return ops.box_convert_rotated(boxes, in_fmt, out_fmt, degrees, clockwise, out_degrees, out_clockwise, backend)
    op = "box_convert_rotated"
    source, target = check.choice(op, "in_fmt", in_fmt, FORMATS), check.choice(op, "out_fmt", out_fmt, FORMATS)
    given, wanted = angle_options(degrees, clockwise, out_degrees, out_clockwise)
    array = to_array(op, "boxes", boxes, differentiable=True)
    numbers = numbers_of(source)
    if array.shape == (0,):
        array = array.reshape(0, numbers)
    if len(array.shape) != 2 or array.shape[1] != numbers:
        raise ValueError(f"{op}: boxes must have shape (N, {numbers}) in format {source!r}, got {array.shape}")
    if len(array) > check.MAX_COUNT:
        raise ValueError(f"{op}: boxes must have at most {check.MAX_COUNT} rows, got {len(array)}")
    array = check.real(op, "boxes", array)
    kernel = backends.choose(op, backend, box_convert_rotated_reference, array)
    return like(boxes)(kernel(array, source, target, *given, *wanted))


def angle_options(
    degrees: bool, clockwise: bool, out_degrees: bool | None, out_clockwise: bool | None
) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    """The two ways to give angles, of the boxes and of the result."""
    given = bool(degrees), bool(clockwise)
    wanted = (
        given[0] if out_degrees is None else bool(out_degrees),
        given[1] if out_clockwise is None else bool(out_clockwise),
    )
    return given, wanted


def box_convert_rotated_reference(
    boxes: Array, in_fmt: str, out_fmt: str, degrees: bool, clockwise: bool, out_degrees: bool, out_clockwise: bool
) -> Array:
    if in_fmt == out_fmt and (in_fmt == "xyxyxyxy" or (degrees, clockwise) == (out_degrees, out_clockwise)):
        return boxes.copy()
    columns = boxes.astype(np.float64).T
    x, y = columns[0], columns[1]
    with np.errstate(all="ignore"):
        if in_fmt == "xyxyxyxy":
            dx, dy = columns[2] - x, columns[3] - y
            ex, ey = columns[4] - columns[2], columns[5] - columns[3]
            w, h = np.sqrt(dx * dx + dy * dy), np.sqrt(ex * ex + ey * ey)
            some = w > 0
            by = np.where(some, w, 1)
            c, s = np.where(some, dx / by, 1.0 + (w - w)), np.where(some, dy / by, w - w)
            angle = turn_of(dx, dy if out_clockwise else 0.0 - dy, out_degrees)
        else:
            w, h, angle = columns[2], columns[3], columns[4]
            c, s = cosine_sine(angle, degrees)
            s = s if clockwise else 0.0 - s
            if degrees and not out_degrees:
                angle = angle * PER_DEGREE
            if out_degrees and not degrees:
                angle = angle * PER_RADIAN
            if clockwise != out_clockwise:
                angle = 0.0 - angle
        p, q = 0.5 * w, 0.5 * h
        if in_fmt == "cxcywhr" != out_fmt:
            x, y = (x - p * c) + q * s, (y - p * s) - q * c
        if in_fmt != "cxcywhr" == out_fmt:
            x, y = (x + p * c) - q * s, (y + p * s) + q * c
        if out_fmt != "xyxyxyxy":
            result = np.stack([x, y, w, h, angle], axis=1)
        else:
            x2, y2 = x + w * c, y + w * s
            result = np.stack([x, y, x2, y2, x2 - h * s, y2 + h * c, x - h * s, y + h * c], axis=1)
        return result.astype(boxes.dtype)
