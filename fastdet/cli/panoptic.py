"""``fastdet panoptic``: score panoptic segmentations in threads, as a table or as JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastdet._core import backends
from fastdet._core.check import describe
from fastdet._core.metric import plural
from fastdet._core.plain_text import printable
from fastdet._files import panoptic
from fastdet._files.errors import ChoiceError, FormatError
from fastdet.cli.engine import check_engine, engine
from fastdet.cli.panoptic_count import count, pair
from fastdet.cli.panoptic_doubts import notes_of
from fastdet.cli.terminal import Failure, about_intervals, command, note, progress, say, say_json, stage
from fastdet.segmentation.panoptic import PanopticMetrics
from fastdet.segmentation.panoptic_figures import EACH, FIGURES, GROUPS
from fastdet.segmentation.panoptic_match import COUNTS

_TITLES = {"pq": "PQ", "sq": "SQ", "rq": "RQ", "modified_pq": "modified PQ"}


@dataclass
class Options:
    """The command's arguments and options."""

    target: Annotated[Path, typer.Argument(metavar="TRUTH.json", help="The true segments, COCO's panoptic JSON.")]
    prediction: Annotated[Path, typer.Argument(metavar="PREDICTION.json", help="The predicted ones, likewise.")]
    truth_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The PNG files of TRUTH; by default the folder beside it.")
    ] = None
    prediction_folder: Annotated[Path | None, typer.Option(metavar="DIR", help="... of PREDICTION.")] = None
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the categories as well.")] = False
    ci: Annotated[bool, typer.Option("--ci", help="95 % intervals: 1,000 bootstrap resamples of the images.")] = False
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Count on this machine, or on a Ray cluster that sees the files.")
    ] = "local"
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of the Ray cluster; without it, one on this machine.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout.")] = False


def run(options: Options) -> None:
    """Score predicted panoptic segmentations: PQ, SQ and RQ of all categories, things and stuff.

    TRUTH and PREDICTION are COCO's panoptic files: annotations with image_id,
    file_name and segments_info (id, category_id, iscrowd), and in TRUTH the
    categories (id, name, isthing). The ids of the pixels are in 8-bit RGB PNG
    files: R + 256 G + 65536 B, 0 is void. The files are in the folder of the
    JSON's name (panoptic_val2017.json, panoptic_val2017/), in the one folder
    beside it that has them, or where an option says. Only a few maps are in
    memory at a time.

    The figures are the panoptic API's. Modified PQ has no threshold for stuff:
    the sum of IoU by the number of true segments.

    If an image is missing or damaged, a map of another size, a category
    unknown, or if a PNG has an id that the JSON lacks, or the reverse, the
    error names the record and no score is printed. Categories without truth
    and predictions are left out of the means (null in JSON).
    """
    began = time.perf_counter()
    check_engine("panoptic", options.engine, options.address)
    try:
        with stage("reading"):
            truth = panoptic.load(options.target, options.truth_folder, "truth-folder")
            guess = panoptic.load(options.prediction, options.prediction_folder, "prediction-folder")
    except ChoiceError as error:
        raise Failure(f"panoptic: --{error}") from None
    metrics = _metrics(truth)
    _check_categories(truth, guess)
    pairs = pair(truth, guess)
    with engine("panoptic", options.engine, options.address) as ray, progress() as bar:
        count(truth, guess, pairs, metrics, bar("counting", len(pairs)), ray)
    if not pairs:
        raise FormatError(f"{truth.path}: annotations: expected at least one image, got none")
    result = metrics.compute(ci=0.95 if options.ci else None)
    notes = [] if options.engine == "ray" else notes_of(truth, guess, pairs, metrics)
    notes += about_intervals(options.ci, len(pairs))
    report = {
        "target": str(options.target),
        "prediction": str(options.prediction),
        "folders": [str(truth.folder), str(guess.folder)],
        **summary(result, metrics),
        "notes": notes,
        "backend": backends.default(),
        "seconds": round(time.perf_counter() - began, 6),
    }
    if options.as_json:
        say_json(report)
    else:
        for text in notes:
            note(text)
        show(report, options.per_class)


panoptic_command = command(Options, run)


