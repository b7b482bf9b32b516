"""Random shapes, options and boxes, most of them hostile: all backends give one answer, or one error, and come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need

from fastdet import roi

BACKENDS = ("numba", "cpp")
ODD = (0, -0.0, 0.5, -0.5, 1, -1, 2.5, 1e-30, 1e5, -1e5, 2.0**24, 1e19, -1e19, 1e30, 3e38, -3e38)


def hostile(rng: np.random.Generator, count: int, images: int, wrong: bool) -> Any:
    box = rng.normal(0, 1, (count, 4)) * rng.choice([1, 10, 100]) + rng.choice([0, 5])
    some = rng.random((count, 4)) < 0.3
    box[some] = rng.choice(ODD, int(some.sum()))
    boxes = np.hstack([rng.integers(0, max(images, 1), (count, 1)), box])
    if wrong and count:
        boxes[rng.integers(count), rng.integers(5)] = rng.choice([np.nan, np.inf, -np.inf, -1, images, 0.5, 1e18])
    return boxes


def answer(call: Callable[[str], Any], backend: str) -> Any:
    """The result, or the text of the error."""
    try:
        return call(backend)
    except ValueError as error:
        return np.array(str(error))


def pairs(rng: np.random.Generator, wrong: bool) -> dict[str, Callable[[str], Any]]:
    n, c = int(rng.integers(0, 3)), int(rng.choice([0, 1, 2, 5, 33]))
    h, w = (int(rng.choice([1, 2, 3, 7, 12])) for _ in range(2))
    count = int(rng.integers(0, 5)) if n else 0
    size = (int(rng.choice([1, 2, 3, 9])), int(rng.choice([1, 2, 5])))
    dtype = rng.choice(["float32", "float64", "float16"])
    scale, ratio, aligned = (
        float(rng.choice([1, 0.3, 1e-20, 1e20])),
        int(rng.choice([-1, 0, 1, 2, 40])),
        bool(rng.integers(2)),
    )
    boxes, own = hostile(rng, count, n, wrong), c * size[0] * size[1]
    x = rng.standard_normal((n, c, h, w)).astype(dtype)
    wide = rng.standard_normal((n, own, h, w)).astype(dtype)
    grad = rng.standard_normal((count, c, *size)).astype(dtype)
    places = rng.integers(-1, h * w + wrong, grad.shape)
    if rng.integers(2):
        x, wide, grad = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, wide, grad))
    options = scale, ratio, aligned
    return {
        "roi_align": lambda b: roi.roi_align(x, boxes, size, *options, backend=b),
        "roi_align_backward": lambda b: roi.roi_align_backward(grad, boxes, x.shape, *options, backend=b),
        "roi_pool": lambda b: roi.roi_pool(x, boxes, size, scale, return_indices=True, backend=b),
        "roi_pool_backward": lambda b: roi.roi_pool_backward(grad, places, boxes, x.shape, backend=b),
        "ps_roi_align": lambda b: roi.ps_roi_align(wide, boxes, size, scale, ratio, backend=b),
        "ps_roi_align_backward": lambda b: roi.ps_roi_align_backward(grad, boxes, wide.shape, scale, ratio, backend=b),
        "ps_roi_pool": lambda b: roi.ps_roi_pool(wide, boxes, size, scale, backend=b),
        "ps_roi_pool_backward": lambda b: roi.ps_roi_pool_backward(grad, boxes, wide.shape, scale, backend=b),
    }


def check(seed: int, backends: tuple[str, ...]) -> None:
    rng = np.random.default_rng(seed)
    for name, call in pairs(rng, wrong=seed % 4 == 0).items():
        want = answer(call, "reference")
        for backend in backends:
            same(f"{name}, seed {seed}, {backend}", answer(call, backend), want)


def same(where: str, got: Any, want: Any) -> None:
    try:
        equal(got, want)
    except AssertionError as error:
        raise AssertionError(f"{where}: {error}") from None


def test_cpp() -> None:
    for seed in range(60):
        check(seed, ("cpp",))


@pytest.mark.exhaustive
def test_all_backends() -> None:
    for seed in range(60, 360):
        check(seed, BACKENDS)


def test_boxes_without_values() -> None:
    """torch takes the op that computes no values if one tensor has none: the result would be memory of any content."""
    torch = need("torch")
    x, boxes = torch.ones(1, 4, 5, 5), torch.zeros(2, 5, device="meta")
    for op in (roi.roi_align, roi.roi_pool, roi.ps_roi_align, roi.ps_roi_pool):
        with pytest.raises(TypeError, match=f"^{op.__name__}: boxes must be on cpu as input, got a tensor on meta$"):
            op(x, boxes, 2)
    with pytest.raises(TypeError, match=r"boxes\[0\] must be on cpu as input, got a tensor on meta$"):
        roi.multiscale_roi_align([x], [boxes[:, 1:]], 2, [1.0])
    assert roi.roi_align(x.to("meta"), boxes, 2).shape == (2, 4, 2, 2)
