"""Pooling of real maps of membranes. The data stands beside the repository."""

from __future__ import annotations

import numpy as np
from op_rows import equal
from optional import pictures

from fastdet import pool


def test_membranes_pooled(variant: str) -> None:
    """Binary maps of cell membranes: SegNet's unpooling keeps every maximum where it was, and nothing else."""
    label = pictures("isbi2012_membrane", "label").astype(np.float32)
    values, places = pool.max_pool2d(label, 2, backend=variant)
    back = pool.max_unpool2d(values, places, 2, backend=variant)
    kept = back != 0
    assert np.array_equal(back[kept], label[kept])
    assert np.count_nonzero(kept) == np.count_nonzero(values)
    compact = pool.max_pool2d(label, 2, compact=True, backend=variant)[1]
    equal(pool.max_unpool2d(values, compact, 2, backend=variant), back)
