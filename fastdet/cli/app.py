"""The command ``fastdet``: NMS of raw detections, scores of detections and label maps, a demo, a benchmark.

An error is one line on stderr and exit code 2. Ctrl-C is exit code 130. Progress goes to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

try:
    import fastdet
    from fastdet._core.limits import LimitError
    from fastdet._files.errors import FormatError

    try:
        import typer

        from fastdet.cli import bench, demo, evaluate, info, miou, nms
        from fastdet.cli.showcase import Different
        from fastdet.cli.terminal import Failure, SingleCommand
    except ImportError as error:  # only the command imports this module, so it may end the process
        print(f'fastdet: the command needs {error.name}: pip install "fastdet[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
except KeyboardInterrupt:  # a short command spends most of its time in these imports
    print("fastdet: interrupted, nothing written", file=sys.stderr)
    raise SystemExit(130) from None

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command("nms", cls=SingleCommand)(nms.nms_command)
app.command("miou", cls=SingleCommand)(miou.miou_command)
app.command("evaluate", cls=SingleCommand)(evaluate.evaluate)
app.command("demo", cls=SingleCommand)(demo.demo_command)
app.command("bench", cls=SingleCommand)(bench.bench_command)
app.command("info", cls=SingleCommand)(info.info_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="fastdet", standalone_mode=False)
        if code != 130:
            return int(code or 0)
    except (Failure, FormatError, LimitError, Different) as error:
        return _fail(str(error))
    except FileNotFoundError as error:
        return _fail(f"no such file: {error.filename}" if error.filename else str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except (KeyboardInterrupt, typer.Abort):
        pass
    except Exception as error:
        if not hasattr(error, "format_message"):  # not an error of typer, such as an unknown option
            raise
        return _fail(error.format_message())
    print("fastdet: interrupted, nothing written", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(130)  # at once: a kernel may still run in its thread


def _fail(text: str) -> int:
    print(f"fastdet: {' '.join(text.split())}", file=sys.stderr)
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fastdet {fastdet.__version__}")
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
        print(context.get_help())
