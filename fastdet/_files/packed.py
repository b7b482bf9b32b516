"""Open files that may be packed by gzip, and stop where a small file unpacks to more than `limits.unpacked` allows."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from fastdet._core import limits
from fastdet._files.errors import FormatError, one_line
from fastdet._files.opening import open_file

GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20  # bytes read at a time


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, unpacked if it is gzip. Yields it and its size in bytes (0 where that is not known)."""
    with open_file(path, buffering=0) as plain:
        if not is_packed(path, plain):
            yield plain, os.path.getsize(path)
            return
        with unpacked(path, plain) as file:
            yield file, 0


def is_packed(path: str | os.PathLike[str], file: IO[bytes]) -> bool:
    """Whether an open file is gzip: by its first bytes, or by its name where it cannot be rewound."""
    if not file.seekable():
        return str(path).endswith(".gz")
    start = file.read(2)
    file.seek(0)
    return start == GZIP


@contextlib.contextmanager
def unpacked(path: str | os.PathLike[str], plain: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of an open gzip file. FormatError for damaged data, and for more than the limit."""
    try:
        yield cast("IO[bytes]", _Unpacked(path, plain))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: damaged or truncated gzip: {one_line(error)}") from None


class _Counted:
    """An open file, and the number of bytes that were read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


class _Unpacked:
    """The content of a gzip file, as a stream."""

    def __init__(self, path: str | os.PathLike[str], plain: IO[bytes]) -> None:
        self._path, self._plain, self._done = path, _Counted(plain), 0
        self._file: Any = gzip.GzipFile(fileobj=cast("IO[bytes]", self._plain), mode="rb")
        found = os.fstat(plain.fileno())
        self._size = found.st_size if stat.S_ISREG(found.st_mode) else 0

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        self._add(count)
        return count

    def read(self, size: int = -1) -> bytes:
        if size >= 0:
            data: bytes = self._file.read(size)
            self._add(len(data))
            return data
        return b"".join(iter(lambda: self.read(_CHUNK), b""))

    def _add(self, count: int) -> None:
        self._done += count
        allowed = limits.unpacked(max(self._size, self._plain.count))
        if self._done > allowed:
            raise FormatError(f"{self._path}: unpacks to too much: {limits.exceeded('unpacked', None, allowed)}")
