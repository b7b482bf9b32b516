"""Losses on a softmax over classes, for training by segmentation: each with its gradient in one pass.

Logits are (N, C, d1, ...), images of one score per class and pixel, also (N, C) or (C,); the target has that shape
without C and holds class numbers of any integer type. The classes may lie last in memory (torch's channels_last): such
logits are not copied, and their gradient lies alike.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__`` on the CPU or an NVIDIA
GPU and gives back the same type. float64 is computed in float64; float32, float16 and bfloat16 in float32, and the loss
and the gradient are rounded to the logits' dtype once. exp and log are made of IEEE operations (to 2 ulp), so that all
backends give the same bits, on a GPU too; a pixel's loss is then summed up in float64, in an order that depends on the
shape alone.

Rules for odd input, the same for every loss here:

- A label outside [0, C) that is not ``ignore_index`` raises ValueError.
- A pixel that is ignored, or of a class of weight 0, takes no part, whatever its logits are: its loss and its
  gradient are 0 (with label smoothing: ignored ones only).
- Where no pixel counts, or their weights sum to 0, a mean is 0 with gradient 0 and a RuntimeWarning (torch: NaN).
- Logits of -inf have probability 0; a target with one has loss inf. NaN or +inf, or -inf for all classes, make the
  pixel's loss and gradient NaN. Finite logits may be of any size: a probability below 1e-37 (float32; 1e-307 in
  float64) is taken for 0, and never a logarithm of 0.
- On a GPU nothing waits for values to be looked at: a label out of range makes the loss and all of the gradient NaN,
  and the next call raises; weights that are negative or not finite make them NaN; there is no warning. With
  FASTDET_SYNC=1 in the environment labels raise at once, and there are warnings.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet import _backends, _check
from fastdet._arrays import like, registered, to_array, to_numpy
from fastdet._check import Array
from fastdet._half import narrow, widen
from fastdet._vmath import exp_or_zero, log_positive
from fastdet.box_losses import (
    ciou_loss,
    ciou_loss_with_grad,
    diou_loss,
    diou_loss_with_grad,
    giou_loss,
    giou_loss_with_grad,
    ordered_sum,
    ordered_sums,
)
from fastdet.sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad

__all__ = [
    "ciou_loss",
    "ciou_loss_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "dice_loss",
    "dice_loss_with_grad",
    "diou_loss",
    "diou_loss_with_grad",
    "focal_loss",
    "focal_loss_with_grad",
    "giou_loss",
    "giou_loss_with_grad",
    "median_frequency_weights",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_with_grad",
]

REDUCTIONS = ("mean", "sum", "none")
CHUNK, SUM_LANES, DICE_LANES = 256, 8, 16  # csrc/losses.h


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    backend: str | None = None,
) -> Any:
    """Cross-entropy of a softmax: -w_t log p_t for a pixel of class t, as torch.nn.functional.cross_entropy.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    weight : (C,) float of 0 or more; None for 1
    ignore_index : label of pixels that do not count; may lie in [0, C)
    reduction : "mean" over the counted pixels, weighted: the sum divided by the sum of w_t; "sum"; "none"
    label_smoothing : e in [0, 1]: the target is 1 - e for class t and e / C for every class; the loss of a pixel is
        -(1 - e) w_t log p_t - e / C sum_c w_c log p_c

    Returns
    -------
    loss : () float, the dtype of the logits; for "none" the target's shape

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, a weight that is negative or NaN, label_smoothing outside [0, 1]
    """
    if (ops := registered(logits, weight)) is not None:
        return ops.cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing, backend)
    loss, _ = _cross_entropy(
        "cross_entropy", logits, target, weight, ignore_index, reduction, label_smoothing, False, backend
    )
    return loss


def cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`cross_entropy` and its gradient for the logits, in one pass that keeps no probabilities.

    Returns
    -------
    loss : as `cross_entropy` gives it
    grad : of the logits' shape, dtype and layout; for reduction "none" that of loss.sum(): the gradient for upstream
        gradients g of the pixels is g times it
    """
    return _cross_entropy(
        "cross_entropy_with_grad", logits, target, weight, ignore_index, reduction, label_smoothing, True, backend
    )


