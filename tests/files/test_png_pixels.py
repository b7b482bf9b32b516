"""The C++ reader of PNG pixels: it unpacks what zlib unpacks, and refuses what zlib refuses."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from optional import need

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def rows(rng: np.random.Generator, height: int, width: int, kind: int) -> Any:
    """(H, 3 W) bytes: noise, few values, long runs, and pixels that mostly repeat."""
    shape = height, width, 3
    if kind == 0:
        return rng.integers(0, 256, shape).astype(np.uint8).reshape(height, -1)
    if kind == 1:
        return rng.integers(0, 3, shape).astype(np.uint8).reshape(height, -1)
    if kind == 2:
        return np.full(shape, 7, np.uint8).reshape(height, -1)
    some = rng.integers(0, 256, (height, width // 9 + 1, 3)).astype(np.uint8)
    return np.repeat(some, 9, axis=1)[:, :width].reshape(height, -1)


def packed(rng: np.random.Generator, data: bytes) -> bytes:
    """A zlib stream of any level, window and strategy, in one block or in several."""
    stream = zlib.compressobj(
        int(rng.integers(0, 10)), zlib.DEFLATED, int(rng.integers(9, 16)), int(rng.integers(1, 10)),
        int(rng.choice(STRATEGIES)),
    )  # fmt: skip
    middle = int(rng.integers(0, len(data) + 1))
    mode = (zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)[int(rng.integers(0, 3))]
    return stream.compress(data[:middle]) + stream.flush(mode) + stream.compress(data[middle:]) + stream.flush()


def of_zlib(data: bytes, size: int) -> bytes | int:
    """The rows, or what `png_pixels` says of a stream that does not hold them."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, size + 1)
        if len(found) > size:
            return -2
        return -3 if not stream.eof else -1 if len(found) < size else found
    except zlib.error:
        return -3


@pytest.mark.parametrize("seed", range(4))
def test_streams(seed: int) -> None:
    native, rng = need("fastdet._cpp"), np.random.default_rng(seed)
    sizes = [(1, 1), (1, 200), (40, 3), (17, 64), (120, 90)]
    for turn in range(60):
        height, width = sizes[turn % 5]
        colours = rows(rng, height, width, int(rng.integers(0, 4)))
        data = packed(rng, b"".join(b"\0" + row.tobytes() for row in colours))
        np.testing.assert_array_equal(native.png_pixels(data, height, width).reshape(height, -1), colours)
        np.testing.assert_array_equal(native.png_pixels(data + b"more", height, width).reshape(height, -1), colours)
        assert native.png_pixels(data, height + 1, width) == -1
        if height > 1:
            assert native.png_pixels(data, height - 1, width) == -2


@pytest.mark.parametrize("seed", range(4))
def test_damaged_streams(seed: int) -> None:
    native, rng = need("fastdet._cpp"), np.random.default_rng(100 + seed)
    refused = 0
    for _ in range(400):
        height, width = (int(x) for x in rng.integers(1, 40, 2))
        colours = rows(rng, height, width, int(rng.integers(0, 4)))
        data = bytearray(packed(rng, b"".join(b"\0" + row.tobytes() for row in colours)))
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(0, min(len(data), 80)))] ^= 1 << int(rng.integers(0, 8))
        stream = bytes(data[: int(rng.integers(0, len(data)))] if rng.random() < 0.3 else data)
        want, got = of_zlib(stream, height * (3 * width + 1)), native.png_pixels(stream, height, width)
        if isinstance(want, bytes):
            assert not isinstance(got, int) or got > 0
        else:
            refused += 1
            assert isinstance(got, int)
            assert got in ((-1, -3) if want == -1 else (-2, -3))  # where both are wrong, which comes first may differ
    assert refused > 300


def test_wrong_arguments() -> None:
    native = need("fastdet._cpp")
    for size in ((0, 1), (1, 0), (-1, 5), (2**40, 2**40)):
        with pytest.raises(ValueError, match="invalid size"):
            native.png_pixels(b"", *size)
    assert native.png_pixels(b"", 1, 1) == -3
