"""Run code that one cannot edit with fastdet inside: ``python -m fastdet.integrations torchvision -- train.py``."""

from __future__ import annotations

import os.path
import runpy
import sys
from collections.abc import Sequence

from fastdet import integrations

NAMES = ("mmcv", "pycocotools", "sahi", "torchvision", "ultralytics")
USAGE = f"""\
usage: python -m fastdet.integrations NAME[,NAME...] -- SCRIPT [ARGUMENT...]
       python -m fastdet.integrations NAME[,NAME...] -- -m MODULE [ARGUMENT...]

Put fastdet inside frameworks, then run a script or a module. NAME is one of: {", ".join(NAMES)}.

example: python -m fastdet.integrations torchvision -- train.py --epochs 3"""


def main(arguments: Sequence[str]) -> int:
    """Activate the named integrations, then run the script or the module in this process."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if "--" not in arguments or arguments.index("--") != 1 or len(arguments) < 3:
        return _refuse(f"expected NAME -- SCRIPT, got {' '.join(arguments) or 'no arguments'}")
    names, rest = arguments[0].split(","), list(arguments[2:])
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        return _refuse(f"unknown integration: {unknown[0] or 'an empty name'}")
    if rest[0] == "-m" and len(rest) == 1:
        return _refuse("expected the name of a module after -m")
    try:
        for name in names:
            getattr(integrations, name)()
    except (integrations.IntegrationError, ImportError) as error:
        print(f"fastdet.integrations: {error}", file=sys.stderr)
        return 2
    if rest[0] == "-m":
        sys.argv[:] = rest[1:]
        sys.path[0] = ""
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = rest
        sys.path[0] = os.path.dirname(os.path.abspath(rest[0]))
        runpy.run_path(rest[0], run_name="__main__")
    return 0


def _refuse(why: str) -> int:
    print(f"fastdet.integrations: {why}\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
