"""RoI ops in ONNX files, by both exporters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import roi

CALLS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "aligned": ("RoiAlign", lambda x, b: roi.roi_align(x, b, (3, 2), 0.25, 2, True)),
    "adaptive": ("RoiAlign", lambda x, b: roi.roi_align(x, b, 4, 0.5)),
    "by image": ("RoiAlign", lambda x, b: roi.roi_align(x, [b[:3, 1:], b[3:, 1:]], 2, 0.25, 3)),
    "half": ("RoiAlign", lambda x, b: roi.roi_align(x.half(), b, 2, 0.25, 2)),
    "multiscale": ("RoiAlign", lambda x, b: roi.multiscale_roi_align([x, x[..., ::2, ::2]], b, 2, [0.25, 0.125],
                                                                     canonical_scale=24, canonical_level=2)),
    "roi_pool": ("MaxRoiPool", lambda x, b: roi.roi_pool(x, b, 2, 0.25)),
}  # fmt: skip


@pytest.mark.parametrize("way", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", CALLS)
def test_ops(tmp_path: Path, name: str, way: str) -> None:
    torch, onnx, runtime = need("torch"), need("onnx"), need("onnxruntime")
    if way != "torchscript":
        need("onnxscript")
    kind, call = CALLS[name]

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any, boxes: Any) -> Any:
            return call(x, boxes)

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((2, 3, 12, 14), np.float32))
    corner, side = rng.random((6, 2)) * 30, rng.random((6, 2)) * 30
    side[0] = 0
    boxes = torch.from_numpy(np.hstack([np.repeat([[0], [1]], 3, 0), corner, corner + side]).astype(np.float32))
    path = tmp_path / "op.onnx"
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(Module(), (x, boxes), str(path), dynamo=way != "torchscript")
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert kind in {node.op_type for node in nodes}
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    (got,) = session.run(None, dict(zip(names, (x.numpy(), boxes.numpy()), strict=True)))
    want = call(x, boxes).numpy()
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 if name == "half" else 2e-6)  # sample by sample there
