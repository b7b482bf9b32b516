"""Real candidates of real detectors. The data is not part of the project: its folder stands beside the repository."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from op_rows import equal
from optional import load
from reach import exhaustive

from fastdet import nms


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_mmcv_keep_list(backend: str) -> None:
    mmcv_keep_list(backend)


def test_mmcv_keep_list_cpp(cpp: str) -> None:
    mmcv_keep_list(cpp)


def mmcv_keep_list(backend: str) -> None:
    """949 real boxes of 5 classes; mmcv's own test says what stays at 0.7."""
    real = load("mmcv_batched_nms", "mmcv_batched_nms.npz")
    keep = nms.batched_nms(real["boxes"], real["scores"], real["idxs"], 0.7, backend=backend)
    assert len(keep) == 554
    equal(keep, real["keep"])


def test_yolox_per_image(variant: str) -> None:
    """94,162 candidates of 209 photographs, class by class."""
    raw = load("raw_coco_train209", "raw_yolox_nano.npz")
    assert len(raw["scores"]) == 94_162
    for want, some in zip(yolox_by_reference(), yolox_images(raw), strict=True):
        args = raw["boxes_xyxy"][some], raw["scores"][some], raw["labels"][some]
        equal(nms.batched_nms(*args, 0.65, backend=variant), want)


def yolox_images(raw: dict[str, Any]) -> list[slice]:
    return [slice(first, last) for first, last in zip(raw["offsets"], raw["offsets"][1:], strict=False)]


@lru_cache(maxsize=1)
def yolox_by_reference() -> list[Any]:
    """The reference's answer for each image, once for all backends."""
    raw = load("raw_coco_train209", "raw_yolox_nano.npz")
    return [
        nms.batched_nms(raw["boxes_xyxy"][some], raw["scores"][some], raw["labels"][some], 0.65, backend="reference")
        for some in yolox_images(raw)
    ]


def test_yolox_at_once(variant: str) -> None:
    """Image and class in one key: the same detections as image by image, the best first."""
    raw = load("raw_coco_train209", "raw_yolox_nano.npz")
    image = np.repeat(np.arange(209), np.diff(raw["offsets"]))
    key = image * 100 + raw["labels"]
    kept = []
    for first, last in zip(raw["offsets"], raw["offsets"][1:], strict=False):
        some = slice(first, last)
        args = raw["boxes_xyxy"][some], raw["scores"][some], raw["labels"][some]
        kept.append(first + nms.batched_nms(*args, 0.65, backend=variant))
    each = np.sort(np.concatenate(kept))
    each = each[np.argsort(-raw["scores"][each], kind="stable")]
    equal(nms.batched_nms(raw["boxes_xyxy"], raw["scores"], key, 0.65, backend=variant), each)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_yolox_soft(variant: str, method: str) -> None:
    raw = load("raw_coco_train209", "raw_yolox_nano.npz")
    for first, last in list(zip(raw["offsets"], raw["offsets"][1:], strict=False))[:20]:
        some = slice(first, last)
        args = raw["boxes_xyxy"][some], raw["scores"][some], raw["labels"][some]
        options: dict[str, Any] = {"method": method, "min_score": 0.005, "max_output": 300}
        got = nms.batched_soft_nms(*args, **options, backend=variant)
        equal(got, nms.batched_soft_nms(*args, **options, backend="reference"))


_priors: dict[tuple[int, float], Any] = {}


@pytest.mark.parametrize(("image", "t"), [(0, 0.3), *exhaustive((1, 0.5), (2, 0.3))])
def test_face_priors(variant: str, image: int, t: float) -> None:
    """17,000 priors of an SSD face detector, most of them background with nearly equal scores."""
    raw = load("raw_faces", "raw_rfb640.npz")
    some = slice(*raw["offsets"][image : image + 2])
    rows, score = raw["boxes_xyxy"][some], raw["scores"][some]
    if (image, t) not in _priors:
        _priors[image, t] = nms.nms(rows, score, t, backend="reference")
    equal(nms.nms(rows, score, t, backend=variant), _priors[image, t])


def test_face_windows(variant: str) -> None:
    """A sliding window's candidates of several scales."""
    raw = load("raw_faces", "raw_mtcnn_pnet.npz")
    for first, last in zip(raw["offsets"], raw["offsets"][1:], strict=False):
        rows, score = raw["boxes_xyxy"][first:last], raw["scores"][first:last]
        for metric in ("iou", "ios"):
            got = nms.nms(rows, score, 0.5, metric=metric, backend=variant)
            equal(got, nms.nms(rows, score, 0.5, metric=metric, backend="reference"))
