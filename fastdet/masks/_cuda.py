"""Masks of the CUDA backend. Dense masks and bits stay on the GPU; run lengths are made on the host, of bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core import backends
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray
from fastdet.masks._cuda_components import connected_components as connected_components
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
