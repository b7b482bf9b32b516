"""What the detectors of torchvision's kind share: lists of images to a batch and back, checks, names of old weights."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet.models._layers import eager, upsample_bilinear

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images
Size = tuple[int, int]
Target = dict[str, Tensor]
DIVISIBLE = 32  # height and width of a batch are multiples of it


def thresholds(op: str, score: Any, iou: Any, max_output: Any) -> tuple[float, float, int]:
    """The rules by which detections are kept, checked."""
    return (
        check.number(op, "score_threshold", score),
        check.unit(op, "iou_threshold", iou),
        check.count(op, "max_output", max_output),
    )


class Batch(NamedTuple):
    """Images as the network takes them."""

    images: Tensor  # (N, C, H, W), normalised, resized, padded with zeros
    sizes: list[Size]  # height and width of each without the padding
    originals: list[Size]  # height and width of each before
    targets: list[Target] | None  # in pixels of the resized images


class Resize(nn.Module):
    """Normalise images, resize them, put them into one batch; torchvision's GeneralizedRCNNTransform.

    Parameters
    ----------
    labels : that targets may have
    channels : of the images
    min_size : the shorter side after resizing, pixels; in training one of several, drawn by torch's generator
    max_size : the longer side is at most this, pixels; the shorter one is then below ``min_size``
    mean, std : of each channel; None: ImageNet's for 3 channels, otherwise 0 and 1
    """

    def __init__(
        self,
        op: str,
        labels: range,
        channels: int,
        min_size: int | Sequence[int],
        max_size: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        self.op, self.labels = op, labels
        self.channels = check.at_least_one(op, "in_channels", channels)
        self.max_size = check.at_least_one(op, "max_size", max_size)
        self.needs: dict[str, int] = {}  # what else targets must have: "masks", "keypoints" and their number
        sides = tuple(min_size) if isinstance(min_size, (tuple, list)) else (min_size,)
        self.min_size = tuple(check.at_least_one(op, "min_size", side) for side in sides)
        if not sides:
            raise ValueError(f"{op}: min_size must be one or more numbers, got none")
        colour = channels == len(MEAN)
        self.mean = tuple(mean) if mean is not None else MEAN if colour else (0.0,) * channels
        self.std = tuple(std) if std is not None else STD if colour else (1.0,) * channels
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise ValueError(f"{op}: {name} must have {channels} values as images have channels, got {len(values)}")
        if 0 in self.std:
            raise ValueError(f"{op}: std must not be 0, got {self.std}")

    @eager
    def forward(self, images: Any, targets: Any = None, weights: Tensor | None = None) -> Batch:
        self._check(images, weights)
        if targets is not None:
            self._check_targets(images, targets)
        resized, resized_targets = [], []
        for i, image in enumerate(images):
            mean, std = (image.new_tensor(x)[:, None, None] for x in (self.mean, self.std))
            size = self._size(image.shape[-2], image.shape[-1])
            resized.append(upsample_bilinear(((image - mean) / std)[None], size)[0])
            if targets is not None:
                resized_targets.append(resize_target(targets[i], tuple(image.shape[-2:]), size))
        sizes = [(x.shape[-2], x.shape[-1]) for x in resized]
        sides = (-(-max(side) // DIVISIBLE) * DIVISIBLE for side in zip(*sizes, strict=True))
        batch = resized[0].new_zeros(len(resized), self.channels, *sides)
        for i, (image, (height, width)) in enumerate(zip(resized, sizes, strict=True)):
            batch[i, :, :height, :width] = image
        originals = [(x.shape[-2], x.shape[-1]) for x in images]
        return Batch(batch, sizes, originals, None if targets is None else resized_targets)

    def _size(self, height: int, width: int) -> Size:
        wanted = self.min_size[-1]
        if self.training:
            wanted = self.min_size[int(torch.empty(1).uniform_(0.0, len(self.min_size)).item())]
        factor = min(wanted / min(height, width), self.max_size / max(height, width))
        return max(math.floor(height * factor), 1), max(math.floor(width * factor), 1)

    def _check(self, images: Any, weights: Tensor | None) -> None:
        if not isinstance(images, (list, tuple, Tensor)):
            got = type(images).__name__
            raise TypeError(f"{self.op}: images must be a list of tensors or one tensor (N, C, H, W), got {got}")
        if len(images) == 0:
            raise ValueError(f"{self.op}: images must be one or more, got none")
        for i, x in enumerate(images):
            if not isinstance(x, Tensor):
                raise TypeError(f"{self.op}: images must be tensors, got {type(x).__name__} at index {i}")
            if not x.is_floating_point():
                raise TypeError(f"{self.op}: images must be of a float dtype, of values in [0, 1], got {x.dtype}")
            if x.ndim != 3 or x.shape[0] != self.channels or 0 in x.shape:
                expected = f"({self.channels}, H, W)"
                raise ValueError(f"{self.op}: images must have shape {expected}, got {tuple(x.shape)} at index {i}")
            if weights is not None and weights.device.type != "meta" and _elsewhere(x, weights):
                expected, got = (f"{y.dtype} on {y.device}" for y in (weights, x))
                raise TypeError(f"{self.op}: images must be {expected} as the weights, got {got} at index {i}")

    def _check_targets(self, images: Any, targets: Any) -> None:
        op = self.op
        if not isinstance(targets, (list, tuple)):
            raise TypeError(f"{op}: targets must be a list of dictionaries, got {type(targets).__name__}")
        if len(targets) != len(images):
            raise ValueError(f"{op}: targets must be of each of {len(images)} images, got {len(targets)}")
        for i, target in enumerate(targets):
            if not isinstance(target, dict):
                got = type(target).__name__
                raise TypeError(f"{op}: targets must be a list of dictionaries, got {got} at index {i}")
            for key in ("boxes", "labels", *self.needs):
                if key not in target:
                    raise ValueError(f"{op}: targets must have {key}, got {sorted(target)} at index {i}")
                if not isinstance(target[key], Tensor):
                    got = type(target[key]).__name__
                    raise TypeError(f"{op}: {key} of targets must be a tensor, got {got} at index {i}")
            boxes, labels = target["boxes"], target["labels"]
            if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
                got = f"{boxes.dtype} {tuple(boxes.shape)}"
                raise ValueError(f"{op}: boxes of targets must be float and (N, 4), got {got} at index {i}")
            if labels.shape != boxes.shape[:1] or labels.dtype != torch.int64:
                got = f"{labels.dtype} {tuple(labels.shape)}"
                raise ValueError(f"{op}: labels of targets must be int64 and ({len(boxes)},), got {got} at index {i}")
            shapes = {"masks": tuple(images[i].shape[-2:]), "keypoints": (self.needs.get("keypoints"), 3)}
            for key in self.needs:
                shape, given = (len(boxes), *shapes[key]), tuple(target[key].shape)
                if given != shape:
                    raise ValueError(f"{op}: {key} of targets must have shape {shape}, got {given} at index {i}")
            rules = {
                "boxes of targets must have x1 < x2 and y1 < y2": ~(boxes[:, :2] < boxes[:, 2:]).all(1),
                f"labels of targets must be in [{self.labels.start}, {self.labels.stop})": (labels < self.labels.start)
                | (labels >= self.labels.stop),
            }
            for (rule, wrong), values in zip(rules.items(), (boxes, labels), strict=True):
                if wrong.any():
                    raise ValueError(f"{op}: {rule}, got {values[wrong][0].tolist()} at index {i}")


def _elsewhere(image: Tensor, weights: Tensor) -> bool:
    """Whether the image has another device or dtype than the weights. In autocast, layers convert dtypes."""
    same_dtype = image.dtype == weights.dtype or torch.is_autocast_enabled(weights.device.type)
    return image.device != weights.device or not same_dtype


def resize_target(target: Target, old: Size, new: Size) -> Target:
    """A target in pixels of the resized image: boxes, keypoints and masks."""
    result = {**target, "boxes": resize_points(target["boxes"], old, new)}
    if "keypoints" in target:
        result["keypoints"] = resize_points(target["keypoints"], old, new)
    if "masks" in target:
        result["masks"] = F.interpolate(target["masks"][:, None].float(), new)[:, 0].byte()
    return result


def resize_points(points: Tensor, old: Size, new: Size) -> Tensor:
    """Boxes x1 y1 x2 y2 or keypoints x y visibility from pixels of one size of an image to those of another.

    The ratios are float32 in any case, as torchvision's.
    """
    y, x = (torch.tensor(float(n)) / torch.tensor(float(o)) for n, o in zip(new, old, strict=True))
    ratios = (x, y, x, y) if points.shape[-1] == 4 else (x, y, torch.tensor(1.0))
    return points * torch.stack(ratios).to(points)


OLD_NAMES = (  # of torchvision's published files: a pattern, and the name since 2022
    (r"(rpn\.head\.conv)\.(weight|bias)", lambda m: f"{m[1]}.0.0.{m[2]}"),
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", lambda m: f"{m[1]}.0.{m[2]}"),
    (r"(roi_heads\.mask_head)\.mask_fcn(\d)\.(weight|bias)", lambda m: f"{m[1]}.{int(m[2]) - 1}.0.{m[3]}"),
    (
        r"(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)",
        lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}",
    ),
)


class Detector(nn.Module):
    """A network of which weights load under the names of torchvision's published files, too."""

    def to_batch(self, images: Any, targets: Any) -> Any:
        """A `Batch`: the images as the network takes them, checked against its weights and mode."""
        transform = cast(Resize, self.transform)
        if self.training and targets is None:
            raise ValueError(f"{transform.op}: targets must be given in training; or call eval() first")
        return transform(images, targets, next(self.parameters(), None))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in [key for key in state_dict if key.startswith(prefix)]:
            for pattern, new in OLD_NAMES:
                if match := re.fullmatch(pattern, name[len(prefix) :]):
                    state_dict[prefix + new(match)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)
