"""Panoptic files that are given to ``fastdet evaluate``: they are scored as ``fastdet panoptic`` does it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fastdet.cli.evaluate_options import Options
from fastdet.cli.terminal import Failure

_SHARED = ("per_class", "ci", "engine", "address", "as_json")
_PART = 1 << 20  # bytes


def holds_segments(path: Path) -> bool:
    """Whether a JSON file has the key of COCO's panoptic annotations."""
    key, before = b'"segments_info"', b""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        while part := file.read(_PART):
            if key in before + part:
                return True
            before = part[-len(key) :]
    return False


def score_panoptic(options: Options) -> None:
    """Score panoptic files. Failure for options that do not go with them."""
    from fastdet.cli import panoptic

    for field in dataclasses.fields(options):
        default = field.default
        if field.name in (*_SHARED, "truth", "detections") or getattr(options, field.name) == default:
            continue
        raise Failure(f"evaluate: --{field.name.replace('_', '-')} does not go with panoptic files")
    shared: dict[str, Any] = {name: getattr(options, name) for name in _SHARED}
    panoptic.run(panoptic.Options(options.truth, options.detections, **shared))
