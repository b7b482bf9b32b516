"""Inference: images, models and outputs of every kind."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array
from tiled import IMAGE, padded, valid

from fastdet.inference import overlap_tile, sliding_window
from fastdet.inference._models import Progress


class Sliced:
    """An array like zarr's: it has a shape, a dtype and basic slices, and nothing else."""

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
    """A session like ONNX Runtime's."""

    def __init__(self, function: Callable[[Array], Array], inputs: int = 1) -> None:
        self.function, self.inputs = function, inputs

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": f"x{i}"}) for i in range(self.inputs)]

    def run(self, names: None, feed: dict[str, Array]) -> list[Array]:
        assert names is None
        (x,) = feed.values()
        assert type(x) is np.ndarray
        return [self.function(x)]


# ---- images and models of every kind


def test_layouts() -> None:
    """Channels last, planes, and models without channels: the result has the layout of the model's output."""
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
    """A session, a module, a function of tensors: the result is of the image's kind."""
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

    equal(sliding_window(Module().eval(), IMAGE, 16, 9), IMAGE * 2)
    equal(sliding_window(lambda x: torch.from_numpy(x) * 2, IMAGE, 16, 9), IMAGE * 2)
    tensor = torch.from_numpy(IMAGE).requires_grad_()
    for model in (Session(lambda x: x * 2), Module().eval(), lambda x: x.numpy() * 2):
        got = sliding_window(model, tensor, 16, 9)
        assert type(got) is torch.Tensor
        assert torch.equal(got, tensor.detach() * 2)
    half = sliding_window(lambda x: x.bfloat16(), tensor, 16, 9)
    assert half.dtype is torch.bfloat16
    assert torch.equal(half, tensor.detach().bfloat16())


@pytest.mark.filterwarnings("ignore")  # importing zarr warns
def test_zarr(tmp_path: Path) -> None:
    """Image and result are on disk, in chunks that differ from the tiles."""
    zarr = need("zarr")
    image = zarr.open_array(tmp_path / "image.zarr", mode="w", shape=IMAGE.shape, chunks=(1, 13, 17), dtype="f4")
    image[...] = IMAGE
    size = IMAGE.shape[1:]
    for name, call in (
        ("tiles", lambda image, out: overlap_tile(lambda x: x[:, :2] * 2, image, 16, 3, out=out)),
        ("windows", lambda image, out: sliding_window(lambda x: x[:, :2] * 2, image, 16, 9, out=out)),
    ):
        out = zarr.open_array(tmp_path / name, mode="w", shape=(2, *size), chunks=(2, 11, 11), dtype="f4")
        assert call(image, out) is out
        equal(out[...], IMAGE[:2] * 2)
        with pytest.raises(ValueError, match="out must not share memory with image"):
            call(image, image)


def test_onnx_runtime() -> None:
    """A real session of one node, Relu, for any shape."""
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


def views() -> dict[str, Array]:
    """The same image in forms that torch.from_numpy refuses."""
    fixed = IMAGE.copy()
    fixed.flags.writeable = False
    return {
        "upside down": np.ascontiguousarray(IMAGE[:, ::-1])[:, ::-1],
        "big-endian": IMAGE.astype(">f4"),
        "read-only": fixed,
    }


@pytest.mark.parametrize("view", views())
def test_views_that_torch_refuses(view: str) -> None:
    torch = need("torch")
    image, net = views()[view], torch.nn.ReLU().eval()
    for run in (overlap_tile, sliding_window):
        got = run(net, image, 16, 16) if run is sliding_window else run(net, image, 16, 2)
        equal(got, IMAGE)
        assert got.dtype.isnative
    dtypes: set[np.dtype[Any]] = set()
    overlap_tile(lambda x: dtypes.add(x.dtype) or x, image, 16, 0)
    assert all(d.isnative for d in dtypes)
    # a function that gives such a view for a tensor, and a tensor as out
    tensor = torch.from_numpy(IMAGE)
    answer = lambda x: image[None, :, :16, :16] * np.ones((len(x), 1, 1, 1), image.dtype)  # noqa: E731
    equal(overlap_tile(lambda x: image[None], tensor, (53, 71), 0).numpy(), IMAGE)
    equal(overlap_tile(answer, tensor, 16, 0).numpy()[:, :16, :16], IMAGE[:, :16, :16])
    out = torch.empty(IMAGE.shape)
    overlap_tile(lambda x: image[None], IMAGE, (53, 71), 0, out=out)
    equal(out.numpy(), IMAGE)


