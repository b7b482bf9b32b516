"""The command ``fastdet``: final detections from raw ones, scores of detections and label maps, a demo, a benchmark.

Errors are one line on stderr and exit code 2; Ctrl-C is exit code 130; progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

try:
    import numpy as np

    import fastdet
    from fastdet import nms, segmentation
    from fastdet._core import backends, check
    from fastdet._core.check import Array
    from fastdet._files.coco import FormatError
    from fastdet.plots.axes import new_axes
    from fastdet.segmentation.confusion import VOID

    try:
        import typer
        from rich.console import Console
        from rich.table import Table as Grid

        from fastdet._files import label_maps, palettes, records
        from fastdet.cli import evaluate, miou, showcase
        from fastdet.cli.terminal import Failure, interruptible, progress, say, stage, wrong_option
    except ImportError as error:  # this module is the command and nothing else: its import may end the process
        print(f'fastdet: the command needs {error.name}: pip install "fastdet[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
except KeyboardInterrupt:  # most of the time of a short command
    print("fastdet: interrupted, nothing written", file=sys.stderr)
    raise SystemExit(130) from None

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
_METHODS = ("hard", "linear", "gaussian")
_BLOCK = 1 << 16  # candidates of one call of a compiled kernel; the bar moves by it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="fastdet", standalone_mode=False)
        if code != 130:
            return int(code or 0)
    except (Failure, FormatError, records.FormatError, showcase.Different) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except (KeyboardInterrupt, typer.Abort):
        pass
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            raise
        return _fail(error.format_message())
    print("fastdet: interrupted, nothing written", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(130)  # a kernel may still run in its thread: do not wait for it


def _fail(text: str) -> int:
    print(f"fastdet: {' '.join(text.split())}", file=sys.stderr)
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fastdet {fastdet.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Final detections from raw ones, scores of detections and segmentations: equal on every backend."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("nms")
def nms_command(
    input: Annotated[Path, typer.Argument(metavar="INPUT", help="COCO results JSON, or NPZ (see below).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="OUT.json or OUT.npz; may be INPUT itself.")],
    iou: Annotated[
        float | None,
        typer.Option(help="Overlap above which a box goes (hard, 0.5), from which it loses score (linear, 0.3)."),
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Drop candidates with score <= this first.")] = None,
    max_output: Annotated[int | None, typer.Option(help="Keep at most this many in each image.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="iou|ios", help="ios: intersection over the smaller box; hard only.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="hard|linear|gaussian", help="hard removes; the soft ones lower scores.")
    ] = "hard",
    sigma: Annotated[float | None, typer.Option(help="Width of the gaussian method (0.5).")] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Soft methods drop what falls below this score (0.001).")
    ] = None,
    offset: Annotated[
        float | None, typer.Option(help="Soft methods add this to x2 and y2; 1 for inclusive pixels (0).")
    ] = None,
    agnostic: Annotated[bool, typer.Option("--agnostic", help="Boxes of all classes of an image compete.")] = False,
    backend: Annotated[str | None, typer.Option(metavar="cpp|numba|reference", help="The fastest there is.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the cpp backend; does not change results.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one summary object on stdout.")] = False,
) -> None:
    """Turn raw overlapping detections into final ones, class by class in each image.

    JSON: a list of {image_id, category_id, bbox: \\[x, y, width, height], score}; kept records come out as the very
    bytes that came in, only soft methods write a new score.

    NPZ: boxes or boxes_xyxy (N, 4) as x1 y1 x2 y2, scores (N,), and as they apply labels (N,), offsets (I + 1,) with
    image_id (I,) one an image, or image_ids (N,) one a row. Without labels all boxes are of one class, 0 in JSON.

    OUTPUT is ordered by image, then by falling score, and is written whole or not at all.
    """
    began = time.perf_counter()
    if output.suffix.lower() not in (".json", ".npz"):
        raise Failure(f"nms: output must end in .json or .npz, got {output}")
    if not output.parent.is_dir() or output.is_dir():
        raise Failure(f"nms: output must be a file in an existing folder, got {output}")
    options = _options(method, iou, metric, sigma, min_score, offset)
    run, name = _kernel(options, score_threshold, max_output, backend, threads)
    with progress(unit=1 << 20) as bar:
        table = records.read(input, bar("reading, MiB", input.stat().st_size if input.is_file() else None))
    try:
        count = int(table.offsets[-1])
        with progress() as bar:
            kept = _suppress(table, run, max_output, agnostic, 1 if name == "reference" else _BLOCK, bar(method, count))
            records.write(table, kept, output, bar("writing", len(kept.rows)))
    finally:
        table.close()
    seconds = time.perf_counter() - began
    if table.ignored and not as_json:
        print(f"fastdet: not carried over: {', '.join(table.ignored)}", file=sys.stderr)
    summary = {
        "input": str(input),
        "output": str(output),
        "images": len(table.offsets) - 1,
        "candidates": count,
        "kept": len(kept.rows),
        "seconds": round(seconds, 6),
        "backend": name,
        "options": {
            "method": method,
            **{("iou" if key == "iou_threshold" else key): value for key, value in options.items() if key != "method"},
            "score_threshold": score_threshold,
            "max_output": max_output,
            "agnostic": agnostic,
            "threads": fastdet.get_num_threads(),
        },
        "ignored": list(table.ignored),
    }
    if as_json:
        print(json.dumps(summary))
    else:
        images = f"{summary['images']:,} image{'' if summary['images'] == 1 else 's'}"
        print(f"{count:,} candidates in {images}: {len(kept.rows):,} kept ({method}, {name}, {seconds:.2f} s)")
        print(f"written to {output}")


def _options(
    method: str,
    iou: float | None,
    metric: str | None,
    sigma: float | None,
    min_score: float | None,
    offset: float | None,
) -> dict[str, Any]:
    """Arguments of the kernel; an option that the method would pass over is an error."""
    if method not in _METHODS:
        raise Failure(f"nms: --method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    given = {"iou": iou, "metric": metric, "sigma": sigma, "min-score": min_score, "offset": offset}
    defaults: dict[str, dict[str, Any]] = {
        "hard": {"iou": 0.5, "metric": "iou"},
        "linear": {"iou": 0.3, "min-score": 0.001, "offset": 0.0},
        "gaussian": {"sigma": 0.5, "min-score": 0.001, "offset": 0.0},
    }
    takes = defaults[method]
    for name, value in given.items():
        if value is not None and name not in takes:
            raise Failure(f"nms: --{name} does not go with --method {method}")
    chosen = {name: default if given[name] is None else given[name] for name, default in takes.items()}
    words = {"iou": "iou_threshold", "min-score": "min_score"}
    return {"method": method, **{words.get(name, name): value for name, value in chosen.items()}}


Run = Callable[[Array, Array, Array], tuple[Array, Array | None]]


def _kernel(
    options: dict[str, Any],
    score_threshold: float | None,
    max_output: int | None,
    backend: str | None,
    threads: int | None,
) -> tuple[Run, str]:
    """``f(boxes, scores, keys) -> (keep, new scores or None)`` and its backend; every option is tried on no boxes."""
    soft = options["method"] != "hard"
    arguments = {key: value for key, value in options.items() if soft or key != "method"}
    if not soft:
        arguments["score_threshold"] = score_threshold

    def run(b: Array, s: Array, keys: Array, most: int | None = None) -> tuple[Array, Array | None]:
        if not soft:
            return nms.batched_nms(b, s, keys, max_output=most, backend=backend, **arguments), None
        rows = None if score_threshold is None else np.flatnonzero(s > s.dtype.type(score_threshold))
        if rows is not None:
            b, s, keys = b[rows], s[rows], keys[rows]
        keep, new = nms.batched_soft_nms(b, s, keys, max_output=most, backend=backend, **arguments)
        return (keep if rows is None else rows[keep]), new

    try:
        if threads is not None:
            fastdet.set_num_threads(threads)
        run(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), max_output)
        nms.nms(np.zeros((0, 4)), np.zeros(0), 0.5, score_threshold=score_threshold)  # soft methods do not look at it
    except (TypeError, ValueError, NotImplementedError) as error:
        raise wrong_option("nms", str(error), {"iou_threshold": "iou", "n": "threads"}) from None
    return run, backend or backends.default()


def _suppress(
    table: records.Table, run: Run, max_output: int | None, agnostic: bool, block: int, advance: records.Advance
) -> records.Kept:
    """NMS of whole images, so many at a time as make a block; a class of an image is one key."""
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
        order = np.argsort(image[keep], kind="stable")  # by image, within it still by falling score
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
    return records.Kept(kept, np.concatenate([[0], np.cumsum(counts)]), scores)


@app.command("miou")
def miou_command(
    target: Annotated[Path, typer.Argument(metavar="GT", help="The true label maps: a folder, NPZ or NPY.")],
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION", help="The predicted ones, likewise.")],
    classes: Annotated[
        str | None,
        typer.Option(metavar="N|FILE", help="How many classes, or a file with a name a line; a palette knows itself."),
    ] = None,
    ignore: Annotated[int | None, typer.Option(metavar="LABEL", help="The label of void pixels, often 255.")] = None,
    void: Annotated[
        str | None,
        typer.Option(metavar="miss|drop|count", help="What void pixels count for (miss)."),
    ] = None,
    palette: Annotated[
        str | None,
        typer.Option(metavar="cityscapes|voc|camvid|FILE", help="What the colours of RGB files mean."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes as well.")] = False,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Also each image's own mIoU: spread, lowest; with --json all.")
    ] = False,
    ci: Annotated[bool, typer.Option("--ci", help="95 % intervals: 1,000 bootstrap resamples of the images.")] = False,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put confusion.png and iou.png into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False,
) -> None:
    """Score predicted label maps: mean IoU of the whole data set, accuracies, Dice.

    GT and PREDICTION: a folder of PNG files, matched by name. Grey (8 or
    16-bit) and palette images hold the labels themselves, RGB images need
    --palette. Or an NPZ with one integer array (N, H, W) and an array names
    (N,); or an NPY of the maps alone, in the same order. A few maps at a time
    are in memory; an NPZ is unpacked to a temporary file first (TMPDIR).

    --void miss: pixels of void truth are left out, a prediction of void is a
    miss. drop: both are left out. count: as miss, but pixels of void truth
    count against the class predicted there.

    --palette FILE: lines "R G B name", the classes in order; a line named void
    is a colour of the void label.

    If any map is missing, damaged, of another size or holds a wrong label,
    these are named and no figure is printed. Classes absent from both are left
    out of the means (null in JSON).
    """
    began = time.perf_counter()
    if void is not None and ignore is None:
        raise Failure("miou: --void does not go without --ignore, the label that is void")
    if plots is not None and not (plots.is_dir() or (not plots.exists() and plots.parent.is_dir())):
        raise Failure(f"miou: plots must be a folder, or a new one in an existing folder, got {plots}")
    colours = None if palette is None else palettes.load(palette)
    count, names = miou.class_names(classes, colours)
    try:
        if void is not None:
            check.choice("miou", "void", void, VOID)
        metrics = segmentation.SegmentationMetrics(
            count, ignore_index=ignore, void=void or "miss", class_names=names, per_image=per_image or ci
        )
        if plots is not None:
            new_axes()  # a missing matplotlib is known before the work
    except (TypeError, ValueError, ImportError) as error:
        words = {"num_classes": "classes", "ignore_index": "ignore"}
        raise wrong_option("miou", str(error), words) from None
    true, guessed = (label_maps.load(path, colours, ignore) for path in (target, prediction))
    with progress() as bar:
        pairs = miou.pair(true, guessed, bar)
        miou.count(true, guessed, pairs, metrics, bar("counting", len(pairs)))
    result = metrics.compute(ci=0.95 if ci else None)
    pictures = [] if plots is None else miou.draw(result, metrics, plots)
    ignored = [f"{maps.path}: {name}" for maps in (true, guessed) for name in maps.ignored]
    given = {
        "target": str(target),
        "prediction": str(prediction),
        **miou.summary(result, metrics, [true.names[i] for i, _ in pairs]),
        "plots": [str(path) for path in pictures],
        "ignored": ignored,
        "backend": backends.default(),
        "seconds": round(time.perf_counter() - began, 6),
    }
    if as_json:
        if not per_image:
            given.pop("per_image", None)
        print(json.dumps(given))
        return
    if ignored:
        print(f"fastdet: not read: {label_maps.few(ignored)}", file=sys.stderr)
    miou.show(given, per_class, per_image)
    for path in pictures:
        say(f"picture: {path}")


app.command("evaluate")(evaluate.evaluate)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the picture goes, a PNG.")] = Path(
        "fastdet_demo.png"
    ),
) -> None:
    """What a small YOLO says of made-up streets, decoded, through NMS and Soft-NMS, and scored: tables, a picture."""
    if output.suffix.lower() != ".png" or not output.parent.is_dir():
        raise Failure(f"demo: output must end in .png, in an existing folder, got {output}")
    console = Console()
    result = showcase.demo()
    sample, sure = result.sample, showcase.SURE
    console.print(
        f"What a small YOLO says of {len(sample.scenes)} made-up streets that it was not trained on, with "
        f"{result.objects} objects: no photographs.\nFound: by a box of a score of {sure} or more. Times in ms."
    )
    grid = Grid()
    for title in ("method", "boxes in", "out", "found", *result.backends):
        grid.add_column(title, justify="left" if title == "method" else "right", no_wrap=True)
    for step in result.steps:
        times = [f"{step.milliseconds[name]:.3f}" for name in result.backends]
        found = f"{result.objects - sum(map(len, step.missed))} of {result.objects}"
        grid.add_row(step.title, str(step.given), str(len(step.kept.boxes)), found, *times)
    console.print(grid)
    console.print("Average precision (COCO's) over all of them:")
    grid = Grid()
    for title in ("boxes", "AP", "AP50", "AP75"):
        grid.add_column(title, justify="left" if title == "boxes" else "right", no_wrap=True)
    for step in result.steps:
        grid.add_row(f"after {step.title}", *(f"{x:.3f}" for x in step.precision))
    console.print(grid)
    _absent(console)
    if len(result.backends) > 1:
        console.print(f"equal answers on {', '.join(result.backends)}: checked")
    try:
        figure = showcase.picture(result)
    except ImportError as error:
        raise Failure(str(error)) from None
    with records.atomic(output) as file:
        figure.savefig(file, format="png", dpi=130)
    print(f"picture: {output.resolve()}")


@app.command()
def bench(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """A quick table of this machine's times, each the median of several runs. Equality is checked first."""
    with stage("measuring"):
        results = showcase.bench()
    if as_json:
        print(json.dumps({**fastdet.config(), "unit": "milliseconds, median", "results": results}))
        return
    console = Console()
    names = [name for name, reason in backends.available().items() if not reason]
    threads = fastdet.get_num_threads()
    grid = Grid(title=f"fastdet {fastdet.__version__}, {threads} thread{'s' * (threads > 1)}, median milliseconds")
    for title in ("op", "input", *names):
        grid.add_column(title, justify="left" if title in ("op", "input") else "right")
    for row in results:
        times = [row["milliseconds"].get(name) for name in names]
        grid.add_row(row["op"], row["input"], *("too slow" if t is None else f"{t:,.3f}" for t in times))
    console.print(grid)
    _absent(console)


def _absent(console: Console) -> None:
    for name, reason in backends.available().items():
        if reason:
            console.print(f"{name} is absent; `fastdet info` says why")


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False) -> None:
    """Version, backends with the reason for each absent one, instruction set, threads."""
    if as_json:
        print(json.dumps(fastdet.config()))
    else:
        fastdet.show_config()
