"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` if the block ends well, else leaves no trace.

    Written to a temporary file in the same folder, flushed to the disk, then renamed: who reads ``path`` sees the
    old file or the new one. A link keeps pointing where it did; an old file's mode stays.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    file = part.open("xb")
    try:
        with file:
            if target.exists():
                part.chmod(target.stat().st_mode & 0o7777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
