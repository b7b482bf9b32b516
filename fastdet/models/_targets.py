"""Checks of the true boxes that detectors are trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastdet._core import check
from fastdet._core.arrays import to_numpy


def true_boxes(
    op: str, boxes: Any, labels: Any, size: Any, classes: Any
) -> tuple[Tensor, Tensor, tuple[int, int], int]:
    """Check an image's true boxes.

    Returns boxes (N, 4) float32 x1 y1 x2 y2, labels (N,) int64, the image's (height, width), and the class count.
    """
    height, width = check.pair_of_sizes(op, "size", size)
    count = check.count(op, "classes", classes)
    corners = check.boxes(op, "boxes", to_numpy(op, "boxes", boxes))
    classes_of_boxes = check.keys(op, "labels", to_numpy(op, "labels", labels), len(corners))
    for name, invalid, rule in (
        ("boxes", ~(abs(corners) < float("inf")).all(1), "finite"),
        ("boxes", ~(corners[:, :2] < corners[:, 2:]).all(1), "of x1 < x2 and y1 < y2"),
        ("boxes", (corners[:, 2:] <= 0).any(1) | (corners[:, :2] >= (width, height)).any(1), "partly inside the image"),
        ("labels", (classes_of_boxes < 0) | (classes_of_boxes >= count), f"in [0, {count})"),
    ):
        if invalid.any():
            at = int(invalid.argmax())
            got = (corners if name == "boxes" else classes_of_boxes)[at].tolist()
            raise ValueError(f"{op}: {name} must be {rule}, got {got} at index {at}")
    return torch.as_tensor(corners, dtype=torch.float32), torch.as_tensor(classes_of_boxes), (height, width), count
