"""U-Net: a contracting and an expanding path of valid convolutions, joined by crop and concatenation at each level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet.models._layers import MaxPool2d, any_size, checks_sizes, initialise, scaled, upsample_bilinear


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015).

    Parameters
    ----------
    classes : scores of a pixel
    in_channels : of the image
    width : factor on all channels but the classes
    padded : True: convolutions keep the size, and the output is as large as the image. False: they are valid, and the
        output is smaller by `margin` on each side
    norm : batch normalisation instead of biases
    up : "bilinear", upsampling followed by a 2 x 2 convolution, or "transposed", a 2 x 2 transposed convolution. Both
        have as many parameters; with "transposed" a tile's border does not affect its inside (see `tiling`)
    depth : number of pools, 4 in the paper

    Notes
    -----
    ``forward``: (N, in_channels, H, W) to logits (N, classes, H - 2 margin, W - 2 margin). Without padding, H and W
    must be even at each pool (572 is, and gives 388); `fitting` gives such sizes. With padding, H and W are at least
    2 ** depth. Other sizes raise ValueError.
    """

    def __init__(
        self,
        classes: int = 2,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        padded: bool = False,
        norm: bool = False,
        up: str = "bilinear",
        depth: int = 4,
    ) -> None:
        super().__init__()
        if up not in ("bilinear", "transposed"):
            raise ValueError(f"UNet: up must be 'bilinear' or 'transposed', got {up!r}")
        self.padded, self.depth, self.up_kind = padded, depth, up
        channels = [scaled(64 << level, width) for level in range(depth + 1)]
        make = _UpConv if up == "bilinear" else _transposed
        self.down = nn.ModuleList(
            _double(inputs, outputs, padded, norm)
            for inputs, outputs in zip([in_channels, *channels], channels, strict=False)
        )
        self.pool = MaxPool2d()
        deep = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(make(inputs, outputs) for inputs, outputs in deep)
        self.join = nn.ModuleList(_double(2 * outputs, outputs, padded, norm) for _, outputs in deep)
        self.dropout = nn.Dropout()  # at the end of the contracting path
        initialise(self)
        self.score = nn.Conv2d(channels[0], classes, 1)

    @property
    def margin(self) -> int:
        """Pixels by which the output is smaller than the image on each side: 92 in the paper."""
        if self.padded:
            return 0
        return (6 << self.depth) - 4

    def fitting(self, size: int) -> int:
        """The smallest valid side of an image whose output has ``size`` pixels or more."""
        step = 1 << self.depth
        if self.padded:
            return max(size, step)
        return 4 + -(-max(size - 4, 0) // step) * step + 2 * self.margin

    def tiling(self, size: int) -> dict[str, int]:
        """Options of `fastdet.inference.overlap_tile` with which tiles give the whole image's result.

        The options are tile (``size`` or more), margin and step. Only for networks without padding. The margin is
        `margin`, and with bilinear upsampling also the distance over which a map's border affects its inside: 2 pixels
        at the deepest level, twice as many and 2 more at each level above. The step is a multiple of the total stride.
        """
        if self.padded:
            raise ValueError("UNet.tiling: padded must be False, got True")
        reach = (2 << self.depth) * (self.up_kind == "bilinear")
        margin = self.margin + reach
        tile = self.fitting(size + 2 * reach) - 2 * margin
        return {"tile": tile, "margin": margin, "step": max(tile - 4, 1)}

    def forward(self, x: Tensor) -> Tensor:
        if checks_sizes(x) and any(self.fitting(side - 2 * self.margin) != side for side in x.shape[-2:]):
            rule = f"{1 << self.depth} pixels or more" if self.padded else "sides that halve evenly (see fitting)"
            raise ValueError(f"UNet: image must have {rule}, got {tuple(x.shape[-2:])}")
        maps = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            maps.append(x)
        x = self.dropout(x)
        for up, join, skipped in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = up(x)
            # the pool drops the last row of odd maps
            if self.padded and (any_size(x) or x.shape[-2:] != skipped.shape[-2:]):
                down, right = skipped.shape[-2] - x.shape[-2], skipped.shape[-1] - x.shape[-1]
                x = F.pad(x, (0, right, 0, down), mode="replicate")
            x = join(torch.cat([_centre(skipped, x.shape[-2:]), x], 1))
        score: Tensor = self.score(x)
        return score


class _UpConv(nn.Module):
    """Bilinear upsampling by 2, then a 2 x 2 convolution that keeps the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = upsample_bilinear(x, (2 * height, 2 * width))
        image: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return image


def _transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 2, 2)


def _double(inputs: int, outputs: int, padded: bool, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=int(padded), bias=not norm))
        layers += [nn.BatchNorm2d(outputs)] * norm
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _centre(x: Tensor, size: Any) -> Tensor:
    height, width = size
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]
