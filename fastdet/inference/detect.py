"""A detector from picture to boxes: resize, network, decode, class-wise NMS, back to the picture's pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet.boxes.overlap import METRICS
from fastdet.inference._images import range_of
from fastdet.inference._models import as_given, function_of
from fastdet.inference.decode import Decoded
from fastdet.inference.windows import Found
from fastdet.nms.multiclass import Detections, multiclass_nms
from fastdet.upsample.bilinear import upsample_bilinear

FITS = ("stretch", "letterbox")


def detect(
    model: Any,
    image: Any,
    decode: Callable[..., Decoded | Detections | tuple[Any, Any]],
    *,
    size: Any = None,
    fit: str = "stretch",
    fill: float = 0.0,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_output: int = 100,
    max_per_class: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Boxes, scores and labels that a detector finds in an image, or in each of a batch.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), ONNX Runtime session, or
        function of (N, C, h, w)
    image : (C, H, W), or (N, C, H, W), a tensor, a NumPy array or what NumPy makes one of
    decode : from what the model gives (of several arrays, one argument each) to boxes (N, P, 4) x1 y1 x2 y2 in pixels
        of the network's input, and scores (N, P, C): `functools.partial` of `yolo_decode` or `ssd_decode`. Or to
        `fastdet.nms.Detections`, which are final: that of `yolo_postprocess`, whose own thresholds count then
    size : (height, width) that the network takes; None: the image's own
    fit : how an image becomes that large: "stretch", or "letterbox", which keeps its proportions, centred, and fills
        the rest
    fill : of the letterbox, a value of the image's dtype
    score_threshold, iou_threshold, max_output, max_per_class, metric, backend : as in `fastdet.nms.multiclass_nms`

    Returns
    -------
    Found(boxes (K, 4), scores (K,), labels (K,) int64) of one image, by falling score; of a batch
    `fastdet.nms.Detections`, padded. Boxes are in pixels of the image and clipped to it, those that lie outside it
    left out; tensors where the image is one, else NumPy arrays

    Raises
    ------
    TypeError   kind of model, image or decode, dtype
    ValueError  shape, range, NaN, boxes of more or fewer images than were given

    Notes
    -----
    Resampled bilinearly by `fastdet.upsample` (images on the CPU). Suppressed before it is clipped.
    """
    op = "detect"
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(f"{op}: image must have shape (C, H, W) or (N, C, H, W), none of them 0, got {shape}")
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(image, torch.Tensor):
        image = to_numpy(op, "image", image)
    if not callable(decode):
        raise TypeError(f"{op}: decode must be a function, got {check.describe(decode)}")
    check.choice(op, "fit", fit, FITS)
    least = check.number(op, "score_threshold", score_threshold)
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    most = check.count(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    fill = _fill(op, fill, image.dtype)
    function = function_of(op, model)
    height, width = shape[-2:]
    batch = image if len(shape) == 4 else image[None]
    inner, top, left = (height, width), 0, 0
    if size is not None:
        outer = check.pair_of_sizes(op, "size", size)
        inner = outer
        if fit == "letterbox":
            factor = min(outer[0] / height, outer[1] / width)
            inner = max(round(height * factor), 1), max(round(width * factor), 1)
        batch = batch if inner == (height, width) else upsample_bilinear(batch, inner)
        top, left = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
        if inner != outer:
            batch = _boxed(batch, outer, top, left, fill)
    output = function(batch)
    decoded = decode(*output) if isinstance(output, (tuple, list)) else decode(output)
    if not isinstance(decoded, tuple) or (len(decoded) != 2 and not isinstance(decoded, Detections)):
        raise TypeError(f"{op}: decode must give (boxes, scores), got {type(decoded).__name__}")
    answer = tuple(np.shape(decoded[0]))
    if len(answer) != 3 or answer[0] != len(batch):
        raise ValueError(f"{op}: decode must give boxes (N, P, 4) with N = {len(batch)}, got {answer}")
    if not isinstance(decoded, Detections):
        decoded = multiclass_nms(
            *decoded,
            threshold,
            score_threshold=least,
            max_output=most,
            max_per_class=max_per_class,
            metric=metric,
            backend=backend,
        )
    found = Detections(*(as_given(op, x, None) for x in decoded))
    dtype = found.boxes.dtype.type
    shift = np.array([left, top, left, top], dtype)
    scale = np.array([width / inner[1], height / inner[0]] * 2, dtype)
    placed = np.clip((found.boxes - shift) * scale, 0, np.array([width, height] * 2, dtype))
    found = _with_area(found._replace(boxes=placed))
    if len(shape) == 4:
        return Detections(*(as_given(op, x, image) for x in found))
    count = int(found.count[0])
    return Found(*(as_given(op, x[0, :count], image) for x in found[:3]))


def _with_area(found: Detections) -> Detections:
    """Without the boxes of which nothing is left; the others in their order."""
    boxes, rows = found.boxes, np.arange(len(found.boxes))[:, None]
    inside = (boxes[..., :2] < boxes[..., 2:]).all(-1) & (np.arange(boxes.shape[1]) < found.count[:, None])
    order = np.argsort(~inside, axis=1, kind="stable")
    rest = ~inside[rows, order]
    boxes, scores, labels = (x[rows, order] for x in found[:3])
    boxes[rest], scores[rest], labels[rest] = 0, 0, -1
    return Detections(boxes, scores, labels, inside.sum(1, dtype=np.int64))


def _fill(op: str, fill: Any, dtype: Any) -> float:
    """A number that the image's dtype holds."""
    value = check.number(op, "fill", fill)
    held = range_of(dtype)
    if held is not None and not (held.low <= value <= held.high and (held.rank == 2 or value.is_integer())):
        raise ValueError(f"{op}: fill must be a value of {dtype}, got {value}")
    return value


def _boxed(batch: Any, size: tuple[int, int], top: int, left: int, fill: float) -> Any:
    """Images on a larger canvas."""
    lead, (height, width) = tuple(batch.shape[:2]), batch.shape[2:]
    if isinstance(batch, np.ndarray):
        canvas = np.full((*lead, *size), fill, batch.dtype)
    else:
        canvas = sys.modules["torch"].full((*lead, *size), fill, dtype=batch.dtype, device=batch.device)
    canvas[:, :, top : top + height, left : left + width] = batch
    return canvas
