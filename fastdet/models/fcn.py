"""FCN-32s, 16s and 8s: VGG16 made fully convolutional, its scores upsampled by transposed convolutions.

The first convolution pads by 100 pixels, so that even a small image gives a map of 7 x 7 cells or more, as fc6 needs;
pools round up. The padding is cropped off where scores are added, by offsets that depend on the strides alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet.models._layers import MaxPool2d, checks_sizes, initialise, scaled
from fastdet.models.vgg import VGG16, vgg_channels, vgg_features
from fastdet.upsample.bilinear import bilinear_kernel


class FCN32s(nn.Module):
    """FCN-32s (Long et al. 2015): scores at stride 32, upsampled at once.

    Parameters
    ----------
    classes : scores of a pixel, background included
    in_channels : of the image
    width : factor on all channels but the classes
    norm : batch normalisation in the VGG stages; the paper uses none
    ceil_mode : True: pools round up, as in the authors' code. False: they round down, as in the lecture, where 224
        pixels give 7 x 7 scores; then scores of some sizes of images are too small to crop (32s, 16s): ValueError

    Notes
    -----
    ``forward``: (N, in_channels, H, W) of any H and W to logits (N, classes, H, W). The transposed convolutions begin
    as bilinear resampling of each class and are learned; score layers begin at 0.
    """

    skips: tuple[int, ...] = ()  # stages whose pools are scored too, deepest first
    crops: tuple[int, ...] = (19,)  # offsets of the crop of each skip's scores, then of the image

    def __init__(
        self,
        classes: int = 21,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        norm: bool = False,
        ceil_mode: bool = True,
    ) -> None:
        super().__init__()
        pools = [MaxPool2d(ceil_mode=ceil_mode) for _ in range(5)]
        self.stages = nn.ModuleList(vgg_features(in_channels, width, norm, padding=100, pools=pools))
        channels, hidden = vgg_channels(width), scaled(4096, width)
        self.fc6 = nn.Conv2d(channels[-1], hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout()
        initialise(self)
        scores = [nn.Conv2d(inputs, classes, 1) for inputs in [hidden, *self._skipped(channels)]]
        for score in scores:
            nn.init.zeros_(score.weight)
            nn.init.zeros_(cast(Tensor, score.bias))
        self.scores = nn.ModuleList(scores)
        factors = [2] * len(self.skips) + [32 >> len(self.skips)]
        self.upscores = nn.ModuleList(_bilinear(classes, factor) for factor in factors)

    def _skipped(self, maps: list[Any]) -> list[Any]:
        return [maps[stage] for stage in self.skips]

    def forward(self, x: Tensor) -> Tensor:
        size, maps = x.shape[-2:], []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for layer in (self.fc6, self.fc7):
            x = self.dropout(F.relu(layer(x)))
        score: Tensor = self.scores[0](x)
        for i, skipped in enumerate(self._skipped(maps)):
            score = self.upscores[i](score)
            score = score + _cropped(self.scores[i + 1](skipped), self.crops[i], score.shape[-2:])
        logits = _cropped(self.upscores[-1](score), self.crops[-1], size)
        if checks_sizes(x) and logits.shape[-2:] != size:
            name, got = type(self).__name__, tuple(size)
            raise ValueError(f"{name}: image must have a size with scores for all of it, got {got}: use ceil_mode=True")
        return logits

    def load_vgg(self, weights: Mapping[str, Tensor] | VGG16) -> None:
        """Load the weights of a VGG16 of the same width: its convolutions, and its first two Linear layers converted.

        Parameters
        ----------
        weights : a `VGG16`, or the state dict of one or of torchvision's vgg16 (vgg16_bn with ``norm``)

        Raises
        ------
        RuntimeError, KeyError  names or shapes that differ
        """
        state = weights.state_dict() if isinstance(weights, nn.Module) else weights
        features = {name: x for name, x in state.items() if name.startswith("features.")}
        merged = nn.Sequential()
        for stage in self.stages:
            for name, layer in stage.named_children():
                merged.add_module(name, layer)
        merged.load_state_dict({name.removeprefix("features."): x for name, x in features.items()})
        for layer, name in ((self.fc6, "classifier.0"), (self.fc7, "classifier.3")):
            weight = state[f"{name}.weight"]  # as `convert_linear` does
            weight = weight.reshape(len(weight), -1, *layer.weight.shape[2:])
            layer.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})


class FCN16s(FCN32s):
    """FCN-16s: as `FCN32s`, with pool4's scores added at stride 16."""

    skips = (3,)
    crops = (5, 27)


class FCN8s(FCN32s):
    """FCN-8s: as `FCN16s`, with pool3's scores added at stride 8."""

    skips = (3, 2)
    crops = (5, 9, 31)


def _bilinear(classes: int, factor: int) -> nn.ConvTranspose2d:
    """Transposed convolution over all classes, initialised as bilinear upsampling of each class by ``factor``."""
    layer = nn.ConvTranspose2d(classes, classes, 2 * factor, factor, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(bilinear_kernel(classes, factor)))
    return layer


def _cropped(x: Tensor, offset: int, size: Any) -> Tensor:
    height, width = size
    return x[..., offset : offset + height, offset : offset + width]
