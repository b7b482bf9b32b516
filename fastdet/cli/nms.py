"""``fastdet nms``: suppress overlapping detections of a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import fastdet
from fastdet import nms
from fastdet._core import backends
from fastdet._core.check import Array
from fastdet._files import detections
from fastdet._files.detections import Advance
from fastdet._files.errors import Faults
from fastdet._files.table import Kept, Table
from fastdet.cli.terminal import (
    MAX_SKIPPED,
    Failure,
    command,
    interruptible,
    note,
    progress,
    say,
    say_json,
    skipped_lines,
    wrong_option,
)

_METHODS = ("hard", "linear", "gaussian")
_BLOCK = 1 << 16  # candidates in one call of a compiled kernel, and one step of the progress bar


@dataclass
class Options:
    """The command's arguments and options."""

    input: Annotated[Path, typer.Argument(metavar="INPUT", help="COCO results JSON (also .gz), or NPZ (see below).")]
    output: Annotated[Path, typer.Option("--output", "-o", help="OUT.json or OUT.npz; may be INPUT itself.")]
    iou: Annotated[
        float | None,
        typer.Option(help="hard drops a box that overlaps more (0.5), linear lowers it from here (0.3)."),
    ] = None
    score_threshold: Annotated[float | None, typer.Option(help="Drop candidates with score <= this first.")] = None
    max_output: Annotated[int | None, typer.Option(help="Keep at most this many in each image.")] = None
    metric: Annotated[
        str | None, typer.Option(metavar="iou|ios", help="ios: intersection over the smaller box; hard only.")
    ] = None
    method: Annotated[
        str, typer.Option(metavar="hard|linear|gaussian", help="hard removes; the soft ones lower scores.")
    ] = "hard"
    sigma: Annotated[float | None, typer.Option(help="Width of the gaussian method (0.5).")] = None
    min_score: Annotated[
        float | None, typer.Option(help="Soft methods drop boxes that fall below this score (0.001).")
    ] = None
    offset: Annotated[
        float | None, typer.Option(help="Soft methods add this to x2 and y2; 1 for inclusive pixels (0).")
    ] = None
    agnostic: Annotated[bool, typer.Option("--agnostic", help="Boxes of all classes of an image compete.")] = False
    backend: Annotated[str | None, typer.Option(metavar="cpp|numba|reference", help="The fastest there is.")] = None
    threads: Annotated[int | None, typer.Option(help="Threads of the cpp backend; does not change results.")] = None
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out invalid records, and list them.")] = (
        False
    )
    as_json: Annotated[bool, typer.Option("--json", help="Print one summary object on stdout.")] = False


def run(options: Options) -> None:
    """Suppress overlapping detections, class by class in each image.

    JSON: a list of {image_id, category_id, bbox: \\[x, y, width, height], score}, or an object whose annotations are
    such a list; plain or packed by gzip. Kept records are copied byte for byte, but soft methods write a new score. The
    text around the list is copied too.

    NPZ: boxes or boxes_xyxy (N, 4) as x1 y1 x2 y2, and scores (N,). Optional: labels (N,); offsets (I + 1,) with
    image_id (I,), one an image; or image_ids (N,), one a row. Without labels all boxes are of one class, 0 in JSON.

    OUTPUT is ordered by image, then by falling score, and is written whole or not at all.
    """
    began = time.perf_counter()
    input, output = options.input, options.output
    if output.suffix.lower() not in (".json", ".npz"):
        raise Failure(f"nms: output must end in .json or .npz, got {output}")
    if not output.parent.is_dir() or output.is_dir():
        raise Failure(f"nms: output must be a file in an existing folder, got {output}")
    arguments = _arguments(options)
    kernel, name = _kernel(options, arguments)
    faults = Faults(skip=options.skip_invalid)
    with progress(unit=1 << 20) as bar:
        size = input.stat().st_size if input.is_file() else None
        table = detections.read(input, bar("reading, MiB", size), faults)
    try:
        count = int(table.offsets[-1])
        with progress() as bar:
            block, advance = 1 if name == "reference" else _BLOCK, bar(options.method, count)
            kept = _suppress(table, kernel, options.max_output, options.agnostic, block, advance)
            ignored = detections.write(table, kept, output, bar("writing", len(kept.rows)))
    finally:
        table.close()
    summary = {
        "input": str(input),
        "output": str(output),
        "images": len(table.offsets) - 1,
        "candidates": count,
        "kept": len(kept.rows),
        "seconds": round(time.perf_counter() - began, 6),
        "backend": name,
        "options": {
            **{("iou" if key == "iou_threshold" else key): value for key, value in arguments.items()},
            "score_threshold": options.score_threshold,
            "max_output": options.max_output,
            "agnostic": options.agnostic,
            "threads": fastdet.get_num_threads(),
        },
        "ignored": list(ignored),
        "skipped": {"count": len(faults.texts), "records": faults.texts[:MAX_SKIPPED]},
    }
    if options.as_json:
        say_json(summary)
    else:
        _show(summary)


