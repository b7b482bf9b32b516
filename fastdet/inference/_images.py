"""Images that may be larger than memory: a thread cuts windows from them, results are written piece by piece."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from fastdet._core import arrays, check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array
from fastdet.inference._models import to_tensor

MODES = ("mirror", "edge", "zero")
Size = tuple[int, int]
PICTURE = 16  # pixels a side, from which on (H, W, 3) is taken for a picture rather than for channels


class Place(NamedTuple):
    """A window: its upper left corner, which may lie outside the image, and its row and column in the grid."""

    y: int
    x: int
    row: int
    column: int


class Image:
    """A tensor, a NumPy array, or any object with a shape, a dtype and slices."""

    def __init__(self, op: str, image: Any, channels_last: Any) -> None:
        torch = sys.modules.get("torch")
        self.tensor = torch is not None and isinstance(image, torch.Tensor)
        if not all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__")):
            raise TypeError(f"{op}: image must be an array, got {type(image).__name__}")
        if isinstance(image, np.ma.MaskedArray):
            raise TypeError(f"{op}: image must be a plain array, got a masked array")
        if not self.tensor and arrays.on_cuda(image):
            raise TypeError(f"{op}: image must be a torch tensor or on the CPU, got a {type(image).__name__} on a GPU")
        shape = tuple(image.shape)
        if channels_last is None:
            refuse_picture(op, shape, "channels_last must be True for a picture", "; False if it is", axes=3)
        channels_last = bool(channels_last)
        axes = "(H, W, C)" if channels_last else "(C, H, W)"
        if len(shape) not in (2, 3) or 0 in shape:
            raise ValueError(f"{op}: image must have shape (H, W) or {axes}, none of them 0, got {shape}")
        self.op, self.data, self.channels_last = op, image.detach() if self.tensor else image, channels_last
        self.flat = len(shape) == 2
        self.size: Size = (shape[0], shape[1]) if self.flat or channels_last else (shape[1], shape[2])
        self.channels = 1 if self.flat else shape[-1 if channels_last else 0]

    def window(self, place: Place, size: Size, mode: str) -> Any:
        """The pixels of a window, (C, h, w) or (h, w, C); ``mode`` fills what lies outside the image.

        A view where the window lies inside the image.
        """
        (ys, y), (xs, x) = (
            _along(start, length, whole, mode) for start, length, whole in zip(place[:2], size, self.size, strict=True)
        )
        piece = self.data[ys, xs] if self.flat or self.channels_last else self.data[:, ys, xs]
        if not self.tensor:
            piece = to_numpy(self.op, "image", piece)
        if self.flat:
            piece = piece[..., None] if self.channels_last else piece[None]
        rows = 0 if self.channels_last else 1
        for axis, index in ((rows, y), (rows + 1, x)):
            if index is not None:
                piece = _take(piece, index, axis)
        if mode == "zero":
            self._clear_outside(piece, place, rows)
        return piece

    def _clear_outside(self, piece: Any, place: Place, rows: int) -> None:
        for axis, start, whole in zip((rows, rows + 1), place[:2], self.size, strict=True):
            length = piece.shape[axis]
            before, after = max(-start, 0), max(start + length - whole, 0)  # above 0 only where `_take` has copied
            for part in (slice(0, min(before, length)), slice(max(length - after, 0), length)):
                if part.start < part.stop:
                    piece[(slice(None),) * axis + (part,)] = 0

    def batches(
        self, places: Sequence[Place], size: Size, mode: str, batch_size: int, prefetch: int
    ) -> Iterator[tuple[Sequence[Place], Any]]:
        """Batches of windows in order, (n, C, h, w) or (n, h, w, C), cut in a thread ``prefetch`` batches ahead."""
        groups = (places[i : i + batch_size] for i in range(0, len(places), batch_size))
        if not prefetch:
            for group in groups:
                yield group, self._batch(group, size, mode)
            return
        stream = self._stream()
        with ThreadPoolExecutor(1, "fastdet-windows") as thread:
            ahead = deque(
                (group, thread.submit(self._batch, group, size, mode, stream)) for group in islice(groups, prefetch)
            )
            try:
                while ahead:
                    group, batch = ahead.popleft()
                    result = batch.result()
                    ahead.extend((g, thread.submit(self._batch, g, size, mode, stream)) for g in islice(groups, 1))
                    yield group, result
                    del batch, result  # frees the memory before the next batch is awaited
            finally:
                for _, batch in ahead:
                    batch.cancel()

    def _stream(self) -> Any:
        """The caller's CUDA stream, which the model runs on; a new thread would use the default stream."""
        if not self.tensor or not self.data.is_cuda:
            return None
        return sys.modules["torch"].cuda.current_stream(self.data.device)

    def _batch(self, places: Sequence[Place], size: Size, mode: str, stream: Any = None) -> Any:
        shape = (len(places), *size, self.channels) if self.channels_last else (len(places), self.channels, *size)
        with contextlib.nullcontext() if stream is None else sys.modules["torch"].cuda.stream(stream):
            batch = self.empty(shape, self.data.dtype)
            for i, place in enumerate(places):
                batch[i] = self.window(place, size, mode)
        return batch

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array: a tensor on the image's device, or a NumPy array in native byte order."""
        if self.tensor:
            return self.data.new_empty(shape, dtype=dtype)
        return check.empty(self.op, shape, np.dtype(dtype).newbyteorder("="))


