"""Read label maps from files, one map in memory at a time.

A folder of PNG images, one a map. Grey images (1, 2, 4, 8 or 16-bit) and palette images hold the labels themselves;
the colours of the palette do not matter. RGB images need a `Palette`. Maps are matched by file name without suffix.
Other files of the folder are skipped and listed in ``ignored``.

An NPZ with one integer array (N, H, W), and an array of N names if maps are matched by name; or an NPY with the array
alone. An NPZ is unpacked to a temporary file: this checks it, and lets the maps be read in any order.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastdet._core.check import Array
from fastdet._files.errors import FormatError, missing
from fastdet._files.palettes import Palette

MAX_PIXELS = 1 << 28  # limit of one map: the header of a small file can claim any size
_npy: Any = np.lib.format
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_GREY, _RGB, _INDEXED, _RGBA = 0, 2, 3, 6  # PNG's colour types


class Folder:
    """The PNG files of a folder, by name."""

    def __init__(self, path: Path, palette: Palette | None, ignore: int | None) -> None:
        if importlib.util.find_spec("PIL") is None:
            raise FormatError('miou: PNG files need Pillow: pip install "fastdet[cli]"')
        self.path, self.palette, self.ignore = path, palette, ignore
        files: dict[str, Path] = {}
        self.ignored: list[str] = []
        for file in sorted(path.iterdir()):
            if file.name.startswith("."):
                continue
            if file.suffix.lower() != ".png" or file.is_dir():
                self.ignored.append(shown(file.name))
                continue
            key = stem(file.name)
            if key in files:
                raise FormatError(f"{path}: expected one file a name, got {files[key].name} and {file.name}")
            files[key] = file
        if not files:
            count = len(self.ignored)
            others = f"{count} other {'entry' if count == 1 else 'entries'}" if count else "an empty folder"
            raise FormatError(f"{path}: expected a folder of PNG label maps, got {others}")
        self.keys: list[str] | None = list(files)
        self.files = list(files.values())
        self.names = [shown(file.name) for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def shape(self, i: int) -> tuple[int, int]:
        """Height and width, from the header of the file only. FormatError, OSError."""
        file = self.files[i]
        if not file.is_file():  # reading a pipe would wait for ever
            raise FormatError("expected a file, got " + ("a broken link" if file.is_symlink() else "a device"))
        with file.open("rb") as opened:
            width, height, depth, kind = _header(opened.read(33))
        if width * height > MAX_PIXELS:
            raise FormatError(f"expected at most {MAX_PIXELS:,} pixels, got {height} x {width}")
        if kind not in (_GREY, _INDEXED, _RGB, _RGBA) or (depth == 16 and kind != _GREY):
            raise FormatError(f"expected a grey, palette or 8-bit RGB image, got {_kind(depth, kind)}")
        if kind in (_RGB, _RGBA) and self.palette is None:
            raise FormatError(f"expected labels, got {_kind(depth, kind)}: use --palette to name its colours")
        if file.stat().st_size > 16 * MAX_PIXELS:
            raise FormatError(f"expected at most {16 * MAX_PIXELS:,} bytes, got {file.stat().st_size:,}")
        return height, width

    def read(self, i: int) -> Array:
        """(H, W) integer labels. FormatError, OSError."""
        data = self.files[i].read_bytes()
        _, _, depth, kind = _check_chunks(data)
        pixels = _decode(data)
        if kind in (_GREY, _INDEXED):
            if pixels.dtype == np.bool_:  # 1-bit images: Pillow stores 0 and 255
                return (pixels.view(np.uint8) != 0).view(np.uint8)
            scale = {2: 85, 4: 17}.get(depth, 1) if kind == _GREY else 1  # Pillow scales 2 and 4-bit values to 0..255
            return pixels // np.uint8(scale) if scale > 1 else pixels
        if kind == _RGBA and (pixels[..., 3] != 255).any():
            row, column = np.argwhere(pixels[..., 3] != 255)[0].tolist()
            raise FormatError(f"expected opaque colours, got a transparent one at row {row}, column {column}")
        if self.palette is None:  # the file changed after `shape` read its header
            raise FormatError("expected labels, got an RGB image: use --palette to name its colours")
        return self.palette.labels(pixels[..., :3], self.ignore)


class Stack:
    """The maps of one (N, H, W) array in an NPZ or NPY file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ignored: list[str] = []
        names: list[str] | None = None
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        try:
            self.maps, names = self._unpack() if zipped else (self._map_npy(), None)
        except (FormatError, OSError, MemoryError):
            raise
        except Exception as error:  # zipfile and NumPy raise anything at damaged data
            raise FormatError(f"{path}: expected an NPZ or NPY file, got a damaged one: {error}") from None
        self.keys = None
        if names is not None:
            self.keys = [stem(name) for name in names]
            if len(set(self.keys)) < len(self.keys):
                twice = next(key for key in self.keys if self.keys.count(key) > 1)
                raise FormatError(f"{path}: names: expected one map a name, got {twice} twice")
        self.names = [f"map {i}" for i in range(len(self.maps))] if names is None else [shown(name) for name in names]

    def __len__(self) -> int:
        return len(self.maps)

    def shape(self, i: int) -> tuple[int, int]:
        height, width = self.maps.shape[1:]
        return height, width

    def read(self, i: int) -> Array:
        labels = np.array(self.maps[i], self.maps.dtype.newbyteorder("="), order="C")
        return labels.view(np.uint8) if labels.dtype == np.bool_ else labels

    def _map_npy(self) -> Array:
        with self.path.open("rb") as file:
            shape, _, dtype = _npy_header(file)
        self._expect("the array", shape, dtype)
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def _expect(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if len(shape) != 3 or dtype.kind not in "iub":
            raise FormatError(f"{self.path}: {name}: expected integer labels (N, H, W), got {dtype} {shape}")
        if not all(shape):
            raise FormatError(f"{self.path}: {name}: expected label maps, got none: {shape}")
        if shape[1] * shape[2] > MAX_PIXELS:
            got = f"{shape[1]} x {shape[2]}"
            raise FormatError(f"{self.path}: {name}: expected maps of at most {MAX_PIXELS:,} pixels, got {got}")

    def _unpack(self) -> tuple[Array, list[str] | None]:
        with zipfile.ZipFile(self.path) as archive:
            headers: dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]] = {}
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as file:
                        headers[member[:-4]] = _npy_header(file)
            maps = [name for name, (shape, _, dtype) in headers.items() if len(shape) == 3 and dtype.kind in "iub"]
            if len(maps) != 1:
                got = " and ".join(maps) if maps else ", ".join(f"{k} {v[2]} {v[0]}" for k, v in headers.items())
                raise FormatError(f"{self.path}: expected one array of integer labels (N, H, W), got {got or 'none'}")
            (name,) = maps
            shape, fortran, dtype = headers[name]
            self._expect(name, shape, dtype)
            title = next((key for key in ("names", "name", "image_ids", "image_id") if key in headers), None)
            self.ignored = [key for key in headers if key not in (name, title)]
            names = None if title is None else self._names(archive, title, shape[0])
            size = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
            if archive.getinfo(f"{name}.npy").file_size < size:
                raise FormatError(f"{self.path}: {name}: expected {size:,} bytes of labels, got a truncated array")
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if size > free:
                raise FormatError(
                    f"{self.path}: unpacking needs {size:,} bytes in {tempfile.gettempdir()}, {free:,} are free: "
                    "set TMPDIR, or save as NPY"
                )
            with tempfile.TemporaryFile() as unpacked, archive.open(f"{name}.npy") as file:
                _npy_header(file)
                shutil.copyfileobj(file, unpacked, 1 << 20)  # to the end: zipfile checks the CRC there
                if unpacked.tell() != size:
                    raise FormatError(f"{self.path}: {name}: expected {size:,} bytes, got {unpacked.tell():,}")
                unpacked.flush()
                stack = np.memmap(unpacked, dtype, "r", shape=shape, order="F" if fortran else "C")
        return stack, names  # the memory map keeps the temporary file open

    def _names(self, archive: zipfile.ZipFile, title: str, count: int) -> list[str]:
        with archive.open(f"{title}.npy") as file:
            shape, _, dtype = _npy_header(file)
        if shape != (count,) or dtype.kind not in "US" or dtype.itemsize > 1 << 16:
            raise FormatError(f"{self.path}: {title}: expected {count} strings, one a map, got {dtype} {shape}")
        with archive.open(f"{title}.npy") as file:
            values = _npy.read_array(io.BytesIO(file.read()), allow_pickle=False)
        return [v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else str(v) for v in values.tolist()]


