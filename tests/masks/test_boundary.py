"""The boundary of masks: every backend equals the reference, and an erosion step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mask_samples import some_masks
from numpy.typing import NDArray
from optional import need

from fastdet import masks
from fastdet.masks import RLE
from fastdet.masks.boundary import boundary_widths

BACKENDS = ("numba", "cpp")
Dense = NDArray[np.uint8]


def stepwise(mask: Dense, d: int) -> Dense:
    """The pixels that d erosions by 3 x 3 take away; zeros stand around the image."""
    inner = np.pad(mask, d)
    for _ in range(d):
        padded = np.pad(inner, 1)
        h, w = inner.shape
        inner = np.min([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)
    return mask - inner[d : d + mask.shape[0], d : d + mask.shape[1]]


def filled(rng: np.random.Generator) -> Dense:
    """Masks of few holes, which an erosion does not take away whole."""
    n, h, w = (int(x) for x in (rng.integers(1, 4), rng.integers(1, 150), rng.integers(1, 150)))
    dense = (rng.random((n, h, w)) > rng.random() * 0.004).astype(np.uint8)
    top, left = int(rng.integers(0, h // 3 + 1)), int(rng.integers(0, w // 3 + 1))
    dense[:, :top], dense[:, :, :left] = 0, 0
    return dense


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_to_the_reference(backend: str) -> None:
    rng = np.random.default_rng(0)
    for k in range(150):
        dense = filled(rng) if k % 3 else some_masks(rng)
        rle, dilation = masks.encode(dense), float(rng.choice([0, 0.005, 0.02, 0.05, 0.2, 9]))
        want = masks.boundary(rle, dilation, backend="reference")
        assert masks.boundary(rle, dilation, backend=backend) == want
        d = int(boundary_widths(rle.sizes, dilation)[0])
        if d <= 12:
            expected = np.stack([stepwise(mask, d) for mask in dense])
            np.testing.assert_array_equal(masks.decode(want), expected)
            assert want == masks.encode(expected)  # as few runs as possible


def test_many_sizes_and_threads() -> None:
    """Masks of several sizes in one batch, large enough for threads; runs of no pixels among them."""
    rng = np.random.default_rng(1)
    parts = [masks.encode(filled(rng)) for _ in range(40)]
    parts += [masks.encode(np.ones((2, 900, 1400), bool)), RLE([[10, 10]], [5, 45, 0, 45, 0, 5, 0], [0, 7])]
    whole = RLE.concatenate(parts)
    want = RLE.concatenate([masks.boundary(part, backend="reference") for part in parts])
    assert masks.boundary(whole) == want


def test_known() -> None:
    assert boundary_widths(np.array([[480, 640], [30, 40], [1, 1], [75, 100], [0, 0]]), 0.02).tolist() == [
        16,
        1,
        1,
        2,
        1,
    ]
    assert boundary_widths(np.array([[3, 4]]), 0.5).tolist() == [2]  # 2.5, half to even
    assert boundary_widths(np.array([[3, 4]]), 1e308).tolist() == [4]
    ring = np.ones((7, 9), np.uint8)
    ring[1:-1, 1:-1] = 0
    np.testing.assert_array_equal(masks.decode(masks.boundary(masks.encode(np.ones((7, 9), bool))))[0], ring)
    line = masks.encode(np.eye(5, dtype=bool))
    assert masks.boundary(line) == line
    nothing = masks.encode(np.zeros((2, 4, 0), bool))
    assert masks.boundary(nothing) == nothing
    assert masks.boundary(nothing[:0]) == nothing[:0]
    side = 2**16 - 1  # nearly 2**32 pixels
    large = masks.boundary(RLE([[side, side]], [0, side * side], [0, 2]))
    d = int(boundary_widths(large.sizes, 0.02)[0])
    assert masks.area(large).tolist() == [side**2 - (side - 2 * d) ** 2]


def test_equal_to_opencv() -> None:
    cv2: Any = need("cv2")
    rng = np.random.default_rng(2)
    for _ in range(20):
        dense = filled(rng)
        h, w = dense.shape[1:]
        d = max(1, round(0.02 * np.sqrt(h**2 + w**2)))
        for mask, rle in zip(dense, masks.boundary(masks.encode(dense)), strict=True):
            framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            inner = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=d)[1:-1, 1:-1]
            np.testing.assert_array_equal(masks.decode(rle)[0], mask - inner)


def test_errors() -> None:
    rle = masks.encode(np.ones((2, 2), bool))
    with pytest.raises(TypeError, match="boundary: rle must be an RLE, got 3"):
        masks.boundary(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"boundary: dilation must be 0 or more, got -1.0"):
        masks.boundary(rle, -1)
    with pytest.raises(ValueError, match="boundary: dilation must be a finite number, got nan"):
        masks.boundary(rle, float("nan"))
