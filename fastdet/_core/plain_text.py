"""Text of strangers, made safe to show: in a terminal, in HTML and in a picture."""

from __future__ import annotations

import unicodedata

_STRANGE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formats such as bidi marks, halves of pairs, ends of lines
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")  # letters without a picture


def printable(text: str) -> str:
    """The text in one line, without a character that a terminal obeys, that turns text round or that cannot be seen.

    Such characters become their escapes: ``\\x1b``, ``\\u202e``. A byte of a path that is not UTF-8 becomes ``\\xff``.
    Other text, the backslash included, stays as it is, so that the result of a result is the same.
    """
    if text.isascii() and text.isprintable():
        return text
    strange = (c for c in set(text) if c in _FILLERS or unicodedata.category(c) in _STRANGE)
    return text.translate({ord(c): _escaped(ord(c)) for c in strange})


def in_a_line(text: str, most: int = 4000) -> str:
    """A message in one line: `printable`, a space for each end of a line, no middle if it is long."""
    parts = (line.strip() for line in text.splitlines())
    line = printable(" ".join(part for part in parts if part))
    return line if len(line) <= most else f"{line[: most - 500]} [...] {line[-490:]}"


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        code -= 0xDC00
    return chr(code).encode("unicode_escape").decode("ascii")