Maps = Folder | Stack


def load(path: Path, palette: Palette | None, ignore: int | None) -> Maps:
    """Open the label maps of a folder, an NPZ or an NPY file. FormatError, OSError."""
    if path.is_dir():
        return Folder(path, palette, ignore)
    want = "a folder of PNG label maps, an NPZ or an NPY file"
    if not path.exists():
        raise missing(path)
    if not path.is_file():
        raise FormatError(f"{path}: expected {want}, got a device")
    with path.open("rb") as file:
        magic = file.read(8)
    if magic[:2] != b"PK" and magic[:6] != b"\x93NUMPY":
        what = "a single PNG file" if magic == _SIGNATURE else "an empty file" if not magic else "another file"
        raise FormatError(f"{path}: expected {want}, got {what}")
    return Stack(path)


def match(target: Maps, prediction: Maps) -> tuple[list[tuple[int, int]], list[str], list[str]]:
    """Match maps by name, or by position where both are arrays without names.

    Returns pairs of positions in the target's order, the names that only the target has, and those that only the
    prediction has.
    """
    if target.keys is None or prediction.keys is None:
        if isinstance(target, Folder) or isinstance(prediction, Folder):
            bare = target if target.keys is None else prediction
            raise FormatError(f"{bare.path}: expected an NPZ with names, to match them with the files' names, got none")
        if len(target) != len(prediction):
            raise FormatError(
                f"{prediction.path}: expected {len(target)} maps, as {target.path} has, got {len(prediction)}"
            )
        return [(i, i) for i in range(len(target))], [], []
    place = {key: j for j, key in enumerate(prediction.keys)}
    pairs = [(i, place[key]) for i, key in enumerate(target.keys) if key in place]
    known = set(target.keys)
    missing = [target.names[i] for i, key in enumerate(target.keys) if key not in place]
    return pairs, missing, [prediction.names[j] for j, key in enumerate(prediction.keys) if key not in known]


