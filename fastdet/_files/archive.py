"""Read NPZ files from strangers: names, headers and sizes are checked before anything is unpacked."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fastdet._core import limits
from fastdet._core.check import Array, describe
from fastdet._files.errors import FormatError, one_line
from fastdet._files.opening import open_file

_npy: Any = np.lib.format
_CHUNK = 1 << 20  # bytes unpacked at a time
_MAX_ARRAYS = 100_000


class Header(NamedTuple):
    """What the header of an NPY file says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def header(file: IO[bytes]) -> Header:
    """Read the header of an NPY file. It raises anything at damaged data: see `damage`."""
    version = _npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"NPY version {version[0]}.{version[1]}")
    read = _npy.read_array_header_1_0 if version == (1, 0) else _npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if not all(type(side) is int and 0 <= side < 2**62 for side in shape):
        raise ValueError(f"shape {describe(shape)}")
    return Header(shape, bool(fortran), dtype)


@contextlib.contextmanager
def damage(text: str) -> Iterator[None]:
    """FormatError for whatever zipfile, zlib and NumPy raise at damaged data; errors of the disk pass."""
    try:
        yield
    except (FormatError, MemoryError):
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a place before the file's beginning
            raise
        raise FormatError(f"{text}: {one_line(error)}") from None
    except Exception as error:
        raise FormatError(f"{text}: {one_line(error) or type(error).__name__}") from None


class Archive:
    """An open NPZ file, for a ``with``. FormatError, OSError.

    ``headers`` has the header of each array by name, or the text of its error. ``kind`` is what errors expect.
    """

    def __init__(self, path: Path, kind: str = "an NPZ file") -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack, damage(f"{path}: expected {kind}, got a damaged one"):
            file = stack.enter_context(open_file(path))
            self._packed = os.fstat(file.fileno()).st_size
            self._zip = stack.enter_context(zipfile.ZipFile(file))
            self.headers = self._headers()
            self._stack = stack.pop_all()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _headers(self) -> dict[str, Header | str]:
        members = self._zip.infolist()
        if len(members) > _MAX_ARRAYS:
            raise FormatError(f"{self.path}: expected at most {_MAX_ARRAYS:,} arrays, got {len(members):,}")
        found: dict[str, Header | str] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise FormatError(f"{self.path}: expected each array once, got {describe(name)} twice")
            try:
                with damage("expected a plain array, got a damaged one"):
                    found[name] = self._header(member)
            except FormatError as error:
                found[name] = str(error)
        return found

    def _header(self, member: zipfile.ZipInfo) -> Header:
        if not member.filename.endswith(".npy"):
            raise FormatError("expected an array, got other data")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError("expected an array that is stored or deflated, got another compression")
        with self._zip.open(member) as file:
            return header(file)

    def head(self, name: str) -> Header:
        """The header of an array. FormatError for one that is no plain array."""
        found = self.headers[name]
        if isinstance(found, str):
            raise FormatError(f"{self.path}: {name}: {found}")
        if found.dtype.hasobject:
            raise FormatError(f"{self.path}: {name}: expected a plain array, got pickled objects, refused")
        stored = self._zip.getinfo(f"{name}.npy").file_size
        if stored < found.size:
            got = f"got a truncated array, {stored:,} bytes"
            raise FormatError(f"{self.path}: {name}: expected {found.size:,} bytes of {found.dtype}, {got}")
        return found

    def require_size(self, names: Sequence[str]) -> None:
        """FormatError if these arrays together unpack to more than the limit."""
        total, allowed = sum(self.head(name).size for name in names), limits.unpacked(self._packed)
        if total > allowed:
            raise FormatError(f"{self.path}: {limits.exceeded('unpacked', total, allowed)}")

    def read(self, name: str) -> Array:
        """An array. FormatError. Check the size before: `require_size`."""
        head = self.head(name)
        data, done = np.empty(head.size, np.uint8), 0

        def write(piece: bytes) -> None:
            nonlocal done
            data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)

        self.copy(name, write)
        with damage(f"{self.path}: {name}: expected a plain array, got {head.dtype} {describe(head.shape)}"):
            return np.ndarray(head.shape, head.dtype, data.data, order="F" if head.fortran else "C")

    def copy(self, name: str, write: Callable[[bytes], Any]) -> None:
        """Give ``write`` the bytes of an array, a piece at a time, to the end: zipfile checks the CRC there."""
        size, done = self.head(name).size, 0
        text = f"{self.path}: {name}: expected a plain array, got a damaged one"
        with damage(text), self._zip.open(f"{name}.npy") as file:
            header(file)
            while done <= size and (piece := file.read(_CHUNK)):
                done += len(piece)
                if done <= size:
                    write(piece)
        if done != size:
            got = "more" if done > size else f"{done:,}"
            raise FormatError(f"{self.path}: {name}: expected {size:,} bytes, got {got}")
