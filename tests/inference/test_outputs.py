"""Models with several maps, pictures whose channels come last, and how far tiles are from the whole image."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet.inference import detect, overlap_tile, sliding_window, sliding_window_boxes, tiling_error

IMAGE: Array = np.random.default_rng(0).random((3, 37, 50), np.float32)
RUNS: dict[str, Callable[..., Any]] = {
    "overlap_tile": lambda model, image, **options: overlap_tile(model, image, 16, 0, batch_size=2, **options),
    "sliding_window": lambda model, image, **options: sliding_window(model, image, 16, 9, batch_size=2, **options),
}


def two(x: Any) -> Any:
    """Maps of other channels and another dtype."""
    return {"out": x * 2, "aux": (x[:, 0] + 1).astype(np.float64)}


@pytest.mark.parametrize("run", RUNS)
def test_a_model_with_several_maps(run: str) -> None:
    call = RUNS[run]
    want = {"out": call(lambda x: x * 2, IMAGE), "aux": call(lambda x: (x[:, 0] + 1).astype(np.float64), IMAGE)}
    got = call(two, IMAGE)
    assert type(got) is dict
    assert list(got) == ["out", "aux"]
    pair = call(lambda x: tuple(two(x).values()), IMAGE)
    assert type(pair) is tuple
    for i, name in enumerate(got):
        equal(got[name], want[name])
        equal(pair[i], want[name])
    buffers = {"aux": np.zeros((37, 50)), "out": np.zeros((3, 37, 50))}
    assert call(two, IMAGE, out=buffers) is buffers
    np.testing.assert_array_equal(buffers["out"], want["out"])
    np.testing.assert_array_equal(buffers["aux"], want["aux"])
    both = np.zeros((3, 37, 50)), np.zeros((37, 50))
    assert call(lambda x: list(two(x).values()), IMAGE, out=both) is both
    np.testing.assert_array_equal(both[1], want["aux"])
    equal(call(lambda x: [x], IMAGE), call(lambda x: x, IMAGE))  # a session's list of one


@pytest.mark.parametrize("run", RUNS)
def test_torch_networks_with_several_maps(run: str) -> None:
    torch = need("torch")

    class Network(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return {"out": x * 2, "aux": x[:, 0]}

    got = RUNS[run](Network().eval(), torch.from_numpy(IMAGE))
    assert isinstance(got["out"], torch.Tensor)
    equal(got["out"].numpy(), IMAGE * 2)
    equal(got["aux"].numpy(), IMAGE[0])


@pytest.mark.parametrize("run", RUNS)
def test_other_maps_than_before(run: str) -> None:
    call, calls = RUNS[run], iter(range(99))
    with pytest.raises(ValueError, match=f"^{run}: model must give arrays named 'a' as the first call, got one array$"):
        call(lambda x: x if next(calls) else {"a": x}, IMAGE)
    with pytest.raises(ValueError, match=f"^{run}: model must give 2 arrays as out, got 3 arrays$"):
        call(lambda x: (x, x, x), IMAGE, out=(np.zeros((3, 37, 50)), np.zeros((3, 37, 50))))
    with pytest.raises(ValueError, match=f"^{run}: model must give arrays named 'b' as out, got arrays named 'a'$"):
        call(lambda x: {"a": x}, IMAGE, out={"b": np.zeros((3, 37, 50))})
    with pytest.raises(TypeError, match=f"^{run}: model must give an array, got str$"):
        call(lambda x: {"a": x, "b": "text"}, IMAGE)


PICTURE: Array = np.zeros((40, 60, 3), np.float32)


def test_a_picture_is_not_40_channels() -> None:
    calls: list[Any] = []
    got = "got (40, 60, 3), which is 40 channels of 60 x 3 pixels"
    text = f"channels_last must be True for a picture (H, W, C), {got}; False if it is"
    for call in (
        lambda image, **options: overlap_tile(calls.append, image, 16, 0, **options),
        lambda image, **options: sliding_window(calls.append, image, 16, 16, **options),
        lambda image, **options: sliding_window_boxes(calls.append, image, 16, 16, **options),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            call(PICTURE)
        for image in (PICTURE[..., :1], np.zeros((40, 60, 4))):
            with pytest.raises(ValueError, match="channels_last must be True for a picture"):
                call(image)
    for image in (PICTURE, PICTURE[None]):
        with pytest.raises(ValueError, match=r"^detect: image must be channels first, not a picture \(H, W, C\), got"):
            detect(calls.append, image, lambda x: x)
    assert not calls
    shapes = set()
    for last in (True, False):
        run = overlap_tile(lambda x: (shapes.add(x.shape), x)[1], PICTURE, 60, 0, channels_last=last)
        assert run.shape == PICTURE.shape
    assert shapes == {(1, 60, 60, 3), (1, 40, 60, 60)}
    assert overlap_tile(lambda x: x, np.zeros((40, 60, 5)), 8, 0).shape == (40, 60, 5)  # channels that no picture has
    assert overlap_tile(lambda x: x, np.zeros((3, 40, 4)), 8, 0).shape == (3, 40, 4)


def local(x: Array) -> Array:
    """The largest of 3 x 3 pixels; zeros around."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = np.maximum(np.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return np.maximum(np.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


@pytest.mark.parametrize("side", [20, 64, 100, 130])
def test_tiling_error(side: int) -> None:
    image: Array = np.random.default_rng(side).random((1, side, side + 7))
    assert tiling_error(local, image) == 0
    assert tiling_error(local, image[0]) == 0
    assert tiling_error(lambda x: {"a": local(x), "b": x}, image) == 0
    assert tiling_error(local, image, 8, 0) > 0.01  # a margin below the reach
    assert tiling_error(lambda x: x - x.max((2, 3), keepdims=True) * x[:, :, :1, :1], image, 16, 4) > 0.01
    labels = lambda x: (x > x.mean((2, 3), keepdims=True)).astype(np.int64)  # noqa: E731
    assert tiling_error(labels, image, 16, 4) in (0, 1)
    assert tiling_error(lambda x: x * np.nan, image) == 0


def test_tiling_error_by_hand() -> None:
    small = np.random.default_rng(0).random((3, 32, 32))
    assert tiling_error(lambda x: x - x.mean((2, 3), keepdims=True), small) > 0.001  # not one tile against itself
    with pytest.raises(
        ValueError, match=r"tiling_error: tile must be smaller than the image, \(32, 32\), got \(32, 40"
    ):
        tiling_error(local, small, (32, 40), 8)
    image = np.arange(4.0).reshape(1, 1, 4)
    assert tiling_error(lambda x: x * 0 + x.mean((2, 3), keepdims=True), image, (1, 2), 0) == 1  # 0.5 and 2.5, not 1.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tiling_error_of_networks() -> None:
    """A U-Net says its own tiles; DeepLab v3 has a mean of the whole image."""
    torch = need("torch")
    torch.manual_seed(0)
    models = need("fastdet.models")
    unet = models.UNet(width=1 / 32, depth=2).eval()
    padded = models.UNet(width=1 / 32, depth=2, padded=True).eval()
    with torch.no_grad():
        assert tiling_error(unet, torch.rand(1, 84, 84)) < 1e-5
        assert tiling_error(unet, torch.rand(1, 75, 101)) < 1e-5  # no side that the network takes as it is
        assert tiling_error(padded, torch.rand(1, 64, 64)) < 1e-5  # the margin of 32 holds its reach
        deeplab = models.DeepLabV3(3, width=1 / 32).eval()
        assert tiling_error(deeplab, torch.rand(3, 64, 64)) > 1e-5
