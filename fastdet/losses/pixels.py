"""Parts that the losses of a softmax share: how logits and targets reach a backend, and sums in one fixed order."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.half import narrow, widen
from fastdet._core.label_images import label_array
from fastdet.losses import _check

CHUNK, SUM_LANES, DICE_LANES = 256, 8, 16  # the same in csrc's losses.h: the order of all sums


class Pixels:
    """Logits and target as backends take them (three axes, classes in the middle or last), and the way back.

    ``probabilities``: the target may also hold floats, of the logits' shape; then ``soft`` is true, and ``labels`` has
    the logits' layout and the dtype of the computation. ``merge``: images of one pixel may become one image.
    """

    def __init__(
        self,
        op: str,
        logits: Any,
        target: Any,
        ignore_index: int,
        *,
        probabilities: bool = False,
        merge: bool = True,
    ) -> None:
        self.op, self.like = op, like(logits)
        x = _check.logits(op, to_array(op, "logits", logits, half=True))
        labels = label_array(op, "target", target)
        self.shape, self.dtype = x.shape, x.dtype
        self.classes = x.shape[x.ndim > 1]
        self.compute = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        self.loss_shape = x.shape[2:] if x.ndim == 1 else x.shape[:1] + x.shape[2:]
        self.soft = probabilities and labels.dtype.kind == "f"
        if self.soft:
            self.target = _check.class_probabilities(op, labels, x.shape, ignore_index)
        else:
            self.target = _check.class_labels(op, labels, self.loss_shape)
            self.ignore = _check.ignored_label(op, ignore_index, self.target.dtype)
        whole = x[None] if x.ndim == 1 else x
        count, pixels = len(whole), math.prod(whole.shape[2:])
        last = whole.transpose(0, *range(2, whole.ndim), 1)
        self.full = last.shape
        self.one_image = merge and pixels == 1  # (N, C): one image of N pixels
        if self.one_image:
            self.last = not whole.reshape(count, self.classes).T.flags.c_contiguous
            count, pixels = 1, count
        else:
            self.last = last.flags.c_contiguous and not whole.flags.c_contiguous
        self.axes = (count, pixels, self.classes) if self.last else (count, self.classes, pixels)
        self.logits = self._laid(x, None)
        self.labels = self._laid(self.target, self.compute) if self.soft else self.target.reshape(count, pixels)

    def _laid(self, x: Array, dtype: Any) -> Array:
        """An array of the logits' shape with three axes, in the layout that was chosen for them."""
        x = x[None] if x.ndim == 1 else x
        if self.last:
            x = x.transpose(0, *range(2, x.ndim), 1)
        elif self.one_image:
            x = x.reshape(len(x), self.classes).T
        return check.require(x, dtype).reshape(self.axes)

    def weights(self, name: str, weight: Any) -> Any:
        """(C,) weights in the dtype of the computation; on a GPU one number if they are all the same."""
        if weight is None:
            return self.same_weights(name, 1.0)
        return _check.class_weights(self.op, name, to_array(self.op, name, weight), self.classes, self.compute)

    def same_weights(self, name: str, value: float) -> Any:
        """`weights` that are the same for every class."""
        one = _check.class_weights(self.op, name, np.full(1, value), 1, self.compute)
        return np.repeat(one, self.classes) if isinstance(self.logits, np.ndarray) else float(one[0])

    def function(self, op: str, backend: str | None, reference: Any, weights: Any = None) -> Any:
        """The backend's function for these arrays."""
        more = None if isinstance(weights, float) else weights
        return backends.choose(op, backend, reference, self.logits, self.labels, more)

    def results(self, answer: tuple[Any, Array | None, float] | int, zero: bool) -> tuple[Any, Any]:
        """Loss and gradient for the caller from a backend's answer. ``zero``: warn where no pixel counts."""
        if isinstance(answer, int):
            _check.raise_label(self.op, self.target, answer, self.classes)
        loss, grad, divisor = answer
        if zero and divisor <= 0:  # on a GPU it is NaN, not known
            warn_nothing(self.op, 5)
        if isinstance(self.logits, np.ndarray):
            with np.errstate(over="ignore"):
                loss = narrow(np.asarray(loss).astype(self.compute, copy=False), self.dtype)
        loss = loss.reshape(self.loss_shape if loss.ndim else ())
        if grad is not None:
            if self.last:
                axes = len(self.full)
                grad = grad.reshape(self.full).transpose(0, axes - 1, *range(1, axes - 1))
            elif len(self.logits) != self.full[0]:
                grad = grad[0].T
            grad = self.like(grad.reshape(self.shape))
        return self.like(loss), grad


def warn_nothing(op: str, stacklevel: int) -> None:
    """Warn the caller of an op that a mean is over no pixel."""
    text = f"{op}: no pixel counts, or the weights of those that do sum to 0: the loss is 0"
    warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)


def as_planes(logits: Array, last: bool) -> Array:
    """(images, classes, pixels) in the dtype of the computation."""
    x = widen(logits)
    return x.transpose(0, 2, 1) if last else x


def as_stored(grad: Array, logits: Array, last: bool) -> Array:
    """A gradient in the layout and dtype of the logits."""
    return narrow(np.ascontiguousarray(grad.transpose(0, 2, 1) if last else grad), logits.dtype)


def class_numbers(target: Array, ignore: int | None, classes: int) -> NDArray[np.int64] | int:
    """The class of each pixel, ``classes`` where it is ignored; or the position of the first label out of range."""
    signed = target.astype(np.int64)  # uint64 above int64 becomes negative, which is out of range too
    ignored = np.zeros(target.shape, np.bool_) if ignore is None else signed == ignore
    invalid = ((signed < 0) | (signed >= classes)) & ~ignored
    return int(np.argmax(invalid)) if invalid.any() else np.where(ignored, classes, signed)


def class_max(x: Array) -> Array:
    """The maximum over the classes, by the kernels' comparisons, which decide where there is a NaN."""
    top = x[:, 0]
    for c in range(1, x.shape[1]):
        top = np.where(x[:, c] > top, x[:, c], top)
    return top[:, None]


def clear_uncounted(e: Array, counts: Array) -> Array:
    """The sum over the classes. Where it is NaN and the pixel does not count, it becomes 1 and ``e`` becomes 0."""
    rest = in_order(e, 1)
    nan = ~counts & np.isnan(rest)
    np.copyto(e, e.dtype.type(0), where=nan[:, None])
    return np.where(nan, e.dtype.type(1), rest)


def in_order(x: Array, axis: int = 0) -> Any:
    """The sum along an axis, one number after the other. The order of NumPy's own sum depends on the memory."""
    x = np.moveaxis(x, axis, 0)
    total = np.zeros(x.shape[1:], x.dtype)
    for part in x:
        total = total + part
    return total


def chunked(x: Array, lanes: int) -> Array:
    """float64 sums of chunks of pixels (the last axis): first in interleaved lanes, then over the lanes."""
    chunks = -(-x.shape[-1] // CHUNK)
    padded = np.zeros((*x.shape[:-1], chunks * CHUNK), x.dtype)
    padded[..., : x.shape[-1]] = x
    rows = padded.reshape(*x.shape[:-1], chunks, CHUNK // lanes, lanes)
    return np.asarray(in_order(in_order(rows, -2).astype(np.float64), -1))
