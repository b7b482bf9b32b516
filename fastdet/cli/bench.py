"""``fastdet bench``: time the operations on this machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table as Grid

import fastdet
from fastdet._core import backends
from fastdet.cli import showcase
from fastdet.cli.terminal import absent, console, say_json, stage


def bench_command(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Time the operations on this machine, each as the median of several runs. All backends must agree first."""
    with stage("measuring"):
        results = showcase.bench()
    if as_json:
        say_json({**fastdet.config(), "unit": "milliseconds, median", "results": results})
        return
    shown = console()
    names = [name for name, reason in backends.available().items() if not reason]
    threads = fastdet.get_num_threads()
    grid = Grid(title=f"fastdet {fastdet.__version__}, {threads} thread{'s' * (threads > 1)}, median milliseconds")
    for title in ("op", "input", *names):
        grid.add_column(title, justify="left" if title in ("op", "input") else "right")
    for row in results:
        times = [row["milliseconds"].get(name) for name in names]
        grid.add_row(row["op"], row["input"], *("too slow" if t is None else f"{t:,.3f}" for t in times))
    shown.print(grid)
    absent(shown)
