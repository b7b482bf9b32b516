"""The layouts of YOLO's heads by name, and what is refused: other channels, scores outside [0, 1], no class."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet.yolo import (
    Candidates,
    Detections,
    ExtendedCandidates,
    ExtendedDetections,
    yolo_candidates,
    yolo_postprocess,
)

BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])
# x1 y1 x2 y2 score class: two images of three rows, the last of each as exporters pad them
ROWS = np.array([
    [[10, 20, 30, 40, 0.5, 56], [1, 2, 3, 4, 0.9, 0], [0, 0, 0, 0, 0, 0]],
    [[10, 20, 30, 40, 0.6, 7], [10, 20, 30, 40, 0.6, 7], [0, 0, 0, 0, 0, 0]],
])  # fmt: skip


def head(classes: int, extras: int, candidates: int = 40) -> Array:
    """(1, candidates, 4 + classes + extras): few boxes above 0.25, extras as coefficients are, below 0 and above 1."""
    rng = np.random.default_rng(classes + extras)
    x = rng.normal(0, 300, (1, candidates, 4 + classes + extras))
    x[..., :4], x[..., 4 : 4 + classes] = rng.uniform(10, 600, (1, candidates, 4)), 0.01
    x[0, [3, 7, 9], 4 + np.array([0, classes - 1, 0])] = 0.5, 0.9, 0.7
    return x


@BACKENDS
def test_end_to_end(backend: str) -> None:
    """Rows are final: equal boxes stay, in order of score."""
    options: Any = {"layout": "end_to_end", "backend": backend}
    found = yolo_candidates(ROWS, 0.25, **options)
    assert type(found) is Candidates
    equal(found.boxes, ROWS[[0, 0, 1, 1], [0, 1, 0, 1], :4])
    assert (found.labels.tolist(), found.images.tolist()) == ([56, 0, 7, 7], [0, 0, 1, 1])
    final = yolo_postprocess(ROWS, layout="end_to_end", classes=80, backend=backend)
    assert type(final) is Detections
    assert final.boxes.shape == (2, 3, 4)
    assert final.scores.tolist() == [[0.9, 0.5, 0], [0.6, 0.6, 0]]
    assert final.labels.tolist() == [[0, 56, -1], [7, 7, -1]]
    assert final.boxes[0, 0].tolist() == [1, 2, 3, 4]
    assert final.count.tolist() == [2, 2]
    planes = np.ascontiguousarray(ROWS.transpose(0, 2, 1))
    for data in (planes, ROWS.astype(np.float32), planes[:1], ROWS[:, :2]):  # 6 channels tell the axis
        got = yolo_postprocess(data, max_output=1, **options)
        assert got.labels.tolist() == [[0], [7]][: len(data)]


@BACKENDS
@pytest.mark.parametrize(("layout", "classes", "extras"), [("segment", 80, 32), ("pose", 1, 51), ("segment", 2, 1)])
def test_what_follows_the_classes(backend: str, layout: str, classes: int, extras: int) -> None:
    """The boxes are those of the head without extras; the extras are those of the same rows."""
    x = head(classes, extras)
    for planes in (False, True):
        data = np.ascontiguousarray(x.transpose(0, 2, 1)) if planes else x
        bare = yolo_postprocess(x[..., : 4 + classes], max_output=40 * classes, candidates_last=False)
        options: Any = {"layout": layout, "classes": classes, "candidates_last": planes, "backend": backend}
        final = yolo_postprocess(data, max_output=40 * classes, **options)
        assert isinstance(final, ExtendedDetections)
        equal(tuple(final[:4]), tuple(bare))
        equal(final.extras[0, :3], x[0, [7, 9, 3], 4 + classes :])
        assert not final.extras[0, 3:].any()
        found = yolo_candidates(data, **options)
        assert isinstance(found, ExtendedCandidates)
        equal(found.extras, x[0, [3, 7, 9], 4 + classes :])


@BACKENDS
def test_end_to_end_with_extras(backend: str) -> None:
    rows = np.concatenate([ROWS, np.arange(2 * 3 * 4.0).reshape(2, 3, 4) - 8], 2)
    for layout in ("end_to_end_segment", "end_to_end_pose"):
        final = yolo_postprocess(rows, layout=layout, candidates_last=False, backend=backend)
        assert isinstance(final, ExtendedDetections)
        assert final.extras[0].tolist() == [[-4, -3, -2, -1], [-8, -7, -6, -5], [0, 0, 0, 0]]


def test_torch_has_the_layouts() -> None:
    torch = need("torch")
    final = yolo_postprocess(torch.from_numpy(head(3, 8)), layout="segment", classes=3)
    assert isinstance(final.extras, torch.Tensor)
    assert final.extras.shape == (1, 120, 8)


SCORES = "output must have scores in [0, 1], got {} at index {}: name its channels (layout, classes, objectness), or "


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrong", [1.5, -0.25, np.inf, -np.inf, 1 + 2.0**-20])
def test_a_score_outside_0_to_1_is_refused(backend: str, dtype: Any, wrong: float) -> None:
    """The first of all wrong values in memory, in any layout of memory and with any number of classes."""
    for classes, objectness in ((1, False), (3, True), (16, False), (19, True), (40, False)):
        x = np.zeros((2, 53, 4 + objectness + classes), dtype)
        x[..., :4] = 500
        for channel in sorted({4, 4 + objectness, x.shape[2] - 1}):
            at = (1, 47, channel)
            invalid = x.copy()
            invalid[at], invalid[1, 50, channel] = wrong, np.nan
            for planes in (False, True):
                data = np.ascontiguousarray(invalid.transpose(0, 2, 1)) if planes else invalid
                where = (at[0], at[2], at[1]) if planes else at
                for function in (yolo_candidates, yolo_postprocess):
                    text = f"{function.__name__}: {SCORES.format(f'{dtype(wrong):.9g}', where)}"
                    with pytest.raises(ValueError, match="^" + re.escape(text)):
                        function(data, objectness=objectness, candidates_last=planes, backend=backend)


@BACKENDS
def test_both_ends_are_scores(backend: str) -> None:
    x = np.zeros((1, 40, 24), np.float32)
    x[..., 4], x[..., 5] = 1, -0.0
    assert yolo_candidates(x, backend=backend, candidates_last=False).scores.tolist() == [1] * 40


@BACKENDS
def test_other_heads_are_not_read_as_classes(backend: str) -> None:
    """Rows without NMS, mask coefficients and keypoints behind the classes, read as (4 + C)."""
    for data in (ROWS, head(80, 32, 200), head(1, 51, 200)):
        with pytest.raises(ValueError, match=r"output must have scores in \[0, 1\], got"):
            yolo_postprocess(data, candidates_last=False, backend=backend)


def z(*shape: int) -> Array:
    return np.zeros(shape)


def row(*values: float) -> Array:
    return np.array([[values, values]], float)


UNKNOWN = "layout must be 'end_to_end' or classes 2, got neither for 6 channels whose last is 0 or 1: rows x1 y1 x2 y2 "
ERRORS: list[tuple[Array, dict[str, Any], str]] = [
    (row(1, 2, 3, 4, 0.9, 0), {"candidates_last": False}, UNKNOWN),
    (row(1, 2, 3, 4, 0.9, 1).transpose(0, 2, 1), {"candidates_last": True}, UNKNOWN),
    (z(1, 116, 8400), {"classes": 80}, "output must have 4 + 80 channels with layout 'detect', got 116 in "
     "(1, 116, 8400); layout='segment' if mask coefficients follow the classes, 'pose' if keypoints do"),
    (z(1, 8400, 85), {"classes": 80}, "output must have 4 + 80 channels with layout 'detect', got 85 in "
     "(1, 8400, 85); objectness=True if the fifth is Pr(object)"),
    (z(1, 300, 6), {"classes": 80}, "output must have 4 + 80 channels with layout 'detect', got 6 in (1, 300, 6); "
     "layout='end_to_end' if they are x1 y1 x2 y2 score class"),
    (z(1, 84, 8400), {"classes": 80, "layout": "segment"}, "output must have 4 + 80 and more channels with layout "
     "'segment', got 84 in (1, 84, 8400)"),
    (z(1, 30, 8400), {"classes": 1, "layout": "pose"}, "output must have 2 or 3 channels a keypoint with layout 'pose'"
     ", got 25"),
    (z(1, 116, 8400), {"layout": "segment"}, "classes must be a number with layout 'segment', got None: what follows "
     "them is no class"),
    (z(1, 116, 8400), {"layout": "masks"}, "layout must be one of 'detect', 'segment', 'pose', 'end_to_end', "
     "'end_to_end_segment', 'end_to_end_pose', got 'masks'"),
    (z(1, 300, 7), {"layout": "end_to_end"}, "output must have 6 channels, x1 y1 x2 y2 score class, with layout "
     "'end_to_end', got 7 in (1, 300, 7)"),
    (z(1, 300, 6), {"layout": "end_to_end_segment"}, "output must have 6 channels, x1 y1 x2 y2 score class and more, "
     "with layout 'end_to_end_segment', got 6"),
    (z(1, 300, 6), {"layout": "end_to_end", "objectness": True}, "objectness must be False with layout 'end_to_end'"),
    (z(1, 300, 6), {"layout": "end_to_end", "multi_label": True}, "multi_label must be False with layout"),
    (z(1, 84, 84), {}, "candidates_last must be True or False where both axes of output are as long, got None for"),
    (z(1, 84, 90), {"classes": 0}, "classes must be 1 or more, got 0"),
    (row(1, 2, 3, 4, 0.9, 56.5), {"layout": "end_to_end"}, "output must have rows x1 y1 x2 y2 score class, with "
     "classes that are whole numbers, got class 56.5 in row 0 of image 0"),
    (row(1, 2, 3, 4, 0, 0.75), {"layout": "end_to_end"}, "got class 0.75 in row 0 of image 0"),
    (row(50, 50, 20, 20, 0.9, 0), {"layout": "end_to_end"}, "with x1 <= x2 and y1 <= y2, got [50.0, 50.0, "
     "20.0, 20.0] in row 0 of image 0: is it cx cy w h?"),
    (row(1, 2, 3, 4, 0.9, -1), {"layout": "end_to_end"}, "got -1 in row 0 of image 0"),
    (row(1, 2, 3, 4, 0.9, 80), {"layout": "end_to_end", "classes": 80}, "whole numbers of [0, 80) behind the score"),
    (row(1, 2, 3, 4, 56, 0.9), {"layout": "end_to_end"}, SCORES.format(56, (0, 0, 4))),
    (row(1, 2, 3, 4, 0.9, np.nan), {"layout": "end_to_end"}, "output must not hold NaN, got NaN at index (0, 0, 5)"),
]  # fmt: skip


@BACKENDS
@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(backend: str, case: int) -> None:
    data, options, text = ERRORS[case]
    for function in (yolo_candidates, yolo_postprocess):
        with pytest.raises(ValueError, match=re.escape(text)) as error:
            function(data, backend=backend, **options)
        assert str(error.value).startswith(f"{function.__name__}: ")


def test_what_is_no_fault() -> None:
    """Six channels where no reading gives a box, or where the second class has a score between; a padded class."""
    assert not len(yolo_candidates(z(1, 300, 6)).boxes)
    assert yolo_candidates(row(50, 50, 9, 9, 0.9, 0.5), candidates_last=False).labels.tolist() == [0, 0]
    assert yolo_candidates(row(50, 50, 9, 9, 0.9, 0), classes=2, candidates_last=False).labels.tolist() == [0, 0]
    assert not len(yolo_candidates(row(0, 0, 0, 0, 0, -1), layout="end_to_end").boxes)  # not above the threshold
    with pytest.raises(ValueError, match=r"class_agnostic must be False with layout 'end_to_end', got True"):
        yolo_postprocess(ROWS, layout="end_to_end", class_agnostic=True)
