"""YOLOv1 and its tiny version: one pass gives every cell of a grid its boxes and class probabilities; and the loss.

The output for an image is (S, S, 5 B + C), row by row of the grid: for each cell B times x y w h confidence, then
C probabilities Pr(class | object). x and y are the box's centre in the cell, from 0 to 1; w and h are fractions of the
image; the confidence is Pr(object) x IoU(box, truth).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastdet._core import check
from fastdet.boxes.overlap import box_iou
from fastdet.boxes.transforms import box_convert
from fastdet.models._layers import MaxPool2d, checks_sizes, initialise, scaled
from fastdet.models._targets import true_boxes

POOL = (0, 0, 0)
Layer = tuple[int, int, int]  # channels, kernel, stride

STRIDE = 64  # pixels of a cell


class YOLOv1(nn.Module):
    """YOLOv1 (Redmon et al. 2015): 24 convolutions and two Linear layers.

    Parameters
    ----------
    classes : C
    in_channels : of the image
    width : factor on all channels but the outputs
    grid : S; images have 64 S pixels a side (448)
    predictors : B, boxes of a cell
    norm : batch normalisation, as in the authors' code; the paper's network has none
    local : a locally connected layer of 256 channels instead of the first Linear layer, as in the authors' later
        configuration

    Notes
    -----
    ``forward``: (N, in_channels, 64 S, 64 S) to (N, S, S, 5 B + C). The last layer is linear, as in the paper. It gives
    the square roots of w and h, which the loss compares, and ``forward`` squares them; so w and h are never negative.
    """

    layers: tuple[Layer, ...] = (
        *((64, 7, 2), POOL, (192, 3, 1), POOL),
        *((128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1), POOL),
        *((256, 1, 1), (512, 3, 1)) * 4,
        *((512, 1, 1), (1024, 3, 1), POOL),
        *((512, 1, 1), (1024, 3, 1)) * 2,
        *((1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1)),
    )

    def __init__(
        self,
        classes: int = 20,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        grid: int = 7,
        predictors: int = 2,
        norm: bool = True,
        local: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.grid, self.predictors = classes, grid, predictors
        features: list[nn.Module] = []
        inputs = in_channels
        for channels, kernel, stride in self.layers:
            if not channels:
                features.append(MaxPool2d())
                continue
            outputs = scaled(channels, width)
            features.append(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm))
            features += [nn.BatchNorm2d(outputs)] * norm + [nn.LeakyReLU(0.1, inplace=True)]
            inputs = outputs
        self.features = nn.Sequential(*features)
        hidden, inputs = self._hidden(inputs, width, local)
        last = nn.Linear(inputs, grid**2 * (5 * predictors + classes))
        self.head = nn.Sequential(*hidden, last)
        initialise(self)
        nn.init.normal_(last.weight, 0, 0.01)

    def _hidden(self, inputs: int, width: float, local: bool) -> tuple[list[nn.Module], int]:
        """The layers between the last map and the last layer, and the number of values they give."""
        cells = self.grid**2
        if local:
            outputs = scaled(256, width)
            return [_Local(inputs, outputs, self.grid), nn.LeakyReLU(0.1), nn.Flatten(), nn.Dropout()], cells * outputs
        outputs = scaled(4096, width)
        return [nn.Flatten(), nn.Linear(cells * inputs, outputs), nn.LeakyReLU(0.1), nn.Dropout()], outputs

    def forward(self, x: Tensor) -> Tensor:
        side = STRIDE * self.grid
        if checks_sizes(x) and x.shape[-2:] != (side, side):
            raise ValueError(f"{type(self).__name__}: image must be {side} x {side}, got {tuple(x.shape[-2:])}")
        x = self.head(self.features(x)).unflatten(1, (self.grid, self.grid, -1))
        cells, classes = x.split([5 * self.predictors, self.classes], -1)
        centre, roots, confidence = cells.unflatten(-1, (self.predictors, 5)).split([2, 2, 1], -1)
        return torch.cat([torch.cat([centre, roots**2, confidence], -1).flatten(-2), classes], -1)


class YOLOv1Tiny(YOLOv1):
    """YOLOv1's tiny version: eight 3 x 3 convolutions and one Linear layer. Parameters and shapes as `YOLOv1`."""

    layers = (
        *((16, 3, 1), POOL, (32, 3, 1), POOL, (64, 3, 1), POOL, (128, 3, 1), POOL),
        *((256, 3, 1), POOL, (512, 3, 1), POOL, (1024, 3, 1), (256, 3, 1)),
    )

    def _hidden(self, inputs: int, width: float, local: bool) -> tuple[list[nn.Module], int]:
        if local:
            raise ValueError("YOLOv1Tiny: local must be False, got True")
        return [nn.Flatten()], self.grid**2 * inputs


