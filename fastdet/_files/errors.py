"""Errors of files, and of options that do not fit them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from fastdet._core.plain_text import in_a_line, printable


class FormatError(ValueError):
    """A file with wrong content. The text is one line that names the file, the record and the field.

    `fastdet.coco` exports it. Its module stays this one: Ray copies a class whose module is not imported, and the copy
    would be another class.

    Names from files are in the text, so `printable` shows what it holds: one line, nothing that a terminal obeys.
    """

    def __init__(self, text: object) -> None:
        super().__init__(printable(str(text)))


def plain(x: float) -> str:
    """A number for an error: short, and never rounded."""
    short = f"{x:g}"
    return short if float(short) == x else repr(float(x))


class ChoiceError(ValueError):
    """An option that does not fit the files. ``reason`` says why."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(printable(f"{option} {reason}"))
        self.option, self.reason = option, reason


class Faults:
    """What becomes of an invalid record: it is an error, or with ``skip`` it is left out and its error is kept."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.texts: list[str] = []  # the errors of the records that were left out

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """Read one record in this context."""
        try:
            yield
        except FormatError as error:
            self.add(error)

    def add(self, error: FormatError) -> None:
        """Raise the error, or keep it."""
        if not self.skip:
            raise error
        self.texts.append(str(error))


def missing(path: str | os.PathLike[str]) -> FormatError:
    """The error for a file or folder that does not exist."""
    return FormatError(f"no such file: {os.fspath(path)}")


def one_line(error: BaseException) -> str:
    """The text of another library's error, in one line of at most 500 characters."""
    return in_a_line(" ".join(str(error).split()), 500)


def quoted(x: object) -> str:
    """A name for an error, in quotes and cut where it is long."""
    return repr(x) if not isinstance(x, str) or len(x) <= 200 else f"{x[:200]!r}..."


def few(texts: Sequence[str], max_shown: int = 10) -> str:
    """The first texts, and the number of further ones."""
    more = f" and {len(texts) - max_shown:,} more" if len(texts) > max_shown else ""
    return ", ".join(texts[:max_shown]) + more
