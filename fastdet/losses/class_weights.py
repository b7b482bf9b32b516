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
    counts : (C,) pixels of each class, freq_c is their share; or (images, C) pixels of each class in each image, freq_c
        is the pixels of c divided by the pixels of the images that contain c

    Returns
    -------
    weights : (C,) float64; 0 for a class without pixels; the median is that of the other classes

    Raises
    ------
    TypeError   dtype
    ValueError  shape, counts that are negative, infinite or NaN

    Examples
    --------
    >>> median_frequency_weights([10, 20, 80])
    array([2.  , 1.  , 0.25])
    """
    op = "median_frequency_weights"
    pixels = to_numpy(op, "counts", counts)
    if pixels.dtype.kind not in "iuf" and pixels.size:
        raise TypeError(f"{op}: counts must be an array of numbers, got {pixels.dtype}")
    if pixels.ndim not in (1, 2) or not pixels.shape[-1]:
        raise ValueError(f"{op}: counts must have shape (C,) or (images, C) with C of 1 or more, got {pixels.shape}")
    pixels = pixels.astype(np.float64).reshape(-1, pixels.shape[-1])
    invalid = ~((pixels >= 0) & np.isfinite(pixels))
    if invalid.any():
        raise ValueError(f"{op}: counts must be finite and 0 or more, got {pixels[invalid][0]}")
    in_class = pixels.sum(axis=0)
    in_images = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)  # with the class
    present = in_class > 0
    weights = np.zeros(len(in_class))
    if present.any():
        frequency = in_class[present] / in_images[present]
        weights[present] = np.median(frequency) / frequency
    result: NDArray[np.float64] = like(counts)(weights)
    return result
