"""Max-pooling and unpooling: worked examples, edge cases, errors, properties, and torch."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_rows import equal
from optional import need
from pool_images import WINDOWS, channels_last, image
from samples import Array

import fastdet
from fastdet import pool

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
nan, inf = np.nan, np.inf


def planes(x: Any) -> Array:
    return np.asarray(x, np.float32)


# ---- worked examples


@each_backend
def test_segnet(backend: str) -> None:
    """The lecture's decoder: [a b; c d] goes back into a 4 x 4 map, one value into each 2 x 2 window."""
    x = planes([[1, 9, 2, 3], [4, 5, 8, 6], [0, 1, 2, 3], [7, 1, 2, 5]])
    values, indices = pool.max_pool2d(x, 2, backend=backend)
    equal(values, planes([[9, 8], [7, 5]]))
    equal(indices, np.array([[1, 6], [12, 15]]))
    sparse = pool.max_unpool2d(planes([[0.5, -2], [3, 4]]), indices, 2, backend=backend)
    equal(sparse, planes([[0, 0.5, 0, 0], [0, 0, -2, 0], [0, 0, 0, 0], [3, 0, 0, 4]]))
    codes = pool.max_pool2d(x, 2, compact=True, backend=backend)[1]
    equal(codes, np.array([[1, 2], [2, 3]], np.uint8))
    equal(pool.max_unpool2d(planes([[0.5, -2], [3, 4]]), codes, 2, backend=backend), sparse)


@pytest.mark.parametrize(
    ("x", "value", "index"),
    [
        ([[1, 1], [1, 1]], 1, 0),
        ([[1, nan], [2, 3]], nan, 1),
        ([[nan, nan], [2, 3]], nan, 1),
        ([[nan, 1], [2, nan]], nan, 3),
        ([[-inf, -inf], [-inf, -inf]], -inf, 0),
        ([[-inf, -inf], [-inf, nan]], nan, 3),
        ([[1, 2, 9], [4, 5, 9], [9, 9, 9]], 5, 4),
        ([[-0.0, 0.0], [-1, 0.0]], -0.0, 0),
    ],
)
@each_backend
def test_edges(x: Any, value: float, index: int, backend: str) -> None:
    values, indices = pool.max_pool2d(planes(x), 2, backend=backend)
    equal(values, planes([[value]]))
    equal(indices, np.array([[index]]))
    many = np.broadcast_to(planes(x)[:2, :2, None], (2, 2, 37)).transpose(
        2, 0, 1
    )  # also in vectors, also channels last
    for stack in (np.ascontiguousarray(many), channels_last(np.array(many[None]))):
        equal(np.unique(pool.max_pool2d(stack, 2, backend=backend)[1]), np.array([index if len(x) == 2 else 3]))


@each_backend
def test_padding_is_below_everything(backend: str) -> None:
    values, indices = pool.max_pool2d(np.full((2, 2), -inf, np.float32), 2, 2, 1, backend=backend)
    equal(values, planes(np.full((2, 2), -inf)))
    equal(indices, np.array([[0, 1], [2, 3]]))
    equal(
        pool.max_pool2d(np.full((2, 2), -(2**63)), 2, 2, 1, compact=True, backend=backend)[1],
        np.array([[3, 2], [1, 0]], np.uint8),
    )


@each_backend
def test_overlapping_windows(backend: str) -> None:
    """Of two values at one place the later one stays; pooling sums the gradients, unpooling copies the place's."""
    x, indices = planes([[1, 2, 3]]), np.array([[1, 1, 2]])
    equal(pool.max_unpool2d(x, indices, (1, 2), 1, backend=backend), planes([[0, 2, 3, 0]]))
    equal(pool.max_pool2d_backward(x, indices, (1, 4), (1, 2), 1, backend=backend), planes([[0, 3, 3, 0]]))
    equal(pool.max_unpool2d_backward(planes([[5, 6, 7, 8]]), indices, (1, 2), 1, backend=backend), planes([[6, 6, 7]]))


