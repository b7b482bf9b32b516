"""The IoU of rotated boxes against integers of 160 bits, and the rules that hold exactly."""

from __future__ import annotations

import os

import numpy as np
import pytest
from rotated_boxes import Array, adversarial_pairs, exact_iou, hostile_boxes, some_boxes

from fastdet import boxes, rotated

BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])

# Pairs that are compared with exact arithmetic: a few by default. A million, once a release (some three minutes):
#     FASTDET_ROTATED_PAIRS=1000000 pytest tests/rotated/test_exact.py -k exact
PAIRS = int(os.environ.get("FASTDET_ROTATED_PAIRS", "3000"))
MOST = 4e-15  # error of an IoU of at most 1; the largest of a million was 1.9e-15


def test_exact_values() -> None:
    """Touching, nested, the same, thin, almost touching, far from the origin, crossed, and any."""
    rng = np.random.default_rng(16)
    for first in range(0, PAIRS, 100_000):
        a, b = adversarial_pairs(rng, min(100_000, PAIRS - first))
        got = rotated.box_iou_rotated(a, b, aligned=True)
        want = np.array([exact_iou(x, y) for x, y in zip(a, b, strict=True)])
        assert np.abs(got - want).max() <= MOST
        assert (got[want == 1] == 1).all()
        back = rotated.box_iou_rotated(b, a, aligned=True)
        assert got.tobytes() == back.tobytes()


@BACKENDS
def test_float32_is_rounded_once(backend: str) -> None:
    a, b = (x.astype(np.float32) for x in adversarial_pairs(np.random.default_rng(0), 400))
    got = rotated.box_iou_rotated(a, b, aligned=True, backend=backend)
    want = rotated.box_iou_rotated(a.astype(float), b.astype(float), aligned=True, backend=backend)
    assert got.dtype == np.float32
    assert got.tobytes() == want.astype(np.float32).tobytes()


@BACKENDS
def test_symmetric_and_never_nan(backend: str) -> None:
    rng = np.random.default_rng(1)
    with np.errstate(over="ignore"):
        for dtype in (np.float32, np.float64):
            a, b = hostile_boxes(rng, 60).astype(dtype), hostile_boxes(rng, 80).astype(dtype)
            for metric in ("iou", "ios"):
                got = rotated.box_iou_rotated(a, b, metric=metric, backend=backend)
                back = rotated.box_iou_rotated(b, a, metric=metric, backend=backend)
                assert got.tobytes() == back.T.tobytes()
                assert got.min() >= 0
                assert got.max() <= 1  # a NaN fails both


