"""Rotated boxes for tests: usual ones, hostile ones, and the exact overlap of two."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ANGLES = (0, 90, 45, 30, -90, 180, 360, 15, 1e-9, 720.5, 1e30, -1e300)


def some_boxes(rng: np.random.Generator, n: int, side: float = 100.0) -> Array:
    """(N, 5) cx cy w h degrees in a square of that side."""
    place, size = rng.random((n, 2)) * side, rng.random((n, 2)) * 30 + 2
    return np.concatenate([place, size, rng.random((n, 1)) * 720 - 360], axis=1)


def hostile_boxes(rng: np.random.Generator, n: int) -> Array:
    """Boxes that touch, repeat, nest, lie far away, are tiny or huge, have no area, or are no boxes."""
    boxes = rng.integers(0, 12, (n, 5)).astype(float)
    boxes[:, 2:4] += rng.integers(0, 3, (n, 1))
    boxes[:, 4] = rng.choice(ANGLES, n)
    some = rng.random(n)
    boxes[some < 0.1] += rng.standard_normal(5) * 1e-6
    boxes[(some > 0.1) & (some < 0.2), 0] += 1e9
    boxes[(some > 0.2) & (some < 0.25), :4] *= 1e300
    boxes[(some > 0.25) & (some < 0.3), :4] *= 1e-300
    boxes[(some > 0.3) & (some < 0.35), 2] = 1e-6
    for at, value in ((0.4, np.nan), (0.43, np.inf), (0.46, -np.inf), (0.49, -3.0)):
        rows = np.flatnonzero((some > at) & (some < at + 0.03))
        boxes[rows, rng.integers(0, 5, len(rows))] = value
    if n > 20:
        boxes[n // 2 : n // 2 + 5] = boxes[:5]
    return boxes


def hostile_scores(rng: np.random.Generator, n: int) -> Array:
    """Many equal ones."""
    return rng.integers(0, 20, n) / 20


BITS = 160  # of the fraction of a fixed-point number
ONE = 1 << BITS


def _pi() -> int:
    """Machin's formula."""

    def arctan_of_inverse(n: int) -> int:
        power, total, k = (ONE << 40) // n, 0, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power, k = power // (n * n), k + 2
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 40


PI = _pi()


@lru_cache(maxsize=100_000)
def exact_cosine_sine(degrees: float) -> tuple[int, int]:
    """cos and sin of an angle in fixed point, to some 2^-150: the series, of an angle that is reduced exactly."""
    angle = Fraction(degrees) % 360
    quarter, rest = divmod(angle, 90)
    x = int(rest / 180 * PI)
    square, cosine, sine, k = x * x >> BITS, ONE, x, 1
    c_term, s_term = ONE, x
    while c_term or s_term:
        c_term = -(c_term * square >> BITS) // ((2 * k - 1) * 2 * k)
        s_term = -(s_term * square >> BITS) // (2 * k * (2 * k + 1))
        if abs(c_term) <= 1 and abs(s_term) <= 1:
            break
        cosine, sine, k = cosine + c_term, sine + s_term, k + 1
    return ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))[int(quarter)]


def fixed(x: float) -> int:
    """A float64 from 2^-100 on, exactly."""
    up, down = float(x).as_integer_ratio()
    return (up << BITS) // down


def exact_iou(a: Any, b: Any) -> float:
    """IoU of two boxes of sides above 0: one clipped by the other in integers, all errors below 2^-130."""
    a, b = a.tolist(), b.tolist()
    origin = fixed(a[0]), fixed(a[1])
    polygon, clip = _corners(a, origin), _corners(b, origin)
    for k in range(4):
        x1, y1 = clip[k - 1]
        dx, dy = clip[k][0] - x1, clip[k][1] - y1
        side = [dx * (y - y1) - dy * (x - x1) for x, y in polygon]
        cut = []
        for i, here in enumerate(side):
            there = side[i - 1]
            if (here > 0 > there) or (there > 0 > here):
                (x, y), (u, v), total = polygon[i - 1], polygon[i], there - here
                cut.append((x + (u - x) * there // total, y + (v - y) * there // total))
            if here >= 0:
                cut.append(polygon[i])
        polygon = cut
        if not polygon:
            return 0.0
    twice = sum(polygon[i - 1][0] * y - polygon[i - 1][1] * x for i, (x, y) in enumerate(polygon))
    areas = fixed(a[2]) * fixed(a[3]) + fixed(b[2]) * fixed(b[3])
    return twice / (2 * areas - twice)


def _corners(box: list[float], origin: tuple[int, int]) -> list[tuple[int, int]]:
    """In order, so that the inside is to the left of each side."""
    x, y, (c, s) = fixed(box[0]) - origin[0], fixed(box[1]) - origin[1], exact_cosine_sine(-box[4])
    p, q = fixed(box[2]) // 2, fixed(box[3]) // 2
    pc, ps, qc, qs = p * c >> BITS, p * s >> BITS, q * c >> BITS, q * s >> BITS
    return [
        (x - pc + qs, y - ps - qc),
        (x + pc + qs, y + ps - qc),
        (x + pc - qs, y + ps + qc),
        (x - pc - qs, y - ps + qc),
    ]


def adversarial_pairs(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Pairs of every kind: any, touching, nested, the same, thin, almost touching, far from the origin, crossed."""
    a = some_boxes(rng, n, 30)
    b = some_boxes(rng, n, 30)
    grid = rng.random(n) < 0.4
    for x in (a, b):
        x[grid] = np.round(x[grid])
        x[grid, 4] = rng.choice((0, 15, 30, 45, 90, 180, -60, 270), int(grid.sum()))
    kind = rng.integers(0, 9, n)
    b[kind == 1] = a[kind == 1]
    along = kind == 2  # side by side: they touch
    b[along, 4], b[along, 3] = a[along, 4], a[along, 3]
    r, apart = np.deg2rad(a[:, 4]), (a[:, 2] + b[:, 2]) / 2
    b[along, :2] = (a[:, :2] + apart[:, None] * np.stack([np.cos(r), -np.sin(r)], 1))[along]
    near = kind == 3
    b[near] = a[near] + rng.choice((0, 1e-6, -1e-6, 1e-12), (int(near.sum()), 5))
    nested = kind == 4
    b[nested, 2:4] = a[nested, 2:4] * rng.random((int(nested.sum()), 2)) * 0.5
    b[nested, :2], b[nested, 4] = a[nested, :2], a[nested, 4] + rng.choice((0, 1e-9, 90, 7), int(nested.sum()))
    thin = kind == 5
    a[thin, 2] *= 10.0 ** -rng.integers(0, 7, int(thin.sum()))
    b[thin, 3] *= 10.0 ** -rng.integers(0, 7, int(thin.sum()))
    far = kind == 6
    shift = rng.choice((1e5, -1e9, 1e12), (int(far.sum()), 2))
    a[far, :2], b[far, :2] = a[far, :2] + shift, b[far, :2] + shift
    b[kind == 7, :2] = a[kind == 7, :2]
    turned = kind == 8
    b[turned] = a[turned]
    b[turned, 4] += rng.choice((180, 90, 360, 1e-7, 45), int(turned.sum()))
    return a, b
