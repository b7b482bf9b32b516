"""fastdet.upsample: worked examples, comparison with torch and OpenCV, the transpose, errors, large images."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet.upsample import bilinear_kernel, upsample_bilinear, upsample_bilinear_backward

BACKENDS = ("cpp", "numba", "reference")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
F32 = np.float32


# Worked examples


@each_backend
def test_corners_of_two_by_two(backend: str) -> None:
    x = np.array([[1, 2], [3, 4]], F32)
    third = F32(1) / F32(3)
    want = 1 + np.arange(4) * third + 2 * np.arange(4)[:, None] * third
    got = upsample_bilinear(x, scale_factor=2, align_corners=True, backend=backend)
    np.testing.assert_allclose(got, want, rtol=3e-7)
    np.testing.assert_array_equal(
        np.round(got, 4),
        np.array(
            [[1, 1.3333, 1.6667, 2], [1.6667, 2, 2.3333, 2.6667], [2.3333, 2.6667, 3, 3.3333], [3, 3.3333, 3.6667, 4]],
            F32,
        ),
    )


@each_backend
@pytest.mark.parametrize(
    ("x", "size", "halves", "corners"),
    [
        ([[5]], (2, 2), [[5, 5], [5, 5]], [[5, 5], [5, 5]]),
        ([[0, 1], [2, 3]], (1, 1), [[1.5]], [[0]]),
        ([[0, 1], [2, 3]], (1, 3), [[1, 1.5, 2]], [[0, 0.5, 1]]),
        ([[0, 4]], (1, 4), [[0, 1, 3, 4]], None),
        ([[0, 1, 2, 3, 4, 5]], (1, 3), [[0.5, 2.5, 4.5]], [[0, 2.5, 5]]),
        ([[0, 1, 2, 3, 4, 5]], (1, 2), [[1, 4]], [[0, 5]]),
    ],
)
def test_small_cases(backend: str, x: Any, size: Any, halves: Any, corners: Any) -> None:
    for align, want in ((False, halves), (True, corners)):
        if want is not None:
            got = upsample_bilinear(np.array(x, F32), size, align_corners=align, backend=backend)
            np.testing.assert_array_equal(got, np.array(want, F32))


@each_backend
def test_uint8_is_rounded_once_halves_up(backend: str) -> None:
    x = np.array([[0, 1], [0, 1]], np.uint8)  # 0.5 in the middle
    np.testing.assert_array_equal(upsample_bilinear(x, (1, 3), backend=backend), np.array([[0, 1, 1]], np.uint8))
    x = np.array([[0, 2], [2, 6]], np.uint8)  # 2.5 in the middle, which ties to even would make 2
    assert upsample_bilinear(x, 1, backend=backend)[0, 0] == 3
    white = np.full((3, 4), 255, np.uint8)
    assert (upsample_bilinear(white, (31, 47), backend=backend) == 255).all()


@each_backend
def test_types_in_are_types_out(backend: str) -> None:
    assert upsample_bilinear([[1, 2], [3, 4]], 4, backend=backend).dtype == np.float64
    assert upsample_bilinear([[1.5]], 2, backend=backend).tolist() == [[1.5, 1.5], [1.5, 1.5]]
    big = np.arange(6, dtype=">f4").reshape(2, 3)
    np.testing.assert_array_equal(
        upsample_bilinear(big, 5, backend=backend), upsample_bilinear(big.astype(F32), 5, backend=backend)
    )
    torch = need("torch")
    x = torch.arange(6.0).reshape(2, 3).bfloat16()
    y = upsample_bilinear(x, 4, backend=backend)
    assert isinstance(y, torch.Tensor)
    assert (y.dtype, y.shape) == (torch.bfloat16, (4, 4))


# Memory order


@each_backend
def test_channels_last_by_shape_and_by_strides(backend: str) -> None:
    rng = np.random.default_rng(0)
    planes = rng.standard_normal((2, 5, 7, 6)).astype(F32)
    want = upsample_bilinear(planes, (9, 15), backend=backend)
    assert want.flags.c_contiguous
    last = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
    by_shape = upsample_bilinear(last, (9, 15), channels_last=True, backend=backend)
    assert by_shape.flags.c_contiguous
    np.testing.assert_array_equal(np.moveaxis(by_shape, -1, 1), want)
    by_strides = upsample_bilinear(np.moveaxis(last, -1, 1), (9, 15), backend=backend)
    assert np.moveaxis(by_strides, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(by_strides, want)
    of_planes = upsample_bilinear(np.moveaxis(planes, 1, -1), (9, 15), channels_last=True, backend=backend)
    assert np.moveaxis(of_planes, -1, 1).flags.c_contiguous
    np.testing.assert_array_equal(np.moveaxis(of_planes, -1, 1), want)
    cut = upsample_bilinear(last[::2, :, ::-1], (9, 15), channels_last=True, backend=backend)
    np.testing.assert_array_equal(cut, upsample_bilinear(last[::2, :, ::-1].copy(), (9, 15), channels_last=True))
    grad = upsample_bilinear_backward(by_strides, (7, 6), backend=backend)
    assert np.moveaxis(grad, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(grad, upsample_bilinear_backward(want, (7, 6), backend=backend))


def test_torch_channels_last_is_kept() -> None:
    torch = need("torch")
    x = torch.rand(2, 3, 5, 4).contiguous(memory_format=torch.channels_last)
    y = upsample_bilinear(x, scale_factor=2)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, upsample_bilinear(x.contiguous(), scale_factor=2))


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "bfloat16"])
def test_out(backend: str, dtype: str) -> None:
    torch = need("torch")
    x = (torch.rand(1, 3, 4, 5) * 100).to(getattr(torch, dtype))
    for order in (torch.contiguous_format, torch.channels_last):
        x = x.contiguous(memory_format=order)
        out = torch.zeros(1, 3, 7, 11, dtype=x.dtype).contiguous(memory_format=order)
        assert upsample_bilinear(x, (7, 11), out=out, backend=backend) is out
        assert torch.equal(out, upsample_bilinear(x, (7, 11), backend=backend))


def test_large_results_by_streaming() -> None:
    """Results larger than the caches that do not begin at a vector's boundary."""
    rng = np.random.default_rng(1)
    x, buffer = rng.standard_normal((3, 40, 50)).astype(F32), np.empty(3 * 700 * 701 + 3, F32)
    out = buffer[3:].reshape(3, 700, 701)
    upsample_bilinear(x, (700, 701), out=out)
    np.testing.assert_array_equal(out, upsample_bilinear(x, (700, 701), backend="reference"))


