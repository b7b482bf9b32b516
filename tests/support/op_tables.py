"""The rows of every area, collected from tests/<area>/ops.py: a new op adds its rows there, and nothing here.

`BOX_OPS`: rows that take a `Sample` of boxes. `ARRAY_OPS`: rows with their own cases. Both by name.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from op_rows import ArrayOp, Op

TESTS = Path(__file__).parents[1]


def _rows(path: Path) -> dict[str, Any]:
    """`OPS` of a file. All files are named ops.py, so each is loaded by its path, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"ops_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.OPS)


AREAS: dict[str, dict[str, Any]] = {path.parent.name: _rows(path) for path in sorted(TESTS.glob("*/ops.py"))}
_ALL = {name: op for rows in AREAS.values() for name, op in rows.items()}
assert len(_ALL) == sum(map(len, AREAS.values())), "two areas have a row of one name"
BOX_OPS: dict[str, Op] = {name: op for name, op in _ALL.items() if isinstance(op, Op)}
ARRAY_OPS: dict[str, ArrayOp] = {name: op for name, op in _ALL.items() if isinstance(op, ArrayOp)}
