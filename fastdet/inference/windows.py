"""Sliding windows: dense maps blended where windows overlap, and boxes merged across windows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import arrays, check
from fastdet._core.check import Array
from fastdet.boxes.overlap import METRICS
from fastdet.fusion.merge import merge_boxes
from fastdet.inference._images import Image, Place, Result, Size, check_run, grid
from fastdet.inference._models import Progress, function_of, reporting, to_kind_of
from fastdet.inference._outputs import Outputs
from fastdet.nms.greedy import batched_nms
from fastdet.nms.multiclass import Detections
from fastdet.nms.soft import METHODS, batched_soft_nms
from fastdet.yolo.postprocess import ExtendedDetections

BLENDS = ("constant", "gaussian")
MERGES = ("nms", "soft_nms", "merge")


def sliding_window(
    model: Any,
    image: Any,
    window: Any,
    step: Any,
    blend: str = "constant",
    *,
    sigma: float = 0.125,
    mode: str = "mirror",
    batch_size: int = 1,
    channels_last: bool | None = None,
    out: Any = None,
    prefetch: int = 2,
    progress: Progress = None,
) -> Any:
    """Compute a dense map of an image of any size: the weighted mean of the maps of overlapping windows.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), program of torch.export, ONNX
        Runtime session, or function. It maps a batch (n, C, h, w) of windows to (n, K, h, w) or (n, h, w), floats
        unless step is window. A dictionary or tuple of such maps gives one of results
    image : (C, H, W) or (H, W), then C = 1: a tensor, a NumPy array or memmap, or an array such as zarr's
    window : int or (height, width), pixels
    step : int or (height, width) from window to window, at most window; the last window of a row or column is moved
        back to the image's end
    blend : weight of a window's pixels: "constant", or "gaussian", exp(-d^2 / 2) with d the distance to the window's
        centre in units of sigma times the window's side
    sigma : above 0, for the gaussian
    mode : fills the part of a window beyond a smaller image: "mirror", "edge" or "zero"
    batch_size, channels_last, out, prefetch, progress : as in `overlap_tile`

    Returns
    -------
    map : (K, H, W) or (H, W) of the model's dtype, a tensor on the image's device or a NumPy array; or ``out``; or a
        dictionary or tuple of maps, as the model gives them

    Raises
    ------
    TypeError   kind of model, image or out; integers with a step below the window
    ValueError  shape, range, a step above the window, a value that out cannot hold

    Notes
    -----
    Where windows have the same value, the result is that value, bit for bit, under either blend; so the result of a
    point-wise model is exact. Windows are blended in order, row by row, so the result does not depend on batch_size,
    provided that the model's does not. Halves are blended in float32. Integers cannot be blended: where the last
    window of a row or column is moved back onto the one before it, the earlier one's values stay. Memory: (K + 1)
    values for each pixel of a band of the image as high as a window, prefetch + 2 batches of input and one of output,
    besides image and out themselves.

    Examples
    --------
    >>> image = np.arange(8.0).reshape(2, 4)
    >>> sliding_window(lambda batch: batch - batch.max((2, 3), keepdims=True), image, 2, 1)[0]
    array([[-5. , -4.5, -4.5, -4. ],
           [-1. , -0.5, -0.5,  0. ]])
    """
    op = "sliding_window"
    source = Image(op, image, channels_last)
    size = check.pair_of_sizes(op, "window", window)
    step_size = _checked_step(op, step, size)
    check.choice(op, "blend", blend, BLENDS)
    sigma = check.positive(op, "sigma", sigma)
    batch_size, prefetch = check_run(op, mode, batch_size, prefetch)
    function = function_of(op, model)
    rows, columns, places = grid(source.size, size, step_size, inside=True)
    weights = _weights(size, blend, sigma)
    bands = Outputs(
        op, out, lambda x: _Band(source, Result(source, x), rows, columns, size, weights, step_size == size)
    )
    with reporting(op, progress, len(places)) as advance:
        for group, batch in source.batches(places, size, mode, batch_size, prefetch):
            for band, output in bands.each(function(batch)):
                output = to_kind_of(op, output, source.data if source.tensor else batch)
                got = tuple(output.shape[1:3] if source.channels_last or output.ndim == 3 else output.shape[2:])
                if output.ndim not in (3, 4) or len(output) != len(group) or got != size:
                    shape = "(n, h, w, K)" if source.channels_last else "(n, K, h, w)"
                    expected = f"{shape} or (n, h, w) with n = {len(group)}, h, w = {size}"
                    raise ValueError(f"{op}: model must give {expected}, got {tuple(output.shape)}")
                for place, piece in zip(group, output, strict=True):
                    band.add(place, piece)
            advance(len(group))
    for band in bands.writers:
        band.flush(None)
    return bands.result([band.result.out for band in bands.writers])


def _checked_step(op: str, step: Any, size: Size) -> Size:
    step_size = check.pair_of_sizes(op, "step", step)
    if step_size[0] > size[0] or step_size[1] > size[1]:
        raise ValueError(f"{op}: step must be at most window {size}, got {step_size}")
    return step_size


def _weights(size: Size, blend: str, sigma: float) -> Array:
    """(h, w) float64 weights of a window's pixels; all are above 0 in float32 too."""
    sides = []
    for length in size:
        d = (np.arange(length) - (length - 1) / 2) / (sigma * length)
        sides.append(np.exp(-d * d / 2) if blend == "gaussian" else np.ones(length))
    return np.maximum(np.outer(*sides), 1e-30)


