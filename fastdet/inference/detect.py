"""A detector from image to boxes: resize, network, decode, class-wise NMS, boxes in the image's own pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet.boxes.overlap import METRICS
from fastdet.inference._fit import FITS, clipped, fitted, placement, to_image
from fastdet.inference._images import range_of, refuse_picture
from fastdet.inference._models import function_of, to_kind_of
from fastdet.inference.decode import Decoded
from fastdet.inference.instances import instances
from fastdet.inference.windows import Found
from fastdet.nms.multiclass import Detections, multiclass_nms
from fastdet.yolo.postprocess import ExtendedDetections


def detect(
    model: Any,
    image: Any,
    decode: Callable[..., Decoded | Detections | ExtendedDetections | tuple[Any, Any]] | None = None,
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
    """Run a detector on an image or on a batch of images: boxes, scores and labels.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), ONNX Runtime session, or
        function of (N, C, h, w)
    image : (C, H, W) or (N, C, H, W): a tensor, a NumPy array, or anything that NumPy converts to one
    decode : function of the model's output; an output of several arrays is passed as several arguments. It gives boxes
        (N, P, 4) x1 y1 x2 y2 in pixels of the network's input, and scores (N, P, C), as a `functools.partial` of
        `yolo_decode` or `ssd_decode` does. Or it gives final `fastdet.nms.Detections`, as one of `yolo_postprocess`
        does (extras are left out); then the thresholds of this call are not used. None: the model resizes images,
        decodes and suppresses by itself, and gives a list of a dictionary of each image, of boxes, scores, labels and
        perhaps masks, keypoints and keypoints_scores, as `fastdet.models.MaskRCNN` and torchvision's networks do;
        neither ``size`` nor the thresholds of this call are used then
    size : (height, width) of the network's input; None: the image's own
    fit : how an image is resized to ``size``: "stretch", or "letterbox", which keeps its proportions, centres it and
        fills the rest
    fill : value of the letterbox's padding, one that the image's dtype holds
    score_threshold, iou_threshold, max_output, max_per_class, metric, backend : as in `fastdet.nms.multiclass_nms`

    Returns
    -------
    Found(boxes (K, 4), scores (K,), labels (K,) int64) for one image, by falling score; for a batch
    `fastdet.nms.Detections`, padded. Boxes are in pixels of the image and clipped to it; boxes outside it are left
    out. Tensors where the image is one, else NumPy arrays. With ``decode`` None: `Instances` for one image, a list of
    them for a batch

    Raises
    ------
    TypeError   kind of model, image or decode, dtype
    ValueError  shape, range, NaN, boxes of more or fewer images than the batch has

    Notes
    -----
    Images are resampled by `fastdet.upsample.upsample_bilinear`. NMS runs before boxes are clipped.

    Examples
    --------
    >>> from functools import partial
    >>> from fastdet.inference import yolo_decode
    >>> model = lambda batch: np.full((len(batch), 1, 1, 6), 0.5)  # YOLO (v1) of one cell: a box in the middle
    >>> image = np.zeros((3, 100, 200), np.float32)
    >>> detect(model, image, partial(yolo_decode, predictors=1, size=(64, 64)), size=(64, 64)).boxes
    array([[ 50.,  25., 150.,  75.]])
    """
    op = "detect"
    if not hasattr(image, "shape"):
        raise TypeError(f"{op}: image must be an array or a tensor, got {type(image).__name__}")
    shape = tuple(image.shape)
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(f"{op}: image must have shape (C, H, W) or (N, C, H, W), none of them 0, got {shape}")
    refuse_picture(op, shape, "image must be channels first, not a picture", axes=len(shape))
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(image, torch.Tensor):
        image = to_numpy(op, "image", image)
    if decode is not None and not callable(decode):
        raise TypeError(f"{op}: decode must be a function, got {check.describe(decode)}")
    check.choice(op, "fit", fit, FITS)
    score_threshold = check.number(op, "score_threshold", score_threshold)
    iou_threshold = check.unit(op, "iou_threshold", iou_threshold)
    check.count(op, "max_output", max_output)
    check.limit(op, "max_per_class", max_per_class)
    check.choice(op, "metric", metric, METRICS)
    fill = _fill(op, fill, image.dtype)
    function = function_of(op, model)
    height, width = shape[-2:]
    batch = image if len(shape) == 4 else image[None]
    if decode is None:
        if size is not None:
            raise ValueError(f"{op}: size must be None where decode is: the model resizes images, got {size!r}")
        found = instances(op, function, batch, image)
        return found if len(shape) == 4 else found[0]
    place = placement((height, width), None if size is None else check.pair_of_sizes(op, "size", size), fit)
    batch = fitted(batch, place, fill)
    output = function(batch)
    decoded = decode(*output) if isinstance(output, (tuple, list)) else decode(output)
    if isinstance(decoded, ExtendedDetections):
        decoded = Detections(*decoded[:4])
    if not isinstance(decoded, tuple) or (len(decoded) != 2 and not isinstance(decoded, Detections)):
        raise TypeError(f"{op}: decode must give (boxes, scores), got {type(decoded).__name__}")
    decoded_shape = tuple(np.shape(decoded[0]))
    if len(decoded_shape) != 3 or decoded_shape[0] != len(batch):
        raise ValueError(f"{op}: decode must give boxes (N, P, 4) with N = {len(batch)}, got {decoded_shape}")
    if not isinstance(decoded, Detections):
        decoded = multiclass_nms(
            *decoded,
            iou_threshold,
            score_threshold=score_threshold,
            max_output=max_output,
            max_per_class=max_per_class,
            metric=metric,
            backend=backend,
        )
    detections = Detections(*(to_kind_of(op, x, None) for x in decoded))
    detections = _without_empty_boxes(detections._replace(boxes=clipped(to_image(detections.boxes, place), place)))
    if len(shape) == 4:
        return Detections(*(to_kind_of(op, x, image) for x in detections))
    count = int(detections.count[0])
    return Found(*(to_kind_of(op, x[0, :count], image) for x in detections[:3]))


def _without_empty_boxes(detections: Detections) -> Detections:
    """The detections whose boxes have area, in their order; padding follows them."""
    boxes, rows = detections.boxes, np.arange(len(detections.boxes))[:, None]
    inside = (boxes[..., :2] < boxes[..., 2:]).all(-1) & (np.arange(boxes.shape[1]) < detections.count[:, None])
    order = np.argsort(~inside, axis=1, kind="stable")
    padding = ~inside[rows, order]
    boxes, scores, labels = (x[rows, order] for x in detections[:3])
    boxes[padding], scores[padding], labels[padding] = 0, 0, -1
    return Detections(boxes, scores, labels, inside.sum(1, dtype=np.int64))


def _fill(op: str, fill: Any, dtype: Any) -> float:
    """``fill``, checked: a number that the image's dtype holds."""
    value = check.number(op, "fill", fill)
    limits = range_of(dtype)
    if limits is not None and not (limits.low <= value <= limits.high and (limits.rank == 2 or value.is_integer())):
        raise ValueError(f"{op}: fill must be a value of {dtype}, got {value}")
    return value
