"""The smallest rotated box around points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.rotated.geometry import scale_of, turn_of


def min_area_rect(points: Any, *, degrees: bool = True, clockwise: bool = False, backend: str | None = None) -> Any:
    """The rotated box of least area around each set of points, such as the corners of a polygon.

    Parameters
    ----------
    points : (N, P, 2) float, pixels, x y, P of 1 or more; or a list of N arrays (P_i, 2)
    degrees, clockwise : how angles are given, as in `box_convert_rotated`

    Returns
    -------
    boxes : (N, 5) float, cx cy w h r, r in [0, 90] degrees

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a set without points

    Notes
    -----
    The box of the convex hull: the order of the points, and whether their polygon crosses itself, does not matter. One
    side lies along a side of the hull; of equal areas, the first side counter-clockwise (y up) from the leftmost point.
    Points on one line give a height or width of 0, one point both. A NaN or an infinite coordinate gives NaN. Computed
    in float64 and rounded once. Time: points log points, plus the square of the number of corners of the hull.
    Source: Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary closed curve", 1975.

    Examples
    --------
    >>> min_area_rect(np.array([[[0, 0], [4, 0], [4, 2], [0, 2]]])).round(3)
    array([[2., 1., 4., 2., 0.]])
    """
    op = "min_area_rect"
    if isinstance(points, Sequence) and not isinstance(points, str) and len(points) and hasattr(points[0], "shape"):
        return like(points[0])(_of_list(op, points, bool(degrees), bool(clockwise), backend))
    points = plain(op, "points", points, None)
    if (ops := registered(__name__, points, grad=False)) is not None:
        return ops.min_area_rect(points, degrees, clockwise, backend)
    array = to_array(op, "points", points, differentiable=True)
    if len(array.shape) != 3 or array.shape[2] != 2:
        raise ValueError(f"{op}: points must have shape (N, P, 2), got {array.shape}")
    if not array.shape[1]:
        raise ValueError(f"{op}: points must have 1 point or more in each set, got shape {array.shape}")
    array = check.real(op, "points", array)
    kernel = backends.choose(op, backend, min_area_rect_reference, array)
    return like(points)(kernel(array, bool(degrees), bool(clockwise)))


def _of_list(op: str, points: Sequence[Any], degrees: bool, clockwise: bool, backend: str | None) -> Array:
    """Sets of several sizes: those of one size together."""
    sets = [to_array(op, f"points[{i}]", plain(op, "points", x, None)) for i, x in enumerate(points)]
    for i, x in enumerate(sets):
        if len(x.shape) != 2 or x.shape[1] != 2 or not x.shape[0]:
            raise ValueError(f"{op}: points[{i}] must have shape (P, 2) with 1 point or more, got {x.shape}")
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{op}: points must be one array (N, P, 2) on a GPU, got a list")
    real = [check.real(op, f"points[{i}]", x) for i, x in enumerate(sets)]
    dtype = np.dtype(np.float64) if any(x.dtype == np.float64 for x in real) else real[0].dtype
    result = np.empty((len(real), 5), dtype)
    sizes = np.array([len(x) for x in real])
    for size in np.unique(sizes):
        of_size = np.flatnonzero(sizes == size)
        array = np.stack([real[i].astype(dtype, copy=False) for i in of_size])
        kernel = backends.choose(op, backend, min_area_rect_reference, array)
        result[of_size] = kernel(array, degrees, clockwise)
    return result


def min_area_rect_reference(points: Array, degrees: bool, clockwise: bool) -> Array:
    result = np.empty((len(points), 5), points.dtype)
    for i, of_set in enumerate(points):
        with np.errstate(all="ignore"):
            result[i] = _rect(of_set.astype(np.float64) + 0.0, degrees, clockwise)
    return result


def _rect(points: Array, degrees: bool, clockwise: bool) -> Any:
    if not np.isfinite(points).all():
        return np.nan
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    origin = points[0].copy()
    points = points - origin
    longest = np.abs(points).max(keepdims=True)
    scale = scale_of(longest)[0, 0] if np.isfinite(longest[0, 0]) else 0.0
    hull = convex_hull(points * scale)
    best = (np.inf, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # area, direction, sides, centre
    for k in range(len(hull) if len(hull) > 1 else 0):
        d = hull[(k + 1) % len(hull)] - hull[k]
        length = np.sqrt(d[0] * d[0] + d[1] * d[1])
        if not length > 0:
            continue
        u, v = d[0] / length, d[1] / length
        along, across = hull[:, 0] * u + hull[:, 1] * v, hull[:, 1] * u - hull[:, 0] * v
        w, h = along.max() - along.min(), across.max() - across.min()
        if w * h < best[0]:
            middle, level = 0.5 * (along.min() + along.max()), 0.5 * (across.min() + across.max())
            best = (w * h, u, v, w, h, middle * u - level * v, middle * v + level * u)
    _, c, s, w, h, x, y = best
    t = s if clockwise else 0.0 - s
    for _ in range(3):
        if not (c > 0 and t >= 0):
            c, t, w, h = 0.0 - t, c, h, w
    back = 1.0 / np.float64(scale)
    angle = turn_of(np.float64(c), np.float64(t), degrees)
    return origin[0] + x * back, origin[1] + y * back, w * back, h * back, angle


def convex_hull(points: Array) -> Array:
    """The corners of the hull of sorted points, in order, without those on its sides."""
    hull: list[Any] = []
    for run in (points, points[::-1]):
        floor = max(len(hull), 1)
        for point in run:
            if hull and point[0] == hull[-1][0] and point[1] == hull[-1][1]:
                continue
            while len(hull) > floor and _turns_back(hull[-2], hull[-1], point):
                hull.pop()
            hull.append(point)
    return np.array(hull[:-1] if len(hull) > 1 else hull)


def _turns_back(a: Array, b: Array, c: Array) -> bool:
    return bool((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0)
