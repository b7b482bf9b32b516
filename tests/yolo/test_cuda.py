"""YOLO's final detections on the CUDA emulator: equal to the CPU, padded alike, and with the same errors."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from op_rows import equal

from fastdet import inference

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]


def outputs(images: int, candidates: int, classes: int, objectness: bool = False) -> Any:
    rng = np.random.default_rng(candidates)
    x = rng.random((images, candidates, classes + (5 if objectness else 4))).astype(np.float32) ** 4
    x[..., :2], x[..., 2:4] = rng.random((images, candidates, 2)) * 100, rng.random((images, candidates, 2)) * 40
    return x


@pytest.mark.parametrize("options", [
    {}, {"class_agnostic": True}, {"multi_label": True}, {"objectness": True}, {"max_output": 3},
    {"metric": "ios", "multi_label": True, "class_agnostic": True}, {"score_threshold": 2.0},
])  # fmt: skip
@pytest.mark.parametrize("images", [1, 3])
def test_postprocess(emulator: emulated.Emulator, options: dict[str, Any], images: int) -> None:
    x = outputs(images, 300, 7, options.get("objectness", False))
    want = inference.yolo_postprocess(x, **options)
    for seed, data in enumerate((x, np.ascontiguousarray(x.transpose(0, 2, 1)), x.transpose(0, 2, 1))):
        emulator.seed(seed)
        last = data.shape[2] == 300
        equal(on_cpu(inference.yolo_postprocess(on_gpu(data), candidates_last=last, **options)), want)


@pytest.mark.parametrize("candidates", [0, 1, 31, 32, 33, 255, 256, 257])
def test_sizes(candidates: int) -> None:
    for classes in (1, 31, 33):
        x = outputs(2, candidates, classes)
        for planes in (False, True):
            data = np.ascontiguousarray(x.transpose(0, 2, 1)) if planes else x
            want = inference.yolo_candidates(data, candidates_last=planes, backend="reference")
            equal(on_cpu(inference.yolo_candidates(on_gpu(data), candidates_last=planes)), want)


@pytest.mark.parametrize("layout", ["segment", "pose", "end_to_end", "end_to_end_segment"])
def test_layouts(emulator: emulated.Emulator, layout: str) -> None:
    x = outputs(2, 300, 2 if "end" in layout else 7 + 6)
    if "end" in layout:
        x[..., 5] = np.arange(300) % 80
        x[..., 2:4] += x[..., :2]
        x = np.concatenate([x, x[..., :6] * 50 - 9], 2) if "segment" in layout else x
    else:
        x[..., 11:] = x[..., 11:] * 50 - 9
    options: Any = {"layout": layout, "classes": 80 if "end" in layout else 7}
    for seed, data in enumerate((x, np.ascontiguousarray(x.transpose(0, 2, 1)), x.transpose(0, 2, 1))):
        emulator.seed(seed)
        last = data.shape[2] == 300
        for function in (inference.yolo_candidates, inference.yolo_postprocess):
            want = function(data, candidates_last=last, backend="reference", **options)
            equal(on_cpu(function(on_gpu(data), candidates_last=last, **options)), want)
            assert len(want) == (4 if layout == "end_to_end" else 5)


def test_same_errors() -> None:
    x = outputs(2, 40, 5)
    nan, infinite = x.copy(), x.copy()
    nan[1, 7, 6], nan[1, 3, 8], nan[1, 3, 2] = np.nan, np.nan, np.nan
    infinite[1, 11, :4], infinite[1, 11, 6] = np.inf, 1
    above, below = x.copy(), x.copy()
    above[1, 7, 6], above[1, 20, 4], below[0, 39, 8], below[1, 0, 0] = 1.5, 600, -0.25, np.nan
    two = np.array([[[1, 2, 3, 4, 0.9, 1]] * 40], np.float32)
    wrong = [y for z in (nan, above, below, two) for y in (z, np.ascontiguousarray(z.transpose(0, 2, 1)))]
    for data in (*wrong, nan.transpose(0, 2, 1), above.transpose(0, 2, 1), infinite):
        last = data.shape[2] == 40
        with pytest.raises(ValueError, match="must") as want:
            inference.yolo_postprocess(data, candidates_last=last)
        with pytest.raises(ValueError, match="must") as got:
            inference.yolo_postprocess(on_gpu(data), candidates_last=last)
        assert str(got.value) == str(want.value)
