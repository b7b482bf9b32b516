"""``fastdet info``: what this installation is made of."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import fastdet


def info_command(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Version, backends with the reason for each absent one, instruction set, threads."""
    if as_json:
        print(json.dumps(fastdet.config()))
    else:
        fastdet.show_config()
