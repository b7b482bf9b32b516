"""YOLO's final detections in an ONNX file, by both of torch's exporters."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.yolo import yolo_postprocess


def exported(x: Any, path: Path, dynamo: bool, options: dict[str, Any]) -> Any:
    torch, onnx, runtime = need("torch"), need("onnx"), need("onnxruntime")
    if dynamo:
        need("onnxscript")

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return tuple(yolo_postprocess(x, **options))

    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(Module(), (x,), str(path), dynamo=dynamo)
    assert {node.domain for node in onnx.load(path).graph.node} <= {"", "ai.onnx"}
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("options", [
    {}, {"objectness": True, "class_agnostic": True}, {"multi_label": True, "max_output": 9},
])  # fmt: skip
def test_the_same_detections(tmp_path: Path, options: dict[str, Any], dynamo: bool) -> None:
    torch = need("torch")
    options = {"candidates_last": True, "max_output": 40, **options}

    def output(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        x = np.round(rng.random((2, 9, 60)) * 16) / 16  # many scores are equal
        x[:, :4] *= 32
        return torch.from_numpy(x.astype(np.float32))

    session = exported(output(0), tmp_path / "yolo.onnx", dynamo, options)
    for seed in (0, 1):
        got = session.run(None, {session.get_inputs()[0].name: output(seed).numpy()})
        for g, w in zip(got, yolo_postprocess(output(seed), **options), strict=True):
            assert g.dtype == w.numpy().dtype
            np.testing.assert_array_equal(g, w.numpy())


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    x = need("torch").rand(1, 6, 20)
    with pytest.raises(NotImplementedError, match=r"layout must be 'detect' in an export to ONNX, got 'end_to_end'"):
        exported(x, tmp_path / "x.onnx", False, {"layout": "end_to_end", "candidates_last": True})