def upright(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Integer boxes at multiples of 90 degrees, and the same as corners."""
    b = np.concatenate([rng.integers(0, 30, (n, 2)), rng.integers(0, 8, (n, 2)) * 2], axis=1).astype(float)
    r = rng.choice((0, 90, 180, -90, 270, 360e6, -450), n)
    sides = np.where((r % 180 == 0)[:, None], b[:, 2:], b[:, 3:1:-1])
    corners = np.concatenate([b[:, :2] - sides / 2, b[:, :2] + sides / 2], axis=1)
    return np.concatenate([b, r[:, None]], axis=1), corners


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@BACKENDS
def test_multiples_of_a_quarter_turn_equal_box_iou(backend: str, dtype: type) -> None:
    rng = np.random.default_rng(2)
    (a, a_corners), (b, b_corners) = upright(rng, 80), upright(rng, 90)
    a_corners, b_corners = a_corners.astype(dtype), b_corners.astype(dtype)
    got = rotated.box_iou_rotated(a.astype(dtype), b.astype(dtype), backend=backend)
    assert got.tobytes() == boxes.box_iou(a_corners, b_corners).tobytes()
    smaller = rotated.box_iou_rotated(a.astype(dtype), b.astype(dtype), metric="ios", backend=backend)
    assert smaller.tobytes() == boxes.box_iou(a_corners, b_corners, metric="ios").tobytes()


@BACKENDS
def test_the_same_box_is_one(backend: str) -> None:
    a = some_boxes(np.random.default_rng(3), 500)
    b = a.copy()
    b[::2, 4] += 360  # rounded: not quite the same for a third of them
    got = rotated.box_iou_rotated(a, b, aligned=True, backend=backend)
    assert (got[1::2] == 1).all()
    assert np.abs(got - 1).max() < 1e-14
    whole = np.round(a)
    turned = whole.copy()
    turned[:, 4] += np.random.default_rng(0).choice((180, -180, 360, 720), len(a))
    assert (rotated.box_iou_rotated(whole, turned, aligned=True, backend=backend) == 1).all()


@BACKENDS
def test_touching_is_zero(backend: str) -> None:
    a = np.array([[0, 0, 2, 2, 0]], float)
    b = np.array([[2, 0, 2, 2, 0], [0, -2, 2, 2, 90], [2, 2, 2, 2, 180], [3, 0, 4, 4, 0], [0, 2, 6, 2, -180]], float)
    assert not rotated.box_iou_rotated(a, b, backend=backend).any()
    assert (rotated.box_iou_rotated(a, b - [1e-6, 0, 0, 0, 0], backend=backend)[0, [0, 3]] > 0).all()


@BACKENDS
def test_extreme_sizes(backend: str) -> None:
    """Powers of two change nothing, however large."""
    a, b = some_boxes(np.random.default_rng(4), 60, 20), some_boxes(np.random.default_rng(5), 60, 20)
    want = rotated.box_iou_rotated(a, b, backend=backend)
    for power in (-1000, -300, -150, 150, 199, 230, 1010):
        scale = [2.0**power] * 4 + [1]
        assert rotated.box_iou_rotated(a * scale, b * scale, backend=backend).tobytes() == want.tobytes()
    far = np.array([[1e308, -1e308, 1e308, 1e308, 3], [-1e308, 1e308, 1e308, 1e308, 3]])
    np.testing.assert_array_equal(rotated.box_iou_rotated(far, far, backend=backend), np.eye(2))


@BACKENDS
def test_large_angles(backend: str) -> None:
    """Degrees are reduced exactly; radians below 2**20 to 1e-15."""
    turns = np.array([0, 360, -720, 360 * 2.0**40, 90 * 2.0**60, 1e30, -1e300])
    want = np.array([0, 0, 0, 0, (90 * 2**60) % 360, int(1e30) % 360, -int(1e300) % 360], float)
    a, b = (np.array([[0, 0, 4, 1, r] for r in column]) for column in (turns, want))
    assert (rotated.box_iou_rotated(a, b, aligned=True, backend=backend) == 1).all()
    r = np.linspace(-3, 3, 50)
    a, b = (np.array([[0, 0, 4, 1, x] for x in column]) for column in (r, r + 2 * np.pi * 1000))
    got = rotated.box_iou_rotated(a, b, degrees=False, aligned=True, backend=backend)
    assert got.min() > 1 - 1e-10  # the sum is rounded to 1e-12
    huge = np.array([[0, 0, 4, 1, 1e30], [0, 0, 4, 1, -3e7]])
    assert (rotated.box_iou_rotated(huge, huge, degrees=False, aligned=True, backend=backend) == 1).all()


@BACKENDS
def test_no_boxes(backend: str) -> None:
    """A NaN, an infinite number, or a side of 0 or less: an overlap of 0."""
    good = np.array([0, 0, 4, 2, 10.0])
    bad = np.array([good] * 9)
    for k, (at, value) in enumerate(
        [(0, np.nan), (1, np.inf), (2, np.inf), (3, np.nan), (4, np.inf), (4, np.nan), (2, 0), (3, -1), (2, -np.inf)]
    ):
        bad[k, at] = value
    for metric in ("iou", "ios", "iof"):
        assert not rotated.box_iou_rotated(bad, good[None], metric=metric, backend=backend).any()
        assert not rotated.box_iou_rotated(bad, bad, metric=metric, backend=backend).any()
