"""OverFeat: run a classifier and a box regressor densely over several scales of an image, and merge their boxes.

A network has three parts, each a torch module, a session or a function: ``features``, (n, C, H, W) -> (n, D, h, w),
all layers before the last pooling; ``classifier`` and ``regressor``, convolutions from the pooled map (n, D, h', w')
to (n, classes, y, x) logits and (n, 4, y, x) or (n, 4 classes, y, x) boxes. A box is x1 y1 x2 y2 in fractions of the
window that the network was trained on, from its upper left corner. `fastdet.models` has such networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.boxes.overlap import METRICS
from fastdet.inference._models import function_of, single_array, to_kind_of
from fastdet.inference.windows import Found, merge_by_class
from fastdet.pool.max_pool import max_pool2d
from fastdet.upsample.bilinear import upsample_bilinear


class Dense(NamedTuple):
    """A network's output for the P windows of an image."""

    windows: Any  # (P, 4) float32, pixels, x1 y1 x2 y2
    scores: Any  # (P, classes) float
    boxes: Any  # (P, 4) or (P, classes, 4) float, pixels, x1 y1 x2 y2


def offset_pool(x: Any, size: int = 3) -> Iterator[tuple[int, int, Any]]:
    """Max-pooling without overlap, once for each of the size x size offsets of its grid.

    Parameters
    ----------
    x : (C, H, W) or (N, C, H, W), as `fastdet.pool.max_pool2d` takes it
    size : side and stride of the pooling windows, pixels

    Returns
    -------
    iterator of (dy, dx, pooled (..., h, w)): the grid begins at row dy and column dx; windows that the image does not
    hold whole are left out, and so are offsets without a window. The window of pooled[..., i, j] begins at row
    dy + size i and column dx + size j, so every position comes up once

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, size

    Notes
    -----
    Source: Sermanet et al., "OverFeat", 2013, section 3.3.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> [(dy, dx, pooled.item()) for dy, dx, pooled in offset_pool(x, 2)]
    [(0, 0, 4.0), (0, 1, 5.0), (1, 0, 7.0), (1, 1, 8.0)]
    """
    op = "offset_pool"
    side = check.at_least_one(op, "size", size)
    if not hasattr(x, "shape") or len(x.shape) not in (3, 4):
        raise ValueError(f"{op}: x must have shape (C, H, W) or (N, C, H, W), got {check.describe(x)}")
    for dy in range(side):
        for dx in range(side):
            if x.shape[-2] - dy >= side and x.shape[-1] - dx >= side:
                yield dy, dx, max_pool2d(x[..., dy:, dx:], side, return_indices=False)


def overfeat_dense(
    model: Any,
    image: Any,
    *,
    window: int | None = None,
    stride: int | None = None,
    pool: int | None = None,
    softmax: bool = True,
) -> Dense:
    """Run a network on every window of an image at once, as convolutions: its class scores and boxes.

    Parameters
    ----------
    model : (features, classifier, regressor), or an object with these attributes; see the module
    image : (C, H, W) float, at least as large as a window
    window : pixels, the side of the square that one position of the results depends on; None: ``model.window``
    stride : pixels between two positions of the features; with offset pooling, between two windows; None:
        ``model.step(dense=True)``
    pool : side and stride of the last pooling, which is done here at all its offsets; 1: no pooling; None:
        ``model.last_pool``
    softmax : True: the classifier gives logits. False: it gives scores

    Returns
    -------
    Dense(windows (P, 4), scores (P, classes), boxes (P, 4) or (P, classes, 4)): windows row by row, tensors where the
    image is one, else NumPy arrays

    Raises
    ------
    TypeError   kind of model or image
    ValueError  shape, range, parts whose results differ in shape

    Notes
    -----
    With valid convolutions the results are those of each window by itself, up to rounding; P is then
    ((H - window) // stride + 1) * ((W - window) // stride + 1).
    Source: lecture, "OverFeat"; Sermanet et al., "OverFeat", 2013.
    """
    op = "overfeat_dense"
    parts, (side, step, pooling) = _parts(op, model), _sizes(op, model, window, stride, pool)
    _check_image(op, image, side)
    return Dense(*(to_kind_of(op, x, image) for x in _dense(op, parts, image, side, step, pooling, softmax)))


