"""HRNetV2: parallel branches at strides 4, 8, 16 and 32 that exchange their maps after every module; and OCR's head."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet.models._layers import conv_norm_relu, scaled, upsample_bilinear
from fastdet.models.resnet import EXPANSION, Bottleneck


class _Basic(nn.Module):
    """Two 3 x 3 convolutions, the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm_relu(channels, channels)
        self.second = conv_norm_relu(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + x)


class _Exchange(nn.Module):
    """Blocks in each branch; then each branch gets the sum of all branches at its resolution."""

    def __init__(self, channels: list[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(_Basic(c) for _ in range(blocks))) for c in channels)
        branches = range(len(channels))
        self.fuse = nn.ModuleList(nn.ModuleList(_convert(channels, i, target) for i in branches) for target in branches)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for i, (target, layers) in enumerate(zip(maps, self.fuse, strict=True)):
            total = torch.zeros_like(target)
            for source, (layer, x) in enumerate(zip(cast(nn.ModuleList, layers), maps, strict=True)):
                total = total + _resized(layer(x), target, source > i)
            fused.append(F.relu(total))
        return fused


def _convert(channels: list[int], source: int, target: int) -> nn.Module:
    """Layers from one branch to another: a 1 x 1 convolution to a higher resolution, strided 3 x 3 ones to a lower.

    The output of the 1 x 1 convolution is resampled by the caller.
    """
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm_relu(channels[source], channels[target], 1, relu=False)
    steps = target - source
    return nn.Sequential(
        *(conv_norm_relu(channels[source], channels[source], stride=2) for _ in range(steps - 1)),
        conv_norm_relu(channels[source], channels[target], stride=2, relu=False),
    )


def _resized(x: Tensor, target: Tensor, smaller: bool) -> Tensor:
    """A map of the size of ``target``; ``smaller``: it comes from a branch of a lower resolution."""
    return upsample_bilinear(x, target.shape[-2:], align_corners=True) if smaller else x


class HRNetV2(nn.Module):
    """HRNetV2 (Wang et al. 2019): the four branches are resampled to stride 4, joined and scored.

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    channels : of the first branch, 48 or 18 in the paper; each further one has twice as many
    modules : of 2, 3 and 4 branches
    blocks : of each branch of a module

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to logits (N, classes, H, W), resampled from stride 4.
    """

    score: nn.Module

    def __init__(
        self,
        classes: int = 19,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        channels: int = 48,
        modules: tuple[int, int, int] = (1, 4, 3),
        blocks: int = 4,
    ) -> None:
        super().__init__()
        stem = scaled(64, width)
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, stem, stride=2),
            conv_norm_relu(stem, stem, stride=2),
            *(Bottleneck(stem if i == 0 else EXPANSION * stem, stem) for i in range(4)),
        )
        branches = [scaled(channels << i, width) for i in range(4)]
        before = [EXPANSION * stem]
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, count in enumerate(modules):
            now = branches[: stage + 2]
            self.transitions.append(_transition(before, now))
            self.stages.append(nn.Sequential(*(_Exchange(now, blocks) for _ in range(count))))
            before = now
        self.features = sum(branches)
        self._heads(classes, width)

    def _heads(self, classes: int, width: float) -> None:
        self.score = _pixel_scores(self.features, classes)

    def trunk(self, x: Tensor) -> Tensor:
        """The joined branches, (N, features, H / 4, W / 4)."""
        maps = [self.stem(x)]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            layers = cast(nn.ModuleList, transition)
            maps = stage([layer(maps[min(i, len(maps) - 1)]) for i, layer in enumerate(layers)])
        return torch.cat([_resized(x, maps[0], i > 0) for i, x in enumerate(maps)], 1)

    def forward(self, x: Tensor) -> Any:
        return upsample_bilinear(self.score(self.trunk(x)), x.shape[-2:], align_corners=True)


def _transition(before: list[int], now: list[int]) -> nn.ModuleList:
    """Layers to the branches of the next stage; its last branch is new, a strided convolution of the last one here."""
    layers = nn.ModuleList(
        nn.Identity() if inputs == outputs else conv_norm_relu(inputs, outputs)
        for inputs, outputs in zip(before, now, strict=False)
    )
    layers.append(conv_norm_relu(before[-1], now[-1], stride=2))
    return layers


def _pixel_scores(features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(conv_norm_relu(features, features, 1, bias=True), nn.Conv2d(features, classes, 1))


class HRNetOCR(HRNetV2):
    """HRNetV2 with object-contextual representations (Yuan et al. 2019).

    First scores locate each class; each class is described by the weighted mean of its pixels; each pixel attends to
    the descriptions, and the result is joined to the pixel before the final scores.

    Parameters and shapes as `HRNetV2`. In training ``forward`` gives a pair, the final and the first scores; the paper
    adds the loss of the first scores with weight 0.4.
    """

    def _heads(self, classes: int, width: float) -> None:
        pixels, keys = scaled(512, width), scaled(256, width)
        self.regions = _pixel_scores(self.features, classes)
        self.pixels = conv_norm_relu(self.features, pixels, bias=True)
        self.query = nn.Sequential(conv_norm_relu(pixels, keys, 1), conv_norm_relu(keys, keys, 1))
        self.key = nn.Sequential(conv_norm_relu(pixels, keys, 1), conv_norm_relu(keys, keys, 1))
        self.value = conv_norm_relu(pixels, keys, 1)
        self.back = conv_norm_relu(keys, pixels, 1)
        self.join = nn.Sequential(conv_norm_relu(2 * pixels, pixels, 1), nn.Dropout2d(0.05))
        self.score = nn.Conv2d(pixels, classes, 1)

    def forward(self, x: Tensor) -> Any:
        size, maps = x.shape[-2:], self.trunk(x)
        regions = self.regions(maps)
        pixels = self.pixels(maps)
        objects = class_means(pixels, regions)
        query, key, value = self.query(pixels), self.key(objects), self.value(objects)
        context = attention(query, key.flatten(2), value.flatten(2))
        logits = self.score(self.join(torch.cat([self.back(context), pixels], 1)))
        logits = upsample_bilinear(logits, size, align_corners=True)
        if not self.training:
            return logits
        return logits, upsample_bilinear(regions, size, align_corners=True)


def class_means(pixels: Tensor, regions: Tensor) -> Tensor:
    """Mean of each class's pixels: (N, C, h, w) and scores (N, K, h, w) to (N, C, K, 1)."""
    shares = regions.flatten(2).softmax(2)
    return torch.einsum("nkp,ncp->nck", shares, pixels.flatten(2)).unsqueeze(3)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """For each pixel the classes' values, weighted by the pixel's similarity to the classes' keys: (N, C, h, w)."""
    similarity = torch.einsum("nchw,nck->nkhw", query, key) * query.shape[1] ** -0.5
    return torch.einsum("nkhw,nck->nchw", similarity.softmax(1), value)
