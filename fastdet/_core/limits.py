"""Limits of what a file may make fastdet read or allocate: a small file can claim, or unpack to, any size.

``FASTDET_LIMITS="xml=64MiB,pixels=1000000000"`` in the environment changes them. Every error names its limit.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import NamedTuple


class Limit(NamedTuple):
    """A limit: its default, and what it counts."""

    default: int
    unit: str  # "bytes", or what is counted
    what: str


LIMITS = {
    "text": Limit(4 << 20, "bytes", "a record, a key or a name in JSON"),
    "images": Limit(10_000_000, "", "images, and categories, that JSON lists"),
    "runs": Limit(1 << 28, "", "runs of all masks that the polygons of a JSON file draw, at most"),
    "unpacked": Limit(
        256 << 20, "bytes", "what gzip, NPZ or Parquet unpacks to, or 100 times the file if that is more"
    ),
    "maps": Limit(16 << 30, "bytes", "the label maps of an NPZ, unpacked to a temporary file"),
    "pixels": Limit(1 << 26, "pixels", "one label map"),
    "xml": Limit(8 << 20, "bytes", "one XML file"),
    "lines": Limit(256 << 20, "bytes", "one text file of boxes"),
    "names": Limit(1 << 20, "bytes", "one file of class names, colours or label numbers"),
    "curves": Limit(2 << 30, "bytes", "precision-recall curves of all classes together"),
}
RATIO = 100  # gzip and NPZ of real boxes unpack to about 10 times their size

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,18})\s*([kmg]|[kmg]ib|)", re.ASCII | re.IGNORECASE)


class LimitError(ValueError):
    """More than a limit allows, or limits that cannot be read."""


def of(name: str) -> int:
    """The limit of this name."""
    return _set(os.environ.get("FASTDET_LIMITS", "")).get(name, LIMITS[name].default)


@lru_cache(8)
def _set(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, _, size = (part.strip() for part in item.partition("="))
        match = _SIZE.fullmatch(size)
        if name not in LIMITS or match is None:
            names = ", ".join(LIMITS)
            raise LimitError(f"FASTDET_LIMITS: must be pairs such as xml=64MiB of the names {names}, got {item[:40]!r}")
        found[name] = int(match[1]) * _UNITS[match[2].lower()]
    return found


def exceeded(name: str, got: int | None, allowed: int | None = None, shown: str = "") -> str:
    """The text of an error: what is allowed, what came, and how to allow it.

    ``got``: None if it is only known to be more. ``allowed``: if it is not the limit. ``shown``: ``got`` in words.
    """
    limit = of(name) if allowed is None else allowed
    unit = f" {LIMITS[name].unit}" if LIMITS[name].unit else ""
    enough = 2 * limit if got is None else got
    shown = shown or ("more" if got is None else f"{got:,}")
    return f"expected at most {limit:,}{unit}, got {shown}: {raising(name, enough)}"


def raising(name: str, enough: int) -> str:
    """How to raise a limit, for an error."""
    return f"FASTDET_LIMITS={name}={enough} raises the limit"


def unpacked(packed: int) -> int:
    """The bytes that ``packed`` bytes may become."""
    return max(of("unpacked"), RATIO * packed)