def stem(name: str) -> str:
    """The name by which a map is matched: without image suffix, in Unicode form NFC."""
    base, suffix = os.path.splitext(name)
    return unicodedata.normalize("NFC", base if suffix.lower() in _IMAGES else name)


def shown(name: str) -> str:
    """A name that can be printed: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = _npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"NPY version {version}")
    read = _npy.read_array_header_1_0 if version == (1, 0) else _npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits a sample and colour type of a PNG, from its first 33 bytes."""
    if not data.startswith(_SIGNATURE):
        raise FormatError(f"expected a PNG image, got {'an empty file' if not data else 'another file'}")
    if len(data) < 33 or data[12:16] != b"IHDR" or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise FormatError("expected a PNG image, got one with a damaged or truncated header")
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    if not width or not height:
        raise FormatError(f"expected a PNG image, got one of {height} x {width} pixels")
    return width, height, depth, kind


def _kind(depth: int, kind: int) -> str:
    words = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}
    return f"a {depth}-bit {words.get(kind, 'unknown')} image"


def _check_chunks(data: bytes) -> tuple[int, int, int, int]:
    """Check a whole PNG file and return its header. Decoders accept wrong CRCs and missing rows; this does not."""
    header = width, height, depth, kind = _header(data[:33])
    if width * height > MAX_PIXELS:
        raise FormatError(f"expected at most {MAX_PIXELS:,} pixels, got {height} x {width}")
    bits = depth * {_RGB: 3, _RGBA: 4, 4: 2}.get(kind, 1)
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    sizes = [(-((y - height) // dy), -((x - width) // dx)) for y, x, dy, dx in passes]
    left = sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if columns > 0)
    view, at = memoryview(data), 8
    pixels = zlib.decompressobj()
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        name, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise FormatError(f"damaged: chunk {name.decode('latin-1')!r} at byte {at} has a wrong CRC")
        if name == b"IDAT":
            left -= _inflated(pixels, view[at + 8 : end], left)
        if name == b"IEND":
            if left or not pixels.eof:
                raise FormatError(f"damaged: it holds too {'few' if left > 0 else 'many'} pixels")
            return header
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


def _decode(data: bytes) -> Array:
    from PIL import PngImagePlugin  # an extra

    try:
        # Not Image.open, which warns about large images: MAX_PIXELS limits the size already.
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything at damaged data
        raise FormatError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def first_wrong(labels: Array, classes: int, ignore: int | None) -> tuple[int, int, int] | None:
    """Value, row and column of the first label that is neither a class nor void; None if all are valid."""
    wrong = (labels < 0) | (labels >= classes)
    if ignore is not None:
        wrong &= labels != ignore
    if not wrong.any():
        return None
    row, column = divmod(int(np.argmax(wrong)), labels.shape[1])
    return int(labels[row, column]), row, column


def few(texts: Sequence[str], max_shown: int = 10) -> str:
    """The first texts, and the number of further ones."""
    more = f" and {len(texts) - max_shown:,} more" if len(texts) > max_shown else ""
    return ", ".join(texts[:max_shown]) + more
