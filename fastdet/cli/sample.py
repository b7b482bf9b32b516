"""The sample of ``fastdet demo``: what a small YOLO said of made-up streets that it had not seen; and boxes to time.

``sample.npz`` is written by ``docs/examples/train_demo.py``, which trains the network. Nothing in it is a photograph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet.cli.scenes import Scene

Array = NDArray[Any]

PATH = Path(__file__).with_name("sample.npz")


class Sample(NamedTuple):
    """Scenes and the network's raw output for each, as YOLO v8 gives it."""

    output: Array  # (N, 4 + C, P) float32: of P cells cx cy w h, pixels, and C scores in [0, 1]
    scenes: list[Scene]  # (N,)
    seeds: list[int]  # (N,) that `fastdet._scenes` made and draws them by


def units(classes: int) -> Array:
    """What the file counts in, (4 + C, 1): quarters of a pixel for boxes, 1024ths for scores."""
    return np.array([4] * 4 + [1024] * classes, np.float32)[:, None]


def load() -> Sample:
    """The sample from the file that comes with the package."""
    with np.load(PATH, allow_pickle=False) as archive:
        output, counts, seeds = archive["output"], archive["object_counts"], archive["seeds"]
        boxes, labels = archive["objects"], archive["object_labels"].astype(np.int64)
    ends = np.cumsum(counts.astype(np.int64))[:-1]
    scenes = [Scene(*each) for each in zip(np.split(boxes, ends), np.split(labels, ends), strict=True)]
    return Sample(output / units(output.shape[1] - 4), scenes, seeds.tolist())


def clustered(n: int, seed: int = 0, classes: int = 80) -> tuple[Array, Array, Array]:
    """Made-up boxes for ``fastdet bench``: about 12 jittered ones an object, 16 objects a megapixel.

    Returns
    -------
    boxes (n, 4) float32, scores (n,) float32, labels (n,) int64 in [0, classes)
    """
    rng = np.random.default_rng(seed)
    objects = max(1, n // 12)
    owner = rng.integers(0, objects, n)
    middle = rng.random((objects, 2)) * 250 * np.sqrt(objects)
    side = np.exp(rng.normal(4.0, 0.6, (objects, 2)))
    centre = middle[owner] + rng.normal(0, 0.1, (n, 2)) * side[owner]
    half = side[owner] * np.exp(rng.normal(0, 0.1, (n, 2))) / 2
    boxes = np.hstack([centre - half, centre + half]).astype(np.float32)
    return boxes, rng.random(n, np.float32), rng.integers(0, classes, objects)[owner]
