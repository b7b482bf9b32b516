"""The sampler: a part of the anchors or proposals of an image, balanced between objects and background."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.dispatch import registered

Ints = NDArray[np.int64]
MAX_SEED = 2**63


def sample_balanced(
    labels: Any, count: int, positive_fraction: float, *, seed: int, backend: str | None = None
) -> tuple[Any, Any]:
    """Sample positive and negative candidates at random, at most a fraction of them positive.

    Parameters
    ----------
    labels : (N,) integer: 1 or more for a positive candidate, 0 for a negative one, below 0 for one that is left out
    count : number of candidates to sample; fewer where there are not so many
    positive_fraction : in [0, 1]; at most int(count * positive_fraction) of them are positive
    seed : integer in [0, 2**63); the same seed and labels give the same sample

    Returns
    -------
    positive, negative : int64 indices, rising

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range

    Notes
    -----
    Each index gets a random number that depends on the seed alone; the candidates of the smallest ones are sampled. So
    every backend and every device samples the same ones. Where there are too few positive candidates, negative ones
    fill the sample: the rule of torchvision's `BalancedPositiveNegativeSampler`. Give each image and step a seed of its
    own.
    Source: Ren et al., "Faster R-CNN", 2015, section 3.1.3; Steele et al., "Fast splittable pseudorandom number
    generators" (SplitMix64), 2014.

    Examples
    --------
    >>> positive, negative = sample_balanced(np.array([1, 0, 0, -1, 2, 0]), 4, 0.25, seed=0)
    >>> len(positive), len(negative)
    (1, 3)
    """
    if (ops := registered(__name__, labels, grad=False)) is not None:
        positive, negative = ops.sample_balanced(labels, count, positive_fraction, seed, backend)
        return positive, negative
    op = "sample_balanced"
    x = to_array(op, "labels", labels)
    x = check.keys(op, "labels", x, x.shape[0] if x.ndim else 0)
    total = check.count(op, "count", count)
    fraction = check.unit(op, "positive_fraction", positive_fraction)
    number = check_seed(op, seed)
    most = int(total * fraction)
    positive, negative = backends.choose(op, backend, sample_balanced_reference, x)(x, total, most, number)
    wrap = like(labels)
    return wrap(positive), wrap(negative)


def check_seed(op: str, seed: Any) -> int:
    """An integer in [0, 2**63)."""
    if isinstance(seed, bool):
        raise TypeError(f"{op}: seed must be an integer, got {seed}")
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"{op}: seed must be an integer, got {check.describe(seed)}") from None
    if not 0 <= value < MAX_SEED:
        raise ValueError(f"{op}: seed must be in [0, 2**63), got {check.describe(value)}")
    return value


def sample_balanced_reference(labels: Ints, count: int, max_positive: int, seed: int) -> tuple[Ints, Ints]:
    positive = _sample(np.flatnonzero(labels > 0), max_positive, seed)
    return positive, _sample(np.flatnonzero(labels == 0), count - len(positive), seed)


def _sample(candidates: Ints, count: int, seed: int) -> Ints:
    if count < len(candidates):
        candidates = candidates[np.argsort(random_numbers(candidates, seed))[:count]]
    return np.sort(candidates).astype(np.int64)


def random_numbers(index: Ints, seed: int) -> NDArray[np.uint64]:
    """SplitMix64's number of each index; no two are equal."""
    step = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (index.astype(np.uint64) + np.uint64(1)) * step
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