class _Band:
    """The running mean of windows: a band of the result, as high as a window, that later windows may still change."""

    def __init__(
        self,
        source: Image,
        result: Result,
        rows: list[int],
        columns: list[int],
        size: Size,
        weights: Array,
        apart: bool,
    ) -> None:
        self.source, self.result = source, result
        self.apart = apart  # windows overlap only where the last row and the last column are moved back
        self.rows, self.columns, self.size = rows, columns, size
        self.row = 0  # the row of windows that the band covers
        self.weights: Any = weights
        self.mean: Any = None  # (..., h, W), channels last (h, W, K)
        self.total: Any = None  # (h, W), sum of weights

    def add(self, place: Place, piece: Any) -> None:
        """Add a window to the mean: pixels that it covers first are copied, the others are blended by weight."""
        self.result.expect(piece)
        if self.mean is None:
            self._begin(piece)
        if place.row != self.row:
            self.flush(place.row)
        height, width = self.size
        above = self.rows[place.row - 1] + height - place.y if place.row else 0
        left = self.columns[place.column - 1] + width - place.x if place.column else 0
        x, end = place.x, place.x + width
        for y0, y1, x0, x1 in ((0, above, x, end), (above, height, x, x + left)):
            if self.floats and y0 < y1 and x0 < x1:
                self._blend(y0, y1, x0, x1, piece, x)
        self._view(self.mean, above, height, x + left, end)[...] = self._view(piece, above, height, left, width)
        self.total[above:, x + left : end] = self.weights[above:, left:]

    def _blend(self, y0: int, y1: int, x0: int, x1: int, piece: Any, x: int) -> None:
        space = np if isinstance(piece, np.ndarray) else sys.modules["torch"]
        mean, total = self._view(self.mean, y0, y1, x0, x1), self.total[y0:y1, x0:x1]
        new = self._view(piece, y0, y1, x0 - x, x1 - x)
        if new.dtype != mean.dtype:
            new = new.astype(mean.dtype) if space is np else new.to(mean.dtype)
        weight = self.weights[y0:y1, x0 - x : x1 - x]
        total += weight
        share = weight / total
        if self.source.channels_last and new.ndim == 3:
            share = share[..., None]
        with np.errstate(invalid="ignore"):  # infinities of both signs
            blended = mean * (1 - share) + new * share
        mean[...] = space.where(new == mean, mean, blended)  # exact where they agree

    def _begin(self, piece: Any) -> None:
        """Allocate the band for pieces of this one's shape and dtype."""
        torch = sys.modules.get("torch")
        height, width = self.size[0], max(self.source.size[1], self.size[1])
        shape: tuple[int, ...] = (height, width)
        if piece.ndim == 3:
            shape = (*shape, piece.shape[-1]) if self.source.channels_last else (piece.shape[0], *shape)
        self.dtype = piece.dtype
        if torch is not None and isinstance(piece, torch.Tensor):
            self.floats = piece.dtype.is_floating_point
            wide = torch.float32 if self.floats and piece.dtype.itemsize < 4 else piece.dtype
            share = wide if self.floats else torch.float32
            self.weights = torch.from_numpy(self.weights).to(piece.device, share)
        else:
            self.floats = piece.dtype.kind == "f"
            wide = np.dtype(np.float32) if piece.dtype == np.float16 else piece.dtype
            share = wide if self.floats else np.dtype(np.float32)
            self.weights = self.weights.astype(share)
        if not (self.floats or self.apart):
            op, got = self.source.op, piece.dtype
            raise TypeError(f"{op}: model must give floats where windows overlap, got {got}; or pass step = window")
        self.mean = self.source.empty(shape, wide)
        self.total = self.source.empty((height, width), share)

    def flush(self, row: int | None) -> None:
        """Write the rows above the windows of ``row`` (None: all rows), and move the band to that row of windows."""
        top, height = self.rows[self.row], self.size[0]
        done = height if row is None else min(self.rows[row] - top, height)
        piece = self._view(self.mean, 0, done, 0, None)
        if piece.dtype != self.dtype:
            with np.errstate(over="ignore"):
                piece = piece.astype(self.dtype) if isinstance(piece, np.ndarray) else piece.to(self.dtype)
        self.result.write(top, 0, piece)
        if row is not None:
            for x in (self.mean, self.total):
                rest = self._view(x, done, None, 0, None)
                for y in range(0, height - done, done):  # in pieces: torch cannot copy between overlapping views
                    end = min(y + done, height - done)
                    self._view(x, y, end, 0, None)[...] = self._view(rest, y, end, 0, None)
            self.row = row

    def _view(self, x: Any, top: int | None, bottom: int | None, left: int, right: int | None) -> Any:
        rows_first = self.source.channels_last or x.ndim == 2
        return x[top:bottom, left:right] if rows_first else x[:, top:bottom, left:right]


