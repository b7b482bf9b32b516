"""Which frameworks there are, and how fastdet stands to each."""

from __future__ import annotations

import sys
from typing import Any

from fastdet.integrations._replace import active, version_of

_DISTRIBUTIONS = {"mmcv": ("mmcv", "mmcv-lite", "mmcv-full")}  # where they are not named as the function


def functions() -> list[str]:
    """The names of the integrations: each is a function of `fastdet.integrations`."""
    package = sys.modules["fastdet.integrations"]
    return sorted(
        name
        for name in package.__all__
        if getattr(getattr(package, name), "__module__", "") == f"fastdet.integrations._{name}"
    )


def distributions(name: str) -> tuple[str, ...]:
    """Names under which the framework is installed, one of them."""
    return _DISTRIBUTIONS.get(name, (name,))


def frameworks() -> dict[str, dict[str, Any]]:
    """The frameworks that fastdet knows, whether installed or not. None of them is imported.

    Returns
    -------
    dict of a dict for each name
        version : of the installed package, or None
        state : "active", "waits for its import" (see the launcher) or "off"

    Examples
    --------
    >>> frameworks()["pycocotools"]["state"]
    'off'
    """
    waiting = [name for finder in sys.meta_path for name in getattr(finder, "waiting", ())]
    on = [made.framework for made in active()]
    return {
        name: {
            "version": next(filter(None, map(version_of, distributions(name))), None),
            "state": "active" if name in on else "waits for its import" if name in waiting else "off",
        }
        for name in functions()
    }
