"""Masks: wrong arguments, and data from strangers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastdet import masks
from fastdet.masks import RLE

TWO = masks.encode(np.ones((2, 3, 4), bool))
TRIANGLE = [0.0, 0, 5, 0, 5, 5]
WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: RLE([[2, 3]], [1, 2, 2], [0, 3]), ValueError, "RLE: mask 0: counts must sum to 2 * 3 = 6, got 5"),
    (lambda: RLE([[2, 3]], [7, -1], [0, 2]), ValueError, "RLE: counts must be in [0, 2**32), got -1 at 1"),
    (lambda: RLE([[2, 3]], [6.0], [0, 1]), TypeError, "RLE: counts must be integers, got float64"),
    (lambda: RLE([2, 3], [6], [0, 1]), ValueError, "RLE: sizes must have shape (N, 2), got (2,)"),
    (lambda: RLE([[2, 3]], [6], [0]), ValueError, "RLE: offsets must have shape (2,), one more than masks, got (1,)"),
    (lambda: RLE([[2, 3]], [6], [0, 2]), ValueError, "RLE: offsets must rise from 0 to 1, the number of runs"),
    (lambda: RLE([[2**16, 2**16]], [0], [0, 1]), ValueError,
     "RLE: mask 0: size must be height and width of fewer than 2**32 pixels, got [65536, 65536]"),
    (lambda: RLE.from_coco([5]), TypeError, "RLE.from_coco: record 0: must be a dict with size and counts, got 5"),
    (lambda: RLE.from_coco({"size": [2, "3"], "counts": b"6"}), ValueError,
     "RLE.from_coco: record 0: size: must be two integers, height and width, got [2, '3']"),
    (lambda: RLE.from_coco({"size": [2, -3], "counts": b"6"}), ValueError,
     "RLE.from_coco: record 0: size: must be in [0, 2**32), got [2, -3]"),
    (lambda: RLE.from_coco([*TWO.to_coco(), {"size": [2, 3], "counts": b"6~"}]), ValueError,
     "RLE.from_coco: record 2: counts: expected characters from '0' to 'o', got byte 126 at 1"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": "6\u00e9"}), ValueError,
     "RLE.from_coco: record 0: counts: expected characters from '0' to 'o', got byte 195 at 1"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": b"P"}), ValueError,
     "RLE.from_coco: record 0: counts: the text ends within a number"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": b"PPPPPPPP0"}), ValueError,
     "RLE.from_coco: record 0: counts: expected numbers of 32 bits, got a longer one at 7"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": b"O"}), ValueError,
     "RLE.from_coco: record 0: counts: expected runs in [0, 2**32), got -1"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": b"7"}), ValueError,
     "RLE.from_coco: mask 0: counts must sum to 2 * 3 = 6, got 7"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": [3, "3"]}), ValueError,
     "RLE.from_coco: record 0: counts: must be bytes, text or a list of integers, got [3, '3']"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": [10**30]}), ValueError,
     "RLE.from_coco: record 0: counts: must be bytes, text or a list of integers, got [10"),
    (lambda: RLE.from_coco({"size": [2, 3], "counts": [7, -1]}), ValueError,
     "RLE.from_coco: record 0: counts: must be in [0, 2**32), got -1"),
    (lambda: masks.encode(np.full((2, 2), 2, np.uint8)), ValueError,
     "encode: masks must hold 0 and 1 alone, got 2 at (0, 0, 0)"),
    (lambda: masks.encode(np.array([[0, -1]])), ValueError,
     "encode: masks must hold 0 and 1 alone, got -1 at (0, 0, 1)"),
    (lambda: masks.encode(np.zeros((2, 2))), TypeError, "encode: masks must be bool or integers 0 and 1, got float64"),
    (lambda: masks.encode(np.zeros(2, bool)), ValueError,
     "encode: masks must have shape (N, H, W) or (H, W), got (2,)"),
    (lambda: masks.decode({}), TypeError, "decode: rle must be an RLE, got {}: see RLE.from_coco and encode"),
    (lambda: masks.decode(RLE([[1, 2], [2, 1]], [2, 2], [0, 1, 2])), ValueError,
     "decode: rle must have masks of one size, got [1, 2] and [2, 1]"),
    (lambda: masks.merge(TWO[:0]), ValueError, "merge: rle must have a mask or more, got none"),
    (lambda: masks.mask_iou(TWO, RLE([[1, 2]], [2], [0, 1])), ValueError,
     "mask_iou: a and b must have masks of one size, got [3, 4] and [1, 2]"),
    (lambda: masks.mask_iou(TWO, TWO, [True]), ValueError, "mask_iou: iscrowd must have shape (2,), got (1,)"),
    (lambda: masks.mask_iou(TWO, TWO, metric="dice"), ValueError,
     "mask_iou: metric must be one of 'iou', 'ios', got 'dice'"),
    (lambda: masks.from_polygons([[TRIANGLE, [0, 0, 5, 5]]], (9, 9)), ValueError,
     "from_polygons: mask 0: polygon 1: must be x1 y1 x2 y2 x3 y3 ..., three points or more, got shape (2, 2)"),
    (lambda: masks.from_polygons([[TRIANGLE[:5]]], (9, 9)), ValueError,
     "from_polygons: mask 0: polygon 0: must be x1 y1 x2 y2 x3 y3 ..., three points or more, got shape (5,)"),
    (lambda: masks.from_polygons([[[*TRIANGLE[:5], np.nan]]], (9, 9)), ValueError,
     "from_polygons: mask 0: polygon 0: coordinates must be numbers up to 2**28, got nan"),
    (lambda: masks.from_polygons([[[*TRIANGLE[:5], 1e300]]], (9, 9)), ValueError,
     "from_polygons: mask 0: polygon 0: coordinates must be numbers up to 2**28, got 1e+300"),
    (lambda: masks.from_polygons([[["a"] * 6]], (9, 9)), TypeError,
     "from_polygons: mask 0: polygon 0: must be numbers x1 y1 x2 y2 ..., got ['a', 'a', 'a', 'a', 'a', 'a']"),
    (lambda: masks.from_polygons([5], (9, 9)), TypeError, "from_polygons: mask 0: must be a list of polygons, got 5"),
    (lambda: masks.from_polygons([], (2**16, 2**16)), ValueError,
     "from_polygons: size must have fewer than 2**32 pixels, got (65536, 65536)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_errors(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_batches() -> None:
    assert pickle.loads(pickle.dumps(TWO)) == TWO
    assert RLE.concatenate([TWO[1], TWO[:1]]) == TWO
    assert RLE.concatenate([]) == TWO[:0]
    assert [len(one) for one in TWO] == [1, 1]
    assert TWO[[1, 1, 0]].counts.tolist() == [0, 12] * 3
    assert RLE.from_coco([]) == TWO[:0]
    with pytest.raises(AttributeError):
        TWO.sizes = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="read-only"):
        TWO.counts[0] = 1
    with pytest.raises(IndexError):
        TWO[2]


def test_empty() -> None:
    nothing = masks.encode(np.zeros((2, 0, 5), bool))
    assert nothing.counts.tolist() == [0, 0]
    assert masks.decode(nothing).shape == (2, 0, 5)
    assert masks.to_boxes(nothing).tolist() == [[0] * 4] * 2
    assert masks.mask_iou(nothing, nothing).tolist() == [[0, 0]] * 2
    assert masks.mask_iou(TWO[:0], TWO).shape == (0, 2)
    twice = [[TRIANGLE], [TRIANGLE, TRIANGLE]]
    for backend in ("reference", "numba", "cpp"):
        assert masks.from_polygons(twice, (0, 5), backend=backend) == nothing
    odd = RLE([[10, 10]], [95, 0, 5], [0, 3])  # a run of no pixels
    assert masks.to_boxes(odd).tolist() == [[0] * 4]
    assert masks.merge(odd).counts.tolist() == [100]


def test_large() -> None:
    """A mask of nearly 2**32 pixels."""
    side = 2**16 - 1
    large = RLE([[side, side]], [1, side * side - 1], [0, 2])
    assert masks.area(large).tolist() == [side * side - 1]
    assert masks.mask_iou(large, large).tolist() == [[1.0]]
    assert RLE.from_coco(large.to_coco()) == large
    assert masks.to_boxes(large).tolist() == [[0, 0, side, side]]