def _metrics(truth: panoptic.Panoptic) -> PanopticMetrics:
    """Metrics without images, of the categories of the true file. FormatError."""
    if truth.categories is None:
        raise FormatError(f"{truth.path}: expected the key 'categories', got no such key")
    try:
        return PanopticMetrics(truth.categories)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{truth.path}: {str(error).removeprefix('PanopticMetrics: ')}") from None


def _check_categories(truth: panoptic.Panoptic, guess: panoptic.Panoptic) -> None:
    """FormatError where the predictions list a category that has another name in the true file."""
    names = {category["id"]: category.get("name") for category in truth.categories or ()}
    for i, category in enumerate(guess.categories or ()):
        if not isinstance(category, dict):
            raise FormatError(f"{guess.path}: categories[{i}]: expected an object, got {describe(category)}")
        own, name = category.get("id"), category.get("name")
        if not isinstance(own, int) or not isinstance(name, str) or names.get(own) in (None, name):
            continue
        want = f"{names[own]!r}, the name of category {own} in {truth.path}"
        raise FormatError(f"{guess.path}: categories[{i}].name: expected {want}, got {describe(name)}")


def summary(result: dict[str, Any], metrics: PanopticMetrics) -> dict[str, Any]:
    """The scores as one JSON object, null instead of NaN."""
    ends = result.get("ci")
    rows = []
    for i, category in enumerate(metrics.categories):
        row = {**category, **{name: _plain(result[f"{name}_per_class"][i]) for name in EACH}}
        row |= {name: int(result[name][i]) for name in COUNTS}
        if ends is not None:
            row["ci"] = {name: [_plain(end) for end in ends[f"{name}_per_class"][:, i]] for name in EACH}
        rows.append(row)
    names = ("images", "pixels", "void_pixels", "counted", "counted_things", "counted_stuff")
    found: dict[str, Any] = {name: result[name] for name in names}
    found |= {name: _plain(result[name]) for name in FIGURES}
    found |= {name: int(np.sum(result[name])) for name in COUNTS}
    found["per_class"] = rows
    if ends is not None:
        found["ci"] = {key: ends[key] for key in ("level", "resamples", "seed")}
        found["ci"] |= {name: [_plain(end) for end in ends[name]] for name in FIGURES}
    return found


def show(found: dict[str, Any], per_class: bool) -> None:
    """Print the summary as text."""
    images, segments = plural(found["images"], "image"), plural(found["true_segments"], "true segment")
    say(f"{len(found['per_class'])} categories, {images}, {segments}")
    say(f"{found['pixels']:,} pixels, of which {found['void_pixels']:,} are void in the truth")
    ends = found.get("ci")
    head = ["", *(_TITLES[name] for name in EACH), "categories"]
    lines = [[*head, *_title(ends)]]
    for group in GROUPS:
        end = "" if group == "all" else f"_{group}"
        figures = [_number(found[name + end]) for name in EACH]
        interval = [] if ends is None else [_interval(ends[f"pq{end}"])]
        lines.append([group, *figures, str(found[f"counted{end}"]), *interval])
    _table(lines)
    if per_class:
        say()
        lines = [["category", "", *head[1:-1], *_title(ends), "TP", "FP", "FN", "true segments"]]
        seen = [row for row in found["per_class"] if row["pq"] is not None]
        for row in seen:
            figures = [_number(row[name]) for name in EACH]
            interval = [] if ends is None else [_interval(row["ci"]["pq"])]
            kind = "thing" if row["isthing"] else "stuff"
            lines.append([printable(row["name"]), kind, *figures, *interval, *(f"{row[name]:,}" for name in COUNTS)])
        _table(lines)
        if absent := len(found["per_class"]) - len(seen):
            say(f"{plural(absent, 'category', 'categories')} that neither side has, or that are crowd alone")


def _title(ends: dict[str, Any] | None) -> list[str]:
    return [] if ends is None else [f"{100 * ends['level']:g} % interval of PQ"]


def _table(lines: Sequence[Sequence[str]]) -> None:
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        say("  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, widths, strict=True))]))


def _number(x: float | None) -> str:
    return "absent" if x is None else f"{x:.4f}"


def _interval(ends: Sequence[float | None]) -> str:
    return "absent" if ends[0] is None else f"{ends[0]:.4f} to {_number(ends[1])}"


def _plain(x: Any) -> float | None:
    value = float(x)
    return None if math.isnan(value) else value
