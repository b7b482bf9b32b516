"""Class weights from the counts of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core.arrays import like, to_numpy


def median_frequency_weights(counts: Any) -> NDArray[np.float64]:
    """Class weights by median frequency balancing (Eigen and Fergus 2015; SegNet): median(freq) / freq_c.

    Parameters
    ----------
    counts : (C,) pixels of each class, freq_c their share; or (images, C) pixels of each class in each image: freq_c
        is then the pixels of c divided by the pixels of the images in which c is present

    Returns
    -------
    weights : (C,) float64; 0 for a class that is absent, and the median is that of the classes that are present

    Raises
    ------
    TypeError   dtype
    ValueError  shape, counts that are negative or NaN
    """
    op = "median_frequency_weights"
    pixels = to_numpy(op, "counts", counts)
    if pixels.dtype.kind not in "iuf" and pixels.size:
        raise TypeError(f"{op}: counts must be an array of numbers, got {pixels.dtype}")
    if pixels.ndim not in (1, 2) or not pixels.shape[-1]:
        raise ValueError(f"{op}: counts must have shape (C,) or (images, C) with C of 1 or more, got {pixels.shape}")
    pixels = pixels.astype(np.float64).reshape(-1, pixels.shape[-1])
    if not np.all((pixels >= 0) & np.isfinite(pixels)):
        raise ValueError(f"{op}: counts must be finite and 0 or more")
    of_class = pixels.sum(axis=0)
    of_images = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    present = of_class > 0
    weights = np.zeros(len(of_class))
    if present.any():
        frequency = of_class[present] / of_images[present]
        weights[present] = np.median(frequency) / frequency
    result: NDArray[np.float64] = like(counts)(weights)
    return result