@each_backend
def test_places_outside_their_windows(backend: str) -> None:
    """Flat indices may lie anywhere in the plane."""
    x, indices = planes([[1, 2], [3, 4]]), np.array([[15, 6], [6, 0]])
    equal(
        pool.max_unpool2d(x, indices, 2, backend=backend), planes([[4, 0, 0, 0], [0, 0, 3, 0], [0] * 4, [0, 0, 0, 1]])
    )


def test_results_have_the_type_of_the_inputs() -> None:
    x = channels_last(np.arange(2 * 3 * 4 * 4, dtype=np.float16).reshape(2, 3, 4, 4))
    for result in (*pool.max_pool2d(x, 2), pool.max_unpool2d(*pool.max_pool2d(x, 2), 2)):
        assert result.transpose(0, 2, 3, 1).flags.c_contiguous
    assert pool.max_pool2d([[1, 2], [3, 4]], 2, return_indices=False).tolist() == [[4]]
    torch = need("torch")
    values, indices = pool.max_pool2d(torch.ones(1, 2, 2, dtype=torch.bfloat16), 2)
    assert values.dtype is torch.bfloat16
    assert indices.dtype is torch.int64


# ---- out


@each_backend
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_out(last: bool, dtype: str, backend: str) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 6, 8)).astype(dtype)
    x = channels_last(x) if last else x
    values, indices = pool.max_pool2d(x, 2, backend="reference")
    mine = np.full_like(values, 99), np.full_like(indices, 99)
    assert pool.max_pool2d(x, 2, out=mine, backend=backend) is mine
    equal(mine, (values, indices))
    alone = np.full_like(values, 99)
    assert pool.max_pool2d(x, 2, return_indices=False, out=alone, backend=backend) is alone
    equal(alone, values)
    whole = np.full_like(x, 99)
    assert pool.max_unpool2d(values, indices, 2, out=whole, backend=backend) is whole
    equal(whole, pool.max_unpool2d(values, indices, 2, backend="reference"))


# ---- errors

