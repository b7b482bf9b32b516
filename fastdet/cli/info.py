"""``fastdet info``: version, backends and threads of this installation."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import fastdet


def info_command(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Print version, backends (with the reason for each absent one), instruction set and threads."""
    if as_json:
        print(json.dumps(fastdet.config()))
    else:
        fastdet.show_config()
