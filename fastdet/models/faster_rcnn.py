"""Faster R-CNN: the region proposal network's boxes are pooled from the feature pyramid, classified and refined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet.boxes.overlap import box_iou
from fastdet.models._images import Detector, Resize, Size, Target, resize_points, thresholds
from fastdet.models._layers import cross_entropy, eager, scaled
from fastdet.models.fpn import ResNetFPN
from fastdet.models.rpn import BETA, RATIOS, RPN, sampled
from fastdet.nms.greedy import batched_nms
from fastdet.proposals import decode_boxes, encode_boxes, match_boxes
from fastdet.roi import multiscale_roi_align

SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)  # of the maps that RoIs are pooled from
WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the offsets
POOLED = 7  # cells a side of a pooled RoI
HIDDEN = 1024
OVERLAP = 0.5  # IoU from which a proposal is positive
POSITIVES = 0.25  # the largest share of positives in a sample
SMALLEST = 1e-2  # pixels a side of a detection


def pool_rois(maps: list[Tensor], boxes: list[Tensor], cells: int) -> Tensor:
    """RoIAlign of the boxes of each image, each from the map of its size: (K, C, cells, cells)."""
    pooled: Tensor = multiscale_roi_align(maps[: len(SCALES)], boxes, cells, SCALES, sampling_ratio=2)
    return pooled


class BoxHead(nn.Module):
    """Two Linear layers on the pooled RoI."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """Scores (K, classes) and offsets (K, classes, 4); class 0 is the background."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(inputs, classes), nn.Linear(inputs, 4 * classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x).unflatten(1, (-1, 4))


class Samples(NamedTuple):
    """The proposals of each image that are trained on."""

    boxes: list[Tensor]  # (S, 4)
    matched: list[Tensor]  # (S,) int64, index of the true box; of any value for background
    labels: list[Tensor]  # (S,) int64, 0 for background

    def positive(self) -> tuple[list[Tensor], list[Tensor]]:
        """The boxes that are no background, and their true boxes' indices."""
        use = [x > 0 for x in self.labels]
        boxes, matched = ([x[u] for x, u in zip(of, use, strict=True)] for of in (self.boxes, self.matched))
        return boxes, matched


class RoIHeads(nn.Module):
    """Classification and refinement of proposals."""

    def __init__(
        self,
        channels: int,
        classes: int,
        hidden: int,
        samples: int,
        score_threshold: float,
        iou_threshold: float,
        max_output: int,
    ) -> None:
        super().__init__()
        self.box_head = BoxHead(channels * POOLED**2, hidden)
        self.box_predictor = BoxPredictor(hidden, classes)
        self.samples, self.max_output = samples, max_output
        self.score_threshold, self.iou_threshold = score_threshold, iou_threshold

    def forward(self, maps: list[Tensor], proposals: list[Tensor], sizes: list[Size]) -> list[Target]:
        """The detections of each image, in pixels of the batch."""
        logits, offsets = self.box_predictor(self.box_head(pool_rois(maps, proposals, POOLED)))
        boxes = decode_boxes(offsets.detach(), torch.cat(proposals), WEIGHTS)
        counts = [len(x) for x in proposals]
        scores = logits.softmax(-1)
        parts = zip(boxes.split(counts), scores.split(counts), sizes, strict=True)
        return [self.detections(*part) for part in parts]

    @eager
    def detections(self, boxes: Tensor, scores: Tensor, size: Size) -> Target:
        """An image's detections by falling score: its boxes (P, classes, 4) after class-wise NMS."""
        scores = scores[:, 1:].detach()
        row, column = (scores > self.score_threshold).nonzero(as_tuple=True)
        boxes, scores, labels = clip_boxes(boxes[row, column + 1], size), scores[row, column], column + 1
        large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST).all(1)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        keep = batched_nms(boxes, scores, labels, self.iou_threshold, max_output=self.max_output)
        return {"boxes": boxes[keep], "labels": labels[keep], "scores": scores[keep]}

    @eager
    def sample(self, proposals: list[Tensor], targets: list[Target]) -> Samples:
        """Some proposals of each image, and some true boxes: at most a quarter are positive."""
        samples = Samples([], [], [])
        for boxes, target in zip(proposals, targets, strict=True):
            true = target["boxes"].to(boxes)
            boxes = torch.cat([boxes, true])
            match = match_boxes(box_iou(true, boxes), OVERLAP, OVERLAP)
            index = torch.cat(sampled(match, self.samples, POSITIVES)).sort().values
            match = match[index]
            labels = torch.zeros_like(match)
            labels[match >= 0] = target["labels"][match[match >= 0]]
            for of, value in zip(samples, (boxes[index], match, labels), strict=True):
                of.append(value)
        return samples

    @eager
    def losses(self, maps: list[Tensor], samples: Samples, targets: list[Target]) -> dict[str, Tensor]:
        """Cross-entropy of the samples, and smooth L1 of the offsets of the positive ones."""
        logits, offsets = self.box_predictor(self.box_head(pool_rois(maps, samples.boxes, POOLED)))
        labels = torch.cat(samples.labels)
        positive = labels > 0
        boxes, matched = samples.positive()
        true = torch.cat([t["boxes"].to(logits)[m] for t, m in zip(targets, matched, strict=True)])
        wanted = encode_boxes(true, torch.cat(boxes), WEIGHTS)
        got = offsets[positive, labels[positive]]
        box_loss = F.smooth_l1_loss(got, wanted, beta=BETA, reduction="sum") / max(len(labels), 1)
        return {"loss_classifier": cross_entropy(logits, labels), "loss_box_reg": box_loss}


