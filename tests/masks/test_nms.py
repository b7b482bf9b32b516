"""Suppression by the overlap of masks: the rules on small examples, box NMS and SOLOv2's formula as peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optional import need

from fastdet import masks, nms
from fastdet.masks import RLE

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
Array = NDArray[Any]


def rectangles(boxes: Array, size: tuple[int, int] = (70, 90)) -> RLE:
    y, x = np.mgrid[: size[0], : size[1]]
    x1, y1, x2, y2 = boxes.T[:, :, None, None]
    return masks.encode((x >= x1) & (x < x2) & (y >= y1) & (y < y2))


def some_boxes(n: int, seed: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, 40, (n, 2)), rng.integers(1, 30, (n, 2))
    return np.hstack([corner, corner + side]).astype(float), rng.integers(0, 30, n) / 30, rng.integers(0, 3, n)


@each_backend
@pytest.mark.parametrize("metric", ["iou", "ios"])
def test_rectangles_are_kept_as_their_boxes(backend: str, metric: str) -> None:
    boxes, scores, idxs = some_boxes(150, 0)
    rle = rectangles(boxes)
    options: dict[str, Any] = {"metric": metric, "score_threshold": 0.2, "max_output": 40}
    for threshold in (0.0, 0.3, 0.5, 1.0):
        np.testing.assert_array_equal(
            masks.mask_nms(rle, scores, threshold, backend=backend, **options),
            nms.nms(boxes, scores, threshold, **options),
        )
        np.testing.assert_array_equal(
            masks.mask_nms(rle, scores, threshold, idxs=idxs, backend=backend, **options),
            nms.batched_nms(boxes, scores, idxs, threshold, **options),
        )


@each_backend
def test_known(backend: str) -> None:
    four = masks.encode(np.array([[[1, 1, 1, 1]], [[1, 1, 0, 0]], [[0, 0, 1, 1]], [[0, 1, 0, 0]]]))
    scores = np.array([0.5, 0.9, 0.9, 0.9])
    keep = masks.mask_nms(four, scores, 0.5, backend=backend)
    assert keep.tolist() == [1, 2, 3, 0]  # an overlap of exactly 0.5 stays; equal scores: lower index first
    assert masks.mask_nms(four, scores, 0.49, backend=backend).tolist() == [1, 2]
    assert masks.mask_nms(four, scores, 0.99, metric="ios", backend=backend).tolist() == [1, 2]
    assert masks.mask_nms(four, scores, 0.49, idxs=[1, 1, 2, 3], backend=backend).tolist() == [1, 2, 3]
    assert masks.mask_nms(four, scores, 0.5, score_threshold=0.5, backend=backend).tolist() == [1, 2, 3]
    # masks whose boxes cross and that have no pixel in common
    crossed = masks.encode(np.array([np.eye(4), np.eye(4)[::-1], np.zeros((4, 4))]).astype(int))
    assert masks.mask_nms(crossed, np.array([1, 2, 3]), 0.0, backend=backend).tolist() == [2, 1, 0]
    keep, new = masks.matrix_nms(four, scores, method="linear", backend=backend)
    # mask 1 and 2 meet nobody better; 3 is half of 1; 0 is half covered by 1, by 2 and a quarter by 3
    assert keep.tolist() == [1, 2, 3, 0]
    assert new.tolist() == [0.9, 0.9, 0.45, 0.25]
    # of equal masks the best one stays, the others have nothing left: 0 / 0 is left out
    same = masks.encode(np.ones((3, 2, 2), bool))
    keep, new = masks.matrix_nms(same, np.array([0.1, 0.3, 0.2]), method="linear", backend=backend)
    assert (keep.tolist(), new.tolist()) == ([1, 2, 0], [0.3, 0.0, 0.0])


def solo(rle: RLE, scores: Array, labels: Array, method: str, sigma: float) -> Array:
    """SOLOv2's formula on matrices; the new score of each mask, in order of the scores."""
    order = np.argsort(-scores, kind="stable")
    iou = np.triu(masks.mask_iou(rle[order], rle[order]), 1) * (labels[order][:, None] == labels[order])
    largest = np.repeat(iou.max(0)[:, None], len(iou), 1)
    if method == "gaussian":
        decay = (np.exp(-sigma * iou**2) / np.exp(-sigma * largest**2)).min(0)
    else:
        decay = ((1 - iou) / (1 - largest)).min(0)
    result: Array = scores[order] * decay
    return result


@each_backend
@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_equal_to_the_formula_of_solo(backend: str, method: str) -> None:
    boxes, scores, labels = some_boxes(120, 1)
    boxes = np.unique(boxes, axis=0)
    scores, labels = scores[: len(boxes)], labels[: len(boxes)]
    rle = rectangles(boxes)
    keep, new = masks.matrix_nms(rle, scores, idxs=labels, method=method, sigma=1.5, backend=backend)
    want = solo(rle, scores, labels, method, 1.5)
    got = np.empty(len(boxes))
    got[keep] = new
    np.testing.assert_allclose(got[np.argsort(-scores, kind="stable")], want, rtol=1e-12, atol=1e-15)
    assert (np.diff(new) <= 0).all()
    some = masks.matrix_nms(rle, scores, idxs=labels, method=method, sigma=1.5, min_score=float(new[30]), max_output=20)
    np.testing.assert_array_equal(some[0], keep[:20])
    single, _ = masks.matrix_nms(rle, scores.astype(np.float32), backend=backend)
    assert len(single) == len(boxes)


def test_tensors_and_errors() -> None:
    torch: Any = need("torch")
    rle = masks.encode(np.ones((2, 3, 3), bool))
    assert torch.equal(masks.mask_nms(rle, torch.tensor([0.1, 0.2]), 0.5), torch.tensor([1]))
    keep, new = masks.matrix_nms(rle, torch.tensor([0.5, 0.25]), method="linear")
    assert torch.equal(keep, torch.tensor([0, 1]))
    assert torch.equal(new, torch.tensor([0.5, 0.0]))
    for call, text in (
        (lambda: masks.mask_nms(rle, [0.1], 0.5), "mask_nms: scores must have shape (2,), one per box, got (1,)"),
        (lambda: masks.mask_nms(rle, [0.1, np.nan], 0.5), "mask_nms: scores must not hold NaN, got NaN at index 1"),
        (lambda: masks.mask_nms(rle, [0.1, 0.2], 2), "mask_nms: iou_threshold must be in [0, 1], got 2.0"),
        (lambda: masks.matrix_nms(rle, [0.1, -1.0]), "matrix_nms: scores must be 0 or more, got -1.0"),
        (lambda: masks.matrix_nms(rle, [0.1, 1.0], sigma=0), "matrix_nms: sigma must be above 0, got 0.0"),
        (lambda: masks.matrix_nms(rle, [0.1, 1.0], method="x"),
         "matrix_nms: method must be one of 'gaussian', 'linear', got 'x'"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == text
