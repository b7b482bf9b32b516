"""How an image is fitted to a network's input, and how detections come back to the image's own pixels."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet.inference._images import Size
from fastdet.upsample.bilinear import upsample_bilinear

FITS = ("stretch", "letterbox")


class Placement(NamedTuple):
    """Where an image lies in a network's input."""

    image: Size  # height and width of the image
    inner: Size  # of the image as the network sees it
    outer: Size  # of the network's input
    top: int  # of the image in it, pixels
    left: int


def placement(image: Size, size: Size | None, fit: str) -> Placement:
    """Of an image in an input of ``size``; None: the image's own. fit "letterbox" keeps proportions and centres."""
    outer = image if size is None else size
    inner = outer
    if fit == "letterbox":
        factor = min(outer[0] / image[0], outer[1] / image[1])
        inner = max(round(image[0] * factor), 1), max(round(image[1] * factor), 1)
    return Placement(image, inner, outer, (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2)


def fitted(batch: Any, place: Placement, fill: float) -> Any:
    """Images (N, C, H, W), resampled and put on a canvas of the value ``fill``."""
    if place.inner != place.image:
        batch = upsample_bilinear(batch, place.inner)
    if place.inner == place.outer:
        return batch
    lead, (height, width) = tuple(batch.shape[:2]), place.inner
    if isinstance(batch, np.ndarray):
        canvas = np.full((*lead, *place.outer), fill, batch.dtype)
    else:
        canvas = sys.modules["torch"].full((*lead, *place.outer), fill, dtype=batch.dtype, device=batch.device)
    canvas[:, :, place.top : place.top + height, place.left : place.left + width] = batch
    return canvas


def to_image(points: Array, place: Placement) -> Array:
    """(..., 2 n) coordinates x y x y ... of the network's input in the image's pixels."""
    pairs, dtype = points.shape[-1] // 2, points.dtype.type
    shift = np.array([place.left, place.top] * pairs, dtype)
    scale = np.array([place.image[1] / place.inner[1], place.image[0] / place.inner[0]] * pairs, dtype)
    moved: Array = (points - shift) * scale
    return moved


def clipped(boxes: Array, place: Placement) -> Array:
    """(..., 4) boxes in the image's pixels, clipped to the image."""
    inside: Array = np.clip(boxes, 0, np.array([place.image[1], place.image[0]] * 2, boxes.dtype))
    return inside
