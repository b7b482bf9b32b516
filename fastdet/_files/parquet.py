"""Read detections and true boxes from Parquet files, one row a box, with pyarrow.

Columns: ``image_id`` and ``category_id`` (integers) and ``bbox`` (a list of four numbers: x, y, width, height).
Detections also have ``score``. True boxes may have ``area`` (width * height where it is absent or null), ``iscrowd``
and ``difficult`` (0/1). Masks are in ``segmentation``, structs of ``size``, height and width, and ``counts``, COCO's
text or bytes; poses are in ``keypoints``, lists of x, y and visibility of each point. ``bbox`` may then be absent.
Other columns are not read. In a file of true objects, a row whose ``category_id`` and ``bbox``, ``segmentation`` or
``keypoints`` are null stands for an image without objects.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, NoReturn

import numpy as np

from fastdet._core import limits
from fastdet._core.check import Array
from fastdet._files.coco_values import FIELD_OF
from fastdet._files.errors import FormatError, few, one_line
from fastdet._files.opening import open_file
from fastdet.detection.records import CROWD, IGNORE, Bytes, Columns, Floats, Ints
from fastdet.keypoints.similarity import extent
from fastdet.masks import RLE, area, to_boxes

_ROWS = 1 << 16  # rows decoded at a time
_ROW_BYTES = 72  # memory of a row


def read_parquet_results(path: str | os.PathLike[str], shape: str = "bbox") -> Columns:
    """Read detections. ``ids`` of the result is empty. ``shape``: see `read_parquet`."""
    return _read(str(path), True, shape)[1]


def read_parquet(path: str | os.PathLike[str], shape: str = "bbox") -> tuple[Ints, Columns]:
    """Read true boxes. Returns the ids of all images of the file, also those without boxes, and the boxes.

    ``shape``: "segm" and "keypoints" read masks or keypoints too.
    """
    return _read(str(path), False, shape)


def _read(path: str, results: bool, shape: str) -> tuple[Ints, Columns]:
    pyarrow: Any = pyarrow_module("pyarrow")
    parquet: Any = pyarrow_module("pyarrow.parquet")
    needed = ["image_id", "category_id", FIELD_OF[shape], *(["score"] if results else [])]
    wanted = [*dict.fromkeys([*needed, "bbox"]), *([] if results else ["area", "iscrowd", "difficult"])]
    images, columns, row = [np.zeros(0, np.int64)], [_none(shape)], 0
    try:
        with open_file(path) as opened, parquet.ParquetFile(opened) as file:
            present = file.schema_arrow.names
            for name in needed:
                if name not in present:
                    raise FormatError(f"{path}: expected a column {name!r}, got [{few(list(map(repr, present)))}]")
            for name in wanted:
                if present.count(name) > 1:
                    raise FormatError(f"{path}: expected one column {name!r}, got {present.count(name)}")
            _require_size(path, os.fstat(opened.fileno()).st_size, file.metadata.num_rows)
            for batch in file.iter_batches(_ROWS, columns=[name for name in wanted if name in present]):
                ids, some = _columns(_Batch(path, row, batch), results, shape)
                images.append(np.unique(ids))
                columns.append(some)
                row += batch.num_rows
    except (FormatError, MemoryError):
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:  # raised at damaged data
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: not Parquet: {one_line(error)[:200] or type(error).__name__}") from None
    return np.unique(np.concatenate(images)), Columns.concatenate(columns)


def _require_size(path: str, packed: int, rows: int) -> None:
    """FormatError if the file says that it holds more than the limit: equal rows take almost no room in it.

    Only the number of rows is asked for: where the metadata of a column are damaged, pyarrow ends the process.
    """
    size, allowed = _ROW_BYTES * rows, limits.unpacked(packed)
    if size > allowed:
        raise FormatError(f"{path}: {limits.exceeded('unpacked', size, allowed)}")


def pyarrow_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError('Parquet files need pyarrow: pip install "fastdet[ray]"') from None


def _none(shape: str) -> Columns:
    ids, numbers = np.zeros(0, np.int64), np.zeros(0)
    masks = RLE.concatenate([]) if shape == "segm" else None
    keypoints = np.zeros((0, 0, 3)) if shape == "keypoints" else None
    return Columns(ids, ids, np.zeros((0, 4)), numbers, numbers, np.zeros(0, np.uint8), ids, masks, keypoints)


def _columns(batch: _Batch, results: bool, shape: str) -> tuple[Ints, Columns]:
    ids = batch.integers("image_id")
    none = _none(shape)
    if results:
        boxes, sizes, more = batch.shapes(shape)
        scores = batch.numbers("score", "a number")
        return ids[:0], Columns(ids, batch.integers("category_id"), boxes, sizes, scores, none.flags, none.ids, *more)
    empty = batch.null("category_id") & batch.null(FIELD_OF[shape])
    rest = batch.without(empty) if empty.any() else batch
    boxes, sizes, more = rest.shapes(shape, own_areas=True)
    areas = rest.numbers("area", "a number >= 0", absent=sizes)
    flags = rest.flags("iscrowd", CROWD) | rest.flags("difficult", IGNORE)
    if more[1] is not None:
        flags |= ~(more[1][..., 2] > 0).any(1) * np.uint8(IGNORE)
    truth = Columns(ids[~empty], rest.integers("category_id"), boxes, areas, none.scores, flags, none.ids, *more)
    return ids, truth


class _Batch:
    """Some rows of a file. Errors name the row of the file."""

    def __init__(self, path: str, first: int, batch: Any, rows: Ints | None = None) -> None:
        self._path, self._batch = path, batch
        self._rows = first + np.arange(batch.num_rows) if rows is None else rows

    def without(self, dropped: Array) -> _Batch:
        kept = np.flatnonzero(~dropped)
        return _Batch(self._path, 0, self._batch.take(pyarrow_module("pyarrow").array(kept)), self._rows[kept])

    def null(self, name: str) -> Array:
        is_null: Array = self._batch.column(name).is_null().to_numpy(zero_copy_only=False)
        return is_null

    def integers(self, name: str) -> Ints:
        kind, column = pyarrow_module("pyarrow").types, self._batch.column(name)
        if not kind.is_integer(column.type):
            raise FormatError(f"{self._path}: {name}: expected integers, got {column.type}")
        self._no_nulls(name, "an integer", column)
        values: Array = column.to_numpy(zero_copy_only=False)
        if values.dtype == np.uint64:
            self._all(name, "an integer of 64 bits", values, values < 2**63)
        return values.astype(np.int64)

    def numbers(self, name: str, expected: str, absent: Floats | None = None) -> Floats:
        """Finite numbers. With ``absent`` they are >= 0, and ``absent`` stands in for a missing column or value."""
        if absent is not None and name not in self._batch.schema.names:
            return absent
        column = self._batch.column(name)
        self._numeric(name, expected, column.type)
        if absent is None:
            self._no_nulls(name, expected, column)
        values: Floats = column.to_numpy(zero_copy_only=False).astype(np.float64)
        if absent is not None:
            values = np.where(self.null(name), absent, values)
        self._all(name, expected, values, np.isfinite(values) & ((absent is None) | (values >= 0)))
        return values

    def flags(self, name: str, flag: int) -> Bytes:
        if name not in self._batch.schema.names:
            return np.zeros(self._batch.num_rows, np.uint8)
        column = self._batch.column(name)
        values: Array = column.fill_null(False if column.type == "bool" else 0).to_numpy(zero_copy_only=False)
        self._all(name, "0 or 1", values, (values == 0) | (values == 1))
        return values.astype(np.uint8) * np.uint8(flag)

    def boxes(self) -> Floats:
        kind, column = pyarrow_module("pyarrow").types, self._batch.column("bbox")
        lists = kind.is_list(column.type) or kind.is_large_list(column.type) or kind.is_fixed_size_list(column.type)
        if not lists:
            raise FormatError(f"{self._path}: bbox: expected lists of four numbers, got {column.type}")
        self._numeric("bbox", "lists of four numbers", column.type.value_type)
        self._no_nulls("bbox", "four numbers", column)
        if kind.is_fixed_size_list(column.type):
            length = np.full(len(column), column.type.list_size)
        else:
            length = np.diff(column.offsets.to_numpy())
        self._all("bbox", "four numbers", length, length == 4)
        sides = column.flatten()
        out: Floats = sides.to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, 4)  # null: NaN
        for at, expected in enumerate(("four numbers", "four numbers", "a width >= 0", "a height >= 0")):
            self._all("bbox", expected, out[:, at], np.isfinite(out[:, at]) & ((at < 2) | (out[:, at] >= 0)))
        return out

    def shapes(self, shape: str, *, own_areas: bool = False) -> tuple[Floats, Floats, tuple[RLE | None, Floats | None]]:
        """Boxes x y w h, areas, and the masks or keypoints that are asked for.

        Areas are by the rule of COCO's loadRes, those of boxes where there is a column of them; with ``own_areas``,
        masks have their own.
        """
        masks = self.masks() if shape == "segm" else None
        keypoints = self.keypoints() if shape == "keypoints" else None
        stated = "bbox" in self._batch.schema.names
        if stated:
            boxes = self.boxes()
        elif masks is not None:
            boxes = to_boxes(masks)
            boxes[:, 2:] -= boxes[:, :2]
        else:
            assert keypoints is not None
            boxes = extent(keypoints)
        of_masks = masks is not None and (own_areas or not stated)
        areas = area(masks).astype(np.float64) if of_masks else boxes[:, 2] * boxes[:, 3]  # type: ignore[arg-type]
        return boxes, areas, (masks, keypoints)

    def masks(self) -> RLE:
        """Of structs of ``size``, two integers, and ``counts``, text or bytes."""
        kind, column = pyarrow_module("pyarrow").types, self._batch.column("segmentation")
        expected = "structs of size and counts"
        if not kind.is_struct(column.type) or {field.name for field in column.type} != {"size", "counts"}:
            raise FormatError(f"{self._path}: segmentation: expected {expected}, got {column.type}")
        self._no_nulls("segmentation", "size and counts", column)
        records = column.to_pylist()
        try:
            return RLE.from_coco(records)
        except (TypeError, ValueError) as error:  # "RLE.from_coco: record 3: ..."
            _, at, what = str(error).split(": ", 2)
            self._refuse("segmentation", int(at.split()[1]), what)

    def keypoints(self) -> Floats:
        """Lists of x, y and visibility of each point, all of one length."""
        kind, expected = pyarrow_module("pyarrow").types, "lists of 3 K numbers"
        column = self._batch.column("keypoints")
        lists = kind.is_list(column.type) or kind.is_large_list(column.type) or kind.is_fixed_size_list(column.type)
        if not lists:
            raise FormatError(f"{self._path}: keypoints: expected {expected}, got {column.type}")
        self._numeric("keypoints", expected, column.type.value_type)
        self._no_nulls("keypoints", "3 K numbers", column)
        if kind.is_fixed_size_list(column.type):
            length = np.full(len(column), column.type.list_size)
        else:
            length = np.diff(column.offsets.to_numpy())
        size = int(length[0]) if len(length) else 0
        self._all("keypoints", f"{size} numbers", length, length == size)
        if size % 3 or (len(length) and not size):
            self._fail("keypoints", "x, y and visibility of each point", 0, f"{size} numbers")
        values: Floats = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(length), size)
        finite: Array = np.all(np.isfinite(values), axis=1)
        self._all("keypoints", "finite numbers", values.sum(axis=1), finite)
        return values.reshape(len(length), -1, 3)

    def _numeric(self, name: str, expected: str, column_type: Any) -> None:
        kind = pyarrow_module("pyarrow").types
        if not (kind.is_integer(column_type) or kind.is_floating(column_type)):
            raise FormatError(f"{self._path}: {name}: expected {expected}, got {column_type}")

    def _no_nulls(self, name: str, expected: str, column: Any) -> None:
        if column.null_count:
            self._fail(name, expected, int(np.argmax(self.null(name))), "null")

    def _all(self, name: str, expected: str, values: Array, good: Array) -> None:
        if not good.all():
            i = int(np.argmin(good))
            self._fail(name, expected, i, f"{values[i]:.6g}" if values.dtype.kind == "f" else str(values[i]))

    def _fail(self, name: str, expected: str, i: int, value: str) -> NoReturn:
        self._refuse(name, i, f"expected {expected}, got {value}")

    def _refuse(self, name: str, i: int, what: str) -> NoReturn:
        raise FormatError(f"{self._path}: row {self._rows[i]}: {name}: {what}")