class Found(NamedTuple):
    """Detections of one image."""

    boxes: Any  # (N, 4) float, pixels, x1 y1 x2 y2
    scores: Any  # (N,) float
    labels: Any  # (N,) int64


Found.__module__ = "fastdet.inference"


def sliding_window_boxes(
    model: Any,
    image: Any,
    window: Any,
    step: Any,
    merge: str = "nms",
    *,
    iou_threshold: float = 0.5,
    metric: str | None = None,
    score_threshold: float | None = None,
    max_output: int | None = None,
    method: str | Callable[[float], float] = "linear",
    sigma: float = 0.5,
    min_score: float = 0.001,
    mode: str = "mirror",
    batch_size: int = 1,
    channels_last: bool | None = None,
    prefetch: int = 2,
    progress: Progress = None,
    backend: str | None = None,
) -> Found:
    """Detect in an image of any size: run a detector on windows, then merge its boxes across windows, class by class.

    Parameters
    ----------
    model : as in `sliding_window`, but for a batch of n windows it gives one of these: a list of n (boxes (N, 4),
        scores (N,), labels (N,) integer); a list of n dictionaries with these keys, as torchvision does; one
        `fastdet.nms.Detections`; three arrays (n, N, 4), (n, N), (n, N), as a session does, for a single window also
        without n. A list whose first item is an array is taken as the three arrays. Boxes are x1 y1 x2 y2 in pixels
        of the window; boxes without area, such as padding, are dropped
    image, window, step, mode, batch_size, channels_last, prefetch, progress : as in `sliding_window`
    merge : "nms"; "soft_nms" (overlapping boxes get lower scores); "merge" (`fastdet.nms.merge_boxes`: boxes are
        averaged, scores add up)
    iou_threshold : float in [0, 1]; boxes whose overlap equals it do not count as overlapping
    metric : the measure of overlap, "ios" or "iou". "ios" is intersection over the smaller area: it joins a part of an
        object to the whole object that another window has, but also joins an object to a larger one of its class
        around it. None: "ios", but "iou" for Soft-NMS, which has no other
    score_threshold : boxes with score <= it are dropped first; None drops none
    max_output : the largest number of detections, the best by score; None for all
    method, sigma, min_score : for Soft-NMS only, as in `fastdet.nms.soft_nms`
    backend : computes the merging; None for the fastest there is

    Returns
    -------
    Found(boxes (N, 4), scores (N,), labels (N,) int64), in pixels of the image, by falling score; tensors where the
    image is one, else NumPy arrays

    Raises
    ------
    TypeError   kind of model or image, dtype
    ValueError  shape, range, NaN, metric "ios" with Soft-NMS, an argument of Soft-NMS with another merge

    Notes
    -----
    Boxes are clipped to the image; boxes outside it, found in a window larger than the image, are dropped. Equal
    scores: the earlier window first, row by row.

    Examples
    --------
    >>> detector = lambda batch: [([[2.0, 2, 6, 6]], [0.9], [0]) for window in batch]  # a box in each window
    >>> sliding_window_boxes(detector, np.zeros((8, 16)), window=8, step=8).boxes
    array([[ 2.,  2.,  6.,  6.],
           [10.,  2., 14.,  6.]])
    """
    op = "sliding_window_boxes"
    source = Image(op, image, channels_last)
    size = check.pair_of_sizes(op, "window", window)
    step_size = _checked_step(op, step, size)
    check.choice(op, "merge", merge, MERGES)
    soft = merge == "soft_nms"
    if metric is None:
        metric = "iou" if soft else "ios"
    check.choice(op, "metric", metric, METRICS)
    if soft and metric != "iou":
        raise ValueError(f"{op}: metric must be 'iou' with merge 'soft_nms', got {metric!r}")
    if not callable(method):
        check.choice(op, "method", method, METHODS)
    sigma, min_score = check.positive(op, "sigma", sigma), check.non_negative(op, "min_score", min_score)
    for name, value, default in (("method", method, "linear"), ("sigma", sigma, 0.5), ("min_score", min_score, 0.001)):
        if not soft and value != default:
            raise ValueError(f"{op}: {name} must be {default!r} with merge {merge!r}, got {check.describe(value)}")
    iou_threshold = check.unit(op, "iou_threshold", iou_threshold)
    if score_threshold is not None:
        score_threshold = check.number(op, "score_threshold", score_threshold)
    output_limit = check.limit(op, "max_output", max_output)
    batch_size, prefetch = check_run(op, mode, batch_size, prefetch)
    function = function_of(op, model)
    parts: list[tuple[Array, Array, Array]] = []
    _, _, places = grid(source.size, size, step_size, inside=True)
    with reporting(op, progress, len(places)) as advance:
        for group, batch in source.batches(places, size, mode, batch_size, prefetch):
            outputs = of_each_window(op, function(batch), len(group))
            parts.extend(
                _in_image(op, *output, place, source.size, score_threshold)
                for place, output in zip(group, outputs, strict=True)
            )
            advance(len(group))
    boxes, scores, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    limit = None if output_limit < 0 else output_limit
    if merge == "nms":
        keep = batched_nms(boxes, scores, labels, iou_threshold, metric=metric, max_output=limit, backend=backend)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    elif soft:
        keep, scores = batched_soft_nms(
            boxes,
            scores,
            labels,
            method=method,
            iou_threshold=iou_threshold,
            sigma=sigma,
            min_score=min_score,
            max_output=limit,
            backend=backend,
        )
        boxes, labels = boxes[keep], labels[keep]
    else:
        boxes, scores, labels = merge_by_class(boxes, scores, labels, iou_threshold, metric, limit, backend)
    return Found(*(to_kind_of(op, x, source.data) for x in (boxes, scores, labels)))