X = np.zeros((1, 1, 4, 4), np.float32)
I64 = np.array([[[[0, 2], [8, 10]]]])
P, U, B, V = pool.max_pool2d, pool.max_unpool2d, pool.max_pool2d_backward, pool.max_unpool2d_backward
Y = X[..., :2, :2]
ERRORS: list[tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (P, (X[0, 0, 0], 2), {}, ValueError, "x must have shape (H, W), (C, H, W) or (N, C, H, W), got (4,)"),
    (P, (X > 0, 2), {}, TypeError, "x must be float16, bfloat16, float32, float64 or integer, got bool"),
    (P, (X[..., :0], 2), {}, ValueError, "x must have a height and width of 1 or more, got (1, 1, 4, 0)"),
    (P, (X, 0), {}, ValueError, "kernel_size must be in [1, 2**31), got 0"),
    (P, (X, 2.0), {}, TypeError, "kernel_size must be an integer or (height, width), got 2.0"),
    (P, (X, (1, 2, 3)), {}, ValueError, "kernel_size must be an integer or (height, width), got (1, 2, 3)"),
    (P, (X, 2, 0), {}, ValueError, "stride must be in [1, 2**31), got 0"),
    (P, (X, 2, 2, 2), {}, ValueError, "padding must be at most half of kernel_size (2, 2), got (2, 2)"),
    (P, (X, 5), {}, ValueError, "kernel_size must be at most the padded image (4, 4), got (5, 5)"),
    (P, (np.zeros((20, 20)), 17), {"compact": True}, ValueError, "kernel_size must have at most 256 places if compact"),
    (P, (X, 2), {"out": Y}, TypeError, "out must be (values, indices), got ndarray"),
    (P, (X, 2), {"out": (Y, I64)}, ValueError, "out must be contiguous"),
    (P, (X, 2), {"out": (Y.copy(), I64[0])}, ValueError, "out must have shape (1, 1, 2, 2), got (1, 2, 2)"),
    (P, (X, 2), {"out": (Y.copy(), Y.copy())}, TypeError, "out must be int64, got float32"),
    (U, (Y, I64[0], 2), {}, ValueError, "indices must have the shape of x, (1, 1, 2, 2), got (1, 2, 2)"),
    (U, (Y, I64.astype(np.int32), 2), {}, TypeError, "indices must be int64 (flat) or uint8 (compact), got int32"),
    (U, (Y, I64 + 6, 2), {}, ValueError, "indices must lie in the image, got 16 at index (0, 0, 1, 1)"),
    (U, (Y, I64 - 1, 2), {}, ValueError, "indices must lie in the image, got -1 at index (0, 0, 0, 0)"),
    (U, (Y, I64 - 2**62, 2), {}, ValueError, f"indices must lie in the image, got {-(2**62)} at index (0, 0, 0, 0)"),
    (U, (Y, I64.astype(np.uint8), 2), {}, ValueError, "indices must lie in the image, got 8 at index (0, 0, 1, 0)"),
    (U, (Y, I64, 2, 2, 0, (6, 4)), {}, ValueError, "output_size must have a height in [3, 5], got 6"),
    (U, (Y, I64, 2, 2, 0, (4, 2)), {}, ValueError, "output_size must have a width in [3, 5], got 2"),
    (U, (Y, I64, 2, 2, 0, (2, 1, 4, 4)), {}, ValueError, "output_size must begin with (1, 1), got (2, 1, 4, 4)"),
    (B, (Y, I64, (3, 6), 2), {}, ValueError, "grad must have height and width (1, 3) or (2, 3), got (2, 2)"),
    (B, (Y, I64 * 2, (4, 4), 2), {}, ValueError, "indices must lie in the image, got 16 at index (0, 0, 1, 0)"),
    (B, (I64, I64, (4, 4), 2), {}, TypeError, "grad must be float16, bfloat16, float32 or float64, got int64"),
    (V, (X, I64 * 2, 2), {}, ValueError, "indices must lie in the image, got 16 at index (0, 0, 1, 0)"),
    (V, (X, I64[0], 2), {}, ValueError, "indices must have shape (1, 1, 'h', 'w'), got (1, 2, 2)"),
    (V, (X, I64[..., :1], 2), {}, ValueError, "grad must have a width in [1, 3], got 4"),
]


@each_backend
@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_errors(row: int, backend: str) -> None:
    op, args, options, error, text = ERRORS[row]
    with pytest.raises(error, match=re.escape(f"{op.__name__}: {text}")):
        op(*args, **options, backend=backend)


@each_backend
@pytest.mark.parametrize("last", [False, True])
def test_the_first_wrong_index_is_named(last: bool, backend: str) -> None:
    """First in the order of the axes, in any memory order; nothing is written past the image."""
    x = np.ones((2, 5, 30, 40), np.float32)
    values, indices = pool.max_pool2d(x, 2)
    indices[1, 3, 0, 0] = 1200
    indices[1, 2, 14, 19] = -7
    if last:
        values, indices = channels_last(values), channels_last(indices)
    with pytest.raises(ValueError, match=re.escape("got -7 at index (1, 2, 14, 19)")):
        pool.max_unpool2d(values, indices, 2, backend=backend)


def test_gradients_are_not_lost() -> None:
    torch = need("torch")
    grad, indices = torch.ones(1, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, dtype=torch.int64)
    for call in (lambda: B(grad, indices, (4, 4), 2), lambda: V(grad, indices[:, :1, :1], 2)):
        assert call().requires_grad
        call().sum().backward()
        assert grad.grad is not None


# ---- properties

windows = st.sampled_from(sorted(WINDOWS))
shapes = st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(3, 9), st.integers(3, 40))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=shapes, compact=st.booleans(), last=st.booleans())
def test_unpooling_keeps_the_maxima_and_nothing_else(
    seed: int, shape: tuple[int, ...], compact: bool, last: bool
) -> None:
    x = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) + 1.0
    x = channels_last(x) if last else x
    values, indices = pool.max_pool2d(x, 2, compact=compact)
    kept = pool.max_unpool2d(values, indices, 2, output_size=shape)
    assert np.array_equal(np.sort(kept[kept != 0]), np.sort(values.reshape(-1)))
    assert np.array_equal(kept[kept != 0], x[kept != 0])
    equal(pool.max_pool2d(kept, 2, compact=compact), (values, indices))
    equal(pool.max_unpool2d_backward(kept, indices, 2), values)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=shapes, name=windows, compact=st.booleans(), last=st.booleans())
