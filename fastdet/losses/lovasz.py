"""Lovász losses: surrogates of the Jaccard index (IoU), of a softmax over classes and of one logit, with gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero
from fastdet._core.half import narrow, widen
from fastdet._core.sums import ordered_sum
from fastdet.losses import _check
from fastdet.losses.pixels import (
    Pixels,
    as_planes,
    as_stored,
    class_max,
    class_numbers,
    clear_uncounted,
    in_order,
    warn_nothing,
)

CLASSES = ("present", "all")


def lovasz_softmax_loss(
    logits: Any,
    target: Any,
    ignore_index: int = -100,
    classes: str = "present",
    per_image: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Lovász-Softmax loss: the mean over classes of the Lovász extension of 1 - IoU at the errors |t - p|.

    p is the probability of the class and t 1 where the pixel is of it, else 0. The errors of a class are sorted, the
    largest first; each is multiplied by what the pixel adds to the Jaccard distance of those before it.

    Parameters
    ----------
    logits : (N, C, d1, ...), (N, C) or (C,) float
    target : (N, d1, ...), (N,) or () integer, class numbers
    ignore_index : label of pixels that do not count; may lie in [0, C)
    classes : "present", the mean over the classes that the target has; "all", over all C
    per_image : False: the pixels of the batch together; True: the mean of the losses of the images

    Returns
    -------
    loss : () float in [0, 1], the dtype of the logits; 0 with a RuntimeWarning where no pixel counts

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a label out of range, an unknown word for classes

    Notes
    -----
    Of equal errors that of the pixel that comes first is first; the loss is the same in any order, its gradient is one
    of several. An image without a pixel that counts has loss 0. The batch (per_image: an image) must have fewer than 2^31
    pixels.
    Source: Berman et al., "The Lovász-Softmax loss", 2018, and their code.

    Examples
    --------
    >>> logits = np.log([[1.0, 3.0], [2.0, 2.0]])  # probabilities 1/4 3/4 and 1/2 1/2
    >>> float(lovasz_softmax_loss(logits, np.array([0, 1])))  # errors 3/4 1/2 of both classes
    0.6875
    """
    if (ops := registered(__name__, logits, target)) is not None:
        return ops.lovasz_softmax_loss(logits, target, ignore_index, classes, per_image, backend)
    return _softmax("lovasz_softmax_loss", logits, target, ignore_index, classes, per_image, False, backend)[0]


