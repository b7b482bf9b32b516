"""Read and write NPZ files of detections and boxes. Each array has one of the names in brackets:

    boxes  [boxes, boxes_xyxy, box_xyxy]             (N, 4) float or integer, pixels, x1 y1 x2 y2
    scores [scores, score]                           (N,) float
    labels [labels, label, category_id, idxs]        (N,) integer, optional: the class; one class without it
    offsets                                          (I + 1,) integer, optional: rows offsets[i]:offsets[i + 1]
                                                     are those of image i
    images [image_id, image_ids, images, image]      integers or strings, optional: (I,) with offsets, one an
                                                     image; (N,) without, one a row

Without offsets and images all rows belong to one image. Other arrays are not copied to the output.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array, describe
from fastdet._files.errors import Faults, FormatError, one_line
from fastdet._files.opening import open_file
from fastdet._files.table import Kept, Table, group

_ROWS = 1 << 16  # rows converted and written at a time
_NAMES = {
    "boxes": ("boxes", "boxes_xyxy", "box_xyxy"),
    "scores": ("scores", "score"),
    "labels": ("labels", "label", "category_id", "idxs"),
    "images": ("image_id", "image_ids", "images", "image"),
    "offsets": ("offsets",),
}


def read_npz(path: Path, *, scored: bool = True, faults: Faults | None = None) -> Table:
    """Read boxes from an NPZ file. Without ``scored``, absent scores are 0. FormatError, OSError."""

    def fail(text: str) -> NoReturn:
        raise FormatError(f"{path}: {text}")

    arrays: dict[str, Array] = {}
    names: dict[str, str] = {}
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as archive:
            for role, allowed in _NAMES.items():
                matches = [name for name in allowed if name in archive.files]
                if len(matches) > 1:
                    fail(f"expected one array of {', '.join(allowed)}, got {' and '.join(matches)}")
                if matches:
                    names[role] = matches[0]
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
    except (FormatError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise anything at damaged data
        fail(f"expected an NPZ file, got a damaged one: {one_line(error)}")

    if arrays["boxes"].size == 0:
        _without_boxes(arrays)
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
    invalid = _invalid_rows(path, names, boxes, scores, faults or Faults())
    table = Table(boxes, False, scores, labels, images, offsets, rows, layout=names, ignored=ignored)
    return _without(table, invalid) if invalid.any() else table


def _without_boxes(arrays: dict[str, Array]) -> None:
    """Give empty arrays, whatever their shape and type, those of a file without boxes: [] is an array of floats."""
    types = {"boxes": np.float64, "scores": np.float64, "labels": np.int64}
    for role, dtype in types.items():
        if role in arrays and arrays[role].size == 0 and arrays[role].dtype.kind in "fiub":
            arrays[role] = np.zeros((0, 4) if role == "boxes" else 0, dtype)
    for role in ("images", "offsets"):
        if role in arrays and arrays[role].size == 0 and arrays[role].dtype.kind == "f":
            arrays[role] = np.zeros(0, np.int64)
    if "offsets" in arrays and arrays["offsets"].shape == (0,):
        arrays["offsets"] = np.zeros(1, np.int64)


def _invalid_rows(path: Path, names: dict[str, str], boxes: Array, scores: Array, faults: Faults) -> Array:
    """(N,) rows that are left out: numbers that are not finite, boxes whose end is before their start."""
    invalid = np.zeros(len(boxes), bool)
    with np.errstate(invalid="ignore"):
        for role, values in (("boxes", boxes), ("scores", scores.reshape(-1, 1))):
            finite = np.isfinite(values)
            for row in np.flatnonzero(~finite.all(axis=1) & ~invalid).tolist():
                wrong = float(values[row][~finite[row]][0])
                faults.add(FormatError(f"{path}: row {row}, {names[role]}: expected finite numbers, got {wrong}"))
                invalid[row] = True
        for row in np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1) & ~invalid).tolist():
            got = boxes[row].tolist()
            text = f"{path}: row {row}, {names['boxes']}: expected x1 <= x2 and y1 <= y2, got {got}"
            faults.add(FormatError(text))
            invalid[row] = True
    return invalid


def _without(table: Table, invalid: Array) -> Table:
    """The table without some rows. ``kept`` says which rows of the file are left."""
    kept = ~invalid
    image = np.empty(len(kept), np.int64)
    order = np.arange(len(kept)) if table.rows is None else table.rows
    image[order] = np.repeat(np.arange(len(table.images)), np.diff(table.offsets))
    offsets, rows = group(image[kept], len(table.images))
    labels = None if table.labels is None else table.labels[kept]
    return dataclasses.replace(
        table, boxes=table.boxes[kept], scores=table.scores[kept], labels=labels, offsets=offsets, rows=rows, kept=kept
    )


def _npz_images(
    path: Path, names: dict[str, str], arrays: dict[str, Array], n: int
) -> tuple[Sequence[int | str], NDArray[np.int64], NDArray[np.int64] | None]:
    """Image ids, offsets and row order, from the arrays that the file has."""
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
    order = np.argsort(first)  # images in order of first appearance
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    grouped, rows = group(place[inverse.ravel()], len(ids))
    return ids[order].tolist(), grouped, rows


def image_array(ids: Sequence[int | str], path: Path) -> Array:
    """Image ids as an array of integers or strings. FormatError where an array would change an id."""
    images = np.array(ids) if len(ids) else np.zeros(0, np.int64)
    for i, held in zip(ids, images.tolist(), strict=True):
        if i != held or images.dtype.kind not in "iuU":
            want = "image ids that are all integers of 64 bits or all strings, as NPZ needs"
            raise FormatError(f"{path}: expected {want}, got {describe(i)} among them")
    return images


def write_npz(table: Table, kept: Kept, images: Array, out: IO[bytes], advance: Callable[[int], None]) -> None:
    """Write the layout of the input. For JSON input: offsets, and boxes_xyxy in float64."""
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
    """Write one array, piece by piece. The date is fixed, so that equal arrays make equal files."""
    header = io.BytesIO()
    npy: Any = np.lib.format
    npy.write_array_header_1_0(header, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).tobytes())


def expect(path: Path, name: str, x: Array, kinds: str, words: str, shape: tuple[int, ...], want: str) -> None:
    """Check the type (one of NumPy's ``kinds``, ``words`` in errors) and shape (``want`` in errors) of an array."""
    if x.dtype.kind not in kinds or x.dtype.char == "g":
        raise FormatError(f"{path}: {name}: expected {words}, got {x.dtype}")
    if x.shape != shape:
        raise FormatError(f"{path}: {name}: expected shape {want}, got {x.shape}")
