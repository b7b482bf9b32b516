"""Generated inputs for every case that an op must handle. A name and a size give the same numbers everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Make = Callable[[int, np.random.Generator], Array]


@dataclass(frozen=True)
class Sample:
    """One input for every op; an op uses the arrays that it needs."""

    name: str
    boxes: Array  # (N, 4), x1 y1 x2 y2
    boxes2: Array  # (N, 4), a second set of the same family
    scores: Array  # (N,), 0 or more
    idxs: Array  # (N,) int64, classes, negative and large ones too
    crowd: Array  # (N,) bool
    t: float = 0.5  # iou_threshold


def _around(middle: Array, side: Array) -> Array:
    return np.hstack([middle - side / 2, middle + side / 2])


def clustered(n: int, rng: np.random.Generator) -> Array:
    """Near-duplicates around objects, like a detector's output."""
    objects = max(1, n // 10)
    owner = rng.integers(0, objects, n)
    side = rng.lognormal(4, 0.8, (objects, 2))[owner]
    middle = (rng.random((objects, 2)) * (1333, 800))[owner]
    return _around(middle + rng.normal(0, 0.12, (n, 2)) * side, side * rng.lognormal(0, 0.12, (n, 2)))


def uniform(n: int, rng: np.random.Generator) -> Array:
    return _around(rng.random((n, 2)) * 1000, rng.lognormal(4, 0.9, (n, 2)))


def grid(n: int, rng: np.random.Generator) -> Array:
    """Small integers: many equal boxes, many equal overlaps, many overlaps equal to a threshold."""
    corner = rng.integers(-6, 7, (n, 2))
    return np.hstack([corner, corner + rng.integers(1, 9, (n, 2))]).astype(np.float64)


def exact(n: int, rng: np.random.Generator) -> Array:
    """Pairs whose IoU is k / 20 to the last bit, for every k: most thresholds equal the IoU of a pair."""
    at = np.arange(n) // 2
    side = np.where(np.arange(n) % 2 == 0, 20, 1 + at % 20)
    corner = np.stack([at % 50 * 32, at // 50 * 32], axis=1)
    return np.hstack([corner, corner + np.stack([side, np.full(n, 4)], axis=1)]).astype(np.float64)


def identical(n: int, rng: np.random.Generator) -> Array:
    return np.tile([10.0, 20.0, 42.0, 53.0], (n, 1))


def chain(n: int, rng: np.random.Generator) -> Array:
    """Each box overlaps the ones after it less and less: the worst case for rounds."""
    left = np.arange(n) * 3.0
    return np.stack([left, np.zeros(n), left + 10, np.full(n, 10.0)], axis=1)


def disjoint(n: int, rng: np.random.Generator) -> Array:
    wide = max(1, int(np.sqrt(n)))
    corner = np.stack([np.arange(n) % wide * 12.0, np.arange(n) // wide * 12.0], axis=1)
    return np.hstack([corner, corner + 10])


def covered(n: int, rng: np.random.Generator) -> Array:
    """One huge box over all the others."""
    boxes = uniform(n, rng)
    boxes[n // 2 : n // 2 + 1] = [-1e5, -1e5, 1e5, 1e5]
    return boxes


def nested(n: int, rng: np.random.Generator) -> Array:
    """Concentric boxes, each a little larger."""
    side = 1 + np.arange(n, dtype=np.float64)
    return _around(np.zeros((n, 2)), np.stack([side, side * 1.5], axis=1))


def slivers(n: int, rng: np.random.Generator) -> Array:
    """Very wide and very high boxes that cross."""
    side = 10.0 ** rng.uniform(-2, 4, (n, 2))
    return _around(rng.random((n, 2)) * 50, side)


def huge(n: int, rng: np.random.Generator) -> Array:
    """Near 1e30: areas overflow float32."""
    return clustered(n, rng) * 1e27


def vast(n: int, rng: np.random.Generator) -> Array:
    """Near 1e200: areas overflow float64, coordinates float32."""
    return clustered(n, rng) * 1e197


def brink(n: int, rng: np.random.Generator) -> Array:
    """Sides that overflow float32, although the corners do not."""
    return np.clip(rng.normal(0, 3e38, (n, 4)), -3.4e38, 3.4e38) * (-1, -1, 1, 1) * rng.choice([1, 1, 1, -1], (n, 1))


def tiny(n: int, rng: np.random.Generator) -> Array:
    """Denormal coordinates in float32; areas underflow to 0."""
    return clustered(n, rng) * 1e-43


def denormal_area(n: int, rng: np.random.Generator) -> Array:
    """Areas that are denormal in float32."""
    return clustered(n, rng) * 1e-22


def infinite(n: int, rng: np.random.Generator) -> Array:
    boxes = clustered(n, rng)
    boxes[rng.random((n, 4)) < 0.1] = np.inf
    boxes[rng.random((n, 4)) < 0.1] = -np.inf
    return boxes


def degenerate(n: int, rng: np.random.Generator) -> Array:
    """Points, lines and inverted boxes among proper ones."""
    boxes = grid(n, rng)
    change = rng.integers(0, 6, n)
    boxes[change == 0, 2:] = boxes[change == 0, :2]
    boxes[change == 1, 2] = boxes[change == 1, 0]
    boxes[change == 2] = boxes[change == 2][:, [2, 1, 0, 3]]
    boxes[change == 3] = boxes[change == 3][:, [2, 3, 0, 1]]
    return boxes


def scales(n: int, rng: np.random.Generator) -> Array:
    """Boxes of a thousandth of a pixel beside boxes of a million pixels."""
    size = np.where(rng.random((n, 1)) < 0.5, 1e-3, 1e6)
    return _around(rng.normal(0, 1, (n, 2)) * size, size * rng.uniform(0.5, 2, (n, 2)))


def outlier(n: int, rng: np.random.Generator) -> Array:
    """One box at 1e9, the others within an image."""
    boxes = clustered(n, rng)
    boxes[n // 3 : n // 3 + 1] += 1e9
    return boxes


def signed_zero(n: int, rng: np.random.Generator) -> Array:
    corner = rng.choice([0.0, -0.0, -1.0, 1.0], (n, 2))
    return np.hstack([corner, rng.choice([0.0, -0.0, 1.0, 2.0], (n, 2))])


def missing(n: int, rng: np.random.Generator) -> Array:
    """NaN coordinates, for the ops that pass NaN on."""
    boxes = degenerate(n, rng)
    boxes[rng.random((n, 4)) < 0.1] = np.nan
    boxes[rng.random((n, 4)) < 0.05] = np.inf
    return boxes


FAMILIES: dict[str, Make] = {
    make.__name__: make
    for make in (
        clustered, uniform, grid, exact, identical, chain, disjoint, covered, nested, slivers, huge, vast, brink,
        tiny, denormal_area, infinite, degenerate, scales, outlier, signed_zero,
    )
}  # fmt: skip
TIED = ("grid", "exact", "identical", "degenerate")  # families whose scores are equal in long runs
THRESHOLDS = (0.0, 1e-6, 0.05, 0.3, 0.5, 0.9, 0.99, 1.0)


def cast(boxes: Array, dtype: str) -> Array:
    """Boxes in a dtype; values that are too large become infinite, or the largest integer."""
    target = np.dtype(dtype)
    with np.errstate(all="ignore"):
        if target.kind == "f":
            return boxes.astype(target)
        limits = np.iinfo(target)
        # a float below 2^63: the conversion itself must not overflow
        return np.clip(np.nan_to_num(boxes), limits.min, float(limits.max) * (1 - 2**-52)).astype(target)


@lru_cache(maxsize=256)
def sample(family: str, n: int, dtype: str = "float32", t: float = 0.5, seed: int = 0) -> Sample:
    """``n`` boxes of a family. With integer dtypes of 64 bits scores are integers too, with ties."""
    make = missing if family == "missing" else FAMILIES[family]
    rng = np.random.default_rng([n, seed, *family.encode()])
    first, second = cast(make(n, rng), dtype), cast(make(n, rng), dtype)
    score = rng.integers(0, 4, n) / 4 if family in TIED else (rng.permutation(n) + 1) / (n + 1)
    if np.dtype(dtype).kind == "f":
        score = score.astype(dtype)
    elif np.dtype(dtype).itemsize == 8:
        score = (score * 16).astype(dtype)
    idxs = rng.choice(np.array([-7, 0, 1, 2**40]), n)
    made = Sample(f"{family}[{n}] {dtype} t={t}", first, second, score, idxs, rng.random(n) < 0.3, t)
    for array in (made.boxes, made.boxes2, made.scores, made.idxs, made.crowd):
        array.setflags(write=False)  # shared between tests, and no op may write to its input
    return made


def greedy(overlap: Array, scores: Array, t: float) -> Array:
    """NMS from the whole (N, N) matrix of overlaps: it checks the reference, and is fast for many thresholds."""
    above = overlap > overlap.dtype.type(t)
    alive = np.ones(len(scores), bool)
    keep = []
    for i in np.argsort(-scores.astype(np.float64), kind="stable"):
        if alive[i]:
            keep.append(i)
            alive &= ~above[i]
    return np.array(keep, np.int64)