def overfeat_multiscale(
    model: Any,
    image: Any,
    scales: Sequence[float] = (1.0, 1.25, 1.5),
    *,
    window: int | None = None,
    stride: int | None = None,
    pool: int | None = None,
    softmax: bool = True,
    background: int | None = None,
    top_k: int | None = None,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
    metric: str = "iou",
    max_output: int | None = None,
    backend: str | None = None,
) -> Found:
    """Detect as OverFeat does: run the network densely over several scales, then merge its boxes class by class.

    Parameters
    ----------
    model, image, window, stride, pool, softmax : as in `overfeat_dense`; the image may be smaller than a window
    scales : factors of the image's sides; a scale at which the image is smaller than a window is left out
    background : the class of windows without an object; None: there is no such class
    top_k : at each scale, keep only the k classes with the highest scores anywhere in the image (the paper: 5);
        None: all
    score_threshold : a class of a window with score <= it is no detection
    iou_threshold, metric, backend : as in `fastdet.nms.merge_boxes`
    max_output : the largest number of detections, the best by score; None for all

    Returns
    -------
    Found(boxes (N, 4) pixels of the image, scores (N,), labels (N,) int64), by falling score: a merged box's score is
    the sum of its parts'. Tensors where the image is one, else NumPy arrays

    Raises
    ------
    TypeError   kind of model or image
    ValueError  shape, range, an image that is smaller than a window at every scale

    Notes
    -----
    Images are resampled by `fastdet.upsample.upsample_bilinear`. Boxes are not clipped.
    Source: lecture, "OverFeat"; Sermanet et al., "OverFeat", 2013, section 4.3.
    """
    op = "overfeat_multiscale"
    parts, (side, step, pooling) = _parts(op, model), _sizes(op, model, window, stride, pool)
    _check_image(op, image, 1)
    factors = [check.positive(op, "scales", s) for s in scales]
    score_threshold = check.number(op, "score_threshold", score_threshold)
    iou_threshold = check.unit(op, "iou_threshold", iou_threshold)
    check.choice(op, "metric", metric, METRICS)
    class_limit, output_limit = check.limit(op, "top_k", top_k), check.limit(op, "max_output", max_output)
    background_class = check.limit(op, "background", background)
    height, width = image.shape[-2:]
    of_scale = []
    for factor in factors:
        size = round(height * factor), round(width * factor)
        if min(size) < side:
            continue
        scaled = image if size == (height, width) else upsample_bilinear(image, size)
        _, scores, boxes = (to_numpy(op, "output", x) for x in _dense(op, parts, scaled, side, step, pooling, softmax))
        shrink = np.array([width / size[1], height / size[0]] * 2, boxes.dtype)
        classes = scores.shape[1]
        if background_class >= classes:
            raise ValueError(f"{op}: background must be below {classes}, the number of classes, got {background_class}")
        of_scale.append(_selected(scores, boxes * shrink, background_class, class_limit, score_threshold))
    if not of_scale:
        raise ValueError(f"{op}: image must hold a window of {side} at some scale, got {(height, width)} at {factors}")
    all_boxes, all_scores, labels = (np.concatenate(x) for x in zip(*of_scale, strict=True))
    limit = None if output_limit < 0 else output_limit
    merged = merge_by_class(all_boxes, all_scores, labels, iou_threshold, metric, limit, backend)
    return Found(*(to_kind_of(op, x, image) for x in merged))


def _selected(
    scores: Array, boxes: Array, background: int, top_k: int, score_threshold: float
) -> tuple[Array, Array, Array]:
    """Boxes, scores and labels of a scale's detections."""
    use = scores > check.cast(scores.dtype, score_threshold)
    if background >= 0:
        use[:, background] = False
    if top_k >= 0:
        peak = np.where(use, scores, -np.inf).max(0)
        use[:, np.argsort(-peak, kind="stable")[top_k:]] = False
    row, label = np.nonzero(use)
    return (boxes[row] if boxes.ndim == 2 else boxes[row, label]), scores[row, label], label


