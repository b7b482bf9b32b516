"""What the numbers and colours of label maps mean, and what the maps of one side, read together, leave in doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastdet._core.check import Array
from fastdet._core.label_images import LabelPixels
from fastdet._files.errors import FormatError
from fastdet._files.label_tables import LabelTable
from fastdet._files.palettes import Palette, code


@dataclass(frozen=True)
class Rules:
    """How a map becomes class numbers: colours by the palette, numbers by the table, all void labels as the first."""

    palette: Palette | None = None
    table: LabelTable | None = None
    ignore: tuple[int, ...] = ()
    grey: str | None = None  # what grey values are where a palette is named: "labels" or "colours"
    indexed: str = "colours"  # what palette images hold there, likewise

    @property
    def void(self) -> int | None:
        """The label that void gets."""
        return self.ignore[0] if self.ignore else None


@dataclass
class Side:
    """What one map showed, or the maps of one side so far."""

    doubtful: str = ""  # the first grey map that is either labels or colours
    certain: bool = False  # whether a grey map can only be labels
    coloured: bool = False  # whether a map was read by its colours
    colours: dict[int, int] = field(default_factory=dict)  # number -> 0xRRGGBB in the palettes of the files
    other_colours: tuple[int, str] | None = None  # the first number that two files give different colours, and a file
    numbers: set[int] = field(default_factory=set)  # the stored numbers, where a table is used

    def add(self, one: Side, name: str) -> None:
        """Add what one more map showed. The order of the maps decides which of them an error names."""
        self.doubtful = self.doubtful or one.doubtful
        self.certain |= one.certain
        self.coloured |= one.coloured
        self.numbers |= one.numbers
        for number, colour in one.colours.items():
            if self.colours.setdefault(number, colour) != colour and self.other_colours is None:
                self.other_colours = number, name


def labels(found: LabelPixels, rules: Rules, side: Side, name: str) -> Array:
    """(H, W) integer labels of one map. FormatError names a number or colour that means nothing."""
    if found.kind == "rgb":
        if rules.palette is None:
            raise FormatError("expected labels, got an RGB image: use --palette to name its colours")
        if found.clear is not None and found.clear.any():
            row, column = np.argwhere(found.clear)[0].tolist()
            raise FormatError(f"expected opaque colours, got a transparent one at row {row}, column {column}")
        return _by_colour(found.values, rules.palette, rules, side)
    if found.kind == "indexed" and rules.palette is not None and rules.indexed == "colours":
        return _by_colour(_shown(found), rules.palette, rules, side)
    if found.kind == "indexed" and rules.table is None:
        assert found.colours is not None
        codes = code(found.colours)
        side.colours |= {number: int(codes[number]) for number in used(found.values) if number < len(codes)}
    if found.kind == "grey" and rules.palette is not None and _is_colours(found, rules, side, name):
        grey = (found.values * found.spread).astype(np.uint8)
        return _by_colour(np.repeat(grey[..., None], 3, 2), rules.palette, rules, side)
    if rules.table is None:
        return _one_void(found.values, rules)
    side.numbers.update(used(found.values))
    rules.table.require_one_meaning(side.numbers)
    return _one_void(rules.table.apply(found.values, rules.void), rules)


def _by_colour(rgb: Array, palette: Palette, rules: Rules, side: Side) -> Array:
    side.coloured = True
    return _one_void(palette.labels(rgb, rules.void), rules)


def used(values: Array) -> list[int]:
    """The numbers that a map holds, sorted."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.reshape(-1), minlength=256)).tolist()
    return np.unique(values).tolist()


def _one_void(values: Array, rules: Rules) -> Array:
    """The labels, with every void label as the first of them."""
    others = [x for x in rules.ignore[1:] if np.iinfo(values.dtype).min <= x <= np.iinfo(values.dtype).max]
    if not others:
        return values
    wrong = np.isin(values, np.array(others, values.dtype))
    first = rules.ignore[0]
    fits = np.iinfo(values.dtype).min <= first <= np.iinfo(values.dtype).max
    return (
        np.where(wrong, values.dtype.type(first), values) if fits else np.where(wrong, first, values.astype(np.int64))
    )


def _shown(found: LabelPixels) -> Array:
    """(H, W, 3) uint8 colours of a palette image. FormatError where a number has no colour of its own."""
    assert found.colours is not None
    codes, numbers = code(found.colours), used(found.values)
    tail = len(codes)  # numbers from here only fill the palette up: they are black, as the one before them
    while tail > 1 and codes[tail - 1] == codes[tail - 2] == 0:
        tail -= 1
    first: dict[int, int] = {}
    for number in numbers:
        if number >= tail:
            raise FormatError(f"{_at(found.values, number)} has no colour in the file's palette{_NUMBERS}")
        if found.clear is not None and found.clear[number]:
            raise FormatError(f"expected opaque colours, got a transparent one: {_at(found.values, number)}")
        if (same := first.setdefault(int(codes[number]), number)) != number:
            text = " ".join(map(str, found.colours[number].tolist()))
            raise FormatError(f"{_at(found.values, number)} has the colour {text}, as number {same} has{_NUMBERS}")
    return found.colours[np.minimum(found.values, len(codes) - 1)]


_NUMBERS = ": if its numbers are the labels, --indexed labels"


def _at(values: Array, number: int) -> str:
    row, column = np.argwhere(values == number)[0].tolist()
    return f"number {number} at row {row}, column {column}"


def _is_colours(found: LabelPixels, rules: Rules, side: Side, name: str) -> bool:
    """Whether the numbers of a grey map are colours of the palette. FormatError where they can be nothing else."""
    if rules.grey is not None:
        return rules.grey == "colours"
    assert rules.palette is not None
    numbers = used(found.values)
    classes = len(rules.palette.classes)
    colours: dict[int, Any] = {int(c): i if i < classes else rules.void for i, c in enumerate(rules.palette.colours)}
    read = [colours.get(x * found.spread * 0x010101, "no") if x * found.spread < 256 else "no" for x in numbers]
    table = rules.table
    plain = [x in rules.ignore or (0 <= x < classes if table is None else x in table.stored) for x in numbers]
    if "no" in read or not numbers:
        side.certain |= bool(numbers) and all(plain)
        return False
    if not all(plain):
        raise FormatError(
            f"grey values {numbers} are colours of the palette {rules.palette.name}, and no labels{_GREY}"
        )
    meant = [x if x not in rules.ignore else rules.void for x in numbers]
    if table is not None or meant != read:
        side.doubtful = side.doubtful or name
    return False


_GREY = ": --grey colours reads them as colours, --grey labels as labels"


def doubt(side: Side, where: str) -> str | None:
    """The error text where every grey map of a side is either labels or colours."""
    if not side.doubtful or side.certain:
        return None
    return f"miou: {where}: the grey values of {side.doubtful} are labels, and colours of the palette too{_GREY}"
