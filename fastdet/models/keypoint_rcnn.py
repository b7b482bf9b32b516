"""Keypoint R-CNN: Faster R-CNN and a convolutional network that gives each detection a heat map of each keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet.models._images import Size, Target, resize_points
from fastdet.models._layers import cross_entropy, eager, scaled, upsample_bilinear
from fastdet.models.faster_rcnn import FasterRCNN, Samples, pool_rois

POOLED = 14  # cells a side of a pooled RoI; a heat map has four times as many
CHANNELS, LAYERS = 512, 8
SIZES = (640, 672, 704, 736, 768, 800)  # of the shorter side in training


class KeypointPredictor(nn.Module):
    """Heat maps of each keypoint, of four times the size."""

    def __init__(self, inputs: int, keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(inputs, keypoints, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.kps_score_lowres(x)
        return upsample_bilinear(x, (2 * x.shape[-2], 2 * x.shape[-1])) if len(x) else x.repeat(1, 1, 2, 2)


class KeypointRCNN(FasterRCNN):
    """Keypoint R-CNN (He et al. 2017) with ResNet-50 and a feature pyramid; torchvision's keypointrcnn_resnet50_fpn.

    Parameters
    ----------
    classes : number of classes, without the background; labels are 1 to ``classes``
    keypoints : number of keypoints of an object
    width, min_size, options : as in `FasterRCNN`

    Notes
    -----
    As `FasterRCNN`, and each image's detections have keypoints (K, ``keypoints``, 3) float32 x y 1 in its pixels, and
    keypoints_scores (K, ``keypoints``) float32, the values of the heat maps. Targets have keypoints (K, ``keypoints``,
    3) x y visibility, too, where visibility 0 is not trained on, and there is a loss_keypoint.

    Examples
    --------
    >>> network = KeypointRCNN(keypoints=5, width=1 / 16, min_size=64, max_size=96).eval()
    >>> network([torch.rand(3, 48, 64)])[0]["keypoints"].shape[1:]
    torch.Size([5, 3])
    """

    def __init__(
        self,
        classes: int = 1,
        *,
        keypoints: int = 17,
        width: float = 1.0,
        min_size: int | Sequence[int] = SIZES,
        **options: Any,
    ) -> None:
        super().__init__(classes, width=width, min_size=min_size, **options)
        self.transform.needs["keypoints"] = check.at_least_one("KeypointRCNN", "keypoints", keypoints)
        layers: list[nn.Module] = []
        inputs, channels = self.backbone.channels, scaled(CHANNELS, width)
        for _ in range(LAYERS):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = channels
        self.roi_heads.keypoint_head = nn.Sequential(*layers)
        self.roi_heads.keypoint_predictor = predictor = KeypointPredictor(channels, keypoints)
        for layer in (*layers, predictor.kps_score_lowres):
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def heatmaps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(K, keypoints, 56, 56), of all images' boxes."""
        heads: Any = self.roi_heads
        logits: Tensor = heads.keypoint_predictor(heads.keypoint_head(pool_rois(maps, boxes, POOLED)))
        return logits

    @eager
    def more_losses(self, maps: list[Tensor], samples: Samples, targets: list[Target]) -> dict[str, Tensor]:
        boxes, matched = samples.positive()
        logits = self.heatmaps(maps, boxes)
        true = [t["keypoints"].to(logits)[m] for t, m in zip(targets, matched, strict=True)]
        cells, use = keypoint_cells(torch.cat(true), torch.cat(boxes), logits.shape[-1])
        if not use.any():
            return {"loss_keypoint": logits.sum() * 0}
        return {"loss_keypoint": cross_entropy(logits.flatten(2)[use], cells[use])}

    @eager
    def add_more(self, maps: list[Tensor], found: list[Target]) -> None:
        counts = [len(one["boxes"]) for one in found]
        heatmaps = self.heatmaps(maps, [one["boxes"] for one in found]).detach()
        for one, of_image in zip(found, heatmaps.split(counts), strict=True):
            one["keypoints"], one["keypoints_scores"] = maximum_keypoints(of_image, one["boxes"])

    def in_image(self, found: Target, size: Size, original: Size) -> Target:
        found = super().in_image(found, size, original)
        return {**found, "keypoints": resize_points(found["keypoints"], size, original)}


def keypoint_cells(keypoints: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The cell of each box's heat map that its keypoints (K, P, 3) lie in: (K, P) int64, and whether they are used.

    A keypoint is used where it is visible and in the box; one on the right or lower side lies in the last cell.
    """
    first, last = boxes[:, None, :2], boxes[:, None, 2:]
    points = keypoints[..., :2]
    cell = ((points - first) * (side / (last - first))).floor().long()
    cell = torch.where(points == last, side - 1, cell)
    use = ((cell >= 0) & (cell < side)).all(-1) & (keypoints[..., 2] > 0)
    return cell[..., 1] * side + cell[..., 0], use


def maximum_keypoints(heatmaps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints (K, P, 3) float32 at the maxima of heat maps (K, P, h, w), and the maxima (K, P) float32.

    Each heat map is resampled to its box's size in pixels, bicubically; a maximum is at the centre of its pixel.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    pixels = sizes.ceil()
    maxima = torch.zeros(heatmaps.shape[:2], device=heatmaps.device)
    at = torch.zeros(*heatmaps.shape[:2], 2, device=heatmaps.device)
    for i, (width, height) in enumerate(pixels.long().tolist()):
        large = F.interpolate(heatmaps[i][None], (height, width), mode="bicubic")[0].flatten(1)
        values, index = large.max(1)
        maxima[i] = values
        at[i] = torch.stack([index % width, index.div(width, rounding_mode="floor")], 1)
    points = (at + 0.5) * (sizes / pixels).float()[:, None] + boxes[:, None, :2].float()
    return torch.cat([points, torch.ones_like(maxima)[..., None]], -1), maxima
