"""CUDA kernels of confusion matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check, cuda
from fastdet._core.check import Array
from fastdet._core.cuda import native
from fastdet._core.device_arrays import DeviceArray


def confusion_matrix(
    target: DeviceArray,
    prediction: DeviceArray,
    num_classes: int,
    ignore_index: int | None,
) -> DeviceArray | Array | int:
    """The matrix stays on the GPU. The call does not wait for it."""
    return _count_labels(target, prediction, num_classes, ignore_index, None)


def confusion_matrices(
    target: DeviceArray, prediction: DeviceArray, num_classes: int, ignore_index: int | None, per_image: bool
) -> DeviceArray | Array | int:
    """Matrices on the host, int64: one per image (N, side, side), or one for all images (1, side, side). Waits."""
    return _count_labels(target, prediction, num_classes, ignore_index, per_image)


def _count_labels(
    target: DeviceArray, prediction: DeviceArray, num_classes: int, ignore_index: int | None, per_image: bool | None
) -> DeviceArray | Array | int:
    counts = _Counts("confusion_matrix", target, num_classes, ignore_index, per_image)
    images = counts.images
    native.confusion_matrix(
        _labels(target),
        _labels(prediction),
        images,
        target.size // max(images, 1),
        target.shape[-1] if target.ndim else 1,
        num_classes,
        ignore_index,
        counts.native,
        *target.where,
    )
    return counts.result()


def confusion_matrix_from_logits(
    target: DeviceArray,
    logits: DeviceArray,
    ignore_index: int | None,
    channels_last: bool,
    align_corners: bool,
) -> DeviceArray | Array | int:
    """The matrix stays on the GPU. The call does not wait for it."""
    return _count_logits(target, logits, ignore_index, channels_last, align_corners, None)


def confusion_matrices_from_logits(
    target: DeviceArray,
    logits: DeviceArray,
    ignore_index: int | None,
    channels_last: bool,
    align_corners: bool,
    per_image: bool,
) -> DeviceArray | Array | int:
    """As `confusion_matrices`."""
    return _count_logits(target, logits, ignore_index, channels_last, align_corners, per_image)


def _count_logits(
    target: DeviceArray,
    logits: DeviceArray,
    ignore_index: int | None,
    channels_last: bool,
    align_corners: bool,
    per_image: bool | None,
) -> DeviceArray | Array | int:
    n, *image = logits.shape
    classes, height, width = (image[2], *image[:2]) if channels_last else image
    counts = _Counts("confusion_matrix_from_logits", target, classes, ignore_index, per_image)
    native.confusion_matrix_from_logits(
        _labels(target),
        logits.dtype.char,
        logits.pointer,
        (n, classes, height, width),
        target.shape[1],
        target.shape[2],
        channels_last,
        align_corners,
        ignore_index,
        counts.native,
        *target.where,
    )
    return counts.result()


def _labels(x: DeviceArray) -> tuple[str, int, int]:
    return x.dtype.kind, x.itemsize, x.pointer


class _Counts:
    """The memory that a call counts into. ``per_image`` None: the result stays on the GPU."""

    def __init__(self, op: str, target: DeviceArray, classes: int, ignore: int | None, per_image: bool | None) -> None:
        self._op, self._wait = op, per_image is not None
        side = classes + (ignore is not None)
        self.images = len(target) if per_image else 1
        self._shape = (self.images, side, side) if self._wait else (side, side)
        cells = self.images * side * side
        shape = (
            (cells + 1,) if self._wait else self._shape
        )  # the last one is the fault: one copy brings both to the host
        memory: Any = check.empty(op, shape, np.dtype(np.int64), target)
        self._cells: DeviceArray = memory
        self._workspace = target.empty_bytes(native.confusion_workspace())
        fault = memory.pointer + 8 * cells if self._wait else 0
        self.native = memory.pointer, bool(per_image), self._workspace.pointer, fault

    def result(self) -> DeviceArray | Array | int:
        """The counts, or the code of the first value that is out of range."""
        if not self._wait:
            code = cuda.fault_code(self._op)
            return self._cells if code is None else code
        cells = self._cells.host()
        return cells[:-1].reshape(self._shape) if cells[-1] == 0 else int(cells[-1]) - 1
