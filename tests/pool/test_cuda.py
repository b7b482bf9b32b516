"""Pooling on the CUDA emulator: sizes where kernels switch methods, indices outside their windows, faults, torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import equal
from pool_images import WINDOWS, channels_last, image
from samples import Array

from fastdet import pool

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]

FLOATS = ("float32", "float64", "float16")
DTYPES = (*FLOATS, "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64")


@pytest.fixture(scope="module", autouse=True)
def no_fault_is_left(emulator: emulated.Emulator) -> Iterator[None]:
    yield
    pool.max_pool2d(on_gpu(np.zeros((1, 2, 2))), 2)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with FASTDET_SYNC=1."""
    from fastdet._core import cuda

    monkeypatch.setattr(cuda.native, "waits", lambda: True)


def values(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(list(shape))
    if dtype in FLOATS:
        return image(rng, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.choice([info.min, 0, 1, 2, info.max], shape).astype(dtype)


def check(x: Array, *window: Any, ceil_mode: bool = False, compact: bool = False) -> None:
    """Pooling, unpooling of its results, and the gradients of both."""
    options = {"ceil_mode": ceil_mode, "compact": compact}
    want = pool.max_pool2d(x, *window, **options, backend="cpp")
    equal(on_cpu(pool.max_pool2d(on_gpu(x), *window, **options)), want)
    pooled, indices = want
    size = x.shape[-2:]
    calls: list[Callable[..., Any]] = [lambda to, **o: pool.max_unpool2d_backward(to(x), to(indices), *window, **o)]
    zero = 0 if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min) + 3
    calls += [
        lambda to, **o: pool.max_unpool2d(to(pooled), to(indices), *window, output_size=size, zero_point=zero, **o)
    ]
    if x.dtype.kind == "f":
        grad = np.random.default_rng(0).standard_normal(pooled.shape).astype(x.dtype)
        grad = channels_last(grad) if not pooled.flags.c_contiguous else grad
        calls += [lambda to, **o: pool.max_pool2d_backward(to(grad), to(indices), size, *window, **o)]
    for call in calls:
        try:
            want = call(lambda a: a, backend="cpp")
        except ValueError as error:  # windows of ceil_mode that unpooling does not take
            if not re.search("must have a (height|width) in", str(error)):
                raise
            continue
        equal(on_cpu(call(on_gpu)), want)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_widths(emulator: emulated.Emulator, dtype: str, compact: bool) -> None:
    """2 x 2 windows: rows of whole vectors and others; one row more, one column more, a window that is cut."""
    for width in (2, 16, 31, 32, 33, 48, 64, 127, 128, 129, 256):
        emulator.seed(width)
        check(values((3, 6, width), dtype), 2, compact=compact)
        check(values((2, 7, width), dtype), 2, compact=compact)
        check(values((2, 7, width), dtype), 2, ceil_mode=True, compact=compact)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, "uint8", "int64"])
def test_many_rows(dtype: str, compact: bool) -> None:
    """More rows than run at once: a thread then has several rows, also of two planes."""
    check(values((300, 15, 128), dtype), 2, compact=compact)
    check(values((130, 14, 33), dtype), 3, 2, 1, compact=compact)
    check(channels_last(values((6, 16, 61, 31), dtype)), 3, 2, 1, compact=compact)


