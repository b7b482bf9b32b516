"""What ``fastdet miou`` says of label maps that may be meant otherwise: it stops with the choice, or prints a note."""

from __future__ import annotations

import numpy as np

from fastdet._files import label_rules
from fastdet._files.errors import FormatError, few
from fastdet._files.label_maps import Maps, shown
from fastdet._files.moved import moved
from fastdet.cli.terminal import Failure
from fastdet.segmentation.metrics import SegmentationMetrics


def check_doubts(true: Maps, guessed: Maps, metrics: SegmentationMetrics, *, same_map: bool) -> None:
    """Failure where the counted maps may be meant otherwise. ``same_map``: one map was given for both sides."""
    for maps in (true, guessed):
        if text := label_rules.doubt(maps.side, shown(str(maps.path))):
            raise Failure(text)
        if maps.side.other_colours is not None:
            number, name = maps.side.other_colours
            text = f"miou: {shown(str(maps.path))}: number {number} has another colour in {name} than before"
            raise Failure(
                f"{text}: --palette compares colours; if the numbers are labels, say so with --map, as in 0:0,1:1"
            )
        if maps.rules.table is not None:
            try:
                maps.rules.table.require_one_meaning(maps.side.numbers)
            except FormatError as error:
                raise Failure(f"miou: {shown(str(maps.path))}: {error}") from None
    if same_map and guessed.rules.table is not None and not guessed.rules.table.keeps_numbers:
        _already_classes(guessed)
    for maps, option in ((true, "--gt-map"), (guessed, "--pred-map")):
        if metrics.num_classes <= 2 and (text := _is_mask(maps, true, metrics)):
            raise Failure(f"miou: {text}: {option} mask reads 255 as class 1, {option} 0:0,255:void keeps it void")
    c = metrics.num_classes
    if metrics.void == "drop" and not metrics._matrix[:c, :c].any() and metrics._matrix[:c].any():
        where = shown(str(guessed.path))
        raise Failure(f"miou: {where}: every pixel is void ({metrics.ignore_index}) here or in GT: nothing to score")
    if metrics.ignore_index is not None and not metrics._matrix[:c].any():
        raise Failure(f"miou: {shown(str(true.path))}: every pixel is void ({metrics.ignore_index}): nothing to score")


def _already_classes(guessed: Maps) -> None:
    """Failure where the predictions hold numbers that the common map makes void: they may be classes already."""
    table = guessed.rules.table
    assert table is not None
    void = [x for x in sorted(guessed.side.numbers) if table.is_void(x)]
    if void:
        name = table.name
        text = f"miou: {shown(str(guessed.path))}: the predictions hold {void[0]}, which is void in the map {name}"
        raise Failure(
            f"{text}: if they hold classes already, --gt-map {name}; if not, --gt-map {name} --pred-map {name}"
        )


def _is_mask(maps: Maps, true: Maps, metrics: SegmentationMetrics) -> str | None:
    """A text where a side holds no class but 0, and 255 as void: it may be a mask of 0 and 255."""
    classes = metrics.num_classes
    if maps.rules.ignore != (255,) or maps.rules.table is not None or maps.side.coloured:
        return None
    counts = metrics._matrix.sum(1 if maps is true else 0)
    if not counts[classes] or counts[1:classes].any():
        return None
    held = "0 and 255" if counts[0] else "255"
    return f"{shown(str(maps.path))} holds only {held}, and 255 is void"


def notes_of(true: Maps, guessed: Maps, metrics: SegmentationMetrics) -> list[str]:
    """Notes about figures that may be meant otherwise."""
    notes = []
    if metrics._swapped(metrics._matrix):
        ignore = metrics.ignore_index
        notes.append(f"the predictions hold void ({ignore}) and the true maps do not: are GT and PREDICTION swapped?")
    for maps, option in ((true, "--gt-map"), (guessed, "--pred-map")):
        if metrics.num_classes > 2 and (text := _is_mask(maps, true, metrics)):
            notes.append(f"{text}: {option} mask reads 255 as class 1")
    palette, void = true.rules.palette, true.rules.void
    if palette is not None and void is not None and 0 <= void < len(palette.classes) < len(palette.colours):
        notes.append(
            f"--ignore {void} leaves out class {palette.classes[void]} as well as void; another number only void"
        )
    c = metrics.num_classes
    matrix = metrics._matrix[:c, :c]
    i, j = np.nonzero(matrix)
    if pairs := moved(i, j, matrix[i, j], 100):
        found = few([f"{true_class} as {other}" for true_class, other in pairs], 3)
        hint = "do the two sides number, or colour, the classes differently? See --gt-map and --pred-map"
        notes.append(f"most pixels of some classes are predicted as others, {found}: {hint}")
    both = true.side.colours.keys() & guessed.side.colours.keys()
    other = [x for x in sorted(both) if true.side.colours[x] != guessed.side.colours[x]]
    if other:
        first = other[0]
        colours = (
            f"{x >> 16} {x >> 8 & 255} {x & 255}" for x in (true.side.colours[first], guessed.side.colours[first])
        )
        text = f"number {first} is the colour {' in GT and '.join(colours)} in PREDICTION"
        notes.append(f"{text}: their numbers were compared; --palette compares colours")
    return notes
