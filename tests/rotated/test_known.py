"""Values that are known: mmcv's numbers, torchvision's formats and IoU, what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from optional import need
from rotated_boxes import Array, some_boxes

from fastdet import boxes, rotated

BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba", "cpp"])


@BACKENDS
def test_mmcv_numbers(backend: str) -> None:
    """Radians, clockwise: the example of mmcv's documentation."""
    a = np.array([[1, 1, 3, 4, 0.5], [2, 2, 3, 4, 0.6], [7, 7, 8, 8, 0.4]])
    b = np.array([[0, 2, 2, 5, 0.3], [2, 1, 3, 3, 0.5], [5, 5, 6, 7, 0.4]])
    want = [[0.3708, 0.4351, 0], [0.1104, 0.4487, 0.0424], [0, 0, 0.3622]]
    got = rotated.box_iou_rotated(a, b, degrees=False, clockwise=True, backend=backend)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


@BACKENDS
def test_an_octagon(backend: str) -> None:
    """A square and itself turned by 45 degrees."""
    a = np.array([[3, 4, 2, 2, 0], [3, 4, 2, 2, 45]], float)
    octagon = 8 * (np.sqrt(2) - 1)
    got = rotated.box_iou_rotated(a[:1], a[1:], backend=backend)[0, 0]
    assert got == pytest.approx(octagon / (8 - octagon), abs=1e-15)


@BACKENDS
def test_measures(backend: str) -> None:
    a, b = np.array([[0, 0, 4, 2, 30]], float), np.array([[0, 0, 2, 1, 30]], float)
    for metric, want in (("iou", 0.25), ("ios", 1.0), ("iof", 0.25)):
        assert rotated.box_iou_rotated(a, b, metric=metric, backend=backend)[0, 0] == want
    assert rotated.box_iou_rotated(b, a, metric="iof", backend=backend)[0, 0] == 1


def torchvision_ops() -> object:
    ops = need("torchvision").ops
    if not hasattr(ops._box_convert, "_box_cxcywhr_to_xywhr"):
        pytest.skip("torchvision is older than its rotated boxes")
    return ops