def clip_boxes(boxes: Tensor, size: Size) -> Tensor:
    """Boxes clipped to an image of ``size`` (height, width)."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([size[1], size[0]] * 2))


class FasterRCNN(Detector):
    """Faster R-CNN (Ren et al. 2015) with ResNet-50 and a feature pyramid; torchvision's fasterrcnn_resnet50_fpn.

    Parameters
    ----------
    classes : number of classes, without the background; labels are 1 to ``classes``
    in_channels : of the images
    width : factor on all channels but the outputs
    norm, eps, trainable : as in `ResNetFPN`; "batch" to train from scratch
    min_size, max_size : images are resized so that the shorter side is ``min_size`` pixels, or less where the longer
        would be above ``max_size``; several values of ``min_size``: one of them at random in training, the last in
        inference
    mean, std : of each channel; None: ImageNet's, or 0 and 1 where there are not 3 channels
    anchor_sizes : sides of the anchors of each of the five maps, pixels of the resized image
    anchor_ratios : height / width of the anchors
    score_threshold : detections with a score <= it are left out
    iou_threshold : of the class-wise NMS
    max_output : the largest number of detections of an image
    samples : number of proposals of an image that the loss is computed of
    rpn : options of `RPN`: candidates, kept, iou_threshold, score_threshold, samples

    Notes
    -----
    ``forward(images)`` in inference: images are a list of (in_channels, H, W), or a batch (N, in_channels, H, W), of
    values in [0, 1]. For each image a dictionary of boxes (K, 4) x1 y1 x2 y2 in its pixels, labels (K,) int64 and
    scores (K,), by falling score; they have no gradient. ``forward(images, targets)`` in training: targets have boxes
    (K, 4) of x1 < x2, y1 < y2 and labels (K,) int64; the losses loss_objectness, loss_rpn_box_reg, loss_classifier and
    loss_box_reg, to be summed. Samples are drawn by torch's generator.

    Weights of torchvision load, from its published files, too: those named COCO_V1 need ``eps=0``.

    Examples
    --------
    >>> network = FasterRCNN(3, width=1 / 16, min_size=64, max_size=96).eval()
    >>> found = network([torch.rand(3, 48, 64)])[0]
    >>> sorted(found), found["boxes"].shape[1]
    (['boxes', 'labels', 'scores'], 4)
    """

    def __init__(
        self,
        classes: int = 90,
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
        anchor_sizes: Sequence[int | Sequence[int]] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = RATIOS,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_output: int = 100,
        samples: int = 512,
        rpn: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        op = type(self).__name__
        self.classes = classes = check.at_least_one(op, "classes", classes)
        rule = thresholds(op, score_threshold, iou_threshold, max_output)
        samples = check.at_least_one(op, "samples", samples)
        labels = range(1, classes + 1)
        self.transform = Resize(op, labels, in_channels, min_size, max_size, mean, std)
        self.backbone = ResNetFPN(in_channels=in_channels, width=width, norm=norm, eps=eps, trainable=trainable)
        channels = self.backbone.channels
        self.rpn = RPN(channels, anchor_sizes, anchor_ratios, **rpn or {})
        self.roi_heads = RoIHeads(channels, classes + 1, scaled(HIDDEN, width), samples, *rule)

    def forward(self, images: Any, targets: Any = None) -> Any:
        batch = self.to_batch(images, targets)
        maps = self.backbone(batch.images)
        proposals, losses = self.rpn(maps, batch)
        if self.training:
            samples = self.roi_heads.sample(proposals, batch.targets)
            losses |= self.roi_heads.losses(maps, samples, batch.targets)
            return losses | self.more_losses(maps, samples, batch.targets)
        found = self.roi_heads(maps, proposals, batch.sizes)
        self.add_more(maps, found)
        return self.in_images(found, batch.sizes, batch.originals)

    def more_losses(self, maps: list[Tensor], samples: Samples, targets: list[Target]) -> dict[str, Tensor]:
        """The losses of another head."""
        return {}

    def add_more(self, maps: list[Tensor], found: list[Target]) -> None:
        """Add what another head gives to each image's detections, in pixels of the batch."""

    @eager
    def in_images(self, found: list[Target], sizes: list[Size], originals: list[Size]) -> list[Target]:
        """Detections of each image in its own pixels."""
        return [self.in_image(*one) for one in zip(found, sizes, originals, strict=True)]

    def in_image(self, found: Target, size: Size, original: Size) -> Target:
        """Detections of an image in its own pixels."""
        return {**found, "boxes": resize_points(found["boxes"], size, original)}
