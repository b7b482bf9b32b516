"""Numbers that float32 rounds to 0 or to infinity, wherever an op takes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import FLOATS, equal
from samples import Sample, sample

from fastdet import boxes, nms

SCALARS: dict[str, Callable[[Sample, float, str], Any]] = {
    "threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, min(v, 1.0), backend=b),
    "score_threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, 0.5, score_threshold=v, backend=b),
    "negative score_threshold": lambda s, v, b: nms.nms(s.boxes, s.scores, 0.5, score_threshold=-v, backend=b),
    "multiclass score_threshold": lambda s, v, b: nms.multiclass_nms(
        s.boxes[None], s.scores[None, :, None], 0.5, score_threshold=v, backend=b
    ),
    "min_score": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, min_score=v, backend=b),
    "sigma": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, method="gaussian", sigma=v, backend=b),
    "offset": lambda s, v, b: nms.soft_nms(s.boxes, s.scores, offset=v, backend=b),
    "min_size": lambda s, v, b: boxes.remove_small_boxes(s.boxes, v, backend=b),
    "size": lambda s, v, b: boxes.clip_boxes_to_image(s.boxes, (v, 3.0), backend=b),
    "eps": lambda s, v, b: boxes.distance_box_iou(s.boxes, s.boxes2, v, backend=b),
}


@pytest.mark.parametrize("value", [1e-300, 1e-45, 1e39, 1e300])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scalar", SCALARS)
def test_scalars_beyond_the_dtype(variant: str, scalar: str, dtype: str, value: float) -> None:
    """Every backend gives the reference's answer, or its error where the dtype lacks the number, without a warning."""
    data, call = sample("grid", 40, dtype), SCALARS[scalar]

    def answer(backend: str) -> Any:
        try:
            return call(data, value, backend)
        except ValueError as error:
            return np.array([str(error)])

    equal(answer(variant), answer("reference"))
