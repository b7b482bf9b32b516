"""``fastdet miou``: score label maps in threads, as a table or as JSON."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import fastdet
from fastdet._core import backends, check
from fastdet._core.check import MAX_CLASSES, Array
from fastdet._files import label_maps, palettes
from fastdet._files.atomic import atomic
from fastdet._files.detections import Advance
from fastdet._files.errors import FormatError
from fastdet._files.label_maps import Folder, Maps
from fastdet._files.names import read_names
from fastdet._files.palettes import Palette
from fastdet.cli.terminal import Failure, command, in_a_line, progress, say, wrong_option
from fastdet.plots.axes import new_axes
from fastdet.segmentation.matrix import VOID
from fastdet.segmentation.metrics import SegmentationMetrics

FIGURES = {
    "mean_iou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "mean_dice": "mean Dice",
    "frequency_weighted_iou": "frequency weighted IoU",
}
_MAX_WRONG = 10  # bad maps that an error names; reading stops there
Bar = Callable[[str, "int | None"], Advance]


@dataclass
class Options:
    """The command's arguments and options."""

    target: Annotated[Path, typer.Argument(metavar="GT", help="The true label maps: a folder, NPZ or NPY.")]
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION", help="The predicted label maps, likewise.")]
    classes: Annotated[
        str | None,
        typer.Option(metavar="N|FILE", help="The number of classes, or a file of names; --palette has its own."),
    ] = None
    ignore: Annotated[int | None, typer.Option(metavar="LABEL", help="The label of void pixels, often 255.")] = None
    void: Annotated[
        str | None,
        typer.Option(metavar="miss|drop|count", help="How void pixels count (miss)."),
    ] = None
    palette: Annotated[
        str | None,
        typer.Option(metavar="cityscapes|voc|camvid|FILE", help="What the colours of RGB files mean."),
    ] = None
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes as well.")] = False
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Also each image's own mIoU: spread, lowest; with --json all.")
    ] = False
    ci: Annotated[bool, typer.Option("--ci", help="95 % intervals: 1,000 bootstrap resamples of the images.")] = False
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put confusion.png and iou.png into this folder.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False


def run(options: Options) -> None:
    """Score predicted label maps: mean IoU of the whole data set, accuracies, Dice.

    GT and PREDICTION: a folder of PNG files, matched by name. Grey (8 or
    16-bit) and palette images hold the labels themselves, RGB images need
    --palette. Or an NPZ with one integer array (N, H, W) and an array names
    (N,); or an NPY of the maps alone, in the same order. Only a few maps are in
    memory at a time; an NPZ is unpacked to a temporary file first (TMPDIR).

    --void miss: pixels of void truth are left out, a prediction of void is a
    miss. drop: both are left out. count: as miss, but pixels of void truth
    count against the class predicted there.

    --palette FILE: lines "R G B name", the classes in order; a line named void
    is a colour of the void label.

    If a map is missing, damaged, of another size or holds a wrong label, the
    error names it and no score is printed. Classes absent from both are left
    out of the means (null in JSON).
    """
    began = time.perf_counter()
    colours = _checked(options)
    metrics = _metrics(options, colours)
    true, guessed = (label_maps.load(path, colours, options.ignore) for path in (options.target, options.prediction))
    with progress() as bar:
        pairs = pair(true, guessed, bar)
        count(true, guessed, pairs, metrics, bar("counting", len(pairs)))
    result = metrics.compute(ci=0.95 if options.ci else None)
    pictures = [] if options.plots is None else draw(result, metrics, options.plots)
    ignored = [f"{maps.path}: {name}" for maps in (true, guessed) for name in maps.ignored]
    report = {
        "target": str(options.target),
        "prediction": str(options.prediction),
        **summary(result, metrics, [true.names[i] for i, _ in pairs]),
        "plots": [str(path) for path in pictures],
        "ignored": ignored,
        "backend": backends.default(),
        "seconds": round(time.perf_counter() - began, 6),
    }
    if options.as_json:
        if not options.per_image:
            report.pop("per_image", None)
        print(json.dumps(report))
        return
    if ignored:
        print(f"fastdet: not read: {label_maps.few(ignored)}", file=sys.stderr)
    show(report, options.per_class, options.per_image)
    for path in pictures:
        say(f"picture: {path}")


miou_command = command(Options, run)