def lovasz_softmax_loss_with_grad(
    logits: Any,
    target: Any,
    ignore_index: int = -100,
    classes: str = "present",
    per_image: bool = False,
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`lovasz_softmax_loss` and its gradient for the logits.

    Parameters and errors as in `lovasz_softmax_loss`.

    Returns
    -------
    loss : as `lovasz_softmax_loss` returns it
    grad : of the logits' shape, dtype and layout
    """
    op = "lovasz_softmax_loss_with_grad"
    return _softmax(op, logits, target, ignore_index, classes, per_image, True, backend)


def lovasz_hinge_loss(
    inputs: Any, targets: Any, ignore_index: int = -100, per_image: bool = False, *, backend: str | None = None
) -> Any:
    """Lovász hinge loss of two classes by one logit: the Lovász extension of 1 - IoU of target 1 at the hinge errors.

    The error of a pixel is max(0, 1 - x) where its target is 1 and max(0, 1 + x) where it is 0.

    Parameters
    ----------
    inputs : (N, d1, ...), or (N,), or () float; logits
    targets : bool or integer, the same shape; 0, 1, or ignore_index
    ignore_index : label of pixels that do not count
    per_image : False: the pixels of the batch together; True: the mean of the losses of the N images

    Returns
    -------
    loss : () float of 0 or more, the dtype of the inputs; 0 with a RuntimeWarning where no pixel counts

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, a target that is neither 0, 1 nor ignore_index

    Notes
    -----
    As in `lovasz_softmax_loss`. An error of 0 has no gradient.
    Source: Yu and Blaschko, "The Lovász hinge", 2015; Berman et al., 2018.

    Examples
    --------
    >>> float(lovasz_hinge_loss(np.array([2.0, -0.5, -3.0]), np.array([1, 1, 0])))  # errors 0, 1.5, 0
    0.75
    """
    if (ops := registered(__name__, inputs, targets)) is not None:
        return ops.lovasz_hinge_loss(inputs, targets, ignore_index, per_image, backend)
    return _hinge("lovasz_hinge_loss", inputs, targets, ignore_index, per_image, False, backend)[0]


def lovasz_hinge_loss_with_grad(
    inputs: Any, targets: Any, ignore_index: int = -100, per_image: bool = False, *, backend: str | None = None
) -> tuple[Any, Any]:
    """`lovasz_hinge_loss` and its gradient for the inputs.

    Parameters and errors as in `lovasz_hinge_loss`.

    Returns
    -------
    loss : as `lovasz_hinge_loss` returns it
    grad : of the inputs' shape and dtype
    """
    return _hinge("lovasz_hinge_loss_with_grad", inputs, targets, ignore_index, per_image, True, backend)


def _softmax(
    op: str,
    logits: Any,
    target: Any,
    ignore_index: int,
    classes: str,
    per_image: bool,
    gradient: bool,
    backend: str | None,
) -> tuple[Any, Any]:
    each = _check.flag(op, "per_image", per_image)
    x = Pixels(op, logits, target, ignore_index, merge=not each)
    present = check.choice(op, "classes", classes, CLASSES) == "present"
    _check.pixels(op, "target", x.labels.size)
    function = x.function("lovasz_softmax_loss", backend, lovasz_softmax_loss_reference)
    return x.results(function(x.logits, x.last, x.labels, x.ignore, present, each, gradient), True)


def _hinge(
    op: str, inputs: Any, targets: Any, ignore_index: int, per_image: bool, gradient: bool, backend: str | None
) -> tuple[Any, Any]:
    x = _check.floats(op, "inputs", to_array(op, "inputs", inputs, half=True))
    t = _check.binary_labels(op, to_array(op, "targets", targets), x.shape)
    ignore, each = _check.ignored_label(op, ignore_index, t.dtype), _check.flag(op, "per_image", per_image)
    _check.pixels(op, "targets", x.size)
    images = x.shape[0] if each and x.ndim else 1
    shape = images, (math.prod(x.shape[1:]) if each and x.ndim else x.size)
    function: Any = backends.choose("lovasz_hinge_loss", backend, lovasz_hinge_loss_reference, x, t)
    answer = function(x.reshape(shape), t.reshape(shape), ignore, each, gradient)
    if isinstance(answer, int):
        _check.raise_binary_label(op, t, answer)
    loss, grad, divisor = answer
    if divisor <= 0:
        warn_nothing(op, 4)
    if isinstance(x, np.ndarray):
        with np.errstate(over="ignore"):
            wide = np.float64 if x.dtype == np.float64 else np.float32
            loss = narrow(np.asarray(loss).astype(wide), x.dtype)
    back = like(inputs)
    return back(loss.reshape(())), None if grad is None else back(grad.reshape(x.shape))


def lovasz_softmax_loss_reference(
    logits: Array, last: bool, target: Array, ignore: int | None, present: bool, per_image: bool, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    """The loss, the gradient and the number of pixels that count; or the position of a label out of range."""
    x = as_planes(logits, last)
    one, classes = x.dtype.type, x.shape[1]
    label = class_numbers(target, ignore, classes)
    if isinstance(label, int):
        return label
    here, slope = label < classes, np.zeros_like(x)
    groups = [slice(i, i + 1) for i in range(len(x))] if per_image else [slice(None)]
    with np.errstate(all="ignore"):
        e = exp_or_zero(x - class_max(x))
        inverse = here.astype(x.dtype) / clear_uncounted(e, here)
        p = e * inverse[:, None]
        total = 0.0
        for group in groups:
            counts = np.bincount(label[group].ravel(), minlength=classes + 1)[:classes]
            chosen = [c for c in range(classes) if counts[c] or not present]
            scale, image_loss = 1 / (len(chosen) * len(groups)) if chosen else 0.0, 0.0
            for c in chosen:
                own = label[group] == c
                errors = np.where(own, one(1) - p[group, c], p[group, c])
                loss, steps = lovasz_terms(errors.ravel(), own.ravel(), here[group].ravel())
                image_loss += loss
                slope[group, c] = (np.where(own, -1.0, 1.0) * steps.reshape(own.shape) * scale).astype(x.dtype)
            total += image_loss / len(chosen) if chosen else 0.0
        grad = None
        if gradient:
            mean = in_order(e * slope, 1) * inverse
            grad = as_stored(p * (slope - mean[:, None]), logits, last)
    return total / len(groups) if groups else 0.0, grad, float(here.sum())


def lovasz_hinge_loss_reference(
    inputs: Array, targets: Array, ignore: int | None, per_image: bool, gradient: bool
) -> tuple[Any, Array | None, float] | int:
    x = widen(inputs)
    one, label = x.dtype.type, class_numbers(targets, ignore, 2)
    if isinstance(label, int):
        return label
    here, own, total = label < 2, label == 1, 0.0
    with np.errstate(all="ignore"):
        sign = np.where(own, one(1), one(-1))
        margin = one(1) - x * sign
        errors = np.where(margin <= 0, one(0), margin)
        slope = np.zeros_like(x)
        for i in range(len(x)):
            loss, steps = lovasz_terms(errors[i], own[i], here[i])
            total += loss
            slope[i] = (np.where(own[i], -1.0, 1.0) * steps * (1 / len(x))).astype(x.dtype)
        grad = None
        if gradient:
            slope = np.where(here & np.isnan(margin), one(np.nan), np.where(margin <= 0, one(0), slope))
            grad = narrow(np.where(here, slope, one(0)), inputs.dtype)
    return total / len(x) if len(x) else 0.0, grad, float(here.sum())


def lovasz_terms(errors: Array, own: Array, counts: Array) -> tuple[float, Array]:
    """The sum of errors times steps of the Jaccard distance, and the steps, float64; 0 where a pixel does not count.

    ``own``: of the class. ``counts``: whether a pixel counts.
    """
    one = errors.dtype.type
    score = np.where(counts, np.where(np.isnan(errors), one(np.inf), errors), one(-1))
    order = np.argsort(-score, kind="stable")
    found, counted = np.cumsum(own[order] & counts[order]), int(counts.sum())
    rank, total = np.arange(1, len(order) + 1), (found[-1] if len(found) else 0)
    jaccard = 1 - (total - found) / (total + (rank - found))
    steps = np.where(rank <= counted, np.diff(jaccard, prepend=0.0), 0.0)
    products = np.where(rank <= counted, errors[order].astype(np.float64) * steps, 0.0)
    back = np.empty_like(steps)
    back[order] = steps
    return float(ordered_sum(products)), back
