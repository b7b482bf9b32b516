"""Masks of a network's heads: small examples by hand, the three outputs, and torch's sampling as a peer."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from mask_samples import hostile_boxes
from memory import grown
from numpy.typing import NDArray
from optional import need

from fastdet import masks
from fastdet.masks import RLE

BACKENDS = ("reference", "numba", "cpp")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
Array = NDArray[Any]


@each_backend
def test_three_outputs_are_one(backend: str) -> None:
    rng = np.random.default_rng(0)
    for size in ((70, 133), (1, 9), (9, 1), (64, 64)):
        boxes = hostile_boxes(rng, 25, size)
        values, planes, weights = rng.random((25, 5, 7)), rng.standard_normal((4, 6, 8)), rng.standard_normal((25, 4))
        for call in (
            partial(masks.paste_masks, values, boxes, size, 0.4, backend=backend),
            partial(masks.process_mask, planes, weights, boxes, size, backend=backend),
        ):
            dense, rle, bits = (call(out=out) for out in ("dense", "rle", "bits"))
            assert dense.dtype == np.bool_
            assert dense.shape == (25, *size)
            assert rle == masks.encode(dense)
            np.testing.assert_array_equal(np.packbits(dense, axis=2, bitorder="little"), bits)


@each_backend
def test_pasted_by_hand(backend: str) -> None:
    def paste(values: Any, box: list[float], size: tuple[int, int], threshold: float = 0.5) -> list[str]:
        out = masks.paste_masks(np.array([values], float), np.array([box]), size, threshold, backend=backend)[0]
        return ["".join(".#"[x] for x in row) for row in out.astype(int)]

    # a mask as large as its box: each value is a pixel
    assert paste([[1, 0], [0, 1]], [1, 0, 3, 2], (3, 4)) == [".#..", "..#.", "...."]
    # twice as large: values at 0.5, 1, 0.75 ... of a pixel's width; 0.25 and 0.75 between 1 and 0
    assert paste([[1, 0]], [0, 0, 4, 1], (1, 6)) == ["##...."]
    assert paste([[1, 0]], [0, 0, 4, 1], (1, 6), 0.25) == ["###..."]
    # the value at a pixel is exactly the threshold: the pixel belongs to it
    assert paste([[0.5]], [0, 0, 1, 1], (1, 2)) == ["#."]
    assert paste([[0.5]], [0, 0, 1, 1], (1, 2), 0.50001) == [".."]
    # zeros around: half a value is left at half a value's distance
    assert paste([[1]], [0.5, 0, 1.5, 1], (1, 3)) == ["##."]
    assert paste([[1]], [0.5, 0, 1.5, 1], (1, 3), 0.6) == ["..."]
    # beyond the image, of no area, turned round
    assert paste([[1, 1], [1, 1]], [-3, -3, 1, 1], (2, 2)) == ["#.", ".."]
    assert paste([[1]], [1, 0, 1, 2], (2, 2)) == paste([[1]], [2, 0, 0, 2], (2, 2)) == ["..", ".."]


@each_backend
def test_processed_by_hand(backend: str) -> None:
    def process(planes: Any, weights: Any, box: list[float], size: tuple[int, int]) -> list[str]:
        given = np.array(planes, float), np.array([weights], float), np.array([box])
        return [
            "".join(".#"[x] for x in row) for row in masks.process_mask(*given, size, backend=backend)[0].astype(int)
        ]

    ones = [[[1.0, 1], [1, 1]]]
    # columns from x1 on, and below x2
    assert process(ones, [1], [1, 0, 3, 2], (2, 4)) == [".##.", ".##."]
    assert process(ones, [1], [0.5, 0, 2.5, 1.5], (2, 4)) == [".##.", ".##."]
    assert process(ones, [1], [-9, 0.5, 9, 9], (2, 4)) == ["....", "####"]
    assert process(ones, [1], [3, 0, 1, 2], (2, 4)) == ["....", "...."]
    # above 0, and not at 0
    assert process(ones, [0], [0, 0, 4, 2], (2, 4)) == ["....", "...."]
    # 3 1 -1 -3 of the values 3 -3: 3, 1.5, -1.5, -3
    assert process([[[3, -3]]], [1], [0, 0, 4, 1], (1, 4)) == ["##.."]
    # the sum of two prototypes
    assert process([[[1, -1]], [[0, 3]]], [1, 1], [0, 0, 2, 1], (1, 2)) == ["##"]
    assert process([[[1, -1]], [[0, 3]]], [1, -1], [0, 0, 2, 1], (1, 2)) == ["#."]


@each_backend
def test_the_weight_of_a_value_is_rounded_once(backend: str) -> None:
    """Pixels a hair off the middle between two float32 weights."""
    for k in range(2**24 + 1, 2**24 + 60, 2):
        at = k * 2.0**-26 + 2.0**-53
        weight = np.float32(at)
        box = np.array([[1 - at, 0, 3 - at, 1]])
        given = np.array([[[0.0, 1]]], np.float32), box, (1, 2)
        assert masks.paste_masks(*given, float(weight), backend=backend)[0, 0, 1], k
        above = float(np.nextafter(weight, np.float32(1)))
        assert not masks.paste_masks(*given, above, backend=backend)[0, 0, 1], k


def test_equal_to_torchs_sampling() -> None:
    """detectron2's way: a grid of positions, zeros outside. Pixels whose value is at the threshold may differ."""
    torch: Any = need("torch")
    rng = np.random.default_rng(1)
    height, width, n = 90, 140, 40
    boxes = hostile_boxes(rng, n, (height, width))
    boxes = boxes[(np.abs(boxes) < 1e4).all(1)]
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] > 1e-2).all(1)]
    values = rng.random((len(boxes), 1, 14, 14))
    x1, y1, x2, y2 = (torch.from_numpy(boxes[:, k].copy())[:, None] for k in range(4))
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - y1) / (y2 - y1) * 2 - 1
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - x1) / (x2 - x1) * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], 3)
    sampled = torch.nn.functional.grid_sample(torch.from_numpy(values), grid, align_corners=False)[:, 0].numpy()
    got = masks.paste_masks(values, boxes, (height, width))
    clear = np.abs(sampled - 0.5) > 1e-5
    assert len(boxes) > 15
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], (sampled >= 0.5)[clear])