nms_command = command(Options, run)


def _show(summary: dict[str, Any]) -> None:
    """Print the summary as text."""
    if summary["ignored"]:
        note(f"not copied: {', '.join(summary['ignored'])}")
    for line in skipped_lines(summary["skipped"]):
        note(line)
    images = f"{summary['images']:,} image{'' if summary['images'] == 1 else 's'}"
    how = f"{summary['options']['method']}, {summary['backend']}, {summary['seconds']:.2f} s"
    say(f"{summary['candidates']:,} candidates in {images}: {summary['kept']:,} kept ({how})")
    say(f"written to {summary['output']}")


def _arguments(options: Options) -> dict[str, Any]:
    """Arguments of the kernel. Failure for an option that the method does not use."""
    method = options.method
    if method not in _METHODS:
        raise Failure(f"nms: --method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    chosen = {
        name.replace("_", "-"): getattr(options, name) for name in ("iou", "metric", "sigma", "min_score", "offset")
    }
    defaults: dict[str, dict[str, Any]] = {
        "hard": {"iou": 0.5, "metric": "iou"},
        "linear": {"iou": 0.3, "min-score": 0.001, "offset": 0.0},
        "gaussian": {"sigma": 0.5, "min-score": 0.001, "offset": 0.0},
    }
    takes = defaults[method]
    for name, value in chosen.items():
        if value is not None and name not in takes:
            raise Failure(f"nms: --{name} does not go with --method {method}")
    arguments = {name: default if chosen[name] is None else chosen[name] for name, default in takes.items()}
    words = {"iou": "iou_threshold", "min-score": "min_score"}
    return {"method": method, **{words.get(name, name): value for name, value in arguments.items()}}


Run = Callable[[Array, Array, Array], tuple[Array, Array | None]]


def _kernel(options: Options, arguments: dict[str, Any]) -> tuple[Run, str]:
    """The kernel, ``f(boxes, scores, keys) -> (keep, new scores or None)``, and its backend.

    The kernel runs once on no boxes, so that every wrong option is reported before the work.
    """
    soft = options.method != "hard"
    score_threshold, backend = options.score_threshold, options.backend
    arguments = {key: value for key, value in arguments.items() if soft or key != "method"}
    if not soft:
        arguments["score_threshold"] = score_threshold

    def run(b: Array, s: Array, keys: Array, max_output: int | None = None) -> tuple[Array, Array | None]:
        if not soft:
            return nms.batched_nms(b, s, keys, max_output=max_output, backend=backend, **arguments), None
        rows = None if score_threshold is None else np.flatnonzero(s > s.dtype.type(score_threshold))
        if rows is not None:
            b, s, keys = b[rows], s[rows], keys[rows]
        keep, new = nms.batched_soft_nms(b, s, keys, max_output=max_output, backend=backend, **arguments)
        return (keep if rows is None else rows[keep]), new

    try:
        if options.threads is not None:
            fastdet.set_num_threads(options.threads)
        run(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), options.max_output)
        nms.nms(np.zeros((0, 4)), np.zeros(0), 0.5, score_threshold=score_threshold)  # soft_nms has no threshold
    except (TypeError, ValueError, NotImplementedError) as error:
        raise wrong_option("nms", str(error), {"iou_threshold": "iou", "n": "threads"}) from None
    return run, backend or backends.default()


def _suppress(table: Table, run: Run, max_output: int | None, agnostic: bool, block: int, advance: Advance) -> Kept:
    """NMS of whole images, about ``block`` boxes at a time. Each class of an image has a key of its own."""
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
        keep, new = interruptible(run, table.corners(rows), table.scores[rows], keys)
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
