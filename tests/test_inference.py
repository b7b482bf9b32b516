"""Inference: the laws of tiles and windows, models and images of every kind, and memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ops import equal
from optional import need
from samples import Array

from fastdet.inference import overlap_tile, sliding_window
from fastdet.inference._models import Progress

RNG = np.random.default_rng(0)
IMAGE = RNG.random((3, 53, 71)).astype(np.float32)
PAD = {"mirror": "reflect", "edge": "edge", "zero": "constant"}


def valid(x: Array) -> Array:
    """A network of two valid 3 x 3 convolutions with something non-linear between: (n, 3, h, w) to 4 pixels less."""
    weights = np.random.default_rng(1).standard_normal((2, 3, 3, 3)).astype(np.float32)
    for w in weights:
        height, width = x.shape[-2] - 2, x.shape[-1] - 2
        taps = [(y, t) for y in range(3) for t in range(3)]
        x = sum(x[..., y : y + height, t : t + width] * w[:, y, t, None, None] for y, t in taps)  # type: ignore[assignment]
        x = np.maximum(x, 0) + x[..., ::-1, :, :] * np.float32(0.25)
    return x


def padded(x: Array, margin: int, mode: str = "mirror") -> Array:
    return np.pad(x, ((0, 0), (margin, margin), (margin, margin)), mode=PAD[mode])  # type: ignore[call-overload]


class Sliced:
    """What zarr's arrays are like: shape, dtype, and basic slices."""

    def __init__(self, data: Array) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.largest = 0

    def _check(self, key: tuple[slice, ...]) -> tuple[slice, ...]:
        assert all(type(k) is slice and k.step is None and 0 <= k.start < k.stop for k in key if k != slice(None))
        return key

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        piece = self.data[self._check(key)].copy()
        self.largest = max(self.largest, piece.size)
        return piece

    def __setitem__(self, key: tuple[slice, ...], value: Array) -> None:
        assert isinstance(value, np.ndarray)
        self.data[self._check(key)] = value


class Session:
    """What ONNX Runtime's sessions are like."""

    def __init__(self, function: Callable[[Array], Array], inputs: int = 1) -> None:
        self.function, self.inputs = function, inputs

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": f"x{i}"}) for i in range(self.inputs)]

    def run(self, names: None, feed: dict[str, Array]) -> list[Array]:
        assert names is None
        (x,) = feed.values()
        assert type(x) is np.ndarray
        return [self.function(x)]


# ---- overlap tiles


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize("tile", [8, (16, 9), (53, 71), (7, 200), 500])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_overlap_tile_is_the_whole_image_at_once(mode: str, tile: Any, batch_size: int) -> None:
    """The law of valid convolutions, exact where the arithmetic of a pixel does not depend on its neighbours'."""
    got = overlap_tile(valid, IMAGE, tile, 2, mode, batch_size=batch_size)
    equal(got, valid(padded(IMAGE, 2, mode)[None])[0])


def test_overlap_tile_of_a_small_unet() -> None:
    """Pooling and upsampling: tiles of 4 k pixels, from step to step a multiple of the total stride."""
    torch = need("torch")
    torch.manual_seed(0)
    nn, f = torch.nn, torch.nn.functional

    class UNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down, self.low = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.up, self.last = nn.Conv2d(16, 8, 3), nn.Conv2d(8, 2, 1)

        def forward(self, x: Any) -> Any:
            skip = self.down(x).relu()
            low = self.low(f.max_pool2d(skip, 2)).relu()
            up = f.interpolate(low, scale_factor=2)
            height, width = up.shape[-2:]
            top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
            skip = skip[..., top : top + height, left : left + width]
            return self.last(self.up(torch.cat([skip, up], 1)).relu())

    net = UNet().eval()
    image = torch.from_numpy(IMAGE[:, :52, :68])
    whole = net(f.pad(image[None], (4, 4, 4, 4), mode="reflect"))[0].detach()
    assert whole.shape == (2, 52, 68)
    for tile, step in ((12, 12), (14, 12), ((6, 22), (4, 20)), (52, 2)):
        got = overlap_tile(net, image, tile, 4, step=step, batch_size=3)
        assert type(got) is torch.Tensor
        assert not got.requires_grad
        torch.testing.assert_close(got, whole, rtol=0, atol=1e-5)
    shifted = overlap_tile(net, image, 12, 4, step=11)  # an odd step moves the grid of the pooling
    assert not torch.allclose(shifted, whole, rtol=0, atol=1e-3)


