"""Proposals from the output of a region proposal network: top-k, decode, clip, filter, NMS; one call for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array, to_host
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero
from fastdet.nms.greedy import nms_reference
from fastdet.proposals import _check
from fastdet.proposals.coder import MAX_LOG_RATIO, decode_boxes_reference


class Proposals(NamedTuple):
    """Proposals of N images, padded to one number; rows from an image's count on are padding (boxes 0, score 0)."""

    boxes: Any  # (N, K, 4) float
    scores: Any  # (N, K) float
    counts: Any  # (N,) int64


Proposals.__module__ = "fastdet.proposals"

WHOLE = (1.0, 1.0, 1.0, 1.0)  # the weights of the box coder in a region proposal network
SCORES, DELTAS, ANCHORS = range(3)  # arrays in which a NaN is found


def generate_proposals(
    scores: Any,
    deltas: Any,
    anchors: Any,
    image_sizes: Any,
    *,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    iou_threshold: float = 0.7,
    min_size: float = 1e-3,
    score_threshold: float = 0.0,
    backend: str | None = None,
) -> Proposals:
    """Proposals of a batch of images from the output of a region proposal network.

    On each level of each image the ``pre_nms_top_n`` anchors of the highest logits are taken and decoded. Boxes are
    clipped to the image; small ones and those of a low score are dropped. NMS within each level follows, and the
    ``post_nms_top_n`` best of all levels are left.

    Parameters
    ----------
    scores : a list, by level, of (N, A_l) float: logits
    deltas : a list, by level, of (N, A_l, 4) float: offsets from the anchors, as `decode_boxes` takes them
    anchors : a list, by level, of (A_l, 4) float, pixels, x1 y1 x2 y2, the same for all images
    image_sizes : (N, 2) numbers, or a list of pairs: height and width of each image, pixels
    pre_nms_top_n : maximum number of anchors of a level
    post_nms_top_n : maximum number of proposals of an image
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives
    min_size : pixels; a box with a side below it, after clipping, is dropped
    score_threshold : a box whose sigmoid of the logit is below it is dropped

    Returns
    -------
    Proposals(boxes (N, K, 4), scores (N, K), counts (N,) int64): each image's by falling score, the sigmoid of the
        logit; K is post_nms_top_n, or the number of anchors that are taken where that is lower

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, lists of different lengths, NaN

    Notes
    -----
    Equal logits of a level: the lower index first. Equal scores of an image, which logits above 16 have in float32:
    the lower level first, then the higher logit. NaN is looked for in all logits, but only in those deltas and anchors
    that are decoded. A box that is NaN after decoding, since an infinite delta met an anchor without a side, is
    dropped. The results have no gradient. Equal on every backend; the same boxes as torchvision's
    `RegionProposalNetwork.filter_proposals` but for the last bits of exp.
    Source: Ren et al., "Faster R-CNN", 2015, section 3.3; Lin et al., "Feature Pyramid Networks", 2017.

    Examples
    --------
    >>> anchors = np.array([[0.0, 0, 16, 16], [1, 0, 17, 16], [32, 32, 64, 64]])
    >>> logits, deltas = np.array([[2.0, 1.0, 0.0]]), np.zeros((1, 3, 4))
    >>> found = generate_proposals([logits], [deltas], [anchors], [(48, 64)], pre_nms_top_n=3, post_nms_top_n=9)
    >>> found.counts, found.boxes[0, :2]
    (array([2]), array([[ 0.,  0., 16., 16.],
           [32., 32., 64., 48.]]))
    """
    op = "generate_proposals"
    levels = [_check.items(op, name, x) for name, x in (("scores", scores), ("deltas", deltas), ("anchors", anchors))]
    for name, x in zip(("deltas", "anchors"), levels[1:], strict=True):
        if len(x) != len(levels[0]):
            raise ValueError(f"{op}: {name} must have one entry for each of the {len(levels[0])} levels, got {len(x)}")
    options = pre_nms_top_n, post_nms_top_n, iou_threshold, min_size, score_threshold
    if (ops := registered(__name__, *levels[0], *levels[1], *levels[2], grad=False)) is not None:
        made: Proposals = ops.generate_proposals(*levels, image_sizes, *options, backend)
        return made
    s, d, a = _arrays(op, *levels)
    pre = check.at_least_one(op, "pre_nms_top_n", pre_nms_top_n)
    post = check.at_least_one(op, "post_nms_top_n", post_nms_top_n)
    checked = (
        check.unit(op, "iou_threshold", iou_threshold),
        check.non_negative(op, "min_size", min_size),
        check.number(op, "score_threshold", score_threshold),
    )
    sizes = _sizes(op, image_sizes, len(s[0]))
    post = min(post, sum(min(pre, x.shape[1]) for x in s))
    kernel = backends.choose(op, backend, generate_proposals_reference, *s, *d, *a)
    result = kernel(s, d, a, sizes, pre, post, *checked)
    if isinstance(result, int):
        _raise_nan(op, result, s)
    wrap = like(levels[0][0])
    return Proposals(*(wrap(x) for x in result))