def focal_loss(
    logits: Any,
    target: Any,
    alpha: Any = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    backend: str | None = None,
) -> Any:
    """Focal loss of a softmax (Lin et al. 2017, multi-class): -a_t (1 - p_t)^gamma log p_t for a pixel of class t.

    With gamma = 0 it is `cross_entropy` with weight = alpha, to the last bit; so "mean" divides by the sum of a_t over
    the counted pixels. 1 - p_t is the sum of the other classes' probabilities, exact to a few ulp however near to 1
    p_t is. A gamma that is no integer costs a logarithm and an exponential more for each pixel, and its power is exact
    to about |log(1 - p_t)| ulp.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    alpha : (C,) float of 0 or more, or a number for all classes (which a mean divides out again); None for 1
    gamma : float of 0 or more
    ignore_index : label of pixels that do not count; may lie in [0, C)
    reduction : "mean" (the sum divided by the sum of a_t over the counted pixels), "sum" or "none"

    Returns
    -------
    loss : () float, the dtype of the logits; for "none" the target's shape

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, alpha or gamma that is negative or NaN
    """
    if (ops := registered(logits, alpha)) is not None:
        return ops.focal_loss(logits, target, alpha, gamma, ignore_index, reduction, backend)
    loss, _ = _focal("focal_loss", logits, target, alpha, gamma, ignore_index, reduction, False, backend)
    return loss


