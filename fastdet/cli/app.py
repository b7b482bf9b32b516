"""The command ``fastdet``: NMS of raw detections, scores of detections and label maps, a demo, a benchmark.

An error is one line on stderr and exit code 2. Ctrl-C is exit code 130, SIGTERM 143, SIGHUP 129. Progress goes to
stderr. If the reader of stdout has gone, as ``head`` goes, the exit code is 1 and nothing is said.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

try:
    import fastdet
    from fastdet._core.limits import LimitError
    from fastdet._files import atomic
    from fastdet._files.errors import FormatError

    try:
        import typer

        from fastdet.cli import bench, demo, evaluate, info, miou, nms, panoptic, start
        from fastdet.cli.showcase import Different
        from fastdet.cli.terminal import Failure, Group, SingleCommand, Unwritable, note, plain_streams, say
    except ImportError as error:  # only the command imports this module, so it may end the process
        print(f'fastdet: the command needs {error.name}: pip install "fastdet[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
except KeyboardInterrupt:  # a short command spends most of its time in these imports
    print("fastdet: interrupted, nothing written", file=sys.stderr)
    raise SystemExit(130) from None

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False, cls=Group)
app.command("nms", cls=SingleCommand)(nms.nms_command)
app.command("miou", cls=SingleCommand)(miou.miou_command)
app.command("panoptic", cls=SingleCommand)(panoptic.panoptic_command)
app.command("evaluate", cls=SingleCommand)(evaluate.evaluate)
app.command("demo", cls=SingleCommand)(demo.demo_command)
app.command("bench", cls=SingleCommand)(bench.bench_command)
app.command("info", cls=SingleCommand)(info.info_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    has_stdout = start.open_closed_streams()
    with start.heeding_signals() as came:
        try:
            if not has_stdout:
                print("fastdet: stdout must be open, got a closed one", file=sys.stderr)
                return 2
            with plain_streams():
                code = _run(arguments)
            if code != 130:
                return code
        except Unwritable as error:
            if error.code == 2:
                print(f"fastdet: {error}", file=sys.stderr)
            return error.code
        except KeyboardInterrupt:
            pass
        atomic.abandon()
        return start.end_stopped(came[0] if came else 2)


def _run(arguments: Sequence[str] | None) -> int:
    """Run the command. Errors are printed. Returns the exit code: 130 for Ctrl-C and its like."""
    try:
        command: Any = typer.main.get_command(app)
        return int(command.main(args=arguments, prog_name="fastdet", standalone_mode=False) or 0)
    except (Failure, FormatError, LimitError, Different) as error:
        return _fail(str(error))
    except FileNotFoundError as error:
        return _fail(f"no such file: {_path(error)}" if error.filename else str(error))
    except OSError as error:
        return _fail(f"{_path(error)}: {error.strerror}" if error.filename else str(error))
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except typer.Abort:
        return 130
    except Unwritable:
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # an error of typer, such as an unknown option
            return _fail(error.format_message())
        return _unexpected(error)


def _path(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else str(error.filename)


def _unexpected(error: Exception) -> int:
    """One line for a fault of fastdet itself, and where it was; FASTDET_TRACEBACK=1 shows the way there."""
    if os.environ.get("FASTDET_TRACEBACK"):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)} line {last.lineno}"
    hint = "please report it; FASTDET_TRACEBACK=1 shows more"
    return _fail(f"unexpected {type(error).__name__}: {error} ({where}): {hint}")


def _fail(text: str) -> int:
    note(text)
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        say(f"fastdet {fastdet.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """NMS of raw detections, scores of detections and segmentations: equal on every backend."""
    if context.invoked_subcommand is None:
        for line in context.get_help().splitlines():
            say(line)
