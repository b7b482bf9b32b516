"""One label map in one file: PNG, TIFF, BMP or NPY."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from fastdet._core import limits
from fastdet._core.check import Array
from fastdet._core.label_images import LabelPixels, pixels
from fastdet._files import png
from fastdet._files.errors import FormatError, one_line
from fastdet._files.opening import open_file

_BYTES = 16  # a pixel, at most, in a file
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".npy")
_LOSSY = (6, 7, 34892, 50001)  # compressions of TIFF: JPEG and WebP change labels
_TIFF, _BMP, _NPY = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"BM", b"\x93NUMPY"


def need_pillow() -> None:
    """FormatError without Pillow."""
    if importlib.util.find_spec("PIL") is None:
        raise FormatError('miou: image files need Pillow: pip install "fastdet[cli]"')


def size(path: Path, *, colours: bool) -> tuple[int, int]:
    """Height and width, from the header of the file only. FormatError, OSError."""
    if not path.is_file():  # reading a pipe would wait for ever
        raise FormatError("expected a file, got " + ("a broken link" if path.is_symlink() else "a device"))
    allowed = _BYTES * limits.of("pixels")
    if path.stat().st_size > allowed:
        enough = -(-path.stat().st_size // _BYTES)
        text = f"expected at most {allowed:,} bytes, got {path.stat().st_size:,}"
        raise FormatError(f"{text}: {limits.raising('pixels', enough)}")
    suffix = path.suffix.lower()
    with open_file(path) as file:
        if suffix == ".png":
            return png.size(file.read(png.HEADER_BYTES), colours=colours)
        if suffix == ".npy":
            return _array_size(_memory_map(path))
        return _opened(file, suffix)[1]


def _bytes(path: Path) -> bytes:
    with open_file(path) as file:
        data: bytes = file.read()
    return data


def read(path: Path) -> LabelPixels:
    """The numbers or colours of a file. FormatError, OSError."""
    suffix = path.suffix.lower()
    if suffix == ".png":
        return png.read(_bytes(path))
    if suffix == ".npy":
        array = np.array(_memory_map(path))
        _array_size(array)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return LabelPixels(
            "rgb" if array.ndim == 3 else "number", array.view(np.uint8) if array.dtype == bool else array
        )
    image, _ = _opened(io.BytesIO(_bytes(path)), suffix)
    try:
        with image:
            return pixels(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything at damaged data
        said = one_line(error) or type(error).__name__
        raise FormatError(said if said.startswith("expected ") else f"damaged: {said}") from None


def _opened(file: Any, suffix: str) -> tuple[Any, tuple[int, int]]:
    """A TIFF or BMP, of which only the header is read, and its height and width. FormatError."""
    from PIL import BmpImagePlugin, TiffImagePlugin  # an extra

    kind = "BMP" if suffix == ".bmp" else "TIFF"
    head = file.read(30)
    file.seek(0)
    if not head.startswith(_BMP if kind == "BMP" else _TIFF):
        raise FormatError(f"expected a {kind} image, got {png.content(head)}")
    if kind == "BMP" and int.from_bytes(head[28:30], "little") not in (1, 8, 24, 32):
        raise FormatError(f"expected a BMP of 1, 8, 24 or 32 bits, got {int.from_bytes(head[28:30], 'little')} bits")
    try:
        image: Any = BmpImagePlugin.BmpImageFile(file) if kind == "BMP" else TiffImagePlugin.TiffImageFile(file)
        if kind == "TIFF":
            _one_page(image)
    except FormatError:
        raise
    except Exception as error:  # decoders raise anything at damaged data
        said = one_line(error) or type(error).__name__
        raise FormatError(f"expected a {kind} that Pillow can read, got a damaged or unknown one: {said}") from None
    if text := png.too_large(image.height, image.width):
        raise FormatError(text)
    return image, (image.height, image.width)


def _one_page(image: Any) -> None:
    """FormatError for a TIFF of several pages, except smaller copies of the first; and for one that lost labels."""
    if image.tag_v2.get(259, 1) in _LOSSY:
        raise FormatError("expected a TIFF that keeps its numbers, got one with JPEG or WebP compression")
    pages = image.n_frames
    for page in range(1, pages):
        image.seek(page)
        if not image.tag_v2.get(254, 0) & 1:
            raise FormatError(f"expected one map, got a TIFF of {pages} pages: save them as an NPY (N, H, W)")
    image.seek(0)


def _memory_map(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy raises anything at damaged data
        raise FormatError(f"expected an NPY file, got a damaged one: {one_line(error)}") from None


def _array_size(array: Array) -> tuple[int, int]:
    shape, dtype = array.shape, array.dtype
    colours = len(shape) == 3 and shape[2] == 3 and dtype == np.uint8
    if not ((len(shape) == 2 and dtype.kind in "iub") or colours) or not array.size:
        raise FormatError(f"expected integer labels (H, W), or colours (H, W, 3) of uint8, got {dtype} {shape}")
    if text := png.too_large(shape[0], shape[1]):
        raise FormatError(text)
    return shape[0], shape[1]
