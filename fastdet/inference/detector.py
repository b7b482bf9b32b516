"""A detector as an object: pictures of any kind and size in, boxes, masks and keypoints in their own pixels out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.boxes.overlap import METRICS
from fastdet.inference._fit import FITS, Placement, clipped, fitted, placement, to_image
from fastdet.inference._images import Size, refuse_picture
from fastdet.inference._models import function_of, to_kind_of, to_tensor
from fastdet.inference.detect import detect
from fastdet.inference.windows import of_each_window
from fastdet.masks.paste import paste_masks
from fastdet.upsample.bilinear import upsample_bilinear

OP = "Detector"
WORDS = ("boxes", "scores", "labels", "masks", "keypoints")


class Detected(NamedTuple):
    """The detections of a picture, by falling score, in its own pixels; tensors where the picture is one."""

    boxes: Any  # (K, 4) x1 y1 x2 y2, clipped to the picture
    scores: Any  # (K,)
    labels: Any  # (K,) int64
    masks: Any = None  # (K, H, W) bool; None where the network gives none
    keypoints: Any = None  # (K, P, 3) x, y and the network's third number; None where the network gives none


class Detector:
    """A network with all that stands around it: reads pictures, prepares them, batches them, and gives detections.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), path of an .onnx file, which
        ONNX Runtime runs, session of ONNX Runtime, or function of a batch (N, C, h, w)
    decode : as in `detect`, for networks whose raw output has to be decoded and suppressed, such as YOLO or SSD. None:
        the network gives final detections, as a two-stage network does: for each picture a dictionary with boxes
        (K, 4), scores (K,), labels (K,) and perhaps masks, (K, h, w) or (K, 1, h, w) in [0, 1] of the network's input
        or of each box, and keypoints (K, P, 3), all in pixels of the network's input; or arrays, as
        `sliding_window_boxes` takes them
    size : (height, width) of the network's input; None: that of an ONNX file with a fixed one, else each picture's own
    fit : "stretch" or "letterbox", which keeps proportions, centres, and fills the rest
    fill : value of the letterbox's padding, a picture's value before scaling
    channels : of the network's input. With 3, a grey picture is repeated; with 1, a PIL picture is made grey
    scale : factor on pictures of uint8; float pictures are taken as they are. The network gets
        (scale * picture - mean) / std, as float32, or in the dtype of its weights or of its ONNX input. Where that is
        uint8, it gets the pixels alone: scale, mean and std must then be left out
    mean, std : of each channel, or one number for all
    reverse_channels : True: the order of the channels is reversed, for a network of BGR and pictures in RGB, or for
        OpenCV's pictures
    channels_last : of arrays: True for (H, W, C), False for (C, H, W). None: NumPy arrays are (H, W, C), tensors
        (C, H, W)
    batch_size : maximum number of pictures in a call of the network
    score_threshold : None: 0.05 with decode, none without, where it drops detections of that score or a lower one
    iou_threshold, max_output, max_per_class, metric, backend : as in `detect`; with decode None, max_output alone is
        used
    providers : of ONNX Runtime, for a path; None: those of its CPU
    threads : of ONNX Runtime, for a path; None: its own choice

    Raises
    ------
    FileNotFoundError   no such ONNX file
    ImportError         a path, where ONNX Runtime is not installed
    TypeError           kind of model, decode or picture, dtype
    ValueError          shape, range; a file that ONNX Runtime cannot read

    Notes
    -----
    Pictures are resampled by `fastdet.upsample.upsample_bilinear` in their own dtype, so uint8 pictures are rounded
    once before they are scaled. Pictures that have one size for the network make a batch, in any order; results do not
    depend on batch_size where the network's do not. Masks are resampled bilinearly and are set where they are 0.5 or
    more. PIL pictures are converted to RGB; rotate them by their EXIF data before.

    Examples
    --------
    >>> from functools import partial
    >>> from fastdet.inference import yolo_decode
    >>> net = lambda batch: np.full((len(batch), 1, 1, 6), 0.5)  # YOLO (v1) of one cell: a box in the middle
    >>> detector = Detector(net, partial(yolo_decode, predictors=1, size=(64, 64)), size=(64, 64))
    >>> wide, tall = np.zeros((100, 200, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)
    >>> [found.boxes.tolist() for found in detector([wide, tall])]
    [[[50.0, 25.0, 150.0, 75.0]], [[10.0, 20.0, 30.0, 60.0]]]
    """

    def __init__(
        self,
        model: Any,
        decode: Callable[..., Any] | None = None,
        *,
        size: Any = None,
        fit: str = "stretch",
        fill: float = 0.0,
        channels: int = 3,
        scale: float | None = None,
        mean: Any = None,
        std: Any = None,
        reverse_channels: bool = False,
        channels_last: bool | None = None,
        batch_size: int = 8,
        score_threshold: float | None = None,
        iou_threshold: float = 0.5,
        max_output: int = 100,
        max_per_class: int | None = None,
        metric: str = "iou",
        backend: str | None = None,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if decode is not None and not callable(decode):
            raise TypeError(f"{OP}: decode must be a function or None, got {check.describe(decode)}")
        check.choice(OP, "fit", fit, FITS)
        check.limit(OP, "max_per_class", max_per_class)
        check.choice(OP, "metric", metric, METRICS)
        self.decode, self.fit, self.fill = decode, fit, check.number(OP, "fill", fill)
        self.size: Size | None = None if size is None else check.pair_of_sizes(OP, "size", size)
        self.channels = check.at_least_one(OP, "channels", channels)
        self.batch_size = check.at_least_one(OP, "batch_size", batch_size)
        self.reverse_channels, self.channels_last = bool(reverse_channels), channels_last
        self.max_output = check.count(OP, "max_output", max_output)
        self.score_threshold = None if score_threshold is None else check.number(OP, "score_threshold", score_threshold)
        self.options = {
            "iou_threshold": check.unit(OP, "iou_threshold", iou_threshold),
            "max_per_class": max_per_class,
            "metric": metric,
            "backend": backend,
        }
        path = isinstance(model, (str, os.PathLike))
        if not path and (providers is not None or threads is not None):
            raise ValueError(f"{OP}: providers and threads must be None where model is not a path")
        self.model = _session(os.fspath(model), providers, threads) if path else model
        self._function = function_of(OP, self.model)
        self._fixed_batch: int | None = None
        self._dtype = self._read_input()
        scaling = scale, mean, std
        if self._dtype == "uint8" and scaling != (None, None, None):
            raise ValueError(f"{OP}: scale, mean and std must be None for a network that takes uint8")
        self.scale = 1 / 255 if scale is None else check.number(OP, "scale", scale)
        self.mean = _of_channels("mean", 0.0 if mean is None else mean, self.channels)
        self.std = _of_channels("std", 1.0 if std is None else std, self.channels)
        if (self.std == 0).any():
            raise ValueError(f"{OP}: std must not be 0, got {self.std.tolist()}")

    def __repr__(self) -> str:
        size = "any size" if self.size is None else f"{self.size[0]} x {self.size[1]}"
        kind = type(self.model).__name__
        return f"Detector({kind}, {self.channels} channels of {size}, {self._dtype}, batch_size={self.batch_size})"

    def __call__(self, images: Any) -> Any:
        """Detect in one picture or in many.

        Parameters
        ----------
        images : a picture, a list of pictures of any sizes and kinds, or a batch, an array of 4 axes. A picture is a
            PIL image or an array, NumPy's or a tensor: (H, W, C) or (C, H, W), see ``channels_last``, or grey (H, W);
            uint8 or float

        Returns
        -------
        Detected(boxes, scores, labels, masks, keypoints) for a picture; a list of them for a list or a batch

        Raises
        ------
        TypeError   kind of picture, dtype; what the network gives
        ValueError  shape, range, NaN, channels; detections of more or fewer pictures than the batch has
        """
        single = not isinstance(images, (list, tuple)) and len(getattr(images, "shape", ())) != 4
        pictures = [self._picture(x, i) for i, x in enumerate([images] if single else images)]
        places = [placement(_size_of(x), self.size, self.fit) for x in pictures]
        results: list[Any] = [None] * len(pictures)
        for rows in self._batches(places, pictures):
            batch = _stack([self._prepared(pictures[i], places[i]) for i in rows])
            for i, found in zip(rows, self._detections(batch), strict=True):
                results[i] = _in_picture(found, places[i], pictures[i], self.max_output)
        return results[0] if single else results

    def warm_up(self, size: Any = None, count: int | None = None) -> Detector:
        """Run the network once on black pictures, so that the first picture does not wait for memory and compilers.

        Parameters
        ----------
        size : (height, width) of the pictures; None: the network's
        count : of pictures in the batch, at most batch_size; None: that

        Returns
        -------
        the detector itself
        """
        given = self.size if size is None else check.pair_of_sizes(OP, "size", size)
        if given is None:
            raise ValueError(f"{OP}: size must be set for a network of any size, got None")
        number = self.batch_size if count is None else check.at_least_one(OP, "count", count)
        if number > self.batch_size:
            raise ValueError(f"{OP}: count must be at most batch_size, {self.batch_size}, got {number}")
        black = check.empty(OP, (self.channels, *given), np.dtype(np.uint8))
        black[...] = 0
        last = self.channels_last is not False
        self([black.transpose(1, 2, 0) if last else black] * number)
        return self

    def _read_input(self) -> str:
        """The dtype of the network's input. What an ONNX file fixes is taken over: batch, channels, size."""
        torch = sys.modules.get("torch")
        if hasattr(self.model, "run") and hasattr(self.model, "get_inputs"):
            entry = self.model.get_inputs()[0]
            kind = str(entry.type).removeprefix("tensor(").removesuffix(")")
            kind = {"float": "float32", "double": "float64"}.get(kind, kind)
            if kind not in ("float16", "float32", "float64", "uint8"):
                raise TypeError(f"{OP}: model must take float or uint8 images, got {kind}")
            shape = list(entry.shape)
            if len(shape) != 4:
                raise ValueError(f"{OP}: model must take images (N, C, H, W), got shape {shape}")
            count, channels, *size = shape
            self._fixed_batch = count if isinstance(count, int) else None
            if isinstance(channels, int) and channels != self.channels:
                raise ValueError(f"{OP}: channels must be {channels} as the model's input has, got {self.channels}")
            if all(isinstance(n, int) for n in size):
                if self.size not in (None, tuple(size)):
                    raise ValueError(f"{OP}: size must be {tuple(size)} as the model's input has, got {self.size}")
                self.size = size[0], size[1]
            return kind
        if torch is not None and isinstance(self.model, torch.nn.Module):
            weights = next((x for x in self.model.parameters() if x.is_floating_point()), None)
            if weights is not None and weights.dtype in (torch.float16, torch.float64, torch.bfloat16):
                return str(weights.dtype).removeprefix("torch.")
        return "float32"

    def _picture(self, x: Any, i: int) -> Any:
        """A picture as (1, C, H, W), an array or a tensor."""
        name = f"picture {i}"
        image = sys.modules.get("PIL.Image")
        torch = sys.modules.get("torch")
        if image is not None and isinstance(x, image.Image):
            if x.mode in ("F", "I") or x.mode.startswith("I;"):
                raise TypeError(f"{OP}: {name} must have 8 bits a channel, got mode {x.mode}")
            pixels = np.asarray(x.convert("L" if self.channels == 1 else "RGB"))
            x, last = pixels.reshape(*pixels.shape[:2], -1), True
        else:
            tensor = torch is not None and isinstance(x, torch.Tensor)
            if not tensor:
                x = to_numpy(OP, name, x)
            last = not tensor if self.channels_last is None else bool(self.channels_last)
            x = _checked(x.detach() if tensor else x, name, last)
        if len(x.shape) == 2:
            x = x[..., None] if last else x[None]
        x = (x.transpose(2, 0, 1) if isinstance(x, np.ndarray) else x.permute(2, 0, 1)) if last else x
        if x.shape[0] == 1 and self.channels == 3:
            x = x.repeat(3, 0) if isinstance(x, np.ndarray) else x.expand(3, -1, -1)
        if x.shape[0] != self.channels:
            raise ValueError(f"{OP}: {name} must have {self.channels} channels, got {x.shape[0]}")
        return x[None]

    def _prepared(self, x: Any, place: Placement) -> Any:
        """A picture as the network takes it, (1, C, h, w)."""
        numpy = isinstance(x, np.ndarray)
        byte = str(x.dtype).removeprefix("torch.") == "uint8"
        if self._dtype == "uint8" and not byte:
            raise TypeError(f"{OP}: pictures must be uint8 as the network's input is, got {x.dtype}")
        if byte and not (self.fill.is_integer() and 0 <= self.fill <= 255):
            raise ValueError(f"{OP}: fill must be an integer in [0, 255] for pictures of uint8, got {self.fill}")
        x = fitted(np.ascontiguousarray(x) if numpy else x.contiguous(), place, self.fill)
        if self.reverse_channels:
            x = x[:, ::-1] if numpy else x.flip(1)
        if self._dtype == "uint8":
            return np.ascontiguousarray(x) if numpy else x
        mean, std = self.mean, self.std
        if not numpy:
            mean, std = (sys.modules["torch"].from_numpy(y).to(x.device) for y in (mean, std))
        x = x.astype(np.float32) if numpy else x.float()
        if byte:
            x = x * (np.float32(self.scale) if numpy else self.scale)
        return (x - mean) / std

    def _batches(self, places: list[Placement], pictures: list[Any]) -> Iterator[list[int]]:
        """Rows of pictures that go into the network at once: of one size, and of one kind and device."""
        groups: dict[Any, list[int]] = {}
        for i, (place, x) in enumerate(zip(places, pictures, strict=True)):
            where = None if isinstance(x, np.ndarray) else x.device
            groups.setdefault((place.outer, where), []).append(i)
        step = min(self.batch_size, self._fixed_batch or self.batch_size)
        for rows in groups.values():
            yield from (rows[at : at + step] for at in range(0, len(rows), step))

    def _detections(self, batch: Any) -> list[dict[str, Any]]:
        """The detections of each picture of a batch in the network's pixels, as NumPy arrays."""
        count = len(batch)
        if self._fixed_batch is not None and count < self._fixed_batch:  # the last one again, for the empty rows
            batch = _stack([batch, *[batch[-1:]] * (self._fixed_batch - count)])
        batch = _cast(batch, self._dtype)
        if self.decode is not None:
            limit = 0.05 if self.score_threshold is None else self.score_threshold
            options: Any = {"score_threshold": limit, "max_output": self.max_output, **self.options}
            found = detect(self._function, batch, self.decode, **options)
            columns = [to_kind_of(OP, x, None) for x in found]
            rows = [int(n) for n in columns[3][:count]]
            return [{key: x[i, :n] for key, x in zip(WORDS[:3], columns[:3], strict=True)} for i, n in enumerate(rows)]
        return [self._final(x) for x in _of_each(self._function(batch), len(batch))[:count]]

    def _final(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Final detections of a picture, checked, by falling score."""
        columns = {key: to_kind_of(OP, found[key], None, key) for key in WORDS if found.get(key) is not None}
        boxes = check.boxes(OP, "boxes", columns["boxes"])
        scores = check.scores(OP, columns["scores"], len(boxes))
        labels = check.keys(OP, "labels", columns["labels"], len(boxes))
        nan = check.find_nan(boxes, scores)
        if nan is not None:
            check.raise_nan_code(OP, nan)
        columns |= {"boxes": boxes, "scores": scores, "labels": labels}
        for key, axes in (("masks", (3, 4)), ("keypoints", (3,))):
            if key in columns and (columns[key].ndim not in axes or len(columns[key]) != len(boxes)):
                raise ValueError(f"{OP}: model must give {key} of {len(boxes)} boxes, got shape {columns[key].shape}")
        order = np.argsort(-scores, kind="stable")
        if self.score_threshold is not None:
            order = order[scores[order] > check.cast(scores.dtype, self.score_threshold)]
        return {key: x[order] for key, x in columns.items()}


def _session(path: str, providers: Sequence[Any] | None, threads: int | None) -> Any:
    """A session of ONNX Runtime for a file."""
    if not path.endswith(".onnx"):
        raise ValueError(f"{OP}: model must be a path that ends in .onnx, got {path!r}; load other files yourself")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{OP}: no such file: {path}")
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(f"{OP}: a path needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = check.at_least_one(OP, "threads", threads)
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers or ["CPUExecutionProvider"]))
    except Exception as error:  # classes of its own, one for each reason
        raise ValueError(f"{OP}: model must be a file that ONNX Runtime reads, got {path}: {error}") from error


def _of_channels(name: str, x: Any, channels: int) -> Array:
    """A number for each channel, (C, 1, 1) float32, or one for all, (1, 1, 1)."""
    several = isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.ndim > 0)
    values = list(x) if several else [x]
    if several and len(values) != channels:
        raise ValueError(f"{OP}: {name} must have {channels} values, one for each channel, got {len(values)}")
    return np.array([check.number(OP, name, value) for value in values], np.float32).reshape(-1, 1, 1)


def _checked(x: Any, name: str, last: bool) -> Any:
    """An array that may be a picture: uint8 or float, of 2 or 3 axes, channels where they are expected."""
    shape, kind = tuple(x.shape), str(x.dtype).removeprefix("torch.")
    if kind not in ("uint8", "float16", "bfloat16", "float32", "float64"):
        raise TypeError(f"{OP}: {name} must be uint8 or float, got {kind}")
    axes = "(H, W, C)" if last else "(C, H, W)"
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"{OP}: {name} must have shape (H, W) or {axes}, none of them 0, got {shape}")
    if not last:
        refuse_picture(OP, shape, f"channels_last must be True where {name} is", axes=3)
    elif len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        raise ValueError(f"{OP}: channels_last must be False where {name} is (C, H, W), got {shape}")
    return x


def _size_of(x: Any) -> Size:
    return int(x.shape[-2]), int(x.shape[-1])


def _stack(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return sys.modules["torch"].cat(parts)


def _cast(batch: Any, dtype: str) -> Any:
    """A batch in the dtype of the network's input; bfloat16, which NumPy lacks, as a tensor."""
    if isinstance(batch, np.ndarray) and dtype != "bfloat16":
        return batch.astype(dtype, copy=False)
    tensor = to_tensor(batch) if isinstance(batch, np.ndarray) else batch
    return tensor.to(getattr(sys.modules["torch"], dtype))


def _of_each(output: Any, count: int) -> list[Mapping[str, Any]]:
    """Final detections of each picture of a batch."""
    several = isinstance(output, (list, tuple)) and len(output) == count
    if several and all(isinstance(x, Mapping) for x in output):
        for one in output:
            missing = [key for key in WORDS[:3] if key not in one]
            if missing:
                raise ValueError(f"{OP}: model must give boxes, scores and labels of a picture, got no {missing[0]}")
        return list(output)
    return [dict(zip(WORDS, of_one, strict=False)) for of_one in of_each_window(OP, output, count)]


def _in_picture(found: dict[str, Any], place: Placement, picture: Any, max_output: int) -> Detected:
    """Detections in the picture's own pixels; boxes outside of it are left out."""
    boxes = to_image(found["boxes"], place)
    inside = clipped(boxes, place)
    rows = np.flatnonzero((inside[:, :2] < inside[:, 2:]).all(1))[:max_output]
    masks, points = found.get("masks"), found.get("keypoints")
    if masks is not None:
        masks = _masks_in_picture(masks[rows], boxes[rows], place)
    if points is not None:
        points = points[rows]
        moved = to_image(points[..., :2], place)
        points = np.concatenate([moved, points[..., 2:]], -1).astype(points.dtype)
    columns = inside[rows], found["scores"][rows], found["labels"][rows], masks, points
    like = None if isinstance(picture, np.ndarray) else picture
    return Detected(*(None if x is None else to_kind_of(OP, x, like) for x in columns))


def _masks_in_picture(masks: Array, boxes: Array, place: Placement) -> Array:
    """(K, h, w) masks of the network's input, or of each box, as (K, H, W) bool."""
    masks = masks[:, 0] if masks.ndim == 4 else masks
    small = masks.astype(np.float32)
    if masks.shape[1:] != place.outer:
        pasted: Array = paste_masks(small, boxes, place.image)
        return pasted
    height, width = place.inner
    small = np.ascontiguousarray(small[:, place.top : place.top + height, place.left : place.left + width])
    whole = small if place.inner == place.image or not len(small) else upsample_bilinear(small, place.image)
    return np.asarray(whole >= 0.5).reshape(len(masks), *place.image)


Detected.__module__ = Detector.__module__ = "fastdet.inference"
