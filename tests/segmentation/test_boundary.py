"""BoundaryMetrics: the kernel on every backend, by hand, and against OpenCV's erosion and dilation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.segmentation import BoundaryMetrics
from fastdet.segmentation.boundary_counts import count_boundaries

SHAPES = [(1, 1), (1, 9), (9, 1), (12, 17), (40, 61)]
REACHES = [(0, 1), (1, 2), (9, 3), (50, 30)]


def maps(shape: tuple[int, int], classes: int, seed: int) -> tuple[Any, Any]:
    """A target and a prediction of class numbers, ``classes`` for void."""
    rng = np.random.default_rng(seed)
    h, w = shape
    target = np.kron(rng.integers(0, classes + 1, (h // 7 + 1, w // 7 + 1)), np.ones((7, 7), int))[:h, :w]
    prediction = np.where(rng.random(shape) < 0.02, rng.integers(0, classes + 1, shape), np.roll(target, 1, axis=1))
    return target.astype(np.uint16), prediction.astype(np.uint16)


@pytest.mark.parametrize("shape", [*SHAPES, (0, 4), (4, 0)])
def test_equal_to_the_reference(variant: str, shape: tuple[int, int]) -> None:
    for classes in (1, 3):
        for reach, distance in REACHES:
            pair = maps(shape, classes, reach)
            got = count_boundaries(*pair, classes, reach, distance, variant)
            want = count_boundaries(*pair, classes, reach, distance, "reference")
            assert got.dtype == np.int64
            np.testing.assert_array_equal(got, want)


def test_opencv() -> None:
    """Regions by repeated erosion with a border of zeros, near pixels by dilation with a disk."""
    cv2 = need("cv2")
    for shape in SHAPES:
        for reach, distance in REACHES:
            target, prediction = maps(shape, 3, reach + 1)
            prediction[target == 3] = 3
            got = count_boundaries(target, prediction, 3, reach, distance, None)
            radius = math.isqrt(reach)
            y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
            disk, square = (x * x + y * y <= reach).astype(np.uint8), np.ones((3, 3), np.uint8)
            cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
            for c in range(3):
                edges, regions = [], []
                for labels in (target, prediction):
                    mask = (labels == c).astype(np.uint8)
                    edges.append(mask - cv2.erode(mask, cross))  # OpenCV's border is no boundary
                    wide = np.pad(mask, distance)
                    for _ in range(distance):
                        wide = cv2.erode(wide, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
                    regions.append(mask - wide[distance:-distance, distance:-distance])
                near = [(edges[i] & cv2.dilate(edges[1 - i], disk)).sum() for i in (0, 1)]
                both = (regions[0] & regions[1]).sum()
                want = [edges[0].sum(), edges[1].sum(), *near, regions[0].sum(), regions[1].sum(), both]
                assert got[c].tolist() == want


def test_by_hand(variant: str) -> None:
    """A square of 4 x 4 that is moved by two pixels; another class that only the target has; void."""
    target = np.zeros((12, 12), int)
    target[4:8, 3:7] = 1
    prediction = np.roll(target, 2, axis=1)
    got = BoundaryMetrics(3, tolerance=0, distance=1, backend=variant).update(prediction, target).compute()
    # 12 boundary pixels each; in common: two in the upper and in the lower side of the overlap
    assert got["boundary_precision"][1] == got["boundary_recall"][1] == got["boundary_f"][1] == 4 / 12
    assert got["boundary_iou"][1] == 4 / 20
    assert np.isnan(got["boundary_f"][2])
    assert np.isnan(got["boundary_iou"][2])
    assert (got["class_images"].tolist(), got["images"]) == ([1, 1, 0], 1)
    for tolerance, f in ((1, 1 / 3), (1.42, 2 / 3), (2, 1.0)):
        near = BoundaryMetrics(3, tolerance=tolerance, backend=variant).update(prediction, target).compute()
        assert near["boundary_f"][1] >= f
    target[0, 0] = 2
    only = BoundaryMetrics(3, tolerance=50, backend=variant).update(prediction, target).compute()
    assert (only["boundary_f"][2], only["boundary_precision"][2], only["boundary_iou"][2]) == (0, 0, 0)
    void = np.where(target == 1, 255, target)
    gone = BoundaryMetrics(3, ignore_index=255, backend=variant).update(void, target).compute()
    assert gone["boundary_f"][1] == 0
    hidden = BoundaryMetrics(3, ignore_index=255, backend=variant).update(target, void).compute()
    assert np.isnan(hidden["boundary_f"][1])


def test_means_over_images() -> None:
    """F is a mean over images, IoU is of all images together; an image without the class counts for neither."""
    one, two = maps((24, 30), 3, 0), maps((40, 61), 3, 1)
    none = np.full((5, 5), 3, np.uint16), np.full((5, 5), 3, np.uint16)
    metrics = BoundaryMetrics(3, ignore_index=3, tolerance=1, distance=2)
    single = []
    for target, prediction in (one, two, none):
        metrics.update(prediction, target)
        alone = BoundaryMetrics(3, ignore_index=3, tolerance=1, distance=2).update(prediction, target)
        single.append(alone.compute())
    got = metrics.compute()
    np.testing.assert_allclose(got["boundary_f"], (single[0]["boundary_f"] + single[1]["boundary_f"]) / 2, rtol=1e-15)
    counts = sum(count_boundaries(t, np.where(t == 3, 3, p), 3, 1, 2, None) for t, p in (one, two))
    np.testing.assert_array_equal(got["boundary_iou"], counts[:, 6] / (counts[:, 4] + counts[:, 5] - counts[:, 6]))
    np.testing.assert_allclose(got["mean_boundary_f"], got["boundary_f"].mean())


def test_default_tolerance_and_distance() -> None:
    target, prediction = maps((300, 400), 3, 5)
    default = BoundaryMetrics(4).update(prediction, target)
    named = BoundaryMetrics(4, tolerance=0.0075 * 500, distance=10).update(prediction, target)
    assert default._records().tolist() == named._records().tolist()


def test_batches_and_tensors() -> None:
    torch = need("torch")
    target, prediction = np.stack([maps((12, 17), 3, 0)] * 2, axis=1)
    want = BoundaryMetrics(4).update(prediction, target).to_bytes()
    assert BoundaryMetrics(4).update(torch.as_tensor(prediction.astype(int)), target.tolist()).to_bytes() == want
    one = BoundaryMetrics(4).update(prediction[0], target[0])
    assert (one + one).to_bytes() == want


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: BoundaryMetrics(65535), ValueError, r"num_classes must be in \[1, 65534\], got 65535"),
        (lambda: BoundaryMetrics(2, tolerance=-1), ValueError, "tolerance must be 0 or more"),
        (lambda: BoundaryMetrics(2, tolerance=math.nan), ValueError, "tolerance must be"),
        (lambda: BoundaryMetrics(2, distance=0), ValueError, "distance must be 1 or more, got 0"),
        (lambda: BoundaryMetrics(2, distance=1.5), TypeError, "distance must be an integer, got 1.5"),
        (lambda: BoundaryMetrics(2).update(np.zeros((2, 2), int), np.zeros((2, 3), int)), ValueError, "targets' shape"),
        (lambda: BoundaryMetrics(2).update(np.zeros(2, int), np.zeros(2, int)), ValueError, r"shape \(H, W\) or \("),
        (lambda: BoundaryMetrics(2).update(np.zeros((2, 2)), np.zeros((2, 2), int)), TypeError, "predictions must be"),
        (lambda: BoundaryMetrics(2).update(np.full((2, 2), 2), np.zeros((2, 2), int)), ValueError,
         r"predictions must hold classes in \[0, 2\), got 2 at index \(0, 0\)"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"BoundaryMetrics.*{text}"):
        call()


@pytest.mark.parametrize("records", [[[0] * 7], [[[0] * 6] * 2], [[[-1] * 7] * 2], [[[2**61] * 7] * 2]])
def test_bytes_that_make_no_sense(records: Any) -> None:
    from fastdet._core import metric

    sealed = metric.encode(
        "BoundaryMetrics", BoundaryMetrics(2)._shared(), {}, {"records": np.array(records, np.int64)}
    )
    with pytest.raises(ValueError, match="got an inconsistent one"):
        BoundaryMetrics.from_bytes(sealed)
