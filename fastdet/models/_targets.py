"""What detectors are trained on, checked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def true_boxes(op: str, boxes: Any, labels: Any, size: tuple[int, int], classes: int) -> tuple[Tensor, Tensor]:
    """An image's true boxes, (N, 4) float32 x1 y1 x2 y2, and their labels, (N,) int64."""
    corners = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    wanted = torch.as_tensor(labels, dtype=torch.int64)
    if wanted.shape != corners.shape[:1]:
        raise ValueError(f"{op}: labels must have shape ({len(corners)},), got {tuple(wanted.shape)}")
    if min(size) <= 0:
        raise ValueError(f"{op}: size must be positive, got {tuple(size)}")
    wrong = (wanted < 0) | (wanted >= classes)
    if wrong.any():
        raise ValueError(f"{op}: labels must lie in [0, {classes}), got {int(wanted[wrong][0])}")
    empty = ~(corners[:, :2] < corners[:, 2:]).all(1)
    if empty.any():
        at = int(empty.nonzero()[0])
        raise ValueError(f"{op}: boxes must have x1 < x2 and y1 < y2, got {corners[at].tolist()} at {at}")
    return corners, wanted
