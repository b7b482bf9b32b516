"""What the registrations of RoI ops with torch share: their arguments, and empty results."""

from __future__ import annotations

from typing import Any

import torch

from fastdet._core import check
from fastdet._core.layout import CHANNELS_INSIDE, neighbours
from fastdet._core.torch_library import backend_name, computed, detached, number, tensor
from fastdet.roi import _check


def new_features(x: Any, count: Any, channels: Any, size: Any) -> Any:
    """Empty (count, channels, *size) in the memory order that `layout.from_nchw` gives the result for ``x``."""
    if not x.is_contiguous() and x.shape[1] > 1:
        inside = x.permute(0, 2, 3, 1).is_contiguous() or neighbours(x.shape, x.stride(), CHANNELS_INSIDE)
        if inside:
            return x.new_empty([count, *size, channels]).permute(0, 3, 1, 2)
    return x.new_empty([count, channels, *size])


def rows(op: str, x: Any, boxes: Any, images: Any = None) -> Any:
    """(K, 5) boxes as a tensor: a list of the boxes of each image is put together."""
    if not _check.is_list(boxes):
        return _of_a_device(op, "boxes", detached(op, "boxes", boxes), x)
    images = x.shape[0] if images is None else images
    if len(boxes) != images:
        raise ValueError(f"{op}: boxes must have one entry per image, {images}, got {len(boxes)}")
    parts = [detached(op, f"boxes[{i}]", part) for i, part in enumerate(boxes)]
    for i, part in enumerate(parts):
        _of_a_device(op, f"boxes[{i}]", part, x)
        if part.ndim != 2 or part.shape[1] != 4:
            raise ValueError(f"{op}: boxes[{i}] must have shape (K, 4), got {tuple(part.shape)}")
    if not parts:
        return tensor(op, "boxes", x.detach()).new_zeros((0, 5))
    dtype = computed(*parts)
    parts = [part.to(dtype) for part in parts]
    index = [part.new_full((part.shape[0], 1), i) for i, part in enumerate(parts)]
    return torch.cat([torch.cat(index), torch.cat(parts)], 1)


def _of_a_device(op: str, name: str, boxes: Any, x: Any) -> Any:
    """``boxes``. Boxes without values beside features with values: torch would take the op that computes no values."""
    if boxes.device.type == "meta" and x.device.type != "meta":
        raise TypeError(f"{op}: {name} must be on {x.device} as input, got a tensor on meta")
    return boxes


def pair(op: str, size: Any) -> list[Any]:
    if torch.compiler.is_compiling():  # numbers may be symbols, which no check takes
        return list(size) if isinstance(size, (tuple, list)) else [size, size]
    return list(_check.output_size(op, size))


def options_of(op: str, spatial_scale: Any, sampling_ratio: Any, aligned: Any, backend: Any) -> tuple[Any, ...]:
    return number_of(op, spatial_scale), ratio_of(op, sampling_ratio), bool(aligned), backend_name(op, backend)


def number_of(op: str, scale: Any) -> Any:
    scale = number(op, "spatial_scale", scale)
    return scale if torch.compiler.is_compiling() else check.positive(op, "spatial_scale", scale)


def ratio_of(op: str, x: Any) -> Any:
    return x if torch.compiler.is_compiling() else _check.sampling_ratio(op, x)
