"""Decode the raw output of one-stage detectors into boxes and scores.

`yolo_decode` and `ssd_decode` give every box of the network. They take and give NumPy arrays, or tensors on any device
with gradients. For the outputs of YOLO v5 and later, `fastdet.yolo` has kernels that read the output once and keep
only the boxes above a score.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import like, to_numpy


class Decoded(NamedTuple):
    """All boxes of a network's output, as `fastdet.nms.multiclass_nms` takes them."""

    boxes: Any  # (N, P, 4) float, x1 y1 x2 y2
    scores: Any  # (N, P, C) float


Decoded.__module__ = "fastdet.inference"


def yolo_decode(output: Any, predictors: int = 2, *, size: Any = None) -> Decoded:
    """Decode YOLO (v1): a grid of cells, each with B boxes and one class distribution.

    Parameters
    ----------
    output : (N, S, S, 5 B + C) float, or (S, S, 5 B + C) for one image: a cell's B boxes (x, y, w, h, confidence), then
        C class probabilities, on condition that there is an object. x and y run from 0 at the cell's left and upper
        edge to 1 at its right and lower edge; w and h are fractions of the image; cells row by row. The grid need not
        be square
    predictors : B, the number of boxes of a cell
    size : (height, width) of the image, pixels; None gives boxes as fractions of the image

    Returns
    -------
    Decoded(boxes (N, S S B, 4), scores (N, S S B, C)): x1 y1 x2 y2; the cells row by row, a cell's boxes in order; a
    score is the box's confidence times the class probability. Without N where output has none

    Raises
    ------
    TypeError   dtype
    ValueError  shape, range

    Notes
    -----
    Boxes are not clipped. Results have the output's dtype. Differentiable for tensors.
    Source: lecture, "YOLO"; Redmon et al., "You Only Look Once", 2015.

    Examples
    --------
    >>> output = np.zeros((2, 2, 6))  # 2 x 2 cells, one box each, one class
    >>> output[0, 1] = [0.5, 0.5, 0.25, 0.5, 0.9, 1.0]  # the upper right cell: a box at its centre
    >>> boxes, scores = yolo_decode(output, 1, size=(100, 200))
    >>> boxes[1], scores[1]
    (array([125.,   0., 175.,  50.]), array([0.9]))
    """
    op = "yolo_decode"
    x, space = _floats(op, "output", output)
    count = check.at_least_one(op, "predictors", predictors)
    if x.ndim not in (3, 4) or 0 in x.shape[-3:-1] or x.shape[-1] <= 5 * count:
        shape = tuple(x.shape)
        raise ValueError(f"{op}: output must have shape (N, S, S, {5 * count} + C) with C of 1 or more, got {shape}")
    height, width = (1.0, 1.0) if size is None else check.pair_of_sizes(op, "size", size)
    lead, (down, across) = tuple(x.shape[:-3]), x.shape[-3:-1]
    box = x[..., : 5 * count].reshape(*lead, down, across, count, 5)
    row, column = _constant(x, np.arange(down)[:, None, None]), _constant(x, np.arange(across)[:, None])
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
    """Decode SSD: offsets and class scores of default boxes.

    Parameters
    ----------
    loc : (N, P, 4) float, or (P, 4) for one image: offsets of cx, cy in units of the default box's sides, and the
        logarithms of the factors by which w, h differ from them; each is divided by its variance
    conf : (N, P, C + 1) or (P, C + 1) float, logits; class 0 is the background
    priors : (P, 4) float, the default boxes: cx, cy, w, h as fractions of the image
    variances : of cx, cy, w, h
    size : (height, width) of the image, pixels; None gives boxes as fractions of the image

    Returns
    -------
    Decoded(boxes (N, P, 4), scores (N, P, C)): x1 y1 x2 y2, and softmax probabilities without the background's, so
    that label 0 is the first class. Without N where loc has none

    Raises
    ------
    TypeError   dtype, tensors mixed with arrays
    ValueError  shape, range

    Notes
    -----
    Boxes are not clipped. Boxes have loc's dtype, scores conf's. Differentiable for tensors.
    Source: lecture, "SSD"; Liu et al., "SSD: Single Shot MultiBox Detector", 2015.

    Examples
    --------
    >>> priors = np.array([[0.5, 0.5, 0.2, 0.4]])
    >>> conf = np.log([[0.1, 0.2, 0.7]])  # background, two classes
    >>> boxes, scores = ssd_decode(np.zeros((1, 4)), conf, priors, size=(100, 200))
    >>> boxes.round(6), scores.round(6)
    (array([[ 80.,  30., 120.,  70.]]), array([[0.2, 0.7]]))
    """
    op = "ssd_decode"
    x, space = _floats(op, "loc", loc)
    logits, logits_space = _floats(op, "conf", conf)
    if space is not logits_space:
        raise TypeError(f"{op}: loc and conf must be of one kind, got {type(loc).__name__} and {type(conf).__name__}")
    if x.ndim not in (2, 3) or x.shape[-1] != 4:
        raise ValueError(f"{op}: loc must have shape (N, P, 4), got {tuple(x.shape)}")
    if logits.ndim != x.ndim or logits.shape[:-1] != x.shape[:-1] or logits.shape[-1] < 2:
        expected = ", ".join([*map(str, x.shape[:-1]), "C + 1"])
        raise ValueError(f"{op}: conf must have shape ({expected}), got {tuple(logits.shape)}")
    prior = _floats(op, "priors", priors)[0]
    if tuple(prior.shape) != (x.shape[-2], 4):
        raise ValueError(f"{op}: priors must have shape ({x.shape[-2]}, 4), got {tuple(prior.shape)}")
    listed = hasattr(variances, "__iter__") and not check.is_scalar_array(variances)
    four = list(variances) if listed else []
    if len(four) != 4:
        raise ValueError(f"{op}: variances must be four numbers, got {check.describe(variances)}")
    prior = _constant(x, prior)
    scale = _constant(x, np.array([check.positive(op, "variances", v) for v in four]))
    centre = prior[:, :2] + x[..., :2] * scale[:2] * prior[:, 2:]
    half = prior[:, 2:] * space.exp(x[..., 2:] * scale[2:]) * 0.5
    boxes = space.concatenate([centre - half, centre + half], -1)
    if size is not None:
        height, width = check.pair_of_sizes(op, "size", size)
        boxes = boxes * _constant(x, np.array([width, height, width, height]))
    exponentials = space.exp(logits - space.amax(logits, -1)[..., None])
    return _decoded(loc, boxes, exponentials[..., 1:] / exponentials.sum(-1)[..., None])


def _floats(op: str, name: str, x: Any) -> tuple[Any, Any]:
    """A float tensor as it is, anything else as a NumPy array of floats; and its library, torch or numpy."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if not x.dtype.is_floating_point:
            raise TypeError(f"{op}: {name} must be a float tensor, got {x.dtype}")
        return x, torch
    array = to_numpy(op, name, x)
    if array.dtype.char not in "efd":
        raise TypeError(f"{op}: {name} must be float16, float32 or float64, got {array.dtype}")
    return array, np


def _constant(x: Any, constant: Any) -> Any:
    """A constant as an array of ``x``'s library, dtype and device."""
    if isinstance(x, np.ndarray):
        return np.asarray(constant, x.dtype)
    torch = sys.modules["torch"]
    return torch.as_tensor(constant, dtype=x.dtype, device=x.device)


def _decoded(output: Any, boxes: Any, scores: Any) -> Decoded:
    """`Decoded` in the library of ``output``."""
    wrap = like(output) if isinstance(boxes, np.ndarray) else lambda x: x
    return Decoded(wrap(boxes), wrap(scores))
