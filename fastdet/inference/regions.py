"""R-CNN and Fast R-CNN: given boxes of an image, a network says what each one holds, and where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_host
from fastdet._core.check import Array
from fastdet._core.elementary import exp_or_zero
from fastdet.boxes.transforms import clip_boxes_to_image
from fastdet.inference._images import refuse_picture
from fastdet.inference._models import function_of, to_kind_of
from fastdet.inference.windows import Found
from fastdet.nms.greedy import batched_nms
from fastdet.proposals.coder import decode_boxes
from fastdet.roi.align import roi_align
from fastdet.roi.pooling import roi_pool

POOLS = ("roi_align", "roi_pool")
MIN_SIDE = 1e-2  # pixels; smaller detections are dropped


def rcnn(
    model: Any,
    image: Any,
    boxes: Any,
    *,
    size: Any = 224,
    padding: int = 0,
    weights: Any = (10.0, 10.0, 5.0, 5.0),
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_output: int = 100,
    batch_size: int = 64,
) -> Found:
    """R-CNN's inference: each proposal is cut out, warped to one size, and classified by itself.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first), ONNX Runtime session, or function. It maps crops
        (n, C, h, w) to logits (n, K + 1), of which column 0 is the background, or to logits and offsets: (n, 4) for
        all classes, (n, K + 1, 4) or (n, 4 * (K + 1)), as `fastdet.proposals.decode_boxes` takes them
    image : (C, H, W) float: a tensor or an array
    boxes : (P, 4) float, pixels, x1 y1 x2 y2: the proposals
    size : height and width of a crop, or one integer for both
    padding : pixels of the crop around the proposal, the paper's context; what lies outside the image is 0
    weights : of the offsets
    score_threshold : a class with a probability <= it is no detection
    iou_threshold, max_output : of the class-wise NMS, as in `fastdet.nms.batched_nms`
    batch_size : number of crops that the model gets at once

    Returns
    -------
    Found(boxes (N, 4), scores (N,), labels (N,) int64), by falling score; labels are columns of the logits, from 1 on.
    Tensors where the image is one

    Raises
    ------
    TypeError   kind of model, image or boxes, dtype
    ValueError  shape, range, NaN

    Notes
    -----
    Crops are sampled by `fastdet.roi.roi_align`, in the crop's pixels, at least one sample each. Slow by its nature:
    the network runs once for each proposal; `fast_rcnn` runs the convolutions once for an image.
    Source: Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", 2014.

    Examples
    --------
    >>> def brightest(crops):  # class 1 where a crop is bright
    ...     mean = crops.mean((1, 2, 3))
    ...     return np.stack([1 - mean, mean], axis=1) * 20
    >>> image = np.zeros((3, 40, 40), np.float32)
    >>> image[:, 10:20, 10:30] = 1
    >>> rcnn(brightest, image, np.array([[10.0, 10, 30, 20], [0, 20, 20, 40]]), size=8, score_threshold=0.5).boxes
    array([[10., 10., 30., 20.]])
    """
    op = "rcnn"
    x, proposals = _arguments(op, image, boxes)
    height, width = check.pair(op, "size", size, 1)
    pad = check.count(op, "padding", padding)
    if 2 * pad >= min(height, width):
        raise ValueError(f"{op}: padding must be below half the crop's size ({height}, {width}), got {pad}")
    step = check.at_least_one(op, "batch_size", batch_size)
    rule = _rule(op, weights, score_threshold, iou_threshold, max_output)
    function = function_of(op, model)
    side = proposals[:, 2:] - proposals[:, :2]
    around = side * (pad / np.array([width - 2 * pad, height - 2 * pad]))
    windows = np.concatenate([proposals[:, :2] - around, proposals[:, 2:] + around], axis=1)
    outputs = []
    for first in range(0, len(windows), step):
        part = windows[first : first + step].astype(np.float32)
        rois = np.concatenate([np.zeros((len(part), 1), np.float32), part], axis=1)
        crops = roi_align(x[None], to_kind_of(op, rois, image), (height, width), aligned=True)
        outputs.append(_scores_and_offsets(op, function(crops), len(part)))
    return _found(op, outputs, proposals, image, rule)


def fast_rcnn(
    backbone: Any,
    head: Any,
    image: Any,
    boxes: Any,
    *,
    output_size: Any = 7,
    spatial_scale: float | None = None,
    pool: str = "roi_pool",
    weights: Any = (10.0, 10.0, 5.0, 5.0),
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_output: int = 100,
) -> Found:
    """Fast R-CNN's inference: one feature map of the image, from which each proposal is pooled and classified.

    Parameters
    ----------
    backbone : torch module (as it is: call ``eval()`` first), ONNX Runtime session, or function: (1, C, H, W) to a
        feature map (1, F, h, w)
    head : the same kinds: pooled features (P, F, rows, columns) to logits, or logits and offsets, as in `rcnn`
    image, boxes, weights, score_threshold, iou_threshold, max_output : as in `rcnn`
    output_size : rows and columns of a pooled proposal, or one integer for both
    spatial_scale : of the feature map, cells a pixel; None: its width / the image's, which must be that of the height
    pool : "roi_pool", the paper's, or "roi_align", as in Mask R-CNN

    Returns
    -------
    Found, as `rcnn` returns it

    Raises
    ------
    TypeError   kind of model, image or boxes, dtype
    ValueError  shape, range, NaN

    Notes
    -----
    Source: Girshick, "Fast R-CNN", 2015.

    Examples
    --------
    >>> def brightest(features):  # class 1 where the pooled features are bright
    ...     mean = features.mean((1, 2, 3))
    ...     return np.stack([1 - mean, mean], axis=1) * 20
    >>> image = np.zeros((3, 40, 40), np.float32)
    >>> image[:, 10:20, 10:30] = 1
    >>> every_second = lambda batch: np.ascontiguousarray(batch[..., ::2, ::2])
    >>> proposals = np.array([[10.0, 10, 28, 18], [0, 20, 20, 40]])
    >>> fast_rcnn(every_second, brightest, image, proposals, output_size=2, score_threshold=0.5).boxes
    array([[10., 10., 28., 18.]])
    """
    op = "fast_rcnn"
    x, proposals = _arguments(op, image, boxes)
    check.choice(op, "pool", pool, POOLS)
    size = check.pair(op, "output_size", output_size, 1)
    rule = _rule(op, weights, score_threshold, iou_threshold, max_output)
    features_of, classify = function_of(op, backbone, "backbone"), function_of(op, head, "head")
    features = features_of(x[None])
    shape = tuple(getattr(features, "shape", ()))
    if len(shape) != 4 or shape[0] != 1:
        raise ValueError(f"{op}: backbone must give a feature map (1, F, h, w), got {shape or type(features).__name__}")
    scale = _scale(op, spatial_scale, shape[2:], tuple(x.shape[1:]))
    rois = to_kind_of(op, np.concatenate([np.zeros((len(proposals), 1)), proposals], axis=1), features)
    rois = rois.astype(np.float32) if isinstance(rois, np.ndarray) else rois.float()
    outputs = []
    if len(proposals):
        pooled = (
            roi_pool(features, rois, size, scale)
            if pool == "roi_pool"
            else roi_align(features, rois, size, scale, 2, aligned=True)
        )
        outputs.append(_scores_and_offsets(op, classify(pooled), len(proposals), "head"))
    return _found(op, outputs, proposals, image, rule)


def _arguments(op: str, image: Any, boxes: Any) -> tuple[Any, Array]:
    """The image, a tensor or a NumPy array, and the proposals, float64."""
    if not hasattr(image, "shape"):
        raise TypeError(f"{op}: image must be an array or a tensor, got {type(image).__name__}")
    shape = tuple(image.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"{op}: image must have shape (C, H, W), none of them 0, got {shape}")
    refuse_picture(op, shape, "image must be channels first, not a picture", axes=3)
    proposals = check.boxes(op, "boxes", to_host(op, "boxes", boxes)).astype(np.float64)
    bad = ~np.isfinite(proposals).all(axis=1)
    if bad.any():
        raise ValueError(f"{op}: boxes must be finite, got {proposals[bad][0].tolist()} at index {int(bad.argmax())}")
    flat = ~(proposals[:, :2] < proposals[:, 2:]).all(axis=1)
    if flat.any():
        got = f"{proposals[flat][0].tolist()} at index {int(flat.argmax())}"
        raise ValueError(f"{op}: boxes must have x1 < x2 and y1 < y2, got {got}")
    return (image.detach() if hasattr(image, "detach") else np.ascontiguousarray(image)), proposals


def _rule(op: str, weights: Any, score_threshold: Any, iou_threshold: Any, max_output: Any) -> tuple[Any, ...]:
    return (
        weights,
        check.number(op, "score_threshold", score_threshold),
        check.unit(op, "iou_threshold", iou_threshold),
        check.count(op, "max_output", max_output),
    )


def _scale(op: str, spatial_scale: Any, cells: tuple[int, ...], pixels: tuple[int, ...]) -> float:
    """Cells a pixel of a feature map."""
    if spatial_scale is not None:
        return check.positive(op, "spatial_scale", spatial_scale)
    scale = cells[1] / pixels[1]
    if abs(cells[0] - scale * pixels[0]) > 1:
        raise ValueError(
            f"{op}: spatial_scale must be given for a map of {tuple(cells)} cells of an image of {tuple(pixels)} pixels"
        )
    return scale


def _scores_and_offsets(op: str, output: Any, count: int, name: str = "model") -> tuple[Array, Array | None]:
    """Logits (n, K + 1) and offsets (n, 1 or K + 1, 4), or None, of a model's output."""
    parts = list(output) if isinstance(output, (tuple, list)) else [output]
    if len(parts) not in (1, 2):
        raise ValueError(f"{op}: {name} must give logits, or logits and offsets, got {len(parts)} results")
    logits = check.real(op, f"{name}'s logits", to_kind_of(op, parts[0], None))
    if logits.ndim != 2 or logits.shape[0] != count or logits.shape[1] < 2:
        raise ValueError(f"{op}: {name} must give logits ({count}, K + 1), got {logits.shape}")
    if np.isnan(logits).any():
        raise ValueError(f"{op}: {name} must give logits without NaN, got NaN")
    if len(parts) == 1:
        return logits, None
    offsets = check.real(op, f"{name}'s offsets", to_kind_of(op, parts[1], None))
    columns = logits.shape[1]
    if offsets.shape not in ((count, 4), (count, 4 * columns), (count, columns, 4)):
        expected = f"({count}, 4) or ({count}, {columns}, 4)"
        raise ValueError(f"{op}: {name} must give offsets {expected}, got {offsets.shape}")
    return logits, offsets.reshape(count, -1, 4)