def _parts(op: str, model: Any) -> list[Any]:
    """The three parts of a network as functions."""
    names = ("features", "classifier", "regressor")
    if all(hasattr(model, name) for name in names):
        model = tuple(getattr(model, name) for name in names)
    if not isinstance(model, (tuple, list)) or len(model) != 3:
        raise TypeError(f"{op}: model must have or be ({', '.join(names)}), got {type(model).__name__}")
    return [function_of(op, part, name) for part, name in zip(model, names, strict=True)]


def _sizes(op: str, model: Any, window: int | None, stride: int | None, pool: int | None) -> list[int]:
    """The window, the stride and the pool: the caller's, or the model's own where the caller passed None."""
    own = {"window": "window", "stride": "step", "pool": "last_pool"}
    sizes = []
    for (name, attribute), value in zip(own.items(), (window, stride, pool), strict=True):
        if value is None:
            value = getattr(model, attribute, None)
            value = value(dense=True) if callable(value) else value
        if value is None:
            raise ValueError(f"{op}: {name} must be an integer for a model without {attribute}, got None")
        sizes.append(check.pair_of_sizes(op, name, value)[0])
    return sizes


def _check_image(op: str, image: Any, min_side: int) -> None:
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 3 or min(shape[1:]) < min_side:
        raise ValueError(f"{op}: image must have shape (C, H, W) with H and W of {min_side} or more, got {shape}")


def _dense(
    op: str, parts: list[Any], image: Any, window: int, stride: int, pool: int, softmax: bool
) -> tuple[Array, Array, Array]:
    """`Dense` as NumPy arrays."""
    features, classifier, regressor = parts
    maps = to_kind_of(op, single_array(op, features(image[None]), "features"), image)
    if maps.ndim != 4 or maps.shape[0] != 1:
        raise ValueError(f"{op}: features must give (1, D, h, w), got {tuple(maps.shape)}")
    corners, scores, boxes = [], [], []
    for dy, dx, pooled in offset_pool(maps, pool):
        if dy * stride + window > image.shape[-2] or dx * stride + window > image.shape[-1]:
            continue  # no whole window begins at this offset
        classes, edges = (
            to_kind_of(op, single_array(op, head(pooled), name), None)
            for head, name in ((classifier, "classifier"), (regressor, "regressor"))
        )
        down, across = classes.shape[2:] if classes.ndim == 4 else (0, 0)
        channels = (4, 4 * classes.shape[1]) if classes.ndim == 4 else ()
        if edges.shape[:1] + edges.shape[2:] != (1, down, across) or edges.shape[1] not in channels:
            raise ValueError(
                f"{op}: classifier and regressor must give (1, classes, y, x) and (1, 4, y, x) or "
                f"(1, 4 classes, y, x), got {classes.shape} and {edges.shape}"
            )
        y, x = np.indices((down, across)).reshape(2, -1)
        corners.append(np.stack([x * pool + dx, y * pool + dy], axis=1) * stride)
        scores.append(classes[0].reshape(classes.shape[1], -1).T)
        boxes.append(np.moveaxis(edges[0].reshape(-1, 4, down * across), -1, 0))
    if not corners:
        raise ValueError(f"{op}: features must be at least pool {pool} wide and high, got {tuple(maps.shape)}")
    corner, score, box = np.concatenate(corners), np.concatenate(scores), np.concatenate(boxes)
    order = np.lexsort(corner.T)  # by row, then by column
    corner, score, box = corner[order], score[order], box[order]
    if softmax:
        exponentials = np.exp(score - score.max(1, keepdims=True))
        score = exponentials / exponentials.sum(1, keepdims=True)
    both = np.concatenate([corner, corner], axis=1).astype(np.float32)
    box = box * box.dtype.type(window) + both[:, None].astype(box.dtype)
    return both + np.array([0, 0, window, window], np.float32), score, box[:, 0] if box.shape[1] == 1 else box
