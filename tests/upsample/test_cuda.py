"""Resampling on the CUDA emulator: sizes where kernels switch methods, the caller's memory, errors, torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import equal
from optional import need
from samples import Array

from fastdet import upsample

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

WIDTHS = (1, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025)
DTYPES = ("float32", "float64", "float16", "uint8", "int8")


def values(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(list(shape))
    if dtype in ("uint8", "int8"):
        return rng.integers(0, 256, shape, dtype=np.uint8).view(dtype)
    return (rng.standard_normal(shape) * 10).astype(dtype)


def check(shape: tuple[int, ...], size: tuple[int, int], dtype: str, **options: Any) -> None:
    """Forward from an image of that shape to that size, and back."""
    x = values(shape, dtype)
    want = upsample.upsample_bilinear(x, size, **options, backend="cpp")
    equal(on_cpu(upsample.upsample_bilinear(on_gpu(x), size, **options)), want)
    if dtype not in ("uint8", "int8"):
        grad = values(want.shape, dtype)
        old = shape[-3:-1] if options.get("channels_last") else shape[-2:]
        want = upsample.upsample_bilinear_backward(grad, old, **options, backend="cpp")
        equal(on_cpu(upsample.upsample_bilinear_backward(on_gpu(grad), old, **options)), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(emulator: emulated.Emulator, width: int, dtype: str) -> None:
    """Widths of the result, of the input and of both, at the ends of vectors, warps and blocks; rows aligned or not."""
    emulator.seed(width)
    check((2, 3, 41), (5, width), dtype)
    check((2, 5, width), (3, 17), dtype, align_corners=True)
    check((1, 2, width), (2, 2 * width), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 16, 17, 31, 32, 33, 40, 64, 65, 129])
def test_channels_last(channels: int, dtype: str) -> None:
    """Pixels of less than a vector, of whole vectors, and of more channels than a block takes at once."""
    check((2, 3, 5, channels), (5, 12), dtype, channels_last=True)
    check((3, 7, channels), (2, 3), dtype, channels_last=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows(emulator: emulated.Emulator, dtype: str) -> None:
    """More rows than run at once: a thread has several rows, and several of the result lie between two of the input."""
    for seed, (shape, size, last) in enumerate(
        (
            ((70, 20, 33), (130, 64), False),
            ((70, 20, 33), (61, 63), False),
            ((70, 20, 33), (7, 64), False),
            ((8, 20, 20, 16), (70, 40), True),
            ((8, 20, 20, 5), (70, 40), True),
            ((8, 70, 40, 16), (20, 20), True),
        )
    ):
        emulator.seed(seed)
        check(shape, size, dtype, channels_last=last)
        check(shape, size, dtype, channels_last=last, align_corners=True)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 1, 1), (3, 1024)),
        ((1, 1, 1), (3, 1025)),  # more outputs of one input than a block holds
        ((1, 2, 2), (3, 5000)),
        ((1, 3, 3), (4, 3001)),
        ((1, 2, 3000), (2, 7)),  # more inputs than a tile has
        ((1, 2, 1024), (2, 1025)),
        ((1, 2, 2000), (2, 2000)),
        ((1, 2, 513), (3, 4100)),
        ((3, 70, 3), (300, 5)),
        ((1, 33, 64), (264, 512)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_tiles(shape: tuple[int, ...], size: tuple[int, int], dtype: str) -> None:
    """Tiles, bands and pieces of the gradient; a sum over two of them keeps its order."""
    if dtype != "bfloat16":
        check(shape, size, dtype)
        return
    torch = need("torch")
    grad = torch.from_numpy(values((*shape[:-2], *size), "float32")).bfloat16()
    want = upsample.upsample_bilinear_backward(grad, shape[-2:])
    got = on_cpu(upsample.upsample_bilinear_backward(on_gpu(grad), shape[-2:]))
    equal(got["bfloat16"], want.view(torch.int16).numpy().view(np.uint16))


@pytest.mark.parametrize("last", [False, True])
def test_order_of_threads(emulator: emulated.Emulator, last: bool) -> None:
    """A missing barrier would give a wrong result in one of the orders."""
    for seed in range(6):
        emulator.seed(seed)
        check((2, 9, 35, 20) if last else (2, 9, 140), (35, 71) if last else (35, 1130), "float32", channels_last=last)
        check((1, 2, 2), (3, 2500), "float32")


def test_empty() -> None:
    for shape, last in (((0, 3, 4, 5), False), ((2, 0, 4, 5), False), ((2, 4, 5, 0), True)):
        got = upsample.upsample_bilinear(on_gpu(np.zeros(shape, np.float32)), 7, channels_last=last)
        assert got.size == 0
        assert got.shape == upsample.upsample_bilinear(np.zeros(shape), 7, channels_last=last).shape


def test_layouts() -> None:
    """Memory order is kept; arrays in neither order are copied."""
    x = values((2, 5, 6, 7), "float32")
    want = upsample.upsample_bilinear(x, 9, backend="cpp")
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    wide = np.zeros((2, 5, 6, 14), np.float32)
    wide[..., ::2] = x
    unaligned = on_gpu(np.concatenate([[0], x.ravel()]).astype(np.float32))[1:].reshape(x.shape)  # by 4 bytes
    for array in (on_gpu(last), on_gpu(wide)[..., ::2], unaligned):
        equal(on_cpu(upsample.upsample_bilinear(array, 9)), want)
    assert upsample.upsample_bilinear(on_gpu(last), 9).transpose(0, 2, 3, 1).flags.c_contiguous
    assert upsample.upsample_bilinear(unaligned, 9).flags.c_contiguous


# ---- the caller's memory, and errors


def test_out() -> None:
    x = values((2, 5, 6, 7), "float32")
    want = upsample.upsample_bilinear(x, 9)
    out = on_gpu(np.zeros_like(want))
    assert upsample.upsample_bilinear(on_gpu(x), 9, out=out) is out
    equal(on_cpu(out), want)
    last = on_gpu(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="contiguous in the memory order of the input"):
        upsample.upsample_bilinear(last, 9, out=out)
    with pytest.raises(TypeError, match="out must be float32, got float64"):
        upsample.upsample_bilinear(on_gpu(x), 9, out=on_gpu(np.zeros(want.shape)))
    with pytest.raises(ValueError, match="must not share memory"):
        upsample.upsample_bilinear(out, 9, out=out)
    for array, to in ((on_gpu(x), np.zeros_like(want)), (x, on_gpu(want))):
        with pytest.raises(TypeError, match=r"^upsample_bilinear: all arrays must be on one device"):
            upsample.upsample_bilinear(array, 9, out=to)


def test_errors() -> None:
    """The texts are the CPU's."""
    for call in (
        lambda to: upsample.upsample_bilinear(to(np.zeros((3, 4), np.int32)), 2),
        lambda to: upsample.upsample_bilinear(to(np.zeros((3, 0))), 2),
        lambda to: upsample.upsample_bilinear(to(np.zeros((3, 4))), (0, 2)),
        lambda to: upsample.upsample_bilinear(to(np.zeros((3, 4)))),
        lambda to: upsample.upsample_bilinear_backward(to(np.zeros((3, 4))), 2, 2),
        lambda to: upsample.upsample_bilinear_backward(to(np.zeros((3, 4), np.uint8)), 2),
    ):
        with pytest.raises((TypeError, ValueError)) as want:
            call(lambda x: x)
        with pytest.raises(want.type) as got:
            call(on_gpu)
        assert str(got.value) == str(want.value)
    with pytest.raises(ValueError, match="backend must be 'cuda' for arrays on a GPU, got 'cpp'"):
        upsample.upsample_bilinear(on_gpu(np.zeros((3, 4))), 2, backend="cpp")