def _arrays(op: str, scores: list[Any], deltas: list[Any], anchors: list[Any]) -> tuple[list[Any], ...]:
    """The levels' arrays in the one dtype of the call, their shapes checked."""
    s = [to_array(op, "scores", x) for x in scores]
    d = [to_array(op, "deltas", x) for x in deltas]
    a = [to_array(op, "anchors", x) for x in anchors]
    if s[0].ndim != 2:
        raise ValueError(f"{op}: scores must have shape (N, A) on each level, got {s[0].shape} on level 0")
    images = s[0].shape[0]
    for level, (score, delta, anchor) in enumerate(zip(s, d, a, strict=True)):
        if score.ndim != 2 or score.shape[0] != images:
            raise ValueError(f"{op}: scores must have shape ({images}, A), got {score.shape} on level {level}")
        if delta.shape != (*score.shape, 4):
            raise ValueError(f"{op}: deltas must have shape {(*score.shape, 4)}, got {delta.shape} on level {level}")
        if anchor.shape != (score.shape[1], 4):
            raise ValueError(
                f"{op}: anchors must have shape ({score.shape[1]}, 4), got {anchor.shape} on level {level}"
            )
    if sum(x.shape[1] for x in s) > check.MAX_COUNT:
        raise ValueError(f"{op}: scores must have at most {check.MAX_COUNT} anchors an image")
    s, d, a = ([check.real(op, name, x) for x in xs] for name, xs in (("scores", s), ("deltas", d), ("anchors", a)))
    dtype = _check.common_dtype(*s, *d)
    s, d, a = ([_check.in_dtype(dtype, x) for x in xs] for xs in (s, d, a))
    return s, d, a


def _sizes(op: str, image_sizes: Any, images: int) -> NDArray[np.float64]:
    """(N, 2) heights and widths."""
    if isinstance(image_sizes, (list, tuple)):
        image_sizes = [to_host(op, "image_sizes", x) if hasattr(x, "shape") else x for x in image_sizes]
    sizes = to_host(op, "image_sizes", image_sizes)
    if sizes.size == 0 and images == 0:
        sizes = np.zeros((0, 2))
    if sizes.shape != (images, 2):
        raise ValueError(f"{op}: image_sizes must have shape ({images}, 2), height and width, got {sizes.shape}")
    sizes = check.real(op, "image_sizes", sizes).astype(np.float64)
    good = np.isfinite(sizes) & (sizes >= 0)
    if not good.all():
        raise ValueError(f"{op}: image_sizes must be finite and 0 or more, got {sizes[~good][0]}")
    return sizes


def _raise_nan(op: str, code: int, scores: Sequence[Any]) -> NoReturn:
    """Raise for the code of a NaN: see `generate_proposals_reference`."""
    flat, which = divmod(code, 3)
    level = 0
    while flat >= scores[level].size:
        flat -= scores[level].size
        level += 1
    image, index = divmod(flat, scores[level].shape[1])
    name = ("scores", "deltas", "anchors")[which]
    where = f"index {index}" if which == ANCHORS else f"index {(image, index)}"
    raise ValueError(f"{op}: {name} must not hold NaN, got NaN on level {level} at {where}")


