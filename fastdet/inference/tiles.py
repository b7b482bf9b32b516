"""U-Net's overlap-tile strategy: large images through networks whose result is smaller than their input."""

from __future__ import annotations

from typing import Any

from fastdet._core import check
from fastdet.inference._images import Image, Place, Result, check_run, grid
from fastdet.inference._models import Progress, function_of, reporting, single_array, to_kind_of


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
    """Compute a dense map of an image of any size, tile by tile; each tile is computed with a margin around it.

    Parameters
    ----------
    model : torch module (as it is: call ``eval()`` first; a UserWarning in train mode), program of torch.export, ONNX
        Runtime session, or function. It maps a batch (n, C, h, w) with h, w = tile + 2 margin to (n, K, h', w') or
        (n, h', w'). h', w' are the tile's size (valid convolutions), h, w (padded convolutions) or between; what
        exceeds the tile is cut off, the same on both sides
    image : (C, H, W) or (H, W), then C = 1: a tensor, a NumPy array or memmap, or an array such as zarr's
    tile : int or (height, width), pixels of the result of one call
    margin : int or (height, width), pixels of context on every side; U-Net's 572 -> 388 is tile 388, margin 92
        (bilinear upsampling needs more: ``UNet.tiling`` has the tile, margin and step that make the result exact)
    mode : fills the margin beyond the image: "mirror" (border pixels are not repeated), "edge" or "zero"
    step : int or (height, width) from tile to tile, at most tile; None is tile. For a network that pools, a multiple
        of its total stride, or its pooling grid moves with each tile: 384 for U-Net's tiles of 388
    batch_size : tiles of one call of the model; the last call may have fewer
    channels_last : image, batches and result are (H, W, C)
    out : array that receives the result (a memmap, a zarr array, ...), of its shape and of a dtype that holds the
        model's values
    prefetch : batches to cut from the image in a thread while the model computes; 0 for none
    progress : True for a bar on stderr (needs rich), or a function that is called with (tiles done, tiles in all)

    Returns
    -------
    map : (K, H, W) or (H, W) of the model's dtype, a tensor on the image's device or a NumPy array; or ``out``

    Raises
    ------
    TypeError   kind of model, image or out
    ValueError  shape, range, a model whose result is smaller than a tile or larger than a tile with its margin

    Notes
    -----
    Every pixel is computed once. Where the step is below the tile, a pixel comes from the first tile that holds it. So
    the result does not depend on batch_size, provided that the model's does not. A torch module runs on its own
    device. Memory: prefetch + 2 batches of input and one of output, besides image and out themselves.
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
            output = to_kind_of(op, single_array(op, function(batch)), source.data if source.tensor else batch)
            tiles = _without_margins(op, output, len(group), size, whole, source.channels_last)
            for place, piece in zip(group, tiles, strict=True):
                if step is not None:  # the tiles to the right and below give the rest
                    height = size[0] if place.row == len(rows) - 1 else each[0]
                    width = size[1] if place.column == len(columns) - 1 else each[1]
                    piece = _part(piece, 0, height, 0, width, source.channels_last)
                result.write(place.y + around[0], place.x + around[1], piece)
            advance(len(group))
    return result.out


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