@pytest.mark.parametrize("name", [*WINDOWS, "global", "wide steps", "steps of one"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_windows(name: str, dtype: str) -> None:
    others = {
        "global": ((9, 16), None, 0, False),
        "wide steps": ((2, 3), (5, 7), (1, 1), False),
        "steps of one": (3, 1, 1, False),
    }
    *window, ceil_mode = others[name] if name in others else WINDOWS[name]
    for channels in (1, 3, 4, 8, 16, 32, 37):
        x = values((2, channels, 9, 16), dtype)
        for laid_out in (x, channels_last(x)):
            for compact in (False, True):
                check(laid_out, *window, ceil_mode=ceil_mode, compact=compact)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8"])
def test_places_outside_their_windows(emulator: emulated.Emulator, dtype: str, last: bool) -> None:
    """Flat indices may lie anywhere in the plane, several at one place. Planes without such indices stay correct."""
    rng = np.random.default_rng(3)
    for shape, window in (
        ((3, 5, 8, 16), (2,)),
        ((2, 4, 5, 7), (3, 2, 1)),
        ((2, 16, 6, 6), (2,)),
        ((1, 1, 2, 9), (2,)),
    ):
        x = values(shape, dtype)
        indices = pool.max_pool2d(x, *window, backend="cpp")[1]
        elsewhere = indices.copy()
        elsewhere[0] = rng.integers(0, shape[2] * shape[3], indices[0].shape)
        few = indices.copy()
        few[-1, -1] = 1
        for places in (elsewhere, few, np.zeros_like(indices)):
            pooled = values(indices.shape, dtype)
            arrays = [channels_last(a) if last else a for a in (pooled, places)]
            for seed in range(3):
                emulator.seed(seed)
                check_scatter(arrays, window, shape[2:])


def check_scatter(arrays: list[Array], window: tuple[Any, ...], size: tuple[int, ...]) -> None:
    moved = [on_gpu(x) for x in arrays]
    want = pool.max_unpool2d(*arrays, *window, output_size=size, backend="reference")
    equal(on_cpu(pool.max_unpool2d(*moved, *window, output_size=size)), want)
    if arrays[0].dtype.kind == "f":
        want = pool.max_pool2d_backward(*arrays, size, *window, backend="reference")
        equal(on_cpu(pool.max_pool2d_backward(*moved, size, *window)), want)


def test_planes_done_again_take_turns() -> None:
    """More planes than fit into the workspace at once: 32 MB for sums of halves."""
    rng = np.random.default_rng(5)
    grad = rng.standard_normal((2, 2, 2)).astype(np.float16)
    indices = rng.permutation(2**23)[:8].reshape(2, 2, 2)
    got = pool.max_pool2d_backward(on_gpu(grad), on_gpu(indices), (2**11, 2**12), 2, (2**10, 2**11))
    want = np.zeros((2, 2**23), np.float16)
    want[np.arange(2)[:, None], indices.reshape(2, 4)] = grad.reshape(2, 4)
    equal(on_cpu(got).reshape(2, -1), want)


def test_windows_beyond_the_image() -> None:
    """The last windows begin beyond the image; flat indices can still point into it."""
    x, indices = values((2, 3, 3), "float32"), np.arange(18).reshape(2, 3, 3) % 36
    for size in ((6, 6), (6, 8), (9, 6)):
        want = pool.max_unpool2d(x, indices, 2, 3, output_size=size, backend="reference")
        equal(on_cpu(pool.max_unpool2d(on_gpu(x), on_gpu(indices), 2, 3, output_size=size)), want)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
def test_out(dtype: str, last: bool) -> None:
    x = values((2, 16, 6, 8), dtype)
    x = channels_last(x) if last else x
    values_, indices = pool.max_pool2d(x, 2, backend="cpp")
    buffers = on_gpu(np.zeros_like(values_)), on_gpu(np.zeros_like(indices))
    assert pool.max_pool2d(on_gpu(x), 2, out=buffers) is buffers
    equal(tuple(map(on_cpu, buffers)), (values_, indices))
    assert pool.max_pool2d(on_gpu(x), 2, return_indices=False, out=buffers[0]) is buffers[0]
    out = on_gpu(np.ones_like(x))
    assert pool.max_unpool2d(*map(on_gpu, (values_, indices)), 2, out=out) is out
    equal(on_cpu(out), pool.max_unpool2d(values_, indices, 2, backend="cpp"))
    with pytest.raises(ValueError, match="out must not share memory"):
        pool.max_unpool2d(out, on_gpu(np.zeros(x.shape, np.int64)), 1, out=out)
    with pytest.raises(TypeError, match=f"out must be {dtype}, got float64"):
        pool.max_unpool2d(*map(on_gpu, (values_, indices)), 2, out=on_gpu(np.zeros(x.shape)))
    with pytest.raises(TypeError, match="must be the same type of array as the inputs"):
        pool.max_unpool2d(*map(on_gpu, (values_, indices)), 2, out=np.zeros_like(x))


def test_devices_do_not_mix() -> None:
    x, indices = np.zeros((2, 3, 3), np.float32), np.zeros((2, 3, 3), np.int64)
    text = "all arrays must be on one device and of one library, got arrays on the CPU and cupy arrays on cuda:0$"
    for arrays in ((on_gpu(x), indices), (x, on_gpu(indices))):
        with pytest.raises(TypeError, match=f"^max_unpool2d: {text}"):
            pool.max_unpool2d(*arrays, 2)
        with pytest.raises(TypeError, match=f"^max_pool2d_backward: {text}"):
            pool.max_pool2d_backward(*arrays, (6, 6), 2)
    with pytest.raises(TypeError, match=f"^max_unpool2d_backward: {text}"):
        pool.max_unpool2d_backward(on_gpu(np.zeros((2, 6, 6))), indices, 2)


# ---- indices outside the image


def faulty(last: bool, compact: bool) -> tuple[Array, Array, Array]:
    """Pooled values, indices of which two are outside, and the image's gradient."""
    x = values((2, 16, 6, 8), "float32")
    pooled, indices = pool.max_pool2d(x, 2, compact=compact, backend="cpp")
    indices[1, 2, 1, 3] = 4 if compact else 48
    indices[0, 5, 2, 1] = 255 if compact else -1
    return tuple(channels_last(a) if last else a for a in (pooled, indices, x))  # type: ignore[return-value]


FAULTY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "max_unpool2d": lambda pooled, indices, x: pool.max_unpool2d(pooled, indices, 2),
    "max_pool2d_backward": lambda pooled, indices, x: pool.max_pool2d_backward(pooled, indices, (6, 8), 2),
    "max_unpool2d_backward": lambda pooled, indices, x: pool.max_unpool2d_backward(x, indices, 2),
}
each_fault = pytest.mark.parametrize("name", FAULTY)
each_layout = pytest.mark.parametrize("last", [False, True])
each_index_type = pytest.mark.parametrize("compact", [False, True])


@each_index_type
@each_layout
@each_fault
def test_faults_raise_at_the_next_call(name: str, last: bool, compact: bool) -> None:
    """The next call raises, once, for the first of the faults in the order of the axes."""
    FAULTY[name](*map(on_gpu, faulty(last, compact)))
    flat = np.ravel_multi_index((0, 5, 2, 1), (2, 16, 3, 4))
    with pytest.raises(ValueError, match=rf"^{name}: an earlier call .* \(indices at flat index {flat}\)"):
        pool.max_pool2d(on_gpu(np.zeros((2, 2))), 2)
    pool.max_pool2d(on_gpu(np.zeros((2, 2))), 2)


@pytest.mark.usefixtures("waiting")
@each_index_type
@each_layout
@each_fault
def test_faults_raise_at_once_where_calls_wait(name: str, last: bool, compact: bool) -> None:
    """The text is the CPU's."""
    arrays = faulty(last, compact)
    with pytest.raises(ValueError, match="must lie in the image") as want:
        FAULTY[name](*arrays)
    with pytest.raises(ValueError, match="must lie in the image") as got:
        FAULTY[name](*map(on_gpu, arrays))
    assert str(got.value) == str(want.value)
    assert on_cpu(pool.max_pool2d(on_gpu(np.ones((2, 2))), 2)[0]).tolist() == [[1]]


@pytest.mark.usefixtures("waiting")
def test_faults_of_windows_beyond_the_image() -> None:
    for size in ((6, 6), (6, 8), (9, 6)):
        for indices in (np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 10**12), np.full((2, 3, 3), -(2**63))):
            arrays = values((2, 3, 3), "float32"), indices
            with pytest.raises(ValueError, match="must lie in the image") as want:
                pool.max_unpool2d(*arrays, 2, 3, output_size=size)
            with pytest.raises(ValueError, match="must lie in the image") as got:
                pool.max_unpool2d(*map(on_gpu, arrays), 2, 3, output_size=size)
            assert str(got.value) == str(want.value)