# torch and OpenCV

SIZES = [
    ((20, 30), {"scale_factor": 2.0}),
    ((20, 30), {"scale_factor": (1.7, 2.3)}),
    ((20, 30), {"scale_factor": 0.7}),
    ((20, 30), {"size": (53, 31)}),
    ((20, 30), {"size": (20, 30)}),
    ((64, 51), {"size": (7, 13)}),
    ((1, 9), {"size": (5, 1)}),
]
each_size = pytest.mark.parametrize(("shape", "options"), SIZES, ids=str)


@each_size
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_forward_and_backward(shape: Any, options: Any, align: bool, dtype: str) -> None:
    """The difference is at most that of one rounding of a source index of up to max(H, W)."""
    torch = need("torch")
    x = torch.randn(2, 3, *shape, dtype=getattr(torch, dtype), requires_grad=True)
    want = torch.nn.functional.interpolate(x, mode="bilinear", align_corners=align, **options)
    got = upsample_bilinear(x.detach(), align_corners=align, **options)
    assert got.shape == want.shape
    unit = torch.finfo(x.dtype).eps * (max(shape) + 4)
    assert (got - want).abs().max() <= unit * x.abs().max()
    grad = torch.randn(want.shape, dtype=x.dtype)
    (theirs,) = torch.autograd.grad(want, x, grad)
    ours = upsample_bilinear_backward(grad, shape, options.get("scale_factor"), align)
    mass = upsample_bilinear_backward(grad.abs(), shape, options.get("scale_factor"), align)
    assert ((ours - theirs).abs() <= unit * (mass + grad.abs().max())).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_torch_halves(dtype: str) -> None:
    """Half precision is rounded once from float32: equal to torch for 99 of 100 values, else one unit apart."""
    torch = need("torch")
    x = torch.randn(2, 3, 20, 30).to(getattr(torch, dtype))
    want = torch.nn.functional.interpolate(x, size=(53, 31), mode="bilinear")
    got = upsample_bilinear(x, (53, 31))
    assert (got == want).float().mean() > 0.99
    unit = torch.finfo(x.dtype).eps
    torch.testing.assert_close(got, want, rtol=unit, atol=unit / 100)


