"""Masks on the CUDA emulator: run lengths, decoding, boxes and errors. tests/core/test_cuda_arrays.py has the rest."""

from __future__ import annotations

import emulated
import numpy as np
import pytest
from emulated import on_cpu, on_gpu
from mask_samples import hostile_boxes, some_masks

from fastdet import masks
from fastdet.masks import RLE

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("emulator")]


def test_run_lengths_are_made_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one part and in several."""
    from fastdet.masks import _cuda

    rng = np.random.default_rng(0)
    size = (50, 61)
    boxes, values = hostile_boxes(rng, 12, size), rng.random((12, 6, 5), np.float32)
    planes, weights = rng.standard_normal((3, 6, 7)), rng.standard_normal((12, 3))
    for most in (2**26, 5 * 50 * 61):
        monkeypatch.setattr(_cuda, "HOST_BYTES", most)
        monkeypatch.setattr(_cuda, "LOGIT_BYTES", most // 50)
        got = masks.paste_masks(on_gpu(values), on_gpu(boxes), size, 0.4, "rle")
        assert got == masks.paste_masks(values, boxes, size, 0.4, "rle")
        given = on_gpu(planes), on_gpu(weights), on_gpu(boxes)
        for out in ("rle", "dense", "bits"):
            want = masks.process_mask(planes, weights, boxes, size, out)
            got = masks.process_mask(*given, size, out)
            np.testing.assert_array_equal(*(x.counts if isinstance(x, RLE) else np.array(x) for x in (got, want)))


def test_between_dense_masks_and_runs(emulator: emulated.Emulator) -> None:
    rng = np.random.default_rng(1)
    for seed in range(8):
        emulator.seed(seed)
        dense = some_masks(rng)[:, :60, :70]
        rle = masks.encode(dense)
        device = on_gpu(dense)
        assert masks.encode(device) == rle
        assert masks.encode(on_gpu(dense.astype(bool))) == rle
        for columns in (False, True):
            got = masks.decode(rle, columns=columns, like=device)
            np.testing.assert_array_equal(on_cpu(got), dense)
            assert (got.transpose(0, 2, 1) if columns else got).flags.c_contiguous
        for x in (device, on_gpu(dense.astype(bool)), on_gpu(dense.astype(np.int64) * 256)):
            boxes = on_cpu(masks.masks_to_boxes(x))
            np.testing.assert_array_equal(boxes, masks.masks_to_boxes(dense))
            assert boxes.dtype == np.float32
    odd = RLE([[4, 5]] * 3, [3, 0, 17, 20, 0, 20], [0, 3, 4, 6])
    np.testing.assert_array_equal(on_cpu(masks.decode(odd, like=device)), masks.decode(odd))
    for shape in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        nothing = np.zeros(shape, bool)
        assert on_cpu(masks.decode(masks.encode(nothing), like=device)).shape == (shape if shape[0] else (0, 0, 0))
        np.testing.assert_array_equal(on_cpu(masks.masks_to_boxes(on_gpu(nothing))), masks.masks_to_boxes(nothing))


def test_errors() -> None:
    boxes, values = np.array([[0.0, 0, 4, 4]]), np.ones((1, 2, 2), np.float32)
    with pytest.raises(ValueError, match=r"^paste_masks: masks must be finite, got nan at \(0, 1, 0\)$"):
        masks.paste_masks(on_gpu(np.array([[[1, 1], [np.nan, 1]]])), on_gpu(boxes), (4, 4))
    with pytest.raises(ValueError, match=r"^paste_masks: boxes must be finite, got inf at \(0, 2\)$"):
        masks.paste_masks(on_gpu(values), on_gpu(np.array([[0, 0, np.inf, 1]])), (4, 4))
    with pytest.raises(TypeError, match="paste_masks"):
        masks.paste_masks(on_gpu(values), boxes, (4, 4))
    with pytest.raises(ValueError, match="encode: masks must hold 0 and 1 alone, got 2"):
        masks.encode(on_gpu(np.full((1, 2, 2), 2, np.uint8)))
    with pytest.raises(ValueError, match="paste_masks: backend must be 'cuda' for arrays on a GPU"):
        masks.paste_masks(on_gpu(values), on_gpu(boxes), (4, 4), backend="cpp")
