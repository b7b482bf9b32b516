"""A data set as columns, whatever file it comes from, and what its ids and names are looked up by."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastdet._files.errors import FormatError
from fastdet.detection.records import Columns, Floats, Ints


class DataSet(NamedTuple):
    """Images, classes and true boxes."""

    images: Ints  # (I,) ids, in the file's order
    image_names: list[str]  # "" where the file has none
    sizes: Ints  # (I, 2) width and height, 0 where the file has none
    categories: Ints  # (K,) ids
    category_names: list[str]
    truth: Columns
    offset: float = 0.0  # what is added to sides: 1 where boxes name their last pixel
    notes: tuple[str, ...] = ()  # what is unusual and no error, a line each


def area(boxes: Floats, offset: float) -> Floats:
    """(N,) of x y w h boxes; infinite where it overflows."""
    with np.errstate(over="ignore"):
        return (boxes[:, 2] + offset) * (boxes[:, 3] + offset)


def positions(known: Ints, values: Ints) -> Ints:
    """Where each value lies in ``known`` (rising, distinct); -1 where it does not."""
    if not len(known) or not len(values):
        return np.full(len(values), -1, np.int64)
    low, high = int(known[0]), int(known[-1])
    if high - low < max(1 << 20, 4 * len(values)):  # a table is quicker than a search
        table = np.full(high - low + 3, -1, np.int32)  # its ends: what lies outside
        table[known - low + 1] = np.arange(len(known))
        return table[np.clip(values, max(low - 1, -(2**63)), min(high + 1, 2**63 - 1)) - low + 1].astype(np.int64)
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, at, -1)


def check_known(where: str, section: str, field: str, values: Ints, known: Ints, expected: str) -> None:
    missing = positions(np.unique(known), values) < 0
    if missing.any():
        i = int(np.argmax(missing))
        raise FormatError(f"{where}: {section}[{i}].{field}: expected {expected}, got {values[i]}")


def check_distinct(where: str, section: str, ids: Ints) -> None:
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, second = min((int(order[i + 1]), int(order[i])) for i in again)[::-1]
        raise FormatError(f"{where}: {section}[{second}].id: expected distinct ids, got {ids[second]} as in [{first}]")


IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def stem(name: str) -> str:
    """An image's name without folder and suffix; what else has a dot is part of the name."""
    return _shortened(name)[-1]


def _shortened(name: str) -> tuple[str, str, str]:
    """An image's name, the same without suffix, and without folder as well."""
    whole = os.path.normpath(name)
    root, suffix = os.path.splitext(whole)
    bare = root if suffix.lower() in IMAGES else whole
    return whole, bare, os.path.basename(bare)


class ImageNames:
    """Ids of a data set's images by name: the whole one, else without suffix, else without folder as well.

    Where an image goes by several names, as ``vid2/1.jpg`` of detections does where the data set has ``vid1/1.jpg``
    alone, it is another image that is meant.
    """

    def __init__(self, data: DataSet) -> None:
        self._names = dict(zip(data.images.tolist(), data.image_names, strict=True))
        self._ids: tuple[dict[str, list[int]], ...] = ({}, {}, {})
        self._id_of: dict[str, int] = {}
        self._name_of: dict[int, str] = {}
        for i, name in self._names.items():
            for ids, key in zip(self._ids, _shortened(name), strict=True):
                if name:
                    ids.setdefault(key, []).append(i)

    def find(self, where: str, name: str) -> int | None:
        """The image's id, None where there is none. FormatError where several are meant."""
        if name in self._id_of:
            return self._id_of[name]
        for ids, key in zip(self._ids, _shortened(name), strict=True):
            if key in ids:
                break
        else:
            return None
        first, *others = ids[key]
        if others:
            both = f"{self._names[first]!r} (id {first}) and {self._names[others[0]]!r} (id {others[0]})"
            raise FormatError(f"{where}: expected the name of one image of the data set, got {name!r} for {both}")
        if first in self._name_of:
            both, of = f"{self._name_of[first]!r} and {name!r}", self._names[first]
            raise FormatError(f"{where}: expected one name for each image of the data set, got {both} for {of!r}")
        self._id_of[name], self._name_of[first] = first, name
        return first


def by_name(where: object, ids: Iterable[int], names: Sequence[str]) -> dict[str, int]:
    """Ids of categories by name, for files that call them so. FormatError where the names do not tell."""
    known: dict[str, int] = {}
    for i, name in zip(ids, names, strict=True):
        if not name or name in known:
            got = f"{name!r} for {known[name]} and {i}" if name else f"none for {i}"
            raise FormatError(f"{where}: expected categories with a name each, by which they are matched, got {got}")
        known[name] = i
    return known


def new_ids(data: DataSet) -> Iterator[int]:
    """Ids that no category has, for the classes of detections alone; above all others, where int64 goes on."""
    known = set(data.categories.tolist())
    return (i for i in itertools.count(min(max(known, default=-1) + 1, 2**61)) if i not in known)
