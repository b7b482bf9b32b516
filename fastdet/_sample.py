"""The sample of ``fastdet demo``: a made-up street, and what a detector might say of it before NMS.

Nothing here is a photograph and no detector ran. People, cars, bicycles and dogs are placed by hand, close enough
to overlap; each gives a cloud of jittered boxes whose scores fall with the jitter, and some boxes are noise. The
seed is fixed and the numbers are rounded, so that ``python -m fastdet._sample``, which writes ``sample.npz`` next to
this file, gives the same arrays everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PATH = Path(__file__).with_name("sample.npz")
NAMES = ("person", "car", "bicycle", "dog")
SIZE = (506, 800)  # height and width of the scene, pixels
SEED = 7

# class, x1, y1, x2, y2 of each object, from the back of the scene to its front
_OBJECTS = (
    (0, 30, 178, 78, 306), (0, 42, 172, 92, 308), (0, 100, 180, 146, 310),
    (0, 192, 174, 238, 308), (0, 250, 186, 298, 312), (0, 262, 180, 312, 314),
    (0, 396, 172, 446, 308), (0, 409, 176, 458, 312), (0, 470, 178, 518, 314),
    (0, 556, 182, 604, 310), (0, 636, 174, 686, 312), (0, 649, 180, 698, 314), (0, 706, 176, 756, 316),
    (3, 138, 272, 188, 314), (3, 330, 272, 384, 314), (3, 344, 276, 398, 318),
    (1, 14, 322, 164, 396), (1, 46, 326, 196, 402),
    (1, 240, 324, 388, 398), (1, 452, 324, 604, 400), (1, 484, 330, 636, 406), (1, 652, 334, 796, 410),
    (2, 96, 412, 204, 486), (2, 118, 418, 228, 492), (2, 372, 418, 480, 492), (2, 600, 420, 708, 494),
)  # fmt: skip


def make() -> dict[str, Array]:
    """The sample's arrays.

    Returns
    -------
    boxes (N, 4) float32, x1 y1 x2 y2 in pixels, scores (N,) float32 in (0, 1), labels (N,) int64, by falling
    score; objects (M, 4) float32 and object_labels (M,) int64, what is truly there; names (C,) of the classes;
    size (2,), height and width
    """
    rng = np.random.default_rng(SEED)
    truth = np.array([row[1:] for row in _OBJECTS], float)
    kind = np.array([row[0] for row in _OBJECTS])
    copies = 13
    owner = np.repeat(np.arange(len(truth)), copies)
    side = (truth[:, 2:] - truth[:, :2])[owner]
    middle = ((truth[:, 2:] + truth[:, :2]) / 2)[owner]
    spread = rng.gamma(2.0, 0.02, len(owner))
    spread[::copies] = 0.008  # each object is seen well once
    middle = middle + rng.normal(0, 1, side.shape) * side * spread[:, None]
    side = side * np.exp(rng.normal(0, 1, side.shape) * spread[:, None])
    sure = rng.uniform(0.8, 0.97, len(truth))[owner]
    scores = sure * np.exp(-9 * spread) + rng.normal(0, 0.015, len(owner))

    noise = 60
    some_middle = rng.random((noise, 2)) * (SIZE[1], 340) + (0, 160)
    some_side = np.exp(rng.normal(4.0, 0.4, (noise, 2)))
    middle, side = np.vstack([middle, some_middle]), np.vstack([side, some_side])
    scores = np.concatenate([scores, rng.uniform(0.03, 0.2, noise)])
    labels = np.concatenate([kind[owner], rng.integers(0, len(NAMES), noise)])

    boxes = np.hstack([middle - side / 2, middle + side / 2])
    boxes = np.clip(boxes, 0, (SIZE[1], SIZE[0]) * 2)
    boxes = np.round(boxes * 4) / 4  # rounded, so that no machine's last digit matters
    scores = np.round(scores.clip(0.02, 0.99), 3)
    order = np.argsort(-scores, kind="stable")
    return {
        "boxes": boxes[order].astype(np.float32),
        "scores": scores[order].astype(np.float32),
        "labels": labels[order].astype(np.int64),
        "objects": truth.astype(np.float32),
        "object_labels": kind.astype(np.int64),
        "names": np.array(NAMES),
        "size": np.array(SIZE, np.int64),
    }


def load() -> dict[str, Array]:
    """The sample's arrays from the file that comes with the package."""
    with np.load(PATH, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


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


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())  # type: ignore[arg-type]
    print(f"{PATH}: {PATH.stat().st_size} bytes")
