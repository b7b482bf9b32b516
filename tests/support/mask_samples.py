"""Small masks and polygons for the tests of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint8]


def some_masks(rng: np.random.Generator) -> Masks:
    """Noise of any density, discs, or stripes."""
    n, h, w = (int(x) for x in (rng.integers(1, 6), rng.integers(1, 140), rng.integers(1, 140)))
    h, w = (1, w) if rng.random() < 0.05 else (h, 1) if rng.random() < 0.05 else (h, w)
    kind = rng.integers(3)
    if kind == 0:
        return (rng.random((n, h, w)) < rng.random()).astype(np.uint8)
    y, x = np.mgrid[:h, :w]
    if kind == 1:
        discs = [np.hypot(y - rng.random() * h, x - rng.random() * w) < rng.random() * h for _ in range(n)]
        return np.stack(discs).astype(np.uint8)
    return np.stack([(x * rng.integers(3) + y * rng.integers(3)) // 5 % 2 for _ in range(n)]).astype(np.uint8)


def some_polygons(rng: np.random.Generator, h: int, w: int) -> list[list[list[float]]]:
    """Masks of one or two polygons each, partly outside, of whole numbers, tenths or any."""
    digits = int(rng.integers(3))
    out = []
    for _ in range(3):
        corners = [
            rng.random((int(rng.integers(3, 9)), 2)) * [w * 1.4, h * 1.4] - [w * 0.2, h * 0.2]
            for _ in range(int(rng.integers(1, 3)))
        ]
        out.append([(c if digits == 2 else c.round(digits)).ravel().tolist() for c in corners])
    return out


def odd_polygons(rng: np.random.Generator, h: int, w: int) -> list[list[list[float]]]:
    """Masks of a polygon each: of equal points, of points on one line, thin, turning back, far outside, very large."""
    few = rng.integers(-3, 4, (int(rng.integers(3, 7)), 2)).astype(float)
    place = rng.random(2) * [w, h]
    line = place + np.outer(rng.integers(-4, 5, 4), rng.integers(-3, 4, 2))
    far = rng.choice([-1, 1], (4, 2)) * 10.0 ** rng.uniform(0, 4, (4, 2))
    round_trip = np.concatenate([few, few[::-1]]) * [w / 5, h / 5]
    edge = rng.choice([0.0, 0.1, 0.5, 1.0], (5, 2)) * [w, h]
    tenths = np.round(rng.random((5, 2)) * 3, 1)
    found = [few, few + place, line, far, round_trip, edge, tenths, np.repeat(place[None], 3, 0)]
    return [[corners.ravel().tolist()] for corners in found]


def with_empty_runs(rng: np.random.Generator, runs: list[int]) -> list[int]:
    """The same mask, some runs of it in two parts with a run of no pixels between them."""
    out: list[int] = []
    for run in runs:
        if rng.random() < 0.2:
            cut = int(rng.integers(0, run + 1))
            out += [cut, 0, run - cut]
        else:
            out.append(run)
    return out


def hostile_boxes(rng: np.random.Generator, n: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes within an image, beyond its edges, of no area, turned round, of whole or half pixels, tiny and huge."""
    height, width = size
    scale = np.array([width, height, width, height], np.float64)
    boxes = (rng.random((n, 4)) * 1.4 - 0.2) * scale
    boxes[:, 2:] = boxes[:, :2] + rng.random((n, 2)) * scale[:2] * 0.7
    for i in range(n):
        kind = int(rng.integers(12))
        if kind == 0:
            boxes[i] = boxes[i].round()
        elif kind == 1:
            boxes[i] = (2 * boxes[i]).round() / 2
        elif kind == 2:
            boxes[i, 2:] = boxes[i, :2]
        elif kind == 3:
            boxes[i] = boxes[i, [2, 3, 0, 1]]
        elif kind == 4:
            boxes[i, 2:] = boxes[i, :2] + rng.choice([1e-300, 1e-12, 1e-3])
        elif kind == 5:
            boxes[i] = rng.choice([-1e308, -1e9, -3.0, 0.0, 5.0, 1e9, 1e308], 4)
        elif kind == 6:
            boxes[i] = 0, 0, width, height
        elif kind == 7:
            boxes[i] = boxes[i].astype(np.float32)
    return boxes
