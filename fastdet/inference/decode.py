"""What one-stage detectors say, as boxes and scores.

`yolo_decode` and `ssd_decode` give every box of the network: NumPy arrays in and out, or tensors of any device, with
gradients. `yolo_candidates` and `yolo_postprocess` are for the outputs of YOLO v5 and later, where all but a few of
thousands of boxes are thrown away at once: kernels that read the output once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastdet import _backends, _check
from fastdet._arrays import like, to_array, to_numpy
from fastdet._check import Array
from fastdet.boxes import METRICS
from fastdet.nms import Detections, nms_reference

__all__ = ["Candidates", "Decoded", "ssd_decode", "yolo_candidates", "yolo_decode", "yolo_postprocess"]


class Decoded(NamedTuple):
    """Every box of a network, as `fastdet.nms.multiclass_nms` takes them."""

    boxes: Any  # (N, P, 4) float, x1 y1 x2 y2
    scores: Any  # (N, P, C) float


def yolo_decode(output: Any, predictors: int = 2, *, size: Any = None) -> Decoded:
    """YOLO (v1): a grid of cells, with B boxes and one class distribution each.

    Parameters
    ----------
    output : (N, S, S, 5 B + C) float, or (S, S, 5 B + C) for one image: a cell's B boxes (x, y, w, h, confidence), then
        C probabilities of the classes given an object. x, y in [0, 1] from the cell's left and upper edge to the
        others; w, h fractions of the image; cells row by row. The grid need not be square
    predictors : B, the boxes of a cell
    size : (height, width) of the image, pixels; None gives boxes as fractions of the image

    Returns
    -------
    Decoded(boxes (N, S S B, 4), scores (N, S S B, C)): the cells row by row, a cell's boxes in order; a score is
    the box's confidence times the class probability. Without N where output has none

    Raises
    ------
    TypeError   dtype
    ValueError  shape, range

    Notes
    -----
    Nothing is clipped. In the output's dtype. Differentiable for tensors.
    Source: lecture, "YOLO"; Redmon et al., "You Only Look Once", 2015.
    """
    op = "yolo_decode"
    x, space = _floats(op, "output", output)
    count = _check.at_least_one(op, "predictors", predictors)
    if x.ndim not in (3, 4) or 0 in x.shape[-3:-1] or x.shape[-1] <= 5 * count:
        shape = tuple(x.shape)
        raise ValueError(f"{op}: output must have shape (N, S, S, {5 * count} + C) with C of 1 or more, got {shape}")
    height, width = (1.0, 1.0) if size is None else _check.pair_of_sizes(op, "size", size)
    lead, (down, across) = tuple(x.shape[:-3]), x.shape[-3:-1]
    box = x[..., : 5 * count].reshape(*lead, down, across, count, 5)
    row, column = _same(x, np.arange(down)[:, None, None]), _same(x, np.arange(across)[:, None])
    cx, cy = (box[..., 0] + column) * (width / across), (box[..., 1] + row) * (height / down)
    half_w, half_h = box[..., 2] * (width / 2), box[..., 3] * (height / 2)
    boxes = space.stack([cx - half_w, cy - half_h, cx + half_w, cy + half_h], -1)
    scores = box[..., 4:] * x[..., None, 5 * count :]
    places = down * across * count
    return _decoded(output, boxes.reshape(*lead, places, 4), scores.reshape(*lead, places, x.shape[-1] - 5 * count))


def ssd_decode(
    loc: Any,
    conf: Any,
    priors: Any,
    *,
    variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
    size: Any = None,
) -> Decoded:
    """SSD: offsets and class scores of default boxes.

    Parameters
    ----------
    loc : (N, P, 4) float, or (P, 4) for one image: offsets of cx, cy in units of the default box's sides, and
        logarithms of the factors of w, h, each divided by its variance
    conf : (N, P, C + 1) or (P, C + 1) float, logits; class 0 is the background
    priors : (P, 4) float, the default boxes: cx, cy, w, h as fractions of the image
    variances : of cx, cy, w, h
    size : (height, width) of the image, pixels; None gives boxes as fractions of the image

    Returns
    -------
    Decoded(boxes (N, P, 4), scores (N, P, C)): scores are softmax probabilities without the background's, so that
    label 0 is the first class. Without N where loc has none

    Raises
    ------
    TypeError   dtype, tensors mixed with others
    ValueError  shape, range

    Notes
    -----
    Nothing is clipped. In loc's and conf's dtype. Differentiable for tensors.
    Source: lecture, "SSD"; Liu et al., "SSD: Single Shot MultiBox Detector", 2015.
    """
    op = "ssd_decode"
    x, space = _floats(op, "loc", loc)
    logits, also = _floats(op, "conf", conf)
    if space is not also:
        raise TypeError(f"{op}: loc and conf must be of one kind, got {type(loc).__name__} and {type(conf).__name__}")
    if x.ndim not in (2, 3) or x.shape[-1] != 4:
        raise ValueError(f"{op}: loc must have shape (N, P, 4), got {tuple(x.shape)}")
    if logits.ndim != x.ndim or logits.shape[:-1] != x.shape[:-1] or logits.shape[-1] < 2:
        wanted = (*map(str, x.shape[:-1]), "C + 1")
        raise ValueError(f"{op}: conf must have shape ({', '.join(wanted)}), got {tuple(logits.shape)}")
    prior = _floats(op, "priors", priors)[0]
    if tuple(prior.shape) != (x.shape[-2], 4):
        raise ValueError(f"{op}: priors must have shape ({x.shape[-2]}, 4), got {tuple(prior.shape)}")
    if np.shape(variances) != (4,):
        raise ValueError(f"{op}: variances must be four numbers, got {_check.describe(variances)}")
    prior = _same(x, prior)
    scale = _same(x, np.array([_check.positive(op, "variances", v) for v in variances]))
    centre = prior[:, :2] + x[..., :2] * scale[:2] * prior[:, 2:]
    half = prior[:, 2:] * space.exp(x[..., 2:] * scale[2:]) * 0.5
    boxes = space.concatenate([centre - half, centre + half], -1)
    if size is not None:
        height, width = _check.pair_of_sizes(op, "size", size)
        boxes = boxes * _same(x, np.array([width, height, width, height]))
    power = space.exp(logits - space.amax(logits, -1)[..., None])
    return _decoded(loc, boxes, power[..., 1:] / power.sum(-1)[..., None])


def _floats(op: str, name: str, x: Any) -> tuple[Any, Any]:
    """A float tensor as it is, anything else as a NumPy array; and torch or numpy."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if not x.dtype.is_floating_point:
            raise TypeError(f"{op}: {name} must be a float tensor, got {x.dtype}")
        return x, torch
    array = to_numpy(op, name, x)
    if array.dtype.char not in "efd":
        raise TypeError(f"{op}: {name} must be float16, float32 or float64, got {array.dtype}")
    return array, np