def _checked(options: Options) -> Palette | None:
    """Check the options before the work. Returns the palette, None without one."""
    plots = options.plots
    if options.void is not None and options.ignore is None:
        raise Failure("miou: --void needs --ignore, the label of void pixels")
    if plots is not None and not (plots.is_dir() or (not plots.exists() and plots.parent.is_dir())):
        raise Failure(f"miou: plots must be a folder, or a new one in an existing folder, got {plots}")
    return None if options.palette is None else palettes.load(options.palette)


def _metrics(options: Options, colours: Palette | None) -> SegmentationMetrics:
    """Metrics without images yet, from the options. Failure."""
    number, names = class_names(options.classes, colours)
    void, per_image = options.void, options.per_image or options.ci
    try:
        if void is not None:
            check.choice("miou", "void", void, VOID)
        metrics = SegmentationMetrics(
            number, ignore_index=options.ignore, void=void or "miss", class_names=names, per_image=per_image
        )
        if options.plots is not None:
            new_axes()  # report a missing matplotlib before the work
    except (TypeError, ValueError, ImportError) as error:
        words = {"num_classes": "classes", "ignore_index": "ignore"}
        raise wrong_option("miou", str(error), words) from None
    return metrics


def class_names(classes: str | None, palette: Palette | None) -> tuple[int, list[str] | None]:
    """The number of classes and their names, from ``--classes`` and the palette. FormatError, OSError."""
    known = None if palette is None else list(palette.classes)
    if classes is None:
        if known is None:
            raise FormatError("miou: --classes is required: the number of classes, or a file of their names")
        return len(known), known
    if re.fullmatch(r"\s*[+-]?[0-9]+\s*", classes):
        if len(classes) > 18:  # int() may refuse very long numbers
            raise FormatError(f"miou: --classes must be in [1, {MAX_CLASSES}], got {classes[:18]}...")
        count, names = int(classes), known
    else:
        names = read_names("miou", Path(classes), "a number or a file of names")
        count = len(names)
    if known is not None and palette is not None and len(known) != count:
        got = f"miou: --classes {classes} does not go with --palette {palette.name}"
        raise FormatError(f"{got}: {count} classes and {len(known)}")
    return count, names


def pair(target: Maps, prediction: Maps, bar: Bar) -> list[tuple[int, int]]:
    """Match the maps. Returns pairs of positions. FormatError names maps without a partner of the same size."""
    pairs, missing, extra = label_maps.match(target, prediction)
    if missing or extra:
        sides = []
        for one, other, names in ((target, prediction, missing), (prediction, target, extra)):
            if names:
                sides.append(f"{len(names):,} of {one.path} not in {other.path}: {label_maps.few(names, _MAX_WRONG)}")
        what = "label maps without a partner" if pairs else "no label map has a partner of its name"
        raise FormatError(f"miou: {what}: {'; '.join(sides)}")
    advance = bar("checking sizes", len(pairs))
    wrong: list[str] = []
    for i, j in pairs:
        shapes = []
        for maps, at in ((target, i), (prediction, j)):
            with _noting(wrong, maps, at):
                shapes.append(maps.shape(at))
        if len(shapes) == 2 and shapes[0] != shapes[1]:
            wrong.append(_sizes(_where(prediction, j), shapes[0], shapes[1]))
        advance(1)
    if wrong:
        raise FormatError(_unusable(wrong))
    return pairs


def count(
    target: Maps, prediction: Maps, pairs: Sequence[tuple[int, int]], metrics: SegmentationMetrics, advance: Advance
) -> None:
    """Count all pairs into ``metrics``, in order, a few maps at a time. FormatError names bad maps."""
    threads = min(fastdet.get_num_threads(), len(pairs))
    wrong: list[str] = []
    todo = iter(pairs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fastdet-miou")
    try:
        ahead = itertools.islice(todo, 2 * threads)
        waiting = deque(pool.submit(_one, target, prediction, i, j, metrics) for i, j in ahead)
        for done in range(1, len(pairs) + 1):
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_one, target, prediction, i, j, metrics) for i, j in itertools.islice(todo, 1))
            if isinstance(result, tuple):
                metrics._add(*result)
            else:
                wrong += result
            advance(1)
            if len(wrong) >= _MAX_WRONG and done < len(pairs):
                raise FormatError(f"{_unusable(wrong, metrics)}; stopped after {done:,} of {len(pairs):,} pairs")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if wrong:
        raise FormatError(_unusable(wrong, metrics))
    if metrics._swapped(metrics._matrix):
        ignore = metrics.ignore_index
        text = f"the predictions hold void ({ignore}) and the true maps do not: are GT and PREDICTION swapped?"
        print(f"fastdet: {text}", file=sys.stderr)


