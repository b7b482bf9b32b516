"""Shared parts of the commands: errors of options, progress bars, work that Ctrl-C can end, output."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
import threading
import typing
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastdet._core import backends
from fastdet._files.detections import Advance


class Failure(Exception):
    """An error of the command, as one line of text."""


def wrong_option(command: str, text: str, options: Mapping[str, str]) -> Failure:
    """Turn a function's error, ``op: argument must be X``, into one that names the command and its option."""
    _, _, said = text.partition(": ")
    name, _, rest = said.partition(" ")
    if not rest.startswith("must "):
        return Failure(text)
    return Failure(f"{command}: --{options.get(name, name.replace('_', '-'))} {rest}")


class SingleCommand(typer.core.TyperCommand):
    """A command that refuses an option given twice. The parser alone would drop the first value without a word.

    An option of several values says so by its type, a list. A flag without an opposite may be repeated.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in self.get_params(ctx):
            plain_flag = getattr(option, "is_flag", False) and not option.secondary_opts
            count = sum(one is option for one in given)
            if (
                count > 1
                and option.param_type_name == "option"
                and not (getattr(option, "multiple", False) or plain_flag)
            ):
                names = "/".join([*option.opts, *option.secondary_opts])
                raise Failure(f"{ctx.info_name}: {names} must be given once, got it {count} times")
        return super().parse_args(ctx, args)


def command(options: type, run: Callable[[Any], None]) -> Callable[..., None]:
    """Make a Typer command from ``run``. Its parameters are the fields of the dataclass ``options``."""

    def parsed(**arguments: Any) -> None:
        run(options(**arguments))

    hints = typing.get_type_hints(options, include_extras=True)
    parameters = []
    for field in dataclasses.fields(options):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    parsed.__doc__ = run.__doc__
    parsed.__annotations__ = hints
    parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return parsed


def interruptible(run: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread of its own. A kernel cannot notice Ctrl-C; waiting for the thread can."""
    result: list[Any] = []
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            result.append(run(*arguments))
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if trouble:
        raise trouble[0]
    return result[0]


@contextlib.contextmanager
def progress(unit: int = 1) -> Iterator[Callable[[str, int | None], Advance]]:
    """Progress bars on stderr if it is a terminal. ``bar(title, total)`` returns the function that advances one.

    The bars count in steps of ``unit``.
    """
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:

        def bar(title: str, total: int | None) -> Advance:
            done = [0]
            task = shown.add_task(title, total=None if total is None else -(-total // unit))

            def advance(n: int) -> None:
                done[0] += n
                shown.update(task, completed=-(-done[0] // unit))

            return advance

        yield bar


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Show a title on stderr if it is a terminal, for work without a progress bar."""
    console = Console(stderr=True)
    with console.status(title) if console.is_terminal else contextlib.nullcontext():
        yield


MAX_SKIPPED = 1000  # invalid records that --json lists


def skipped_lines(skipped: Mapping[str, Any], max_shown: int = 10) -> list[str]:
    """Lines that tell which invalid records were left out: their count, and the errors of the first."""
    if not skipped["count"]:
        return []
    rest = skipped["count"] - max_shown
    more = [f"and {rest:,} more; --json lists the first {MAX_SKIPPED:,}"] if rest > 0 else []
    return [f"left out {skipped['count']:,} invalid records:", *skipped["records"][:max_shown], *more]


def absent(console: Console) -> None:
    """Print the names of the backends that are absent."""
    for name, reason in backends.available().items():
        if reason:
            console.print(f"{name} is absent; `fastdet info` says why")


def say(text: str) -> None:
    """Print a text. Characters that the terminal's encoding lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def in_a_line(text: str) -> str:
    """A name that fits in one line: control characters and line ends are escaped."""
    strange = (c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp"))
    return text.translate({ord(c): c.encode("unicode_escape").decode() for c in strange})