def test_equal_to_torchs_chain() -> None:
    """The masks of a YOLO-seg model: the product with the prototypes, interpolated, cropped, above 0."""
    torch: Any = need("torch")
    rng = np.random.default_rng(2)
    height, width, n = 96, 160, 30
    planes, weights = rng.standard_normal((8, 24, 40)), rng.standard_normal((n, 8))
    boxes = hostile_boxes(rng, n, (height, width))
    logits = (torch.from_numpy(weights) @ torch.from_numpy(planes).reshape(8, -1)).reshape(1, n, 24, 40)
    upsampled = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0]
    upsampled = upsampled.numpy()
    y, x = np.mgrid[:height, :width]
    x1, y1, x2, y2 = boxes.T[:, :, None, None]
    inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    got = masks.process_mask(planes, weights, boxes, (height, width))
    clear = np.abs(upsampled) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], (inside & (upsampled > 0))[clear])


def test_memory_of_a_thousand_masks_of_4k() -> None:
    """Of noise, which has the most runs. Dense masks would take 8 GB."""
    code = """
rng = np.random.default_rng(0)
corner = rng.random((1000, 2)) * [3000, 1600]
boxes = np.hstack([corner, corner + rng.uniform(20, 400, (1000, 2))])
print(len(masks.paste_masks(rng.random((1000, 28, 28), np.float32), boxes, (2160, 3840), out="rle").counts))
"""
    runs, more = grown("import numpy as np\nfrom fastdet import masks", code)
    assert int(runs) > 1_000_000
    assert more < 100e6


def test_tensors() -> None:
    """The caller's type out; run lengths are NumPy's."""
    torch: Any = need("torch")
    values, boxes = torch.rand(2, 1, 4, 4), torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5]])
    dense = masks.paste_masks(values, boxes, (6, 6))
    assert type(dense) is torch.Tensor
    assert dense.dtype is torch.bool
    assert masks.paste_masks(values, boxes, (6, 6), out="bits").dtype is torch.uint8
    assert isinstance(masks.paste_masks(values, boxes, (6, 6), out="rle"), RLE)
    of_arrays = masks.paste_masks(values.numpy(), boxes.numpy(), (6, 6))
    np.testing.assert_array_equal(dense.numpy(), of_arrays)
    assert masks.encode(dense) == masks.encode(of_arrays)
    assert type(masks.masks_to_boxes(dense)) is torch.Tensor
    planes = torch.randn(3, 4, 4)
    assert type(masks.process_mask(planes, torch.randn(2, 3), boxes, (6, 6))) is torch.Tensor
    assert masks.process_mask(planes.bfloat16(), torch.randn(2, 3).half(), boxes, (6, 6)).shape == (2, 6, 6)


OK = np.ones((2, 4, 4)), np.array([[0.0, 0, 4, 4]] * 2)
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: masks.paste_masks(OK[0][0], OK[1], (4, 4)), ValueError,
     "paste_masks: masks must have shape (N, h, w) or (N, 1, h, w), got (4, 4)"),
    (lambda: masks.paste_masks(OK[0].astype(int), OK[1], (4, 4)), TypeError,
     "paste_masks: masks must be float, got int64"),
    (lambda: masks.paste_masks(OK[0], OK[1][:1], (4, 4)), ValueError,
     "paste_masks: boxes must have shape (2, 4), got (1, 4)"),
    (lambda: masks.paste_masks(OK[0] * np.nan, OK[1], (4, 4)), ValueError,
     "paste_masks: masks must be finite, got nan at (0, 0, 0)"),
    (lambda: masks.paste_masks(OK[0] * 1e300, OK[1], (4, 4)), ValueError,
     "paste_masks: masks must be finite, got inf at (0, 0, 0)"),
    (lambda: masks.paste_masks(OK[0], np.full((2, 4), np.inf), (4, 4)), ValueError,
     "paste_masks: boxes must be finite, got inf at (0, 0)"),
    (lambda: masks.paste_masks(*OK, (4, 4), 0), ValueError, "paste_masks: threshold must be above 0, got 0.0"),
    (lambda: masks.paste_masks(*OK, (4, 4), out="png"), ValueError,
     "paste_masks: out must be one of 'dense', 'rle', 'bits', got 'png'"),
    (lambda: masks.paste_masks(*OK, (2**16, 2**16)), ValueError,
     "paste_masks: size must have fewer than 2**32 pixels, got (65536, 65536)"),
    (lambda: masks.process_mask(OK[0], np.ones((2, 3)), OK[1], (4, 4)), ValueError,
     "process_mask: coefficients must have shape (N, 2), got (2, 3)"),
    (lambda: masks.process_mask(OK[0][:0], np.ones((2, 0)), OK[1], (4, 4)), ValueError,
     "process_mask: prototypes must have shape (K, h, w), none of them 0, got (0, 4, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