def focal_loss_with_grad(
    logits: Any,
    target: Any,
    alpha: Any = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`focal_loss` and its gradient for the logits, in one pass, as `cross_entropy_with_grad`."""
    return _focal("focal_loss_with_grad", logits, target, alpha, gamma, ignore_index, reduction, True, backend)


def dice_loss(
    logits: Any, target: Any, ignore_index: int = -100, eps: float = 1.0, *, backend: str | None = None
) -> Any:
    """Soft Dice loss of a softmax: 1 - mean over classes of (2 sum p t + eps) / (sum p + sum t + eps).

    p is the probability of the class and t 1 where the pixel is of it, else 0; the sums run over all counted pixels
    of the batch, not image by image. Milletari et al. 2016 square p and t in the denominator; this is the form
    without squares (Sudre et al. 2017; MONAI's and segmentation_models' default). Every class counts alike, one that
    no pixel is of too: it scores eps / (sum p + eps), 1 where it is not predicted either.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    ignore_index : label of pixels that do not count; may lie in [0, C)
    eps : float above 0, pixels

    Returns
    -------
    loss : () float in [0, 1], the dtype of the logits

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, eps that is not above 0
    """
    if (ops := registered(logits)) is not None:
        return ops.dice_loss(logits, target, ignore_index, eps, backend)
    loss, _ = _dice("dice_loss", logits, target, ignore_index, eps, False, backend)
    return loss


def dice_loss_with_grad(
    logits: Any, target: Any, ignore_index: int = -100, eps: float = 1.0, *, backend: str | None = None
) -> tuple[Any, Any]:
    """`dice_loss` and its gradient for the logits, in two passes that keep no probabilities."""
    return _dice("dice_loss_with_grad", logits, target, ignore_index, eps, True, backend)


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


class _Pixels:
    """Logits and target as the backends take them: three axes, classes in the middle or last, and the way back."""

    def __init__(self, op: str, logits: Any, target: Any, ignore_index: int) -> None:
        self.op, self.like = op, like(logits)
        x = _check.logits(op, to_array(op, "logits", logits, half=True))
        labels = to_array(op, "target", target)
        self.shape, self.dtype = x.shape, x.dtype
        self.classes = x.shape[x.ndim > 1]
        self.compute = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        self.target = _check.class_labels(op, labels, x.shape[2:] if x.ndim == 1 else x.shape[:1] + x.shape[2:])
        self.ignore = _check.ignored_label(op, ignore_index, self.target.dtype)
        x = x[None] if x.ndim == 1 else x
        count, rest = len(x), x.shape[2:]
        pixels = math.prod(rest)
        last = x.transpose(0, *range(2, x.ndim), 1)
        self.full = last.shape
        if pixels == 1:  # (N, C): one image of N pixels
            planes = x.reshape(count, self.classes).T
            self.last = not planes.flags.c_contiguous
            x, last, count, pixels = planes, last, 1, count
        else:
            self.last = last.flags.c_contiguous and not x.flags.c_contiguous
        shape = (count, pixels, self.classes) if self.last else (count, self.classes, pixels)
        self.logits = _check.require(last if self.last else x, None).reshape(shape)
        self.labels = self.target.reshape(count, pixels)

    def weights(self, name: str, weight: Any) -> Any:
        """(C,) weights in the dtype that is computed in; on a GPU a number where they are all the same."""
        if weight is None:
            return self.same_weights(name, 1.0)
        return _check.class_weights(self.op, name, to_array(self.op, name, weight), self.classes, self.compute)

    def same_weights(self, name: str, value: float) -> Any:
        one = _check.class_weights(self.op, name, np.full(1, value), 1, self.compute)
        return np.repeat(one, self.classes) if isinstance(self.logits, np.ndarray) else float(one[0])

    def function(self, op: str, backend: str | None, reference: Any, weights: Any = None) -> Any:
        """The backend's function for these arrays."""
        more = None if isinstance(weights, float) else weights
        return _backends.choose(op, backend, reference, self.logits, self.labels, more)

    def results(self, answer: tuple[Any, Array | None, float] | int, zero: bool) -> tuple[Any, Any]:
        """What a backend answers, as the caller gets it; ``zero``: 0 counted pixels are worth a warning."""
        if isinstance(answer, int):
            _check.class_label_found(self.op, self.target, answer, self.classes)
        loss, grad, divisor = answer
        if zero and divisor <= 0:  # NaN: not known, on a GPU
            text = f"{self.op}: no pixel counts, or the weights of those that do sum to 0: the loss is 0"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        if isinstance(self.logits, np.ndarray):
            with np.errstate(over="ignore"):
                loss = narrow(np.asarray(loss).astype(self.compute, copy=False), self.dtype)
        loss = loss.reshape(self.target.shape if loss.ndim else ())
        if grad is not None:
            if self.last:
                axes = len(self.full)
                grad = grad.reshape(self.full).transpose(0, axes - 1, *range(1, axes - 1))
            elif len(self.logits) != self.full[0]:
                grad = grad[0].T
            grad = self.like(grad.reshape(self.shape))
        return self.like(loss), grad


def _cross_entropy(
    op: str,
    logits: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    x = _Pixels(op, logits, target, ignore_index)
    weights, smoothing = x.weights("weight", weight), _check.unit(op, "label_smoothing", label_smoothing)
    how = _check.choice(op, "reduction", reduction, REDUCTIONS)
    function = x.function("cross_entropy", backend, cross_entropy_reference, weights)
    return x.results(function(x.logits, x.last, x.labels, weights, x.ignore, how, smoothing, gradient), how == "mean")


def _focal(
    op: str,
    logits: Any,
    target: Any,
    alpha: Any,
    gamma: float,
    ignore_index: int,
    reduction: str,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    x = _Pixels(op, logits, target, ignore_index)
    if alpha is not None and np.ndim(alpha) == 0:
        weights = x.same_weights("alpha", _check.number(op, "alpha", alpha))
    else:
        weights = x.weights("alpha", alpha)
    power = _check.number(op, "gamma", gamma)
    if power < 0:
        raise ValueError(f"{op}: gamma must be 0 or more, got {power}")
    how = _check.choice(op, "reduction", reduction, REDUCTIONS)
    if power == 0:
        function = x.function("cross_entropy", backend, cross_entropy_reference, weights)
        answer = function(x.logits, x.last, x.labels, weights, x.ignore, how, 0.0, gradient)
    else:
        function = x.function("focal_loss", backend, focal_loss_reference, weights)
        power = min(power, 2.0**30)  # (1 - p)^gamma is 0 or 1 there
        answer = function(x.logits, x.last, x.labels, weights, power, x.ignore, how, gradient)
    return x.results(answer, how == "mean")


def _dice(
    op: str, logits: Any, target: Any, ignore_index: int, eps: float, gradient: bool, backend: str | None
) -> tuple[Any, Any]:
    x = _Pixels(op, logits, target, ignore_index)
    added = _check.positive(op, "eps", eps)
    function = x.function("dice_loss", backend, dice_loss_reference)
    return x.results(function(x.logits, x.last, x.labels, x.ignore, added, gradient), True)


def cross_entropy_reference(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    return _softmax_loss(logits, last, target, weight, ignore, reduction, label_smoothing, None, gradient)


def focal_loss_reference(
    logits: Array,
    last: bool,
    target: Array,
    alpha: Array,
    gamma: float,
    ignore: int | None,
    reduction: str,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    return _softmax_loss(logits, last, target, alpha, ignore, reduction, 0.0, gamma, gradient)


def _softmax_loss(
    logits: Array,
    last: bool,
    target: Array,
    weight: Array,
    ignore: int | None,
    reduction: str,
    label_smoothing: float,
    gamma: float | None,
    gradient: bool,
) -> tuple[Any, Array | None, float] | int:
    """The loss, the gradient and the divisor of a mean, or the position of a label that is out of range.

    csrc/losses.cpp has the same operations in the same order, and says what they are for.
    """
    x = _planes(logits, last)
    one, classes = x.dtype.type, x.shape[1]
    label = _classes(target, ignore, classes)
    if isinstance(label, int):
        return label
    counts = np.bincount(label.ravel(), minlength=classes + 1)[:classes]
    divisor = float(_in_order(counts * weight.astype(np.float64)))
    scale = one((1 / divisor if divisor > 0 else 0.0) if reduction == "mean" else 1.0)
    here, w = label < classes, np.append(weight, one(0))[label]
    own = np.where(here, label, 0)[:, None]
    with np.errstate(all="ignore"):
        z = x - _most(x)
        z_own = np.take_along_axis(z, own, 1)[:, 0]
        others = x.copy()
        np.put_along_axis(others, own, np.where(here[:, None], one(-np.inf), np.take_along_axis(x, own, 1)), 1)
        e = exp_or_zero(others - _most(x))
        rest = _clear_uncounted(e, here if label_smoothing > 0 else w > 0)
        e_own = exp_or_zero(z_own)
        total = rest + e_own
        log_total = log_positive(total)
        nll = log_total + np.where(z_own >= 0, (rest - (total - one(1))) / total, one(0) - z_own)
        if label_smoothing > 0:
            keep, smooth = one(1 - label_smoothing), one(label_smoothing / classes)
            weight_sum = one(_in_order(weight.astype(np.float64)))
            mine, others = keep * w, smooth * weight_sum
            both = mine + others
            loss = mine * nll + smooth * (weight_sum * log_total - _in_order(weight[:, None] * z, 1))
            loss, factor = np.where(here, loss, one(0)), np.where(here, (both * scale) / total, one(0))
            mine = np.where(both > 0, (others * e_own - mine * rest) / both, one(0))
        else:
            loss, factor, mine = w * nll, w * scale, one(0) - rest
            if gamma is not None:
                p, q = e_own / total, rest / total
                modulation = _power(q, int(gamma), one(gamma - int(gamma)))
                ratio = np.where(q > 0, np.where(p > 0, p * nll, one(0)) / q, one(1))
                loss = modulation * loss
                factor = (modulation * factor) * (one(1) + one(gamma) * ratio)
            loss, factor = np.where(w > 0, loss, one(0)), np.where(w > 0, factor / total, one(0))
        grad = None
        if gradient:
            np.put_along_axis(e, own, np.where(here[:, None], mine[:, None], np.take_along_axis(e, own, 1)), 1)
            grad = e * factor[:, None]
            if label_smoothing > 0:
                grad -= ((smooth * weight) * scale)[:, None] * here[:, None].astype(x.dtype)
            grad = _stored(grad, logits, last)
        if reduction == "none":
            return loss, grad, divisor
        result = float(ordered_sum(_chunked(loss.astype(np.float64), SUM_LANES)))
    if reduction == "mean":
        result = result / divisor if divisor > 0 else 0.0
    return result, grad, divisor


def dice_loss_reference(
    logits: Array, last: bool, target: Array, ignore: int | None, eps: float, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    x = _planes(logits, last)
    one, classes = x.dtype.type, x.shape[1]
    label = _classes(target, ignore, classes)
    if isinstance(label, int):
        return label
    counts = np.bincount(label.ravel(), minlength=classes + 1)[:classes].astype(np.float64)
    here = label < classes
    own = np.where(here, label, 0)[:, None]
    with np.errstate(all="ignore"):
        e = exp_or_zero(x - _most(x))
        inverse = here.astype(x.dtype) / _clear_uncounted(e, here)
        p = e * inverse[:, None]
        p_own = np.where(here, np.take_along_axis(p, own, 1)[:, 0], one(0))
        by_chunk = np.moveaxis(_chunked(p, DICE_LANES), 1, 0).reshape(classes, -1)
        chunk = np.arange(len(x))[:, None] * -(-x.shape[2] // CHUNK) + np.arange(x.shape[2]) // CHUNK
        both_by_chunk = np.bincount(
            (label + (classes + 1) * chunk).ravel(), p_own.ravel(), (classes + 1) * by_chunk.shape[1]
        ).reshape(-1, classes + 1)[:, :classes]
        above = 2 * ordered_sums(both_by_chunk.T) + eps
        below = (ordered_sums(by_chunk) + counts) + eps
        loss = 1 - float(_in_order(above / below)) / classes
        grad = None
        if gradient:
            slope = (above / (below * below) / classes).astype(x.dtype)
            bonus = np.append((-2 / below / classes).astype(x.dtype), one(0))[label]
            extra = np.take_along_axis(e, own, 1)[:, 0] * bonus
            mean = np.where(here, (_in_order(e * slope[:, None], 1) + extra) * inverse, one(0))
            grad = p * (slope[:, None] - mean[:, None])
            more = np.take_along_axis(grad, own, 1)
            np.put_along_axis(grad, own, np.where(here[:, None], more + (extra * inverse)[:, None], more), 1)
            grad = _stored(grad, logits, last)
    return loss, grad, float(counts.sum())


def _planes(logits: Array, last: bool) -> Array:
    """(images, classes, pixels) in the dtype that is computed in."""
    x = widen(logits)
    return x.transpose(0, 2, 1) if last else x


def _stored(grad: Array, logits: Array, last: bool) -> Array:
    """A gradient as the logits are stored."""
    return narrow(np.ascontiguousarray(grad.transpose(0, 2, 1) if last else grad), logits.dtype)


def _classes(target: Array, ignore: int | None, classes: int) -> NDArray[np.int64] | int:
    """The class of each pixel, ``classes`` where it is ignored; or the position of the first label out of range."""
    signed = target.astype(np.int64)  # uint64 above int64 becomes negative: out of range as well
    ignored = np.zeros(target.shape, np.bool_) if ignore is None else signed == ignore
    bad = ((signed < 0) | (signed >= classes)) & ~ignored
    return int(np.argmax(bad)) if bad.any() else np.where(ignored, classes, signed)


def _most(x: Array) -> Array:
    """The maximum over the classes, as the kernels find it where there is a NaN."""
    most = x[:, 0]
    for c in range(1, x.shape[1]):
        most = np.where(x[:, c] > most, x[:, c], most)
    return most[:, None]


def _clear_uncounted(e: Array, counts: Array) -> Array:
    """The sum over the classes; where a pixel does not count and its logits make that NaN, ``e`` becomes 0."""
    rest = _in_order(e, 1)
    nan = ~counts & np.isnan(rest)
    np.copyto(e, e.dtype.type(0), where=nan[:, None])
    return np.where(nan, e.dtype.type(1), rest)


def _in_order(x: Array, axis: int = 0) -> Any:
    """The sum along an axis, one after the other: NumPy's own order depends on the memory."""
    x = np.moveaxis(x, axis, 0)
    total = np.zeros(x.shape[1:], x.dtype)
    for part in x:
        total = total + part
    return total


def _chunked(x: Array, lanes: int) -> Array:
    """float64 sums of chunks of pixels (the last axis), in interleaved lanes first."""
    chunks = -(-x.shape[-1] // CHUNK)
    padded = np.zeros((*x.shape[:-1], chunks * CHUNK), x.dtype)
    padded[..., : x.shape[-1]] = x
    rows = padded.reshape(*x.shape[:-1], chunks, CHUNK // lanes, lanes)
    return np.asarray(_in_order(_in_order(rows, -2).astype(np.float64), -1))


def _power(x: Array, whole: int, fraction: Any) -> Array:
    """x^(whole + fraction) for x in [0, 1]: an integer power by squaring."""
    result, square = np.ones_like(x), x
    while whole:
        if whole & 1:
            result = result * square
        square, whole = square * square, whole >> 1
    return result * exp_or_zero(fraction * log_positive(x)) if fraction > 0 else result
