"""Large images through networks whose result is smaller than their input: U-Net's overlap-tile strategy."""

from __future__ import annotations

from typing import Any

from fastdet._core import check
from fastdet.inference._images import Image, Place, Result, check_run, grid
from fastdet.inference._models import Progress, as_given, function_of, only, reporting


def overlap_tile(
    model: Any,
    image: Any,
    tile: Any,
    margin: Any,
    mode: str = "mirror",
    *,
    step: Any = None,
    batch_size: int = 1,
    channels_last: bool = False,
    out: Any = None,
    prefetch: int = 2,
    progress: Progress = None,
) -> Any:
    """A dense map of an image of any size, tile by tile, each computed with the margin around it that it needs.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), ONNX Runtime session, or
        function. From a batch (n, C, h, w) with h, w = tile + 2 margin it makes (n, K, h', w') or (n, h', w'), where
        h', w' are the tile's (valid convolutions), h, w (padded ones) or between; what is more than the tile is cut
        off, alike on both sides
    image : (C, H, W) or (H, W), then C = 1: a tensor, a NumPy array or memmap, or anything like zarr's arrays
    tile : int or (height, width), pixels of the result that one call makes
    margin : int or (height, width), pixels of context on every side; U-Net's 572 -> 388 is tile 388, margin 92
        (bilinear upsampling sees further: ``UNet.tiling`` has tile, margin and step with which the result is exact)
    mode : what stands beyond the image: "mirror" (the border's pixels are not repeated), "edge" or "zero"
    step : int or (height, width) from tile to tile, at most tile; None is tile. A network that pools sees its grid
        move with the tile unless the step is a multiple of its total stride: for U-Net's tiles of 388, 384
    batch_size : tiles of one call of the model, the last ones may be fewer
    channels_last : image, batches and result are (H, W, C)
    out : array of the result's shape, of a dtype that holds the model's values, which receives it: a memmap, zarr, ...
    prefetch : batches cut from the image in a thread while the model computes; 0 for none
    progress : True for a bar on stderr (needs rich), or a function that is called with (tiles done, tiles in all)

    Returns
    -------
    map : (K, H, W) or (H, W) of the model's dtype, a tensor on the image's device or a NumPy array; ``out`` itself
        where given

    Raises
    ------
    TypeError   kind of model, image or out
    ValueError  shape, range, a model whose result is neither a tile nor a tile with its margin

    Notes
    -----
    Every pixel is computed once, or, where the step is below the tile, taken from the first tile that has it; so the
    result does not depend on batch_size as far as the model's does not. Tiles of a module run on its own device.
    Memory: prefetch + 2 batches of input and one of output, besides what image and out keep in memory themselves.
    Source: lecture, "U-Net"; Ronneberger et al., "U-Net", 2015, figure 2.
    """
    op = "overlap_tile"
    source = Image(op, image, bool(channels_last))
    size = check.pair_of_sizes(op, "tile", tile)
    around = check.pair(op, "margin", margin, 0)
    each = size if step is None else check.pair_of_sizes(op, "step", step)
    if each[0] > size[0] or each[1] > size[1]:
        raise ValueError(f"{op}: step must be at most tile {size}, got {each}")
    batch_size, prefetch = check_run(op, mode, batch_size, prefetch)
    function, result = function_of(op, model), Result(source, out)
    rows, columns, places = grid(source.size, size, each, inside=False)
    whole = size[0] + 2 * around[0], size[1] + 2 * around[1]
    wider = [Place(p.y - around[0], p.x - around[1], p.row, p.column) for p in places]
    with reporting(op, progress, len(places)) as advance:
        for group, batch in source.batches(wider, whole, mode, batch_size, prefetch):
            made = as_given(op, only(op, function(batch)), source.data if source.tensor else batch)
            made = _core(op, made, len(group), size, whole, source.last)
            for place, piece in zip(group, made, strict=True):
                if step is not None:  # the tiles to the right and below go on from here
                    height = size[0] if place.row == len(rows) - 1 else each[0]
                    width = size[1] if place.column == len(columns) - 1 else each[1]
                    piece = _part(piece, 0, height, 0, width, source.last)
                result.write(place.y + around[0], place.x + around[1], piece)
            advance(len(group))
    return result.out


def _core(op: str, made: Any, count: int, size: tuple[int, int], whole: tuple[int, int], last: bool) -> Any:
    """The tiles of a batch that a model made, without their margins."""
    if made.ndim not in (3, 4) or made.shape[0] != count:
        kind = "(n, h, w, K)" if last else "(n, K, h, w)"
        raise ValueError(f"{op}: model must give {kind} or (n, h, w) with n = {count}, got {tuple(made.shape)}")
    got = tuple(made.shape[1:3] if last or made.ndim == 3 else made.shape[2:])
    if got == size:
        return made
    beyond = [side - tile for side, tile in zip(got, size, strict=True)]
    if any(more < 0 or more % 2 or side > most for more, side, most in zip(beyond, got, whole, strict=True)):
        raise ValueError(
            f"{op}: model must make {size} to {whole} of a tile of {whole} with its margin, and as much more than "
            f"{size} on one side as on the other, got {got}"
        )
    y, x = (more // 2 for more in beyond)
    return _part(made, y, y + size[0], x, x + size[1], last, batch=True)


def _part(x: Any, top: int, bottom: int, left: int, right: int, last: bool, batch: bool = False) -> Any:
    rows, columns = slice(top, bottom), slice(left, right)
    if x.ndim == 2 + batch:
        return x[..., rows, columns]
    return x[..., rows, columns, :] if last else x[..., rows, columns]
