"""YOLO's functions in programs of torch: traced, exported and compiled, they answer each input; tensor subclasses."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import nms
from fastdet.yolo import yolo_candidates, yolo_postprocess

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CALLS: dict[str, Callable[[Any], Any]] = {
    "candidates": lambda x: yolo_candidates(x, 0.5),
    "postprocess": lambda x: yolo_postprocess(x, max_output=7),
    "segment": lambda x: yolo_postprocess(x, layout="segment", classes=2, candidates_last=True),
    "end_to_end": lambda x: yolo_postprocess(rows(x), layout="end_to_end", candidates_last=True),
}


def rows(x: Any) -> Any:
    """The output as corners, a score, and class 0."""
    corners = x.new_tensor([1, 1, 0, 0, 1, 0])[:, None] * x[:, :6]
    corners[:, 2:4] += x[:, :2] + x[:, 2:4]
    return corners


def output(seed: int, candidates: int = 40) -> Any:
    x = np.random.default_rng(seed).random((1, 9, candidates), np.float32)
    x[:, :4] *= 100
    return need("torch").from_numpy(x)


def check_equal(got: Any, want: Any) -> None:
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g.numpy(), w.numpy())


def module(call: Callable[[Any], Any]) -> Any:
    torch = need("torch")

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return tuple(call(x))

    return Wrapped()


@pytest.mark.parametrize("name", CALLS)
def test_a_trace_answers_each_input(name: str) -> None:
    torch, call = need("torch"), CALLS[name]
    traced = torch.jit.trace(call, (output(0),))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    for program in (traced, torch.jit.load(file)):
        for seed, candidates in ((0, 40), (1, 40), (2, 55)):
            x = output(seed, candidates)
            assert not np.array_equal(call(x).boxes.numpy(), call(output(seed + 3)).boxes.numpy())
            check_equal(program(x), call(x))


@pytest.mark.parametrize("name", CALLS)
def test_an_export_answers_each_size(name: str) -> None:
    torch, call = need("torch"), CALLS[name]
    sizes = {2: torch.export.Dim("P", min=10, max=9000)}
    program = torch.export.export(module(call), (output(0),), dynamic_shapes=(sizes,)).module()
    for seed, candidates in ((1, 40), (2, 55), (3, 300)):
        check_equal(program(output(seed, candidates)), call(output(seed, candidates)))


@pytest.mark.parametrize("name", CALLS)
def test_one_graph(name: str) -> None:
    torch, call = need("torch"), CALLS[name]
    from torch import _dynamo

    _dynamo.reset()
    _dynamo.config.capture_dynamic_output_shape_ops = True
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=True)
    for seed, candidates in ((1, 40), (2, 55)):
        check_equal(compiled(output(seed, candidates)), call(output(seed, candidates)))


@pytest.mark.parametrize("name", CALLS)
def test_a_subclass_is_taken_as_nms_takes_it(name: str) -> None:
    torch, call = need("torch"), CALLS[name]
    marked = type("Marked", (torch.Tensor,), {})
    x = output(0)
    got = call(x.as_subclass(marked))
    boxes = x[0, :4].T.contiguous()
    assert type(got.boxes) is type(nms.nms(boxes.as_subclass(marked), x[0, 5], 0.5))
    check_equal([y.as_subclass(torch.Tensor) for y in got], call(x))


def test_results_have_no_graph() -> None:
    x = output(0).requires_grad_()
    assert not yolo_postprocess(x).scores.requires_grad


def test_one_graph_with_classes() -> None:
    """The axis that ``classes`` tells is found once, for every number of candidates."""
    torch = need("torch")
    call = torch.compile(lambda x: yolo_postprocess(x, classes=5), fullgraph=True, backend="eager")
    for seed, candidates in enumerate((50, 80, 60)):
        x = output(seed, candidates)
        check_equal(call(x), yolo_postprocess(x, classes=5))