def test_nothing_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdet import _cuda

    monkeypatch.setattr(_cuda, "read", None)
    x = values((2, 3, 6, 8), "float32")
    pooled, indices = pool.max_pool2d(on_gpu(x), 2)
    pool.max_unpool2d(pooled, indices, 2)
    pool.max_pool2d_backward(pooled, indices, (6, 8), 2)
    pool.max_unpool2d_backward(on_gpu(x), indices, 2)


# ---- errors and limits


def test_errors() -> None:
    """The texts are the CPU's."""
    x = np.zeros((2, 3, 3), np.float32)
    for call in (
        lambda to: pool.max_pool2d(to(x.astype(np.uint64)), 2),
        lambda to: pool.max_pool2d(to(x), 4),
        lambda to: pool.max_pool2d(to(x), 2, padding=2),
        lambda to: pool.max_unpool2d(to(x), to(x), 2),
        lambda to: pool.max_unpool2d(to(x), to(np.zeros((2, 3, 4), np.int64)), 2),
        lambda to: pool.max_unpool2d(to(x), to(np.zeros((2, 3, 3), np.int64)), 2, output_size=(9, 9)),
        lambda to: pool.max_pool2d_backward(to(x), to(np.zeros((2, 3, 3), np.int64)), (9, 9), 2),
    ):
        with pytest.raises((TypeError, ValueError)) as want:
            call(lambda a: a)
        with pytest.raises(want.type) as got:
            call(on_gpu)
        assert str(got.value) == str(want.value)


