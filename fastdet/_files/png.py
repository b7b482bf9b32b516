"""PNG files, checked whole: decoders accept wrong checksums and missing rows, and this does not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastdet._core import backends, limits
from fastdet._core.check import Array
from fastdet._core.label_images import LabelPixels, pixels
from fastdet._files.errors import FormatError, one_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 33
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_GREY, _RGB, _INDEXED, _GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")  # eXIf says whether pixels are turned


def size(head: bytes, *, colours: bool) -> tuple[int, int]:
    """Height and width of a label map, from its first 33 bytes. ``colours``: whether colours are understood."""
    width, height, depth, kind = _header(head)
    if text := too_large(height, width):
        raise FormatError(text)
    if kind not in (_GREY, _INDEXED, _RGB, _GREY_ALPHA, RGBA) or (depth == 16 and kind != _GREY):
        raise FormatError(f"expected a grey, palette or 8-bit RGB image, got {_kind(depth, kind)}")
    if kind in (_RGB, RGBA) and not colours:
        raise FormatError(f"expected labels, got {_kind(depth, kind)}: use --palette to name its colours")
    return height, width


def read(data: bytes) -> LabelPixels:
    """The numbers or colours of a PNG file. FormatError."""
    from PIL import PngImagePlugin  # an extra

    needed = _check_chunks(data)
    try:
        # Not Image.open, which warns about large images: `limits` has the size already. Without the chunks of
        # text and profiles, which Pillow limits: a label map may carry any amount of them.
        with PngImagePlugin.PngImageFile(io.BytesIO(needed)) as image:
            return pixels(image)
    except MemoryError:
        raise
    except ValueError as error:
        if str(error).startswith("expected "):
            raise FormatError(str(error)) from None
        raise FormatError(f"damaged: {one_line(error) or type(error).__name__}") from None
    except Exception as error:  # decoders raise anything at damaged data
        raise FormatError(f"damaged: {one_line(error) or type(error).__name__}") from None


def read_rgb(data: bytes) -> Array:
    """(H, W, 3) uint8: the colours of a PNG of 8-bit RGB, whatever they look like. FormatError.

    C++ unpacks it; Pillow reads it where that is absent, and interlaced ones.
    """
    width, height, depth, kind = _header(data[:HEADER_BYTES])
    if kind != _RGB or depth != 8:
        raise FormatError(f"expected an 8-bit RGB image, got {_kind(depth, kind)}")
    if text := too_large(height, width):
        raise FormatError(text)
    if backends.native is None or data[28] or b"eXIf" in data:
        return np.ascontiguousarray(read(data).values)
    view = memoryview(data)
    packed = [view[at + 8 : end] for name, at, end in _chunks(data) if name == b"IDAT"]
    colours: Array | int = backends.native.png_pixels(b"".join(packed), height, width)
    if not isinstance(colours, int):
        return colours
    if colours > 0:
        raise FormatError(f"damaged: row {colours - 1} has an unknown filter")
    what = {-1: "it holds too few pixels", -2: "it holds too many pixels", -3: "its pixels cannot be unpacked"}
    raise FormatError(f"damaged: {what[colours]}")


def too_large(height: int, width: int) -> str:
    """The text of the error for a map of more pixels than the limit; "" for others."""
    if height * width <= limits.of("pixels"):
        return ""
    return limits.exceeded("pixels", height * width, shown=f"{height} x {width}")


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits a sample and colour type of a PNG, from its first 33 bytes."""
    if not data.startswith(SIGNATURE):
        raise FormatError(f"expected a PNG image, got {content(data)}")
    if len(data) < 33 or data[12:16] != b"IHDR" or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise FormatError("expected a PNG image, got one with a damaged or truncated header")
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    if not width or not height:
        raise FormatError(f"expected a PNG image, got one of {height} x {width} pixels")
    return width, height, depth, kind


def content(head: bytes) -> str:
    """What a file is, from its first bytes."""
    if not head:
        return "an empty file"
    kinds = {
        b"\xff\xd8\xff": "JPEG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        SIGNATURE: "PNG",
    }
    kinds |= {b"RIFF": "WebP", b"\x93NUMPY": "NPY", b"PK": "NPZ"}
    return next((f"a file of {name}" for magic, name in kinds.items() if head.startswith(magic)), "another file")


def _kind(depth: int, kind: int) -> str:
    words = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}
    return f"a {depth}-bit {words.get(kind, 'unknown')} image"


def _check_chunks(data: bytes) -> bytes:
    """Check a whole PNG file, and return it without the chunks that hold no pixels."""
    width, height, depth, kind = _header(data[:33])
    if text := too_large(height, width):
        raise FormatError(text)
    bits = depth * {_RGB: 3, RGBA: 4, _GREY_ALPHA: 2}.get(kind, 1)
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    sizes = [(-((y - height) // dy), -((x - width) // dx)) for y, x, dy, dx in passes]
    left = sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if columns > 0)
    view = memoryview(data)
    stream, needed = zlib.decompressobj(), [view[:8]]
    for name, at, end in _chunks(data):
        if name == b"IDAT":
            left -= _inflated(stream, view[at + 8 : end], left)
        if name in _NEEDED:
            needed.append(view[at : end + 4])
    if left or not stream.eof:
        raise FormatError(f"damaged: it holds too {'few' if left > 0 else 'many'} pixels")
    return b"".join(needed)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name, the start and the end of the content of each chunk. FormatError for a wrong CRC and a missing end."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        name, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise FormatError(f"damaged: chunk {name.decode('latin-1')!r} at byte {at} has a wrong CRC")
        yield name, at, end
        if name == b"IEND":
            return
        at = end + 4
    raise FormatError(f"truncated: the file ends after {len(data)} bytes, before its end chunk IEND")


def _inflated(stream: Any, data: Any, max_bytes: int) -> int:
    """The number of bytes in the next piece of a zlib stream. Stops above ``max_bytes``."""
    count = 0
    try:
        while data and count <= max_bytes:
            count += len(stream.decompress(data, 1 << 16))
            data = stream.unconsumed_tail
    except zlib.error as error:
        raise FormatError(f"damaged: {error}") from None
    return count
