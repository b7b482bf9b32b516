"""Inference: the laws of tiles and windows, devices, and memory."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from reach import exhaustive
from samples import Array
from tiled import IMAGE, PAD, padded, valid

from fastdet.inference import overlap_tile, sliding_window
from fastdet.inference._images import Image, Place

# ---- overlap tiles


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize("tile", [8, (16, 9), (53, 71), (7, 200), 500])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_overlap_tile_is_the_whole_image_at_once(mode: str, tile: Any, batch_size: int) -> None:
    """Tiles of valid convolutions give the whole image's result, equal where every pixel is computed alike."""
    got = overlap_tile(valid, IMAGE, tile, 2, mode, batch_size=batch_size)
    equal(got, valid(padded(IMAGE, 2, mode)[None])[0])


def test_overlap_tile_of_a_small_unet() -> None:
    """Pooling and upsampling: exact where the step is a multiple of the total stride."""
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
    """A network that pads keeps the size; its margins, which depend on the padding, are cut off."""
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
def test_a_pointwise_model_is_exact(blend: str, window: Any, step: Any, kind: str) -> None:
    """Equal bit for bit, infinities, NaN and signed zeros included."""
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


@pytest.mark.parametrize("size", [(48, 64), (53, 71), (9, 16)])
def test_integers_where_the_last_window_is_moved_back(size: tuple[int, int]) -> None:
    """A pixel comes from the first window that holds it; integers are accepted for every size of the image."""
    height, width = size
    calls: list[int] = []

    def number(x: Array) -> Array:
        first = len(calls)
        calls.extend(range(len(x)))
        return np.arange(first, first + len(x))[:, None, None] * np.ones((16, 16), np.int64)

    across = -(-width // 16)
    want = (np.arange(height) // 16)[:, None] * across + np.arange(width) // 16
    equal(sliding_window(number, np.zeros(size), 16, 16, batch_size=3), want)
    for step in (15, (16, 15)):
        with pytest.raises(TypeError, match="must give floats where windows overlap, got int64"):
            sliding_window(number, np.zeros(size), 16, step)


@pytest.mark.parametrize("run", [overlap_tile, sliding_window])
def test_results_do_not_depend_on_the_batch_or_the_thread(run: Callable[..., Any]) -> None:
    def model(x: Array) -> Array:  # of the whole window, so that windows disagree
        return x * x.mean((-1, -2), keepdims=True) + x.max((-1, -2), keepdims=True)

    results = [run(model, IMAGE, 16, 8, batch_size=n, prefetch=ahead) for n, ahead in ((1, 2), (4, 0), (7, 1), (99, 9))]
    for other in results[1:]:
        equal(other, results[0])


DEVICES = ["cpu", "cuda"]


def on(device: str) -> Any:
    """torch, where it has that device."""
    torch = need("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.manual_seed(0)
    return torch


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("depth", [1, 2])
def test_results_of_a_network_do_not_depend_on_the_batch(device: str, depth: int) -> None:
    torch = on(device)
    unet = need("fastdet.models").UNet
    image = torch.from_numpy(IMAGE).to(device)
    padded = unet(in_channels=3, width=1 / 16, depth=depth, padded=True).eval().to(device)
    valid = unet(in_channels=3, width=1 / 16, depth=depth).eval().to(device)
    runs: list[Callable[[int], Any]] = [
        lambda n: sliding_window(padded, image, 16, 8, "gaussian", batch_size=n),
        lambda n: overlap_tile(valid, image, **valid.tiling(16), batch_size=n),
    ]
    for run in runs:
        want = run(1)
        assert want.device == image.device
        assert want.std() > 1e-3
        for n in (3, 100):
            torch.testing.assert_close(run(n), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_networks_and_images_on_different_devices(device: str) -> None:
    """The result is of the image's kind and device, whatever the network's device."""
    torch = on(device)
    net = torch.nn.Conv2d(3, 2, 1).eval().to(device)
    want = net.cpu()(torch.from_numpy(IMAGE)[None])[0].detach()
    got = sliding_window(net.to(device), IMAGE, 16, 9)
    assert type(got) is np.ndarray
    np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=1e-5)
    back = overlap_tile(net.cpu(), torch.from_numpy(IMAGE).to(device), 16, 2)
    assert back.device.type == device
    torch.testing.assert_close(back.cpu(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_windows_are_cut_on_the_callers_stream(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, a stand-in for CUDA records which thread entered which stream."""
    torch = on(device)
    if device == "cuda":
        image = torch.from_numpy(IMAGE).cuda()
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            got = overlap_tile(lambda x: x * 2, image, 8, 2, prefetch=3)
        torch.cuda.synchronize()
        equal(got.cpu().numpy(), IMAGE * 2)
        return
    entered: list[tuple[str, str]] = []

    class Cuda:
        is_cuda = True

        def __init__(self, tensor: Any) -> None:
            self.tensor = tensor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tensor, name)

        def __getitem__(self, key: Any) -> Any:
            return self.tensor[key]

    @contextlib.contextmanager
    def stream(name: str) -> Iterator[None]:
        entered.append((name, threading.current_thread().name))
        yield

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the caller's of {device}")
    monkeypatch.setattr(torch.cuda, "stream", stream)
    image = Image("op", torch.from_numpy(IMAGE), False)
    image.data = Cuda(image.data)
    for prefetch, want in ((0, []), (2, [("the caller's of cpu", "fastdet-windows_0")] * 2)):
        entered.clear()
        list(image.batches([Place(0, 0, 0, 0), Place(9, 9, 0, 1)], (8, 8), "edge", 1, prefetch))
        assert entered == want


# ---- memory


@pytest.mark.skipif(sys.platform != "linux", reason="missing limit: RLIMIT_DATA counts mapped memory on Linux only")
@pytest.mark.parametrize("side", [15_000, *exhaustive(30_000)])
def test_images_larger_than_memory(python: Callable[..., Any], side: int) -> None:
    """225 or 900 MB in and out, 160 MB of memory; the limit itself is tested first. FASTDET_TEST_SIDE: smaller."""
    python(
        """
import os, resource
import numpy as np
from fastdet.inference import overlap_tile, sliding_window

side = int(os.environ["FASTDET_TEST_SIDE"])
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
    raise AssertionError("the memory limit has no effect")

# the model moves each value one pixel down and two to the right
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
""",
        FASTDET_TEST_SIDE=os.environ.get("FASTDET_TEST_SIDE", str(side)),
    )
