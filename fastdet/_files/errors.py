"""What is wrong with a file, or with a choice of the caller's that does not go with it."""

from __future__ import annotations

import os


class FormatError(ValueError):
    """A file that is not what it should be; its text is one line that names file, record and field."""

    __module__ = "fastdet.coco"


class ChoiceError(ValueError):
    """An option that does not go with the files: its name, and why not."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} {reason}")
        self.option, self.reason = option, reason


def missing(path: str | os.PathLike[str]) -> FormatError:
    """The error of a file or folder that is not there."""
    return FormatError(f"no such file: {os.fspath(path)}")


def one_line(error: BaseException) -> str:
    """The text of a library's error, for the end of a line."""
    return " ".join(str(error).split())
