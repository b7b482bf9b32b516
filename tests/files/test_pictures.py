"""The size of a picture comes from its header, as Pillow says it, and nothing is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from memory import grown

from fastdet._files import pictures
from fastdet._files.errors import FormatError

Image = pytest.importorskip("PIL.Image")
KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000")


def saved(path: Path, kind: str, size: tuple[int, int] = (7, 5), orientation: int = 0, **more: object) -> Path:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
        exif[0x010E] = "a description" * 20
        more["exif"] = exif
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path, kind, **more)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_formats(tmp_path: Path, kind: str) -> None:
    assert pictures.size(saved(tmp_path / "x", kind, (700, 5))) == (700, 5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    path = saved(tmp_path / "x", kind, (7, 5), orientation)
    with Image.open(path) as picture:
        assert picture.getexif().get(0x0112) == orientation
    assert pictures.size(path) == ((5, 7) if orientation > 4 else (7, 5))


def test_other_forms(tmp_path: Path) -> None:
    """Progressive JPEG, lossless WebP, alpha, big-endian TIFF, an Exif chunk behind the pixels of a PNG."""
    assert pictures.size(saved(tmp_path / "x", "JPEG", progressive=True)) == (7, 5)
    assert pictures.size(saved(tmp_path / "x", "WEBP", lossless=True)) == (7, 5)
    Image.fromarray(np.zeros((5, 7, 4), np.uint8)).save(tmp_path / "x", "WEBP")
    assert pictures.size(tmp_path / "x") == (7, 5)
    Image.new("I;16B", (7, 5)).save(tmp_path / "x", "TIFF")
    assert pictures.size(tmp_path / "x") == (7, 5)
    whole = saved(tmp_path / "x", "PNG", (7, 5), 6).read_bytes()
    at = whole.index(b"eXIf") - 4
    length = 12 + int.from_bytes(whole[at : at + 4], "big")
    moved = whole[:at] + whole[at + length : -12] + whole[at : at + length] + whole[-12:]
    (tmp_path / "x").write_bytes(moved)
    assert pictures.size(tmp_path / "x") == (5, 7)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_large_picture_is_not_decoded(tmp_path: Path) -> None:
    """20,000 x 20,000 pixels in a few hundred kilobytes: 1.2 GB if they were decoded."""
    stream = zlib.compressobj(9)
    rows = b"".join(stream.compress(bytes(60_001)) for _ in range(2000)) + stream.flush()
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b""))
    size, more = grown("from fastdet._files import pictures", "print(pictures.size(Path(sys.argv[1])))", path)
    assert size == "(20000, 20000)"
    assert more < 8 << 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_damaged(tmp_path: Path, kind: str) -> None:
    """A header that is cut is an error of one line, or the size is known already."""
    whole = saved(tmp_path / "x", kind).read_bytes()
    path = tmp_path / "cut"
    for length in range(0, min(len(whole), 200)):
        path.write_bytes(whole[:length])
        try:
            found = str(pictures.size(path))
        except FormatError as error:
            found = str(error)
        assert found == "(7, 5)" or found.startswith(f"{path}: expected an image, got ")
        assert "\n" not in found


def test_tags_that_point_to_the_same_data(tmp_path: Path) -> None:
    """60,000 tags of a TIFF, each of which claims the whole file: Pillow copies it for each."""
    count = 60_000
    tags = struct.pack("<HHI4s", 256, 3, 1, b"\x07\0\0\0") + struct.pack("<HHI4s", 257, 3, 1, b"\x05\0\0\0")
    tags += b"".join(struct.pack("<HHII", 1000 + i, 1, 700_000, 8) for i in range(count - 2))
    path = tmp_path / "x.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4))
    assert pictures.size(path) == (7, 5)
