<<<<<<< HEAD
"""Masks of the CUDA backend. Dense masks and bits stay on the GPU; run lengths are made on the host, of bits."""

from __future__ import annotations

from collections.abc import Callable
=======
"""CUDA kernels of masks."""

from __future__ import annotations

>>>>>>> 132f5a03b79a3857d8ffac8118cfd4106fc79c90
from typing import Any

import numpy as np

<<<<<<< HEAD
from fastdet._core import backends
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.masks.dense import encode_reference
from fastdet.masks.rle import Counts, Ints

HOST_BYTES = 2**26  # of dense masks that are on the host at the same time
LOGIT_BYTES = 2**28  # of logits that are on the GPU at the same time


def paste_masks(masks: DeviceArray, boxes: DeviceArray, height: int, width: int, threshold: Any, out: str) -> Any:
    n, h, w = masks.shape

    def draw(first: int, count: int, bits: bool, pointer: int) -> None:
        size = first, count, h, w, height, width
        native.paste_masks(masks.pointer, boxes.pointer, *size, float(threshold), bits, pointer, *masks.where)

    return _drawn(masks, draw, n, n, height, width, out)


def process_mask(
    prototypes: DeviceArray, coefficients: DeviceArray, boxes: DeviceArray, height: int, width: int, out: str
) -> Any:
    (n, k), (_, h, w) = coefficients.shape, prototypes.shape
    most = max(1, min(n, LOGIT_BYTES // (4 * h * w)))
    logits = prototypes.empty((most, h, w), np.float32)
    arrays = prototypes.pointer, coefficients.pointer, boxes.pointer

    def draw(first: int, count: int, bits: bool, pointer: int) -> None:
        size = first, count, k, h, w, height, width
        native.process_mask(*arrays, *size, logits.pointer, bits, pointer, *prototypes.where)

    return _drawn(prototypes, draw, n, most, height, width, out)


def _drawn(
    beside: DeviceArray,
    draw: Callable[[int, int, bool, int], None],
    n: int,
    most: int,
    height: int,
    width: int,
    out: str,
) -> Any:
    """All masks, ``most`` of them at a time."""
    row = width if out == "dense" else (width + 7) // 8
    if out != "rle":
        result = beside.empty((n, height, row), np.uint8)
        for first in range(0, n, max(most, 1)):
            draw(first, min(most, n - first), out == "bits", result.pointer + first * height * row)
        return result
    most = max(1, min(most, HOST_BYTES // max(1, height * width)))
    bits = beside.empty((min(most, n), height, row), np.uint8)
    counts, offsets = [np.zeros(0, np.uint32)], [np.zeros(1, np.int64)]
    for first in range(0, n, most):
        count = min(most, n - first)
        draw(first, count, True, bits.pointer)
        some = _encoded(bits[:count].host(), width)
        counts.append(some[0])
        offsets.append(some[1][1:] + offsets[-1][-1])
    return np.concatenate(counts), np.concatenate(offsets)


def _encoded(bits: Any, width: int) -> tuple[Counts, Ints]:
    """The runs of packed bits, by the fastest backend of the host."""
    dense = np.unpackbits(bits, axis=2, count=width, bitorder="little")
    kernel: Any = backends.choose("encode", None, encode_reference)
    found: tuple[Counts, Ints] = kernel(dense)
    return found


def decode(counts: Counts, offsets: Ints, out: DeviceArray, columns: bool) -> None:
    lengths = np.diff(offsets)
    total = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    ends = total[1:] - np.repeat(total[offsets[:-1]], lengths)
    count, height, width = out.shape
    if columns:
        height, width = width, height
    runs, bounds = out.from_host(ends if len(ends) else np.zeros(1, np.int64)), out.from_host(np.array(offsets))
    native.decode(runs.pointer, bounds.pointer, count, height, width, columns, out.pointer, *out.where)


def masks_to_boxes(masks: DeviceArray) -> DeviceArray:
    boxes = masks.empty((len(masks), 4), np.float32)
    n, height, width = masks.shape
    native.masks_to_boxes(masks.pointer, n, height, width, boxes.pointer, *masks.where)
    return boxes
=======
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
>>>>>>> 132f5a03b79a3857d8ffac8118cfd4106fc79c90
