"""Read and write detections for `fastdet nms`: COCO results JSON and NPZ.

JSON is read a quarter of a megabyte at a time into columns of 72 bytes a detection (image 8, category 8, bbox 32,
score 8, and 16 for the position of the record in the file). A kept record is copied byte for byte from the input; soft
methods change its score and nothing else. The text around the list of records is copied too. The peak is about 150
bytes a detection. JSON that is packed by gzip is unpacked to a temporary file first (TMPDIR).

Output rows are ordered by image, in the order of the input, and by falling score within each image.
"""

from __future__ import annotations

import codecs
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends
from fastdet._core.check import Array
from fastdet._files import coco, coco_text
from fastdet._files.atomic import atomic
from fastdet._files.coco_objects import Content
from fastdet._files.errors import Faults, FormatError, missing
from fastdet._files.npz import image_array, read_npz, write_npz
from fastdet._files.opening import open_file
from fastdet._files.packed import GZIP, is_packed, unpacked
from fastdet._files.table import Kept, Records, Table, group

Advance = Callable[[int], None]  # called with the number of bytes or rows done since the last call

_BLOCK_ROWS, _BLOCK_BYTES = 1 << 13, 1 << 23  # records and bytes written at a time
_GAP = 512  # bytes: records with a smaller gap between them are read as one piece
_CHUNK = 1 << 20  # bytes copied at a time


def form(path: Path) -> str:
    """The format of a file of detections by its content: "coco" or "npz". FormatError, OSError."""
    if not path.exists():
        raise missing(path)
    if not path.is_file():
        raise FormatError(f"{path}: expected a file, got a folder or device")
    with open_file(path) as file:
        start = file.read(4096)
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:2] == b"PK":
        return "npz"
    if text[:6] == b"\x93NUMPY":
        raise FormatError(f"{path}: expected COCO JSON or NPZ, got a single NPY array")
    if not start:
        raise FormatError(f"{path}: expected COCO JSON or NPZ, got an empty file")
    if not text or text[:1] in (b"{", b"[") or start[:2] == GZIP or path.suffix.lower() == ".json":
        return "coco"
    raise FormatError(f"{path}: expected COCO JSON or NPZ, got other data")


def read(path: Path, advance: Advance = lambda n: None, faults: Faults | None = None) -> Table:
    """Read detections from a JSON or NPZ file. ``faults``: what becomes of invalid records. FormatError, OSError."""
    return read_npz(path, faults=faults) if form(path) == "npz" else _read_json(path, advance, faults)


def write(table: Table, kept: Kept, path: Path, advance: Advance = lambda n: None) -> tuple[str, ...]:
    """Write detections in the format of the suffix, .json or .npz. The file appears whole or not at all.

    Returns the names of arrays or keys that the output cannot hold. FormatError for image ids that NPZ cannot hold;
    OSError.
    """
    images = None if path.suffix.lower() == ".json" else image_array(table.images, path)
    with atomic(path) as file:
        if images is not None:
            write_npz(table, kept, images, file, advance)
        elif table.records is not None:
            _copy_json(table.records, kept, file, advance)
        else:
            _write_json(table, kept, file, advance)
        table.close()  # before the rename: the output may replace the input
    return () if images is None and table.records is not None else table.ignored


# ---------------------------------------------------------------------------------------------- reading JSON
class _Counted:
    """An open file that reports the bytes read from it."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self._file, self._advance = file, advance

    def readinto(self, buffer: Any) -> int:
        count: int = cast("Any", self._file).readinto(buffer)
        self._advance(count)
        return count

    def read(self) -> bytes:
        data = self._file.read()
        self._advance(len(data))
        return data


def _read_json(path: Path, advance: Advance, faults: Faults | None) -> Table:
    file = open_file(path, buffering=0)  # it stays open: records are copied from it later
    try:
        if is_packed(path, file):
            file = _unpacked(path, file, advance)
            advance = _nothing
        size = os.fstat(file.fileno()).st_size
        counted = cast("IO[bytes]", _Counted(file, advance))
        content = coco.parse(str(path), counted, size, "results", string_ids=True, spans=True, faults=faults)
        images, image = _images(content)
        offsets, rows = group(image, len(images))
        boxes, spans = content.boxes, content.spans
        assert spans is not None
        ignored = tuple(spans.other_keys)
        records = Records(path, file, spans)
        return Table(boxes.boxes, True, boxes.scores, boxes.label, images, offsets, rows, records, ignored=ignored)
    except BaseException:
        file.close()
        raise


def _nothing(n: int) -> None: ...


def _unpacked(path: Path, packed: IO[bytes], advance: Advance) -> Any:
    """Unpack a gzip file into a temporary file."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 it stays open: records are copied from it later
    try:
        with packed, unpacked(path, packed) as source:
            done = 0
            while data := source.read(_CHUNK):
                file.write(data)
                advance(packed.tell() - done)
                done = packed.tell()
        file.seek(0)
        return file
    except BaseException:
        file.close()
        raise


