"""Synthetic inputs of the benchmarks: the same seed gives the same numbers on every machine.

`boxes_uniform` is the easy case: boxes anywhere, with few overlaps. `boxes_clustered` looks like the raw output of a
detector: many near-duplicates around each object, and low-score clutter between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Image = tuple[int, int]  # width, height in pixels

COCO: Image = (1333, 800)  # a detector's input for one photograph
WIDE: Image = (20_000, 20_000)  # one tile of a satellite or a slide scanner


def boxes_uniform(n: int, seed: int, image: Image = COCO) -> Array:
    """Boxes with log-normal sides (4 to 600 pixels), their centres anywhere in the image.

    Returns
    -------
    boxes : (n, 4) float32, x1 y1 x2 y2; they may stick out of the image
    """
    rng = np.random.default_rng(seed)
    log_scale = rng.normal(4.0, 0.9, (n, 1))
    log_side = log_scale + rng.normal(0, 0.35, (n, 2))
    half = np.clip(np.exp(log_side), 4, 600) / 2
    middle = rng.random((n, 2)) * np.asarray(image)
    return np.hstack([middle - half, middle + half]).astype(np.float32)


def boxes_clustered(
    n: int,
    seed: int = 0,
    image: Image = COCO,
    *,
    per_object: int = 12,
    clutter: float = 0.25,
    classes: int = 1,
) -> tuple[Array, Array, Array]:
    """Boxes like a detector's before NMS: about `per_object` jittered copies of each object, and clutter.

    The further a copy is from its object, the lower its score; clutter scores low. A copy has its object's class. All
    scores differ.

    Returns
    -------
    boxes : (n, 4) float32, x1 y1 x2 y2, inside the image, sides of at least one pixel, up to rounding
    scores : (n,) float32 in (0, 1)
    labels : (n,) int64 in [0, classes)
    """
    rng = np.random.default_rng(seed)
    background = int(n * clutter)
    objects = max(1, (n - background) // per_object)
    copies = n - background

    truth = boxes_uniform(objects, seed + 1, image).astype(np.float64)
    owner = np.concatenate([np.arange(objects), rng.integers(0, objects, copies - objects)])
    low, high = truth[owner, :2], truth[owner, 2:]
    side = high - low
    spread = rng.gamma(2.0, 0.045, (copies, 1))
    middle = (high + low) / 2 + rng.normal(0, 1, side.shape) * side * spread
    side = side * np.exp(rng.normal(0, 1, side.shape) * spread)
    confidence = (0.3 + 0.7 * rng.random(objects))[owner]
    score = confidence * np.exp(-6 * spread[:, 0]) + rng.normal(0, 0.04, copies)

    around = np.hstack([middle - side / 2, middle + side / 2])
    boxes = np.vstack([around, boxes_uniform(background, seed + 2, image)])
    score = np.concatenate([score, rng.exponential(0.06, background)])
    of_object = rng.integers(0, classes, objects)
    labels = np.concatenate([of_object[owner], rng.integers(0, classes, background)])

    order = rng.permutation(n)
    boxes = np.clip(boxes, 0, np.asarray(image * 2))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    rank = np.empty(n)
    rank[np.argsort(score[order])] = np.arange(n)
    distinct = ((rank + 0.5) / n).astype(np.float32)  # ranks, so that no two scores are equal
    return boxes[order].astype(np.float32), distinct, labels[order].astype(np.int64)


def label_maps(
    shape: tuple[int, ...], classes: int, kind: str, seed: int = 0, void: float = 0.07
) -> tuple[Array, Array]:
    """True and predicted label maps. A share `void` of the truth is 255.

    "coherent": regions, with about nine of ten predicted pixels right. The label of a pixel is the class with the
    maximum of smooth random fields, one for each class, lower for rare classes; the prediction's fields are perturbed.
    "noise": every pixel is random.

    Returns
    -------
    target, prediction : shape uint8
    """
    rng = np.random.default_rng(seed)
    count, height, width = shape
    if kind == "noise":
        target = rng.integers(0, classes, shape, np.uint8)
        prediction = rng.integers(0, classes, shape, np.uint8)
        target[rng.random(shape) < void] = 255
        return target, prediction
    target, prediction = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    low = (max(4, height // 64), max(4, width // 64))
    half = (height // 2, width // 2)
    for k in range(count):
        best = [np.full(half, -np.inf, np.float32) for _ in range(2)]
        label = [np.zeros(half, np.uint8) for _ in range(2)]
        for c in range(classes):
            field = smooth(rng.normal(0, 1, low), half) - 0.35 * np.log(c + 1)
            perturbed = field + smooth(rng.normal(0, 0.22, (max(2, height // 16), max(2, width // 16))), half)
            for side, values in enumerate((field, perturbed)):
                better = values > best[side]
                best[side][better] = values[better]
                label[side][better] = c
        target[k], prediction[k] = (np.repeat(np.repeat(x, 2, 0), 2, 1) for x in label)
        hole = smooth(rng.normal(0, 1, low), shape[1:])
        target[k][hole > np.quantile(hole, 1 - void)] = 255
    return target, prediction


def smooth(x: Array, size: tuple[int, ...]) -> Array:
    """``x`` resampled to ``size`` by smooth steps between its points."""
    for axis, n in enumerate(size):
        at = np.linspace(0, x.shape[axis] - 1, n)
        i = np.minimum(at.astype(np.int64), x.shape[axis] - 2)
        f = (at - i) ** 2 * (3 - 2 * (at - i))
        f = f[:, None] if axis == 0 else f[None]
        x = x.take(i, axis) * (1 - f) + x.take(i + 1, axis) * f
    return x.astype(np.float32)
