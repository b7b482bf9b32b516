"""DeepLab: dilated convolutions use more context at the same resolution. LargeFOV (v1), ASPP (v3), v3+'s decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastdet.models._layers import MaxPool2d, conv_norm_relu, initialise, scaled, upsample_bilinear
from fastdet.models.resnet import ResNet
from fastdet.models.vgg import vgg_channels, vgg_features


class DeepLabLargeFOV(nn.Module):
    """DeepLab v1 (Chen et al. 2014) on VGG16 at stride 8; its fc6 is a dilated convolution of a large field of view.

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    norm : batch normalisation in the VGG stages; the paper uses none
    kernel, rate, features : of fc6; the paper compares 3, 12, 1024 (LargeFOV) with 7, 4, 4096 and 4, 8, 4096

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to logits (N, classes, H, W). The last two pools have stride 1, so the fifth
    stage is dilated by 2. Scores at stride 8 are resampled bilinearly.
    """

    def __init__(
        self,
        classes: int = 21,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        norm: bool = False,
        kernel: int = 3,
        rate: int = 12,
        features: int = 1024,
    ) -> None:
        super().__init__()
        pools = [MaxPool2d(3, stride, 1) for stride in (2, 2, 2, 1, 1)]
        stages = vgg_features(in_channels, width, norm, dilations=(1, 1, 1, 1, 2), pools=pools)
        inputs, hidden = vgg_channels(width)[-1], scaled(features, width)
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Conv2d(inputs, hidden, kernel, padding=rate * (kernel - 1) // 2, dilation=rate),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(),
        )
        initialise(self)
        self.score = nn.Conv2d(hidden, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return upsample_bilinear(self.score(self.head(self.features(x))), x.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid: a 1 x 1 convolution, one 3 x 3 for each rate and the mean of the image, side by side.

    Parameters
    ----------
    inputs, outputs : channels
    rates : dilations, cells
    """

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int]) -> None:
        super().__init__()
        kernels = [(1, 1), *((3, rate) for rate in rates)]
        self.branches = nn.ModuleList(
            conv_norm_relu(inputs, outputs, kernel, dilation=rate) for kernel, rate in kernels
        )
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm_relu(inputs, outputs, 1))
        self.project = nn.Sequential(conv_norm_relu(outputs * (len(kernels) + 1), outputs, 1), nn.Dropout())

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.branches]
        height, width = x.shape[-2:]
        maps.append(self.image(x).expand(-1, -1, height, width))
        joined: Tensor = self.project(torch.cat(maps, 1))
        return joined


class DeepLabV3(nn.Module):
    """DeepLab v3 (Chen et al. 2017): a dilated ResNet, ASPP, scores resampled to the image.

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    layers : 50 or 101, of the ResNet
    output_stride : 8 or 16; the rates are 12, 24, 36 or half of that

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to logits (N, classes, H, W). In training a batch needs two images or more:
    ASPP normalises one mean for each image.
    """

    default_stride = 8

    def __init__(
        self,
        classes: int = 21,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        layers: int = 50,
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        stride = self.default_stride if output_stride is None else output_stride
        self.trunk = ResNet(layers, stride, in_channels=in_channels, width=width)
        features = scaled(256, width)
        self.aspp = ASPP(self.trunk.channels[-1], features, [rate * 8 // stride for rate in (12, 24, 36)])
        self.head = self._head(features, width)
        self.score = nn.Conv2d(features, classes, 1)

    def _head(self, features: int, width: float) -> nn.Module:
        return conv_norm_relu(features, features)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.trunk(x)
        return upsample_bilinear(self.score(self.head(self.aspp(maps[-1]))), x.shape[-2:])


class DeepLabV3Plus(DeepLabV3):
    """DeepLab v3+ (Chen et al. 2018): v3 at stride 16, and a decoder that adds the first stage's maps at stride 4.

    Parameters and shapes as `DeepLabV3`. The decoder has the paper's plain 3 x 3 convolutions.
    """

    default_stride = 16

    def _head(self, features: int, width: float) -> nn.Module:
        edges = scaled(48, width)
        self.edges = conv_norm_relu(self.trunk.channels[0], edges, 1)
        return nn.Sequential(conv_norm_relu(features + edges, features), conv_norm_relu(features, features))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.trunk(x)
        edges = self.edges(maps[0])
        context = upsample_bilinear(self.aspp(maps[-1]), edges.shape[-2:])
        return upsample_bilinear(self.score(self.head(torch.cat([context, edges], 1))), x.shape[-2:])