def test_overlap_tile_of_padded_networks() -> None:
    """A network that pads keeps the size; its margins, which saw the padding, are cut off."""
    same = lambda x: np.pad(valid(x), ((0, 0), (0, 0), (2, 2), (2, 2)))  # noqa: E731
    equal(overlap_tile(same, IMAGE, 16, 2), valid(padded(IMAGE, 2)[None])[0])


def test_images_smaller_than_the_margin() -> None:
    image = IMAGE[:, :3, :1]
    equal(overlap_tile(valid, image, 8, 2), valid(padded(image, 2)[None])[0])
    wide = overlap_tile(lambda x: x[..., 9:-9, 9:-9], image, 4, 9)
    equal(wide, image)
    context = overlap_tile(lambda x: x[..., :-18, 9:-9], image, 4, 9)  # 9 rows up: 3 rows, mirrored again and again
    equal(context, padded(image[:, :, :1], 9)[:, :3, 9:10])


def test_each_pixel_comes_from_its_first_tile() -> None:
    calls: list[int] = []

    def number(x: Array) -> Array:
        first = len(calls)
        calls.extend(range(len(x)))
        return np.arange(first, first + len(x))[:, None, None] * np.ones((4, 4), np.int64)

    equal(overlap_tile(number, np.zeros((4, 7)), 4, 0, step=3, batch_size=2), np.array([[0] * 3 + [1] * 4] * 4))


# ---- sliding windows


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
@pytest.mark.parametrize(("window", "step"), [(16, 8), (16, 5), ((16, 90), (7, 30)), (20, 20), (16, (16, 1)), (99, 7)])
@pytest.mark.parametrize("kind", ["numpy", "torch", "channels last", "plane", "half"])
def test_a_pointwise_model_comes_out_as_it_is(blend: str, window: Any, step: Any, kind: str) -> None:
    """Bit for bit: infinities, NaN and signed zeros too."""
    image = np.random.default_rng(3).standard_normal((3, 41, 66)).astype(np.float32)
    image[0, ::7] = -np.inf
    image[0, 1::7, ::3] = np.nan
    image[1, ::5] = -0.0
    if kind == "torch":
        torch = need("torch")
        tensor = torch.from_numpy(image)
        got = sliding_window(lambda x: x * 3, tensor, window, step, blend, batch_size=2)
        equal(got.numpy(), image * 3)
        return
    if kind == "plane":
        image = image[1]
    if kind == "channels last":
        image = np.ascontiguousarray(image.transpose(1, 2, 0))
    if kind == "half":
        image = image.astype(np.float16)
    last = kind == "channels last"
    got = sliding_window(lambda x: x * 3, image, window, step, blend, batch_size=2, channels_last=last)
    want = image * 3
    if kind == "plane":
        want = want[None]
    equal(got, want)