def test_gradients_are_adjoint(seed: int, shape: tuple[int, ...], name: str, compact: bool, last: bool) -> None:
    """<pool's gradient of g, z> = <g, z at the maxima>, exactly, on small integers."""
    rng = np.random.default_rng(seed)
    kernel, stride, padding, ceil_mode = WINDOWS[name]
    x, z = rng.integers(-9, 9, shape).astype(np.float64), rng.integers(-9, 9, shape).astype(np.float64)
    x = channels_last(x) if last else x
    _, indices = pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, compact=compact)
    g = rng.integers(-9, 9, indices.shape).astype(np.float64)
    grad = pool.max_pool2d_backward(g, indices, shape, kernel, stride, padding)
    flat = pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)[1]
    at = np.take_along_axis(z.reshape(*shape[:2], -1), flat.reshape(*shape[:2], -1), 2)
    assert (grad * z).sum() == (g.reshape(at.shape) * at).sum()


# ---- torch


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("last", [False, True])
def test_torch(name: str, dtype: str, last: bool) -> None:
    torch = need("torch")
    F = torch.nn.functional
    kernel, stride, padding, ceil_mode = WINDOWS[name]
    x = torch.from_numpy(image(np.random.default_rng(1), (2, 19, 9, 37))).to(getattr(torch, dtype))
    x = x.to(memory_format=torch.channels_last) if last else x
    want = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    values, indices = pool.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    assert torch.equal(indices, want[1])
    equal(values.float().numpy(), want[0].float().numpy())
    if name != "3x3/2":  # torch does not define which of two values at one place stays
        got = pool.max_unpool2d(*want, kernel, stride, padding, x.shape[2:])
        back = F.max_unpool2d(values, indices, kernel, stride, padding, x.shape[2:])
        equal(got.float().numpy(), back.float().numpy())
    if dtype in ("float32", "float64"):
        leaf = x.clone().requires_grad_()
        grad = torch.randn(values.shape, dtype=x.dtype)
        F.max_pool2d(leaf, kernel, stride, padding, ceil_mode=ceil_mode).backward(grad)
        got = pool.max_pool2d_backward(grad, indices, x.shape, kernel, stride, padding)
        torch.testing.assert_close(got, leaf.grad, rtol=0, atol=8 * torch.finfo(x.dtype).eps)


def test_large_outputs_are_streamed_alike(threads: Any) -> None:
    """Results larger than the caches, on threads: rows that begin within a cache line."""
    x = np.random.default_rng(2).standard_normal((3, 4, 870, 1021)).astype(np.float32)
    values, indices = pool.max_pool2d(x, 3, 2, 1)
    small = [pool.max_pool2d(plane, 3, 2, 1) for plane in x.reshape(12, 870, 1021)]
    equal(values.reshape(12, 435, 511), np.stack([v for v, _ in small]))
    equal(indices.reshape(12, 435, 511), np.stack([i for _, i in small]))
    whole = pool.max_pool2d_backward(values, indices, x.shape, 3, 2, 1)
    threads(1)
    equal(pool.max_pool2d_backward(values, indices, x.shape, 3, 2, 1), whole)
    equal(pool.max_pool2d(x, 3, 2, 1), (values, indices))
    assert fastdet.get_num_threads() == 1


def test_windows_as_arrays() -> None:
    x = np.arange(36, dtype=np.float32).reshape(1, 6, 6)
    for got, want in zip(pool.max_pool2d(x, np.array([2, 3])), pool.max_pool2d(x, (2, 3)), strict=True):
        assert np.array_equal(got, want)