def merge_by_class(
    boxes: Array,
    scores: Array,
    labels: Array,
    iou_threshold: float,
    metric: str,
    limit: int | None,
    backend: str | None,
) -> tuple[Array, Array, Array]:
    """`merge_boxes` of each class; the results by falling score, equal scores in order of class."""
    parts: list[tuple[Array, Array, Array]] = [(boxes[:0], scores[:0], labels[:0])]
    for label in np.unique(labels):
        of_class = labels == label
        merged = merge_boxes(boxes[of_class], scores[of_class], iou_threshold, metric=metric, backend=backend)
        parts.append((merged.boxes, merged.scores, np.full(len(merged.scores), label)))
    boxes, scores, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")[:limit]
    return boxes[order], scores[order], labels[order]


def of_each_window(op: str, output: Any, count: int) -> Sequence[tuple[Any, Any, Any]]:
    """A detector's output for a batch as boxes, scores and labels of each window."""
    if isinstance(output, (Detections, ExtendedDetections)):
        counts = [int(n) for n in output.count]
        windows = _of_batch(op, output[:3], count)
        return [(b[:n], s[:n], k[:n]) for (b, s, k), n in zip(windows, counts, strict=True)]
    if isinstance(output, (list, tuple)) and len(output) and hasattr(output[0], "shape"):
        if len(output) != 3:
            raise ValueError(f"{op}: model must give three arrays, boxes, scores and labels, got {len(output)}")
        if count == 1 and len(output[0].shape) < 3:
            return [(output[0], output[1], output[2])]
        return _of_batch(op, output, count)
    if not isinstance(output, (list, tuple)) or len(output) != count:
        got = f"{len(output)} items" if isinstance(output, (list, tuple)) else type(output).__name__
        raise ValueError(f"{op}: model must give (boxes, scores, labels) of each of {count} windows, got {got}")
    return [_of_one_window(op, one) for one in output]


