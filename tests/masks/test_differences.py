"""Where pycocotools gives no answer: the table of the page of masks. fastdet raises, or is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.coco import mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

THREE = {"size": [3, 4], "counts": b"0<"}  # 12 ones
TWO = {"size": [2, 4], "counts": b"08"}
NAN, EMPTY = float("nan"), {"size": [10, 10], "counts": [95, 0, 5]}
# a call; what pycocotools gives, a value or an error; what fastdet says
ROWS: dict[str, tuple[Callable[[Any], Any], Any, str]] = {
    "iou, sizes": (lambda m: m.iou([THREE], [TWO], [0])[0, 0], -1, "must have masks of one size, got [3, 4]"),
    "merge, sizes": (lambda m: m.merge([THREE, TWO])["size"], [0, 0], "must have masks of one size"),
    "merge, none": (lambda m: m.merge([])["size"], [0, 0], "must have a mask or more, got none"),
    "a sum too small": (lambda m: m.area({"size": [3, 4], "counts": b"23"}), 3, "counts must sum to 3 * 4 = 12, got 5"),
    "a sum too large": (lambda m: m.area({"size": [3, 4], "counts": b"0P1"}), 32, "must sum to 3 * 4 = 12, got 32"),
    "a negative count": (lambda m: m.area({"size": [3, 4], "counts": b"0O"}), 2**32 - 1, "in [0, 2**32), got -1"),
    "beyond the alphabet": (lambda m: m.area({"size": [3, 4], "counts": b"6~"}), 14, "got byte 126"),
    "a text cut short": (lambda m: m.area({"size": [3, 4], "counts": b"P"}), 0, "the text ends within a number"),
    "no mask of 0 and 1": (
        lambda m: m.encode(np.asfortranarray(np.array([[0, 2], [1, 3]], np.uint8)))["counts"], b"1110",
        "must hold 0 and 1 alone, got 2",
    ),
    "two points and a half": (lambda m: m.area(m.frPyObjects([[0, 0, 3, 0, 3]], 5, 5))[0], 0, "three points or more"),
    "NaN": (lambda m: m.area(m.frPyObjects([[0, 0, 3, 0, 3, NAN]], 5, 5))[0], 0, "up to 2**28, got nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_fastdet_raises(name: str) -> None:
    call, theirs, text = ROWS[name]
    with pytest.raises(ValueError) as caught:
        call(mask)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert call(need("pycocotools.mask")) == theirs


def test_fastdet_is_right() -> None:
    theirs: Any = need("pycocotools.mask")
    assert mask.toBbox(mask.frPyObjects(EMPTY, 10, 10)).tolist() == [0, 0, 0, 0]
    assert theirs.toBbox(theirs.frPyObjects(EMPTY, 10, 10)).tolist() != [0, 0, 0, 0]
    assert mask.area([THREE] * 300).tolist() == [12] * 300
    split = [[1, 1, 0, 1, 1], [0, 0, 2, 2]]  # with runs of no pixels
    joined = mask.merge([mask.frPyObjects({"size": [1, 4], "counts": runs}, 1, 4) for runs in split])
    assert mask.decode(joined).tolist() == [[0, 1, 1, 1]]
