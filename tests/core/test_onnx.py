"""Ops in ONNX files, by both exporters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import pool, upsample


def unpooled(x: Any, compact: bool) -> Any:
    values, indices = pool.max_pool2d(x, 3, 2, 1, compact=compact)
    return pool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape[-2:])


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("Resize", lambda x: upsample.upsample_bilinear(x, (9, 14))),
    "smaller": ("Resize", lambda x: upsample.upsample_bilinear(x, 5, align_corners=True)),
    "scale_factor": ("Resize", lambda x: upsample.upsample_bilinear(x, scale_factor=(1.7, 2))),
    "channels_last": ("Resize", lambda x: upsample.upsample_bilinear(x, 4, channels_last=True)),
    "planes": ("Resize", lambda x: upsample.upsample_bilinear(x[0, 0], (9, 14))),
    "max_pool2d": ("MaxPool", lambda x: pool.max_pool2d(x, (3, 2), 2, 1)),
    "max_pool2d values": ("MaxPool", lambda x: pool.max_pool2d(x, 2, return_indices=False)),
    "max_pool2d compact": ("MaxPool", lambda x: pool.max_pool2d(x[0], 3, 2, 1, compact=True)),
    "max_unpool2d": ("ScatterElements", lambda x: unpooled(x, False)),
    "max_unpool2d compact": ("ScatterElements", lambda x: unpooled(x, True)),
    "max_unpool2d size": ("ScatterElements", lambda x: pool.max_unpool2d(*pool.max_pool2d(x, 2), 2)),
}


@pytest.mark.parametrize("way", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", CALLS)
def test_ops(tmp_path: Path, name: str, way: str) -> None:
    torch, onnx, runtime = need("torch"), need("onnx"), need("onnxruntime")
    kind, call = CALLS[name]
    if way != "torchscript":
        need("onnxscript")

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return call(x)

    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 7, 8), np.float32))
    path = tmp_path / "op.onnx"
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(Module(), (x,), str(path), dynamo=way != "torchscript")
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert kind in {node.op_type for node in nodes}
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    want = call(x)
    for g, w in zip(got, want if isinstance(want, tuple) else [want], strict=True):
        assert g.dtype == w.numpy().dtype
        if kind == "Resize":  # other arithmetic
            np.testing.assert_allclose(g, w.numpy(), rtol=0, atol=2e-6)
        else:
            np.testing.assert_array_equal(g, w.numpy())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("way", ["torchscript", "dynamo"])
def test_quantised_images(tmp_path: Path, way: str, dtype: str) -> None:
    """Maxima, unpooling with a zero point, and bilinear with fastdet's rounding, equal but where it is near a half."""
    torch, runtime = need("torch"), need("onnxruntime")
    if way != "torchscript":
        need("onnxscript")

    def call(x: Any) -> Any:
        values, indices = pool.max_pool2d(x, 2)
        return values, pool.max_unpool2d(values, indices, 2, zero_point=-3 if dtype == "int8" else 130)

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return *call(x), upsample.upsample_bilinear(x, scale_factor=2)

    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 10), dtype=np.uint8).view(dtype))
    path = tmp_path / "op.onnx"
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(Module(), (x,), str(path), dynamo=way != "torchscript")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    *got, resampled = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    for g, w in zip(got, call(x), strict=True):
        assert g.dtype == dtype
        np.testing.assert_array_equal(g, w.numpy())
    want = upsample.upsample_bilinear(x, scale_factor=2).numpy()  # weights of quarters: exact
    assert resampled.dtype == dtype
    np.testing.assert_array_equal(resampled, want)


def test_a_program_made_before_is_refused(tmp_path: Path) -> None:
    """It has fastdet's ops; torch says which one it cannot write."""
    torch, _ = need("torch"), need("onnxscript")

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return pool.max_pool2d(x, 2)

    x = torch.zeros(1, 1, 4, 4)
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        program = torch.export.export(Module(), (x,))
        with pytest.raises(Exception, match=r"No ONNX function found for .*fastdet\.max_pool2d"):
            torch.onnx.export(program, (x,), str(tmp_path / "op.onnx"), dynamo=True)
    assert not (tmp_path / "op.onnx").exists()