def _of_batch(op: str, arrays: Sequence[Any], count: int) -> list[tuple[Any, Any, Any]]:
    shapes = [tuple(getattr(x, "shape", ())) for x in arrays]
    if [len(s) for s in shapes] != [3, 2, 2] or any(s[0] != count for s in shapes):
        got = ", ".join(map(str, shapes))
        raise ValueError(f"{op}: model must give arrays (n, N, 4), (n, N), (n, N) with n = {count}, got {got}")
    boxes, scores, labels = arrays
    return [(boxes[i], scores[i], labels[i]) for i in range(count)]


def _of_one_window(op: str, one: Any) -> tuple[Any, Any, Any]:
    names = ("boxes", "scores", "labels")
    if isinstance(one, dict):
        missing = [name for name in names if name not in one]
        if missing:
            raise ValueError(f"{op}: model must give boxes, scores and labels of a window, got no {missing[0]}")
        return one["boxes"], one["scores"], one["labels"]
    if not isinstance(one, (list, tuple)):
        raise TypeError(f"{op}: model must give (boxes, scores, labels) of a window, got {type(one).__name__}")
    if len(one) != 3:
        raise ValueError(f"{op}: model must give (boxes, scores, labels) of a window, got {len(one)} arrays")
    return one[0], one[1], one[2]


def _in_image(
    op: str, boxes: Any, scores: Any, labels: Any, place: Place, size: Size, score_threshold: float | None
) -> tuple[Array, Array, Array]:
    """A window's detections, checked, in pixels of the image and clipped to it."""
    b = check.boxes(op, "boxes", to_kind_of(op, arrays.plain(op, "boxes", boxes), None, "boxes"))
    s = check.scores(op, to_kind_of(op, scores, None, "scores"), len(b))
    k = check.keys(op, "labels", to_kind_of(op, labels, None, "labels"), len(b))
    nan = check.find_nan(b, s)
    if nan is not None:
        check.raise_nan_code(op, nan)
    if score_threshold is not None:
        use = s > check.cast(s.dtype, score_threshold)
        b, s, k = b[use], s[use], k[use]
    b = b + np.array([place.x, place.y, place.x, place.y], b.dtype)
    b = np.clip(b, 0, np.array([size[1], size[0], size[1], size[0]], b.dtype))
    use = (b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1])
    return b[use], s[use], k[use]
