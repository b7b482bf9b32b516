"""PSPNet: the map is joined with its means over 1, 2 x 2, 3 x 3 and 6 x 6 regions of the image, as context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastdet.models._layers import AdaptiveMean, conv_norm_relu, scaled, upsample_bilinear
from fastdet.models.resnet import ResNet

BINS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Joins the map with 1 x 1 convolutions of its means over each grid of `BINS`, resampled; doubles the channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(AdaptiveMean(bins), conv_norm_relu(inputs, inputs // len(BINS), 1)) for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        means = [upsample_bilinear(level(x), x.shape[-2:], align_corners=True) for level in self.levels]
        return torch.cat([x, *means], 1)


class PSPNet(nn.Module):
    """PSPNet (Zhao et al. 2016) on a ResNet at stride 8.

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    layers : 50 or 101, of the ResNet

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to logits (N, classes, H, W). In training it gives a pair, these and the logits
    of the third stage, whose loss the paper adds with weight 0.4; a batch then needs two images or more.
    """

    def __init__(self, classes: int = 21, *, in_channels: int = 3, width: float = 1.0, layers: int = 50) -> None:
        super().__init__()
        self.trunk = ResNet(layers, 8, in_channels=in_channels, width=width)
        deep, third = self.trunk.channels[-1], self.trunk.channels[-2]
        self.pyramid = PyramidPooling(deep)
        self.score = _scores(deep + deep // len(BINS) * len(BINS), scaled(512, width), classes)
        self.auxiliary = _scores(third, scaled(256, width), classes)

    def forward(self, x: Tensor) -> Any:
        maps, size = self.trunk(x), x.shape[-2:]
        logits = upsample_bilinear(self.score(self.pyramid(maps[-1])), size, align_corners=True)
        if not self.training:
            return logits
        return logits, upsample_bilinear(self.auxiliary(maps[-2]), size, align_corners=True)


def _scores(inputs: int, features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_relu(inputs, features), nn.Dropout(0.1), nn.Conv2d(features, classes, 1))
