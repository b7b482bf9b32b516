"""Bilinear resampling of int8 and uint8 images with a scale and a zero point: one rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import upsample
from fastdet.upsample.bilinear import taps

BACKENDS = ("reference", "numba", "cpp")
SIZES = [((9, 40), (18, 80)), ((9, 40), (13, 77)), ((30, 70), (11, 33)), ((5, 131), (20, 524)), ((1, 1), (3, 90))]


def noise(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(list(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("align", [False, True])
def test_int8_is_uint8_less_128(old: Any, new: Any, align: bool, backend: str) -> None:
    x = noise((2, *old))
    signed = (x.astype(np.int16) - 128).astype(np.int8)
    got = upsample.upsample_bilinear(signed, new, align_corners=align, backend=backend)
    want = upsample.upsample_bilinear(x, new, align_corners=align, backend=backend)
    assert (got.dtype, want.dtype) == (np.int8, np.uint8)
    np.testing.assert_array_equal(got.astype(np.int16) + 128, want)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_exact_result_is_rounded_halves_up(old: Any, new: Any, dtype: str) -> None:
    """Of the float32 weights, computed in float64: the same but within 2^-13 of a half. Some results are a half."""
    x = noise((3, *old)).view(dtype)
    (r0, r1, h0, h1), (c0, c1, w0, w1) = (
        taps(n, m, False, 0.0, np.dtype(np.float32)) for n, m in zip(old, new, strict=True)
    )
    real, double = x.astype(np.float64), np.float64
    wide = w0.astype(double) * real[..., c0] + w1.astype(double) * real[..., c1]
    exact = h0.astype(double)[:, None] * wide[:, r0] + h1.astype(double)[:, None] * wide[:, r1]
    got = upsample.upsample_bilinear(x, new)
    want = np.floor(exact + 0.5)
    near = np.abs(exact - np.floor(exact) - 0.5) < 2**-13
    np.testing.assert_array_equal(got[~near], want[~near])
    assert (np.abs(got - want)[near] <= 1).all()
    if new == (18, 80):  # weights of quarters, so all of it is exact
        assert near.any()
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_scale_and_zero_point_pass_through(dtype: str) -> None:
    """The result's real numbers are those of the image's real numbers, to half a step; a zero point stays itself."""
    x, scale, zero = noise((2, 9, 40)).view(dtype), 0.03, {"int8": -20, "uint8": 100}[dtype]
    got = upsample.upsample_bilinear(x, (21, 77))
    real = upsample.upsample_bilinear((x.astype(np.float64) - zero) * scale, (21, 77))
    assert (np.abs((got.astype(np.float64) - zero) * scale - real) <= scale * (0.5 + 2**-8)).all()
    for value in (np.iinfo(dtype).min, zero, np.iinfo(dtype).max):
        assert (upsample.upsample_bilinear(np.full((1, 4, 5), value, dtype), (9, 13)) == value).all()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # torch gives its quantised tensors up
def test_torch() -> None:
    """A tensor of int8, and torch's op of quantised tensors: at most 1 apart, at halves."""
    torch = need("torch")
    x = torch.from_numpy(noise((1, 3, 9, 40)))
    got = upsample.upsample_bilinear(x, (18, 80))
    theirs = torch._make_per_tensor_quantized_tensor(x, 0.1, 7)
    want = torch.nn.functional.interpolate(theirs, size=(18, 80), mode="bilinear", align_corners=False).int_repr()
    apart = got.int() - want.int()
    assert set(apart.unique().tolist()) <= {0, 1}  # halves: up here, to even there
    assert 0 < (apart != 0).float().mean() < 0.1
    with pytest.raises(
        TypeError, match=r"^upsample_bilinear: x must be a plain tensor, got torch.quint8; pass x.int_r"
    ):
        upsample.upsample_bilinear(theirs, (18, 80))
    signed = (x.int() - 128).to(torch.int8)
    each = torch.func.vmap(lambda image: upsample.upsample_bilinear(image, (18, 80)))(signed)
    assert torch.equal(each.int() + 128, got.int())
