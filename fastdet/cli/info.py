"""``fastdet info``: version, backends, threads and frameworks of this installation."""

from __future__ import annotations

from typing import Annotated

import typer

import fastdet
from fastdet import integrations
from fastdet.cli.terminal import say, say_json


def info_command(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Print version, backends (with the reason for each absent one), threads, and frameworks to use fastdet in."""
    frameworks = integrations.frameworks()
    if as_json:
        say_json(fastdet.config() | {"frameworks": frameworks})
        return
    fastdet.show_config()
    for name, found in frameworks.items():
        version = f"{found['version']} installed" if found["version"] else "not installed"
        say(f"  framework {name:<13}{version}, fastdet.integrations.{name}() {found['state']}")
