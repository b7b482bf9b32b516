"""VGG16: thirteen 3 x 3 convolutions in five stages, a max-pool after each, and a classifier of three Linear layers.

The layers have torchvision's names, so its weights (vgg16, vgg16_bn) load unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastdet.models._layers import MaxPool2d, adaptive_mean, any_size, initialise, scaled

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg_channels(width: float = 1.0) -> list[int]:
    """Channels of the five stages."""
    return [scaled(channels, width) for channels, _ in STAGES]


def vgg_features(
    in_channels: int = 3,
    width: float = 1.0,
    norm: bool = False,
    *,
    padding: int = 1,
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
    pools: Sequence[nn.Module] | None = None,
) -> list[nn.Sequential]:
    """The five stages, each with its pool last; layers are named by their index over all stages, as in torchvision.

    Parameters
    ----------
    in_channels : of the image
    width : factor on the channels
    norm : batch normalisation before each ReLU
    padding : of the first convolution, pixels; all others keep the size
    dilations : of the convolutions of each stage
    pools : the five pooling layers; None for 2 x 2 with stride 2
    """
    stages, inputs, place = [], in_channels, 0
    for stage, (channels, (_, count)) in enumerate(zip(vgg_channels(width), STAGES, strict=True)):
        layers: list[nn.Module] = []
        rate = dilations[stage]
        for i in range(count):
            pad = padding if place == i == 0 else rate
            layers.append(nn.Conv2d(inputs, channels, 3, padding=pad, dilation=rate))
            if norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            inputs = channels
        layers.append(MaxPool2d() if pools is None else pools[stage])
        named = nn.Sequential()
        for layer in layers:
            named.add_module(str(place), layer)
            place += 1
        stages.append(named)
    return stages


class VGG16(nn.Module):
    """VGG16 (Simonyan and Zisserman 2014), configuration D.

    Parameters
    ----------
    classes : scores of an image
    in_channels : of the image
    width : factor on all channels, also the classifier's 4096
    norm : batch normalisation (vgg16_bn)

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to (N, classes). Images other than 224 x 224 are pooled to 7 x 7 before the
    classifier, as in torchvision.
    """

    def __init__(self, classes: int = 1000, *, in_channels: int = 3, width: float = 1.0, norm: bool = False) -> None:
        super().__init__()
        features = nn.Sequential()
        for stage in vgg_features(in_channels, width, norm):
            for name, layer in stage.named_children():
                features.add_module(name, layer)
        self.features = features
        hidden = scaled(4096, width)
        self.classifier = nn.Sequential(
            nn.Linear(vgg_channels(width)[-1] * 49, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if any_size(x) or x.shape[-2:] != (7, 7):
            x = adaptive_mean(x, 7)
        scores: Tensor = self.classifier(torch.flatten(x, 1))
        return scores
