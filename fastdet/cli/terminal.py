"""Shared parts of the commands: errors of options, progress bars, work that Ctrl-C can end, output."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fastdet._core import backends
from fastdet._core.plain_text import in_a_line, printable
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


class _Helped:
    """A command whose help keeps its colours: it holds no text of others."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _own_text():
            super().format_help(ctx, formatter)  # type: ignore[misc]


class Group(_Helped, typer.core.TyperGroup):
    """The command without its subcommand."""


class SingleCommand(_Helped, typer.core.TyperCommand):
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
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with _live(*columns) as shown:

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
    with _live(SpinnerColumn(), TextColumn("{task.description}", markup=False)) as shown:
        shown.add_task(title, total=None)
        yield


def _live(*columns: Any) -> Progress:
    """Something that moves on stderr, if that is a terminal. What others print meanwhile does not pass through it."""
    shown = console(error=True)
    return Progress(
        *columns, console=shown, transient=True, disable=not shown.is_terminal,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip


MAX_SKIPPED = 1000  # invalid records that --json lists


def skipped_lines(skipped: Mapping[str, Any], max_shown: int = 10) -> list[str]:
    """Lines that tell which invalid records were left out: their count, and the errors of the first."""
    if not skipped["count"]:
        return []
    rest = skipped["count"] - max_shown
    more = [f"and {rest:,} more; --json lists the first {MAX_SKIPPED:,}"] if rest > 0 else []
    return [f"left out {skipped['count']:,} invalid records:", *skipped["records"][:max_shown], *more]


class Unwritable(Exception):
    """stdout cannot be written to. ``code`` is the exit code: 1, and no text, where its reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout: {error.strerror}")
        self.code = 1 if isinstance(error, BrokenPipeError) else 2


def discard(stream: Any) -> None:
    """Send what waits in the buffer of stdout or stderr nowhere: Python would try to write it again at its end."""
    if stream in (sys.__stdout__, sys.__stderr__):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class PlainStream:
    """stdout or stderr for everything that prints: nothing that a terminal obeys comes out, but the ends of lines.

    `plain_streams` puts it in the place of both, so that no message, warning or log can forget it. Characters that the
    encoding lacks are escaped too.
    """

    def __init__(self, stream: Any, *, required: bool) -> None:
        self.stream, self._required = stream, required

    def write(self, text: str) -> int:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        plain = "\n".join(map(printable, text.split("\n")))
        self._do(self.stream.write, plain.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        self._do(self.stream.flush)

    def _do(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except OSError as error:
            discard(self.stream)
            if self._required:
                raise Unwritable(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def plain_streams() -> Iterator[None]:
    """Print through `PlainStream` inside the block: text, warnings, logs."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainStream(before[0], required=True), PlainStream(before[1], required=False)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _own_text() -> Iterator[None]:
    """Print as it is inside the block."""
    before: Any = sys.stdout
    sys.stdout = getattr(before, "stream", before)
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        raise Unwritable(error) from None
    finally:
        sys.stdout = before


def console(*, error: bool = False) -> Console:
    """A console for tables and bars, whose text is the command's own: its colours must not be escaped."""
    stream: Any = sys.stderr if error else sys.stdout
    return Console(file=getattr(stream, "stream", stream), markup=False, emoji=False, highlight=False)


def absent(shown: Console) -> None:
    """Print the names of the backends that are absent."""
    for name, reason in backends.available().items():
        if reason:
            shown.print(f"{name} is absent; `fastdet info` says why")


def say(text: str = "") -> None:
    """Print one line on stdout."""
    print(printable(text))


def say_json(value: Any) -> None:
    """Print one JSON object on stdout, exact: JSON has escapes of its own."""
    print(json.dumps(value, ensure_ascii=True))


def about_intervals(ci: bool, images: int) -> list[str]:
    """A note where intervals are asked for of one image."""
    return ["--ci of one image: the intervals have no width, as they come from choosing images"] * (ci and images == 1)


def note(text: str) -> None:
    """Print one line on stderr, with the command's name before it."""
    print(f"fastdet: {in_a_line(text)}", file=sys.stderr)
