"""Segmentation on real label maps. The data stands beside the repository."""

from __future__ import annotations

import numpy as np
from metric_maps import equal
from optional import pictures

from fastdet import losses, segmentation


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
