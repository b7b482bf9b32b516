"""SegNet and SegNet-Basic: each pool of the encoder keeps the indices of its maxima, by which the decoder unpools."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from fastdet.models._layers import initialise, max_pool2d, max_unpool2d, scaled
from fastdet.models.vgg import STAGES, vgg_channels


class _EncoderDecoder(nn.Module):
    """An encoder with a 2 x 2 pool (rounding up) after each stage, and a decoder with an unpooling before each.

    The last stage of the decoder gives the scores. ``upsampling="nearest"`` repeats each value instead of unpooling
    it: the parameters are the same, but the decoder does not know where in its window a maximum was.
    """

    def __init__(self, encoder: list[nn.Module], decoder: list[nn.Module], upsampling: str) -> None:
        super().__init__()
        if upsampling not in ("unpool", "nearest"):
            raise ValueError(f"SegNet: upsampling must be 'unpool' or 'nearest', got {upsampling!r}")
        self.upsampling = upsampling
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        pools: list[tuple[Any, Tensor]] = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = max_pool2d(x, ceil_mode=True)
            pools.append((size, indices))
        for stage, (size, indices) in zip(self.decoder, reversed(pools), strict=True):
            x = max_unpool2d(x, indices, size) if self.upsampling == "unpool" else _repeated(x, size)
            x = stage(x)
        return x


def _repeated(x: Tensor, size: Any) -> Tensor:
    """Each value four times; cropped where the pool rounded up."""
    height, width = size
    rows, columns = torch.arange(height, device=x.device) // 2, torch.arange(width, device=x.device) // 2
    return x.index_select(2, rows).index_select(3, columns)


def _convolutions(channels: list[int], kernel: int, relu: bool = True) -> list[nn.Module]:
    """Convolutions from each number of channels to the next, each with batch normalisation and, if ``relu``, a ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs)]
        layers += [nn.ReLU(inplace=True)] * relu
    return layers


class SegNet(_EncoderDecoder):
    """SegNet (Badrinarayanan et al. 2015): VGG16's convolutions with batch normalisation, mirrored in the decoder.

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    upsampling : "unpool", or "nearest" for comparison

    Notes
    -----
    ``forward``: (N, in_channels, H, W) of any H and W to logits (N, classes, H, W).
    """

    def __init__(
        self, classes: int = 11, *, in_channels: int = 3, width: float = 1.0, upsampling: str = "unpool"
    ) -> None:
        channels = vgg_channels(width)
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for inputs, outputs, (_, count) in zip([in_channels, *channels], channels, STAGES, strict=False):
            encoder.append(nn.Sequential(*_convolutions([inputs, *[outputs] * count], 3)))
            if len(encoder) > 1:
                back = _convolutions([*[outputs] * count, inputs], 3)
            else:  # the last layer of the decoder gives the scores
                back = [*_convolutions([outputs] * count, 3), nn.Conv2d(outputs, classes, 3, padding=1)]
            decoder.insert(0, nn.Sequential(*back))
        super().__init__(encoder, decoder, upsampling)


class SegNetBasic(_EncoderDecoder):
    """SegNet-Basic: four stages of one 7 x 7 convolution, no ReLU in the decoder, local normalisation of the image.

    Parameters and shapes as `SegNet`.
    """

    def __init__(
        self, classes: int = 11, *, in_channels: int = 3, width: float = 1.0, upsampling: str = "unpool"
    ) -> None:
        features = scaled(64, width)
        channels = [in_channels, *[features] * 4]
        encoder: list[nn.Module] = [nn.Sequential(*_convolutions(channels[i : i + 2], 7)) for i in range(4)]
        decoder: list[nn.Module] = [nn.Sequential(*_convolutions([features] * 2, 7, relu=False)) for _ in range(4)]
        decoder[-1] = nn.Sequential(decoder[-1], nn.Conv2d(features, classes, 1))
        super().__init__(encoder, decoder, upsampling)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))
