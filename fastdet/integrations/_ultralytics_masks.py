"""Masks of Ultralytics' segmentation heads, computed by fastdet. Imported when Ultralytics is.

torch multiplies coefficients and prototypes, as before; fastdet resamples the sums inside of the boxes alone. It does
not round as torch does, so pixels whose value is that near to 0 are computed again: all pixels are equal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fastdet._core import backends
from fastdet._core.check import Array
from fastdet.integrations._replace import fall_back
from fastdet.integrations._ultralytics_nms import is_plain
from fastdet.masks.paste import process_mask_reference
from fastdet.upsample import upsample_bilinear

UNIT = 2.0**-24  # of rounding to float32
SMALL = 256  # height plus width up to which torch may take another path, and is quick
CHUNK = 128  # masks of one call
Letterbox = tuple[int, int, int, int, int]  # factor, top, left, height, width
Size = tuple[int, int]


def functions(ops: Any) -> dict[str, Callable[..., Any]]:
    """The new functions, by name, for ``ultralytics.utils.ops``; calls that they do not compute go to its own."""
    own_mask, own_native, own_scale = ops.process_mask, ops.process_mask_native, ops.scale_masks
    plain_native = _with_globals(own_native, scale_masks=own_scale)  # rounds as before, whatever is replaced
    quick_scale = _with_globals(own_scale, F=_Functional(_interpolate))
    letterbox = _Letterboxes(own_native, own_scale)

    @functools.wraps(own_mask)
    def process_mask(protos: Any, masks_in: Any, bboxes: Any, shape: Any, upsample: bool = False) -> Any:
        size, masks = _size(shape), None
        logits = None if size is None else _logits("process_mask", protos, masks_in, bboxes)
        if size is not None and logits is not None:
            height, width = logits.shape[1:]
            if upsample:
                masks = _resampled(logits, bboxes, size, (1, 0, 0, height, width))
            else:
                across, down = width / size[1], height / size[0]
                boxes = bboxes * torch.tensor([[across, down, across, down]])
                masks = _at_low_size(logits, boxes)
        return own_mask(protos, masks_in, bboxes, shape, upsample) if masks is None else masks

    @functools.wraps(own_native)
    def process_mask_native(protos: Any, masks_in: Any, bboxes: Any, shape: Any) -> Any:
        size, masks = _size(shape), None
        logits = None if size is None else _logits("process_mask_native", protos, masks_in, bboxes)
        if size is not None and logits is not None:
            box = letterbox(logits.shape[1:], size)
            masks = None if box is None else _resampled(logits, bboxes, size, box)
        return plain_native(protos, masks_in, bboxes, shape) if masks is None else masks

    @functools.wraps(own_scale)
    def scale_masks(masks: Any, shape: Any, ratio_pad: Any = None, padding: bool = True, mode: str = "bilinear") -> Any:
        # integers are often rounded afterwards: the last bit matters there
        quick = mode == "bilinear" and is_plain("scale_masks", masks)
        return (quick_scale if quick else own_scale)(masks, shape, ratio_pad, padding, mode)

    return {"process_mask": process_mask, "process_mask_native": process_mask_native, "scale_masks": scale_masks}


def _with_globals(function: Any, **names: Any) -> Callable[..., Any]:
    """The same function, which finds these global names instead of its module's."""
    made = FunctionType(function.__code__, {**function.__globals__, **names}, None, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class _Functional:
    """`torch.nn.functional` with another `interpolate`."""

    def __init__(self, interpolate: Callable[..., Any]) -> None:
        self.interpolate = interpolate

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)


def _interpolate(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **options: Any) -> Any:
    given = _size(size)
    fits = mode == "bilinear" and scale_factor is None and not options and given is not None
    if fits and x.dtype == torch.float32 and x.ndim == 4 and x.numel() and math.isfinite(x.sum()):
        return upsample_bilinear(x.contiguous(), given)
    return F.interpolate(x, size, scale_factor, mode, **options)


