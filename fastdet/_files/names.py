"""Read files of class names, one name a line."""

from __future__ import annotations

from pathlib import Path

from fastdet._files.errors import FormatError


def read_names(op: str, path: Path, expected: str = "a file of names") -> list[str]:
    """The names of the classes, in order. FormatError, OSError."""
    if not path.is_file():
        what = "no such file" if not path.exists() else "a folder or device"
        raise FormatError(f"{op}: --classes must be {expected}, got {path}, {what}")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError:
        raise FormatError(f"{path}: expected one class name a line, got data that is not UTF-8 text") from None
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise FormatError(f"{path}: line {number}: expected the name of class {number - 1}, got an empty line")
        if name in seen:
            raise FormatError(f"{path}: line {number}: expected unique names, got {name!r} as in line {seen[name]}")
        seen[name] = number
    if not names:
        raise FormatError(f"{path}: expected one class name a line, got an empty file")
    return names