def _one(
    target: Maps, prediction: Maps, i: int, j: int, metrics: SegmentationMetrics
) -> tuple[Any, list[Array], int] | list[str]:
    """Count one pair. Returns what it adds to ``metrics``, or the list of its errors."""
    maps: list[Array] = []
    wrong: list[str] = []
    for source, at in ((target, i), (prediction, j)):
        with _noting(wrong, source, at):
            maps.append(source.read(at))
    if wrong:
        return wrong
    truth, guess = maps
    if truth.shape != guess.shape:  # a file changed after its size was checked
        return [_sizes(_where(prediction, j), truth.shape, guess.shape)]
    try:
        return metrics._count_images(guess, truth)
    except ValueError:
        classes, ignore = metrics.num_classes, metrics.ignore_index
        for source, at, labels in ((target, i, truth), (prediction, j, guess)):
            wrong_label = label_maps.first_wrong(labels, classes, ignore)
            if wrong_label is not None:
                value, row, column = wrong_label
                allowed = f"labels 0 to {classes - 1}" + ("" if ignore is None else f" or {ignore} (void)")
                wrong.append(f"{_where(source, at)}: expected {allowed}, got {value} at row {row}, column {column}")
        if not wrong:
            raise
        return wrong


def _where(maps: Maps, i: int) -> str:
    folder = label_maps.shown(str(maps.path))
    return os.path.join(folder, maps.names[i]) if isinstance(maps, Folder) else f"{folder}: {maps.names[i]}"


@contextlib.contextmanager
def _noting(wrong: list[str], maps: Maps, i: int) -> Iterator[None]:
    """Add the error of a map to the list instead of raising it."""
    try:
        yield
    except FormatError as error:
        wrong.append(f"{_where(maps, i)}: {error}")
    except OSError as error:
        wrong.append(f"{_where(maps, i)}: {error.strerror or error}")


def _sizes(where: str, want: tuple[int, ...], got: tuple[int, ...]) -> str:
    return f"{where}: expected {want[0]} x {want[1]} pixels (height x width) as the target has, got {got[0]} x {got[1]}"


def _unusable(wrong: Sequence[str], metrics: SegmentationMetrics | None = None) -> str:
    """The error text for bad maps, with a hint if all have the same wrong label."""
    maps = "1 label map" if len(wrong) == 1 else f"{len(wrong):,} label maps"
    more = f"; and {len(wrong) - _MAX_WRONG:,} more" if len(wrong) > _MAX_WRONG else ""
    text = f"miou: {maps} that cannot be counted: {'; '.join(wrong[:_MAX_WRONG])}{more}"
    if metrics is not None and metrics.ignore_index is None:
        for value in (255, metrics.num_classes):
            if all(f", got {value} at row " in each for each in wrong):
                return f"{text}; if {value} is void: --ignore {value}"
    return text


def summary(result: dict[str, Any], metrics: SegmentationMetrics, names: Sequence[str]) -> dict[str, Any]:
    """The scores as one JSON object, null instead of NaN. ``names`` are those of the images."""
    classes = metrics.class_names or [str(i) for i in range(metrics.num_classes)]
    intervals = result.get("ci")
    columns = {"iou": "iou", "accuracy": "class_accuracy", "dice": "dice"}
    counts = ("target_pixels", "predicted_pixels", "intersection")
    rows = []
    for i, name in enumerate(classes):
        row: dict[str, Any] = {"class": i, "name": name}
        row |= {word: _plain(result[key][i]) for word, key in columns.items()}
        row |= {key: int(result[key][i]) for key in counts}
        if intervals is not None:
            row["ci"] = {word: [_plain(end) for end in intervals[key][:, i]] for word, key in columns.items()}
        rows.append(row)
    figures: dict[str, Any] = {
        "images": result["images"],
        "pixels": result["pixels"],
        "void_pixels": result["void_pixels"],
        "void_predictions": result["void_predictions"],
        "classes": metrics.num_classes,
        "ignore": metrics.ignore_index,
        "void": None if metrics.ignore_index is None else metrics.void,
        **{name: _plain(result[name]) for name in FIGURES},
        "per_class": rows,
        "confusion_matrix": result["confusion_matrix"].tolist(),
    }
    if intervals is not None:
        ends = {name: [_plain(end) for end in intervals[name]] for name in (*FIGURES, "per_image_mean")}
        figures["ci"] = {**{key: intervals[key] for key in ("level", "resamples", "seed")}, **ends}
    if "per_image" in result:
        single = result["per_image"]
        scores = zip(names, single["mean_iou"].tolist(), single["pixel_accuracy"].tolist(), strict=True)
        figures["per_image"] = {
            "mean": _plain(single["mean"]),
            "quantiles": {key: _plain(value) for key, value in single["quantiles"].items()},
            "scored": single["scored"],
            "images": [{"name": n, "mean_iou": _plain(a), "pixel_accuracy": _plain(b)} for n, a, b in scores],
        }
    return figures


