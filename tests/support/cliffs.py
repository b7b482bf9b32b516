"""Inputs that made an op's work grow with the square of the number of boxes: arguments by name, for any number n.

Every row names one mechanism: what a kernel that prunes by place, size or bucket is misled by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arguments = dict[str, Any]
Cliff = Callable[[int], Arguments]


def scored(boxes: Array, iou_threshold: float = 0.5, dtype: str = "float32", **options: Any) -> Arguments:
    """The boxes with scores that fall in a random order."""
    n = len(boxes)
    scores = (np.random.default_rng(n).permutation(n) + 1) / (n + 1)
    rows = np.ascontiguousarray(boxes, dtype)
    return {"boxes": rows, "scores": scores.astype(dtype), "iou_threshold": iou_threshold, **options}


def squares(n: int, side: float = 10.0, step: float = 12.0) -> Array:
    """Squares in rows and columns, apart from each other where the step is the larger."""
    wide = max(1, int(np.sqrt(n)))
    corner = np.stack([np.arange(n) % wide * step, np.arange(n) // wide * step], axis=1)
    return np.hstack([corner, corner + side])


def strips(n: int, thin: float = 0.01) -> Array:
    """Long strips on top of each other: far longer than the distance to the next."""
    low = np.arange(n) * thin
    return np.stack([np.zeros(n), low, np.full(n, 1000.0), low + thin], axis=1)


def with_first(boxes: Array, *rows: Any) -> Array:
    """Some rows of the boxes replaced."""
    boxes = boxes.copy()
    boxes[: len(rows)] = rows
    return boxes


def many_extreme(n: int, scale: float) -> Array:
    """1,025 boxes of another scale beside boxes that are apart."""
    few = min(1025, n // 2)
    return np.concatenate([squares(few) * scale, squares(n - few)])


def identical(n: int) -> Arguments:
    return scored(np.tile([10.0, 20.0, 42.0, 53.0], (n, 1)), 1.0)


def nearly_identical(n: int) -> Arguments:
    """One cell holds them all, and at this threshold most are kept."""
    rng = np.random.default_rng(n)
    return scored(np.array([0.0, 0.0, 100, 100]) + rng.uniform(-4, 4, (n, 4)), 0.995)


def stacked_strips(n: int) -> Arguments:
    return scored(strips(n))


def standing_strips(n: int) -> Arguments:
    return scored(strips(n)[:, [1, 0, 3, 2]], 0.1)


def crossing_strips(n: int) -> Arguments:
    """Each of one half crosses all of the other half."""
    half = strips(n // 2, 0.02)
    return scored(np.concatenate([half, half[:, [1, 0, 3, 2]]]), 0.05)


def in_cells(column: Array, row: Array, cell: float) -> Arguments:
    """Squares of side 10 in the middle of cells of that side, of which they are the only ones."""
    x, y = (column + 0.5) * cell, (row + 0.5) * cell
    return scored(np.stack([x - 5, y - 5, x + 5, y + 5], axis=1), dtype="float64")


# The side of a cell of boxes of 8 to 32 at 0.5, less the rounding of an IoU: `cell_side` of csrc/nms/place.h.
CELL = 32 * 0.75 * (1 - 0.5 * (1 - 1e-5))
NUMBA_CELL = 8.0  # of boxes of 8 to 16: `grid_kept` of fastdet/nms/_numba_greedy.py


def one_bucket_by_rows(n: int) -> Arguments:
    """Rows of cells that begin at one place of a ring of up to 2^18 buckets, whose hash is (row * odd) >> 24.

    A step whose product is near a multiple of 2^42, a convergent of odd / 2^42, moves no row to the next bucket.
    """
    odd, ring = 0x9E3779B97F4A7C15 % 2**42, 2**42
    step, before, (a, b) = 1, 0, (ring, odd)
    error = odd
    while abs(error) * n >= 2**24:
        step, before, (a, b) = a // b * step + before, step, (b, a % b)
        error = (step * odd + ring // 2) % ring - ring // 2
    row = np.arange(n, dtype=np.float64) * (step if error > 0 else -step)
    return in_cells(np.zeros(n), row, CELL)


def one_bucket_by_columns(n: int) -> Arguments:
    """Cells of one row, as many columns apart as a ring has buckets."""
    return in_cells(np.arange(n) * 2.0**18, np.zeros(n), CELL)


def one_bucket_of_numba(n: int) -> Arguments:
    return in_cells(np.arange(n) * 2.0**18, np.zeros(n), NUMBA_CELL)


def beyond(n: int) -> Arguments:
    """1,025 boxes beyond 2^60, where areas overflow float32."""
    return scored(many_extreme(n, 2.0**62))


def all_beyond(n: int) -> Arguments:
    return scored(squares(n, 10.0, 9.0) * 2.0**62)


def one_beyond(n: int) -> Arguments:
    return scored(with_first(squares(n), [0, 0, 2.0**61, 2.0**61]), metric="ios")


def strips_beyond(n: int) -> Arguments:
    return scored(strips(n) * 2.0**62)


def beyond_in_double(n: int) -> Arguments:
    return scored(many_extreme(n, 2.0**600), dtype="float64")


def tiny(n: int) -> Arguments:
    """1,025 boxes whose areas underflow."""
    return scored(many_extreme(n, 2.0**-500), dtype="float64")


def all_tiny(n: int) -> Arguments:
    return scored(squares(n, 10.0, 9.0) * 2.0**-500, dtype="float64")


def denormal(n: int) -> Arguments:
    """Areas of a few times the least number of float32, all in one place, at a threshold that keeps many."""
    rng = np.random.default_rng(n)
    return scored((np.array([0.0, 0, 400, 400]) + rng.integers(-99, 99, (n, 4))) * 2.0**-80, 0.95)


def few_tiny(n: int) -> Arguments:
    """1,000 boxes of a tiny area, which were compared with every kept box."""
    return scored(with_first(squares(n), *(squares(1000) * 2.0**-60)[: n // 4]))


def few_beyond(n: int) -> Arguments:
    return scored(with_first(squares(n), *(squares(1000) * 2.0**62)[: n // 4]))


def ios_apart(n: int) -> Arguments:
    return scored(squares(n), metric="ios")


def ios_strips(n: int) -> Arguments:
    return scored(strips(n), metric="ios")


def ios_half(n: int) -> Arguments:
    """Each overlaps its neighbours by a third, below the threshold: all are kept."""
    return scored(squares(n, 12.0, 8.0), 0.7, metric="ios")


def ios_nested(n: int) -> Arguments:
    """Small boxes in the gaps between large ones."""
    few = n // 20
    small = squares(n - few, 0.5, 1.0)
    large = squares(few, 8.0, 10.0)
    return scored(np.concatenate([large, small]), 0.8, metric="ios")


def giant(n: int) -> Arguments:
    """One box over all the others."""
    return scored(with_first(squares(n), [-1e6, -1e6, 1e6, 1e6]), 0.0001)


def giants(n: int) -> Arguments:
    """A hundred boxes of like size over many small ones, none of which meets the threshold."""
    rng = np.random.default_rng(n)
    large = np.array([-1e4, -1e4, 1e4, 1e4]) * rng.uniform(1, 9, (100, 1))
    return scored(with_first(squares(n), *large[: n // 2]), 0.0)


def magnitudes(n: int) -> Arguments:
    """Sizes over 1,000 octaves, at a threshold that allows any two of them."""
    rng = np.random.default_rng(n)
    size = 2.0 ** rng.uniform(-500, 480, (n, 1))
    low = np.hstack([size * 2, size * rng.uniform(2, 3, (n, 1))])
    return scored(np.hstack([low, low + size * 0.01]), 0.0, dtype="float64")


def nested(n: int) -> Arguments:
    """One around the other, each a little larger."""
    side = 1.001 ** (np.arange(n) % 4096)[:, None] * np.array([1.0, 1.5])
    return scored(np.hstack([-side, side]) + np.arange(n)[:, None] // 4096 * 200.0, 0.999)


def brick_wall(n: int) -> Arguments:
    """Long bricks whose ends are everywhere: places along the wall tell nothing."""
    rng = np.random.default_rng(n)
    left, low = rng.uniform(0, 1e5, n), np.arange(n) * 0.01
    return scored(np.stack([left, low, left + 1e6, low + 0.01], axis=1), 0.3)


def infinite(n: int) -> Arguments:
    """Boxes with infinite coordinates, which overlap none."""
    boxes = squares(n)
    boxes[::2, 2] = np.inf
    boxes[1::4, 1] = -np.inf
    return scored(boxes)


def ios_infinite(n: int) -> Arguments:
    """Boxes of infinite area over each other and over finite ones."""
    boxes = squares(n)
    boxes[::2, 2:] = np.inf
    return scored(boxes, metric="ios")


def zero_area(n: int) -> Arguments:
    """Lines, some at negative zero, at a threshold of negative zero."""
    boxes = squares(n)
    boxes[::2, 2] = boxes[::2, 0]
    boxes[1::2] *= -0.0
    return scored(boxes, -0.0)


def touching(n: int) -> Arguments:
    """Neighbours share an edge, and overlap by nothing."""
    return scored(squares(n, 12.0, 12.0), 0.0)


def equal_scores(n: int) -> Arguments:
    case = stacked_strips(n)
    return {**case, "scores": np.full(n, 0.5, np.float32)}


def rising_scores(n: int) -> Arguments:
    """Sorted in reverse, in float64 with equal upper halves."""
    case = scored(strips(n), dtype="float64")
    return {**case, "scores": 0.5 + np.arange(n) * 2.0**-52}


NMS_CLIFFS: dict[str, Cliff] = {
    make.__name__: make
    for make in (
        identical, nearly_identical, stacked_strips, standing_strips, crossing_strips, one_bucket_by_rows,
        one_bucket_by_columns, one_bucket_of_numba, beyond, all_beyond,
        one_beyond, strips_beyond, beyond_in_double, tiny, all_tiny, denormal, few_tiny, few_beyond, ios_apart,
        ios_strips, ios_half, ios_nested, giant, giants, magnitudes, nested, brick_wall, infinite, ios_infinite,
        zero_area, touching, equal_scores, rising_scores,
    )
}  # fmt: skip