def refuse_picture(op: str, shape: tuple[int, ...], rule: str, advice: str = "", *, axes: int) -> None:
    """Raise ValueError for a picture (H, W, C) where (C, H, W) is meant: it would have more channels than columns."""
    if len(shape) == axes and shape[-1] in (1, 3, 4) and min(shape[-3:-1]) >= PICTURE:
        raise ValueError(
            f"{op}: {rule} (H, W, C), got {shape}, which is {shape[-3]} channels of {shape[-2]} x {shape[-1]} pixels"
            f"{advice}"
        )


def _along(start: int, length: int, whole: int, mode: str) -> tuple[slice, Array | None]:
    """The slice to read along an axis, and the window's positions in it; None: the slice is the window."""
    if start >= 0 and start + length <= whole:
        return slice(start, start + length), None
    positions = np.arange(start, start + length)
    if mode == "mirror":  # about the centres of the border pixels, again and again where the window is larger
        period = max(2 * whole - 2, 1)
        positions %= period
        positions = np.minimum(positions, period - positions) if whole > 1 else np.zeros_like(positions)
    else:
        positions = positions.clip(0, whole - 1)
    low = int(positions.min())
    return slice(low, int(positions.max()) + 1), positions - low


def _take(x: Any, index: Array, axis: int) -> Any:
    if isinstance(x, np.ndarray):
        return x.take(index, axis)
    return x.index_select(axis, sys.modules["torch"].from_numpy(index).to(x.device))


