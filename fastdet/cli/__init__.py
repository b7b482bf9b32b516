"""The command line: one file per command."""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``fastdet`` and return its exit code."""
    from fastdet.cli import app  # ends the process if the extra "cli" is not installed

    return app.main(arguments)