@pytest.mark.parametrize("order", ["contiguous_format", "channels_last"])
@pytest.mark.parametrize("channels", [3, 7])
@pytest.mark.parametrize("size", [(80, 120), (53, 31), (13, 17)])
def test_torch_uint8(order: str, channels: int, size: Any) -> None:
    """At most 1 apart; equal for 7 of 10 values of noise and 8 of 10 smooth ones: torch also rounds rows."""
    torch = need("torch")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, channels, 40, 60), dtype=np.uint8)
    smooth = upsample_bilinear(noise[:, :, :5, :5].copy(), (40, 60))
    for values, share in ((noise, 0.7), (smooth, 0.8)):
        x = torch.from_numpy(values).contiguous(memory_format=getattr(torch, order))
        want = torch.nn.functional.interpolate(x, size=size, mode="bilinear").int()
        got = upsample_bilinear(x, size).int()
        assert (got - want).abs().max() <= 1
        assert (got == want).float().mean() > share


def test_torch_nan_and_infinity() -> None:
    torch = need("torch")
    for value in (np.nan, np.inf):
        x = torch.zeros(1, 1, 4, 5)
        x[0, 0, 1, 2] = value
        for options in ({"size": (4, 5)}, {"size": (9, 11)}, {"size": (7, 9), "align_corners": True}):
            want = torch.nn.functional.interpolate(x, mode="bilinear", **options)
            got = upsample_bilinear(x, **options)
            assert torch.equal(torch.isnan(got), torch.isnan(want))
            assert torch.equal(torch.isinf(got), torch.isinf(want))


