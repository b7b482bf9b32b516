"""``fastdet miou``: score label maps in threads, as a table or as JSON."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fastdet._core import backends, check
from fastdet._core.check import MAX_CLASSES
from fastdet._files import label_maps, label_tables, palettes
from fastdet._files.errors import FormatError, few
from fastdet._files.label_rules import Rules
from fastdet._files.label_tables import LabelTable
from fastdet._files.names import read_names
from fastdet._files.palettes import Palette
from fastdet.cli.engine import check_engine, engine
from fastdet.cli.miou_count import count, pair
from fastdet.cli.miou_doubts import check_doubts, notes_of
from fastdet.cli.miou_report import FIGURES as FIGURES
from fastdet.cli.miou_report import draw, show, summary
from fastdet.cli.terminal import Failure, about_intervals, command, note, progress, say, say_json, wrong_option
from fastdet.plots.axes import new_axes
from fastdet.segmentation.matrix import VOID
from fastdet.segmentation.metrics import SegmentationMetrics

_MAP = "cityscapes|ade20k|mask|PAIRS|FILE"


@dataclass
class Options:
    """The command's arguments and options."""

    target: Annotated[Path, typer.Argument(metavar="GT", help="The true label maps: a folder, NPZ or NPY.")]
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION", help="The predicted label maps, likewise.")]
    classes: Annotated[
        str | None,
        typer.Option(metavar="N|FILE", help="The number of classes, or a file of names; --palette has its own."),
    ] = None
    ignore: Annotated[
        list[int] | None,
        typer.Option(metavar="LABEL", help="The label of void pixels, often 255; may be given several times."),
    ] = None
    void: Annotated[
        str | None,
        typer.Option(metavar="miss|drop|count", help="How void pixels count (miss)."),
    ] = None
    palette: Annotated[
        str | None,
        typer.Option(metavar="cityscapes|voc|camvid|FILE", help="What the colours of RGB and palette files mean."),
    ] = None
    grey: Annotated[
        str | None,
        typer.Option(metavar="labels|colours", help="With --palette: what grey values are, if both are possible."),
    ] = None
    indexed: Annotated[
        str | None,
        typer.Option(metavar="colours|labels", help="With --palette: what palette images hold (colours)."),
    ] = None
    map: Annotated[
        str | None, typer.Option(metavar=_MAP, help="What the numbers of both sides mean, such as ids to trainIds.")
    ] = None
    gt_map: Annotated[str | None, typer.Option(metavar=_MAP, help="... of GT only.")] = None
    pred_map: Annotated[str | None, typer.Option(metavar=_MAP, help="... of PREDICTION only.")] = None
    gt_suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Read only GT's files whose names end so; match the rest.")
    ] = None
    pred_suffix: Annotated[str | None, typer.Option(metavar="TEXT", help="... PREDICTION's files.")] = None
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes as well.")] = False
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Also each image's own mIoU: spread, lowest; with --json all.")
    ] = False
    ci: Annotated[bool, typer.Option("--ci", help="95 % intervals: 1,000 bootstrap resamples of the images.")] = False
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put confusion.png and iou.png into this folder.")
    ] = None
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Count on this machine, or on a Ray cluster that sees the files.")
    ] = "local"
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; without it, one on this machine.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False


def run(options: Options) -> None:
    """Score predicted label maps: mean IoU of the whole data set, accuracies, Dice.

    GT and PREDICTION: a folder of PNG, TIFF, BMP or NPY files, with its
    subfolders, matched by name. Grey and palette images hold the labels
    themselves, RGB images need --palette. Or an NPZ with one integer array
    (N, H, W) and an array names (N,); or an NPY of the maps alone, in the same
    order. Only a few maps are in memory at a time; an NPZ is unpacked to a
    temporary file first (TMPDIR).

    --void miss: pixels of void truth are left out, a prediction of void is a
    miss. drop: both are left out. count: as miss, but pixels of void truth
    count against the class predicted there.

    --palette FILE: lines "R G B name", the classes in order; a line named void
    is a colour of the void label. It holds for palette images too: their
    colours are compared, not their numbers (--indexed labels: their numbers).

    --map: cityscapes (ids to the 19 trainIds), ade20k (1 to 150 to 0 to 149),
    mask (0 and 255 to 0 and 1), PAIRS such as 0:0,255:1,7:void, or a file of
    lines "STORED CLASS" or a JSON object. A number without a row is an error,
    but for a row "other". --ignore names labels after the map.

    --gt-suffix _gtFine_labelIds --pred-suffix _leftImg8bit: Cityscapes' names.

    If a map is missing, damaged, of another size or holds a wrong label, the
    error names it and no score is printed. Classes absent from both are left
    out of the means (null in JSON).
    """
    began = time.perf_counter()
    rules = _checked(options)
    metrics = _metrics(options, *rules)
    paths, ends = (options.target, options.prediction), (options.gt_suffix, options.pred_suffix)
    true, guessed = (label_maps.load(path, rule, end or "") for path, rule, end in zip(paths, rules, ends, strict=True))
    if options.engine == "ray" and (
        maps := next((x for x in (true, guessed) if isinstance(x, label_maps.Stack)), None)
    ):
        raise Failure(f"miou: --engine ray reads folders, got {maps.path}")
    with engine("miou", options.engine, options.address) as ray, progress() as bar:
        pairs = pair(true, guessed, bar)
        count(true, guessed, pairs, metrics, bar("counting", len(pairs)), ray)
    check_doubts(true, guessed, metrics, same_map=options.map is not None)
    notes = [*notes_of(true, guessed, metrics), *about_intervals(options.ci, len(pairs))]
    for text in notes:
        note(text)
    result = metrics.compute(ci=0.95 if options.ci else None)
    pictures = [] if options.plots is None else draw(result, metrics, options.plots)
    ignored = [f"{maps.path}: {name}" for maps in (true, guessed) for name in maps.ignored]
    report = {
        "target": str(options.target),
        "prediction": str(options.prediction),
        **summary(result, metrics, [true.names[i] for i, _ in pairs]),
        "ignore_labels": list(rules[0].ignore),
        "maps": [None if rule.table is None else rule.table.name for rule in rules],
        "plots": [str(path) for path in pictures],
        "ignored": ignored,
        "notes": notes,
        "backend": backends.default(),
        "seconds": round(time.perf_counter() - began, 6),
    }
    if options.as_json:
        if not options.per_image:
            report.pop("per_image", None)
        say_json(report)
        return
    if ignored:
        note(f"not read: {few(ignored)}")
    show(report, options.per_class, options.per_image)
    for path in pictures:
        say(f"picture: {path}")


