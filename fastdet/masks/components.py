"""Connected components of label maps: their numbers, areas, boxes and labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array

MAX_PIXELS = 2**31 - 1  # of a map: components are numbered in int32
_Found = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], Array, NDArray[np.int64]]


class Components(NamedTuple):
    """Connected components, see `connected_components`."""

    map: Any
    areas: Any
    boxes: Any
    labels: Any
    offsets: Any


def connected_components(labels: Any, connectivity: int = 8, *, backend: str | None = None) -> Components:
    """Find the connected components of label maps: pixels of one label that touch each other.

    Parameters
    ----------
    labels : (H, W) or (N, H, W) integers or bool. 0 is background, and belongs to no component. Unequal labels do not
        join
    connectivity : 8: pixels touch at sides and corners; 4: at sides
    backend : "cpp", "numba", "reference" or "cuda"; None for the fastest where the array is. On a GPU the call waits
        for the number of components

    Returns
    -------
    Components : a tuple of five arrays of the kind of ``labels``
        map : int32 of the shape of labels: 0 for background, else the number of the pixel's component. Components are
            numbered from 1 in each map, in the raster order of their first pixels
        areas : (K,) int64, pixels of each component, of all maps one after the other
        boxes : (K, 4) float64, pixels, x1 y1 x2 y2; x2 and y2 are one past the last pixel
        labels : (K,) of the dtype of labels
        offsets : (N + 1,) int64: map i has the components from offsets[i] to offsets[i + 1] of the three above

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, connectivity, 2**31 pixels or more in a map

    Notes
    -----
    Equal on every backend. The numbers are those of OpenCV's ``CCL_SAUF``, less its background; its other algorithms
    have another order where connectivity is 8.

    Examples
    --------
    >>> import numpy as np
    >>> found = connected_components(np.array([[0, 5, 5, 0], [7, 0, 0, 5]]))
    >>> found.map
    array([[0, 1, 1, 0],
           [2, 0, 0, 1]], dtype=int32)
    >>> found.areas, found.labels
    (array([3, 1]), array([5, 7]))
    >>> found.boxes
    array([[1., 0., 4., 2.],
           [0., 1., 1., 2.]])
    """
    op = "connected_components"
    array = to_array(op, "labels", labels)
    if array.ndim not in (2, 3):
        raise ValueError(f"{op}: labels must have shape (H, W) or (N, H, W), got {array.shape}")
    if array.dtype.kind not in "biu":
        raise TypeError(f"{op}: labels must be integers or bool, got {array.dtype}")
    if isinstance(connectivity, bool) or connectivity not in (4, 8):
        raise ValueError(f"{op}: connectivity must be 4 or 8, got {check.describe(connectivity)}")
    height, width = array.shape[-2:]
    if height * width > MAX_PIXELS or width == MAX_PIXELS:
        raise ValueError(f"{op}: labels must have fewer than 2**31 pixels a map, got {height} x {width}")
    maps = array.shape[0] if array.ndim == 3 else 1
    plain: Any = check.require(array.reshape(maps, height, width), array.dtype.newbyteorder("="))
    kernel: Any = backends.choose(op, backend, connected_components_reference, plain)
    if isinstance(plain, np.ndarray):
        numbers, areas, boxes, kinds, offsets = kernel(plain.view(f"u{plain.itemsize}"), int(connectivity) == 8)
        kinds = kinds.view(plain.dtype)
    else:
        numbers, areas, boxes, kinds, offsets = kernel(plain, int(connectivity) == 8)
    give = like(labels)
    return Components(*(give(x) for x in (numbers.reshape(array.shape), areas, boxes, kinds, offsets)))


def connected_components_reference(labels: Array, eight: bool) -> _Found:
    """Each pixel takes the least place among itself and its equal neighbours, until none changes.

    labels : (N, H, W) unsigned. Gives the map, areas, boxes, labels and offsets.
    """
    numbers = np.zeros(labels.shape, np.int32)
    areas, boxes, firsts, offsets = [np.zeros(0, np.int64)], [np.zeros((0, 4))], [np.zeros(0, np.int64)], [0]
    for i, one in enumerate(labels):
        place = _least_places(one, eight)
        first, inverse, area = np.unique(place[one != 0], return_inverse=True, return_counts=True)
        numbers[i][one != 0] = inverse.reshape(-1) + 1
        y, x = np.nonzero(one)
        box = np.empty((len(first), 4))
        for column, (values, function) in enumerate(
            ((x, np.minimum), (y, np.minimum), (x, np.maximum), (y, np.maximum))
        ):
            ends = np.full(len(first), -1 if function is np.maximum else one.size)
            function.at(ends, inverse.reshape(-1), values)
            box[:, column] = ends + (function is np.maximum)
        areas.append(area.astype(np.int64))
        boxes.append(box)
        firsts.append(first + i * one.size)
        offsets.append(offsets[-1] + len(first))
    kinds = labels.reshape(-1)[np.concatenate(firsts)]
    return numbers, np.concatenate(areas), np.concatenate(boxes), kinds, np.array(offsets, np.int64)


def _least_places(labels: Array, eight: bool) -> NDArray[np.int64]:
    """(H, W) the place of the first pixel of each pixel's component; of background, its own."""
    height, width = labels.shape
    place = np.arange(labels.size, dtype=np.int64).reshape(height, width)
    steps = [(0, 1), (1, 0), *([(1, 1), (1, -1)] if eight else [])]
    while True:
        before = place.copy()
        for dy, dx in steps:
            here = np.s_[dy:, max(dx, 0) : width + min(dx, 0)]
            there = np.s_[: height - dy, max(-dx, 0) : width + min(-dx, 0)]
            same = (labels[here] == labels[there]) & (labels[here] != 0)
            least = np.where(same, np.minimum(place[here], place[there]), labels.size)
            place[here] = np.minimum(place[here], least)
            place[there] = np.minimum(place[there], least)
        place = place.reshape(-1)[place]  # the least place that the pixel of that place has found
        if np.array_equal(place, before):
            return place
