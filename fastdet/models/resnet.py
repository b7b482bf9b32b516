"""ResNet-50 and ResNet-101 as trunks: for segmentation the last stages are dilated instead of strided.

The layers have torchvision's names, so its weights (resnet50, resnet101) load; there is no classifier.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fastdet.models._layers import MaxPool2d, scaled

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = 4
Norm = Callable[[int], nn.Module]


class Bottleneck(nn.Module):
    """A 1 x 1 convolution to ``channels``, a 3 x 3, and a 1 x 1 to four times as many; then the input is added.

    Where the shapes differ, the input is projected first.
    """

    def __init__(
        self, inputs: int, channels: int, stride: int = 1, dilation: int = 1, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False)
        self.bn2 = norm(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(project, norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        added: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return added


class ResNet(nn.Module):
    """The four stages of a ResNet (He et al. 2015; stride in the 3 x 3 convolutions).

    Parameters
    ----------
    layers : 50 or 101
    output_stride : 8, 16 or 32; a stage that would stride beyond it is dilated instead
    in_channels : of the image
    width : factor on all channels
    norm : makes the normalisation of a number of channels

    Notes
    -----
    ``forward`` gives the maps of the four stages, ``channels`` the number of channels of each.
    """

    def __init__(
        self,
        layers: int = 50,
        output_stride: int = 32,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if layers not in BLOCKS or output_stride not in (8, 16, 32):
            got = f"{layers} layers, output_stride {output_stride}"
            raise ValueError(f"ResNet: layers must be 50 or 101 and output_stride 8, 16 or 32, got {got}")
        widths = [scaled(64 << stage, width) for stage in range(4)]
        self.channels = [EXPANSION * channels for channels in widths]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = norm(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, 2, 1)
        stages = []
        inputs, stride, dilation = widths[0], 4, 1
        for stage, (channels, count) in enumerate(zip(widths, BLOCKS[layers], strict=True)):
            step, before = (1 if stage == 0 else 2), dilation
            if stride * step > output_stride:
                step, dilation = 1, dilation * 2
            stride *= step
            blocks = []
            for i in range(count):  # the first block keeps the previous stage's dilation, as torchvision's does
                blocks.append(Bottleneck(inputs, channels, step if i == 0 else 1, dilation if i else before, norm))
                inputs = EXPANSION * channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps
