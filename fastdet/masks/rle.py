"""Run-length encoded masks: one object for a batch, COCO's dictionaries and strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import to_numpy
from fastdet._core.check import Array

MAX_PIXELS = 2**32 - 1  # of a mask: COCO's counts have 32 bits
Counts = NDArray[np.uint32]
Ints = NDArray[np.int64]


class RLE:
    """A batch of masks, run-length encoded as in COCO: column by column, zeros first.

    Parameters
    ----------
    sizes : (N, 2) integers, height and width of each mask, pixels; fewer than 2**32 pixels a mask
    counts : (R,) integers, the runs of all masks one after the other. A mask's first run is of zeros and may be 0; runs
        of zeros and of ones take turns
    offsets : (N + 1,) integers: mask i has the runs from offsets[i] to offsets[i + 1]

    Attributes
    ----------
    sizes, counts, offsets : int64, uint32, int64, read-only copies

    Raises
    ------
    TypeError   dtype
    ValueError  shape, offsets that fall, runs of a mask that do not sum to height * width

    Examples
    --------
    >>> masks = RLE([[2, 3]], [1, 2, 3], [0, 3])  # of columns 0 1, 1 0, 0 0
    >>> len(masks), masks.to_coco()
    (1, [{'size': [2, 3], 'counts': b'123'}])
    """

    __slots__ = ("counts", "offsets", "sizes")
    __module__ = "fastdet.masks"
    sizes: Ints
    counts: Counts
    offsets: Ints

    def __init__(self, sizes: Any, counts: Any, offsets: Any) -> None:
        op = "RLE"
        whole = _integers(op, "sizes", sizes)
        if whole.ndim != 2 or whole.shape[1] != 2:
            raise ValueError(f"{op}: sizes must have shape (N, 2), got {whole.shape}")
        runs, bounds = _integers(op, "counts", counts), _integers(op, "offsets", offsets)
        if runs.ndim != 1:
            raise ValueError(f"{op}: counts must have shape (R,), got {runs.shape}")
        if bounds.shape != (len(whole) + 1,):
            raise ValueError(
                f"{op}: offsets must have shape ({len(whole) + 1},), one more than masks, got {bounds.shape}"
            )
        if bounds[0] != 0 or bounds[-1] != len(runs) or (np.diff(bounds) < 0).any():
            raise ValueError(f"{op}: offsets must rise from 0 to {len(runs)}, the number of runs")
        _check_sizes(op, whole)
        if runs.size and (runs.min() < 0 or runs.max() > MAX_PIXELS):
            bad = int(np.flatnonzero((runs < 0) | (runs > MAX_PIXELS))[0])
            raise ValueError(f"{op}: counts must be in [0, 2**32), got {runs[bad]} at {bad}")
        _check_sums(op, whole, runs, bounds)
        self._set(whole, runs.astype(np.uint32), bounds)

    def _set(self, sizes: Ints, counts: Counts, offsets: Ints) -> None:
        for name, x in (("sizes", sizes), ("counts", counts), ("offsets", offsets)):
            x.flags.writeable = False
            object.__setattr__(self, name, x)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"RLE: {name} cannot be set: make another RLE")

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[RLE]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> RLE:
        """A batch of the masks at an integer, a slice, integers or flags."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        if chosen.ndim != 1:
            raise IndexError(f"RLE: an index must have at most one axis, got {chosen.ndim}")
        lengths = np.diff(self.offsets)[chosen]
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        runs = np.repeat(self.offsets[chosen] - bounds[:-1], lengths) + np.arange(bounds[-1])
        return new_rle(self.sizes[chosen], self.counts[runs], bounds)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RLE):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<fastdet.masks.RLE of {len(self)} masks, {len(self.counts)} runs>"

    def __reduce__(self) -> Any:
        return RLE, (self.sizes, self.counts, self.offsets)

    def runs(self, i: int) -> Counts:
        """The runs of mask ``i``, a read-only view."""
        i = range(len(self))[i]
        return self.counts[self.offsets[i] : self.offsets[i + 1]]

    def to_coco(self, *, compressed: bool = True) -> list[dict[str, Any]]:
        """COCO's dictionaries: ``{"size": [h, w], "counts": ...}`` with bytes, or, uncompressed, a list of integers."""
        texts: list[Any]
        if compressed:
            texts = backends.choose("rle_to_strings", None, rle_to_strings_reference)(self.counts, self.offsets)
        else:
            texts = [self.runs(i).tolist() for i in range(len(self))]
        return [{"size": size, "counts": text} for size, text in zip(self.sizes.tolist(), texts, strict=True)]

    @classmethod
    def from_coco(cls, records: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> RLE:
        """A batch of COCO's dictionaries, or of one. ``counts`` are bytes or text, compressed, or a list of integers.

        ValueError for one that is no mask; it names the record and the field.
        """
        listed = [records] if isinstance(records, Mapping) else list(records)
        sizes = np.array([_size(i, record) for i, record in enumerate(listed)], np.int64).reshape(-1, 2)
        _check_sizes("RLE.from_coco", sizes)
        texts: list[Any] = [_counts(i, record) for i, record in enumerate(listed)]
        parts: list[Any] = [None] * len(texts)
        packed = [i for i, text in enumerate(texts) if isinstance(text, bytes)]
        for i, text in enumerate(texts):
            if not isinstance(text, bytes):
                parts[i] = text
        if packed:
            kernel: Any = backends.choose("rle_from_strings", None, rle_from_strings_reference)
            counts, offsets = kernel([texts[i] for i in packed])
            if isinstance(counts, str):
                raise ValueError(f"RLE.from_coco: record {packed[offsets]}: counts: {counts}")
            for k, i in enumerate(packed):
                parts[i] = counts[offsets[k] : offsets[k + 1]]
        bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        runs = np.concatenate([np.zeros(0, np.uint32), *parts]).astype(np.uint32)
        _check_sums("RLE.from_coco", sizes, runs, bounds)
        return new_rle(sizes, runs, bounds)

    @classmethod
    def concatenate(cls, batches: Sequence[RLE]) -> RLE:
        """One batch of the masks of several."""
        if not batches:
            return new_rle(np.zeros((0, 2), np.int64), np.zeros(0, np.uint32), np.zeros(1, np.int64))
        lengths = np.concatenate([np.diff(batch.offsets) for batch in batches])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sizes = np.concatenate([batch.sizes for batch in batches])
        return new_rle(sizes, np.concatenate([batch.counts for batch in batches]), offsets)


def new_rle(sizes: Ints, counts: Counts, offsets: Ints) -> RLE:
    """An RLE of arrays that are right, and belong to nobody else."""
    out = RLE.__new__(RLE)
    out._set(sizes, counts, offsets)
    return out


def _integers(op: str, name: str, x: Any) -> Ints:
    array = to_numpy(op, name, x)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {array.dtype}")
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{op}: {name} must be below 2**63, got {int(array.max())}")
    return array.astype(np.int64)


def _check_sizes(op: str, sizes: Ints) -> None:
    height, width = sizes.T
    wrong = (height < 0) | (width < 0) | (height > MAX_PIXELS) | (width > MAX_PIXELS)
    wrong |= np.where(wrong, 0, height) * np.where(wrong, 0, width).astype(np.float64) > MAX_PIXELS
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"{op}: mask {i}: size must be height and width of fewer than 2**32 pixels, got {sizes[i].tolist()}"
        )


def _check_sums(op: str, sizes: Ints, runs: Array, bounds: Ints) -> None:
    total = np.concatenate([[0], np.cumsum(runs, dtype=np.int64)])
    sums, pixels = total[bounds[1:]] - total[bounds[:-1]], sizes[:, 0] * sizes[:, 1]
    if (sums != pixels).any():
        i = int(np.argmax(sums != pixels))
        h, w = sizes[i].tolist()
        raise ValueError(f"{op}: mask {i}: counts must sum to {h} * {w} = {pixels[i]}, got {sums[i]}")


def _size(i: int, record: Any) -> list[int]:
    where = f"RLE.from_coco: record {i}"
    if not isinstance(record, Mapping) or "size" not in record or "counts" not in record:
        raise TypeError(f"{where}: must be a dict with size and counts, got {check.describe(record)}")
    size = record["size"]
    try:
        sides = list(size)
    except TypeError:
        sides = []
    if len(sides) != 2 or not all(isinstance(x, (int, np.integer)) and not isinstance(x, bool) for x in sides):
        raise ValueError(f"{where}: size: must be two integers, height and width, got {check.describe(size)}")
    if min(sides) < 0 or max(sides) > MAX_PIXELS:
        raise ValueError(f"{where}: size: must be in [0, 2**32), got {check.describe(size)}")
    return [int(x) for x in sides]


def _counts(i: int, record: Mapping[str, Any]) -> bytes | Counts:
    counts = record["counts"]
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode("utf-8", "surrogatepass")
    where = f"RLE.from_coco: record {i}: counts"
    try:
        runs = np.asarray(counts)
    except (ValueError, OverflowError, TypeError):
        runs = np.array(None)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
        raise ValueError(f"{where}: must be bytes, text or a list of integers, got {check.describe(counts)}")
    if runs.size and (int(runs.min()) < 0 or int(runs.max()) > MAX_PIXELS):
        raise ValueError(f"{where}: must be in [0, 2**32), got {int(runs.min() if runs.min() < 0 else runs.max())}")
    return runs.astype(np.uint32)


def rle_to_strings_reference(counts: Counts, offsets: Ints) -> list[bytes]:
    """COCO's text of each mask.

    From the fourth count on, the difference to the count two before. Five bits a character, the lowest first, the sign
    in the last one; 32 where more follow; plus 48.
    """
    texts = []
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        runs, text = counts[first:last].tolist(), bytearray()
        for i, run in enumerate(runs):
            x = run - runs[i - 2] if i > 2 else run
            while True:
                bits = x & 31
                x >>= 5
                more = x != -1 if bits & 16 else x != 0
                text.append(bits + 32 * more + 48)
                if not more:
                    break
        texts.append(bytes(text))
    return texts


def rle_from_strings_reference(texts: list[bytes]) -> tuple[Counts, Ints] | tuple[str, int]:
    """The counts of all texts and their offsets; or what is wrong, and the number of the first text of which."""
    counts: list[int] = []
    offsets = [0]
    for k, text in enumerate(texts):
        first, at = len(counts), 0
        while at < len(text):
            x = shift = 0
            while True:
                if at == len(text):
                    return "the text ends within a number", k
                bits = text[at] - 48
                if not 0 <= bits < 64:
                    return f"expected characters from '0' to 'o', got byte {text[at]} at {at}", k
                if shift > 30:
                    return f"expected numbers of 32 bits, got a longer one at {at}", k
                x |= (bits & 31) << shift
                shift, at = shift + 5, at + 1
                if not bits & 32:
                    break
            if bits & 16:
                x -= 1 << shift
            if len(counts) - first > 2:
                x += counts[-2]
            if not 0 <= x <= MAX_PIXELS:
                return f"expected runs in [0, 2**32), got {x}", k
            counts.append(x)
        offsets.append(len(counts))
    return np.array(counts, np.uint32), np.array(offsets, np.int64)