@pytest.mark.parametrize("size", [(53, 81), (80, 120), (21, 37)])
def test_opencv(size: Any) -> None:
    cv2 = need("cv2")
    rng = np.random.default_rng(0)
    x = rng.random((40, 60, 3), F32)
    want = cv2.resize(x, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(upsample_bilinear(x, size, channels_last=True), want, atol=2e-5)


# The transpose

sides = st.integers(1, 12)


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides, st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_transpose(h: int, w: int, to_h: int, to_w: int, align: bool, last: bool, seed: int) -> None:
    """<A x, y> == <x, A' y>, on each backend."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((h, w, 3) if last else (3, h, w))
    y = rng.standard_normal((to_h, to_w, 3) if last else (3, to_h, to_w))
    for backend in BACKENDS:
        up = upsample_bilinear(x, (to_h, to_w), align_corners=align, channels_last=last, backend=backend)
        down = upsample_bilinear_backward(y, (h, w), align_corners=align, channels_last=last, backend=backend)
        assert abs((up * y).sum() - (x * down).sum()) <= 1e-11


@each_backend
@pytest.mark.parametrize("options", [{"scale_factor": 2.3}, {"size": (3, 9)}, {"size": (9, 5), "align_corners": True}])
def test_gradient_of_each_value(backend: str, options: Any) -> None:
    """The forward pass is linear: its matrix, column by column, is the gradient."""
    units = np.eye(20).reshape(20, 4, 5)
    matrix = upsample_bilinear(units, **options, backend=backend)
    outputs = np.eye(matrix[0].size).reshape(-1, *matrix[0].shape)
    rest = {name: value for name, value in options.items() if name != "size"}
    rows = upsample_bilinear_backward(outputs, (4, 5), **rest, backend=backend)
    np.testing.assert_allclose(rows.reshape(len(outputs), 20), matrix.reshape(20, -1).T, atol=1e-15)


@each_backend
def test_unused_values_have_no_gradient(backend: str) -> None:
    grad = upsample_bilinear_backward(np.ones((1, 1, 2), F32), (1, 12), backend=backend)
    np.testing.assert_array_equal(grad, np.array([[[0, 0, 0.5, 0.5, 0, 0, 0, 0, 0.5, 0.5, 0, 0]]], F32))


@pytest.mark.parametrize("factor", [2, 4, 6])
def test_bilinear_kernel_is_a_transposed_convolution(factor: int) -> None:
    torch = need("torch")
    x = torch.rand(1, 3, 5, 6)
    weights = bilinear_kernel(3, factor)
    assert (weights.shape, weights.dtype) == ((3, 3, 2 * factor, 2 * factor), F32)
    y = torch.nn.functional.conv_transpose2d(x, torch.from_numpy(weights), stride=factor, padding=factor // 2)
    want = upsample_bilinear(x, scale_factor=factor)
    inside = slice(factor, -factor)
    assert y.shape == want.shape
    torch.testing.assert_close(y[..., inside, inside], want[..., inside, inside], rtol=1e-6, atol=1e-6)


def test_bilinear_kernel_by_hand() -> None:
    line = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_array_equal(bilinear_kernel(2, 2, np.float64)[1, 1], np.outer(line, line))
    assert not bilinear_kernel(2, 2)[0, 1].any()
    assert bilinear_kernel(1, 3, np.float16).sum() == pytest.approx(9, abs=1e-2)


# Errors

X = np.zeros((1, 2, 3, 4), F32)
ERRORS: dict[str, tuple[Callable[[str], Any], type[Exception], str]] = {
    "neither": (
        lambda b: upsample_bilinear(X, backend=b),
        ValueError,
        "exactly one of size and scale_factor must be set, got none",
    ),
    "both": (
        lambda b: upsample_bilinear(X, 4, 2.0, backend=b),
        ValueError,
        "exactly one of size and scale_factor must be set, got both",
    ),
    "size 0": (lambda b: upsample_bilinear(X, (0, 4), backend=b), ValueError, "size must be 1 or more, got"),
    "size float": (lambda b: upsample_bilinear(X, 2.5, backend=b), TypeError, "size must be integers, got 2.5"),
    "size bool": (lambda b: upsample_bilinear(X, True, backend=b), TypeError, "size must be integers, got True"),
    "size of three": (
        lambda b: upsample_bilinear(X, (1, 2, 3), backend=b),
        ValueError,
        r"size must be \(height, width",
    ),
    "size beyond": (lambda b: upsample_bilinear(X, (2**62, 1), backend=b), ValueError, r"size must be below 2\^62"),
    "result beyond": (lambda b: upsample_bilinear(X, 2**40, backend=b), ValueError, r"below 2\^63 bytes"),
    "factor 0": (lambda b: upsample_bilinear(X, scale_factor=0, backend=b), ValueError, "scale_factor must be above 0"),
    "factor NaN": (lambda b: upsample_bilinear(X, scale_factor=np.nan, backend=b), ValueError, "a finite number"),
    "factor word": (
        lambda b: upsample_bilinear(X, scale_factor="2", backend=b),
        TypeError,
        "must be a number, got '2'",
    ),
    "factor too small": (
        lambda b: upsample_bilinear(X, scale_factor=0.1, backend=b),
        ValueError,
        "a size of 1 or more",
    ),
    "factor too large": (lambda b: upsample_bilinear(X, scale_factor=1e300, backend=b), ValueError, r"below 2\^62"),
    "integers": (lambda b: upsample_bilinear(X.astype(int), 4, backend=b), TypeError, "or uint8, got int64"),
    "one axis": (lambda b: upsample_bilinear(X[0, 0, 0], 4, backend=b), ValueError, "x must have shape"),
    "five axes": (lambda b: upsample_bilinear(X[None], 4, backend=b), ValueError, "x must have shape"),
    "no rows": (lambda b: upsample_bilinear(X[:, :, :0], 4, backend=b), ValueError, "H and W of 1 or more"),
    "no channel axis": (
        lambda b: upsample_bilinear(X[0, 0], 4, channels_last=True, backend=b),
        ValueError,
        r"x must have shape \(H, W, C\) or",
    ),
    "out's dtype": (lambda b: upsample_bilinear(X, 1, out=np.zeros((1, 2, 1, 1)), backend=b), TypeError, "out must be"),
    "out's shape": (
        lambda b: upsample_bilinear(X, 1, out=np.zeros((1, 2, 1, 2), F32), backend=b),
        ValueError,
        r"out must have shape \(1, 2, 1, 1\)",
    ),
    "out's order": (
        lambda b: upsample_bilinear(X, 2, out=np.moveaxis(np.zeros((1, 2, 2, 2), F32), -1, 1), backend=b),
        ValueError,
        "contiguous in the memory order of the input",
    ),
    "out is x": (lambda b: upsample_bilinear(X, (3, 4), out=X, backend=b), ValueError, "must not share memory"),
    "out is a list": (lambda b: upsample_bilinear(X, 1, out=[1.0], backend=b), TypeError, "out must be an array"),
    "uint8 gradient": (
        lambda b: upsample_bilinear_backward(X.astype(np.uint8), (3, 4), backend=b),
        TypeError,
        "float32 or float64, got uint8",
    ),
    "factor that does not fit": (
        lambda b: upsample_bilinear_backward(X, (3, 4), 2.0, backend=b),
        ValueError,
        r"grad must have height and width \(6, 8\) for that scale_factor, got \(3, 4\)",
    ),
    "input size 0": (lambda b: upsample_bilinear_backward(X, (0, 4), backend=b), ValueError, "input_size must be 1 or"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    """The same text on every backend."""
    call, error, text = ERRORS[case]
    texts = set()
    for backend in BACKENDS:
        with pytest.raises(error, match=text) as caught:
            call(backend)
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert texts.pop().startswith("upsample_bilinear")


@each_backend
def test_no_memory_for_the_result(backend: str) -> None:
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the address sanitizer ends the process at such a size")
    with pytest.raises(MemoryError, match=f"^upsample_bilinear: no memory for a result of {2**53} bytes, shape"):
        upsample_bilinear(X, 2**25, backend=backend)


def test_kernel_errors() -> None:
    with pytest.raises(ValueError, match="factor must be 1 or more"):
        bilinear_kernel(3, 0)
    with pytest.raises(TypeError, match="dtype must be float16, float32 or float64, got int32"):
        bilinear_kernel(3, 2, np.int32)


def test_native_functions_keep_to_their_memory() -> None:
    """Native functions check again whatever could make them read or write beyond an array."""
    native = pytest.importorskip("fastdet._cpp")
    out = np.zeros((1, 2, 6, 8), F32)
    for x, y, factor in (
        (X[0], out, 0.0),
        (X, out[:, :1].copy(), 0.0),
        (X[:, :, :0], out, 0.0),
        (X, out.astype(float), 0.0),
        (X, out[..., ::2], 0.0),
        (X.astype(np.int16), out, 0.0),
        (X, out, 1e-300),
    ):
        for function in (native.upsample_bilinear, native.upsample_bilinear_backward):
            with pytest.raises((TypeError, ValueError), match=r"invalid|axes"):
                function(x, False, False, factor, factor, y)


# Large images


@pytest.mark.exhaustive
def test_past_two_to_the_31() -> None:
    side, needed = 46400, 6 << 30
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < needed:
        pytest.skip(f"needs {needed >> 30} GB of free memory")
    x = np.arange(40, dtype=np.uint8)[:, None] * 6 + np.zeros(7, np.uint8)
    y = upsample_bilinear(x, side, backend="cpp")
    assert y.size > 2**31
    column = upsample_bilinear(x[:, :1].copy(), (side, 1), backend="reference")[:, 0]
    for j in (0, 12345, side - 1):
        np.testing.assert_array_equal(y[:, j], column)
    np.testing.assert_array_equal(y[-1], np.full(side, 39 * 6, np.uint8))


def test_long_row_of_float() -> None:
    """A row longer than any tile, with more values than float32 has integers: positions are rounded, as in torch."""
    x = np.array([[0, 1]], F32)
    y = upsample_bilinear(x, (1, 2**24 + 4096))
    assert (y[0, 0], y[0, -1]) == (0, 1)
    assert (np.diff(y[0]) >= 0).all()
    back = upsample_bilinear_backward(np.ones((1, 100001), F32), (1, 2))
    np.testing.assert_array_equal(back, upsample_bilinear_backward(np.ones((1, 100001), F32), (1, 2), backend="numba"))


def test_bfloat16_of_ml_dtypes() -> None:
    ml_dtypes = need("ml_dtypes")
    x = np.arange(12, dtype=F32).reshape(3, 4).astype(ml_dtypes.bfloat16)
    y = upsample_bilinear(x, 6)
    assert y.dtype == x.dtype
    assert np.array_equal(y, upsample_bilinear(x.astype(F32), 6).astype(ml_dtypes.bfloat16))
