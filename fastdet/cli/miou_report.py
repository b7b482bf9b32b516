"""The scores of ``fastdet miou`` as one JSON object, as text and as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastdet._core.plain_text import printable
from fastdet._files.atomic import atomic
from fastdet.cli.terminal import say
from fastdet.plots.axes import png
from fastdet.segmentation.metrics import SegmentationMetrics

FIGURES = {
    "mean_iou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "mean_dice": "mean Dice",
    "frequency_weighted_iou": "frequency weighted IoU",
}


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
        say()
        say("mIoU of each image by itself (their mean is not the mIoU above, which is of all pixels together):")
        say(f"{'mean':<22}  {_number(single['mean'])}{_interval(ends, 'per_image_mean')}")
        for name, value in single["quantiles"].items():
            say(f"{name:<22}  {_number(value)}")
        known = [image for image in single["images"] if image["mean_iou"] is not None]
        say("lowest")
        for image in sorted(known, key=lambda image: image["mean_iou"])[:5]:
            say(f"  {image['mean_iou']:.4f}  {printable(image['name'])}")


def _table(rows: Sequence[dict[str, Any]], ci: dict[str, Any]) -> None:
    titles = ["class", "IoU", *([f"{100 * ci['level']:g} % interval"] if ci else []), "accuracy", "Dice"]
    titles += ["true pixels", "predicted", "right"]
    lines = [titles]
    for row in rows:
        ends = [" to ".join(_number(end) for end in row["ci"]["iou"])] if ci else []
        figures = [_number(row["iou"]), *ends, _number(row["accuracy"]), _number(row["dice"])]
        pixels = [f"{row[key]:,}" for key in ("target_pixels", "predicted_pixels", "intersection")]
        lines.append([printable(row["name"]), *figures, *pixels])
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
            file.write(png(figure))
    return paths
