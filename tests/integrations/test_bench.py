"""bench/integrations.py: a wrong answer is found, and the frame runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import need_installed, run_command
from optional import need

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def frame() -> Any:
    if not BENCH.is_dir():
        pytest.skip("missing sources: the tests stand apart from the repository")
    spec = importlib.util.spec_from_file_location("before_and_after", BENCH / "harness" / "before_and_after.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAN = float("nan")
BOXES = np.array([[0.0, 1.0], [NAN, 3.0]], np.float32)


def test_equal_answers(frame: Any) -> None:
    for answer in (BOXES, BOXES[:0], np.float64(NAN), NAN, "a", None, [1, (2.0, BOXES)], {"a": BOXES.astype("M8[s]")}):
        assert frame.difference(frame.plain(answer), frame.plain(answer)) is None


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (BOXES.astype(np.float64), "answer is (dtype('float64'), (2, 2)), was (dtype('float32'), (2, 2))"),
        (BOXES.reshape(-1), "answer is (dtype('float32'), (4,)), was (dtype('float32'), (2, 2))"),
        (BOXES * np.float32(-1) * np.float32(-1) + np.float32([[0, 1e-7], [0, 0]]), "answer differs in 1 of 4 numbers"),
        (np.where(np.isnan(BOXES), 0, BOXES), "answer differs in 1 of 4 numbers"),
        (np.array([[-0.0, 1.0], [NAN, 3.0]], np.float32), "answer differs in 1 of 4 numbers"),
        (BOXES.tolist(), "answer is a list, was a ndarray"),
    ],
)
def test_another_array(frame: Any, other: Any, why: str) -> None:
    assert frame.difference(BOXES, other) == why


def test_another_answer(frame: Any) -> None:
    assert frame.difference([1, 2], [1]) == "answer has 1 parts, had 2"
    assert frame.difference({"a": [1]}, {"a": [2]}) == "answer['a'][0] is 2, was 1"
    assert frame.difference({"a": 1}, {"b": 1}) == "answer has the keys ['b'], had ['a']"
    assert frame.difference(1, 1.0) == "answer is a float, was a int"


def test_tensors(frame: Any) -> None:
    torch = need("torch")
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool):
        for shape in ((), (0, 4), (2, 3)):
            one = torch.ones(shape).to(dtype)
            assert frame.difference(one, frame.plain(one.clone())) is None
            if one.numel():
                assert (
                    frame.difference(one, torch.zeros_like(one))
                    == f"answer differs in {one.numel()} of {one.numel()} numbers"
                )
    assert "torch.float16" in frame.difference(torch.ones(2), torch.ones(2).half())
    turned = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    assert frame.difference(frame.plain(turned), frame.plain(turned.detach().contiguous())) is None


def test_the_frame_runs(frame: Any) -> None:
    need_installed("pycocotools")
    command = [sys.executable, str(BENCH / "integrations.py"), "--only", "pycocotools", "--rounds", "1"]
    done = run_command([*command, "--case", "mask.encode"])
    assert done.returncode == 0, done.stderr
    assert " x  equal" in done.stdout
    assert done.stdout.endswith("1 frameworks timed, 0 absent, 0 failed\n")
    done = run_command([*command, "--only", "no_such_framework"])
    assert done.returncode == 2
    assert "--only: no file integrations_no_such_framework.py" in done.stderr
