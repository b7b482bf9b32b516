"""``fastdet info``: version, backends and threads of this installation."""

from __future__ import annotations

from typing import Annotated

import typer

import fastdet
from fastdet.cli.terminal import say_json


def info_command(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Print version, backends (with the reason for each absent one), instruction set and threads."""
    if as_json:
        say_json(fastdet.config())
    else:
        fastdet.show_config()
