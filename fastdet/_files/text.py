"""Text files, lines, words and numbers: the one rule of all readers of text.

A file is UTF-8, with or without its mark. Lines end with a line feed, a carriage return or both. White space between
words is the space and the tab. A number is ASCII: a sign, digits, a point, an exponent; no ``1_0``, no ``inf``.
"""

from __future__ import annotations

import codecs
import math
import os
import re

from fastdet._core import limits
from fastdet._files.errors import FormatError
from fastdet._files.opening import open_file

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_ENDS = re.compile(r"\r\n|\r|\n")
_MAX_NUMBER = 500  # characters of a number


def read_bytes(path: str | os.PathLike[str], limit: str) -> bytes:
    """The content of a regular file of at most the limit of that name. FormatError, OSError."""
    with open_file(path) as file:
        most = limits.of(limit)
        raw: bytes = file.read(most + 1)
        if len(raw) > most:
            raise FormatError(f"{path}: {limits.exceeded(limit, max(os.fstat(file.fileno()).st_size, most + 1))}")
        return raw


def read_text(path: str | os.PathLike[str], limit: str, expected: str = "UTF-8 text") -> str:
    """The text of a file. FormatError where it is none, OSError."""
    raw = read_bytes(path, limit)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FormatError(f"{path}: expected {expected}, got UTF-16: save it as UTF-8")
    if (at := raw.find(b"\0")) >= 0:
        raise FormatError(f"{path}: expected {expected}, got data with a zero byte at byte {at}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"other bytes in line {raw.count(bytes([10]), 0, error.start) + 1}"
        raise FormatError(f"{path}: expected {expected}, got data that is not UTF-8 text: {got}") from None


def lines_of(text: str) -> list[str]:
    """The lines. The end of the last line starts no other."""
    lines = _ENDS.split(text)
    return lines if lines[-1] else lines[:-1]


def words_of(line: str) -> list[str]:
    """The words of a line."""
    return [word for word in line.replace("\t", " ").split(" ") if word]


def to_float(word: str) -> float | None:
    """A word as a finite number. None if it is none."""
    if len(word) > _MAX_NUMBER or _NUMBER.fullmatch(word) is None:
        return None
    value = float(word)
    return value if math.isfinite(value) else None


def to_int(word: str) -> int | None:
    """A word as an integer of 64 bits. None if it is none."""
    if len(word) > _MAX_NUMBER or _INTEGER.fullmatch(word) is None:
        return None
    value = int(word)
    return value if -(2**63) <= value < 2**63 else None
