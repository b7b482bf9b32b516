"""The boundary of masks: what their erosion takes away."""

from __future__ import annotations

import numpy as np

from fastdet._core import backends, check
from fastdet._core.check import Array
from fastdet.masks._check import check_rle
from fastdet.masks.dense import encode_reference
from fastdet.masks.rle import RLE, Counts, Ints, new_rle


def boundary(rle: RLE, dilation: float = 0.02, *, backend: str | None = None) -> RLE:
    """The boundary of each mask: its pixels that are near a pixel outside.

    Parameters
    ----------
    rle : N masks, of any sizes
    dilation : float, 0 or more; how wide the boundary is, as a part of the image's diagonal

    Returns
    -------
    rle : `RLE` of N masks, as few runs as possible

    Raises
    ------
    TypeError   rle is no `RLE`, dilation is no number
    ValueError  dilation is below 0 or not finite

    Notes
    -----
    The width is ``d = max(1, round(dilation * sqrt(H * H + W * W)))`` pixels, half rounded to even. A pixel of the mask
    belongs to the boundary where a pixel at most d rows and d columns away is 0 or outside of the image. So the mask
    is split in its boundary and its erosion by a 3 x 3 kernel, d times. The rule is that of boundary IoU,
    https://arxiv.org/abs/2103.16562.

    Examples
    --------
    >>> decode(boundary(encode(np.ones((4, 5), bool))))[0]
    array([[1, 1, 1, 1, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 1, 1, 1, 1]], dtype=uint8)
    """
    op = "boundary"
    check_rle(op, "rle", rle)
    part = check.non_negative(op, "dilation", dilation)
    kernel = backends.choose("rle_boundary", backend, rle_boundary_reference)
    counts, offsets = kernel(rle.counts, rle.offsets, rle.sizes, boundary_widths(rle.sizes, part))
    return new_rle(rle.sizes, counts, offsets)


def boundary_widths(sizes: Ints, dilation: float) -> Ints:
    """The width of the boundary of masks of some sizes, in pixels; no more than the longer side."""
    sides = sizes.astype(np.float64)
    with np.errstate(over="ignore"):
        wide = np.rint(dilation * np.sqrt(sides[:, 0] * sides[:, 0] + sides[:, 1] * sides[:, 1]))
    out: Ints = np.maximum(np.minimum(wide, sides.max(1, initial=0)), 1).astype(np.int64)
    return out


def rle_boundary_reference(counts: Counts, offsets: Ints, sizes: Ints, widths: Ints) -> tuple[Counts, Ints]:
    """Counts and offsets. sizes : (N, 2), widths : (N,) int64, 1 or more"""
    made, bounds = [np.zeros(0, np.uint32)], [0]
    for i, (height, width) in enumerate(sizes.tolist()):
        runs = counts[offsets[i] : offsets[i + 1]]
        flat = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs)
        mask = flat.reshape(width, height).T
        inner = _eroded(_eroded(mask, int(widths[i])).T, int(widths[i])).T
        found = encode_reference((mask & ~inner & 1)[None])
        assert found is not None
        made.append(found[0])
        bounds.append(bounds[-1] + len(found[0]))
    return np.concatenate(made), np.array(bounds, np.int64)


def _eroded(mask: Array, d: int) -> Array:
    """Down the columns: where the d pixels above, the pixel and the d pixels below are ones of the mask."""
    d = min(d, len(mask))
    ones = np.cumsum(np.pad(mask, ((d + 1, d), (0, 0))), axis=0, dtype=np.int64)
    out: Array = (ones[2 * d + 1 :] - ones[: -2 * d - 1] == 2 * d + 1).astype(np.uint8)
    return out