def starts(whole: int, window: int, step: int, inside: bool) -> list[int]:
    """The starts of windows that cover an axis. ``inside``: the last window is moved back to the axis's end."""
    count = 1 + max(0, -(-(whole - window) // step))
    first = [i * step for i in range(count)]
    if inside:
        first[-1] = max(min(first[-1], whole - window), 0)
    return first


def grid(size: Size, window: Size, step: Size, inside: bool) -> tuple[list[int], list[int], list[Place]]:
    """`starts` of both axes, and the places of all windows, row by row."""
    ys, xs = (starts(*sizes, inside) for sizes in zip(size, window, step, strict=True))
    return ys, xs, [Place(y, x, i, j) for i, y in enumerate(ys) for j, x in enumerate(xs)]


class Result:
    """Writes the pieces of a result to the caller's ``out``, or to an array made when the first piece arrives."""

    def __init__(self, image: Image, out: Any) -> None:
        self.image, self.out, self.ready = image, out, False
        self.expected: tuple[Any, Any] | None = None  # channels and dtype of the pieces
        self.out_range: Range | None = None  # the values of out's dtype, where the model's dtype has more
        if out is None:
            return
        if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
            raise TypeError(f"{image.op}: out must be an array, got {type(out).__name__}")
        if isinstance(out, np.ndarray) and not out.flags.writeable:
            raise ValueError(f"{image.op}: out must be writable, got a read-only array")
        if _share_memory(out, image.data):
            raise ValueError(f"{image.op}: out must not share memory with image, which is read after out is written")

    def expect(self, piece: Any) -> None:
        """Check that a piece, (K, h, w), (h, w, K) or (h, w), has the channels and the dtype of the first one."""
        channels = "no" if piece.ndim == 2 else piece.shape[-1 if self.image.channels_last else 0]
        if self.expected is None:
            self.expected = channels, piece.dtype
        expected, dtype = self.expected
        if channels != expected:
            raise ValueError(f"{self.image.op}: model must give {expected} channels as before, got {channels}")
        if piece.dtype != dtype:
            raise TypeError(f"{self.image.op}: model must give {dtype} as before, got {piece.dtype}")

    def prepare(self, piece: Any) -> None:
        """Make or check ``out``: the first piece gives the result's shape and dtype."""
        op, image, size = self.image.op, self.image, self.image.size
        if piece.ndim == 2:
            shape: tuple[int, ...] = size
        else:
            shape = (*size, piece.shape[-1]) if image.channels_last else (piece.shape[0], *size)
        if self.out is None:
            self.out = image.empty(shape, piece.dtype)
        else:
            if tuple(self.out.shape) != shape:
                raise ValueError(f"{op}: out must have shape {shape}, got {tuple(self.out.shape)}")
            values, limits = range_of(piece.dtype), range_of(self.out.dtype)
            if values is None or limits is None or values.rank > limits.rank:
                if piece.dtype != self.out.dtype:
                    raise TypeError(f"{op}: out must hold the model's {piece.dtype}, got {self.out.dtype}")
            elif values.low < limits.low or values.high > limits.high:
                self.out_range = limits
        self.ready = True

    def write(self, y: int, x: int, piece: Any) -> None:
        """Write a piece at row y and column x; the part of it beyond the image is left out."""
        self.expect(piece)
        if not self.ready:
            self.prepare(piece)
        rows_first = self.image.channels_last or piece.ndim == 2
        height, width = piece.shape[:2] if rows_first else piece.shape[1:]
        height, width = min(height, self.image.size[0] - y), min(width, self.image.size[1] - x)
        piece = piece[:height, :width] if rows_first else piece[:, :height, :width]
        if self.out_range is not None:
            self._check_range(piece, self.out_range)
        piece = self._in_kind_of_out(piece)
        if rows_first:
            self.out[y : y + height, x : x + width] = piece
        else:
            self.out[:, y : y + height, x : x + width] = piece

    def _check_range(self, piece: Any, limits: Range) -> None:
        """Raise ValueError for a finite value that out's dtype cannot hold."""
        space = np if isinstance(piece, np.ndarray) else sys.modules["torch"]
        values = piece[space.isfinite(piece)]
        for value in (values.min().item(), values.max().item()) if len(values) else ():
            if not limits.low <= value <= limits.high:
                dtype = self.out.dtype
                raise ValueError(f"{self.image.op}: out must hold the model's values, got {value} for {dtype}")

    def _in_kind_of_out(self, piece: Any) -> Any:
        """The piece as a tensor or as a NumPy array, as ``out`` is."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(self.out, torch.Tensor) != isinstance(piece, torch.Tensor):
            return to_tensor(piece) if isinstance(piece, np.ndarray) else to_numpy(self.image.op, "out", piece.cpu())
        return piece


class Range(NamedTuple):
    """The values that a dtype holds."""

    rank: int  # 0 booleans, 1 integers, 2 floats
    low: float  # the smallest value
    high: float  # the largest value


def range_of(dtype: Any) -> Range | None:
    """The range of a boolean, integer or float dtype; None for any other."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(dtype, torch.dtype):
        dtype = np.dtype(dtype)
        kind, space = dtype.kind, np
    else:
        kind, space = "f" if dtype.is_floating_point else "c" if dtype.is_complex else "i", torch
        kind = "b" if dtype is torch.bool else kind
    if kind == "b":
        return Range(0, 0, 1)
    if kind not in "iuf":
        return None
    limits = space.finfo(dtype) if kind == "f" else space.iinfo(dtype)
    number = float if kind == "f" else int
    return Range(1 + (kind == "f"), number(limits.min), number(limits.max))


def _share_memory(x: Any, other: Any) -> bool:
    """Whether two arrays may overlap; unlike `check.may_share_memory`, an array and a tensor may be compared."""
    if x is other:
        return True
    spans = _span(x), _span(other)
    return max(start for start, _ in spans) < min(end for _, end in spans)


def _span(x: Any) -> tuple[float, float]:
    """The first address of an array's memory and the end of it; (inf, -inf) for an object without an address."""
    torch = sys.modules.get("torch")
    if isinstance(x, np.ndarray):
        start, strides, size = x.__array_interface__["data"][0], x.strides, x.itemsize
    elif torch is not None and isinstance(x, torch.Tensor):
        size = x.element_size()
        start, strides = x.data_ptr(), tuple(step * size for step in x.stride())
    else:
        return math.inf, -math.inf
    reach = [(length - 1) * step for length, step in zip(x.shape, strides, strict=True)]
    return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + size


def check_run(op: str, mode: str, batch_size: Any, prefetch: Any) -> tuple[int, int]:
    """Check the arguments that all functions over windows share."""
    check.choice(op, "mode", mode, MODES)
    return check.at_least_one(op, "batch_size", batch_size), check.count(op, "prefetch", prefetch)
