"""Tables from the numbers that a data set stores to the numbers of the classes that are scored."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastdet._core.check import MAX_CLASSES, Array, describe
from fastdet._files import palettes
from fastdet._files.errors import FormatError
from fastdet._files.text import lines_of, read_text, to_int

VOID = -(2**63)  # in a table: the number is void
_EXPECTED = "lines 'STORED CLASS', or one JSON object; CLASS is a number or void, STORED a number or other"


@dataclass(frozen=True)
class LabelTable:
    """The class of each stored number. A number without a row is an error, unless ``other`` says what it is."""

    name: str
    stored: Array  # (K,) int64, sorted
    classes: Array  # (K,) int64, `VOID` for void
    other: int | None = None
    names: tuple[str, ...] | None = None

    @property
    def count(self) -> int:
        """The number of classes."""
        return max(*self.classes.tolist(), -1, -1 if self.other is None else self.other) + 1

    @property
    def has_void(self) -> bool:
        """Whether some number is void."""
        return self.other == VOID or bool((self.classes == VOID).any())

    def with_void(self, ignore: Sequence[int]) -> LabelTable:
        """The table with void where it gives a label of ``ignore`` that is no class. FormatError for other labels."""
        targets = {*self.classes.tolist(), self.other} - {None, VOID}
        top = max((x for x in targets if x not in ignore), default=-1)
        void = [x for x in ignore if x < 0 or x > top]
        for x in sorted(targets - set(void)):
            if not 0 <= x < MAX_CLASSES:
                want = f"classes from 0 to {MAX_CLASSES - 1}, void or a label of --ignore"
                raise FormatError(f"{self.name}: expected {want}, got {x}")
        classes = np.where(np.isin(self.classes, void), VOID, self.classes)
        return replace(self, classes=classes, other=VOID if self.other in void else self.other)

    def is_void(self, number: int) -> bool:
        """Whether a stored number is void."""
        classes, known = self._look_up(np.array([number]))
        return bool(known[0] and classes[0] == VOID)

    def require_one_meaning(self, numbers: Set[int]) -> None:
        """FormatError where the numbers of one side are not those of a mask: 255 beside 1 is something else."""
        if self.name == "mask" and {1, 255} <= numbers:
            raise FormatError(
                "expected a mask of 0 and 1, or of 0 and 255, got both 1 and 255: 0:0,1:1,255:void has void"
            )

    @property
    def keeps_numbers(self) -> bool:
        """Whether every number that is not void stays as it is."""
        plain = self.classes != VOID
        return self.other in (None, VOID) and bool((self.stored == self.classes)[plain].all())

    def require_no_gap(self) -> None:
        """FormatError where the classes are not 0, 1, ... in a row: then --classes must say how many there are."""
        known = sorted({*self.classes.tolist(), self.other} - {None, VOID})
        if known != list(range(len(known))):
            missing = next(i for i, x in enumerate(known) if i != x)
            raise FormatError(
                f"{self.name}: class {missing} has no number: use --classes, or --ignore if {known[-1]} is void"
            )

    def apply(self, labels: Array, ignore: int | None) -> Array:
        """(H, W) int64 classes, void as ``ignore``. FormatError names a number that the table lacks."""
        if labels.dtype.itemsize == 1:
            values = np.arange(256, dtype=np.uint8).view(labels.dtype)
            table, known = self._look_up(values)
            at: Array = labels.view(np.uint8)
        else:
            values, at = np.unique(labels, return_inverse=True)
            table, known = self._look_up(values)
            at = at.reshape(labels.shape)
        bad = ~known
        if ignore is None:
            bad = bad | (table == VOID)
        if bad.any() and (wrong := bad[at]).any():
            row, column = np.argwhere(wrong)[0].tolist()
            number = labels[row, column]
            what = "is void in the map: use --ignore to give the label of void"
            what = what if known[at[row, column]] else f"is not in the map {self.name}"
            raise FormatError(f"number {number} at row {row}, column {column} {what}")
        return np.where(table == VOID, 0 if ignore is None else ignore, table)[at]

    def _look_up(self, values: Array) -> tuple[Array, Array]:
        """The class of each number, and whether the table has it."""
        numbers = values.astype(np.int64) if values.dtype != np.uint64 else np.minimum(values, 2**62).astype(np.int64)
        place = np.minimum(np.searchsorted(self.stored, numbers), len(self.stored) - 1)
        known = self.stored[place] == numbers
        table = np.where(known, self.classes[place], VOID if self.other is None else self.other)
        return table, known | (self.other is not None)


def load(text: str) -> LabelTable:
    """A built-in table by name, one in the text itself (``0:0,255:1``), or one from a file. FormatError, OSError."""
    if text in BUILT_IN:
        return BUILT_IN[text]()
    path = Path(text or "(empty)")
    if path.is_file():
        return _table(text, read_text(text, "names", _EXPECTED))
    if ":" in text and not path.exists():
        return of_pairs(text, [tuple(item.partition(":")[::2]) for item in text.split(",")])
    what = "no such file" if not path.exists() else "a folder or device"
    raise FormatError(
        f"miou: map must be one of {', '.join(BUILT_IN)}, pairs such as 0:0,255:1, or a file, got {text}, {what}"
    )


def _table(source: str, text: str) -> LabelTable:
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{source}: expected {_EXPECTED}, got damaged JSON: {error}") from None
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value):
            raise FormatError(f"{source}: expected {_EXPECTED}, got other JSON")
        return of_pairs(source, [(a, "void" if b is None else b) for a, b in value])
    pairs = []
    for number, line in enumerate(lines_of(text), 1):
        words = line.partition("#")[0].replace(",", " ").replace(":", " ").split()
        if words and len(words) != 2:
            raise FormatError(f"{source}: line {number}: expected 'STORED CLASS', got {line.strip()[:60]!r}")
        if words:
            pairs.append((words[0], words[1]))
    return of_pairs(source, pairs)


def of_pairs(name: str, pairs: list[Any]) -> LabelTable:
    """A table from pairs of a stored number, or other, and a class, or void. FormatError."""
    rows: dict[int, int] = {}
    other = None
    for stored, wanted in pairs:
        target = VOID if _is(wanted, "void") else _number(name, wanted)
        if _is(stored, "other"):
            if other not in (None, target):
                raise FormatError(f"{name}: expected one class for each number, got two for other")
            other = target
            continue
        number = _number(name, stored)
        if rows.setdefault(number, target) != target:
            raise FormatError(f"{name}: expected one class for each number, got two for {number}")
    if not rows:
        raise FormatError(f"{name}: expected {_EXPECTED}, got none")
    if not {*rows.values(), other} - {None, VOID}:
        raise FormatError(f"{name}: expected a number that becomes a class, got only void")
    stored_numbers = np.array(sorted(rows), np.int64)
    return LabelTable(name, stored_numbers, np.array([rows[x] for x in stored_numbers.tolist()], np.int64), other)


def _is(x: Any, word: str) -> bool:
    return isinstance(x, str) and x.strip().lower() == word


def _number(where: str, x: Any) -> int:
    """A stored number or a class: an integer of 64 bits, also as text."""
    number = to_int(x.strip(" \t")) if isinstance(x, str) else x
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or not VOID < number < 2**63:
        raise FormatError(f"{where}: expected {_EXPECTED}, got {describe(str(x))}")
    return int(number)


def _cityscapes() -> LabelTable:
    """The ids of ``_labelIds.png``, -1 to 33, to the 19 trainIds."""
    trained = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    classes = np.full(35, VOID, np.int64)
    classes[np.array(trained) + 1] = np.arange(19)
    return LabelTable("cityscapes", np.arange(-1, 34), classes, names=palettes.load("cityscapes").classes)


def _ade20k() -> LabelTable:
    """The 150 classes of scene parsing, stored as 1 to 150; 0 is void."""
    return LabelTable("ade20k", np.arange(151), np.array([VOID, *range(150)]))


def _mask() -> LabelTable:
    """A mask: 0 is class 0; 1, or 255, is class 1."""
    return LabelTable("mask", np.array([0, 1, 255]), np.array([0, 1, 1]))


BUILT_IN = {"cityscapes": _cityscapes, "ade20k": _ade20k, "mask": _mask}
