"""Mask R-CNN: Faster R-CNN and a small convolutional network that gives each detection a mask."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from fastdet.masks.paste import paste_masks
from fastdet.models._images import Size, Target
from fastdet.models._layers import binary_cross_entropy, scaled, upsample_bilinear
from fastdet.models.faster_rcnn import FasterRCNN, Samples, pool_rois
from fastdet.models.fpn import FEATURES
from fastdet.roi import roi_align

POOLED = 14  # cells a side of a pooled RoI; the mask has twice as many
OUTPUTS = ("soft", "dense", "rle", "bits")


def mask_head(inputs: int, channels: int) -> nn.Sequential:
    """Four convolutions of 3 x 3."""
    blocks = []
    for _ in range(4):
        blocks.append(nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)))
        inputs = channels
    return nn.Sequential(*blocks)


class MaskPredictor(nn.Module):
    """Mask logits of each class, of twice the size."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(inputs, inputs, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.mask_fcn_logits(self.conv5_mask(x).relu_())
        return logits


class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al. 2017) with ResNet-50 and a feature pyramid; torchvision's maskrcnn_resnet50_fpn.

    Parameters
    ----------
    classes : number of classes, without the background; labels are 1 to ``classes``
    masks : what ``forward`` gives. "soft": (K, 1, H, W) float, probabilities, torchvision's; "dense", "rle", "bits":
        masks of 0 and 1 by `fastdet.masks.paste_masks`, which resamples more exactly; "rle" needs no dense mask
    width, options : as in `FasterRCNN`

    Notes
    -----
    As `FasterRCNN`, and each image's detections have ``masks``. Targets have masks (K, H, W) of 0 and 1, too, and there
    is a loss_mask.

    Examples
    --------
    >>> network = MaskRCNN(3, width=1 / 16, min_size=64, max_size=96).eval()
    >>> network([torch.rand(3, 48, 64)])[0]["masks"].shape[1:]
    torch.Size([1, 48, 64])
    """

    def __init__(self, classes: int = 90, *, masks: str = "soft", width: float = 1.0, **options: Any) -> None:
        super().__init__(classes, width=width, **options)
        if masks not in OUTPUTS:
            raise ValueError(f"MaskRCNN: masks must be one of {OUTPUTS}, got {masks!r}")
        self.masks = masks
        self.transform.needs["masks"] = 1
        channels = scaled(FEATURES, width)
        self.roi_heads.mask_head = mask_head(self.backbone.channels, channels)
        self.roi_heads.mask_predictor = MaskPredictor(channels, classes + 1)
        for layer in (*self.roi_heads.mask_head.modules(), *self.roi_heads.mask_predictor.modules()):
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def mask_logits(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(K, classes + 1, 28, 28), of all images' boxes."""
        heads: Any = self.roi_heads
        logits: Tensor = heads.mask_predictor(heads.mask_head(pool_rois(maps, boxes, POOLED)))
        return logits

    def more_losses(self, maps: list[Tensor], samples: Samples, targets: list[Target]) -> dict[str, Tensor]:
        boxes, matched = samples.positive()
        logits = self.mask_logits(maps, boxes)
        if not len(logits):
            return {"loss_mask": logits.sum() * 0}
        wanted, labels = [], []
        for target, corners, index in zip(targets, boxes, matched, strict=True):
            rois = torch.cat([index[:, None].to(corners), corners], 1)
            wanted.append(roi_align(target["masks"][:, None].to(corners), rois, logits.shape[-1])[:, 0])
            labels.append(target["labels"][index])
        of_class = logits[torch.arange(len(logits), device=logits.device), torch.cat(labels)]
        return {"loss_mask": binary_cross_entropy(of_class, torch.cat(wanted))}

    def add_more(self, maps: list[Tensor], found: list[Target]) -> None:
        counts = [len(one["boxes"]) for one in found]
        logits = self.mask_logits(maps, [one["boxes"] for one in found])
        labels = torch.cat([one["labels"] for one in found])
        masks = logits[torch.arange(len(logits), device=logits.device), labels].detach().sigmoid()
        for one, of_image in zip(found, masks.split(counts), strict=True):
            one["masks"] = of_image

    def in_image(self, found: Target, size: Size, original: Size) -> Target:
        found = super().in_image(found, size, original)
        masks, boxes = found["masks"], found["boxes"]
        if self.masks == "soft":
            return {**found, "masks": paste_soft_masks(masks, boxes, original)}
        return {**found, "masks": paste_masks(masks, boxes, original, out=self.masks)}


def paste_soft_masks(masks: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Paste small masks (K, h, w) into images: (K, 1, H, W) probabilities, by torchvision's rule.

    A mask gets a border of one cell of zeros, its box grows by as much and its corners are rounded towards 0; it is
    resampled to the whole pixels from the first to the second corner, both included.
    """
    side = masks.shape[-1]
    padded = nn.functional.pad(masks, (1, 1, 1, 1))
    centre, half = (boxes[:, 2:] + boxes[:, :2]) * 0.5, (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((side + 2) / side)
    corners = torch.cat([centre - half, centre + half], 1).to(torch.int64).tolist()
    height, width = size
    pasted = masks.new_zeros(len(masks), 1, height, width)
    for i, (x1, y1, x2, y2) in enumerate(corners):
        large = upsample_bilinear(padded[i][None, None], (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)))[0, 0]
        top, left = max(y1, 0), max(x1, 0)
        bottom, right = max(min(y2 + 1, height), top), max(min(x2 + 1, width), left)
        pasted[i, 0, top:bottom, left:right] = large[top - y1 : bottom - y1, left - x1 : right - x1]
    return pasted