@pytest.mark.parametrize("blend", ["constant", "gaussian"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_blending_is_the_weighted_mean(blend: str, library: str) -> None:
    """Against sums over the whole image, in float64."""
    window, step, image = (12, 10), (5, 4), IMAGE.astype(np.float64)
    pattern = np.random.default_rng(5).standard_normal(window)  # every window adds its own
    kind: Callable[[Array], Any] = (lambda x: x) if library == "numpy" else need("torch").from_numpy
    pieces: Any = kind(pattern)
    got = sliding_window(lambda x: x * pieces, kind(image), window, step, blend, sigma=0.2)
    weight = np.ones(window)
    if blend == "gaussian":
        sides = [np.exp(-(((np.arange(n) - (n - 1) / 2) / (0.2 * n)) ** 2) / 2) for n in window]
        weight = np.outer(*sides)
    total, sums = np.zeros(image.shape[1:]), np.zeros(image.shape)
    for y in (*range(0, 41, 5), 41):
        for x in (*range(0, 61, 4), 61):
            part = np.s_[..., y : y + 12, x : x + 10]
            total[part] += weight
            sums[part] += weight * (image[part] * pattern)
    np.testing.assert_allclose(np.asarray(got), sums / total, rtol=0, atol=1e-13)


@pytest.mark.parametrize("run", [overlap_tile, sliding_window])
def test_results_do_not_depend_on_the_batch_or_the_thread(run: Callable[..., Any]) -> None:
    def model(x: Array) -> Array:  # of the whole window, so that windows disagree
        return x * x.mean((-1, -2), keepdims=True) + x.max((-1, -2), keepdims=True)

    results = [run(model, IMAGE, 16, 8, batch_size=n, prefetch=ahead) for n, ahead in ((1, 2), (4, 0), (7, 1), (99, 9))]
    for other in results[1:]:
        equal(other, results[0])


# ---- images and models of every kind


def test_layouts() -> None:
    """Channels last, planes, and models without channels: as the model says, of the same values."""
    want = valid(padded(IMAGE, 2)[None])[0]
    last = np.ascontiguousarray(IMAGE.transpose(1, 2, 0))
    model = lambda x: valid(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)  # noqa: E731
    equal(overlap_tile(model, last, 16, 2, channels_last=True), want.transpose(1, 2, 0))
    equal(overlap_tile(lambda x: valid(x)[:, 1], IMAGE, 16, 2), want[1])
    equal(overlap_tile(lambda x: model(x)[..., 1], last, 16, 2, channels_last=True), want[1])
    for channels_last in (False, True):
        shapes = set()

        def plane(x: Array, shapes: set[tuple[int, ...]] = shapes) -> Array:
            shapes.add(x.shape[1:])
            return x.reshape(len(x), 8, 8)

        equal(sliding_window(plane, IMAGE[0], 8, 5, channels_last=channels_last), IMAGE[0])
        assert shapes == {(8, 8, 1) if channels_last else (1, 8, 8)}


def test_models() -> None:
    """A session, a module, a function of tensors: what comes back is as the image is."""
    want = valid(padded(IMAGE, 2)[None])[0]
    equal(overlap_tile(Session(valid), IMAGE, 16, 2), want)
    torch = need("torch")

    class Module(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Any) -> Any:
            assert not torch.is_grad_enabled()
            return x * self.factor

    equal(sliding_window(Module(), IMAGE, 16, 9), IMAGE * 2)
    equal(sliding_window(lambda x: torch.from_numpy(x) * 2, IMAGE, 16, 9), IMAGE * 2)
    tensor = torch.from_numpy(IMAGE).requires_grad_()
    for model in (Session(lambda x: x * 2), Module(), lambda x: x.numpy() * 2):
        got = sliding_window(model, tensor, 16, 9)
        assert type(got) is torch.Tensor
        assert torch.equal(got, tensor.detach() * 2)
    half = sliding_window(lambda x: x.bfloat16(), tensor, 16, 9)
    assert half.dtype is torch.bfloat16
    assert torch.equal(half, tensor.detach().bfloat16())


def test_onnx_runtime() -> None:
    """A session of its own: one node, Relu, of any shape."""
    ort = need("onnxruntime")
    shape = b"".join(b"\n\x03\x12\x01" + axis for axis in (b"n", b"c", b"h", b"w"))
    value = [b"\x1f\n\x01" + name + b"\x12\x1a\n\x18\x08\x01\x12\x14" + shape for name in (b"x", b"y")]
    graph = b'\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ' + value[0] + b"b" + value[1]
    model = b"\x08\x07:" + bytes([len(graph)]) + graph + b"B\x04\n\x00\x10\r"  # IR 7, opset 13
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = IMAGE - np.float32(0.5)
    equal(sliding_window(session, image, 16, 9, batch_size=3), np.maximum(image, 0))
    torch = need("torch")
    assert torch.equal(overlap_tile(session, torch.from_numpy(image), 16, 2), torch.from_numpy(image).relu())


@pytest.mark.parametrize("run", [overlap_tile, sliding_window])
def test_out_and_images_that_are_read_by_slices(run: Callable[..., Any]) -> None:
    image, out = Sliced(IMAGE), Sliced(np.full((3, 53, 71), 7, np.float64))
    model = lambda x: x * 2 if run is sliding_window else x[..., 4:-4, 4:-4] * 2  # noqa: E731
    assert run(model, image, 16, 4, out=out) is out
    equal(out.data, (IMAGE * 2).astype(np.float64))
    assert image.largest <= 3 * 24 * 24
    mine = np.empty(IMAGE.shape, np.float32)
    assert run(model, IMAGE, 16, 4, out=mine) is mine
    equal(mine, IMAGE * 2)
    torch = need("torch")
    tensor = torch.empty(IMAGE.shape)
    assert run(model, IMAGE, 16, 4, out=tensor) is tensor
    equal(tensor.numpy(), mine)
    mine[...] = 0
    run(model, torch.from_numpy(IMAGE), 16, 4, out=mine)
    equal(mine, IMAGE * 2)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[int, int]] = []
    sliding_window(lambda x: x, IMAGE, (53, 20), (53, 17), batch_size=3, progress=lambda *x: calls.append(x))
    assert calls == [(3, 4), (4, 4)]
    need("rich")
    bar: Progress = True
    overlap_tile(lambda x: x, IMAGE, 16, 0, progress=bar)
    assert not capsys.readouterr().out


def test_a_model_that_fails_ends_the_thread() -> None:
    import threading

    def model(x: Array) -> Array:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        overlap_tile(model, IMAGE, 8, 0)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastdet-windows")]


# ---- memory


@pytest.mark.skipif(sys.platform != "linux", reason="missing limit: RLIMIT_DATA counts mapped memory on Linux only")
def test_images_larger_than_memory(python: Callable[..., Any]) -> None:
    """900 MB in, 900 MB out, with 160 MB to work in; the limit is seen to hold. FASTDET_TEST_SIDE makes it smaller."""
    python(
        """
import os, resource
import numpy as np
from fastdet.inference import overlap_tile, sliding_window

side = int(os.environ.get("FASTDET_TEST_SIDE", 30_000))
image = np.memmap("image", np.uint8, "w+", shape=(side, side))
spots = np.random.default_rng(0).integers(0, side, (200, 2))
spots[:4] = (0, 0), (0, side - 1), (side - 1, 5), (1999, 2000)
image[tuple(spots.T)] = np.arange(1, 201)
out = np.memmap("out", np.uint8, "w+", shape=(side, side))
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (160 << 20),) * 2)
try:
    np.ones(170 << 20, np.uint8)
except MemoryError:
    pass
else:
    raise AssertionError("the limit is none")

# where each value goes: one pixel down, two to the right
done = []
assert overlap_tile(lambda x: x[:, 0, 2:-6, 1:-7], image, 2000, 4, out=out, progress=lambda *x: done.append(x)) is out
assert done[-1] == ((-side // 2000) ** 2,) * 2
y, x = spots.T
inside = (y + 2 < side) & (x + 3 < side)
assert (out[y[inside] + 2, x[inside] + 3] == image[y[inside], x[inside]]).all()
assert sum(int(np.count_nonzero(out[i : i + 500])) for i in range(0, side, 500)) >= inside.sum() > 190

# blended: a band of rows stays in memory
rows = image[: side // 10]
floats = np.memmap("floats", np.float32, "w+", shape=rows.shape)
sliding_window(lambda x: x[:, 0] * np.float32(0.5), rows, 256, 192, "gaussian", out=floats, batch_size=8)
for i in range(0, len(rows), 500):
    assert np.array_equal(floats[i : i + 500], rows[i : i + 500] * np.float32(0.5))
"""
    )


# ---- errors

OUT = np.empty((3, 50, 71), np.float32)
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: overlap_tile(valid, [[1.0]], 8, 2), TypeError, "overlap_tile: image must be an array, got list"),
    (lambda: overlap_tile(3, IMAGE, 8, 2), TypeError,
     "overlap_tile: model must be a torch module, a session or a function, got int"),
    (lambda: overlap_tile(Session(valid, 2), IMAGE, 8, 2), ValueError,
     "overlap_tile: model must have one input, got 2"),
    (lambda: overlap_tile(valid, IMAGE[None], 8, 2), ValueError,
     "overlap_tile: image must have shape (H, W) or (C, H, W), none of them 0, got (1, 3, 53, 71)"),
    (lambda: overlap_tile(valid, IMAGE[:, :0], 8, 2, channels_last=True), ValueError,
     "overlap_tile: image must have shape (H, W) or (H, W, C), none of them 0, got (3, 0, 71)"),
    (lambda: overlap_tile(valid, np.ma.masked_array(IMAGE), 8, 2), TypeError,
     "overlap_tile: image must be a plain array, got a masked array"),
    (lambda: overlap_tile(valid, IMAGE, 0, 2), ValueError, "overlap_tile: tile must be 1 or more, got 0"),
    (lambda: overlap_tile(valid, IMAGE, 8, -2), ValueError, "overlap_tile: margin must be in [0, 2**31), got -2"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, "reflect"), ValueError,
     "overlap_tile: mode must be one of 'mirror', 'edge', 'zero', got 'reflect'"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, step=9), ValueError,
     "overlap_tile: step must be at most tile (8, 8), got (9, 9)"),
    (lambda: overlap_tile(valid, IMAGE, 8, 3), ValueError,
     "overlap_tile: model must make (8, 8) or (14, 14) of a tile of (14, 14) with its margin, got (10, 10)"),
    (lambda: overlap_tile(lambda x: x.sum(), IMAGE, 8, 3), ValueError,
     "overlap_tile: model must give (n, K, h, w) or (n, h, w) with n = 1, got ()"),
    (lambda: overlap_tile(lambda x: [x, x], IMAGE, 8, 0), ValueError, "overlap_tile: model must give one array, got 2"),
    (lambda: overlap_tile(lambda x: "no", IMAGE, 8, 0), TypeError, "overlap_tile: model must give an array, got str"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=OUT), ValueError,
     "overlap_tile: out must have shape (3, 53, 71), got (3, 50, 71)"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=np.zeros((3, 53, 71), int)), TypeError,
     "overlap_tile: out must hold the model's float32, got int64"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=3), TypeError, "overlap_tile: out must be an array, got int"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, batch_size=0), ValueError,
     "overlap_tile: batch_size must be 1 or more, got 0"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, prefetch=-1), ValueError,
     "overlap_tile: prefetch must be 0 or more, got -1"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, progress="bar"), TypeError,
     "overlap_tile: progress must be True or a function, got 'bar'"),
    (lambda: sliding_window(valid, IMAGE, 8, 9), ValueError,
     "sliding_window: step must be at most window (8, 8), got (9, 9)"),
    (lambda: sliding_window(valid, IMAGE, 8, 8), ValueError,
     "sliding_window: model must give (n, K, h, w) or (n, h, w) with n = 1, h, w = (8, 8), got (1, 3, 4, 4)"),
    (lambda: sliding_window(lambda x: x.astype(int), IMAGE, 8, 4), TypeError,
     "sliding_window: model must give floats where windows overlap, got int64; or pass step = window"),
    (lambda: sliding_window(valid, IMAGE, 8, 8, "linear"), ValueError,
     "sliding_window: blend must be one of 'constant', 'gaussian', got 'linear'"),
    (lambda: sliding_window(valid, IMAGE, 8, 8, sigma=0), ValueError, "sliding_window: sigma must be above 0, got 0.0"),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_errors(row: int) -> None:
    call, kind, text = ERRORS[row]
    with pytest.raises(kind, match=re.escape(text)):
        call()
