"""The region proposal network of Faster R-CNN: boxes that may hold an object of any class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet.boxes.overlap import box_iou
from fastdet.models._images import Batch, Size
from fastdet.models._layers import binary_cross_entropy, eager
from fastdet.proposals import (
    encode_boxes,
    fpn_anchors,
    generate_proposals,
    match_boxes,
    sample_balanced,
)

RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors
OVERLAP = (0.7, 0.3)  # IoU from which an anchor is positive, and below which it is negative
POSITIVES = 0.5  # the largest share of positives in a sample
BETA = 1 / 9  # where the smooth L1 loss turns from a square into a line


def values_by_anchor(x: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) as (N, H * W * A, values)."""
    n, _, height, width = x.shape
    return x.view(n, -1, values, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, values)


class Anchors(nn.Module):
    """Anchors of every map of a pyramid, torchvision's.

    Parameters
    ----------
    sizes : of each map, one side or several, pixels
    ratios : height / width
    """

    def __init__(self, sizes: Sequence[int | Sequence[int]], ratios: Sequence[float] = RATIOS) -> None:
        super().__init__()
        self.sizes = tuple((size,) if isinstance(size, int) else tuple(size) for size in sizes)
        self.ratios = tuple(ratios)
        if not self.ratios:
            raise ValueError("Anchors: ratios must be one or more, got none")
        counts = {len(size) * len(self.ratios) for size in self.sizes}
        if len(counts) != 1:
            raise ValueError(f"Anchors: sizes must have as many sides for each map, got {self.sizes}")
        self.per_cell = counts.pop()

    def forward(self, maps: list[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Anchors (H * W * A, 4) of each map, for a batch of images of height and width ``size``."""
        if len(maps) != len(self.sizes):
            raise ValueError(f"Anchors: sizes must be of each of {len(maps)} maps, got {len(self.sizes)}")
        shapes = [(x.shape[-2], x.shape[-1]) for x in maps]
        anchors = fpn_anchors(self.sizes, [self.ratios] * len(maps), shapes, (size[0], size[1]))
        return [torch.as_tensor(x).to(maps[0]) for x in anchors]


class RPNHead(nn.Module):
    """A convolution of 3 x 3, then a score and four offsets of each anchor."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv = nn.Sequential(nn.Sequential(conv, nn.ReLU(inplace=True)))
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in (conv, self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (N, A) and offsets (N, A, 4) of the anchors of each map."""
        hidden = [self.conv(x) for x in maps]
        logits = [values_by_anchor(self.cls_logits(x), 1)[..., 0] for x in hidden]
        return logits, [values_by_anchor(self.bbox_pred(x), 4) for x in hidden]


class RPN(nn.Module):
    """Region proposal network (Ren et al. 2015) on the maps of a feature pyramid.

    Parameters
    ----------
    channels : of the maps
    sizes, ratios : of the anchors, see `Anchors`
    candidates, kept : number of each map's best anchors before NMS, and of boxes of an image after it; (in training,
        in inference)
    iou_threshold : of the NMS, within each map
    score_threshold : boxes with a lower probability are left out
    samples : number of anchors of an image that the loss is computed of
    """

    def __init__(
        self,
        channels: int,
        sizes: Sequence[int | Sequence[int]],
        ratios: Sequence[float] = RATIOS,
        *,
        candidates: tuple[int, int] = (2000, 1000),
        kept: tuple[int, int] = (2000, 1000),
        iou_threshold: float = 0.7,
        score_threshold: float = 0.0,
        samples: int = 256,
    ) -> None:
        super().__init__()
        self.anchors = Anchors(sizes, ratios)
        self.head = RPNHead(channels, self.anchors.per_cell)
        for name, pair in (("candidates", candidates), ("kept", kept)):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"RPN: {name} must be (in training, in inference), got {check.describe(pair)}")
            for number in pair:
                check.at_least_one("RPN", name, number)
        self.candidates, self.kept = candidates, kept
        self.samples = check.at_least_one("RPN", "samples", samples)
        self.iou_threshold, self.score_threshold = iou_threshold, score_threshold

    def forward(self, maps: list[Tensor], batch: Batch) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The proposals (P, 4) of each image, in pixels of the batch, and in training the losses."""
        logits, offsets = self.head(maps)
        anchors = self.anchors(maps, batch.images.shape[-2:])
        proposals = self.proposals(logits, offsets, anchors, batch.sizes)
        if not self.training:
            return proposals, {}
        return proposals, self.losses(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(anchors), batch.targets)

    @eager
    def proposals(
        self, logits: list[Tensor], offsets: list[Tensor], anchors: list[Tensor], sizes: list[Size]
    ) -> list[Tensor]:
        """The best boxes of each image after NMS."""
        found = generate_proposals(
            [x.detach() for x in logits],
            [x.detach() for x in offsets],
            anchors,
            sizes,
            pre_nms_top_n=self.candidates[not self.training],
            post_nms_top_n=self.kept[not self.training],
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
        )
        return [x[: int(n)] for x, n in zip(found.boxes, found.counts, strict=True)]

    @eager
    def losses(self, logits: Tensor, offsets: Tensor, anchors: Tensor, targets: Any) -> dict[str, Tensor]:
        """Cross-entropy of sampled anchors, and smooth L1 of the offsets of the positive ones."""
        scores, labels, got, wanted = [], [], [], []
        for i, target in enumerate(targets):
            true = target["boxes"].to(anchors)
            match = match_boxes(box_iou(true, anchors), *OVERLAP, allow_low_quality=True)
            positive, negative = sampled(match, self.samples, POSITIVES)
            scores.append(logits[i, torch.cat([positive, negative])])
            labels.append(logits.new_tensor([1.0] * len(positive) + [0.0] * len(negative)))
            got.append(offsets[i, positive])
            wanted.append(encode_boxes(true[match[positive]], anchors[positive]))
        count = max(sum(map(len, labels)), 1)
        box_loss = F.smooth_l1_loss(torch.cat(got), torch.cat(wanted), beta=BETA, reduction="sum") / count
        return {
            "loss_objectness": binary_cross_entropy(torch.cat(scores), torch.cat(labels)),
            "loss_rpn_box_reg": box_loss,
        }


def sampled(match: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of matched and of background boxes, drawn by torch's generator."""
    labels = torch.where(match >= 0, 1, match + 1)  # 1, 0 for background, -1 for those between the thresholds
    seed = int(torch.randint(1 << 31, ()))
    positive, negative = sample_balanced(labels, count, share, seed=seed)
    return positive, negative
