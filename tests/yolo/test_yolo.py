"""YOLO's candidates and its post-processing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet import nms
from fastdet.inference import yolo_candidates, yolo_postprocess


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
def test_yolo_candidates_by_hand(backend: str) -> None:
    #                cx  cy  w  h  three classes
    rows = np.array([[[50, 40, 20, 10, 0.1, 0.7, 0.7], [5, 5, 4, 4, 0.25, 0.0, 0.1], [9, 9, 2, 2, 0.9, 0.3, 0.0]]])
    candidates = yolo_candidates(rows, 0.25, candidates_last=False, backend=backend)
    equal(candidates.boxes, np.array([[40, 35, 60, 45], [8, 8, 10, 10.0]]))
    equal(candidates.scores, np.array([0.7, 0.9]))
    assert (candidates.labels.tolist(), candidates.images.tolist()) == ([1, 0], [0, 0])  # equal scores: the lower class
    several = yolo_candidates(rows, 0.25, multi_label=True, candidates_last=False, backend=backend)
    assert several.labels.tolist() == [1, 2, 0, 1]
    object_first = yolo_candidates(rows, 0.2, objectness=True, candidates_last=False, backend=backend)
    equal(object_first.scores, np.array([0.9 * 0.3]))  # the product, not the score of the class alone
    assert object_first.labels.tolist() == [0]
    padded_rows = np.concatenate([rows[0], np.zeros((20, 7))])[None]
    equal(
        tuple(yolo_candidates(padded_rows.transpose(0, 2, 1), backend=backend)), tuple(candidates)
    )  # the shape tells the layout


@pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_nan_is_named(backend: str, planes: bool, transposed: bool) -> None:
    x = np.ones((2, 84, 90) if planes else (2, 90, 84), np.float32)
    for at in ((1, 50, 7), (1, 2, 3), (0, 83, 83)):
        invalid = x.copy()
        invalid[at] = np.nan
        data = np.ascontiguousarray(invalid.transpose(0, 2, 1)).transpose(0, 2, 1) if transposed else invalid
        text = f"yolo_candidates: output must not hold NaN, got NaN at index {at}"
        with pytest.raises(ValueError, match=re.escape(text)):
            yolo_candidates(data, candidates_last=planes, backend=backend)


def yolo_output(images: int = 2) -> Array:
    """(N, 84, 600), v8's, with clusters of candidates."""
    rng = np.random.default_rng(0)
    x = rng.beta(0.3, 9, (images, 84, 600))
    x[:, :2], x[:, 2:4] = rng.integers(0, 12, (images, 2, 600)) * 50, rng.uniform(40, 90, (images, 2, 600))
    return x.astype(np.float32)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_yolo_postprocess_is_decoding_and_nms(multi_label: bool, library: str) -> None:
    """Equal to `multiclass_nms` of all scores, where those of a candidate's other classes are set to 0."""
    output = yolo_output()
    boxes = np.moveaxis(output[:, :4], 1, 2)
    half = np.float32(0.5) * boxes[..., 2:]
    corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    scores = np.moveaxis(output[:, 4:], 1, 2).copy()
    if not multi_label:
        scores[np.arange(80) != scores.argmax(-1)[..., None]] = 0
    for max_output in (5, 1000):
        want = nms.multiclass_nms(corners, scores, 0.45, score_threshold=0.25, max_output=max_output)
        data = output if library == "numpy" else need("torch").from_numpy(output)
        got = yolo_postprocess(data, max_output=max_output, multi_label=multi_label)
        assert type(got.boxes) is type(data)
        equal(tuple(np.asarray(x) for x in got), tuple(want))
        assert want.count.min() >= 5
    agnostic = yolo_postprocess(output, class_agnostic=True, multi_label=multi_label)
    assert (agnostic.count < want.count).all()
    all_rows = yolo_postprocess(output[:, :, :30], max_output=10**12, multi_label=multi_label, candidates_last=True)
    assert all_rows.boxes.shape == (2, 30 * 80, 4)
    empty = yolo_postprocess(output, score_threshold=1.0, max_output=3)
    assert empty.count.tolist() == [0, 0]
    assert empty.labels.tolist() == [[-1] * 3] * 2