def test_modules_that_are_not_ready() -> None:
    torch = need("torch")
    net = torch.nn.Conv2d(3, 2, 1)
    with pytest.warns(
        UserWarning, match=re.escape("sliding_window: model is in train mode: call eval() first")
    ) as warned:
        sliding_window(net, IMAGE, 16, 16)
    assert [w.filename for w in warned] == [__file__]
    net.eval()
    for dtype in (np.uint8, np.float64, np.float16):
        name = str(torch.from_numpy(np.zeros(1, dtype)).dtype)
        text = f"sliding_window: image must be torch.float32 as model is, got {name} ("
        with pytest.raises(TypeError, match=re.escape(text)):
            sliding_window(net, IMAGE.astype(dtype), 16, 16)

    class Own(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            if x.dtype == torch.float64:
                raise RuntimeError("out of luck")
            return self.net(x.float())

    assert sliding_window(Own().eval(), IMAGE.astype(np.uint8), 16, 16).shape == (2, 53, 71)
    with pytest.raises(RuntimeError, match="out of luck"):
        sliding_window(Own().eval(), IMAGE.astype(np.float64), 16, 16)


KINDS = ["numpy", "torch", "torch into numpy", "numpy into torch"]


def into(kind: str, values: Any, dtype: str, out_dtype: str) -> Any:
    """``values`` of ``dtype``, written to an out of ``out_dtype``."""
    output, out = np.array(values, dtype).reshape(1, 1, -1), np.zeros((1, len(values)), out_dtype)
    if kind != "numpy":
        torch = need("torch")
        output = torch.from_numpy(output) if kind.startswith("torch") else output
        out = torch.from_numpy(out) if kind.endswith("torch") else out
    return np.asarray(overlap_tile(lambda x: output, np.zeros((1, len(values))), (1, len(values)), 0, out=out))[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype", "out_dtype"),
    [
        ([0, 255, 7], "int64", "uint8"),
        ([-128, 127], "int32", "int8"),
        ([0, 1], "bool", "uint8"),
        ([3, -(2**31)], "int64", "float32"),
        ([np.inf, -np.inf, np.nan, 65504], "float64", "float16"),
        ([1.5, 3e38], "float32", "float64"),
        ([60000], "int64", "float16"),
    ],
)
def test_out_holds(kind: str, values: list[float], dtype: str, out_dtype: str) -> None:
    equal(into(kind, values, dtype, out_dtype), np.array(values, dtype).astype(out_dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype", "out_dtype", "error", "text"),
    [
        ([0, 300], "int64", "uint8", ValueError, "hold the model's values, got 300 for"),
        ([-1, 0], "int16", "uint8", ValueError, "hold the model's values, got -1 for"),
        ([0, 300], "int64", "int8", ValueError, "hold the model's values, got 300 for"),
        ([np.nan, 1e30], "float64", "float16", ValueError, "hold the model's values, got 1e+30 for"),
        ([70000], "int64", "float16", ValueError, "hold the model's values, got 70000 for"),
        ([0.5], "float32", "int64", TypeError, "hold the model's"),
        ([1], "uint8", "bool", TypeError, "hold the model's"),
    ],
)
def test_out_does_not_hold(
    kind: str, values: list[float], dtype: str, out_dtype: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape("overlap_tile: out must " + text)):
        into(kind, values, dtype, out_dtype)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_out_is_apart_from_the_image(library: str) -> None:
    """Shared memory is refused: margins would be read after they are written. Neighbours in one buffer are fine."""
    both = np.stack([IMAGE, IMAGE * 0])
    kind: Callable[[Array], Any] = (lambda x: x) if library == "numpy" else need("torch").from_numpy
    arrays: Any = kind(both)
    equal(np.asarray(overlap_tile(valid, arrays[0].numpy() if library == "torch" else arrays[0], 8, 2, out=arrays[1])),
          valid(padded(IMAGE, 2)[None])[0])  # fmt: skip
    zarr = Sliced(IMAGE)
    for image, out in (
        (arrays[0], arrays[0]), (arrays[0, :, 1:], arrays[0, :, :-1]), (both[0], arrays[0]), (arrays[0], both[0]),
        (zarr, zarr),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape("overlap_tile: out must not share memory with image")):
            overlap_tile(lambda x: x, image, 8, 2, out=out)


@pytest.mark.parametrize("run", [overlap_tile, sliding_window])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_models_whose_output_changes(run: Callable[..., Any], library: str) -> None:
    image = IMAGE if library == "numpy" else need("torch").from_numpy(IMAGE)
    wide = "float64" if library == "numpy" else need("torch").float64
    convert = lambda x: x.astype(wide) if library == "numpy" else x.to(wide)  # noqa: E731
    changes: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
        (lambda x: x[:, :1], ValueError, "model must give 3 channels as before, got 1"),
        (lambda x: x[:, [0, 1]], ValueError, "model must give 3 channels as before, got 2"),
        (lambda x: x[:, 0], ValueError, "model must give 3 channels as before, got no"),
        (convert, TypeError, "float32 as before, got"),
    ]
    for change, error, text in changes:
        calls: list[int] = []

        def model(x: Any, change: Callable[[Any], Any] = change, calls: list[int] = calls) -> Any:
            calls.append(1)
            return x if len(calls) < 3 else change(x)

        with pytest.raises(error, match=re.escape(text)):
            run(model, image, 16, 0) if run is overlap_tile else run(model, image, 16, 16)


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
    run(lambda x: model(x).bfloat16(), torch.from_numpy(IMAGE), 16, 4, out=mine)
    equal(mine, torch.from_numpy(IMAGE * 2).bfloat16().float().numpy())


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    sliding_window(lambda x: x, IMAGE, (53, 20), (53, 17), batch_size=3, progress=lambda *x: calls.append(x))
    assert calls == [(3, 4), (4, 4)]
    need("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    bar: Progress = True
    overlap_tile(lambda x: x, IMAGE, 16, 0, progress=bar)
    shown = capsys.readouterr()
    assert not shown.out
    assert "overlap_tile" in shown.err
    assert "100%" in shown.err


def test_a_model_that_fails_ends_the_thread() -> None:
    def model(x: Array) -> Array:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        overlap_tile(model, IMAGE, 8, 0)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastdet-windows")]


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
    (lambda: overlap_tile(valid, IMAGE, 8, 1), ValueError,
     "overlap_tile: model must give maps of (8, 8) to (10, 10) pixels, larger than (8, 8) by the same on both sides, "
     "got (6, 6)"),
    (lambda: overlap_tile(lambda x: x.sum(), IMAGE, 8, 3), ValueError,
     "overlap_tile: model must give (n, K, h, w) or (n, h, w) with n = 1, got ()"),
    (lambda: overlap_tile(lambda x: [], IMAGE, 8, 0), ValueError,
     "overlap_tile: model must give one array or more, got none"),
    (lambda: overlap_tile(lambda x: "no", IMAGE, 8, 0), TypeError, "overlap_tile: model must give an array, got str"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=OUT), ValueError,
     "overlap_tile: out must have shape (3, 53, 71), got (3, 50, 71)"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=np.zeros((3, 53, 71), int)), TypeError,
     "overlap_tile: out must hold the model's float32, got int64"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=3), TypeError, "overlap_tile: out must be an array, got int"),
    (lambda: overlap_tile(valid, IMAGE, 8, 2, out=views()["read-only"]), ValueError,
     "overlap_tile: out must be writable, got a read-only array"),
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
