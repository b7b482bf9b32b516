"""Connected components on CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray

_MAX_PIXELS = 2**31 - 1  # of all maps of a call


def connected_components(labels: DeviceArray, eight: bool) -> tuple[DeviceArray, ...]:
    """Reads back the number of components, to allocate memory for them."""
    op, where, shape = "connected_components", labels.where, labels.shape
    if labels.size > _MAX_PIXELS:
        raise ValueError(f"{op}: labels on a GPU must have fewer than 2**31 pixels in all, got {labels.size}")
    source = labels.itemsize, labels.pointer, shape
    workspace = labels.empty_bytes(native.components_workspace(labels.size))
    first, count = labels.empty((labels.size,), np.int64), labels.empty((1,), np.int64)
    native.find_components(*source, eight, workspace.pointer, first.pointer, count.pointer, *where)
    (found,) = native.read(count.pointer, 1, *where)
    results: list[Any] = [
        check.empty(op, size, np.dtype(dtype), labels)
        for size, dtype in (
            (shape, np.int32), ((found,), np.int64), ((found, 4), np.float64), ((found,), labels.dtype),
            ((shape[0] + 1,), np.int64),
        )
    ]  # fmt: skip
    ends = labels.empty((found, 4), np.int32)
    pointers = [x.pointer for x in results]
    native.measure_components(*source, workspace.pointer, first.pointer, found, ends.pointer, pointers, *where)
    return tuple(results)
