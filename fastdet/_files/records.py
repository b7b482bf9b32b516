"""Detections in files: COCO results JSON and NPZ, read in pieces, written whole or not at all.

JSON, as COCO's results: a list of ``{"image_id": int or str, "category_id": int, "bbox": [x, y, width,
height], "score": float}``, further fields allowed. It is read a megabyte at a time into columns of 64 bytes a
detection (image 4, category 8, bbox 32, score 8, and 12 for where the record lies in the file), so that a
kept record is copied from the input as its very bytes. The whole job peaks at about 150 bytes a detection.

NPZ, arrays by name (one of the names in brackets):
    boxes  [boxes, boxes_xyxy, box_xyxy]             (N, 4) float or integer, pixels, x1 y1 x2 y2
    scores [scores, score]                           (N,) float
    labels [labels, label, category_id, idxs]        (N,) integer, optional: the class; all one class without it
    offsets                                          (I + 1,) integer, optional: rows offsets[i]:offsets[i + 1]
                                                     are those of image i
    images [image_id, image_ids, images, image]      integers or strings, optional: (I,) with offsets, one an
                                                     image; (N,) without, one a row
Without offsets and images all rows belong to one image. Other arrays are not carried over; their names are told.

Output rows: by image, in the order in which images come in the input, by falling score within each.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array, describe
from fastdet._files import json_pieces

Advance = Callable[[int], None]  # told how many more bytes or rows are done

_ROWS = 1 << 16  # rows that are converted and written at a time
_NAMES = {
    "boxes": ("boxes", "boxes_xyxy", "box_xyxy"),
    "scores": ("scores", "score"),
    "labels": ("labels", "label", "category_id", "idxs"),
    "images": ("image_id", "image_ids", "images", "image"),
    "offsets": ("offsets",),
}


class FormatError(Exception):
    """A file that is not what it should be; its text is one line that names file, record and field."""


@dataclass
class Records:
    """The open JSON input, and where each record lies in it."""

    file: IO[bytes]
    start: Array  # (N,) int64
    length: Array  # (N,) int32


@dataclass
class Table:
    """Raw detections as columns. ``rows[offsets[i]:offsets[i + 1]]`` are the rows of image i."""

    boxes: Array  # (N, 4), x1 y1 x2 y2, or x y width height if xywh
    xywh: bool
    scores: Array  # (N,)
    labels: Array | None  # (N,) integer
    images: Sequence[int | str]  # (I,)
    offsets: NDArray[np.int64]  # (I + 1,)
    rows: NDArray[np.int64] | None  # (N,); None: they lie in order
    records: Records | None = None  # JSON
    layout: dict[str, str] | None = None  # NPZ: the name of each array that came
    ignored: tuple[str, ...] = ()  # NPZ: arrays that are not carried over

    def of(self, first: int, last: int) -> NDArray[np.int64]:
        """Rows of the images first .. last - 1."""
        a, b = int(self.offsets[first]), int(self.offsets[last])
        return np.arange(a, b) if self.rows is None else self.rows[a:b]

    def corners(self, rows: Array) -> Array:
        """(K, 4) boxes x1 y1 x2 y2 of some rows."""
        boxes = self.boxes[rows]
        if self.xywh:
            boxes[:, 2:] += boxes[:, :2]
        return boxes

    def close(self) -> None:
        if self.records is not None:
            self.records.file.close()


@dataclass
class Kept:
    """What is left of a `Table`: its rows by image, and new scores where the method gives them."""

    rows: NDArray[np.int64]  # (K,)
    offsets: NDArray[np.int64]  # (I + 1,)
    scores: Array | None  # (K,)


def read(path: Path, advance: Advance = lambda n: None) -> Table:
    """Detections of a JSON or NPZ file, told apart by its first bytes. FormatError, OSError."""
    if not path.is_file():
        raise FormatError(f"{path}: expected a file, got {'a folder or device' if path.exists() else 'no such file'}")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"PK":
        return read_npz(path)
    if magic == b"\x93NUMPY":
        raise FormatError(f"{path}: expected COCO results JSON or NPZ, got a single NPY array")
    return _read_json(path, advance)


def write(table: Table, kept: Kept, path: Path, advance: Advance = lambda n: None) -> None:
    """Detections as the suffix of ``path`` says, .json or .npz; ``path`` appears whole or not at all.

    FormatError for image ids that NPZ does not hold, OSError.
    """
    images = None if path.suffix.lower() == ".json" else _image_array(table.images, path)
    with atomic(path) as file:
        if images is None:
            _write_json(table, kept, file, advance)
        else:
            _write_npz(table, kept, images, file, advance)
        table.close()  # the input may be the file that is replaced


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` if the block ends well, else leaves no trace.

    Written to a temporary file in the same folder, flushed to the disk, then renamed: who reads ``path`` sees the
    old file or the new one. A link keeps pointing where it did; an old file's mode stays.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    file = part.open("xb")
    try:
        with file:
            if target.exists():
                part.chmod(target.stat().st_mode & 0o7777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# JSON


def _read_json(path: Path, advance: Advance) -> Table:
    ids: dict[int | str, int] = {}
    columns: list[list[Array]] = [[], [], [], [], [], []]
    count = 0
    file = path.open("rb")
    try:
        for offset, buffer, spans in json_pieces.pieces(file, advance):
            records = json_pieces.decode(buffer, spans, count)
            bounds = np.array(spans, np.int64)
            piece: tuple[Array, ...] = (
                np.array([ids.setdefault(r.image_id, len(ids)) for r in records], np.int32),
                np.array([r.category_id for r in records], np.int64),
                np.array([r.bbox for r in records], np.float64),
                np.array([r.score for r in records], np.float64),
                bounds[:, 0] + offset,
                (bounds[:, 1] - bounds[:, 0]).astype(np.int32),
            )
            for column, values in zip(columns, piece, strict=True):
                column.append(values)
            count += len(records)
    except json_pieces.PieceError as error:
        file.close()
        raise FormatError(f"{path}: {error}") from None
    except BaseException:
        file.close()
        raise
    empty = (np.int32, np.int64, np.float64, np.float64, np.int64, np.int32)
    joined = []
    for column, dtype in zip(columns, empty, strict=True):
        joined.append(np.concatenate(column) if column else np.zeros(0, dtype))
        column.clear()  # one column at a time is in memory twice
    image, label, bbox, score, start, length = joined
    offsets, rows = _group(image, len(ids))
    return Table(bbox.reshape(-1, 4), True, score, label, list(ids), offsets, rows, Records(file, start, length))


def _write_json(table: Table, kept: Kept, out: IO[bytes], advance: Advance) -> None:
    """One record a line. From JSON the bytes that came in, only the score of a soft method put anew."""
    records = _encoded(table, kept) if table.records is None else _copied(table.records, kept)
    out.write(b"[")
    separator = b"\n"
    for lines in records:
        out.write(separator + b",\n".join(lines))
        separator = b",\n"
        advance(len(lines))
    out.write(b"\n]\n")


def _copied(records: Records, kept: Kept) -> Iterator[list[bytes]]:
    file, start, length = records.file, records.start, records.length
    encode = msgspec.json.encode
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for a in range(0, len(kept.rows), 4096):
        rows = kept.rows[a : a + 4096]
        lines = []
        for at, size in zip(start[rows].tolist(), length[rows].tolist(), strict=True):
            file.seek(at)
            lines.append(file.read(size))
        if kept.scores is not None:
            try:
                for i, score in enumerate(kept.scores[a : a + 4096].tolist()):
                    lines[i] = encode({**fields.decode(lines[i]), "score": score})
            except RecursionError:  # more of the stack is in use than when they were read
                raise FormatError(f"{file.name}: expected detections, got one nested too deeply") from None
        yield lines


def _encoded(table: Table, kept: Kept) -> Iterator[list[bytes]]:
    encode = msgspec.json.encode
    image = np.repeat(np.arange(len(kept.offsets) - 1), np.diff(kept.offsets))
    for a in range(0, len(kept.rows), 4096):
        rows = kept.rows[a : a + 4096]
        bbox = table.boxes[rows].astype(np.float64)
        bbox[:, 2:] -= bbox[:, :2]
        scores = table.scores[rows] if kept.scores is None else kept.scores[a : a + 4096]
        labels = [0] * len(rows) if table.labels is None else table.labels[rows].tolist()
        columns = (image[a : a + 4096].tolist(), labels, bbox.tolist(), scores.tolist())
        yield [
            encode({"image_id": table.images[i], "category_id": label, "bbox": box, "score": score})
            for i, label, box, score in zip(*columns, strict=True)
        ]


# NPZ


def read_npz(path: Path, *, scored: bool = True) -> Table:
    """Boxes of an NPZ file. Without ``scored`` they need no scores, which are then 0. FormatError, OSError."""

    def fail(text: str) -> NoReturn:
        raise FormatError(f"{path}: {text}")

    arrays: dict[str, Array] = {}
    names: dict[str, str] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for role, allowed in _NAMES.items():
                found = [name for name in allowed if name in archive.files]
                if len(found) > 1:
                    fail(f"expected one array of {', '.join(allowed)}, got {' and '.join(found)}")
                if found:
                    names[role] = found[0]
                elif role == "boxes" or (role == "scores" and scored):
                    got = ", ".join(archive.files) or "no array"
                    fail(f"expected an array named {' or '.join(allowed)}, got {got}")
            for role, name in names.items():
                try:
                    arrays[role] = archive[name]
                except ValueError as error:
                    pickled = "allow_pickle" in str(error)
                    fail(f"{name}: expected a plain array, got {'pickled objects, refused' if pickled else error}")
                if not isinstance(arrays[role], np.ndarray):
                    fail(f"{name}: expected an array, got other data")
            ignored = tuple(name for name in archive.files if name not in names.values())
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        fail(f"expected an NPZ file, got a damaged one: {' '.join(str(error).split())}")

    boxes, labels = arrays["boxes"], arrays.get("labels")
    n = len(boxes) if boxes.ndim else 0
    scores = arrays.setdefault("scores", np.zeros(n))
    expect(path, names["boxes"], boxes, "fiu", "numbers", (n, 4), "(N, 4)")
    expect(path, names.setdefault("scores", "scores"), scores, "f", "floats", (n,), f"({n},), one per box")
    if labels is not None:
        expect(path, names["labels"], labels, "iu", "integers", (n,), f"({n},), one per box")
    images, offsets, rows = _npz_images(path, names, arrays, n)
    for role in ("labels", "images"):
        ids = arrays.get(role)
        if ids is not None and ids.dtype.kind == "u" and ids.size and int(ids.max()) >= 2**63:
            fail(f"{names[role]}: expected integers below 2^63, got {ids.max()}")
    for role in ("boxes", "scores"):
        values = arrays[role].reshape(n, -1)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            wrong = values[row][~np.isfinite(values[row])][0]
            fail(f"row {row}, {names[role]}: expected finite numbers, got {float(wrong)}")
    bad = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        fail(f"row {row}, {names['boxes']}: expected x1 <= x2 and y1 <= y2, got {boxes[row].tolist()}")
    return Table(boxes, False, scores, labels, images, offsets, rows, layout=names, ignored=ignored)


def _npz_images(
    path: Path, names: dict[str, str], arrays: dict[str, Array], n: int
) -> tuple[Sequence[int | str], NDArray[np.int64], NDArray[np.int64] | None]:
    """Image ids, offsets and row order from whichever of offsets and image ids came."""
    images, offsets = arrays.get("images"), arrays.get("offsets")
    if offsets is not None:
        expect(path, "offsets", offsets, "iu", "integers", (len(offsets) if offsets.ndim else 0,), "(I + 1,)")
        steps = np.diff(offsets.astype(np.int64))
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != n:
            ends = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
            raise FormatError(f"{path}: offsets: expected to go from 0 to {n}, the number of boxes, got {ends}")
        if (steps < 0).any():
            at = int(np.argmax(steps < 0))
            raise FormatError(
                f"{path}: offsets: expected rising values, got {offsets[at]} then {offsets[at + 1]} at index {at + 1}"
            )
        if images is None:
            return range(len(steps)), offsets.astype(np.int64), None
        want = f"({len(steps)},), one per image of offsets"
        expect(path, names["images"], images, "iuU", "integers or strings", (len(steps),), want)
        return images.tolist(), offsets.astype(np.int64), None
    if images is None:
        return [0], np.array([0, n], np.int64), None
    expect(path, names["images"], images, "iuU", "integers or strings", (n,), f"({n},), one per box without offsets")
    ids, first, inverse = np.unique(images, return_index=True, return_inverse=True)
    order = np.argsort(first)  # images in the order in which they come
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    grouped, rows = _group(place[inverse.ravel()], len(ids))
    return ids[order].tolist(), grouped, rows


def _image_array(ids: Sequence[int | str], path: Path) -> Array:
    """Image ids as an array that holds them as they are. FormatError where none does."""
    images = np.array(ids) if len(ids) else np.zeros(0, np.int64)
    for i, held in zip(ids, images.tolist(), strict=True):
        if i != held or images.dtype.kind not in "iuU":
            want = "image ids that are all integers of 64 bits or all strings, as NPZ has them"
            raise FormatError(f"{path}: expected {want}, got {describe(i)} among them")
    return images


def _write_npz(table: Table, kept: Kept, images: Array, out: IO[bytes], advance: Advance) -> None:
    """The layout that came in; from JSON the one of offsets, with boxes_xyxy in float64."""
    layout = table.layout or {
        "images": "image_id", "offsets": "offsets", "boxes": "boxes_xyxy", "scores": "scores", "labels": "labels"
    }  # fmt: skip
    rows = kept.rows
    steps = range(0, len(rows), _ROWS)
    scores = table.scores if kept.scores is None else kept.scores
    at = rows if kept.scores is None else np.arange(len(rows))
    with zipfile.ZipFile(out, "w") as archive:
        if "images" in layout:
            if "offsets" not in layout:  # one a row
                images = images[np.repeat(np.arange(len(images)), np.diff(kept.offsets))]
            _member(archive, layout["images"], images.dtype, images.shape, [images])
        if "offsets" in layout:
            _member(archive, "offsets", kept.offsets.dtype, kept.offsets.shape, [kept.offsets])
        boxes = (table.corners(rows[a : a + _ROWS]) for a in steps)
        _member(archive, layout["boxes"], table.boxes.dtype, (len(rows), 4), boxes)
        _member(archive, layout["scores"], scores.dtype, rows.shape, (scores[at[a : a + _ROWS]] for a in steps))
        if "labels" in layout and table.labels is not None:
            labels = table.labels
            _member(archive, layout["labels"], labels.dtype, rows.shape, (labels[rows[a : a + _ROWS]] for a in steps))
    advance(len(rows))


def _member(archive: zipfile.ZipFile, name: str, dtype: Any, shape: tuple[int, ...], pieces: Any) -> None:
    """One array of an NPZ file, piece by piece; the date is fixed so that equal arrays make equal files."""
    header = io.BytesIO()
    npy: Any = np.lib.format
    npy.write_array_header_1_0(header, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).tobytes())


def _group(image: Array, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Offsets of ``count`` images, and the rows by image; None where they lie so already."""
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(image, minlength=count), out=offsets[1:])
    if not len(image) or bool((image[1:] >= image[:-1]).all()):
        return offsets, None
    return offsets, np.argsort(image, kind="stable").astype(np.int64)


def expect(path: Path, name: str, x: Array, kinds: str, words: str, shape: tuple[int, ...], want: str) -> None:
    if x.dtype.kind not in kinds or x.dtype.char == "g":
        raise FormatError(f"{path}: {name}: expected {words}, got {x.dtype}")
    if x.shape != shape:
        raise FormatError(f"{path}: {name}: expected shape {want}, got {x.shape}")
