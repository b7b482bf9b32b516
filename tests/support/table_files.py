"""Records and arrays of detections, and files of them, for the tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fastdet._files import detections as _formats
from fastdet._files.table import Kept, Table

RECORD = '{"image_id": 7, "category_id": 1, "bbox": [1, 2.50, 3e1, 4], "score": 0.10}'


def everything(table: Table) -> Kept:
    rows = np.arange(int(table.offsets[-1])) if table.rows is None else table.rows
    return Kept(rows, table.offsets, None)


def read_text(tmp_path: Path, text: str | bytes) -> Table:
    path = tmp_path / "in.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _formats.read(path)


def read_arrays(tmp_path: Path, **arrays: object) -> Table:
    path = tmp_path / "in.npz"
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    return _formats.read(path)


def change(**fields: object) -> str:
    return json.dumps({**json.loads(RECORD), **fields})
