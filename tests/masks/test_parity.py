"""Masks: every backend equals the reference, and pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mask_samples import odd_polygons, some_masks, some_polygons, with_empty_runs
from optional import need

from fastdet import masks
from fastdet.coco import mask as coco_mask
from fastdet.masks import RLE
from fastdet.masks.rle import rle_from_strings_reference, rle_to_strings_reference

BACKENDS = ("numba", "cpp")


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_to_the_reference(backend: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        dense = some_masks(rng)
        want = masks.encode(dense, backend="reference")
        got = masks.encode(dense, backend=backend)
        assert got == want
        for x in (dense.astype(bool), dense.astype(np.int64), dense.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
            assert masks.encode(x, backend=backend) == want
        for columns in (False, True):
            for b in (backend, "reference"):
                decoded = masks.decode(want, columns=columns, backend=b)
                np.testing.assert_array_equal(decoded, dense)
                assert (decoded.transpose(0, 2, 1) if columns else decoded).flags.c_contiguous
        np.testing.assert_array_equal(masks.area(want, backend=backend), dense.sum((1, 2), dtype=np.int64))
        np.testing.assert_array_equal(masks.to_boxes(want, backend=backend), masks.to_boxes(want, backend="reference"))
        for intersect in (False, True):
            merged = masks.merge(want, intersect=intersect, backend=backend)
            assert merged == masks.merge(want, intersect=intersect, backend="reference")
            expected = dense.all(0) if intersect else dense.any(0)
            np.testing.assert_array_equal(masks.decode(merged)[0], expected)
        crowd = rng.random(len(dense)) < 0.5
        for metric in ("iou", "ios"):
            some = [masks.mask_iou(want[::2], want, crowd, metric=metric, backend=b) for b in (backend, "reference")]
            np.testing.assert_array_equal(*some)
        texts = rle_to_strings_reference(want.counts, want.offsets)
        assert [record["counts"] for record in want.to_coco()] == texts
        counts, offsets = rle_from_strings_reference(texts)
        np.testing.assert_array_equal(counts, want.counts)
        np.testing.assert_array_equal(offsets, want.offsets)
        h, w = dense.shape[1:]
        polygons = some_polygons(rng, h, w) + odd_polygons(rng, h, w)
        drawn = [masks.from_polygons(polygons, (h, w), backend=b) for b in (backend, "reference")]
        assert drawn[0] == drawn[1]


# pycocotools decodes with a warning of NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _equal(count: int, seed: int) -> None:
    theirs: Any = need("pycocotools.mask")
    rng = np.random.default_rng(seed)
    for _ in range(count):
        dense = some_masks(rng)
        want = theirs.encode(np.asfortranarray(dense.transpose(1, 2, 0)))
        assert coco_mask.encode(dense.transpose(1, 2, 0)) == want
        assert coco_mask.encode(dense[0]) == want[0]
        for name in ("area", "toBbox", "decode"):
            for x in (want, want[0]):
                got, expected = getattr(coco_mask, name)(x), getattr(theirs, name)(x)
                assert got.dtype == expected.dtype
                np.testing.assert_array_equal(got, expected)
        for intersect in (0, 1):
            assert coco_mask.merge(want, intersect) == theirs.merge(want, intersect)
        crowd = rng.integers(0, 2, len(want)).tolist()
        np.testing.assert_array_equal(coco_mask.iou(want[:2], want, crowd), theirs.iou(want[:2], want, crowd))
        plain = RLE.from_coco(want).to_coco(compressed=False)
        h, w = dense.shape[1:]
        assert coco_mask.frPyObjects(plain, h, w) == theirs.frPyObjects(plain, h, w)
        assert coco_mask.frPyObjects(plain[0], h, w) == theirs.frPyObjects(plain[0], h, w)
        split = [{"size": r["size"], "counts": with_empty_runs(rng, r["counts"])} for r in plain]
        split = [{"size": r["size"], "counts": theirs.frPyObjects(r, h, w)["counts"]} for r in split]
        for name in ("area", "decode"):
            np.testing.assert_array_equal(getattr(coco_mask, name)(split), getattr(theirs, name)(split))
        np.testing.assert_array_equal(coco_mask.iou(split[:2], want, crowd), theirs.iou(split[:2], want, crowd))
        for polygons in some_polygons(rng, h, w) + odd_polygons(rng, h, w) + odd_polygons(rng, 1, 1):
            assert coco_mask.frPyObjects(polygons, h, w) == theirs.frPyObjects(polygons, h, w)
        boxes = rng.random((4, 4)) * 50
        assert coco_mask.frPyObjects(boxes, h, w) == theirs.frPyObjects(boxes, h, w)
        np.testing.assert_array_equal(
            coco_mask.iou(boxes, boxes[:3], [0, 1, 0]), theirs.iou(boxes, boxes[:3], [0, 1, 0])
        )


def test_equal_to_pycocotools() -> None:
    _equal(60, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 5))
def test_always_equal_to_pycocotools(seed: int) -> None:
    """20,000 masks, and as many polygons."""
    _equal(1700, seed)
