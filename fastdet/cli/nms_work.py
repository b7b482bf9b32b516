"""The work of ``fastdet nms``: suppress the detections of a table. Workers of a cluster run it too, without Typer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastdet import nms
from fastdet._core.check import Array
from fastdet._files.detections import Advance
from fastdet._files.table import Kept, Table

Run = Callable[..., tuple[Array, Array | None]]
BLOCK = 1 << 16  # candidates in one call of a compiled kernel, and one step of the progress bar


def kernel_of(arguments: Mapping[str, Any], score_threshold: float | None, backend: str | None) -> Run:
    """The kernel, ``f(boxes, scores, keys) -> (keep, new scores or None)``. ``arguments``: of the method, by name."""
    soft = arguments["method"] != "hard"
    given = {key: value for key, value in arguments.items() if soft or key != "method"}
    if not soft:
        given["score_threshold"] = score_threshold

    def run(b: Array, s: Array, keys: Array, max_output: int | None = None) -> tuple[Array, Array | None]:
        if not soft:
            return nms.batched_nms(b, s, keys, max_output=max_output, backend=backend, **given), None
        rows = None if score_threshold is None else np.flatnonzero(s > s.dtype.type(score_threshold))
        if rows is not None:
            b, s, keys = b[rows], s[rows], keys[rows]
        keep, new = nms.batched_soft_nms(b, s, keys, max_output=max_output, backend=backend, **given)
        return (keep if rows is None else rows[keep]), new

    return run


def plainly(run: Run, *arrays: Array) -> tuple[Array, Array | None]:
    """Call the kernel in this thread."""
    return run(*arrays)


def suppress(
    table: Table,
    run: Run,
    max_output: int | None,
    agnostic: bool,
    block: int,
    advance: Advance,
    call: Callable[..., tuple[Array, Array | None]] = plainly,
) -> Kept:
    """NMS of whole images, about ``block`` boxes at a time. Each class of an image has a key of its own.

    ``call`` calls the kernel: ``call(run, boxes, scores, keys)``.
    """
    images = len(table.offsets) - 1
    parts: list[Array] = []
    new_scores: list[Array] = []
    counts = np.zeros(images, np.int64)
    first = 0
    while first < images:
        last = int(np.searchsorted(table.offsets, table.offsets[first] + block, "right")) - 1
        last = min(max(last, first + 1), images)
        rows = table.of(first, last)
        image = np.repeat(np.arange(last - first), np.diff(table.offsets[first : last + 1]))
        keys = image
        if table.labels is not None and not agnostic:
            kinds, kind = np.unique(table.labels[rows], return_inverse=True)
            keys = image * len(kinds) + kind.reshape(-1)
        keep, new = call(run, table.corners(rows), table.scores[rows], keys)
        order = np.argsort(image[keep], kind="stable")  # by image; stable, so still by falling score within it
        mine = image[keep][order]
        if max_output is not None:
            here = np.arange(len(mine)) - np.searchsorted(mine, mine) < max_output
            order, mine = order[here], mine[here]
        counts[first:last] = np.bincount(mine, minlength=last - first)
        parts.append(rows[keep[order]])
        if new is not None:
            new_scores.append(new[order])
        advance(len(rows))
        first = last
    kept = np.concatenate([np.zeros(0, np.int64), *parts])
    scores = np.concatenate(new_scores) if new_scores else None
    return Kept(kept, np.concatenate([[0], np.cumsum(counts)]), scores)