def _images(content: Content) -> tuple[list[int | str], NDArray[np.int64]]:
    """The image ids in order of first appearance, and for each row the index of its id."""
    image = content.boxes.image
    named = content.named if len(content.named) else np.zeros(len(image), bool)
    if not len(image):
        return [], image
    new = np.ones(len(image), bool)  # (N,) whether a row begins a run of rows of one image
    np.not_equal(image[1:], image[:-1], out=new[1:])
    new[1:] |= named[1:] != named[:-1]
    runs = np.flatnonzero(new)
    ids, of_name = image[runs], named[runs]
    known: list[int | str] = []
    first, place = [], np.empty(len(runs), np.int64)  # first run of each id; index of the id of each run
    for names in (False, True):
        mine = np.flatnonzero(of_name == names)
        distinct, at, inverse = np.unique(ids[mine], return_index=True, return_inverse=True)
        place[mine] = inverse.reshape(-1) + len(known)
        first.append(mine[at])
        known += [content.image_names[i] for i in distinct.tolist()] if names else distinct.tolist()
    order = np.argsort(np.concatenate(first))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return [known[i] for i in order.tolist()], np.repeat(rank[place], np.diff(np.append(runs, len(image))))


# ---------------------------------------------------------------------------------------------- writing JSON
def _copy_json(records: Records, kept: Kept, out: IO[bytes], advance: Advance) -> None:
    """Copy the input, with only the kept records in its list, one a line."""
    file, (first, last) = records.file, records.spans.bounds
    before = _copy(file, 0, first, out, b"\xef\xbb\xbf \t\r\n")
    out.write(b"[")
    separator = b"\n"
    for rows, scores in _blocks(records, kept):
        out.write(separator + _copied(records, rows, scores))
        separator = b",\n"
        advance(len(rows))
    out.write(b"\n]")
    if before:
        _copy(file, last, os.fstat(file.fileno()).st_size, out)
    else:
        out.write(b"\n")


def _copy(file: IO[bytes], first: int, last: int, out: IO[bytes], leading: bytes = b"") -> bool:
    """Copy bytes first..last of a file, without ``leading`` characters. Returns whether anything was left."""
    begun = not leading
    file.seek(first)
    while first < last and (data := file.read(min(_CHUNK, last - first))):
        first += len(data)
        if not begun:
            data = data.lstrip(leading)
            begun = bool(data)
        out.write(data)
    return begun


def _blocks(records: Records, kept: Kept) -> Iterator[tuple[NDArray[np.int64], Array | None]]:
    """Yield the kept rows block by block, with their new scores."""
    first, length = 0, records.spans.length
    while first < len(kept.rows):
        rows = kept.rows[first : first + _BLOCK_ROWS]
        many = int(np.searchsorted(np.cumsum(length[rows], dtype=np.int64), _BLOCK_BYTES, "right"))
        rows = rows[: max(many, 1)]
        yield rows, None if kept.scores is None else kept.scores[first : first + len(rows)]
        first += len(rows)


def _copied(records: Records, rows: NDArray[np.int64], scores: Array | None) -> bytes:
    """Records byte for byte as in the file, one a line."""
    spans = records.spans
    start, length = spans.start[rows], spans.length[rows]
    text, place = _pieces(records.file, start, length)
    if scores is not None:
        scores = scores.astype(np.float64)
    join: Any = coco_text.join_records if backends.native is None else backends.native.join_records
    try:
        joined: bytes = join(text, place, length, spans.score_at[rows], scores)
    except IndexError:
        raise FormatError(f"{records.path}: the file changed while it was read: run the command again") from None
    return joined


def _pieces(file: IO[bytes], start: Array, length: Array) -> tuple[bytes, Array]:
    """Read the pieces of a file that hold the records. Returns them joined, and where each record starts."""
    order = np.argsort(start, kind="stable")
    begin = start[order]
    end = begin + length[order]
    apart = np.flatnonzero(begin[1:] - end[:-1] > _GAP) + 1
    first, last = begin[np.append(0, apart)], end[np.append(apart, len(end)) - 1]
    size = last - first
    before = np.cumsum(size) - size  # bytes in earlier pieces
    piece = np.zeros(len(order), np.int64)
    piece[apart] = 1
    piece = np.cumsum(piece)
    place = np.empty(len(order), np.int64)
    place[order] = begin - first[piece] + before[piece]
    pieces = map(os.pread, itertools.repeat(file.fileno()), size.tolist(), first.tolist())
    return b"".join(pieces), place


def _write_json(table: Table, kept: Kept, out: IO[bytes], advance: Advance) -> None:
    """Write records of an NPZ file, one a line."""
    encode: Any = coco_text.encode_records if backends.native is None else backends.native.encode_records
    image = np.repeat(np.arange(len(kept.offsets) - 1), np.diff(kept.offsets))
    out.write(b"[")
    separator = b"\n"
    for a in range(0, len(kept.rows), _BLOCK_ROWS):
        rows, of = kept.rows[a : a + _BLOCK_ROWS], image[a : a + _BLOCK_ROWS]
        ids = [json.dumps(table.images[i]).encode() for i in range(of[0], of[-1] + 1)]
        boxes = table.boxes[rows].astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        scores = table.scores[rows] if kept.scores is None else kept.scores[a : a + _BLOCK_ROWS]
        labels = np.zeros(len(rows), np.int64) if table.labels is None else table.labels[rows].astype(np.int64)
        out.write(separator + encode(ids, of - of[0], labels, boxes, scores.astype(np.float64)))
        separator = b",\n"
        advance(len(rows))
    out.write(b"\n]\n")
