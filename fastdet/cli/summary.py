"""The summary of ``fastdet evaluate`` as text, for stdout and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdet._core.plain_text import printable
from fastdet.cli.terminal import say

_FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1"}
_POINTS = {"coco101": "101 points", "voc2007": "11 points", "area": "area"}


_TRUE = {"keypoints": ("true pose to find", "true poses to find")}
_TRUE |= dict.fromkeys(("boxes", "rotated"), ("true box to find", "true boxes to find"))
_TRUE |= dict.fromkeys(("masks", "boundary"), ("true mask to find", "true masks to find"))


def show(results: dict[str, Any], per_class: bool) -> None:
    """Print the summary."""
    say(headline(results))
    method = results["settings"]["method"]
    for line in results["summary"]:
        say(words(line, method, results.get("ci")))
    if per_class:
        _table(results["per_class"])
    if "at_score" in results:
        _show_at_score(results["at_score"], results["best_f1"])
    if "errors" in results:
        _show_errors(results["errors"], results.get("calibration"))


def _show_at_score(at: dict[str, Any], best: dict[str, Any]) -> None:
    """Print precision, recall and F1 at a score, and the best F1 with its score: of all classes, then of each."""
    say("")
    counts = f"{at['true_positives']:,} found, {at['false_positives']:,} false, {at['false_negatives']:,} missed"
    figures = ", ".join(f"{word} {number(at[key])}" for key, word in _FIGURES.items())
    say(f"At score {at['score']:g}, IoU {at['iou']:g}: {figures} ({counts})")
    say(f"Best F1 {number(best['f1'])} at score {number(best['score'])}")
    rows = [
        {
            "name": a["name"],
            **{word: a[key] for key, word in _FIGURES.items()},
            "best F1": b["f1"],
            "at score": b["score"],
        }
        for a, b in zip(at["per_class"], best["per_class"], strict=True)
    ]
    _print_table(rows, {key: key for key in [*_FIGURES.values(), "best F1", "at score"]})


_ERRORS = {
    "classification": "wrong class", "localization": "wrong place", "both": "both", "duplicate": "twice",
    "background": "on nothing", "missed": "missed",
}  # fmt: skip


def _show_errors(errors: dict[str, Any], calibration: dict[str, Any] | None) -> None:
    """Print what each kind of error costs, and the calibration of scores."""
    say("")
    say(f"AP {number(errors['ap'])} at IoU {errors['iou']:g}. Errors, and how much AP rises without them:")
    rows = [(words, errors[f"{kind}_count"], errors[f"{kind}_dap"]) for kind, words in _ERRORS.items()]
    width = max(len(f"{count:,}") for _, count, _ in rows)
    for word, count, rise in rows:
        say(f"  {word:<12} {count:>{width},}  {rise:+.4f}")
    for word, kind in (("all that is wrong", "false_positives"), ("all that is missed", "false_negatives")):
        say(f"  {word:<{13 + width}}  {errors[f'{kind}_dap']:+.4f}")
    if calibration is not None:
        say(f"Scores are {number(calibration['ece'])} from the share that is right (expected calibration error)")


def headline(results: dict[str, Any]) -> str:
    """The numbers of images, classes, true boxes and detections."""
    counts = []  # a cluster does not count everything
    for key, one, many in (
        ("images", "image", "images"), ("classes", "class", "classes"),
        ("true_boxes", *_TRUE[results.get("kind", "boxes")]), ("scored_detections", "detection", "detections"),
    ):  # fmt: skip
        if key in results:
            counts.append(f"{results[key]:,} {one if results[key] == 1 else many}")
    return ", ".join(counts)


def words(line: dict[str, Any], method: str, ci: dict[str, Any] | None = None) -> str:
    """A line of the summary. With COCO's method, in the layout of pycocotools."""
    limit = "all" if line["most"] is None else line["most"]
    if method == "coco101":
        title = "Average Precision" if line["kind"] == "AP" else "Average Recall"
        kind, value = f"({line['kind']})", f"{line['value']:0.3f}"
    else:
        title, kind = "Mean AP", f"({_POINTS[method]})"
        value = f"{line['value']:0.4f}" + (f" ({100 * line['value']:.2f} %)" if line["value"] >= 0 else "")
    of = f"area={line['area']:>6s} | maxDets={limit:>3}" + (f" | {line['part']}" if line.get("part") else "")
    text = f" {title:<18} {kind} @[ IoU={line['iou']:<9} | {of} ] = {value}"
    if ci and line["ci"] is not None and line["ci"][0] >= 0:
        text += f"  ({100 * ci['level']:g} %: {line['ci'][0]:.3f} to {line['ci'][1]:.3f})"
    return text


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Keys of the rows of classes that a table shows, and their titles."""
    keys = [key for key in rows[0] if key not in ("id", "name")] if rows else ["ap", "ar", "true_boxes", "detections"]
    return {key: (key[:2].upper() + key[2:] if key[:2] in ("ap", "ar") else key).replace("_", " ") for key in keys}


def _table(rows: Sequence[dict[str, Any]]) -> None:
    _print_table(rows, columns(rows))


def _print_table(rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> None:
    cells = [["class", *titles.values()]]
    cells += [[printable(row["name"]), *(number(row[key]) for key in titles)] for row in rows]
    first, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    say("")
    for name, *values in cells:
        say("  ".join([name.ljust(first), *(c.rjust(width) for c, width in zip(values, widths, strict=True))]))


def number(x: float) -> str:
    """A count, a score with four digits, or "absent" for -1."""
    return f"{x:,}" if isinstance(x, int) else "absent" if x < 0 else f"{x:.4f}"
