"""The command line: one file per command."""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``fastdet`` and return its exit code."""
    from fastdet.cli import start

    if arguments is None:  # this process is the command
        start.end_at_ctrl_c()
    from fastdet.cli import app  # ends the process if the extra "cli" is not installed

    code = app.main(arguments)
    if arguments is None:
        start.end_quietly_at_ctrl_c(code)
    return code