def test_a_failed_launch_is_an_exception(emulator: emulated.Emulator) -> None:
    emulator.fail_next(700)
    with pytest.raises(RuntimeError, match=r"upsample_bilinear: CUDA error 700 .* for shape \(2, 3, 4, 1\)"):
        upsample.upsample_bilinear(on_gpu(np.zeros((2, 3, 4))), 7)


def test_limits() -> None:
    """Rows are counted in 32 bits, planes are not; images with too many rows raise ValueError."""
    from fastdet import _cuda
    from fastdet.upsample import _cuda as _cuda_upsample

    def image(*shape: int) -> Any:
        return SimpleNamespace(shape=shape)

    with pytest.raises(ValueError, match=r"^upsample_bilinear: images on a GPU must have below 2\^30 rows and values"):
        _cuda_upsample.upsample_bilinear(image(1, 2, 2**29, 2), True, False, 0.0, 0.0, image(1, 2, 3, 2))
    for sizes in ((1, 1, 2**30, 1, 1, 1), (1, 2, 1, 2**29, 1, 1), (-1, 1, 1, 1, 1, 1), (1, 1, 0, 1, 1, 1)):
        with pytest.raises(ValueError, match="invalid sizes"):
            _cuda.upsample_bilinear("f", 16, *sizes, False, 0.0, 0.0, 16, 0, 0)
    with pytest.raises(ValueError, match="invalid sizes"):
        _cuda.upsample_bilinear("f", 16, 1, 1, 3, 3, 7, 6, False, 2.0, 2.0, 16, 0, 0)
    with pytest.raises(TypeError, match="no kernel for dtype B"):
        _cuda.upsample_bilinear_backward("B", 16, 1, 1, 3, 3, 6, 6, False, 2.0, 2.0, 16, 0, 0)


def test_past_two_to_the_31_values() -> None:
    """Offsets are 64-bit. Most of the image is memory that nobody touches."""
    x = np.zeros((3, 2**15, 2**15), np.uint8).view(emulated.Array)
    for plane, y, column in ((0, 0, 0), (1, 2**15 - 1, 2**15 - 1), (2, 2**15 - 1, 2**15 - 1)):
        x[plane, y, column] = 10 + plane
    got = on_cpu(upsample.upsample_bilinear(x, 2, align_corners=True))
    equal(got, np.array([[[10, 0], [0, 0]], [[0, 0], [0, 11]], [[0, 0], [0, 12]]], np.uint8))


# ---- torch: gradients through its registrations, on CPU tensors whose memory the emulator can read


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_torch(torch: Any, dtype: str) -> None:
    for order in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 5, 6, 7).to(getattr(torch, dtype)).contiguous(memory_format=order).requires_grad_()
        y = upsample.upsample_bilinear(x, scale_factor=2)
        grad = torch.randn(y.shape).to(y.dtype)
        y.backward(grad)
        assert y.is_contiguous(memory_format=order)
        like = x.detach().clone().double().requires_grad_()
        want = torch.nn.functional.interpolate(like, scale_factor=2, mode="bilinear")
        want.backward(grad.double())
        tolerance = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 4e-2}[dtype]
        assert (y.double() - want).abs().max() < tolerance
        assert (x.grad.double() - like.grad).abs().max() < tolerance * 10
        plain = upsample.upsample_bilinear(x.detach(), scale_factor=2)
        assert torch.equal(plain, y.detach())


def test_torch_out(torch: Any) -> None:
    x = torch.randn(5, 6, 7).bfloat16()
    out = torch.zeros(5, 12, 14, dtype=torch.bfloat16)
    assert upsample.upsample_bilinear(x, scale_factor=2, out=out) is out
    assert torch.equal(out, upsample.upsample_bilinear(x, scale_factor=2))
