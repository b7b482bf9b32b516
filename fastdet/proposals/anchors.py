"""Anchors: boxes that stand on a grid over the image, from which a network's boxes are measured."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.proposals import _check

_SINGLE = np.dtype(np.float32)


def grid_anchors(sizes: Any, aspect_ratios: Any, map_size: Any, stride: Any) -> Array:
    """Anchors of one feature map.

    Parameters
    ----------
    sizes : numbers, pixels: sides of the square of an anchor's area
    aspect_ratios : numbers, height / width
    map_size : (H, W) of the feature map, or one integer for both
    stride : (rows, columns) of the image between neighbours of the map, integers, or one integer for both

    Returns
    -------
    anchors : (H * W * A, 4) float32, pixels, x1 y1 x2 y2, A = len(aspect_ratios) * len(sizes); the order is row by row,
        cell by cell, ratio by ratio, size by size

    Raises
    ------
    TypeError   kind of a number
    ValueError  range

    Notes
    -----
    An anchor stands around the top left corner of its cell. Its corners are rounded to whole pixels, halves to even,
    before they are moved to the cell. Equal to torchvision's `AnchorGenerator` bit for bit.
    Source: Ren et al., "Faster R-CNN", 2015, section 3.1; torchvision.models.detection.anchor_utils.

    Examples
    --------
    >>> grid_anchors(8, [1.0, 4.0], (1, 2), 16)
    array([[-4., -4.,  4.,  4.],
           [-2., -8.,  2.,  8.],
           [12., -4., 20.,  4.],
           [14., -8., 18.,  8.]], dtype=float32)
    """
    op = "grid_anchors"
    around = _around(op, sizes, aspect_ratios)
    return _on_grid(op, around, _check.size_of_map(op, "map_size", map_size), check.pair(op, "stride", stride, 1))


def _around(op: str, sizes: Any, aspect_ratios: Any) -> Array:
    """(A, 4) anchors around the origin."""
    sides = np.array(_check.positives(op, "sizes", sizes), np.float64)
    ratios = np.array(_check.positives(op, "aspect_ratios", aspect_ratios), np.float64)
    with np.errstate(all="ignore"):
        high = np.sqrt(ratios.astype(_SINGLE))
        wide = np.float32(1) / high
        w, h = ((x[:, None] * sides.astype(_SINGLE)).ravel() for x in (wide, high))
        around = np.rint(np.stack([-w, -h, w, h], axis=1) / np.float32(2))
    if not np.isfinite(around).all():
        raise ValueError(f"{op}: sizes and aspect_ratios must give sides that float32 holds, got infinite ones")
    return around


def _on_grid(op: str, around: Array, map_size: tuple[int, int], stride: tuple[int, int]) -> Array:
    (height, width), (rows, columns) = map_size, stride
    if height * width * len(around) > check.MAX_COUNT:
        raise ValueError(f"{op}: map_size must give at most {check.MAX_COUNT} anchors, got {map_size}")
    anchors = check.empty(op, (height, width, len(around), 4), _SINGLE)
    across, down = (
        (np.arange(count, dtype=np.int64) * step).astype(_SINGLE) for count, step in ((width, columns), (height, rows))
    )
    anchors[..., 0::2] = across[None, :, None, None] + around[:, 0::2]
    anchors[..., 1::2] = down[:, None, None, None] + around[:, 1::2]
    return anchors.reshape(-1, 4)


def fpn_anchors(sizes: Any, aspect_ratios: Any, map_sizes: Any, image_size: Any) -> list[Array]:
    """Anchors of the feature maps of a pyramid.

    Parameters
    ----------
    sizes : one entry a level, pixels: a number, or a list of numbers
    aspect_ratios : numbers, height / width, for all levels, or a list of such lists, one a level
    map_sizes : (H, W) of the feature map of each level
    image_size : (height, width) of the image that the network gets (of a batch: the padded one), pixels

    Returns
    -------
    anchors : a list, by level, of (H * W * A, 4) float32, as `grid_anchors` gives them

    Raises
    ------
    TypeError   kind of a number
    ValueError  range, lists of different lengths, a map larger than the image

    Notes
    -----
    The stride of a level is image_size // map_size, as in torchvision.
    Source: Lin et al., "Feature Pyramid Networks for Object Detection", 2017; torchvision's `AnchorGenerator`.

    Examples
    --------
    >>> [len(x) for x in fpn_anchors([32, 64], [0.5, 1.0, 2.0], [(20, 30), (10, 15)], (160, 240))]
    [1800, 450]
    """
    op = "fpn_anchors"
    maps = [_check.size_of_map(op, "map_sizes", x) for x in _check.items(op, "map_sizes", map_sizes)]
    levels = _check.items(op, "sizes", sizes)
    ratios = _check.items(op, "aspect_ratios", aspect_ratios)
    if not _check.listed(ratios[0]):
        ratios = [ratios] * len(levels)
    for name, x in (("sizes", levels), ("aspect_ratios", ratios)):
        if len(x) != len(maps):
            raise ValueError(f"{op}: {name} must have one entry for each of the {len(maps)} maps, got {len(x)}")
    height, width = check.pair(op, "image_size", image_size, 1)
    anchors = []
    for side, ratio, (rows, columns) in zip(levels, ratios, maps, strict=True):
        stride = height // max(rows, 1), width // max(columns, 1)
        if min(stride) < 1:
            raise ValueError(f"{op}: map_sizes must be at most the image's {height} x {width}, got {rows} x {columns}")
        anchors.append(_on_grid(op, _around(op, side, ratio), (rows, columns), stride))
    return anchors


def ssd_default_boxes(
    map_sizes: Any,
    aspect_ratios: Any,
    image_size: Any = None,
    *,
    scales: Any = None,
    steps: Any = None,
    min_ratio: float = 0.15,
    max_ratio: float = 0.9,
    clip: bool = True,
) -> Array:
    """SSD's default boxes (priors).

    Parameters
    ----------
    map_sizes : (H, W) of each feature map, or one integer for both
    aspect_ratios : a list of numbers for each map; each is used as width : height and as height : width
    image_size : (height, width), pixels; used only with ``steps``
    scales : sides of the boxes of ratio 1, fractions of the image: one for each map and one more, since a map's second
        box has the geometric mean of its scale and the next one. None: evenly from min_ratio to max_ratio, then 1
    steps : pixels of the image between neighbours of a map, one number for each map; None: the image divided by the map
    clip : limit widths and heights to [0, 1]

    Returns
    -------
    boxes : (N, 4) float32, cx cy w h, fractions of the image; the order is map by map, row by row, cell by cell; in a
        cell the two boxes of ratio 1 come first

    Raises
    ------
    TypeError   kind of a number
    ValueError  range, lists of different lengths

    Notes
    -----
    Equal to torchvision's `DefaultBoxGenerator` before its boxes become pixels, bit for bit.
    Source: Liu et al., "SSD: Single Shot MultiBox Detector", 2015, section 2.2.

    Examples
    --------
    >>> ssd_default_boxes([2, 1], [[2], [2]], scales=[0.25, 0.5, 1.0]).shape
    (20, 4)
    """
    op = "ssd_default_boxes"
    maps = [_check.size_of_map(op, "map_sizes", x) for x in _check.items(op, "map_sizes", map_sizes)]
    ratios = [_positives_or_none(op, x) for x in _check.items(op, "aspect_ratios", aspect_ratios)]
    if len(ratios) != len(maps):
        raise ValueError(f"{op}: aspect_ratios must have one entry for each of the {len(maps)} maps, got {len(ratios)}")
    sides = _scales(op, len(maps), scales, min_ratio, max_ratio)
    if sum(h * w * (2 + 2 * len(r)) for (h, w), r in zip(maps, ratios, strict=True)) > check.MAX_COUNT:
        raise ValueError(f"{op}: map_sizes must give at most {check.MAX_COUNT} boxes")
    cells: list[tuple[float, float]] = [(float(h), float(w)) for h, w in maps]
    size = None if image_size is None else check.pair(op, "image_size", image_size, 1)
    if steps is not None:
        pixels = _check.positives(op, "steps", steps)
        if len(pixels) != len(maps):
            raise ValueError(f"{op}: steps must have one entry for each of the {len(maps)} maps, got {len(pixels)}")
        if size is None:
            raise ValueError(f"{op}: image_size must be given with steps, got None")
        height, width = size
        cells = [(height / step, width / step) for step in pixels]
    return np.concatenate(
        [_default_boxes(op, *level, clip) for level in zip(maps, cells, ratios, itertools.pairwise(sides), strict=True)]
    )


def _positives_or_none(op: str, x: Any) -> list[float]:
    """Ratios of one map; a map may have none but 1."""
    return [] if _check.listed(x) and not len(x) else _check.positives(op, "aspect_ratios", x)


def _scales(op: str, count: int, scales: Any, min_ratio: float, max_ratio: float) -> list[float]:
    if scales is None:
        low, high = check.positive(op, "min_ratio", min_ratio), check.positive(op, "max_ratio", max_ratio)
        if count == 1:
            return [low, high]
        step = high - low
        return [*(low + step * k / (count - 1.0) for k in range(count)), 1.0]
    values = _check.positives(op, "scales", scales)
    if len(values) != count + 1:
        raise ValueError(f"{op}: scales must be {count + 1} numbers, one more than maps, got {len(values)}")
    return values


def _default_boxes(
    op: str,
    map_size: tuple[int, int],
    cells: tuple[float, float],
    ratios: list[float],
    scales: tuple[float, float],
    clip: bool,
) -> Array:
    """The boxes of one map."""
    scale = scales[0]
    between = math.sqrt(scale * scales[1])
    shapes = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    with np.errstate(over="ignore"):
        sides = np.array(shapes).astype(_SINGLE)
    if not np.isfinite(sides).all():
        raise ValueError(f"{op}: scales and aspect_ratios must give sides that float32 holds, got infinite ones")
    boxes = check.empty(op, (*map_size, len(shapes), 4), _SINGLE)
    down, across = (
        (np.arange(count, dtype=_SINGLE) + _SINGLE.type(0.5)) / _SINGLE.type(whole)
        for count, whole in zip(map_size, cells, strict=True)
    )
    boxes[..., 0] = across[None, :, None]
    boxes[..., 1] = down[:, None, None]
    boxes[..., 2:] = np.clip(sides, 0, 1) if clip else sides
    return boxes.reshape(-1, 4)