miou_command = command(Options, run)


def _checked(o: Options) -> tuple[Rules, Rules]:
    """Check the options before the work. Returns the rules of the true and of the predicted maps. Failure, OSError."""
    check_engine("miou", o.engine, o.address)
    plots, ignore = o.plots, tuple(dict.fromkeys(o.ignore or ()))
    if o.void is not None and not ignore:
        raise Failure("miou: --void needs --ignore, the label of void pixels")
    if plots is not None and not (plots.is_dir() or (not plots.exists() and plots.parent.is_dir())):
        raise Failure(f"miou: plots must be a folder, or a new one in an existing folder, got {plots}")
    if o.map is not None and (o.gt_map is not None or o.pred_map is not None):
        raise Failure("miou: --map does not go with --gt-map or --pred-map: it is the map of both")
    for option, word in (("grey", o.grey), ("indexed", o.indexed)):
        if word is not None and word not in ("labels", "colours"):
            raise Failure(f"miou: --{option} must be one of labels, colours, got {word}")
        if word is not None and o.palette is None:
            raise Failure(f"miou: --{option} needs --palette, the meaning of colours")
    for option, text in (("gt-suffix", o.gt_suffix), ("pred-suffix", o.pred_suffix)):
        if text == "":
            raise Failure(f"miou: --{option} must be the end of a name, got an empty text")
    palette = None if o.palette is None else palettes.load(o.palette)
    names = o.gt_map or o.map, o.pred_map or o.map
    tables = [None if name is None else label_tables.load(name).with_void(ignore) for name in names]
    true, guessed = (Rules(palette, table, ignore, o.grey, o.indexed or "colours") for table in tables)
    return true, guessed


def _metrics(options: Options, true: Rules, guessed: Rules) -> SegmentationMetrics:
    """Metrics without images yet, from the options. Failure."""
    number, names = class_names(options.classes, true.palette, [true.table, guessed.table])
    void, per_image = options.void, options.per_image or options.ci
    try:
        if void is not None:
            check.choice("miou", "void", void, VOID)
        for label in true.ignore[1:]:
            SegmentationMetrics(number, ignore_index=label)  # checks it
        metrics = SegmentationMetrics(
            number, ignore_index=true.void, void=void or "miss", class_names=names, per_image=per_image
        )
        if options.plots is not None:
            new_axes()  # report a missing matplotlib before the work
    except (TypeError, ValueError, ImportError) as error:
        words = {"num_classes": "classes", "ignore_index": "ignore"}
        raise wrong_option("miou", str(error), words) from None
    for table in (true.table, guessed.table):
        inside = [label for label in true.ignore if 0 <= label < number]
        if table is not None and table.has_void and inside:
            text = f"miou: --ignore {inside[0]} is a class of the map {table.name}, whose void would become that class"
            raise Failure(f"{text}: choose a number of {number} or more, such as 255")
    return metrics


def class_names(
    classes: str | None, palette: Palette | None, tables: list[LabelTable | None]
) -> tuple[int, list[str] | None]:
    """The number of classes and their names, from ``--classes``, the palette and the maps. FormatError, OSError."""
    used = [table for table in tables if table is not None]
    titles = [None if palette is None else palette.classes, *(table.names for table in used)]
    known = next((list(each) for each in titles if each is not None), None)
    if classes is None:
        if known is None and not used:
            raise FormatError("miou: --classes is required: the number of classes, or a file of their names")
        number, names = len(known) if known is not None else max(table.count for table in used), known
        if known is None:
            for table in used:
                table.require_no_gap()
    elif re.fullmatch(r"\s*[+-]?[0-9]+\s*", classes):
        if len(classes) > 18:  # int() may refuse very long numbers
            raise FormatError(f"miou: --classes must be in [1, {MAX_CLASSES}], got {classes[:18]}...")
        number, names = int(classes), known
    else:
        names = read_names("miou", Path(classes), "a number or a file of names")
        number = len(names)
    if palette is not None and len(palette.classes) != number:
        got = f"miou: --classes {classes} does not go with --palette {palette.name}"
        raise FormatError(f"{got}: {number} classes and {len(palette.classes)}")
    for table in used:
        if number > 0 and (table.count > number or (table.names is not None and table.count != number)):
            raise FormatError(f"miou: the map {table.name} has {table.count} classes, got {number} classes to score")
    return number, names