def test_a_failed_launch_is_an_exception(emulator: emulated.Emulator) -> None:
    emulator.fail_next(700)
    with pytest.raises(RuntimeError, match=r"max_pool2d: CUDA error 700 .* for shape \(2, 4, 6, 1\)"):
        pool.max_pool2d(on_gpu(np.zeros((2, 4, 6))), 2)


def test_limits() -> None:
    from fastdet import _cuda
    from fastdet.pool import _cuda as _cuda_pool

    with pytest.raises(ValueError, match=r"^max_pool2d: images and windows on a GPU must be below 2\^30 each way"):
        _cuda_pool._image("max_pool2d", SimpleNamespace(shape=(1, 1, 2**30, 1)), False, (2, 2, 2, 2, 0, 0))  # type: ignore[arg-type]
    window = (2, 2, 2, 2, 0, 0)
    for image_, pooled, w in (
        ((1, 4, 4, 1), (3, 2), window),
        ((1, 4, 0, 1), (1, 1), window),
        ((-1, 4, 4, 1), (2, 2), window),
        ((1, 4, 4, 1), (2, 2), (2, 2, 2, 2, 2, 0)),
        ((1, 4, 2**29, 1), (2, 2), (4, 2, 2, 2, 0, 0)),
    ):
        with pytest.raises(ValueError, match="invalid"):
            _cuda.max_pool2d("f", 16, image_, pooled, w, False, 16, 0, 0, 0)
    with pytest.raises(TypeError, match="invalid dtype"):
        _cuda.max_pool2d_backward("B", 16, 16, (1, 4, 4, 1), (2, 2), window, False, 16, 16, 0, 0)


def test_past_two_to_the_31_values() -> None:
    """Offsets are 64-bit. Most of the image is memory that nobody touches."""
    x = np.zeros((3, 2**15, 2**15), np.uint8).view(emulated.Array)
    places = ((0, 1, 0), (1, 2**14, 2**14 + 1), (2, 2**14 + 1, 2**14 + 1))
    for plane, y, column in places:
        x[plane, y, column] = 10 + plane
    got, indices = map(on_cpu, pool.max_pool2d(x, 2, 2**14))
    equal(got, np.array([[[10, 0], [0, 0]], [[0, 0], [0, 11]], [[0, 0], [0, 12]]], np.uint8))
    assert [int(indices[p].max()) for p in (1, 2)] == [2**14 * 2**15 + 2**14 + 1, (2**14 + 1) * 2**15 + 2**14 + 1]
    equal(on_cpu(pool.max_unpool2d_backward(x, on_gpu(indices), 2, 2**14)), got)
    codes = on_gpu(on_cpu(pool.max_pool2d(x, 2, 2**14, compact=True)[1]))
    equal(on_cpu(pool.max_unpool2d_backward(x, codes, 2, 2**14)), got)


# ---- torch: gradients through its registrations, on CPU tensors whose memory the emulator can read


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    return emulated.torch_on_gpu(monkeypatch)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch(torch: Any, dtype: str, compact: bool) -> None:
    """Pooling and unpooling, with the gradient of torch's own ops."""
    for order in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 8, 6, 10).to(getattr(torch, dtype)).contiguous(memory_format=order).requires_grad_()
        values, indices = pool.max_pool2d(x, 2, compact=compact)
        y = pool.max_unpool2d(values * 2, indices, 2)
        grad = torch.randn(y.shape).to(y.dtype)
        y.backward(grad)
        like = x.detach().clone().float().requires_grad_()
        pooled, flat = torch.nn.functional.max_pool2d(like, 2, return_indices=True)
        want = torch.nn.functional.max_unpool2d(pooled * 2, flat, 2)
        want.backward(grad.float())
        assert torch.equal(y.float(), want)
        assert torch.equal(x.grad.float(), like.grad)
        assert y.is_contiguous(memory_format=order)
        if not compact:
            assert torch.equal(indices, flat)


@pytest.mark.usefixtures("waiting")
def test_torch_faults(torch: Any) -> None:
    x, indices = torch.ones(3, 2, 2), torch.tensor([[[0, 2], [8, 10]]] * 3)
    indices[1, 0, 1] = 16
    with pytest.raises(ValueError, match=r"^max_unpool2d: indices must lie in the image, got 16 at index \(1, 0, 1\)$"):
        pool.max_unpool2d(x, indices, 2)
    with pytest.raises(ValueError, match=r"^max_unpool2d: indices must lie in the image, got 16 at index \(1, 0, 1\)$"):
        pool.max_unpool2d(x.requires_grad_(), indices, 2)
