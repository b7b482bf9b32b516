"""Errors of files, and of options that do not fit them."""

from __future__ import annotations

import os


class FormatError(ValueError):
    """A file with wrong content. The text is one line that names the file, the record and the field.

    `fastdet.coco` exports it. Its module stays this one: Ray copies a class whose module is not imported, and the copy
    would be another class.
    """


class ChoiceError(ValueError):
    """An option that does not fit the files. ``reason`` says why."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} {reason}")
        self.option, self.reason = option, reason


def missing(path: str | os.PathLike[str]) -> FormatError:
    """The error for a file or folder that does not exist."""
    return FormatError(f"no such file: {os.fspath(path)}")


def one_line(error: BaseException) -> str:
    """The text of another library's error, without line breaks."""
    return " ".join(str(error).split())