def generate_proposals_reference(
    scores: list[Array],
    deltas: list[Array],
    anchors: list[Array],
    image_sizes: NDArray[np.float64],
    pre_nms_top_n: int,
    post_nms_top_n: int,
    iou_threshold: float,
    min_size: float,
    score_threshold: float,
) -> tuple[Array, Array, NDArray[np.int64]] | int:
    """One image after the other. A NaN returns 3 * its place + the array that it is in: the lowest such number.

    A place counts the scores level by level, image by image. NaN of scores come before others.
    """
    if (code := nan_in_scores(scores)) is not None:
        return code
    dtype, images = scores[0].dtype, len(scores[0])
    boxes, values = np.zeros((images, post_nms_top_n, 4), dtype), np.zeros((images, post_nms_top_n), dtype)
    counts, codes = np.zeros(images, np.int64), []
    for image in range(images):
        logits, decoded, level_of, first = [], [], [], 0
        for level, (s, d, a) in enumerate(zip(scores, deltas, anchors, strict=True)):
            top = np.argsort(-s[image], kind="stable")[:pre_nms_top_n]
            codes += nans_of_level(d[image, top], a[top], first + image * s.shape[1] + top)
            first += s.size
            logits.append(s[image, top])
            decoded.append(decode_boxes_reference(d[image, top], a[top], WHOLE, MAX_LOG_RATIO))
            level_of.append(np.full(len(top), level, np.int64))
        if codes:
            continue
        box = clipped(np.concatenate(decoded), image_sizes[image])
        score, key = sigmoid(np.concatenate(logits)), np.concatenate(level_of)
        left = survivors(box, score, min_size, score_threshold)
        box, score, key = box[left], score[left], key[left]
        keep: Any = nms_reference(box, score, key, iou_threshold, None, post_nms_top_n, "iou")
        counts[image] = len(keep)
        boxes[image, : len(keep)], values[image, : len(keep)] = box[keep], score[keep]
    return min(codes) if codes else (boxes, values, counts)


def nan_in_scores(scores: list[Array]) -> int | None:
    """The code of the first NaN of the scores."""
    first = 0
    for x in scores:
        is_nan = np.isnan(x).ravel()
        if is_nan.any():
            return 3 * (first + int(np.argmax(is_nan))) + SCORES
        first += x.size
    return None


def nans_of_level(deltas: Array, anchors: Array, places: NDArray[np.int64]) -> list[int]:
    """The codes of the NaN among the anchors of a level that are decoded."""
    wrong = [(which, np.isnan(x).any(axis=1)) for which, x in ((DELTAS, deltas), (ANCHORS, anchors))]
    return [3 * int(place) + which for which, is_nan in wrong for place in places[is_nan]]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), to 3 ulp; 0 where x is at most -87 (float32) or -708 (float64)."""
    one = x.dtype.type(1)
    e = exp_or_zero(-np.abs(x))
    return np.where(x >= 0, one, e) / (one + e)


def clipped(boxes: Array, size: Array) -> Array:
    """Boxes within an image of (height, width); NaN stays."""
    height, width = (check.cast(boxes.dtype, side) for side in size)
    edges = np.array([width, height, width, height], boxes.dtype)
    low = np.where(boxes <= 0, boxes.dtype.type(0), boxes)
    return np.where(low > edges, edges, low)


def survivors(boxes: Array, scores: Array, min_size: float, score_threshold: float) -> NDArray[np.bool_]:
    """Which boxes have sides of ``min_size`` and scores of ``score_threshold`` at least; not those with a NaN."""
    side = check.cast(boxes.dtype, min_size)
    with np.errstate(all="ignore"):
        large = (boxes[:, 2] - boxes[:, 0] >= side) & (boxes[:, 3] - boxes[:, 1] >= side)
    left: NDArray[np.bool_] = large & (scores >= check.cast(scores.dtype, score_threshold))
    return left
