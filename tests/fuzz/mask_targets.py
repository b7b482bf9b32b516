"""The decoders of masks that are fuzzed: COCO's texts and polygons. All backends must give one answer."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.mutations import mutated

from fastdet import masks
from fastdet._core import backends
from fastdet._files.errors import FormatError
from fastdet.masks import RLE
from fastdet.masks.rle import rle_from_strings_reference

SIZES = [(1, 1), (3, 4), (64, 65), (480, 640), (2**16, 2**15), (2**16 - 1, 2**16 - 1), (0, 7), (2**32, 1)]
TEXTS = [b"\x0001", b"\x01525", b"\x02T3b1>000lh3", b"\x03Xo0X6h80hRZ9", b"\x045kooooo1", b"\x060", b"\x06"]


def text(data: bytes, folder: Path) -> object:
    """The first byte chooses the size of the image, the rest is the text of a mask."""
    size, counts = SIZES[data[0] % len(SIZES)] if data else (0, 0), data[1:]
    want: Any = rle_from_strings_reference([counts])
    if backends.native is not None:
        got = backends.native.rle_from_strings([counts])
        assert all(np.array_equal(g, w) for g, w in zip(got, want, strict=True)), (got, want)
    rle = refused(lambda: RLE.from_coco({"size": size, "counts": counts}))
    assert RLE.from_coco(rle.to_coco()) == rle
    whole, narrow = masks.area(rle), masks.area(masks.boundary(rle)) if size[0] < 2**15 else masks.area(rle)
    assert (narrow <= whole).all()
    return masks.to_boxes(rle), masks.mask_iou(rle, rle), masks.merge(rle)


def polygons(data: bytes, folder: Path) -> object:
    """Bytes are the size of the image, then float32 coordinates, an odd number of them left out."""
    if len(data) < 4:
        raise FormatError("too short")
    height, width = (int(x) % 200 for x in struct.unpack("<HH", data[:4]))
    corners = np.frombuffer(data[4 : 4 + (len(data) - 4) // 8 * 8], np.float32)
    rle = refused(lambda: masks.from_polygons([[corners], [corners, corners[::-1]]], (height, width)))
    if np.abs(corners).max() < 2000 and len(corners) < 100:  # the reference draws each fifth of a pixel
        want = masks.from_polygons([[corners], [corners, corners[::-1]]], (height, width), backend="reference")
        assert rle == want
    return masks.decode(rle)


def refused(read: Any) -> RLE:
    """What is read; fastdet's errors as errors of a file."""
    try:
        rle: RLE = read()
    except (ValueError, TypeError) as error:
        if str(error).startswith(("RLE.from_coco: ", "from_polygons: ")):
            raise FormatError(str(error)) from None
        raise
    return rle


def _floats(height: int, width: int, *corners: float) -> bytes:
    return struct.pack(f"<HH{len(corners)}f", height, width, *corners)


FLOATS = [struct.pack("<f", x) for x in (0, -1, 0.1, 2.5, 199.5, 1e6, -(2.0**28), 2.0**28, 3e8, 1e38, np.nan, np.inf)]


def changed(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Another coordinate, or other bytes."""
    if rng.randrange(2):
        return mutated(rng, data, others)
    at = 4 + 4 * rng.randrange(max(1, (len(data) - 4) // 4))
    value = rng.choice(FLOATS) if rng.randrange(2) else struct.pack("<f", rng.uniform(-50, 250))
    return data[:at] + value + data[at + 4 :]


POLYGONS = [
    _floats(40, 50, 1, 2, 30, 4, 20, 39),
    _floats(1, 1, 0, 0, 1, 0, 1, 1, 0, 1),
    _floats(100, 30, -5, -5, 40, 50, 12.5, 12.5, 3, 99, 3, 99, 3, 20),
]
