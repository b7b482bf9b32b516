"""LVIS's rules: images are searched for some categories only, and a detection of any other is left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastdet._core.check import Array
from fastdet.detection.records import Columns, Ints


class Federated(NamedTuple):
    """What images were searched for. Each pair is an image, as in `Columns.image`, and a category."""

    negative: Ints  # (P, 2) the image was searched for the category, and has none
    not_exhaustive: Ints  # (Q, 2) the image has objects of the category that are not marked

    def at(self, images: Ints) -> Federated:
        """The pairs of ``images``, which rise, with positions in them instead of ids."""
        every = []
        for pairs in self:
            place = np.searchsorted(images, pairs[:, 0])
            known = np.append(images, 0)[place] == pairs[:, 0] if len(images) else np.zeros(len(pairs), bool)
            every.append(np.stack([place, pairs[:, 1]], axis=1)[known & (place < len(images))])
        return Federated(*every)

    def are_open(self, image: Ints, category: Ints) -> Array:
        """Which pairs of an image and a category are not exhaustive."""
        return among(np.stack([image, category], axis=1), self.not_exhaustive)


def among(pairs: Ints, known: Ints) -> Array:
    """(N,) bool: which pairs are among the known ones."""
    both = np.concatenate([known, pairs])
    categories, label = np.unique(both[:, 1], return_inverse=True)
    key = both[:, 0] * max(len(categories), 1) + label.reshape(-1)
    out: Array = np.isin(key[len(known) :], key[: len(known)])
    return out


def judged(federated: Federated, detections: Columns, truth: Columns, limit: int) -> Ints:
    """The rows of detections that count, in their order.

    Of each image the ``limit`` best by score, of all categories together; of these, those with an area above 0 whose
    category the image has, or was searched for.
    """
    order = np.lexsort((-detections.scores, detections.image))
    image = detections.image[order]
    first = np.searchsorted(image, image)
    best = np.sort(order[np.arange(len(order)) - first < limit])
    best = best[detections.areas[best] > 0]
    known = np.concatenate([np.stack([truth.image, truth.label], axis=1), federated.negative])
    pairs = np.stack([detections.image[best], detections.label[best]], axis=1)
    out: Ints = best[among(pairs, known)]
    return out
