"""Run code that one cannot edit with fastdet inside: ``python -m fastdet.integrations torchvision -- train.py``.

Python is started anew, with `_start` on PYTHONPATH: its sitecustomize.py puts fastdet inside when the framework is
imported, here and in every Python process that this one starts. The script is run by Python itself, so ``sys.argv``,
``sys.path``, ``__main__``, exit codes and tracebacks are as without fastdet.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence

from fastdet import integrations
from fastdet.integrations._known import distributions, functions
from fastdet.integrations._replace import installed
from fastdet.integrations._start import sitecustomize

USAGE = f"""\
usage: python -m fastdet.integrations NAME[,NAME...] -- SCRIPT [ARGUMENT...]
       python -m fastdet.integrations NAME[,NAME...] -- -m MODULE [ARGUMENT...]

Put fastdet inside frameworks when they are imported, in this program and in all Python processes that it starts, then
run it as python does: after "--" comes what would follow "python".

NAME is one of: {", ".join(functions())}. Options of its function follow after colons: NAME:OPTION=VALUE.

examples: python -m fastdet.integrations torchvision -- train.py --epochs 3
          torchrun --nproc-per-node 2 -m fastdet.integrations torchvision -- train.py --epochs 3"""


def main(arguments: Sequence[str]) -> int:
    """Check the names, then become a Python process with fastdet inside. Returns only where something is wrong."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if why := _unfit(arguments):
        print(f"fastdet.integrations: {why}", file=sys.stderr)
        return 2
    rest = list(arguments[1:])
    return _become(arguments[0], rest[1:] if rest[0] == "--" else rest)


def _unfit(arguments: Sequence[str]) -> str:
    """What is wrong with the arguments; "" where nothing is."""
    after = [x for k, x in enumerate(arguments[1:]) if k or x != "--"]
    if not after or arguments[0].startswith("-"):
        return f"expected NAME -- SCRIPT, got {' '.join(arguments) or 'no arguments'}\n{USAGE}"
    asked = sitecustomize.read(arguments[0])
    if not asked or "" in arguments[0].split(","):
        return f"unknown integration: an empty name\n{USAGE}"
    for name, options in asked.items():
        if name not in functions():
            return f"unknown integration: {name}\n{USAGE}"
        known = inspect.signature(getattr(integrations, name)).parameters
        for option in options:
            if option not in known:
                return f"{name} has no option {option or '(empty)'}; its options: {', '.join(known) or 'none'}"
    if sys.flags.ignore_environment or sys.flags.no_site:
        return "python -E, -I and -S do not read PYTHONPATH or sitecustomize, which this needs: leave them out"
    try:
        for name in set(asked) - set(sitecustomize.WITHOUT_PACKAGE):
            installed(name, *distributions(name))
    except integrations.IntegrationError as error:
        return str(error)
    return ""


def _become(text: str, rest: list[str]) -> int:
    asked = sitecustomize.read(text)
    outer = [part for part in os.environ.get(sitecustomize.NAME, "").split(",") if part.split(":")[0] not in asked]
    path = os.environ.get("PYTHONPATH", "")
    folders = [x for x in path.split(os.pathsep) if x != sitecustomize.HERE] if path else []
    environment = os.environ | {
        sitecustomize.NAME: ",".join(filter(None, [*outer, text])),
        "PYTHONPATH": os.pathsep.join([sitecustomize.HERE, *folders]),
    }
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *_interpreter_options(), *rest], environment)


def _interpreter_options() -> list[str]:
    """Those of this process, such as ``-u`` or ``-W error``: all that stands before ``-m fastdet.integrations``."""
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if before[-1:] == ["fastdet.integrations"]:
        del before[-1]
    elif before and before[-1].endswith("fastdet.integrations"):  # -mfastdet.integrations
        before[-1] = before[-1].removesuffix("fastdet.integrations")
    if before and before[-1].startswith("-") and before[-1].endswith("m"):  # -m, or -um
        before[-1] = before[-1].removesuffix("m")
    return [option for option in before if option not in ("-", "")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
