"""RetinaNet: class scores and boxes of every anchor in one step, trained by the focal loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fastdet._core import check
from fastdet.boxes.overlap import box_iou
from fastdet.models._images import Detector, Resize, Size, Target, resize_points, thresholds
from fastdet.models._layers import eager, sigmoid_focal_sum
from fastdet.models.faster_rcnn import clip_boxes
from fastdet.models.fpn import ResNetFPN
from fastdet.models.rpn import RATIOS, Anchors, values_by_anchor
from fastdet.nms.greedy import batched_nms
from fastdet.proposals import decode_boxes, encode_boxes, match_boxes

SIZES = tuple(tuple(int(side * 2 ** (i / 3)) for i in range(3)) for side in (32, 64, 128, 256, 512))
OVERLAP = (0.5, 0.4)  # IoU from which an anchor is positive, and below which it is negative
PRIOR = 0.01  # every class's probability at first


class RetinaHead(nn.Module):
    """Four convolutions of 3 x 3 and one that gives values of each anchor: (N, anchors, values) from all maps."""

    def __init__(self, channels: int, anchors: int, values: int, name: str) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(4)]
        self.conv = nn.Sequential(*layers)
        self.values, self.name = values, name
        self.add_module(name, nn.Conv2d(channels, anchors * values, 3, padding=1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        last = self.get_submodule(self.name)
        return [values_by_anchor(last(self.conv(x)), self.values) for x in maps]


class RetinaNet(Detector):
    """RetinaNet (Lin et al. 2017) with ResNet-50 and a feature pyramid; torchvision's retinanet_resnet50_fpn.

    Parameters
    ----------
    classes : number of classes; there is no background, labels are 0 to ``classes`` - 1. torchvision's published
        weights have 91, for COCO's category ids
    in_channels, width, norm, eps, trainable, min_size, max_size, mean, std, anchor_ratios, score_threshold,
        iou_threshold, max_output : as in `FasterRCNN`
    anchor_sizes : sides of the anchors of each of the five maps, pixels of the resized image
    candidates : number of each map's best scores that NMS takes

    Notes
    -----
    Images, targets and results as in `FasterRCNN`. The losses are classification, the focal loss, and bbox_regression,
    each divided by an image's number of positive anchors.

    Examples
    --------
    >>> network = RetinaNet(3, width=1 / 16, min_size=64, max_size=96).eval()
    >>> found = network([torch.rand(3, 48, 64)])[0]
    >>> sorted(found), found["boxes"].shape[1]
    (['boxes', 'labels', 'scores'], 4)
    """

    def __init__(
        self,
        classes: int = 91,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        norm: str = "frozen",
        eps: float = 1e-5,
        trainable: int = 5,
        min_size: int | Sequence[int] = 800,
        max_size: int = 1333,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        anchor_sizes: Sequence[int | Sequence[int]] = SIZES,
        anchor_ratios: Sequence[float] = RATIOS,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_output: int = 300,
        candidates: int = 1000,
    ) -> None:
        super().__init__()
        self.classes = classes = check.at_least_one("RetinaNet", "classes", classes)
        self.candidates = check.at_least_one("RetinaNet", "candidates", candidates)
        rule = thresholds("RetinaNet", score_threshold, iou_threshold, max_output)
        self.score_threshold, self.iou_threshold, self.max_output = rule
        self.transform = Resize("RetinaNet", range(classes), in_channels, min_size, max_size, mean, std)
        self.backbone = ResNetFPN(
            retina=True, in_channels=in_channels, width=width, norm=norm, eps=eps, trainable=trainable
        )
        self.anchors = Anchors(anchor_sizes, anchor_ratios)
        channels, count = self.backbone.channels, self.anchors.per_cell
        scores = RetinaHead(channels, count, classes, "cls_logits")
        nn.init.constant_(cast(Tensor, scores.get_submodule("cls_logits").bias), -math.log((1 - PRIOR) / PRIOR))
        offsets = RetinaHead(channels, count, 4, "bbox_reg")
        self.head = nn.ModuleDict({"classification_head": scores, "regression_head": offsets})

    def forward(self, images: Any, targets: Any = None) -> Any:
        batch = self.to_batch(images, targets)
        maps = self.backbone(batch.images)
        logits, offsets = (self.head[name](maps) for name in ("classification_head", "regression_head"))
        anchors = self.anchors(maps, batch.images.shape[-2:])
        if self.training:
            return self.losses(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(anchors), batch.targets)
        results = []
        for i, (size, original) in enumerate(zip(batch.sizes, batch.originals, strict=True)):
            found = self.detections([x[i] for x in logits], [x[i] for x in offsets], anchors, size)
            results.append({**found, "boxes": resize_points(found["boxes"], size, original)})
        return results

    @eager
    def detections(self, logits: list[Tensor], offsets: list[Tensor], anchors: list[Tensor], size: Size) -> Target:
        """An image's detections, in pixels of the batch: the best of each map, after class-wise NMS."""
        parts = []
        for level, (of_level, deltas, places) in enumerate(zip(logits, offsets, anchors, strict=True)):
            scores = of_level.detach().sigmoid().flatten()
            if scores.sum().isnan():
                raise ValueError(f"RetinaNet: scores must not hold NaN, got NaN on level {level}")
            index = (scores > self.score_threshold).nonzero()[:, 0]
            scores, best = scores[index].topk(min(self.candidates, len(index)))
            row, label = index[best].div(self.classes, rounding_mode="floor"), index[best] % self.classes
            parts.append((clip_boxes(decode_boxes(deltas.detach()[row], places[row]), size), scores, label))
        boxes, scores, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        keep = batched_nms(boxes, scores, labels, self.iou_threshold, max_output=self.max_output)
        return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}

    @eager
    def losses(self, logits: Tensor, offsets: Tensor, anchors: Tensor, targets: Any) -> dict[str, Tensor]:
        """The focal loss of every anchor but those between the thresholds, and L1 of the positive ones' offsets."""
        focal, distance = [], []
        for scores, deltas, target in zip(logits, offsets, targets, strict=True):
            true = target["boxes"].to(anchors)
            match = match_boxes(box_iou(true, anchors), *OVERLAP, allow_low_quality=True)
            positive = (match >= 0).nonzero()[:, 0]
            count = max(len(positive), 1)
            wanted = torch.zeros_like(scores)
            wanted[positive, target["labels"][match[positive]]] = 1
            use = match != -2
            focal.append(sigmoid_focal_sum(scores[use], wanted[use]) / count)
            encoded = encode_boxes(true[match[positive]], anchors[positive])
            distance.append((deltas[positive] - encoded).abs().sum() / count)
        means = (torch.stack(x).mean() for x in (focal, distance))
        return dict(zip(("classification", "bbox_regression"), means, strict=True))