@pytest.mark.parametrize("source", ["cxcywhr", "xywhr", "xyxyxyxy"])
@pytest.mark.parametrize("target", ["cxcywhr", "xywhr", "xyxyxyxy"])
@BACKENDS
def test_formats_are_torchvisions(source: str, target: str, backend: str) -> None:
    torch = need("torch")
    convert = torchvision_ops().box_convert  # type: ignore[attr-defined]
    start = some_boxes(np.random.default_rng(0), 50)
    start[:, 4] = (start[:, 4] + 180) % 360 - 180
    given = np.asarray(convert(torch.from_numpy(start), "cxcywhr", source))
    got = rotated.box_convert_rotated(given, source, target, backend=backend)
    np.testing.assert_allclose(got, np.asarray(convert(torch.from_numpy(given), source, target)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("format", ["cxcywhr", "xywhr", "xyxyxyxy"])
def test_iou_is_torchvisions(format: str) -> None:
    torch = need("torch")
    ops = torchvision_ops()
    if not hasattr(torch.ops.torchvision, "box_iou_rotated"):
        pytest.skip("torchvision has no box_iou_rotated")
    a, b = (rotated.box_convert_rotated(some_boxes(np.random.default_rng(i), 40), "cxcywhr", format) for i in (0, 1))
    want = ops.box_iou(torch.from_numpy(a), torch.from_numpy(b), fmt=format)  # type: ignore[attr-defined]
    np.testing.assert_allclose(rotated.box_iou_rotated(a, b, format=format), want, rtol=0, atol=1e-6)


@BACKENDS
def test_conversions_come_back(backend: str) -> None:
    start = some_boxes(np.random.default_rng(1), 60)
    start[:, 4] = (start[:, 4] + 180) % 360 - 180
    for clockwise in (True, False):
        options = {"degrees": True, "clockwise": clockwise, "backend": backend}
        for middle in ("xywhr", "xyxyxyxy"):
            there = rotated.box_convert_rotated(start, "cxcywhr", middle, **options)
            back = rotated.box_convert_rotated(there, middle, "cxcywhr", **options)
            np.testing.assert_allclose(back, start, rtol=0, atol=1e-10)
    radians = rotated.box_convert_rotated(start, "cxcywhr", "cxcywhr", out_degrees=False, out_clockwise=True)
    np.testing.assert_allclose(radians[:, 4], -np.deg2rad(start[:, 4]), rtol=1e-15)
    np.testing.assert_array_equal(radians[:, :4], start[:, :4])


@BACKENDS
def test_corners_of_a_quarter_turn_are_exact(backend: str) -> None:
    box = np.array([[5, 5, 4, 2, 90]], float)
    got = rotated.box_convert_rotated(box, "cxcywhr", "xyxyxyxy", backend=backend)
    np.testing.assert_array_equal(got, [[4, 7, 4, 3, 6, 3, 6, 7]])
    np.testing.assert_array_equal(rotated.box_convert_rotated(got, "xyxyxyxy", "cxcywhr", backend=backend), box)


@BACKENDS
def test_another_format_has_the_same_iou(backend: str) -> None:
    a, b = some_boxes(np.random.default_rng(2), 30), some_boxes(np.random.default_rng(3), 30)
    want = rotated.box_iou_rotated(a, b, backend=backend)
    for format in ("xywhr", "xyxyxyxy"):
        one, other = (rotated.box_convert_rotated(x, "cxcywhr", format, backend=backend) for x in (a, b))
        got = rotated.box_iou_rotated(one, other, format=format, backend=backend)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_box_convert_says_where_rotated_boxes_are() -> None:
    with pytest.raises(ValueError, match="box_convert: in_fmt must be a format without an angle, got 'cxcywhr'"):
        boxes.box_convert(np.zeros((1, 4)), "cxcywhr", "xyxy")


# min_area_rect


def area_of_best(points: Array) -> float:
    """By brute force over the directions of all pairs of points."""
    best = np.inf
    for i in range(len(points)):
        for j in range(len(points)):
            u = points[j] - points[i]
            if not u.any():
                continue
            u = u / np.hypot(*u)
            along, across = points @ u, points @ np.array([-u[1], u[0]])
            best = min(best, float(np.ptp(along) * np.ptp(across)))
    return best


@BACKENDS
def test_min_area_rect_is_the_smallest(backend: str) -> None:
    rng = np.random.default_rng(4)
    points = rng.standard_normal((30, 7, 2)) * [5, 2] + 100
    rects = rotated.min_area_rect(points, backend=backend)
    corners = rotated.box_convert_rotated(rects, "cxcywhr", "xyxyxyxy").reshape(-1, 4, 2)
    for of_set, rect, corner in zip(points, rects, corners, strict=True):
        assert rect[2] * rect[3] == pytest.approx(area_of_best(of_set), rel=1e-12)
        assert 0 <= rect[4] <= 90
        for k in range(4):  # all points are inside
            u = corner[(k + 1) % 4] - corner[k]
            side = u[0] * (of_set[:, 1] - corner[k, 1]) - u[1] * (of_set[:, 0] - corner[k, 0])
            assert side.min() > -1e-9


@BACKENDS
def test_min_area_rect_of_a_box_is_the_box(backend: str) -> None:
    start = some_boxes(np.random.default_rng(5), 40)
    start[:, 4] = np.random.default_rng(6).uniform(0, 90, 40)
    for clockwise in (True, False):
        corners = rotated.box_convert_rotated(start, "cxcywhr", "xyxyxyxy", clockwise=clockwise).reshape(-1, 4, 2)
        crossed = corners[:, [0, 2, 1, 3]]
        for points in (corners, crossed):
            got = rotated.min_area_rect(points, clockwise=clockwise, backend=backend)
            np.testing.assert_allclose(got, start, rtol=0, atol=1e-9)


@BACKENDS
def test_min_area_rect_of_lists(backend: str) -> None:
    rng = np.random.default_rng(7)
    sets = [rng.standard_normal((size, 2)) for size in (1, 5, 3, 5, 2)]
    got = rotated.min_area_rect(sets, backend=backend)
    want = np.concatenate([rotated.min_area_rect(x[None], backend=backend) for x in sets])
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got[0], [*sets[0][0], 0, 0, 0])
    assert min(got[4, 2:4]) == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match=r"min_area_rect: points\[1\] must have shape \(P, 2\)"):
        rotated.min_area_rect([sets[0], np.zeros((0, 2))])
