"""RoIAlign: numbers worked out by others, torchvision as a peer, gradients, odd boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.roi import roi_align, roi_align_backward

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
RAMP = np.arange(25.0).reshape(1, 1, 5, 5)


@each_backend
def test_a_ramp(backend: str) -> None:
    for aligned, first in ((False, 7.5), (True, 4.5)):
        got = roi_align(RAMP, np.array([[0, 1, 1, 3, 3]]), 4, aligned=aligned, backend=backend)
        np.testing.assert_array_equal(got[0, 0], first + np.arange(4)[:, None] * 2.5 + np.arange(4) * 0.5)


@each_backend
def test_a_small_map_and_its_gradient(backend: str) -> None:
    x, boxes = np.array([[[[1.0, 2], [3, 4]]]]), [[0, 0, 0, 1, 1]]
    got = roi_align(x, boxes, 2, 1.0, 2, True, backend=backend)
    np.testing.assert_array_equal(got[0, 0], [[1, 1.25], [1.5, 1.75]])
    got = roi_align_backward(np.ones((1, 1, 2, 2)), boxes, x.shape, 1.0, 2, True, backend=backend)
    np.testing.assert_array_equal(got[0, 0], [[3.0625, 0.4375], [0.4375, 0.0625]])


def cases(count: int, rng: np.random.Generator) -> Any:
    """Maps, boxes and options that torchvision takes: it has no answer for inverted boxes without a sampling ratio."""
    for i in range(count):
        n, c, h, w = (int(rng.integers(1, k)) for k in (3, 4, 12, 12))
        k, aligned = int(rng.integers(0, 6)), bool(i % 2)
        ratio = int(rng.integers(-1, 4))
        corner = rng.normal(0, 1, (k, 4)) * rng.choice([1, 10, 60]) + rng.choice([0, 10])
        if ratio <= 0 or i % 3:
            corner[:, 2:] = corner[:, :2] + np.abs(corner[:, 2:])
        boxes = np.hstack([rng.integers(0, n, (k, 1)), corner])
        size = tuple(rng.integers(1, 8, 2).tolist())
        yield rng.standard_normal((n, c, h, w)), boxes, size, float(rng.choice([1, 0.5, 0.0625, 2])), ratio, aligned


def test_as_torchvision() -> None:
    """Every option, forward and backward, in float64 to 1e-12."""
    torch, ops = need("torch"), need("torchvision").ops
    rng = np.random.default_rng(0)
    for x, boxes, *options in cases(150, rng):
        leaf = torch.from_numpy(x).requires_grad_()
        want = ops.roi_align(leaf, torch.from_numpy(boxes), *options)
        got = roi_align(x, boxes, *options)
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12, atol=1e-12)
        grad = rng.standard_normal(got.shape)
        want.backward(torch.from_numpy(grad))
        got = roi_align_backward(grad, boxes, x.shape, *options[1:])
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_float32_as_torchvision() -> None:
    torch, ops = need("torch"), need("torchvision").ops
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 70, 30, 40)).astype(np.float32)
    corner, side = rng.uniform(0, 400, (40, 2)), rng.uniform(5, 200, (40, 2))
    boxes = np.hstack([rng.integers(0, 2, (40, 1)), corner, corner + side]).astype(np.float32)
    for options in ((7, 0.1, 2, True), ((5, 6), 0.1, -1, False)):
        want = ops.roi_align(torch.from_numpy(x), torch.from_numpy(boxes), *options)
        np.testing.assert_allclose(roi_align(x, boxes, *options), want, rtol=0, atol=2e-5)


def test_boxes_by_image() -> None:
    """A list of each image's boxes is the array with the images' indices; an image may have none."""
    rng = np.random.default_rng(2)
    x, corner = rng.random((3, 2, 9, 9)), rng.random((5, 2)) * 5
    boxes = np.hstack([corner, corner + 3])
    split = [boxes[:2], boxes[2:2], boxes[2:]]
    want = roi_align(x, np.hstack([[[0], [0], [2], [2], [2]], boxes]), 3)
    for given in (split, tuple(split), [part.tolist() for part in split], [b.astype(np.float64) for b in split]):
        np.testing.assert_array_equal(roi_align(x, given, 3), want)
    torch = need("torch")
    got = roi_align(torch.from_numpy(x), [torch.from_numpy(part) for part in split], 3)
    np.testing.assert_array_equal(got.numpy(), want)
    assert roi_align(x[:0], [], 3).shape == roi_align(x, [[], [], []], 3).shape == (0, 2, 3, 3)


@each_backend
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_bytes(backend: str, dtype: Any) -> None:
    """The float answer of what the bytes mean, rounded once; outside is the zero point; halves go up."""
    rng, info = np.random.default_rng(5), np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (2, 3, 9, 11)).astype(dtype)
    corner = rng.uniform(-5, 12, (8, 2))
    boxes = np.hstack([rng.integers(0, 2, (8, 1)), corner, corner + rng.random((8, 2)) * 9])
    for zero in (info.min, 0, 9, info.max):
        got = roi_align(x, boxes, 3, 0.8, 2, True, zero_point=zero, backend=backend)
        want = roi_align(x.astype(np.float64) - zero, boxes, 3, 0.8, 2, True) + zero
        assert got.dtype == dtype
        assert np.abs(got - want).max() <= 0.5 + 1e-4
    half = np.array([[[[1, 2]]]], dtype)
    assert roi_align(half, [[0, 0.5, 0.5, 1.5, 0.5]], 1, 1.0, 1, True, backend=backend).item() == 2
    assert roi_align(half, [[0, 90, 90, 91, 91]], 1, zero_point=5, backend=backend).item() == 5
    with pytest.raises(ValueError, match=f"^roi_align: zero_point must be a value of {np.dtype(dtype)}, got 300"):
        roi_align(half, [[0, 0, 0, 1, 1]], 1, zero_point=300, backend=backend)
    with pytest.raises(ValueError, match=r"^roi_align: zero_point must be 0 where input is float, got 1"):
        roi_align(half.astype(float), [[0, 0, 0, 1, 1]], 1, zero_point=1, backend=backend)


def test_bytes_in_torch() -> None:
    torch = need("torch")
    x = torch.randint(0, 256, (1, 2, 5, 6), dtype=torch.uint8)
    boxes = torch.tensor([[0, 1, 1, 4, 4.0]])

    def pooled(x: Any) -> Any:
        return roi_align(x, boxes, 2, zero_point=3)

    want = roi_align(x.numpy(), boxes.numpy(), 2, zero_point=3)
    np.testing.assert_array_equal(pooled(x), want)
    np.testing.assert_array_equal(torch.compile(pooled, fullgraph=True, backend="aot_eager")(x), want)


@each_backend
def test_the_gradient_is_the_transpose(backend: str) -> None:
    """<g, align(x)> = <backward(g), x> for any g and x."""
    rng = np.random.default_rng(3)
    x, corner = rng.standard_normal((2, 3, 10, 12)), rng.random((9, 4)) * 12
    boxes = np.hstack([rng.integers(0, 2, (9, 1)), corner])
    for options in ((0.7, 2, True), (1.3, -1, False), (0.9, 5, False)):
        y = roi_align(x, boxes, (3, 4), *options, backend=backend)
        g = rng.standard_normal(y.shape)
        back = roi_align_backward(g, boxes, x.shape, *options, backend=backend)
        np.testing.assert_allclose((g * y).sum(), (back * x).sum(), rtol=1e-12)


@each_backend
def test_giant_boxes_take_no_time(backend: str) -> None:
    """The number of samples is bounded: a mean over samples of which nearly all are outside."""
    x = np.ones((1, 1, 6, 6), np.float32)
    boxes = [[0, -1e30, -1e30, 1e30, 1e30], [0, 0, 0, 1e38, 1e38], [0, -1e5, 0, 1e5, 6], [0, 3e38, 3e38, 3e38, 3e38]]
    got = roi_align(x, np.array(boxes), 2, backend=backend)
    assert np.isfinite(got).all()
    assert got[2].max() < 1e-3
    assert not got[[0, 3]].any()


@each_backend
def test_boxes_that_are_refused(backend: str) -> None:
    x, good = np.zeros((2, 1, 4, 4)), [0, 0, 0, 1, 1]
    for bad, text in (
        ([2, 0, 0, 1, 1], r"a whole number in \[0, 2\), got 2 at row 1"),
        ([-1, 0, 0, 1, 1], "got -1 at row 1"),
        ([0.5, 0, 0, 1, 1], "got 0.5 at row 1"),
        ([np.nan, 0, 0, 1, 1], "got nan at row 1"),
        ([1, 0, np.nan, 1, 1], r"boxes must be finite, got \[0.0, nan, 1.0, 1.0\] at row 1"),
        ([1, 0, 0, np.inf, 1], "boxes must be finite"),
    ):
        with pytest.raises(ValueError, match=rf"^roi_align: boxes must .*{text.split('boxes must ')[-1]}"):
            roi_align(x, np.array([good, bad]), 2, backend=backend)
        with pytest.raises(ValueError, match=r"^roi_align_backward: boxes must "):
            roi_align_backward(np.zeros((2, 1, 2, 2)), np.array([good, bad]), x.shape, backend=backend)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, b: roi_align(x[0], b, 2), ValueError, r"input must have shape \(N, C, H, W\), got \(1, 4, 4\)"),
        (lambda x, b: roi_align(x[..., :0], b, 2), ValueError, "input must have H and W of 1 or more"),
        (lambda x, b: roi_align(x.astype(int), b, 2), TypeError, "input must be float16, bfloat16, "),
        (lambda x, b: roi_align(x, b[:, 1:], 2), ValueError, r"boxes must have shape \(K, 5\)"),
        (lambda x, b: roi_align(x, b > 0, 2), TypeError, "boxes must be float16"),
        (lambda x, b: roi_align(x, [b[:, 1:]], 2), ValueError, "boxes must have one entry per image, 2, got 1"),
        (lambda x, b: roi_align(x, [b, b], 2), ValueError, r"boxes\[0\] must have shape \(K, 4\), got \(1, 5\)"),
        (lambda x, b: roi_align(x, b, 0), ValueError, r"output_size must be in \[1, 2\*\*31\), got 0"),
        (lambda x, b: roi_align(x, b, 2, 0), ValueError, "spatial_scale must be above 0, got 0.0"),
        (lambda x, b: roi_align(x, b, 2, 1, 4097), ValueError, "sampling_ratio must be at most 4096, got 4097"),
        (lambda x, b: roi_align(x, b, 2, 1, 0.5), TypeError, "sampling_ratio must be an integer, got 0.5"),
        (lambda x, b: roi_align_backward(x, b, x.shape), ValueError, r"grad must have shape \(1, 1, height, width\)"),
        (lambda x, b: roi_align_backward(x[:1], b, (2, 2)), ValueError, r"input_size must be \(N, C, H, W\)"),
        (lambda x, b: roi_align_backward(x[:1], b, (2, 1, 0, 2)), ValueError, "input_size must have N and C of 0"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"^roi_align(_backward)?: {text}"):
        call(np.zeros((2, 1, 4, 4)), np.array([[0, 0, 0, 1, 1.0]]))
