"""Bad input: the same clear error from every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet import proposals

BACKENDS = ("reference", "numba", "cpp")
TOP = {"pre_nms_top_n": 5, "post_nms_top_n": 5}
BOX = np.array([[0.0, 0, 4, 4], [1, 1, 5, 5]])


def with_value(x: Any, index: Any, value: float) -> Any:
    x = np.array(x, np.float64)
    x[index] = value
    return x


def level(images: int = 2, count: int = 6) -> tuple[list[Any], list[Any], list[Any], list[tuple[int, int]]]:
    anchors = np.tile([0.0, 0, 4, 4], (count, 1))
    return [np.zeros((images, count))], [np.zeros((images, count, 4))], [anchors], [(9, 9)] * images


def generate(at: str = "", value: Any = None, **options: Any) -> Callable[[str], Any]:
    def run(backend: str) -> Any:
        arguments = dict(zip(("scores", "deltas", "anchors", "image_sizes"), level(), strict=True))
        return proposals.generate_proposals(
            **{**arguments, **TOP, **({at: value} if at else {}), **options}, backend=backend
        )

    return run


CASES: dict[str, tuple[Callable[[str], Any], type[Exception], str]] = {
    "encode: shapes": (
        lambda b: proposals.encode_boxes(BOX, BOX[:1], backend=b), ValueError,
        r"encode_boxes: anchors must have shape \(2, 4\), one for each box, got \(1, 4\)",
    ),
    "encode: NaN": (
        lambda b: proposals.encode_boxes(with_value(BOX, (1, 2), np.nan), BOX, backend=b), ValueError,
        "encode_boxes: boxes must not hold NaN, got NaN at index 1",
    ),
    "encode: flat anchor": (
        lambda b: proposals.encode_boxes(BOX, with_value(BOX, (1, 2), 1), backend=b), ValueError,
        r"anchors must be finite with a width and a height above 0, got \[1.0, 1.0, 1.0, 5.0\] at index 1",
    ),
    "encode: infinite anchor": (
        lambda b: proposals.encode_boxes(BOX, with_value(BOX, (0, 2), np.inf), backend=b), ValueError,
        "encode_boxes: anchors must be finite",
    ),
    "encode: text": (
        lambda b: proposals.encode_boxes(np.full((2, 4), "x"), BOX, backend=b), TypeError,
        "encode_boxes: boxes must be float16, float32, float64 or integer, got <U1",
    ),
    "encode: weights": (
        lambda b: proposals.encode_boxes(BOX, BOX, (1, 1, 1), backend=b), ValueError,
        r"encode_boxes: weights must be four numbers, got \(1, 1, 1\)",
    ),
    "decode: shape": (
        lambda b: proposals.decode_boxes(BOX[:, :3], BOX, backend=b), ValueError,
        r"decode_boxes: deltas must have shape \(N, 4\) or \(N, C, 4\), got \(2, 3\)",
    ),
    "decode: anchors": (
        lambda b: proposals.decode_boxes(BOX, BOX[:1], backend=b), ValueError,
        r"decode_boxes: anchors must have shape \(2, 4\), one for each row of deltas, got \(1, 4\)",
    ),
    "decode: NaN": (
        lambda b: proposals.decode_boxes(with_value(np.zeros((2, 3, 4)), (1, 2, 0), np.nan), BOX, backend=b),
        ValueError, r"decode_boxes: deltas must not hold NaN, got NaN at index \(1, 2\)",
    ),
    "decode: NaN of anchors": (
        lambda b: proposals.decode_boxes(BOX, with_value(BOX, (1, 0), np.nan), backend=b), ValueError,
        "decode_boxes: anchors must not hold NaN, got NaN at index 1",
    ),
    "decode: limit": (
        lambda b: proposals.decode_boxes(BOX, BOX, max_log_ratio=88, backend=b), ValueError,
        r"decode_boxes: max_log_ratio must be in \[0, 87\], got 88",
    ),
    "decode: weight 0": (
        lambda b: proposals.decode_boxes(BOX, BOX, (1, 1, 0, 1), backend=b), ValueError,
        "decode_boxes: weights must be above 0, got 0",
    ),
    "match: shape": (
        lambda b: proposals.match_boxes(np.zeros(3), 0.7, 0.3, backend=b), ValueError,
        r"match_boxes: iou must have shape \(M, N\), got \(3,\)",
    ),
    "match: NaN": (
        lambda b: proposals.match_boxes(with_value(np.zeros((2, 40)), (1, 33), np.nan), 0.7, 0.3, backend=b),
        ValueError, r"match_boxes: iou must not hold NaN, got NaN at index \(1, 33\)",
    ),
    "match: thresholds": (
        lambda b: proposals.match_boxes(np.zeros((2, 2)), 0.3, 0.7, backend=b), ValueError,
        "match_boxes: low must be at most high, 0.3, got 0.7",
    ),
    "sample: floats": (
        lambda b: proposals.sample_balanced(np.zeros(3), 2, 0.5, seed=0, backend=b), TypeError,
        "sample_balanced: labels must be an integer array, got float64",
    ),
    "sample: shape": (
        lambda b: proposals.sample_balanced(np.zeros((3, 1), int), 2, 0.5, seed=0, backend=b), ValueError,
        "sample_balanced: labels must have shape",
    ),
    "sample: seed": (
        lambda b: proposals.sample_balanced(np.zeros(3, int), 2, 0.5, seed=-1, backend=b), ValueError,
        r"sample_balanced: seed must be in \[0, 2\*\*63\), got -1",
    ),
    "sample: fraction": (
        lambda b: proposals.sample_balanced(np.zeros(3, int), 2, 1.5, seed=0, backend=b), ValueError,
        r"sample_balanced: positive_fraction must be in \[0, 1\], got 1.5",
    ),
    "generate: no level": (
        generate("scores", []), ValueError, "generate_proposals: scores must hold at least one entry, got none",
    ),
    "generate: not a list": (
        generate("scores", 3), TypeError, "generate_proposals: scores must be a list, got 3",
    ),
    "generate: levels": (
        generate("deltas", level()[1] * 2), ValueError,
        "generate_proposals: deltas must have one entry for each of the 1 levels, got 2",
    ),
    "generate: deltas": (
        generate("deltas", [np.zeros((2, 5, 4))]), ValueError,
        r"generate_proposals: deltas must have shape \(2, 6, 4\), got \(2, 5, 4\) on level 0",
    ),
    "generate: anchors": (
        generate("anchors", [np.zeros((5, 4))]), ValueError,
        r"generate_proposals: anchors must have shape \(6, 4\), got \(5, 4\) on level 0",
    ),
    "generate: sizes": (
        generate("image_sizes", [(9, 9)]), ValueError,
        r"generate_proposals: image_sizes must have shape \(2, 2\), height and width, got \(1, 2\)",
    ),
    "generate: negative size": (
        generate("image_sizes", [(9, 9), (9, -1)]), ValueError,
        "generate_proposals: image_sizes must be finite and 0 or more, got -1",
    ),
    "generate: no proposal": (
        generate(post_nms_top_n=0), ValueError, "generate_proposals: post_nms_top_n must be 1 or more, got 0",
    ),
    "generate: threshold": (
        generate(iou_threshold=1.2), ValueError, r"generate_proposals: iou_threshold must be in \[0, 1\], got 1.2",
    ),
    "generate: NaN of scores": (
        generate("scores", [with_value(np.zeros((2, 6)), (1, 4), np.nan)]), ValueError,
        r"generate_proposals: scores must not hold NaN, got NaN on level 0 at index \(1, 4\)",
    ),
    "generate: NaN of deltas": (
        generate("deltas", [with_value(np.zeros((2, 6, 4)), (1, 4, 3), np.nan)]), ValueError,
        r"generate_proposals: deltas must not hold NaN, got NaN on level 0 at index \(1, 4\)",
    ),
    "generate: NaN of anchors": (
        generate("anchors", [with_value(np.zeros((6, 4)), (2, 1), np.nan)]), ValueError,
        "generate_proposals: anchors must not hold NaN, got NaN on level 0 at index 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_errors(name: str, backend: str) -> None:
    run, kind, text = CASES[name]
    with pytest.raises(kind, match=text):
        run(backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_that_is_not_decoded(backend: str) -> None:
    """Only the top's deltas and anchors are looked at; of several NaN the first level's first counts."""
    scores, deltas, anchors, sizes = level(1, 6)
    scores[0][0] = [5, 4, 3, 2, 1, 0]
    deltas[0][0, 5], anchors[0][5] = np.nan, np.nan
    got = proposals.generate_proposals(scores, deltas, anchors, sizes, **TOP, backend=backend)
    assert got.counts.tolist() == [1]
    deltas[0][0, 3:] = np.nan
    anchors[0][2] = np.nan
    with pytest.raises(ValueError, match="anchors must not hold NaN, got NaN on level 0 at index 2"):
        proposals.generate_proposals(scores, deltas, anchors, sizes, **TOP, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_boxes_that_become_nan_are_dropped(backend: str) -> None:
    """inf times the width 0 of an anchor."""
    scores, deltas, anchors, sizes = level(1, 2)
    anchors[0][0, 2] = 0
    deltas[0][0, :, 0] = np.inf
    got = proposals.generate_proposals(scores, deltas, anchors, sizes, **TOP, backend=backend)
    assert got.counts.tolist() == [0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: proposals.grid_anchors([], 1, 1, 1), "grid_anchors: sizes must hold at least one entry, got none"),
        (lambda: proposals.grid_anchors(8, 0, 1, 1), "grid_anchors: aspect_ratios must be above 0, got 0"),
        (lambda: proposals.grid_anchors(8, 1, (1, -1), 1), "grid_anchors: map_size must be in"),
        (lambda: proposals.grid_anchors(8, 1, 1, 0), "grid_anchors: stride must be in"),
        (lambda: proposals.fpn_anchors([8], [1], [1, 2], 9), "sizes must have one entry for each of the 2 maps"),
        (lambda: proposals.fpn_anchors([8], [1], [10], 9), "fpn_anchors: map_sizes must be at most the image's 9 x 9"),
        (lambda: proposals.ssd_default_boxes([1], [[2]], scales=[1]), "ssd_default_boxes: scales must be 2 numbers"),
        (lambda: proposals.ssd_default_boxes([1], [[2]], steps=[4]), "image_size must be given with steps, got None"),
        (lambda: proposals.ssd_default_boxes([1], [[2]], (0, 9)), "image_size must be in"),
    ],
)  # fmt: skip
def test_errors_of_anchors(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_gradients() -> None:
    """The coder refuses tensors whose graph it would cut; the others take them, since indices have no gradient."""
    torch = need("torch")
    x = torch.tensor(BOX, requires_grad=True)
    for call in (lambda: proposals.encode_boxes(x, BOX), lambda: proposals.decode_boxes(x, BOX)):
        with pytest.raises(TypeError, match=r"requires grad and .* keeps no graph"):
            call()
    scores, deltas, anchors, sizes = level()
    tensors = [[torch.from_numpy(v).requires_grad_() for v in xs] for xs in (scores, deltas, anchors)]
    got = proposals.generate_proposals(*tensors, sizes, **TOP)
    assert isinstance(got.boxes, torch.Tensor)
    assert not got.boxes.requires_grad
    assert proposals.match_boxes(x.abs() / 9, 0.7, 0.3).tolist() == [-1, -1, -2, -2]
