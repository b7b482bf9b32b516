"""The measure of a pair of rotated boxes, compiled by Numba: the operations of `geometry`, in the same order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.numba_jit import jit, plain
from fastdet.rotated.geometry import COSINE, FLAT, LARGE, METRICS, NONE, SINE, SMALL

C0, C1, C2, C3, C4, C5 = COSINE
S0, S1, S2, S3, S4, S5 = SINE
X, Y, W, H, C, S, REACH_X, REACH_Y = range(8)
NO_REACH = -1.0


def box_iou_rotated(
    a: Array, b: Array, degrees: bool, clockwise: bool, metric: str, aligned: bool, out: Array | None
) -> Array:
    if out is None:
        out = np.empty((len(a),) if aligned else (len(a), len(b)), a.dtype)
    rows, columns = rects(plain(a), degrees, clockwise), rects(plain(b), degrees, clockwise)
    if aligned:
        _aligned(rows, columns, METRICS.index(metric), out)
    else:
        _pairwise(rows, columns, METRICS.index(metric), out)
    return out


@jit
def _aligned(a: Array, b: Array, metric: int, out: Array) -> None:
    for i in range(len(a)):
        out[i] = measure(a, i, b, i, metric)


@jit
def _pairwise(a: Array, b: Array, metric: int, out: Array) -> None:
    for i in range(len(a)):
        for j in range(len(b)):
            out[i, j] = measure(a, i, b, j, metric) if meet(a, i, b, j) else 0.0


@jit
def cosine_sine(angle: float, degrees: bool) -> Any:
    if not math.isfinite(angle):
        return math.nan, math.nan
    if degrees:
        r = np.fmod(angle, 360.0)
        quarters = np.floor(r / 90.0 + 0.5)
        t = (r - quarters * 90.0) * 0.017453292519943295
    else:
        r = angle if abs(angle) < 1048576.0 else np.fmod(angle, 6.283185307179586)
        quarters = np.floor(r * 0.6366197723675814 + 0.5)
        t = ((r - quarters * 1.57079632673412561417e00) - quarters * 6.07710050630396597660e-11) - (
            quarters * 2.02226624879595063154e-21
        )
    z = t * t
    sine = t + t * z * (((((S5 * z + S4) * z + S3) * z + S2) * z + S1) * z + S0)
    cosine = 1.0 - (0.5 * z - z * z * (((((C5 * z + C4) * z + C3) * z + C2) * z + C1) * z + C0))
    quadrant = np.int64(quarters) & 3
    if quadrant == 0:
        return cosine, sine
    if quadrant == 1:
        return -sine, cosine
    if quadrant == 2:
        return -cosine, -sine
    return sine, -cosine


@jit
def rects(boxes: Array, degrees: bool, clockwise: bool) -> Array:
    """(N, 8) float64: centre, sides, direction, and half the upright box around it, padded; -1 where extreme."""
    out = np.empty((len(boxes), 8))
    for i in range(len(boxes)):
        for k in range(4):
            out[i, k] = boxes[i, k]
        c, s = cosine_sine(np.float64(boxes[i, 4]), degrees)
        out[i, C], out[i, S] = c, s if clockwise else 0.0 - s
        out[i, REACH_X] = out[i, REACH_Y] = NO_REACH
        if is_ordinary(out, i):
            p, q, c, s = 0.5 * out[i, W], 0.5 * out[i, H], abs(c), abs(s)
            pad = 2.0**-40 * (p + q)
            out[i, REACH_X], out[i, REACH_Y] = (p * c + q * s) + pad, (p * s + q * c) + pad
    return out


@jit
def is_valid(r: Array, i: int) -> Any:
    for k in range(5):
        if not math.isfinite(r[i, k]):
            return False
    return r[i, W] > 0 and r[i, H] > 0


@jit
def is_ordinary(r: Array, i: int) -> Any:
    sides = SMALL <= r[i, W] <= LARGE and SMALL <= r[i, H] <= LARGE
    return sides and abs(r[i, X]) <= LARGE and abs(r[i, Y]) <= LARGE and math.isfinite(r[i, C])


@jit
def meet(a: Array, i: int, b: Array, j: int) -> Any:
    """Whether the upright boxes meet; else the measure is 0. True where one is extreme."""
    if a[i, REACH_X] < 0 or b[j, REACH_X] < 0:
        return True
    wide, high = a[i, REACH_X] + b[j, REACH_X], a[i, REACH_Y] + b[j, REACH_Y]
    return wide >= abs(b[j, X] - a[i, X]) and high >= abs(b[j, Y] - a[i, Y])


@jit
def comes_first(a: Array, i: int, b: Array, j: int) -> Any:
    for k in range(5):
        if a[i, k] != b[j, k]:
            return a[i, k] < b[j, k]
    return a[i, S] <= b[j, S]


@jit
def measure(a: Array, i: int, b: Array, j: int, metric: int) -> Any:
    if not (is_valid(a, i) and is_valid(b, j)):
        return 0.0
    first = comes_first(a, i, b, j)
    m, at, n, other = (a, i, b, j) if first else (b, j, a, i)
    dx, dy, scale = n[other, X] - m[at, X], n[other, Y] - m[at, Y], 1.0
    if not (is_ordinary(a, i) and is_ordinary(b, j)):
        longest = max(max(a[i, W], a[i, H]), max(b[j, W], b[j, H]))
        exponent = math.frexp(longest)[1] + 1022
        scale = math.ldexp(1.0, 1030 - max(exponent, 8))
        dx, dy = dx * scale, dy * scale
        if not (abs(dx) < 512 and abs(dy) < 512):
            return 0.0
    mw, mh, nw, nh = m[at, W] * scale, m[at, H] * scale, n[other, W] * scale, n[other, H] * scale
    inter = shared_area(0.5 * mw, 0.5 * mh, m[at, C], m[at, S], 0.5 * nw, 0.5 * nh, n[other, C], n[other, S], dx, dy)
    area_a, area_b = (mw * mh, nw * nh) if first else (nw * nh, mw * mh)
    denominator = area_a
    if metric == 0:
        denominator = (area_a + area_b) - inter
    elif metric == 1:
        denominator = min(area_a, area_b)
    return inter / denominator if denominator > 0 else 0.0


@jit
def shared_area(
    p: float, q: float, ca: float, sa: float, e: float, f: float, cb: float, sb: float, dx: float, dy: float
) -> Any:
    x, y = ca * dx + sa * dy, ca * dy - sa * dx
    u, v = abs(cb * dx + sb * dy), abs(cb * dy - sb * dx)
    c, s = ca * cb + sa * sb, ca * sb - sa * cb
    opposite = 0.0 - c * s > 0
    c, s = abs(c), abs(s)
    aligned, crossed = s <= NONE, c <= NONE
    if aligned:
        c, s = 1.0, 0.0
    if crossed:
        c, s = 0.0, 1.0
    a_wide, a_high, b_wide, b_high = p * c + q * s, p * s + q * c, e * c + f * s, e * s + f * c
    ax, ay = abs(x), abs(y)
    if not min(min((p + b_wide) - ax, (q + b_high) - ay), min((e + a_wide) - u, (f + a_high) - v)) > 0:
        return 0.0
    area_a, area_b = 4.0 * (p * q), 4.0 * (e * f)
    if min((e - a_wide) - u, (f - a_high) - v) >= 0:
        return area_a
    if min((p - b_wide) - ax, (q - b_high) - ay) >= 0:
        return area_b
    wide, high = (f, e) if opposite else (e, f)
    cosine, sine = (s, c) if opposite else (c, s)
    wc, ws, hc, hs = wide * cosine, wide * sine, high * cosine, high * sine
    rising, falling = sine / max(cosine, FLAT), cosine / max(sine, FLAT)
    back = 0.0 - p
    left, right = clamp(x - (wc + hs), back, p), clamp(x + (wc + hs), back, p)
    top, bottom = clamp(x + (wc - hs), back, p), clamp(x - (wc - hs), back, p)
    upper = under_line(left, top, x - hs, y + hc, rising, falling, q) + under_line(
        0.0 - right, 0.0 - top, 0.0 - (x + wc), y + ws, falling, rising, q
    )
    lower = under_line(bottom, right, x + hs, y - hc, rising, falling, q) + under_line(
        0.0 - bottom, 0.0 - left, 0.0 - (x - wc), y - ws, falling, rising, q
    )
    return min(max(upper - lower, 0.0), min(area_a, area_b))


@jit
def under_line(x1: float, x2: float, xm: float, ym: float, slope: float, per_slope: float, q: float) -> Any:
    low = 0.0 - q
    enter, leave = clamp(xm + (low - ym) * per_slope, x1, x2), clamp(xm + (q - ym) * per_slope, x1, x2)
    y1, y2 = clamp(ym + slope * (enter - xm), low, q), clamp(ym + slope * (leave - xm), low, q)
    return q * ((x2 - leave) - (enter - x1)) + 0.5 * (y1 + y2) * (leave - enter)


@jit
def clamp(x: float, low: float, high: float) -> Any:
    return min(max(x, low), high)
