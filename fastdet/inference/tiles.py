"""U-Net's overlap-tile strategy: large images through networks whose result is smaller than their input."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import check
from fastdet._core.check import Array
from fastdet.inference._images import Image, Place, Result, check_run, grid
from fastdet.inference._models import Progress, function_of, reporting, to_kind_of
from fastdet.inference._outputs import Outputs, maps_of


def overlap_tile(
    model: Any,
    image: Any,
    tile: Any,
    margin: Any,
    mode: str = "mirror",
    *,
    step: Any = None,
    batch_size: int = 1,
    channels_last: bool | None = None,
    out: Any = None,
    prefetch: int = 2,
    progress: Progress = None,
) -> Any:
    """Compute a dense map of an image of any size, tile by tile; each tile is computed with a margin around it.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), program of torch.export, ONNX
        Runtime session, or function. It maps a batch (n, C, h, w) with h, w = tile + 2 margin to (n, K, h', w') or
        (n, h', w'). h', w' are the tile's size (valid convolutions), h, w (padded convolutions) or between; what
        exceeds the tile is cut off, the same on both sides. A dictionary or tuple of such maps gives one of results
    image : (C, H, W) or (H, W), then C = 1: a tensor, a NumPy array or memmap, or an array such as zarr's
    tile : int or (height, width), pixels of the result of one call
    margin : int or (height, width), pixels of context on every side; U-Net's 572 -> 388 is tile 388, margin 92
        (bilinear upsampling needs more: ``UNet.tiling`` has the tile, margin and step that make the result exact)
    mode : fills the margin beyond the image: "mirror" (border pixels are not repeated), "edge" or "zero"
    step : int or (height, width) from tile to tile, at most tile; None is tile. For a network that pools, a multiple
        of its total stride, or its pooling grid moves with each tile: 384 for U-Net's tiles of 388
    batch_size : tiles of one call of the model; the last call may have fewer
    channels_last : True: image, batches and result are (H, W, C). None: they are not, and an image that looks like a
        picture (H, W, 3) is refused, which False takes as H channels
    out : array that receives the result (a memmap, a zarr array, ...), of its shape and of a dtype that holds the
        model's values; a dictionary or tuple of arrays where the model gives one
    prefetch : batches to cut from the image in a thread while the model computes; 0 for none
    progress : True for a bar on stderr (needs rich), or a function that is called with (tiles done, tiles in all)

    Returns
    -------
    map : (K, H, W) or (H, W) of the model's dtype, a tensor on the image's device or a NumPy array; or ``out``; or a
        dictionary or tuple of maps, as the model gives them

    Raises
    ------
    TypeError   kind of model, image or out
    ValueError  shape, range, a picture (H, W, 3) without channels_last, a model whose result is smaller than a tile or
        larger than a tile with its margin, or has other maps than before

    Notes
    -----
    A network whose outputs depend on the whole image (global pooling, attention, ...) is not equal to the whole image's
    result: `tiling_error` tells. Every pixel is computed once. Where the step is below the tile, a pixel comes from the
    first tile that holds it. So the result does not depend on batch_size, provided that the model's does not. A torch
    module runs on its own device. Memory: prefetch + 2 batches of input and one of output, besides image and out
    themselves.
    Source: lecture, "U-Net"; Ronneberger et al., "U-Net", 2015, figure 2.

    Examples
    --------
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> shift = lambda batch: batch[:, 0, 1:-1, :-2]  # each pixel's left neighbour: needs a margin of 1
    >>> overlap_tile(shift, image, 2, 1)
    array([[ 1.,  0.,  1.,  2.],
           [ 5.,  4.,  5.,  6.],
           [ 9.,  8.,  9., 10.]])
    """
    op = "overlap_tile"
    source = Image(op, image, channels_last)
    size = check.pair_of_sizes(op, "tile", tile)
    around = check.pair(op, "margin", margin, 0)
    each = size if step is None else check.pair_of_sizes(op, "step", step)
    if each[0] > size[0] or each[1] > size[1]:
        raise ValueError(f"{op}: step must be at most tile {size}, got {each}")
    batch_size, prefetch = check_run(op, mode, batch_size, prefetch)
    function, results = function_of(op, model), Outputs(op, out, lambda x: Result(source, x))
    rows, columns, places = grid(source.size, size, each, inside=False)
    whole = size[0] + 2 * around[0], size[1] + 2 * around[1]
    wider = [Place(p.y - around[0], p.x - around[1], p.row, p.column) for p in places]
    with reporting(op, progress, len(places)) as advance:
        for group, batch in source.batches(wider, whole, mode, batch_size, prefetch):
            for result, output in results.each(function(batch)):
                output = to_kind_of(op, output, source.data if source.tensor else batch)
                tiles = _without_margins(op, output, len(group), size, whole, source.channels_last)
                for place, piece in zip(group, tiles, strict=True):
                    if step is not None:  # the tiles to the right and below give the rest
                        height = size[0] if place.row == len(rows) - 1 else each[0]
                        width = size[1] if place.column == len(columns) - 1 else each[1]
                        piece = _part(piece, 0, height, 0, width, source.channels_last)
                    result.write(place.y + around[0], place.x + around[1], piece)
            advance(len(group))
    return results.result([result.out for result in results.writers])


def tiling_error(
    model: Any,
    image: Any,
    tile: Any = None,
    margin: Any = None,
    mode: str = "mirror",
    *,
    step: Any = None,
    batch_size: int = 1,
    channels_last: bool | None = None,
) -> float:
    """How far `overlap_tile` is from the whole image's result: the largest absolute difference of a value.

    Parameters
    ----------
    model, image, mode, batch_size, channels_last : as in `overlap_tile`; the model takes the whole image, with its
        margin, in one call, so choose a small image (a few tiles)
    tile, margin, step : as in `overlap_tile`. None: for a model with a ``tiling`` method (`fastdet.models.UNet`) as
        that says, else a tile of about half the image, a margin of about half a tile, both multiples of 32, which is
        the total stride of most networks (not in images of up to 32 pixels)

    Returns
    -------
    difference : in units of the model's output, over all of its maps. 0, or what rounding leaves, where tiles do not
        show; more where they do

    Raises
    ------
    TypeError, ValueError   as `overlap_tile`; a tile as large as the image

    Notes
    -----
    A network is equal in tiles where each output depends on pixels within the margin alone. It is not with global
    pooling, attention over the image, squeeze-and-excitation or instance normalisation, whatever the margin; nor with a
    margin below its receptive field's half, or with a step that is no multiple of its total stride.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((1, 96, 96))
    >>> tiling_error(lambda x: x * 2, image), tiling_error(lambda x: x - x.mean((2, 3), keepdims=True), image) > 0.001
    (0.0, True)
    """
    op = "tiling_error"
    source = Image(op, image, channels_last)
    side, all_at_once = max(source.size), source.size
    if (
        tile is None
        and margin is None
        and step is None
        and hasattr(model, "tiling")
        and not getattr(model, "padded", False)
    ):
        tiling = model.tiling(-(-side // 2))
        tile, margin, step = tiling["tile"], tiling["margin"], tiling["step"]
        all_at_once = (model.tiling(side)["tile"],) * 2  # a side that the model takes
    if tile is None:
        tile = tuple(max(32, -(-length // 64) * 32) for length in source.size)
        if all(length <= 32 for length in source.size):
            tile = tuple(-(-length // 2) for length in source.size)
    if margin is None:
        margin = tuple(max(32, length // 64 * 32) for length in check.pair_of_sizes(op, "tile", tile))
    height, width = check.pair_of_sizes(op, "tile", tile)
    if height >= source.size[0] and width >= source.size[1]:
        raise ValueError(f"{op}: tile must be smaller than the image, {source.size}, got {(height, width)}")
    options: Any = {"mode": mode, "channels_last": source.channels_last}
    whole = overlap_tile(model, image, all_at_once, margin, **options)
    tiled = overlap_tile(model, image, tile, margin, step=step, batch_size=batch_size, **options)
    pairs = zip(maps_of(op, whole, "model")[1], maps_of(op, tiled, "model")[1], strict=True)
    return max(_difference(to_kind_of(op, x, None), to_kind_of(op, y, None)) for x, y in pairs)


def _difference(x: Array, y: Array) -> float:
    """The largest absolute difference; infinities and NaN that both have do not count."""
    if not x.size:
        return 0.0
    same = (x == y) | ((x != x) & (y != y))
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.where(same, 0.0, np.abs(x.astype(np.float64) - y)).max())


def _without_margins(
    op: str, output: Any, count: int, size: tuple[int, int], whole: tuple[int, int], channels_last: bool
) -> Any:
    """A model's output for a batch of tiles, without their margins."""
    if output.ndim not in (3, 4) or output.shape[0] != count:
        shape = "(n, h, w, K)" if channels_last else "(n, K, h, w)"
        raise ValueError(f"{op}: model must give {shape} or (n, h, w) with n = {count}, got {tuple(output.shape)}")
    got = tuple(output.shape[1:3] if channels_last or output.ndim == 3 else output.shape[2:])
    if got == size:
        return output
    excess = [side - tile for side, tile in zip(got, size, strict=True)]
    if any(extra < 0 or extra % 2 or side > limit for extra, side, limit in zip(excess, got, whole, strict=True)):
        raise ValueError(
            f"{op}: model must give maps of {size} to {whole} pixels, larger than {size} by the same on both sides, "
            f"got {got}"
        )
    y, x = (extra // 2 for extra in excess)
    return _part(output, y, y + size[0], x, x + size[1], channels_last, batch=True)


def _part(x: Any, top: int, bottom: int, left: int, right: int, channels_last: bool, batch: bool = False) -> Any:
    """Rows and columns of a map, or of a batch of maps."""
    rows, columns = slice(top, bottom), slice(left, right)
    if x.ndim == 2 + batch:
        return x[..., rows, columns]
    return x[..., rows, columns, :] if channels_last else x[..., rows, columns]
