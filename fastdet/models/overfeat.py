"""OverFeat: one trunk, a classifier and a box regressor. All are convolutions, so overlapping windows share their work.

An image of 231 (fast) or 221 (accurate) pixels is one window and gives one score vector and one box. A larger image
gives a map of them, one for each window on a grid. The grid's step is the product of all strides, 32 or 36 pixels; with
offset pooling it is that of the strides before the last pool, 16 or 12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from fastdet.models._layers import MaxPool2d, initialise, max_values, scaled


class _Layer(NamedTuple):
    channels: int
    kernel: int
    stride: int = 1
    pool: int = 1  # kernel and stride of the max-pool that follows


class _OverFeat(nn.Module):
    layers: tuple[_Layer, ...]  # 3 x 3 ones are padded
    last_pool: int
    kernel: int  # of the heads' first convolution
    hidden: tuple[int, int]  # of the classifier

    def __init__(
        self,
        classes: int = 1000,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        padded: bool = True,
        class_boxes: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.padded = classes, padded
        features: list[nn.Module] = []
        inputs = in_channels
        for layer in self.layers:
            channels, padding = scaled(layer.channels, width), int(padded and layer.kernel == 3)
            features += [nn.Conv2d(inputs, channels, layer.kernel, layer.stride, padding), nn.ReLU(inplace=True)]
            features += [MaxPool2d(layer.pool)] * (layer.pool > 1)
            inputs = channels
        self.features = nn.Sequential(*features)
        boxes = 4 * classes if class_boxes else 4
        self.classifier = self._head(inputs, [scaled(channels, width) for channels in self.hidden], classes)
        self.regressor = self._head(inputs, [scaled(channels, width) for channels in (4096, 1024)], boxes)
        initialise(self)

    def _head(self, inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
        first, second = hidden
        return nn.Sequential(
            nn.Conv2d(inputs, first, self.kernel),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Conv2d(first, second, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Conv2d(second, outputs, 1),
        )

    @property
    def window(self) -> int:
        """Side of the square of the image that one output depends on, pixels."""
        size = self.last_pool * self.kernel
        for layer in reversed(self.layers):
            size *= layer.pool
            if layer.kernel != 3 or not self.padded:
                size = (size - 1) * layer.stride + layer.kernel
        return size

    def step(self, dense: bool = False) -> int:
        """Pixels from one window of the output to the next."""
        pixels = 1 if dense else self.last_pool
        for layer in self.layers:
            pixels *= layer.stride * layer.pool
        return pixels

    def forward(self, x: Tensor, dense: bool = False) -> tuple[Tensor, Tensor]:
        x = self.features(x)
        x = max_values(x, self.last_pool, 1 if dense else self.last_pool)
        rate = self.last_pool if dense else 1
        return _at_every_place(self.classifier, x, rate), _at_every_place(self.regressor, x, rate)


def _at_every_place(head: nn.Sequential, x: Tensor, rate: int) -> Tensor:
    """``head`` at every place of ``x``, its first convolution dilated by ``rate``."""
    first: Any = head[0]
    x = F.conv2d(x, first.weight, first.bias, dilation=rate)
    for layer in list(head)[1:]:
        x = layer(x)
    return x


class OverFeatFast(_OverFeat):
    """OverFeat, fast model (Sermanet et al. 2013).

    Parameters
    ----------
    classes : scores of a window
    in_channels : of the image
    width : factor on all channels but the outputs
    padded : True: the 3 x 3 convolutions pad their maps with zeros; inside a larger image a window then gets its
        neighbours' values in place of the zeros. False: no padding; a window is larger (`window`), and its output is
        exactly that of the window alone
    class_boxes : True: a box for each class. False: one box for all

    Notes
    -----
    ``forward(x, dense=False)``: (N, in_channels, H, W) to scores (N, classes, h, w) and boxes (N, 4, h, w) or
    (N, 4 * classes, h, w), for the windows that begin at multiples of ``step(dense)`` pixels. A box is x1 y1 x2 y2 in
    units of the window, from its upper left corner.

    ``dense`` is offset pooling: the last pool at every offset, the heads on each pooled map, the results interleaved.
    It is computed in one pass, with the same numbers: pooling with stride 1, and heads whose first convolution is
    dilated.
    """

    layers = (_Layer(96, 11, 4, 2), _Layer(256, 5, 1, 2), _Layer(512, 3), _Layer(1024, 3), _Layer(1024, 3))
    last_pool = 2
    kernel = 6
    hidden = (3072, 4096)


class OverFeatAccurate(_OverFeat):
    """OverFeat, accurate model. Parameters and shapes as `OverFeatFast`."""

    layers = (
        _Layer(96, 7, 2, 3),
        _Layer(256, 7, 1, 2),
        _Layer(512, 3),
        _Layer(512, 3),
        _Layer(1024, 3),
        _Layer(1024, 3),
    )
    last_pool = 3
    kernel = 5
    hidden = (4096, 4096)