def show(figures: dict[str, Any], per_class: bool, per_image: bool) -> None:
    """Print the summary as text."""
    ends = figures.get("ci", {})
    count = figures["images"]
    say(f"{figures['classes']} classes, {count:,} image{'' if count == 1 else 's'}, {figures['pixels']:,} pixels")
    if figures["ignore"] is not None:
        how = {
            "miss": "true ones are left out, predicted ones are misses",
            "drop": "true and predicted ones are left out",
            "count": "true ones count against the prediction, predicted ones are misses",
        }[figures["void"]]
        predicted = f"{figures['void_predictions']:,} predicted"
        say(f"void is {figures['ignore']}: {figures['void_pixels']:,} true, {predicted}; {figures['void']}: {how}")
    for name, title in FIGURES.items():
        say(f"{title:<22}  {_number(figures[name])}{_interval(ends, name)}")
    if per_class:
        _table(figures["per_class"], ends)
    if per_image:
        single = figures["per_image"]
        say("\nmIoU of each image by itself (their mean is not the mIoU above, which is of all pixels together):")
        say(f"{'mean':<22}  {_number(single['mean'])}{_interval(ends, 'per_image_mean')}")
        for name, value in single["quantiles"].items():
            say(f"{name:<22}  {_number(value)}")
        known = [image for image in single["images"] if image["mean_iou"] is not None]
        say("lowest")
        for image in sorted(known, key=lambda image: image["mean_iou"])[:5]:
            say(f"  {image['mean_iou']:.4f}  {in_a_line(image['name'])}")


def _table(rows: Sequence[dict[str, Any]], ci: dict[str, Any]) -> None:
    titles = ["class", "IoU", *([f"{100 * ci['level']:g} % interval"] if ci else []), "accuracy", "Dice"]
    titles += ["true pixels", "predicted", "right"]
    lines = [titles]
    for row in rows:
        ends = [" to ".join(_number(end) for end in row["ci"]["iou"])] if ci else []
        figures = [_number(row["iou"]), *ends, _number(row["accuracy"]), _number(row["dice"])]
        pixels = [f"{row[key]:,}" for key in ("target_pixels", "predicted_pixels", "intersection")]
        lines.append([in_a_line(row["name"]), *figures, *pixels])
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    say("")
    for name, *cells in lines:
        say("  ".join([name.ljust(first), *(c.rjust(width) for c, width in zip(cells, widths, strict=True))]))


def _number(x: float | None) -> str:
    return "absent" if x is None else f"{x:.4f}"


def _interval(ends: dict[str, Any], name: str) -> str:
    if not ends or ends[name][0] is None:
        return ""
    return f"  ({100 * ends['level']:g} %: {ends[name][0]:.4f} to {ends[name][1]:.4f})"


def _plain(x: Any) -> float | None:
    value = float(x)
    return None if math.isnan(value) else value


def draw(result: dict[str, Any], metrics: SegmentationMetrics, folder: Path) -> list[Path]:
    """Draw the confusion matrix and the IoU of each class into a folder, which is made if it is missing. OSError."""
    from fastdet import plots

    heat, _ = plots.draw_confusion(result["confusion_matrix"], names=metrics.class_names)
    ends = None if "ci" not in result else result["ci"]["iou"]
    bars, _ = plots.draw_class_scores(result["iou"], names=metrics.class_names, intervals=ends)
    folder.mkdir(exist_ok=True)
    paths = [folder / "confusion.png", folder / "iou.png"]
    for figure, path in zip((heat, bars), paths, strict=True):
        with atomic(path) as file:
            figure.savefig(file, format="png", dpi=130)
    return paths
