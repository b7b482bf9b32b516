"""Confusion matrices of label maps, and of class scores: the class with the highest score is the prediction."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, quick_cuda, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.half import widen
from fastdet._core.label_images import label_array
from fastdet._core.layout import to_nchw
from fastdet.segmentation import _check
from fastdet.segmentation.matrix import VOID, with_convention
from fastdet.upsample.bilinear import taps


class Caller(NamedTuple):
    """Names for error texts: the public function, and its names of the arguments."""

    op: str
    target: str = "target"
    prediction: str = "prediction"
    hint: str = ""  # what to do about a label that is out of range


_LABELS = Caller("confusion_matrix")
_LOGITS = Caller("confusion_matrix_from_logits", prediction="logits")


def confusion_matrix(
    target: Any,
    prediction: Any,
    num_classes: int,
    *,
    ignore_index: int | None = None,
    void: str = "miss",
    backend: str | None = None,
) -> Any:
    """Count the pixels of each pair of true class and predicted class.

    Parameters
    ----------
    target : integers (or booleans) of any shape, the true class of each pixel; or a grey or palette image of Pillow,
        or a list of such images of one size: their stored numbers are the classes
    prediction : likewise, of the same shape; the dtypes may differ
    num_classes : int in [1, 65535]
    ignore_index : label of void pixels, in target and in prediction. It may be a class: that class's row and column
        then stay 0. None: no pixel is void
    void : what becomes of void pixels. "miss": those of void truth are dropped, a prediction of void is a miss of
        the true class. "drop": a pixel that is void in either is dropped. "count": void truth counts against the
        predicted class as well
    backend : "cpp", "numba", "reference" or "cuda"; None for the fastest where the arrays are

    Returns
    -------
    matrix : int64, rows are the truth, columns the prediction; its sum is the number of counted pixels. (C, C);
        with ignore_index (C, C + 1) for "miss", whose last column counts predictions of void, (C, C) for "drop",
        (C + 1, C + 1) for "count", whose last row and column are void. A `ConfusionMatrix` of NumPy arrays, which
        knows ``num_classes`` and ``void``; a tensor of tensors, with these two as attributes (not from a compiled
        call, and not after an operation on it: pass ``num_classes`` to the figures then)

    Raises
    ------
    TypeError    dtype, device
    ValueError   shapes that differ, num_classes, an unknown void; a label that is neither a class nor ignore_index,
        with the index of the first one (target is checked before prediction). GPU value errors are asynchronous: the
        next call raises them (with FASTDET_SYNC=1 this call), and the matrix is undefined
    MemoryError  a matrix that does not fit in memory

    Notes
    -----
    Exact, and equal on every backend and for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import confusion_matrix
    >>> truth, prediction = np.array([0, 0, 1, 255]), np.array([0, 1, 1, 0])
    >>> confusion_matrix(truth, prediction, 2, ignore_index=255).tolist()
    [[1, 1, 0], [0, 1, 0]]
    >>> confusion_matrix(truth, prediction, 2, ignore_index=255, void="count").tolist()
    [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    """
    op = "confusion_matrix"
    if (ops := registered(__name__, target, prediction, grad=False)) is not None:
        result = ops.confusion_matrix(target, prediction, num_classes, ignore_index, void, backend)
        return _dispatched(result, num_classes, ignore_index, void)
    classes = _check.class_count(op, num_classes)
    ignore = _check.ignored(op, ignore_index)
    check.choice(op, "void", void, VOID)
    quick = quick_cuda(target, backend) if ignore is None or void != "drop" else None
    if quick is not None and (counts := quick.confusion_matrix(target, prediction, classes, ignore)) is not None:
        result = _without(counts, classes, void)
    else:
        counts = count_labels(target, prediction, classes, ignore, backend)
        result = like(target)(_without(counts, classes, void))
    return with_convention(result, classes, None if ignore is None else void)


def count_labels(
    target: Any,
    prediction: Any,
    classes: int,
    ignore: int | None,
    backend: str | None,
    *,
    caller: Caller = _LABELS,
    per_image: bool | None = None,
) -> Array:
    """Counts of all labels, void last. ``per_image``: see `_cuda.confusion_matrices`; None on the CPU."""
    op = caller.op
    truth = _check.labels(op, caller.target, label_array(op, caller.target, target))
    predicted = _check.labels(op, caller.prediction, label_array(op, caller.prediction, prediction))
    if truth.shape != predicted.shape:
        want = f"{caller.target}' shape" if caller.target.endswith("s") else f"{caller.target}'s shape"
        raise ValueError(f"{op}: {caller.prediction} must have {want} {truth.shape}, got {predicted.shape}")
    kernel: str
    more: tuple[Any, ...]
    kernel, more = ("confusion_matrix", ()) if per_image is None else ("confusion_matrices", (per_image,))
    function: Any = backends.choose(kernel, backend, confusion_matrix_reference, truth, predicted)
    result: Array | int = function(truth, predicted, classes, ignore, *more)
    if isinstance(result, int):
        name, labels = (caller.prediction, predicted) if result & 1 else (caller.target, truth)
        _invalid_label(caller, name, labels, result >> 1, classes, ignore)
    return result


def _invalid_label(caller: Caller, name: str, labels: Array, flat: int, classes: int, ignore: int | None) -> NoReturn:
    """Raise ValueError for the label at index ``flat`` of the flattened labels, which is out of range."""
    at: Any = tuple(int(i) for i in np.unravel_index(flat, labels.shape))
    value, at = int(check.value_at(labels, at)), at[0] if len(at) == 1 else at
    also = "" if ignore is None else f" or ignore_index {ignore}"
    raise ValueError(
        f"{caller.op}: {name} must hold classes in [0, {classes}){also}, got {value} at index {at}{caller.hint}"
    )


def _dispatched(matrix: Any, classes: Any, ignore: int | None, void: str) -> Any:
    """The result of torch's dispatcher, with its convention. A compiler cannot trace it, and gets none."""
    if sys.modules["torch"].compiler.is_compiling():
        return matrix
    return with_convention(matrix, int(classes), None if ignore is None else void)


def _without(matrix: Array, classes: int, void: str) -> Array:
    """The rows and columns that the convention ``void`` keeps of counts of all labels, void last."""
    if void == "count" or len(matrix) == classes:
        return matrix
    return matrix[:classes] if void == "miss" else check.require(matrix[:classes, :classes], None)


def class_codes(labels: Array, classes: int, ignore: int | None) -> tuple[Array, int]:
    """Labels as int64, void as ``classes``, and the flat index of the first one that is out of range, or -1."""
    flat = labels.ravel()
    void = np.zeros(flat.shape, np.bool_)
    if ignore is not None and np.iinfo(flat.dtype).min <= ignore <= np.iinfo(flat.dtype).max:
        void = flat == flat.dtype.type(ignore)
    bad = ~void & ((flat < 0) | (flat > min(classes - 1, np.iinfo(flat.dtype).max)))
    if bad.any():
        return flat, int(np.argmax(bad))
    return np.where(void, classes, flat.astype(np.int64)), -1


def confusion_matrix_reference(
    target: Array, prediction: Array, num_classes: int, ignore_index: int | None
) -> Array | int:
    """Counts of all labels, void last; or 2 * flat index (+ 1 in prediction) of the first label out of range."""
    truth, bad = class_codes(target, num_classes, ignore_index)
    if bad >= 0:
        return 2 * bad
    predicted, bad = class_codes(prediction, num_classes, ignore_index)
    if bad >= 0:
        return 2 * bad + 1
    side = num_classes + (ignore_index is not None)
    pairs = truth * side + predicted
    if side <= 1024:
        return np.bincount(pairs, minlength=side * side).reshape(side, side).astype(np.int64, copy=False)
    matrix = np.zeros((side, side), np.int64)  # pages of a large one are allocated when written
    cells, count = np.unique(pairs, return_counts=True)
    matrix.flat[cells] = count
    return matrix


def confusion_matrix_from_logits(
    target: Any,
    logits: Any,
    *,
    ignore_index: int | None = None,
    void: str = "miss",
    size: tuple[int, int] | None = None,
    align_corners: bool = False,
    backend: str | None = None,
) -> Any:
    """The confusion matrix of class scores: each pixel counts as the class with its highest score.

    Parameters
    ----------
    target : (N, H, W) or (H, W) integers, the true class of each pixel; or an image of Pillow, or a list, as in
        `confusion_matrix`
    logits : (N, C, h, w) or (C, h, w) float16, bfloat16, float32 or float64, the score of each class; torch's
        channels_last memory is read as it is. Equal scores: the lower class
    ignore_index, void : as in `confusion_matrix`; C is the number of classes
    size : None where h, w are H, W; else (H, W), to which the scores are resampled bilinearly before they are
        compared, with `fastdet.upsample.upsample_bilinear`'s numbers (halves: in float32, not rounded back)
    align_corners : as in `fastdet.upsample.upsample_bilinear`
    backend : as in `confusion_matrix`

    Returns
    -------
    matrix : int64, as `confusion_matrix` gives it

    Raises
    ------
    TypeError    dtype, device
    ValueError   shapes that do not match, an unknown void; a label of target that is out of range; a score that is
        NaN or, where scores are resampled, infinite. With the index of the first; on a GPU as in `confusion_matrix`

    Notes
    -----
    Equal to resampling, then argmax, then `confusion_matrix`, on every backend. Scores at full resolution are never
    stored: the CPU holds the predictions of a band of rows, a GPU nothing. Tensors that require grad are accepted;
    counts have no gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdet.segmentation import confusion_matrix_from_logits
    >>> target, logits = np.array([[0, 1]]), np.array([[[2.0, 3.0]], [[1.0, 0.0]]])  # (H, W), (C, H, W)
    >>> confusion_matrix_from_logits(target, logits).tolist()
    [[1, 0], [1, 0]]
    """
    op = "confusion_matrix_from_logits"
    if (ops := registered(__name__, target, logits, grad=False)) is not None:
        result = ops.confusion_matrix_from_logits(target, logits, ignore_index, void, size, align_corners, backend)
        return _dispatched(result, logits.shape[-3], ignore_index, void)
    ignore = _check.ignored(op, ignore_index)
    check.choice(op, "void", void, VOID)
    counts = count_logits(target, logits, ignore, size, bool(align_corners), backend)
    classes = len(counts) - (ignore is not None)
    result = like(target)(_without(counts, classes, void))
    return with_convention(result, classes, None if ignore is None else void)


def count_logits(
    target: Any,
    logits: Any,
    ignore: int | None,
    size: tuple[int, int] | None,
    align_corners: bool,
    backend: str | None,
    *,
    caller: Caller = _LOGITS,
    per_image: bool | None = None,
) -> Array:
    """Counts of all labels, void in the last row and column; ``per_image`` as in `count_labels`."""
    op, name = caller.op, caller.prediction
    truth = _check.labels(op, caller.target, label_array(op, caller.target, target))
    scores = _check.class_scores(op, name, to_array(op, name, logits, half=True))
    if truth.ndim != scores.ndim - 1 or (truth.ndim == 3 and len(truth) != len(scores)):
        want = "(H, W)" if scores.ndim == 3 else f"({len(scores)}, H, W)"
        raise ValueError(f"{op}: {caller.target} must have shape {want} for logits {scores.shape}, got {truth.shape}")
    classes, height, width = scores.shape[-3:]
    if size is None:
        if truth.shape[-2:] != (height, width):
            raise ValueError(
                f"{op}: {caller.target} must have the logits' {(height, width)} pixels, got {truth.shape[-2:]}"
            )
    elif _check.image_size(op, "size", size) != truth.shape[-2:]:
        raise ValueError(f"{op}: size must be the target's {truth.shape[-2:]}, got {check.describe(tuple(size))}")
    elif truth.size and not scores.size:
        raise ValueError(f"{op}: {name} must have at least 1 pixel to be resampled, got {scores.shape}")
    image, channels_last = to_nchw(scores if truth.size else scores[..., :0])
    if truth.size:
        maps = truth.reshape((-1, *truth.shape[-2:]))
    else:
        maps = check.empty(op, (len(image), *image.shape[2:]), np.dtype(np.int64), image)
    kernel: str = "confusion_matrix_from_logits"
    more: tuple[Any, ...] = ()
    if per_image is not None:
        kernel, more = "confusion_matrices_from_logits", (per_image,)
    function: Any = backends.choose(kernel, backend, confusion_matrix_from_logits_reference, maps, image)
    result: Array | int = function(maps, image, ignore, channels_last, align_corners, *more)
    if isinstance(result, int):
        if not result & 1:
            _invalid_label(caller, caller.target, truth, result >> 1, classes, ignore)
        index = tuple(int(i) for i in np.unravel_index(result >> 1, scores.shape))
        value = widen(check.value_at(scores, index))
        if np.isnan(value):
            check.raise_nan(op, name, index)
        raise ValueError(f"{op}: {name} must be finite to be resampled, got {value} at index {index}")
    return result


def confusion_matrix_from_logits_reference(
    target: Array, logits: Array, ignore_index: int | None, channels_last: bool, align_corners: bool
) -> Array | int:
    """(N, H, W) and (N, C, h, w) or (N, h, w, C). Invalid score: 2 * its flat index in (N, C, h, w) + 1."""
    scores = widen(logits.transpose(0, 3, 1, 2) if channels_last else logits)
    classes, plain = scores.shape[1], scores.shape[2:] == target.shape[1:]
    _, bad = class_codes(target, classes, ignore_index)
    if bad >= 0:
        return 2 * bad
    invalid = np.isnan(scores) if plain else ~np.isfinite(scores)
    if invalid.any():
        return 2 * int(np.argmax(invalid)) + 1
    prediction = np.zeros(target.shape, np.int64)
    if target.size:
        axis_taps = [
            taps(n, out, align_corners, 0.0, scores.dtype)
            for n, out in zip(scores.shape[2:], target.shape[1:], strict=True)
        ]
        for image, best_class in zip(scores, prediction, strict=True):
            best = image[0] if plain else _resampled(image[0], *axis_taps)
            for c in range(1, classes):
                score = image[c] if plain else _resampled(image[c], *axis_taps)
                better = ~(best >= score)
                best = np.where(better, score, best)
                best_class[better] = c
    return confusion_matrix_reference(target, prediction, classes, ignore_index)


def _resampled(plane: Array, rows: tuple[Array, ...], columns: tuple[Array, ...]) -> Array:
    i0, i1, w0, w1 = columns
    with np.errstate(all="ignore"):
        wide = w0 * plane[:, i0] + w1 * plane[:, i1]
        i0, i1, w0, w1 = rows
        return w0[:, None] * wide[i0] + w1[:, None] * wide[i1]
