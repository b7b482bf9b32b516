"""ResNet-50 with a feature pyramid: the trunk of the detectors. The layers have torchvision's names."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet.models._layers import scaled
from fastdet.models.resnet import ResNet

NORMS = ("frozen", "batch")
FEATURES = 256  # channels of every map of the pyramid
TRUNK = ("bn1", "conv1", "layer1", "layer2", "layer3", "layer4")  # in the order in which they are frozen


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed means, variances, weights and biases: they are buffers, not parameters."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)  # weights of `BatchNorm2d` load, too
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class Subsample(nn.Module):
    """One more map: every second row and column of the last one."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [F.max_pool2d(maps[-1], 1, 2)]


class TwoConvolutions(nn.Module):
    """Two more maps, P6 and P7 of RetinaNet, each by a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.p7 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        p6 = self.p6(maps[-1])
        return [p6, self.p7(F.relu(p6))]


class FeaturePyramid(nn.Module):
    """Feature pyramid network (Lin et al. 2017): from a trunk's maps to maps of ``outputs`` channels each."""

    def __init__(self, inputs: list[int], outputs: int, extra_blocks: nn.Module) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, outputs, 1)) for channels in inputs)
        self.layer_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1)) for _ in inputs)
        self.extra_blocks = extra_blocks
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the same sizes, the largest first, and those of ``extra_blocks``."""
        above: Tensor | None = None
        pyramid: list[Tensor] = []
        for inner, layer, x in zip(
            *(list(blocks)[::-1] for blocks in (self.inner_blocks, self.layer_blocks, maps)), strict=True
        ):
            lateral = inner(x)
            above = lateral if above is None else lateral + F.interpolate(above, size=lateral.shape[-2:])
            pyramid.insert(0, layer(above))
        return [*pyramid, *self.extra_blocks(pyramid)]


class ResNetFPN(nn.Module):
    """ResNet-50 with a feature pyramid.

    Parameters
    ----------
    retina : False: the pyramid has the four stages' maps and a subsampled one, of strides 4 to 64. True, for RetinaNet:
        the last three stages' and two by convolutions, of strides 8 to 128
    in_channels : of the image
    width : factor on all channels
    norm : "frozen": `FrozenBatchNorm2d`, for pretrained weights; "batch": `torch.nn.BatchNorm2d`, to train from scratch
    eps : of the normalisation. torchvision's published weights named COCO_V1 were made with 0
    trainable : number of parts of the trunk that are trained, 0 to 5, from the last; the others do not require grad

    Notes
    -----
    ``forward`` gives the list of maps, all of ``channels`` channels, the largest first.
    """

    def __init__(
        self,
        *,
        retina: bool = False,
        in_channels: int = 3,
        width: float = 1.0,
        norm: str = "frozen",
        eps: float = 1e-5,
        trainable: int = 5,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"ResNetFPN: norm must be 'frozen' or 'batch', got {norm!r}")
        if trainable not in range(6):
            raise ValueError(f"ResNetFPN: trainable must be 0 to 5, got {trainable!r}")
        kind: Any = FrozenBatchNorm2d if norm == "frozen" else nn.BatchNorm2d
        self.body = ResNet(in_channels=in_channels, width=width, norm=partial(kind, eps=eps))
        self.first = 1 if retina else 0  # of the stages whose maps are used
        self.channels = scaled(FEATURES, width)
        extra = TwoConvolutions(self.channels) if retina else Subsample()
        self.fpn = FeaturePyramid(self.body.channels[self.first :], self.channels, extra)
        for name in TRUNK[: len(TRUNK) - trainable] if trainable < 5 else ():
            self.body.get_submodule(name).requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.fpn(self.body(x)[self.first :])
        return maps
