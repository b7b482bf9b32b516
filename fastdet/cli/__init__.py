"""The command line: one file per command."""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``fastdet``; its exit code."""
    from fastdet.cli import app  # it ends the process where the packages of the command line are absent

    return app.main(arguments)
