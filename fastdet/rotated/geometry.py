"""The geometry of rotated boxes in NumPy: directions, and the area that two boxes share.

csrc/rotated/rotated.h says why it is done so; it has the same operations in the same order, and so has `_numba_pair`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet._core.elementary import arctan

METRICS = ("iou", "ios", "iof")
SINE = (
    -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04, 2.75573137070700676789e-06,
    -2.50507602534068634195e-08, 1.58969099521155010221e-10,
)  # fmt: skip
COSINE = (
    4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05, -2.75573143513906633035e-07,
    2.08757232129817482790e-09, -1.13596475577881948265e-11,
)  # fmt: skip
LARGE, SMALL = 2.0**200, 2.0**-200  # numbers of ordinary boxes, whose products neither overflow nor underflow
NONE, FLAT = 2.0**-100, 2.0**-500


class Rects(NamedTuple):
    """Boxes as every kernel sees them: centres, sides, and the direction (c, s) of the width, y down; float64."""

    x: Array
    y: Array
    w: Array
    h: Array
    c: Array
    s: Array

    def pick(self, at: Any) -> Rects:
        return Rects(*(column[at] for column in self))

    def scaled(self, scale: Array) -> Rects:
        """The sides times ``scale``."""
        return self._replace(w=self.w * scale, h=self.h * scale)


def cosine_sine(angle: Array, degrees: bool) -> tuple[Array, Array]:
    """cos and sin of float64 angles. Multiples of 90 degrees are exact; NaN for a NaN or an infinity."""
    with np.errstate(all="ignore"):
        if degrees:
            r = np.fmod(angle, 360.0)
            quarters = np.floor(r / 90.0 + 0.5)
            t = (r - quarters * 90.0) * 0.017453292519943295
        else:
            r = np.where(np.abs(angle) < 1048576.0, angle, np.fmod(angle, 6.283185307179586))
            quarters = np.floor(r * 0.6366197723675814 + 0.5)
            t = ((r - quarters * 1.57079632673412561417e00) - quarters * 6.07710050630396597660e-11) - (
                quarters * 2.02226624879595063154e-21
            )
        z = t * t
        sine = t + t * z * _series(SINE, z)
        cosine = 1.0 - (0.5 * z - z * z * _series(COSINE, z))
        quadrant = np.where(np.isfinite(quarters), quarters, 0).astype(np.int64) & 3
    c = np.select([quadrant == 0, quadrant == 1, quadrant == 2], [cosine, -sine, -cosine], sine)
    s = np.select([quadrant == 0, quadrant == 1, quadrant == 2], [sine, cosine, -sine], -cosine)
    return c, s


def _series(terms: tuple[float, ...], z: Array) -> Array:
    p = np.full_like(z, terms[-1])
    for term in terms[-2::-1]:
        p = p * z + term
    return p


def rects_of(boxes: Array, degrees: bool, clockwise: bool) -> Rects:
    """The boxes (N, 5), cx cy w h and the angle."""
    x, y, w, h, r = boxes.astype(np.float64).T
    c, s = cosine_sine(r, degrees)
    return Rects(x, y, w, h, c, s if clockwise else 0.0 - s)


def is_valid(r: Rects) -> Array:
    """Others overlap nothing."""
    return (
        np.isfinite(r.x)
        & np.isfinite(r.y)
        & np.isfinite(r.w)
        & np.isfinite(r.h)
        & np.isfinite(r.c)
        & ((r.w > 0) & (r.h > 0))
    )


def is_ordinary(r: Rects) -> Array:
    sides = (r.w >= SMALL) & (r.w <= LARGE) & (r.h >= SMALL) & (r.h <= LARGE)
    return sides & (np.abs(r.x) <= LARGE) & (np.abs(r.y) <= LARGE) & np.isfinite(r.c)


def comes_first(a: Rects, b: Rects) -> Array:
    """Whether a is the first of the pair: by x, y, w, h, c, s."""
    first = a.s <= b.s
    for mine, other in ((a.c, b.c), (a.h, b.h), (a.w, b.w), (a.y, b.y), (a.x, b.x)):
        first = np.where(mine != other, mine < other, first)
    return first


def measure(a: Rects, b: Rects, metric: str) -> Array:
    """The measure of each pair, float64; arrays of one shape, or that broadcast."""
    shape = np.broadcast(a.x, b.x).shape
    a, b = (Rects(*(np.broadcast_to(column, shape) for column in r)) for r in (a, b))
    result = np.zeros(shape)
    meets = is_valid(a) & is_valid(b)
    a, b = a.pick(meets), b.pick(meets)
    with np.errstate(all="ignore"):
        first = comes_first(a, b)
        m = Rects(*(np.where(first, x, y) for x, y in zip(a, b, strict=True)))
        n = Rects(*(np.where(first, y, x) for x, y in zip(a, b, strict=True)))
        dx, dy = n.x - m.x, n.y - m.y
        extreme = ~(is_ordinary(a) & is_ordinary(b))
        near = np.ones(len(first), bool)
        if extreme.any():
            longest = np.maximum(np.maximum(a.w, a.h), np.maximum(b.w, b.h))
            scale = np.where(extreme, scale_of(longest), 1.0)
            dx, dy, m, n = dx * scale, dy * scale, m.scaled(scale), n.scaled(scale)
            near = ~extreme | ((np.abs(dx) < 512) & (np.abs(dy) < 512))
            dx, dy = np.where(near, dx, 0), np.where(near, dy, 0)
        inter = shared_area(0.5 * m.w, 0.5 * m.h, m.c, m.s, 0.5 * n.w, 0.5 * n.h, n.c, n.s, dx, dy)
        area_m, area_n = m.w * m.h, n.w * n.h
        area_a, area_b = np.where(first, area_m, area_n), np.where(first, area_n, area_m)
        if metric == "iou":
            denominator = (area_a + area_b) - inter
        else:
            denominator = np.minimum(area_a, area_b) if metric == "ios" else area_a
        some = (denominator > 0) & near
        result[meets] = np.where(some, inter / np.where(some, denominator, 1), 0.0)
    return result


def scale_of(longest: Array) -> Array:
    """The power of two that brings a side, positive and finite, to about 200."""
    exponent = np.ascontiguousarray(longest).view(np.int64) >> 52
    return np.ldexp(1.0, (1030 - np.maximum(exponent, 8)).astype(np.int32))


def shared_area(
    p: Array, q: Array, ca: Array, sa: Array, e: Array, f: Array, cb: Array, sb: Array, dx: Array, dy: Array
) -> Array:
    """The area of the intersection: half sides and directions of both, and from the first centre to the second."""
    x, y = ca * dx + sa * dy, ca * dy - sa * dx
    u, v = np.abs(cb * dx + sb * dy), np.abs(cb * dy - sb * dx)
    c, s = ca * cb + sa * sb, ca * sb - sa * cb
    opposite = 0.0 - c * s > 0
    c, s = np.abs(c), np.abs(s)
    aligned, crossed = s <= NONE, c <= NONE
    c = np.where(aligned, 1.0, np.where(crossed, 0.0, c))
    s = np.where(crossed, 1.0, np.where(aligned, 0.0, s))
    a_wide, a_high = p * c + q * s, p * s + q * c
    b_wide, b_high = e * c + f * s, e * s + f * c
    ax, ay = np.abs(x), np.abs(y)
    deep = np.minimum(np.minimum((p + b_wide) - ax, (q + b_high) - ay), np.minimum((e + a_wide) - u, (f + a_high) - v))
    holds_b = np.minimum((p - b_wide) - ax, (q - b_high) - ay)
    holds_a = np.minimum((e - a_wide) - u, (f - a_high) - v)
    wide, high = np.where(opposite, f, e), np.where(opposite, e, f)
    cosine, sine = np.where(opposite, s, c), np.where(opposite, c, s)
    wc, ws, hc, hs = wide * cosine, wide * sine, high * cosine, high * sine
    rising, falling = sine / np.maximum(cosine, FLAT), cosine / np.maximum(sine, FLAT)
    back = 0.0 - p
    left, right = clamp(x - (wc + hs), back, p), clamp(x + (wc + hs), back, p)
    top, bottom = clamp(x + (wc - hs), back, p), clamp(x - (wc - hs), back, p)
    upper = under_line(left, top, x - hs, y + hc, rising, falling, q) + under_line(
        0.0 - right, 0.0 - top, 0.0 - (x + wc), y + ws, falling, rising, q
    )
    lower = under_line(bottom, right, x + hs, y - hc, rising, falling, q) + under_line(
        0.0 - bottom, 0.0 - left, 0.0 - (x - wc), y - ws, falling, rising, q
    )
    area_a, area_b = 4.0 * (p * q), 4.0 * (e * f)
    area = np.minimum(np.maximum(upper - lower, 0.0), np.minimum(area_a, area_b))
    area = np.where(holds_b >= 0, area_b, area)
    area = np.where(holds_a >= 0, area_a, area)
    result: Array = np.where(deep > 0, area, 0.0)
    return result


def under_line(x1: Array, x2: Array, xm: Array, ym: Array, slope: Array, per_slope: Array, q: Array) -> Array:
    """The integral of clamp(y(x), -q, q) over [x1, x2], y a line of slope >= 0 through (xm, ym)."""
    low = 0.0 - q
    enter, leave = clamp(xm + (low - ym) * per_slope, x1, x2), clamp(xm + (q - ym) * per_slope, x1, x2)
    y1, y2 = clamp(ym + slope * (enter - xm), low, q), clamp(ym + slope * (leave - xm), low, q)
    return q * ((x2 - leave) - (enter - x1)) + 0.5 * (y1 + y2) * (leave - enter)


def clamp(x: Array, low: Array, high: Array) -> Array:
    result: Array = np.minimum(np.maximum(x, low), high)
    return result


def turn_of(c: Any, s: Any, degrees: bool) -> Array:
    """The angle of each direction, in (-half turn, half turn]; multiples of a quarter are exact."""
    unit, quarter, half = (57.29577951308232, 90.0, 180.0) if degrees else (1.0, np.pi / 2, np.pi)
    a, b = np.abs(c), np.abs(s)
    low, high = np.where(b < a, b, a), np.where(b > a, b, a)
    with np.errstate(all="ignore"):
        turn = np.where(high > 0, arctan(low / np.where(high > 0, high, 1)) * unit, low + high)
    turn = np.where(np.isnan(b), b, turn)
    turn = np.where(b > a, quarter - turn, turn)
    turn = np.where(c < 0, half - turn, turn)
    return np.where(s < 0, 0.0 - turn, turn)
