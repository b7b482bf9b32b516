"""Layouts: the same values in another memory order."""

from __future__ import annotations

import numpy as np
from samples import Array


def strided(x: Array) -> Array:
    """Every second entry of each axis of a larger array."""
    wide = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def backwards(x: Array) -> Array:
    """Negative strides on every axis."""
    turn = tuple(slice(None, None, -1) for _ in x.shape)
    return np.ascontiguousarray(x[turn])[turn]


def fortran(x: Array) -> Array:
    return np.asfortranarray(x)


def read_only(x: Array) -> Array:
    copy = x.copy()
    copy.setflags(write=False)
    return copy


def big_endian(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder(">"))


def unaligned(x: Array) -> Array:
    """One byte off the alignment."""
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def column(x: Array) -> Array:
    """A slice of wider rows: gaps between rows, none within a row."""
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), x.dtype)
    view = wide[..., 1:-2]
    view[...] = x
    return view


def repeated(x: Array) -> Array:
    """Stride 0: the first entry repeated, so the values differ from ``x``."""
    return np.broadcast_to(x[:1], x.shape)


LAYOUTS = (strided, backwards, fortran, read_only, big_endian, unaligned, column, repeated)
