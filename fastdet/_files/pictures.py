"""The size of a picture as it is shown, from the headers of its file: nothing is decoded.

JPEG, PNG, GIF, BMP, WebP and TIFF are read here. Other formats are opened by Pillow, which reads their headers only.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, Any

from fastdet._files.errors import FormatError, one_line
from fastdet._files.opening import open_file

_MAX_PARTS = 100_000  # segments, chunks or tags that are passed over
_MAX_EXIF = 1 << 20  # bytes
_TURNED = (5, 6, 7, 8)  # Exif: shown with width and height swapped
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's markers that hold the size
_PLAIN = {0x01, *range(0xD0, 0xD9)}  # JPEG's markers without content
_REFUSED = ("EPS", "PSD", "WMF", "MPEG", "FPX", "MIC", "BUFR", "GRIB", "HDF5", "SPIDER", "GBR", "PDF")  # no photographs


def size(path: Path) -> tuple[int, int]:
    """Width and height. FormatError, OSError."""
    with open_file(path) as file:
        start = file.read(16)
        file.seek(0)
        try:
            width, height = _sized(path, file, start)
        except FormatError:
            raise
        except (ValueError, IndexError, EOFError) as error:
            raise FormatError(f"{path}: expected an image, got a damaged one: {one_line(error)}") from None
    if width < 1 or height < 1:
        raise FormatError(f"{path}: expected an image, got one of {width} x {height} pixels")
    return width, height


def _sized(path: Path, file: IO[bytes], start: bytes) -> tuple[int, int]:
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(file)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(file)
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return int.from_bytes(start[6:8], "little"), int.from_bytes(start[8:10], "little")
    if start.startswith(b"BM"):
        return _bmp(file)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp(file)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        tags = _tags(file, (256, 257, 274))
        return _shown(tags.get(256, 0), tags.get(257, 0), tags.get(274, 1))
    return _by_pillow(path, file)


def _take(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError("the file ends too early")
    return data


def _shown(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation in _TURNED else (width, height)


def _orientation(exif: bytes) -> int:
    """The orientation that Exif data states; 1 where it states none."""
    data = exif.removeprefix(b"Exif\0\0")
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        return _tags(io.BytesIO(data), (274,)).get(274, 1)
    except (ValueError, EOFError):
        return 1


def _tags(file: IO[bytes], wanted: tuple[int, ...]) -> dict[int, int]:
    """The first number of these tags of a TIFF, from its first directory."""
    file.seek(0)
    head = _take(file, 8)
    order: Any = "little" if head[:2] == b"II" else "big"
    big = head[2:4] in (b"+\0", b"\0+")
    at = int.from_bytes(_take(file, 8) if big else head[4:8], order)
    _to(file, at)
    count = int.from_bytes(_take(file, 8 if big else 2), order)
    if count > _MAX_PARTS:
        raise ValueError("too many tags")
    found: dict[int, int] = {}
    long = 20 if big else 12
    entries = _take(file, long * count)
    for i in range(0, len(entries), long):
        tag, kind = (int.from_bytes(entries[i + a : i + a + 2], order) for a in (0, 2))
        number = int.from_bytes(entries[i + 4 : i + (12 if big else 8)], order)
        width = {1: 1, 3: 2, 4: 4, 16: 8}.get(kind, 0)
        if tag in wanted and tag not in found and number == 1 and 0 < width <= (8 if big else 4):
            value = entries[i + (12 if big else 8) :][:width]
            found[tag] = int.from_bytes(value, order)
    return found


def _to(file: IO[bytes], at: int) -> None:
    if at >= 2**62:
        raise ValueError("a directory outside of the file")
    file.seek(at)


def _jpeg(file: IO[bytes]) -> tuple[int, int]:
    file.seek(2)
    orientation = None
    for _ in range(_MAX_PARTS):
        if _take(file, 1) != b"\xff":
            raise ValueError("no marker where one must be")
        while (marker := _take(file, 1)[0]) == 0xFF:
            pass
        if marker in _PLAIN:
            continue
        length = int.from_bytes(_take(file, 2), "big") - 2
        if length < 0 or marker == 0xDA:
            break
        if marker in _FRAMES:
            head = _take(file, 5)
            height, width = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
            return _shown(width, height, orientation or 1)
        if marker == 0xE1 and orientation is None:
            data = _take(file, length)
            orientation = _orientation(data) if data.startswith(b"Exif\0\0") else None
        else:
            file.seek(length, 1)
    raise ValueError("it states no size")


def _png(file: IO[bytes]) -> tuple[int, int]:
    file.seek(8)
    head = _take(file, 25)
    if head[4:8] != b"IHDR":
        raise ValueError("it begins with another chunk than IHDR")
    width, height = int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")
    for _ in range(_MAX_PARTS):
        chunk = file.read(8)  # eXIf may stand behind the pixels
        if len(chunk) < 8 or chunk[4:] == b"IEND":
            return width, height
        length = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"eXIf" and length <= _MAX_EXIF:
            return _shown(width, height, _orientation(file.read(length)))
        file.seek(length + 4, 1)
    raise ValueError(f"it has more than {_MAX_PARTS:,} chunks")


def _bmp(file: IO[bytes]) -> tuple[int, int]:
    head = _take(file, 26)
    if int.from_bytes(head[14:18], "little") == 12:  # OS/2
        return int.from_bytes(head[18:20], "little"), int.from_bytes(head[20:22], "little")
    width, height = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (18, 22))
    return width, abs(height)  # negative: the first row is the top


def _webp(file: IO[bytes]) -> tuple[int, int]:
    file.seek(12)
    size: tuple[int, int] | None = None
    turned = False
    for _ in range(_MAX_PARTS):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"VP8X":
            head = _take(file, 10)
            size = 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
            if not head[0] & 8:  # no Exif
                return size
            length -= 10
        elif name == b"VP8L" and size is None:
            bits = int.from_bytes(_take(file, 5)[1:], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif name == b"VP8 " and size is None:
            head = _take(file, 10)
            return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
        elif name == b"EXIF" and length <= _MAX_EXIF:
            turned = _orientation(file.read(length)) in _TURNED
            break
        file.seek(max(length, 0) + (length & 1), 1)
    if size is None:
        raise ValueError("it states no size")
    return size[::-1] if turned else size


def _by_pillow(path: Path, file: IO[bytes]) -> tuple[int, int]:
    from PIL import Image  # an extra

    Image.init()
    formats = [name for name in Image.OPEN if name not in _REFUSED]
    try:
        with warnings.catch_warnings(), Image.open(file, formats=formats) as picture:
            warnings.simplefilter("ignore")
            exif = picture.info.get("exif")
            width, height = picture.size
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything at damaged data
        raise FormatError(f"{path}: expected an image, got {one_line(error) or type(error).__name__}") from None
    return _shown(width, height, _orientation(exif) if isinstance(exif, bytes) else 1)