class _Letterboxes:
    """Which part of the prototypes `process_mask_native` resamples: seen by running it on a mask of zeros."""

    def __init__(self, native: Any, scale: Any) -> None:
        self.native, self.scale = native, scale
        self._find = functools.lru_cache(256)(self._run)

    def __call__(self, prototypes: Any, size: Size) -> Letterbox | None:
        return self._find(tuple(prototypes), size)

    def _run(self, prototypes: Size, size: Size) -> Letterbox | None:
        calls: list[tuple[Any, Any]] = []

        def interpolate(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest") -> Any:
            calls.append((x, scale_factor))
            height, width = size or (int(n * scale_factor) for n in x.shape[2:])
            return torch.zeros((1, 1, height, width), dtype=torch.float32) if mode == "bilinear" else None

        seen = _Functional(interpolate)
        native = _with_globals(self.native, F=seen, scale_masks=_with_globals(self.scale, F=seen))
        shapes = (1, *prototypes), (1, 1), (1, 4)
        native(*(torch.zeros(shape, dtype=torch.float32) for shape in shapes), size)
        factor = int(calls[0][1] or 1) if calls else 1
        if len(calls) != 1 + (factor > 1):
            return None
        part = calls[-1][0]
        top, left = divmod(part.storage_offset(), prototypes[1] * factor)
        fits = 0 not in part.shape and part.stride()[2:] == (prototypes[1] * factor, 1)
        return (factor, top, left, part.shape[2], part.shape[3]) if fits else None


def _size(shape: Any) -> Size | None:
    """Height and width; None for what the framework's own function is to judge."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2 or not all(type(x) is int and x > 0 for x in shape):
        return None
    return shape[0], shape[1]


def _logits(name: str, protos: Any, masks_in: Any, bboxes: Any) -> Any:
    """(N, h, w) sums of coefficients times prototypes, float32; None where fastdet does not take them."""
    if not is_plain(name, protos, masks_in, bboxes) or (protos.ndim, masks_in.ndim, bboxes.ndim) != (3, 2, 2):
        return None
    count, channels = masks_in.shape
    if len(protos) != channels or bboxes.shape != (count, 4) or 0 in (count, *protos.shape):
        return None
    single = masks_in.dtype == torch.float32 and bboxes.dtype in (torch.float32, torch.float64)
    if not single or not protos.is_contiguous():
        return None
    if not bool(bboxes.isfinite().all()):
        fall_back("ultralytics", name, "boxes that are not finite")
        return None
    return (masks_in @ protos.float().view(channels, -1)).view(count, *protos.shape[1:])


def _pixels(boxes: Any, size: Size) -> list[tuple[slice, slice]]:
    """Rows and columns of each box: their number is at least its lower edge, and below its upper one."""
    height, width = size
    edges = np.ceil(boxes.double().numpy()).clip(0, [width, height, width, height]).astype(np.int64).tolist()
    return [(slice(y1, max(y1, y2)), slice(x1, max(x1, x2))) for x1, y1, x2, y2 in edges]


def _at_low_size(logits: Any, boxes: Any) -> Any:
    """(N, h, w) uint8: 1 where the value is above 0 and the pixel is in the box."""
    masks = torch.zeros(logits.shape, dtype=torch.uint8)
    to, values = masks.numpy().view(np.bool_), logits.numpy()
    for i, (rows, columns) in enumerate(_pixels(boxes, logits.shape[1:])):
        np.greater(values[i, rows, columns], 0, out=to[i, rows, columns])
    return masks


def _resampled(logits: Any, boxes: Any, size: Size, letterbox: Letterbox) -> Any:
    """(N, H, W) uint8 masks of the part ``letterbox`` of the logits; None where torch is quick, or values infinite."""
    if sum(size) <= SMALL:
        return None
    flat = logits.numpy().reshape(len(logits), -1)
    largest = np.maximum(flat.max(1), -flat.min(1))
    if not np.isfinite(largest).all():
        fall_back("ultralytics", "process_mask", "values that are not finite")
        return None
    factor = letterbox[0]
    step = CHUNK if factor == 1 else max(CHUNK // (4 * factor**2), 1)
    if len(logits) <= step:
        return torch.from_numpy(_resample(logits, boxes, size, letterbox, largest))
    masks = torch.zeros((len(logits), *size), dtype=torch.uint8)
    whole, pixels = masks.numpy(), _pixels(boxes, size)
    for start in range(0, len(logits), step):
        part = slice(start, start + step)
        some = _resample(logits[part], boxes[part], size, letterbox, largest[part])
        for to, mask, (rows, columns) in zip(whole[part], some, pixels[part], strict=True):
            to[rows, columns] = mask[rows, columns]
    return masks


def _resample(logits: Any, boxes: Any, size: Size, letterbox: Letterbox, largest: Array) -> Array:
    """The same for a few masks. ``largest`` absolute value of each.

    fastdet rounds positions to float64, torch to float32; where the ratio is a power of two both are exact. Pixels
    whose value is near 0 are computed again: with torch's weights, and by torch itself where rounding decides.
    """
    factor, top, left, height, width = letterbox
    count = len(logits)
    planes = torch.empty((count + 1, height, width), dtype=torch.float32)  # and a plane of 1, for the margin
    whole = upsample_bilinear(logits, scale_factor=factor) if factor > 1 else logits
    planes[:count], planes[count] = whole[:, top : top + height, left : left + width], 1
    exact = _is_power_of_two(size[0], height) and _is_power_of_two(size[1], width)
    margin = largest * np.float32(UNIT * (8 if exact else 8 + 4 * (height + width))) + np.float32(1e-30)
    values, corners = planes.numpy(), boxes.double().numpy()
    kernel: Any = backends.choose("process_mask", None, process_mask_reference, values)

    def masks_above(level: Any, out: str) -> Array:
        coefficients = np.zeros((count, count + 1), np.float32)
        np.fill_diagonal(coefficients, 1)
        coefficients[:, count] = -level
        found: Array = kernel(values, coefficients, corners, *size, out)
        return found

    masks = masks_above(0, "dense")
    where = _different(masks_above(margin, "bits"), masks_above(-margin, "bits"))
    if len(where[0]):
        _correct(masks, where, values, logits, size, letterbox, largest)
    return masks


def _different(low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Mask, row and column of the bits that are not equal."""
    flat, other = low.reshape(-1), high.reshape(-1)
    long = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:long].view(np.uint64) != other[:long].view(np.uint64))
    places = np.concatenate([(words[:, None] * 8 + np.arange(8)).ravel(), np.arange(long, len(flat))])
    which, bit = np.nonzero(np.unpackbits((flat[places] ^ other[places])[:, None], axis=1, bitorder="little"))
    mask, row, byte = np.unravel_index(places[which], low.shape)
    return mask, row, byte * 8 + bit


