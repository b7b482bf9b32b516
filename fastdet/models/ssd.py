"""SSD300: class scores and offsets for 8,732 default boxes (priors) on six maps; its targets and its loss.

Priors are cx cy w h in fractions of the image. Offsets are relative to the prior: cx cy in units of its sides, w h as
logarithms of the ratios to its sides, each divided by its variance, 0.1, 0.1, 0.2, 0.2. Class 0 is the background.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet._core.arrays import to_numpy
from fastdet.boxes.overlap import box_iou
from fastdet.boxes.transforms import box_convert
from fastdet.models._layers import MaxPool2d, checks_sizes, cross_entropy, initialise, scaled
from fastdet.models._targets import true_boxes
from fastdet.models.vgg import vgg_channels, vgg_features
from fastdet.proposals.anchors import ssd_default_boxes

VARIANCES = (0.1, 0.1, 0.2, 0.2)
SIDE = 300  # pixels of an image
MAPS = (38, 19, 10, 5, 3, 1)  # cells a side
STEPS = (8, 16, 32, 64, 100, 300)  # pixels of a cell
SIZES = (30, 60, 111, 162, 213, 264, 315)  # sides of a map's priors, pixels; the next entry is the larger size
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))  # of sides; each is used as width:height and as height:width
EXTRAS = ((256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))  # channels, stride, padding


def ssd_priors() -> Tensor:
    """Default boxes of SSD300: (8732, 4) float32, cx cy w h in fractions of the image.

    The order is map by map, row by row, cell by cell.

    Examples
    --------
    >>> ssd_priors().shape
    torch.Size([8732, 4])
    """
    boxes = torch.from_numpy(ssd_default_boxes(MAPS, RATIOS, SIDE, scales=SIZES, steps=STEPS, clip=False))
    boxes[:, 2:] /= SIDE  # sizes are in pixels
    return boxes


class SSD300(nn.Module):
    """SSD300 (Liu et al. 2015) on VGG16.

    Parameters
    ----------
    classes : number of classes, without the background
    in_channels : of the image
    width : factor on all channels but the outputs
    norm : batch normalisation in the VGG stages and the extra layers; the paper uses none

    Notes
    -----
    ``forward``: (N, in_channels, 300, 300) to offsets (N, 8732, 4) and logits (N, 8732, classes + 1) for `priors`.
    """

    priors: Tensor

    def __init__(self, classes: int = 20, *, in_channels: int = 3, width: float = 1.0, norm: bool = False) -> None:
        super().__init__()
        self.classes = classes
        pools: list[nn.Module] = [MaxPool2d(), MaxPool2d(), MaxPool2d(ceil_mode=True), MaxPool2d(), MaxPool2d(3, 1, 1)]
        stages = vgg_features(in_channels, width, norm, pools=pools)
        channels, hidden = vgg_channels(width), scaled(1024, width)
        self.early = nn.Sequential(*stages[:3], stages[3][:-1])  # to conv4_3
        self.scale = nn.Parameter(torch.full((channels[3],), 20.0))
        fc6 = nn.Conv2d(channels[4], hidden, 3, padding=6, dilation=6)
        self.late = nn.Sequential(
            *(stages[3][-1], stages[4], fc6, nn.ReLU(inplace=True)),
            *(nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True)),
        )
        self.extras = nn.ModuleList()
        maps = [channels[3], hidden]
        for narrow, wide, stride, padding in EXTRAS:
            between, outputs = scaled(narrow, width), scaled(wide, width)
            self.extras.append(
                nn.Sequential(
                    *_convolution(maps[-1], between, 1, 1, 0, norm),
                    *_convolution(between, outputs, 3, stride, padding, norm),
                )
            )
            maps.append(outputs)
        counts = [2 + 2 * len(ratios) for ratios in RATIOS]
        self.offsets, self.scores = (
            nn.ModuleList(
                nn.Conv2d(inputs, count * values, 3, padding=1) for inputs, count in zip(maps, counts, strict=True)
            )
            for values in (4, classes + 1)
        )
        initialise(self)
        for head in (*self.offsets, *self.scores):  # small weights: boxes start at the priors, scores start equal
            nn.init.normal_(cast(nn.Conv2d, head).weight, 0, 0.01)
        self.register_buffer("priors", ssd_priors(), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if checks_sizes(x) and x.shape[-2:] != (SIDE, SIDE):
            raise ValueError(f"SSD300: image must be {SIDE} x {SIDE}, got {tuple(x.shape[-2:])}")
        x = self.early(x)
        maps = [F.normalize(x) * self.scale[:, None, None]]
        x = self.late(x)
        maps.append(x)
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        offsets = [_as_list(head(y), 4) for head, y in zip(self.offsets, maps, strict=True)]
        scores = [_as_list(head(y), self.classes + 1) for head, y in zip(self.scores, maps, strict=True)]
        return torch.cat(offsets, 1), torch.cat(scores, 1)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int, norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    return [conv, *[nn.BatchNorm2d(outputs)] * norm, nn.ReLU(inplace=True)]


def _as_list(x: Tensor, values: int) -> Tensor:
    """(N, count * values, h, w) as (N, h * w * count, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def ssd_encode(
    boxes: Any, labels: Any, priors: Tensor, size: tuple[int, int], *, classes: int = 20, iou_threshold: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Encode the true boxes of an image as offsets and classes of the priors: the target of `ssd_loss`.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    labels : (N,) integer in [0, classes), without the background
    priors : (P, 4) float on the CPU, cx cy w h, fractions of the image
    size : (height, width) of the image, pixels
    iou_threshold : a prior whose maximum IoU is above it is matched to the box of that IoU

    Returns
    -------
    offsets : (P, 4) float32; 0 for the background's priors
    target : (P,) int64, label + 1, or 0 for the background

    Raises
    ------
    TypeError   dtype
    ValueError  shape, range, a box that is not finite, without area or outside the image

    Notes
    -----
    First every box gets one prior: the pair of the maximum IoU is matched, then the next among the remaining boxes and
    priors. Then the threshold decides for the other priors.
    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2015, section 2.2.

    Examples
    --------
    >>> offsets, target = ssd_encode([[30.0, 60, 150, 210]], [7], ssd_priors(), (300, 300))
    >>> target.unique().tolist()  # the background, and label 7
    [0, 8]
    """
    op = "ssd_encode"
    corners, box_classes, (height, width), _ = true_boxes(op, boxes, labels, size, classes)
    iou_threshold = check.unit(op, "iou_threshold", iou_threshold)
    priors = torch.as_tensor(check.boxes(op, "priors", to_numpy(op, "priors", priors)), dtype=torch.float32)
    offsets, target = torch.zeros(len(priors), 4), torch.zeros(len(priors), dtype=torch.int64)
    if not len(corners):
        return offsets, target
    corners = corners / corners.new_tensor([width, height] * 2)
    overlaps = box_iou(box_convert(priors, "cxcywh", "xyxy"), corners)
    best, owner = overlaps.max(1)
    matched = best > iou_threshold
    for _ in range(min(overlaps.shape)):
        i, j = divmod(int(overlaps.argmax()), len(corners))
        matched[i], owner[i] = True, j
        overlaps[i], overlaps[:, j] = -1, -1
    prior = priors[matched]
    box = box_convert(corners, "xyxy", "cxcywh")[owner[matched]]
    relative = torch.cat([(box[:, :2] - prior[:, :2]) / prior[:, 2:], (box[:, 2:] / prior[:, 2:]).log()], 1)
    offsets[matched] = relative / relative.new_tensor(VARIANCES)
    target[matched] = box_classes[owner[matched]] + 1
    return offsets, target


def ssd_loss(
    offsets: Tensor, scores: Tensor, true_offsets: Tensor, target: Tensor, *, negatives: float = 3.0
) -> Tensor:
    """SSD's loss: smooth L1 of the offsets of matched priors, cross-entropy of matched priors and hard negatives.

    Parameters
    ----------
    offsets, scores : (N, P, 4) and (N, P, classes + 1), the output of `SSD300`
    true_offsets, target : (N, P, 4) and (N, P), from `ssd_encode`
    negatives : number of background priors that count for each matched prior of an image: those of the largest loss

    Returns
    -------
    loss : () float, divided by the number of matched priors of the batch; 0 where there is none

    Raises
    ------
    TypeError   target does not hold integers
    ValueError  shape, range

    Notes
    -----
    Equal losses: the lower index counts first.
    Source: Liu et al., 2015, equations 1 to 3 and "Hard negative mining".
    """
    op = "ssd_loss"
    negatives = check.non_negative(op, "negatives", negatives)
    if target.ndim != 2:
        raise ValueError(f"{op}: target must have shape (N, P), got {tuple(target.shape)}")
    if target.is_floating_point():
        raise TypeError(f"{op}: target must be an integer tensor, got {target.dtype}")
    n, count = target.shape
    for name, x, last in (("offsets", offsets, 4), ("true_offsets", true_offsets, 4), ("scores", scores, None)):
        if x.shape[:2] != target.shape or x.ndim != 3 or x.shape[2] != (last or max(x.shape[2], 2)):
            expected = f"({n}, {count}, {last or 'classes + 1'})"
            raise ValueError(f"{op}: {name} must have shape {expected}, got {tuple(x.shape)}")
    matched = target > 0
    losses = cross_entropy(scores.flatten(0, 1), target.flatten(), "none").view_as(target)
    with torch.no_grad():
        hardness = losses.masked_fill(matched, -math.inf)
        rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(1)
        mined = ~matched & (rank < negatives * matched.sum(1, keepdim=True))
    location = F.smooth_l1_loss(offsets, true_offsets, reduction="none").sum(-1)
    total = torch.where(matched, location, 0.0).sum() + torch.where(matched | mined, losses, 0.0).sum()
    return total / matched.sum().clamp(min=1)
