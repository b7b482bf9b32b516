"""``fastdet nms``: suppress overlapping detections of a file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import fastdet
from fastdet import nms
from fastdet._core import backends
from fastdet._files import detections
from fastdet._files.errors import Faults
from fastdet.cli.engine import check_engine, engine
from fastdet.cli.nms_shards import Job, output_name, suppress_shards
from fastdet.cli.nms_work import BLOCK, Run, kernel_of, suppress
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
from fastdet.distributed import shards

_METHODS = ("hard", "linear", "gaussian")


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
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Work on this machine, or on a Ray cluster that sees the files.")
    ] = "local"
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; without it, one on this machine.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one summary object on stdout.")] = False


def run(options: Options) -> None:
    """Suppress overlapping detections, class by class in each image.

    JSON: a list of {image_id, category_id, bbox: \\[x, y, width, height], score}, or an object whose annotations are
    such a list; plain or packed by gzip. Kept records are copied byte for byte, but soft methods write a new score. The
    text around the list is copied too.

    NPZ: boxes or boxes_xyxy (N, 4) as x1 y1 x2 y2, and scores (N,). Optional: labels (N,); offsets (I + 1,) with
    image_id (I,), one an image; or image_ids (N,), one a row. Without labels all boxes are of one class, 0 in JSON.

    OUTPUT is ordered by image, then by falling score, and is written whole or not at all.

    --engine ray: INPUT is a file, a folder or a pattern in quotes of JSON or Parquet shards (image_id, category_id,
    bbox, score, and columns that are copied), OUTPUT a new folder that gets a shard for each. An image must be in one
    shard.
    """
    began = time.perf_counter()
    input, output = options.input, options.output
    check_engine("nms", options.engine, options.address)
    if options.engine == "ray":
        _run_on_cluster(options, began)
        return
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
            block, advance = 1 if name == "reference" else BLOCK, bar(options.method, count)
            kept = suppress(table, kernel, options.max_output, options.agnostic, block, advance, interruptible)
            ignored = detections.write(table, kept, output, bar("writing", len(kept.rows)))
    finally:
        table.close()
    summary = _summary(options, arguments, name, len(table.offsets) - 1, count, len(kept.rows), began)
    summary |= {
        "ignored": list(ignored),
        "skipped": {"count": len(faults.texts), "records": faults.texts[:MAX_SKIPPED]},
    }
    if options.as_json:
        say_json(summary)
    else:
        _show(summary)


nms_command = command(Options, run)


def _summary(
    options: Options, arguments: dict[str, Any], backend: str, images: int, candidates: int, kept: int, began: float
) -> dict[str, Any]:
    return {
        "input": str(options.input),
        "output": str(options.output),
        "images": images,
        "candidates": candidates,
        "kept": kept,
        "seconds": round(time.perf_counter() - began, 6),
        "backend": backend,
        "options": {
            **{("iou" if key == "iou_threshold" else key): value for key, value in arguments.items()},
            "score_threshold": options.score_threshold,
            "max_output": options.max_output,
            "agnostic": options.agnostic,
            "threads": fastdet.get_num_threads(),
        },
    }


def _run_on_cluster(options: Options, began: float) -> None:
    """Suppress shards on a Ray cluster."""
    for option, value in (("skip-invalid", options.skip_invalid or None), ("threads", options.threads)):
        if value is not None:
            raise Failure(f"nms: --{option} does not go with --engine ray")
    output = options.output
    if not output.parent.is_dir() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise Failure(f"nms: output must be a new or an empty folder in an existing one, got {output}")
    arguments = _arguments(options)
    _, name = _kernel(options, arguments)
    try:
        paths = shards.shards("nms", "input", str(options.input))
    except (ValueError, FileNotFoundError) as error:
        raise Failure(str(error)) from None
    names = [output_name(path) for path in paths]
    if len(set(names)) < len(names):
        raise Failure(f"nms: input must be shards of different names, got {max(names, key=names.count)} twice")
    job = Job(arguments, options.score_threshold, options.max_output, options.agnostic, options.backend, "")
    with engine("nms", "ray", options.address) as ray, progress() as bar:
        done = suppress_shards(ray, paths, job, output, bar(options.method, len(paths)))
    images, candidates, kept = (
        sum(x) for x in zip(*((len(d.images), d.candidates, d.kept) for d in done), strict=True)
    )
    summary = _summary(options, arguments, name, images, candidates, kept, began)
    ignored = sorted({key for each in done for key in each.ignored})
    summary |= {"ignored": ignored, "skipped": {"count": 0, "records": []}, "shards": len(done)}
    if options.as_json:
        say_json(summary)
    else:
        _show(summary)


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


def _kernel(options: Options, arguments: dict[str, Any]) -> tuple[Run, str]:
    """The kernel, and its backend.

    The kernel runs once on no boxes, so that every wrong option is reported before the work.
    """
    run = kernel_of(arguments, options.score_threshold, options.backend)
    try:
        if options.threads is not None:
            fastdet.set_num_threads(options.threads)
        run(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), options.max_output)
        nms.nms(
            np.zeros((0, 4)), np.zeros(0), 0.5, score_threshold=options.score_threshold
        )  # soft_nms has no threshold
    except (TypeError, ValueError, NotImplementedError) as error:
        raise wrong_option("nms", str(error), {"iou_threshold": "iou", "n": "threads"}) from None
    return run, options.backend or backends.default()