class _Local(nn.Module):
    """A locally connected layer: a 3 x 3 convolution with its own weights at each place of a side x side map."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side * side, outputs, inputs * 9))
        self.bias = nn.Parameter(torch.zeros(outputs, side * side))
        nn.init.normal_(self.weight, 0, (2 / (inputs * 9)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        windows = F.unfold(x, 3, padding=1)
        return (torch.einsum("nip,poi->nop", windows, self.weight) + self.bias).unflatten(2, (self.side, self.side))


def yolo_encode(
    boxes: Any, labels: Any, size: tuple[int, int], *, grid: int = 7, predictors: int = 2, classes: int = 20
) -> Tensor:
    """Encode the true boxes of an image as the output of a perfect network: the target of `yolo_loss`.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2, centres inside the image
    labels : (N,) integer in [0, classes)
    size : (height, width) of the image, pixels
    grid, predictors, classes : S, B and C

    Returns
    -------
    target : (S, S, 5 B + C) float32. The cell that holds a box's centre has the box as its first, confidence 1, and
        probability 1 for the box's class; all other values are 0

    Raises
    ------
    TypeError   dtype
    ValueError  shape, range, a box that is not finite, without area or with its centre outside the image

    Notes
    -----
    A cell holds one object. Where the centres of several lie in a cell, it holds the first.

    Examples
    --------
    >>> target = yolo_encode([[0.0, 0, 64, 32]], [1], (64, 128), grid=1, predictors=1, classes=2)
    >>> target.flatten().tolist()  # x y w h confidence, two classes
    [0.25, 0.25, 0.5, 0.5, 1.0, 0.0, 1.0]
    """
    op = "yolo_encode"
    corners, box_classes, (height, width), classes = true_boxes(op, boxes, labels, size, classes)
    grid, predictors = check.at_least_one(op, "grid", grid), check.at_least_one(op, "predictors", predictors)
    target = torch.zeros(grid, grid, 5 * predictors + classes)
    scale = corners.new_tensor([width, height] * 2)
    centres, sides = (box_convert(corners, "xyxy", "cxcywh") / scale).split(2, 1)
    outside = ((centres < 0) | (centres > 1)).any(1)
    if outside.any():
        at = int(outside.nonzero()[0])
        raise ValueError(
            f"{op}: boxes must have their centres inside the image, got {corners[at].tolist()} at index {at}"
        )
    cells = (centres * grid).long().clamp(max=grid - 1)
    for (column, row), centre, side, label in zip(cells.tolist(), centres, sides, box_classes.tolist(), strict=True):
        cell = target[row, column]
        if not cell[4]:
            cell[:2] = centre * grid - centre.new_tensor([column, row])
            cell[2:4], cell[4], cell[5 * predictors + label] = side, 1, 1
    return target


def yolo_loss(output: Tensor, target: Tensor, *, predictors: int = 2, coord: float = 5.0, noobj: float = 0.5) -> Tensor:
    """YOLOv1's loss: squared errors of the one box of each cell that is responsible for the cell's object.

    Parameters
    ----------
    output, target : (N, S, S, 5 B + C) float, target as `yolo_encode` makes it
    predictors : B
    coord, noobj : weights of coordinates, and of confidences of boxes that are not responsible

    Returns
    -------
    loss : () float, the sum over cells and the mean over images

    Raises
    ------
    ValueError  shape

    Notes
    -----
    The box of the maximum IoU with the object is responsible; where every IoU is 0, the nearest box is. The target of
    its confidence is that IoU, the target of the others is 0. w and h are compared by their square roots.
    Source: Redmon et al., "You Only Look Once", 2015, equation 3; the rule for IoU 0 is that of the authors' code.
    """
    op = "yolo_loss"
    predictors = check.at_least_one(op, "predictors", predictors)
    n, grid, across, values = output.shape if output.ndim == 4 else (0, 0, 0, 0)
    if not n or grid != across or values <= 5 * predictors:
        expected = f"(N, S, S, 5 * {predictors} + C) with N and C of 1 or more"
        raise ValueError(f"{op}: output must have shape {expected}, got {tuple(output.shape)}")
    if target.shape != output.shape:
        raise ValueError(f"{op}: target must have output's shape {tuple(output.shape)}, got {tuple(target.shape)}")
    boxes, classes = output[..., : 5 * predictors].unflatten(-1, (predictors, 5)), output[..., 5 * predictors :]
    true, present, true_classes = target[..., None, :4], target[..., 4], target[..., 5 * predictors :]
    with torch.no_grad():
        predicted, expected_boxes = (_corners(x[..., :4], grid) for x in (boxes, true.expand_as(boxes[..., :4])))
        iou = box_iou(predicted.reshape(-1, 4), expected_boxes.reshape(-1, 4), aligned=True).view(boxes.shape[:-1])
        distance = (predicted - expected_boxes).square().sum(-1)
        rank = torch.where(iou.amax(-1, keepdim=True) > 0, iou, -distance)
        responsible = F.one_hot(rank.argmax(-1), predictors) * present.unsqueeze(-1)
    position = (boxes[..., :2] - true[..., :2]).square().sum(-1)
    sides = (_root(boxes[..., 2:4]) - _root(true[..., 2:4])).square().sum(-1)
    confidence = boxes[..., 4]
    loss = coord * (responsible * (position + sides)).sum()
    loss = loss + (responsible * (confidence - iou).square()).sum()
    loss = loss + noobj * ((1 - responsible) * confidence.square()).sum()
    loss = loss + (present * (classes - true_classes).square().sum(-1)).sum()
    return loss / n


def _corners(boxes: Tensor, grid: int) -> Tensor:
    """Boxes (x y in the cell, w h in the image) as x1 y1 x2 y2 in fractions of the image, from the cell's corner."""
    centre, side = boxes[..., :2] / grid, boxes[..., 2:]
    return torch.cat([centre - side / 2, centre + side / 2], -1)


def _root(x: Tensor) -> Tensor:
    return (x.clamp(min=0) + 1e-12).sqrt()  # the small term keeps the gradient at 0 finite
