"""The sample of ``fastdet demo``, and random boxes for ``fastdet bench``.

The sample is the raw output of a small YOLO for made-up streets that were not in its training set.
``docs/examples/train_demo.py`` trains the network and writes ``sample.npz``. Nothing in it is a photograph.
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

    output: Array  # (N, 4 + C, P) float32: for each of P cells cx cy w h in pixels, and C scores in [0, 1]
    scenes: list[Scene]  # (N,)
    seeds: list[int]  # (N,) seeds from which `scenes` makes and draws them


def units(classes: int) -> Array:
    """Steps per unit in the file, (4 + C, 1): 4 per pixel for boxes, 1024 for scores."""
    return np.array([4] * 4 + [1024] * classes, np.float32)[:, None]


def load() -> Sample:
    """Load the sample that comes with the package."""
    with np.load(PATH, allow_pickle=False) as archive:
        output, counts, seeds = archive["output"], archive["object_counts"], archive["seeds"]
        boxes, labels = archive["objects"], archive["object_labels"].astype(np.int64)
    ends = np.cumsum(counts.astype(np.int64))[:-1]
    scenes = [Scene(*each) for each in zip(np.split(boxes, ends), np.split(labels, ends), strict=True)]
    return Sample(output / units(output.shape[1] - 4), scenes, seeds.tolist())


def clustered(n: int, seed: int = 0, classes: int = 80) -> tuple[Array, Array, Array]:
    """Random boxes for ``fastdet bench``: about 12 jittered boxes an object, 16 objects a megapixel.

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