def _same(x: Any, constant: Any) -> Any:
    """A constant in ``x``'s kind, dtype and device."""
    if isinstance(x, np.ndarray):
        return np.asarray(constant, x.dtype)
    torch = sys.modules["torch"]
    return torch.as_tensor(constant, dtype=x.dtype, device=x.device)


def _decoded(given: Any, boxes: Any, scores: Any) -> Decoded:
    wrap = like(given) if isinstance(boxes, np.ndarray) else lambda x: x
    return Decoded(wrap(boxes), wrap(scores))


class Candidates(NamedTuple):
    """The boxes of a batch that are worth suppressing."""

    boxes: Any  # (K, 4) float, x1 y1 x2 y2
    scores: Any  # (K,) float
    labels: Any  # (K,) int64
    images: Any  # (K,) int64, of the batch


def yolo_candidates(
    output: Any,
    score_threshold: float = 0.25,
    *,
    objectness: bool = False,
    multi_label: bool = False,
    candidates_last: bool | None = None,
    backend: str | None = None,
) -> Candidates:
    """The boxes of a YOLO (v5 and later) whose best class, or each class, is above a threshold.

    Parameters
    ----------
    output : (N, P, 4 + C) float, or (N, 4 + C, P): P candidates' cx, cy, w, h in pixels, and C class scores in [0, 1]
    score_threshold : a class with score <= it is none
    objectness : 5 + C channels, the fifth is Pr(object), and a class's score the product of the two (v5, v7, YOLOX);
        False for v8 and later
    multi_label : every class above the threshold, not only the best one
    candidates_last : output is (N, 4 + C, P), as v8 gives it; None: P is the longer of the two axes
    backend : "cpp", "numba" or "reference"; None for the fastest there is

    Returns
    -------
    Candidates(boxes (K, 4) x1 y1 x2 y2, scores (K,), labels (K,) int64, images (K,) int64): in order of image,
    candidate, class

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN

    Notes
    -----
    The lower class wins equal scores. Equal on every backend. float16 and bfloat16 compute in float32. Either layout in
    memory is read as it lies, once. Tensors come back without a graph.
    """
    op = "yolo_candidates"
    given = _outputs(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap = like(output)
    return Candidates(*(wrap(x) for x in _candidates(op, given, backend)))


class _Outputs(NamedTuple):
    """A YOLO's outputs as kernels take them, and which axes the caller gave the other way round."""

    laid: Any
    planes: bool
    objectness: bool
    multi_label: bool
    score_threshold: float
    turned: bool

    @property
    def classes(self) -> int:
        channels: int = self.laid.shape[1 if self.planes else 2]
        return channels - (5 if self.objectness else 4)


def _outputs(
    op: str, output: Any, score_threshold: float, objectness: bool, multi_label: bool, candidates_last: bool | None
) -> _Outputs:
    x = to_array(op, "output", output)
    if x.ndim != 3:
        raise ValueError(f"{op}: output must have shape (N, P, 4 + C) or (N, 4 + C, P), got {x.shape}")
    planes = x.shape[2] > x.shape[1] if candidates_last is None else bool(candidates_last)
    channels, first = x.shape[1 if planes else 2], 5 if objectness else 4
    if channels <= first:
        raise ValueError(
            f"{op}: output must have {first} + C channels with C of 1 or more, got {channels} in {x.shape}"
        )
    if channels - first > _check.MOST_CLASSES:
        raise ValueError(f"{op}: output must have at most {_check.MOST_CLASSES} classes, got {channels - first}")
    if x.shape[1] * x.shape[2] > _check.MAX_COUNT:
        raise ValueError(f"{op}: output must have at most {_check.MAX_COUNT} entries an image, got {x.shape}")
    least = _check.number(op, "score_threshold", score_threshold)
    turned = not x.flags.c_contiguous and x.transpose(0, 2, 1).flags.c_contiguous
    laid = _check.real(op, "output", x.transpose(0, 2, 1) if turned else x)
    return _Outputs(laid, planes != turned, bool(objectness), bool(multi_label), least, turned)


def _candidates(op: str, given: _Outputs, backend: str | None) -> tuple[Array, Array, Array, Array]:
    kernel = _backends.choose("yolo_candidates", backend, yolo_candidates_reference, given.laid)
    result = kernel(*given[:5])
    if isinstance(result, int):
        _nan_found(op, given, result)
    return result


def _nan_found(op: str, given: _Outputs, flat: int) -> NoReturn:
    at = [int(i) for i in np.unravel_index(flat, given.laid.shape)]
    _check.nan_error(op, "output", (at[0], at[2], at[1]) if given.turned else tuple(at))


def yolo_candidates_reference(
    output: Array, planes: bool, objectness: bool, multi_label: bool, score_threshold: float
) -> tuple[Array, Array, Array, Array] | int:
    """``planes``: candidates are the last axis. A NaN is answered by its flat index."""
    bad = np.isnan(output)
    if bad.any():
        return int(np.argmax(bad))
    rows = output.transpose(0, 2, 1) if planes else output
    scores = rows[..., 4:]
    if objectness:
        with np.errstate(all="ignore"):
            scores = rows[..., 4:5] * rows[..., 5:]
        scores[np.isnan(scores)] = -np.inf  # 0 * inf
    above = scores > _check.cast(output.dtype, score_threshold)
    if not multi_label:
        above &= np.arange(scores.shape[-1]) == scores.argmax(-1)[..., None]
    image, row, label = np.nonzero(above)
    half = output.dtype.type(0.5)
    with np.errstate(all="ignore"):  # infinite boxes overlap nothing
        cx, cy, w, h = rows[image, row, :4].T
        boxes = np.stack([cx - half * w, cy - half * h, cx + half * w, cy + half * h], axis=1)
    return boxes, scores[image, row, label], label, image


def yolo_postprocess(
    output: Any,
    iou_threshold: float = 0.45,
    *,
    score_threshold: float = 0.25,
    max_output: int = 300,
    objectness: bool = False,
    multi_label: bool = False,
    class_agnostic: bool = False,
    candidates_last: bool | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Detections:
    """The final detections of a YOLO (v5 and later): `yolo_candidates`, then class-wise NMS.

    Parameters
    ----------
    output, score_threshold, objectness, multi_label, candidates_last : as in `yolo_candidates`
    iou_threshold, metric, backend : as in `fastdet.nms.nms`
    max_output : the most detections of an image, the best by score; K is this, or P C where that is less
    class_agnostic : boxes suppress those of other classes too

    Returns
    -------
    `fastdet.nms.Detections`: boxes (N, K, 4) x1 y1 x2 y2, scores (N, K), labels (N, K) int64, count (N,) int64, each
    image's by falling score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, range, NaN
    """
    op = "yolo_postprocess"
    threshold = _check.unit(op, "iou_threshold", iou_threshold)
    most = _check.count(op, "max_output", max_output)
    _check.choice(op, "metric", metric, METRICS)
    given = _outputs(op, output, score_threshold, objectness, multi_label, candidates_last)
    wrap, count = like(output), len(given.laid)
    most = min(most, given.laid.shape[2 if given.planes else 1] * given.classes)
    if not isinstance(given.laid, np.ndarray):
        whole: Any = _backends.choose(op, backend, yolo_candidates_reference, given.laid)
        final = whole(*given[:5], bool(class_agnostic), threshold, metric, most)
        if isinstance(final[0], int):
            nan, image = final
            if nan >= 0:
                _nan_found(op, given, nan)
            _infinite_found(op, image)
        return Detections(*(wrap(x) for x in final))
    boxes, scores, labels, images = _candidates(op, given, backend)
    groups = images if class_agnostic else images * given.classes + labels
    limit = most if count == 1 else -1
    kernel = _backends.choose("nms", backend, nms_reference)
    keep = kernel(boxes, scores, groups, threshold, None, limit, metric)
    if isinstance(keep, int):  # an infinite centre less an infinite side
        _infinite_found(op, images[keep >> 1])
    padded = Detections(
        np.zeros((count, most, 4), boxes.dtype),
        np.zeros((count, most), scores.dtype),
        np.full((count, most), -1, np.int64),
        np.zeros(count, np.int64),
    )
    of_image = images[keep]
    for i in range(count):
        mine = keep if count == 1 else keep[of_image == i][:most]
        padded.count[i] = n = len(mine)
        padded.boxes[i, :n], padded.scores[i, :n], padded.labels[i, :n] = boxes[mine], scores[mine], labels[mine]
    return Detections(*(wrap(x) for x in padded))


def _infinite_found(op: str, image: int) -> NoReturn:
    raise ValueError(f"{op}: output must not hold infinite boxes, got one in image {image}")