def _correct(
    masks: Array,
    where: tuple[Array, Array, Array],
    planes: Array,
    logits: Any,
    size: Size,
    letterbox: Letterbox,
    largest: Array,
) -> None:
    """Compute the pixels ``where`` as torch does."""
    mask, row, column = where
    factor, _, _, height, width = letterbox
    (y, lower, upper), (x, before, after) = weights(height, size[0]), weights(width, size[1])
    y2, x2 = np.minimum(y + 1, height - 1), np.minimum(x + 1, width - 1)
    taps = [planes[mask, rows[row], columns[column]].astype(np.float64) for rows in (y, y2) for columns in (x, x2)]
    lines = [a * before[column] + b * after[column] for a, b in (taps[:2], taps[2:])]
    values = lines[0] * lower[row] + lines[1] * upper[row]
    masks[where] = values > 0
    local = largest[mask] if factor > 1 else np.abs(taps).max(0)
    unsure = np.abs(values) <= local * (UNIT * 8 * factor) + 1e-30
    for i in np.unique(mask[unsure]).tolist():
        mine = unsure & (mask == i)
        at = row[mine], column[mine]
        masks[i][at] = _by_torch(logits[i], size, letterbox)[at] > 0


@functools.lru_cache(64)
def weights(values: int, pixels: int) -> tuple[Array, Array, Array]:
    """For each pixel of an axis: the first of its two values, and torch's weights of both."""
    one_each = torch.eye(values, dtype=torch.float32).view(1, values, 1, values)
    table = F.interpolate(one_each, (1, pixels), mode="bilinear")[0, :, 0].double().numpy()
    first = np.minimum((table != 0).argmax(0), max(values - 2, 0))
    column = np.arange(pixels)
    second = np.minimum(first + 1, values - 1)
    return first, table[first, column], np.where(second > first, table[second, column], 0.0)


def _by_torch(logits: Any, size: Size, letterbox: Letterbox) -> Array:
    factor, top, left, height, width = letterbox
    x = logits[None, None]
    if factor > 1:
        x = F.interpolate(x, scale_factor=factor, mode="bilinear")
    values: Array = F.interpolate(x[..., top : top + height, left : left + width], size, mode="bilinear")[0, 0].numpy()
    return values


def _is_power_of_two(pixels: int, values: int) -> bool:
    ratio = pixels // values
    return ratio * values == pixels and ratio & (ratio - 1) == 0