def _found(
    op: str, outputs: list[tuple[Array, Array | None]], proposals: Array, image: Any, rule: tuple[Any, ...]
) -> Found:
    """Softmax, decoding, clipping and class-wise NMS of the outputs of all batches."""
    weights, score_threshold, iou_threshold, max_output = rule
    if not outputs:
        empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)
        return Found(*(to_kind_of(op, x, image) for x in empty))
    logits = np.concatenate([x[0] for x in outputs])
    exponentials = exp_or_zero(logits - logits.max(axis=1, keepdims=True))
    scores = (exponentials / exponentials.sum(axis=1, keepdims=True))[:, 1:]
    row, column = np.nonzero(scores > score_threshold)
    if outputs[0][1] is None:
        decoded = proposals[row]
    else:
        offsets = np.concatenate([x[1] for x in outputs if x[1] is not None])
        chosen = offsets[row, column + 1 if offsets.shape[1] > 1 else 0]
        decoded = decode_boxes(chosen, proposals[row].astype(offsets.dtype), weights)
    clipped = clip_boxes_to_image(decoded, (image.shape[1], image.shape[2]))
    large = (clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE).all(axis=1)
    boxes, values, labels = clipped[large], scores[row, column][large], column[large] + 1
    keep = batched_nms(boxes, values, labels, iou_threshold, max_output=max_output)
    return Found(*(to_kind_of(op, x[keep], image) for x in (boxes, values, labels)))
