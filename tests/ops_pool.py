"""Rows of the table of ops: fastdet.pool."""

from __future__ import annotations

from array_op import ArrayOp

OPS: dict[str, ArrayOp] = {}
