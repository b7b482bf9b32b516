"""Open files for reading. Every reader opens its files here, so that none waits for a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Any

from fastdet._files.errors import FormatError

_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # the first: a pipe that nobody writes to opens at once
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def kind_of(mode: int) -> str:
    """What a file that is not regular is, for errors. ``mode``: as `os.stat` has it."""
    return _KINDS.get(stat.S_IFMT(mode), "a special file")


def open_file(path: str | os.PathLike[str], buffering: int = -1) -> IO[Any]:
    """Open a regular file for reading bytes. FormatError, at once, for anything else; OSError.

    /dev/stdin is read if it is a file: ``fastdet nms /dev/stdin < raw.json``.
    """
    return open(path, "rb", buffering, opener=_opener)


def _opener(path: str, flags: int) -> int:
    try:
        number = os.open(path, flags | _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise FormatError(f"{path}: expected a file, got a socket") from None
        raise
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise FormatError(f"{path}: expected a file, got {kind_of(mode)}")
    return number
