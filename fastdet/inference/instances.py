"""Final detections of networks that resize images, decode and suppress by themselves, with masks and keypoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet.inference._models import to_kind_of
from fastdet.masks.rle import RLE


class Instances(NamedTuple):
    """Detections of one image, by falling score, and what else the network gives of each; None where it does not."""

    boxes: Any  # (K, 4) float, pixels, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    masks: Any = None  # as the network gives them, of the image's size: an array of K masks, or an RLE of K
    keypoints: Any = None  # (K, P, 3) float, pixels: x y and visibility
    keypoint_scores: Any = None  # (K, P) float


Instances.__module__ = "fastdet.inference"
KEYS = ("boxes", "scores", "labels", "masks", "keypoints", "keypoints_scores")  # in torchvision's dictionaries


def instances(op: str, function: Callable[[Any], Any], batch: Any, image: Any) -> list[Instances]:
    """A network's detections of each image of a batch, in the kind of ``image``."""
    outputs = function(batch)
    if not isinstance(outputs, (list, tuple)) or not all(isinstance(x, Mapping) for x in outputs):
        got = type(outputs).__name__
        raise TypeError(f"{op}: model must give a dictionary of each image where decode is None, got {got}")
    if len(outputs) != len(batch):
        raise ValueError(f"{op}: model must give a dictionary of each of {len(batch)} images, got {len(outputs)}")
    return [_of_image(op, output, tuple(batch.shape[-2:]), image) for output in outputs]


def _of_image(op: str, output: Mapping[str, Any], size: tuple[int, ...], image: Any) -> Instances:
    for key in KEYS[:3]:
        if key not in output:
            raise ValueError(f"{op}: model must give boxes, scores and labels of an image, got no {key}")
    values: list[Any] = [output.get(key) for key in KEYS]
    values = [x if x is None or isinstance(x, RLE) else to_kind_of(op, x, None) for x in values]
    boxes = check.boxes(op, "boxes", values[0])
    values[0] = np.clip(boxes, 0, np.array([size[1], size[0]] * 2, boxes.dtype))
    for key, x in zip(KEYS, values, strict=True):
        if x is not None and len(x) != len(boxes):
            raise ValueError(f"{op}: model must give {key} of each of {len(boxes)} boxes, got {len(x)}")
    area = (values[0][:, :2] < values[0][:, 2:]).all(1)
    if not area.all():
        values = [x if x is None else x[area] for x in values]
    return Instances(*(x if x is None or isinstance(x, RLE) else to_kind_of(op, x, image) for x in values))
