"""Classes that one side calls by the number of another class: a sign that the two sides number them otherwise."""

from __future__ import annotations

import numpy as np

from fastdet._core.check import Array
from fastdet.detection.records import Ints


def moved(true: Ints, found: Ints, count: Ints, least: int) -> list[tuple[int, int]]:
    """Pairs of a true class and another class that is found in its place, the most frequent first.

    ``count[i]`` things of class ``true[i]`` were found as class ``found[i]``; each pair of classes comes once. A pair
    is returned if it has ``least`` things, as fewer may be chance, and is more than half of all that is either of the
    two, so no class is in two pairs. One such pair may be an error of a model; two hardly are. So a list has at least
    two.
    """
    sums = []
    for labels in (true, found):
        kinds, inverse = np.unique(labels, return_inverse=True)
        inverse = inverse.reshape(-1)
        sums.append(np.bincount(inverse, weights=count, minlength=len(kinds))[inverse] if len(kinds) else count)
    chosen: Array = (true != found) & (2 * count > sums[0] + sums[1] - count) & (count >= least)
    order = np.flatnonzero(chosen)[np.argsort(-count[chosen], kind="stable")]
    return list(zip(true[order].tolist(), found[order].tolist(), strict=True)) if len(order) > 1 else []
