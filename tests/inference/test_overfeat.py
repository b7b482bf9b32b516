"""Inference: OverFeat, dense and over several scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import need
from samples import Array

from fastdet.inference import offset_pool, overfeat_dense, overfeat_multiscale


def overfeat() -> tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array], int, int]:
    """A small network, its window and its stride: stride 2, a last pooling of 3, heads of 2 x 2 pooled places."""
    rng = np.random.default_rng(7)
    mix, classes, edges = (
        rng.standard_normal(s).astype(np.float32) for s in ((4, 3, 2, 2), (5, 4, 2, 2), (4, 4, 2, 2))
    )

    def convolve(x: Array, w: Array, stride: int = 1) -> Array:
        height, width = (x.shape[-2] - 2) // stride + 1, (x.shape[-1] - 2) // stride + 1
        out = np.zeros((len(x), len(w), height, width), x.dtype)
        for ky in range(2):
            for kx in range(2):
                piece = x[:, :, ky : ky + stride * height : stride, kx : kx + stride * width : stride]
                out += np.einsum("oc,nchw->nohw", w[:, :, ky, kx], piece[:, :, :height, :width])
        return out

    window = 2 * (6 - 1) + 2  # 6 features, pooled to 2, on which the heads give one value
    return lambda x: convolve(x, mix, 2), lambda x: convolve(x, classes), lambda x: convolve(x, edges), window, 2


def test_dense_overfeat_is_every_window_by_itself() -> None:
    features, classifier, regressor, window, stride = overfeat()
    image = np.random.default_rng(0).standard_normal((3, 31, 40)).astype(np.float32)
    dense = overfeat_dense((features, classifier, regressor), image, window=window, stride=stride, pool=3)
    places = [(y, x) for y in range(0, 31 - window + 1, stride) for x in range(0, 40 - window + 1, stride)]
    assert len(dense.windows) == len(places) == 10 * 15
    for i, (y, x) in enumerate(places):
        assert dense.windows[i].tolist() == [x, y, x + window, y + window]
        alone = features(image[None, :, y : y + window, x : x + window])
        pooled = alone.reshape(1, 4, 2, 3, 2, 3).max((3, 5))
        logits, box = classifier(pooled)[0, :, 0, 0], regressor(pooled)[0, :, 0, 0]
        exponentials = np.exp(logits - logits.max())
        np.testing.assert_allclose(dense.scores[i], exponentials / exponentials.sum(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(dense.boxes[i], box * window + [x, y, x, y], rtol=0, atol=1e-4)


def test_offset_pooling_has_every_place_once() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 11, 8)).astype(np.float32)
    windows: dict[tuple[int, int], Array] = {}
    for dy, dx, pooled in offset_pool(x):
        for i, j in np.ndindex(pooled.shape[2:]):
            windows[dy + 3 * i, dx + 3 * j] = pooled[0, :, i, j]
    assert sorted(windows) == [(y, x) for y in range(9) for x in range(6)]
    for (i, j), value in windows.items():
        equal(value, x[0, :, i : i + 3, j : j + 3].max((1, 2)))
    assert [(dy, dx) for dy, dx, _ in offset_pool(x[..., :4, :3])] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_overfeat_merges_over_scales(library: str) -> None:
    """A bright square is detected at two scales; its boxes become one box whose score is their sum."""
    image = np.zeros((1, 24, 30), np.float32)
    image[:, 8:16, 10:18] = 1

    def classifier(pooled: Any) -> Any:  # class 1: the share of a window of 8 pixels that is bright; class 2: 0
        share = pooled[:, :1]
        zero = share * 0
        return np.concatenate([1 - share, share, zero], 1) if library == "numpy" else need("torch").cat(
            [1 - share, share, zero], 1
        )  # fmt: skip

    def features(x: Any) -> Any:
        array = np.asarray(x)
        windows = np.lib.stride_tricks.sliding_window_view(array, (8, 8), (2, 3)).mean((-1, -2))
        return windows if library == "numpy" else need("torch").from_numpy(windows.astype(np.float32))

    def regressor(pooled: Any) -> Any:  # the window itself
        ones = pooled[:, :1] * 0 + 1
        parts = [ones * 0, ones * 0, ones, ones]
        return np.concatenate(parts, 1) if library == "numpy" else need("torch").cat(parts, 1)

    picture = image if library == "numpy" else need("torch").from_numpy(image)
    detections = overfeat_multiscale(
        (features, classifier, regressor), picture, (1.0, 1.25, 0.1), window=8, stride=1, pool=1, softmax=False,
        background=0, score_threshold=0.9, iou_threshold=0.3,
    )  # fmt: skip
    assert type(detections.boxes) is type(picture)
    boxes, scores = np.asarray(detections.boxes), np.asarray(detections.scores)
    assert np.asarray(detections.labels).tolist() == [1]
    assert np.abs(boxes[0] - [10, 8, 18, 16]).max() < 1
    assert scores[0] > 5  # the sum over many windows
