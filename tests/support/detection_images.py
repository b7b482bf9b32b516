"""Images with true and detected boxes for tests of DetectionMetrics, also in processes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from optional import need

from fastdet.detection import DetectionMetrics

Pair = tuple[dict[str, Any], dict[str, Any]]


def make_images(
    seed: int, count: int, *, max_detections: int = 20, classes: int = 3, crowds: bool = True
) -> list[Pair]:
    """Images with small integer boxes and rounded scores: ties within and between images, some images empty."""
    r = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        corner = r.integers(0, 40, (n, 2))
        return np.concatenate([corner, corner + r.integers(1, 60, (n, 2))], axis=1).astype(np.float32)

    images = []
    for _ in range(count):
        m = int(r.integers(0, 6))
        true_boxes = boxes(m)
        n = int(r.integers(0, max_detections))
        detected = boxes(n)
        if m:
            near = true_boxes[r.integers(0, m, n)] + r.integers(-4, 5, (n, 4))
            detected = np.where(r.random((n, 1)) < 0.7, near, detected).astype(np.float32)
            detected[:, 2:] = np.maximum(detected[:, 2:], detected[:, :2] + 1)
        target = {"boxes": true_boxes, "labels": r.integers(0, classes, m)}
        if crowds:
            target["iscrowd"] = (r.random(m) < 0.15).astype(np.int64)
        scores = np.round(r.random(n), 1).astype(np.float32)
        images.append(({"boxes": detected, "scores": scores, "labels": r.integers(0, classes, n)}, target))
    return images


def tensors(image: Pair) -> Pair:
    torch = need("torch")
    return tuple({k: torch.from_numpy(v) for k, v in x.items()} for x in image)  # type: ignore[return-value]


def fill(images: list[Pair], ids: Any = None, batch: int = 1, **options: Any) -> DetectionMetrics:
    metrics = DetectionMetrics(**options)
    for i in range(0, len(images), batch):
        part = images[i : i + batch]
        metrics.update([p for p, _ in part], [t for _, t in part], None if ids is None else ids[i : i + batch])
    return metrics


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
