"""Write a file whole or not at all.

The rules, for a process of one user on a machine of many:

- A symbolic link is followed only where no other user can have put it there: in a folder that not everyone may write;
  or, as Linux does, in a sticky folder such as /tmp, if the link belongs to this user or to the folder's owner. Each
  folder on the way is opened once and the next one is looked up in it, so that nobody can change the way meanwhile.
- What is written over is a regular file. Pipes, sockets, devices and folders are refused, except those that are meant
  for it: /dev/null, /dev/stdout, /dev/stderr and /dev/fd/N are written to as they are.
- The new file has the old one's permissions for reading, writing and running, never setuid, setgid or sticky. Those of
  another user's file only take permissions away. A new file has those of the umask.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Iterator
from typing import IO, NamedTuple

from fastdet._files.opening import kind_of

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_MAX_LINKS = 40  # as in Linux: more are taken for a circle
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_lock = threading.RLock()
_parts: dict[str, int] = {}  # the temporary files of writes that run now, and the folder that each is in
_ending = False


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that replaces ``path`` when the block ends without an error, and is removed otherwise.

    The data goes to a temporary file in the same folder, is flushed to the disk, and is then renamed. A reader of
    ``path`` sees the old file or the new one, never a part. A symbolic link stays a link. OSError, also for a path that
    the rules above refuse.
    """
    place = _find(os.fspath(path))
    try:
        with _replacing(place) if place.stream is None else _straight(place) as file:
            yield file
    finally:
        os.close(place.folder)


def abandon() -> None:
    """Remove the temporary files of writes that still run, in other threads: the process is about to end."""
    global _ending
    _ending = True
    locked = _lock.acquire(timeout=2)  # no longer: a rename on a disk far away may hang
    for part, folder in list(_parts.items()):
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
    if locked:
        _lock.release()


class _Place(NamedTuple):
    """Where a path leads: an open folder and a name in it, or a stream that is written to as it is."""

    path: str  # as the caller has it, for errors
    folder: int
    name: str
    old: os.stat_result | None  # of the file that is there now
    stream: int | None = None


@contextlib.contextmanager
def _replacing(place: _Place) -> Iterator[IO[bytes]]:
    part = f".fastdet-{secrets.token_hex(8)}.tmp"
    try:
        with _lock:
            _refuse_at_the_end()
            _parts[part] = place.folder
            file = os.fdopen(os.open(part, _NEW, 0o666, dir_fd=place.folder), "wb")
        with file:
            if place.old is not None:
                os.fchmod(file.fileno(), _permissions(place.old, os.fstat(file.fileno())))
            yield file
            file.flush()
            _to_disk(file.fileno())
        with _lock:
            _refuse_at_the_end()
            os.rename(part, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=place.folder)
        if isinstance(error, OSError) and (error.filename == part or (error.filename is None and error.errno in _FULL)):
            raise type(error)(error.errno, error.strerror, place.path) from None
        raise
    finally:
        with _lock:
            _parts.pop(part, None)


def _refuse_at_the_end() -> None:
    """Stop a write that `abandon` no longer sees."""
    if _ending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _straight(place: _Place) -> Iterator[IO[bytes]]:
    for text in (sys.stdout, sys.stderr):  # what was printed before comes first
        if text is not None:
            text.flush()
    try:
        number = os.dup(place.stream) if place.stream else os.open(place.name, os.O_WRONLY, dir_fd=place.folder)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, place.path) from None
    with os.fdopen(number, "wb") as file:
        yield file


def _permissions(old: os.stat_result, new: os.stat_result) -> int:
    bits = old.st_mode & 0o777
    return bits if old.st_uid == os.geteuid() else bits & new.st_mode


def _to_disk(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise


def _find(path: str) -> _Place:
    """Follow a path, link by link. The folder of the answer is open, and the caller closes it. OSError."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "expected a path without NUL", path)
    todo, links = _words(path), 0
    here = "/" if path.startswith("/") else os.getcwd()
    folder = os.open("/" if path.startswith("/") else ".", _FOLDER)
    try:
        while todo:
            name = todo.pop()
            whole = os.path.join(here, name)
            if not todo and (stream := _stream(whole)) is not None:
                return _Place(path, folder, name, None, stream)
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                if todo:
                    raise
                return _Place(path, folder, name, None)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                _require_trusted(whole, found, os.fstat(folder))
                target = os.readlink(name, dir_fd=folder)
                todo += _words(target)
                if not target.startswith("/"):
                    continue
                here, entered = "/", os.open("/", _FOLDER)
            elif not todo:
                _require_file(found)
                return _Place(path, folder, name, found)
            else:
                here = os.path.dirname(here) if name == ".." else whole
                entered = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = entered
        raise IsADirectoryError(errno.EISDIR, "expected a file, got a folder")
    except BaseException as error:
        os.close(folder)
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror, path) from None
        raise


def _words(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [word for word in path.split("/") if word not in ("", ".")][::-1]


def _stream(path: str) -> int | None:
    """The number of the open file that a path such as /dev/stdout names; 0 for /dev/null; None for other paths."""
    if path == "/dev/null":
        return 0
    own = re.fullmatch(rf"/(?:dev|proc/(?:self|{os.getpid()}))/fd/([1-9]\d{{0,8}})", path, re.ASCII)
    return int(own[1]) if own else _STREAMS.get(path)


def _require_trusted(path: str, link: os.stat_result, folder: os.stat_result) -> None:
    """OSError for a link that another user can have put there."""
    if not folder.st_mode & stat.S_IWOTH:
        return
    if folder.st_mode & stat.S_ISVTX and link.st_uid in (os.geteuid(), folder.st_uid):
        return
    text = f"expected a path without the link {path}: everyone may write its folder, so anyone can have put it there"
    raise PermissionError(errno.EACCES, text)


def _require_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = kind_of(found.st_mode)
        error = IsADirectoryError if kind == "a folder" else OSError
        raise error(errno.EISDIR if kind == "a folder" else errno.EINVAL, f"expected a file, got {kind}")
