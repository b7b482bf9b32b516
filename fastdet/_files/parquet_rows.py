"""Detections of a Parquet file as a table, and copies of some of its rows with all their columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastdet._files.atomic import atomic
from fastdet._files.opening import open_file
from fastdet._files.parquet import pyarrow_module, read_parquet_results
from fastdet._files.table import Kept, Table, group


def read_table(path: Path) -> Table:
    """The detections of a file, grouped by image in the order of their first rows. FormatError, OSError."""
    rows = read_parquet_results(path)
    ids, first, inverse = np.unique(rows.image, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    offsets, by_image = group(rank[inverse.reshape(-1)], len(ids))
    return Table(rows.boxes, True, rows.scores, rows.label, ids[order].tolist(), offsets, by_image)


def copy_rows(path: Path, kept: Kept, out: Path) -> None:
    """Write the kept rows of a file with all their columns, and new scores where there are any. OSError."""
    pyarrow, parquet = pyarrow_module("pyarrow"), pyarrow_module("pyarrow.parquet")
    with open_file(path) as opened, parquet.ParquetFile(opened) as file:
        table = file.read().take(pyarrow.array(kept.rows))
    if kept.scores is not None:
        at = table.schema.get_field_index("score")
        kind = table.schema.field(at).type
        exact = kind if pyarrow.types.is_floating(kind) and kind != pyarrow.float16() else pyarrow.float64()
        table = table.set_column(at, "score", pyarrow.array(kept.scores.astype(np.float64)).cast(exact))
    with atomic(out) as target:
        parquet.write_table(table, target)
