"""NMS in ONNX files, by both of torch's exporters: ONNX Runtime keeps the same boxes in the same order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need
from samples import sample

from fastdet import nms

CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "nms": lambda b, s, k: nms.nms(b, s, 0.5),
    "nms limits": lambda b, s, k: nms.nms(b, s, 0.3, score_threshold=0.2, max_output=5),
    "batched_nms": lambda b, s, k: nms.batched_nms(b, s, k, 0.5, score_threshold=0.1),
    "batched_nms limits": lambda b, s, k: nms.batched_nms(b, s, k, 0.5, max_output=7),
    "multiclass_nms": lambda b, s, k: tuple(
        nms.multiclass_nms(b[None], scores_of(s, k), 0.4, score_threshold=0.1, max_output=12)
    ),
    "multiclass_nms padded": lambda b, s, k: tuple(
        nms.multiclass_nms(b[None], scores_of(s, k), 0.4, max_output=200, max_per_class=2)
    ),
}


def scores_of(s: Any, k: Any) -> Any:
    """(1, N, 4), few of them equal."""
    return (s[:, None] * (1 + (k[:, None] + 4 + s.new_tensor([0, 1, 2, 3])) % 4) / 4)[None]


def exported(call: Callable[..., Any], inputs: tuple[Any, ...], path: Path, dynamo: bool) -> Any:
    """A session of the file, with any number of boxes, all of ONNX's own ops."""
    torch, onnx, runtime = need("torch"), need("onnx"), need("onnxruntime")
    if dynamo:
        need("onnxscript")

    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            return call(*args)

    names = [f"input{i}" for i in range(len(inputs))]
    any_size = torch.export.Dim.DYNAMIC
    options: dict[str, Any] = {"dynamic_axes": {name: {0: "n"} for name in names}}
    if dynamo:
        options = {"dynamic_shapes": {"args": tuple({0: any_size} for _ in names)}}
    with warnings.catch_warnings():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(Module(), inputs, str(path), dynamo=dynamo, input_names=names, **options)
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert "NonMaxSuppression" in {node.op_type for node in nodes}
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Without the inputs that a network does not use: one exporter leaves them out."""
    return session.run(None, {x.name: inputs[int(x.name[-1])].numpy() for x in session.get_inputs()})


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_boxes(tmp_path: Path, name: str, dynamo: bool) -> None:
    torch, call = need("torch"), CALLS[name]

    def inputs(count: int) -> tuple[Any, ...]:
        data = sample("clustered", count)
        scores = np.round(data.scores.astype(np.float32) * 16) / 16  # many are equal
        boxes, of_box = torch.from_numpy(data.boxes.astype(np.float32)), torch.from_numpy(scores)
        return boxes, of_box, torch.arange(count) * 7 % 4 - 2

    session = exported(call, inputs(30), tmp_path / "nms.onnx", dynamo)
    for count in (30, 57, 9):
        want = call(*inputs(count))
        got = run(session, inputs(count))
        for g, w in zip(got, want if isinstance(want, tuple) else [want], strict=True):
            assert g.dtype == w.numpy().dtype
            np.testing.assert_array_equal(g, w.numpy())


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ["nms", "batched_nms"])
def test_ties_and_empty_boxes(tmp_path: Path, name: str, dynamo: bool) -> None:
    """IoUs that equal the threshold, boxes without area, equal scores, one box, none."""
    torch, rng = need("torch"), np.random.default_rng(0)
    threshold = 1 / 3  # which some IoUs are
    calls: dict[str, Callable[..., Any]] = {
        "nms": lambda b, s, k: nms.nms(b, s, threshold),
        "batched_nms": lambda b, s, k: nms.batched_nms(b, s, k, threshold),
    }

    def inputs(count: int) -> tuple[Any, ...]:
        corners, sides = rng.integers(0, 6, (count, 2)), rng.integers(0, 5, (count, 2))
        boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
        scores, groups = rng.integers(0, 6, count) / 6, rng.integers(0, 3, count)
        return torch.from_numpy(boxes), torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(groups)

    session = exported(calls[name], inputs(30), tmp_path / "nms.onnx", dynamo)
    for count in (30, 25, 40, 7, 2, 1, 0):
        args = inputs(count)
        np.testing.assert_array_equal(run(session, args)[0], calls[name](*args).numpy())


def test_what_onnx_does_not_have(tmp_path: Path) -> None:
    torch = need("torch")
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    text = "nms: metric must be 'iou' in an export to ONNX, which has no other, got 'ios'"
    with pytest.raises(NotImplementedError, match=text):
        exported(lambda b, s: nms.nms(b, s, 0.5, metric="ios"), (boxes, scores), tmp_path / "x.onnx", False)
