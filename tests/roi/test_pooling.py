"""RoI max-pooling and position-sensitive pooling: small numbers, torchvision as a peer, gradients, odd values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import roi

each_backend = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
Array = Any


@each_backend
def test_a_small_map(backend: str) -> None:
    x = np.array([[[[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16.0]]]])
    got, at = roi.roi_pool(x, [[0, 0, 0, 3, 3]], 2, return_indices=True, backend=backend)
    np.testing.assert_array_equal(got[0, 0], [[4, 8], [12, 16]])
    np.testing.assert_array_equal(at[0, 0], [[5, 7], [13, 15]])


@each_backend
def test_rules_of_maxima(backend: str) -> None:
    """The first of equal ones, the last NaN; an empty bin is 0; minus infinity is a maximum too; halves round away."""
    x = np.array([[[[3.0, 3, 1], [np.nan, 0, np.nan], [-np.inf, -np.inf, -np.inf]]]])

    def pooled(*box: float) -> tuple[float, int]:
        value, at = roi.roi_pool(x, [[0, *box]], 1, return_indices=True, backend=backend)
        return value.item(), at.item()

    assert pooled(0, 0, 2, 0) == (3, 0)
    value, at = pooled(0, 0, 2, 2)
    assert np.isnan(value)
    assert at == 5
    assert pooled(0, 2, 2, 2) == (-np.inf, 6)
    assert pooled(5, 0, 9, 9) == (0, -1)
    assert pooled(0.5, -0.5, 0.5, 0.49) == (3, 1)  # column 1, rows -1 and 0


def cases(count: int, own: bool, rng: np.random.Generator) -> Any:
    for i in range(count):
        n, c, h, w = (int(rng.integers(1, k)) for k in (3, 4, 12, 12))
        size = tuple(rng.integers(1, 5, 2).tolist())
        k = int(rng.integers(0, 6))
        corner = rng.normal(0, 1, (k, 4)) * rng.choice([1, 10, 60]) + rng.choice([0, 10])
        if i % 3:
            corner[:, 2:] = corner[:, :2] + np.abs(corner[:, 2:])
        corner = corner.round(1) if i % 2 else corner
        boxes = np.hstack([rng.integers(0, n, (k, 1)), corner])
        x = rng.standard_normal((n, c * size[0] * size[1] if own else c, h, w))
        yield x, boxes, size, float(rng.choice([1, 0.5, 0.0625, 2]))


def test_roi_pool_as_torchvision() -> None:
    torch, ops = need("torch"), need("torchvision").ops
    rng = np.random.default_rng(0)
    for x, boxes, size, scale in cases(120, False, rng):
        leaf = torch.from_numpy(x).requires_grad_()
        want = ops.roi_pool(leaf, torch.from_numpy(boxes), size, scale)
        got, at = roi.roi_pool(x, boxes, size, scale, return_indices=True)
        np.testing.assert_array_equal(got, want.detach().numpy())
        grad = rng.standard_normal(got.shape)
        want.backward(torch.from_numpy(grad))
        back = roi.roi_pool_backward(grad, at, boxes, x.shape)
        np.testing.assert_allclose(back, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ps_roi_align", "ps_roi_pool"])
def test_position_sensitive_as_torchvision(name: str) -> None:
    torch, ops = need("torch"), need("torchvision").ops
    rng = np.random.default_rng(1)
    forward, backward = getattr(roi, name), getattr(roi, f"{name}_backward")
    for x, boxes, size, scale in cases(120, True, rng):
        rest = (scale,) if name == "ps_roi_pool" else (scale, int(rng.integers(-1, 4)))
        if name == "ps_roi_align":  # torchvision has no answer for inverted boxes without a sampling ratio
            boxes[:, 3:] = boxes[:, 1:3] + np.abs(boxes[:, 3:]) + 0.1
        leaf = torch.from_numpy(x).requires_grad_()
        want = getattr(ops, name)(leaf, torch.from_numpy(boxes), size, *rest)
        got = forward(x, boxes, size, *rest)
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12, atol=1e-12)
        if name == "ps_roi_pool" and not (boxes[:, 1:] * scale < np.array(x.shape[2:])[[1, 0, 1, 0]] - 2).all():
            continue  # torchvision's gradient reaches the last row and column, which its forward pass does not read
        grad = rng.standard_normal(got.shape)
        want.backward(torch.from_numpy(grad))
        back = backward(grad, boxes, x.shape, *rest)
        np.testing.assert_allclose(back, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


@each_backend
def test_wrong_places(backend: str) -> None:
    grad, at = np.zeros((2, 1, 1, 2)), np.array([[[[0, -1]]], [[[3, 8]]]])
    with pytest.raises(
        ValueError, match=r"^roi_pool_backward: indices must be in \[-1, 8\), got 8 at index \(1, 0, 0, 1\)"
    ):
        roi.roi_pool_backward(grad, at, np.zeros((2, 5)), (1, 1, 2, 4), backend=backend)
    with pytest.raises(ValueError, match=r"^roi_pool_backward: boxes must name an image .* got 7 at row 1"):
        roi.roi_pool_backward(grad, at * 0, [[0] * 5, [7] * 5], (1, 1, 2, 4), backend=backend)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, b: roi.ps_roi_align(x, b, 2), ValueError, r"input must have a multiple of 2 \* 2 channels, got 6"),
        (lambda x, b: roi.ps_roi_pool(x, b, (4, 1)), ValueError, r"input must have a multiple of 4 \* 1 channels"),
        (lambda x, b: roi.ps_roi_pool(x, b + np.nan, 1), ValueError, "boxes must be finite"),
        (lambda x, b: roi.roi_pool(x, b, (1, 0)), ValueError, "output_size must be in"),
        (lambda x, b: roi.roi_pool(x, b, 1, np.inf), ValueError, "spatial_scale must be a finite number"),
        (lambda x, b: roi.roi_pool_backward(x[:1], x[:1], b, x.shape), TypeError, "indices must be int64, got float64"),
        (lambda x, b: roi.roi_pool_backward(x[:1], b.astype(int), b, x.shape), ValueError, "indices must have"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"^(ps_)?roi_(align|pool)(_backward)?: {text}"):
        call(np.zeros((2, 6, 4, 4)), np.array([[0, 0, 0, 1, 1.0]]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_torch(name: str) -> None:
    """Gradients of both orders and directions, compiled and exported programs, a batch."""
    torch = need("torch")
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.permutation(160).reshape(2, 4, 5, 4) / 10.0)
    boxes = torch.tensor([[0, 0, 0, 12, 19], [1, 3, 4, 9, 10], [1, 5, 5, 30, 30.0]])
    function = getattr(roi, name)

    def pooled(x: Any) -> Any:
        return function(x, boxes, 2, 0.25)

    want = pooled(x)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(pooled, leaf, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(pooled, leaf)
    assert torch.equal(torch.compile(pooled, fullgraph=True, backend="aot_eager")(x), want)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.compile(pooled, fullgraph=True, backend="aot_eager")(last), want)
    assert pooled(last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.vmap(pooled)(torch.stack([x, x + 1]))[0], want)

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any, boxes: Any) -> Any:
            return function(x, boxes, 2, 0.25)

    count = torch.export.Dim("count")
    program = torch.export.export(Module(), (x, boxes), dynamic_shapes=(None, {0: count})).module()
    assert torch.equal(program(x, boxes), want)
    assert torch.equal(program(x, boxes[:2]), want[:2])
    arguments = (x, boxes, [2, 2], 0.25, *{"roi_align": (-1, False), "ps_roi_align": (-1,)}.get(name, ()), None)
    torch.library.opcheck(getattr(torch.ops.fastdet, name).default, arguments)
