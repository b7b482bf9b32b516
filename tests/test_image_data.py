"""Segmentation on real photographs and label maps. The data is not part of the project: see test_data.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from ops import equal
from optional import need, real_data

from fastdet import losses, pool, segmentation, upsample


def pictures(*parts: str) -> Any:
    """Every picture of a folder, by name, stacked."""
    folder, image = real_data(*parts), need("PIL.Image")
    return np.stack([np.asarray(image.open(path)) for path in sorted(folder.iterdir())])


def test_camvid_labels(variant: str) -> None:
    """101 label maps of 12 classes against themselves shifted by one row; reference: numpy.bincount."""
    target = pictures("camvid_240x180", "val", "labels")
    shifted = np.roll(target, 1, axis=1)
    counted = target != 11
    want = np.bincount(target[counted] * 12 + np.int64(1) * shifted[counted], minlength=144).reshape(12, 12)[:11]
    got = segmentation.confusion_matrix(target, shifted, 11, ignore_index=11, backend=variant)
    assert got.shape == (11, 12)
    equal(got, want)
    assert 0.5 < segmentation.mean_iou(got) < 1
    itself = segmentation.confusion_matrix(target, target, 11, ignore_index=11, void="drop", backend=variant)
    assert segmentation.mean_iou(itself) == 1


def test_camvid_class_balance() -> None:
    """SegNet's weights: classes more frequent than the median weigh less than 1, rarer ones more."""
    target = pictures("camvid_240x180", "train", "labels")
    counts = np.stack([np.bincount(x.ravel(), minlength=12)[:11] for x in target])
    weight = losses.median_frequency_weights(counts)
    assert weight.shape == (11,)
    assert sorted((weight < 1).tolist()).count(True) == 5
    assert weight[3] == weight.min()  # road


def test_photographs_resampled(variant: str) -> None:
    """uint8 photographs, channels last as they are read, to twice the size: torch's in float32, rounded."""
    torch = need("torch")
    image = pictures("camvid_240x180", "val", "images")[:8]
    got = upsample.upsample_bilinear(image, (360, 480), channels_last=True, backend=variant)
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    exact = torch.nn.functional.interpolate(x, (360, 480), mode="bilinear").permute(0, 2, 3, 1).numpy()
    assert got.dtype == np.uint8
    assert np.abs(got - exact).max() <= 0.5 + 1e-4


def test_membranes_pooled(variant: str) -> None:
    """Binary maps of cell membranes: SegNet's unpooling keeps every maximum where it was, and nothing else."""
    label = pictures("isbi2012_membrane", "label").astype(np.float32)
    values, places = pool.max_pool2d(label, 2, backend=variant)
    back = pool.max_unpool2d(values, places, 2, backend=variant)
    kept = back != 0
    assert np.array_equal(back[kept], label[kept])
    assert np.count_nonzero(kept) == np.count_nonzero(values)
    compact = pool.max_pool2d(label, 2, compact=True, backend=variant)[1]
    equal(pool.max_unpool2d(values, compact, 2, backend=variant), back)
