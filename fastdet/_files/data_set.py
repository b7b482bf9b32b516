"""A data set as columns, from a file of any format, and look-ups of its ids and names."""

from __future__ import annotations

import itertools
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastdet._files.coco_shapes import Held
from fastdet._files.errors import FormatError, quoted
from fastdet.detection.federated import Federated
from fastdet.detection.records import Columns, Floats, Ints


class DataSet(NamedTuple):
    """Images, classes and true boxes."""

    images: Ints  # (I,) ids, in the file's order
    image_names: list[str]  # "" where the file has none
    sizes: Ints  # (I, 2) width and height in pixels, 0 where the file has none
    categories: Ints  # (K,) ids
    category_names: list[str]
    truth: Columns
    offset: float = 0.0  # added to width and height: 1 where x2 and y2 are the last pixel inside
    notes: tuple[str, ...] = ()  # unusual things that are no errors, one line each
    own_images: bool = True  # image ids come from the file; False: they only count the sorted names
    own_categories: bool = True  # likewise: detections may use these ids
    held: Held = Held()  # of COCO JSON: how many annotations have a box, a mask and keypoints
    federated: Federated | None = None  # of LVIS: what images were searched for
    frequencies: Sequence[str] = ()  # of LVIS: "r", "c" or "f" of each category, "" where absent; empty where all are
    crowding: Floats = np.zeros(0)  # (I,) of CrowdPose: each image's crowdIndex, NaN where absent; empty where all are
    placeholder: int | None = None  # a category that an exporter added: it has no boxes, and detectors do not count it


def area(boxes: Floats, offset: float) -> Floats:
    """(N,) areas of x y w h boxes, in square pixels. An area that overflows is infinite."""
    with np.errstate(over="ignore"):
        return (boxes[:, 2] + offset) * (boxes[:, 3] + offset)


def positions(known: Ints, values: Ints) -> Ints:
    """Index of each value in ``known``, which is rising and unique; -1 for a value that is not in it."""
    if not len(known) or not len(values):
        return np.full(len(values), -1, np.int64)
    low, high = int(known[0]), int(known[-1])
    if high - low < max(1 << 20, 4 * len(values)):  # a table is quicker than a search
        table = np.full(high - low + 3, -1, np.int32)  # the first and last entry stand for all values outside
        table[known - low + 1] = np.arange(len(known))
        return table[np.clip(values, max(low - 1, -(2**63)), min(high + 1, 2**63 - 1)) - low + 1].astype(np.int64)
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[at] == values, at, -1)


def check_known(where: str, section: str, field: str, values: Ints, known: Ints, expected: str) -> None:
    """Raise FormatError for the first value that is not in ``known``."""
    missing = positions(np.unique(known), values) < 0
    if missing.any():
        i = int(np.argmax(missing))
        raise FormatError(f"{where}: {section}[{i}].{field}: expected {expected}, got {values[i]}")


def check_distinct(where: str, section: str, ids: Ints) -> None:
    """Raise FormatError for the first id that comes twice."""
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, second = min((int(order[i + 1]), int(order[i])) for i in again)[::-1]
        raise FormatError(f"{where}: {section}[{second}].id: expected unique ids, got {ids[second]} as in [{first}]")


IMAGES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".mpo", ".avif",
    ".heic", ".heif", ".pbm", ".pgm", ".ppm", ".tga", ".dng", ".dcm",
)  # fmt: skip


def stem(name: str) -> str:
    """An image's name without folder and image suffix. Any other text after a dot is part of the name."""
    return _shortened(name)[2]


def _shortened(name: str) -> tuple[str, str, str, str]:
    """An image's name; without suffix; without suffix and folder; and its number, "" if the last is not a number.

    Folders may be divided by backslashes, and accents may be written in two ways in Unicode: these are the same names.
    """
    whole = posixpath.normpath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    root, suffix = posixpath.splitext(whole)
    bare = root if suffix.lower() in IMAGES else whole
    last = posixpath.basename(bare)
    return whole, bare, last, str(int(last)) if last.isascii() and last.isdigit() and len(last) < 40 else ""


class ImageNames:
    """Find the ids of a data set's images by name.

    A name is looked up whole, then without suffix, then without folder as well, then, if it is a number, without zeros
    in front. Each image may be found by one name only. Example: the data set has ``vid1/1.jpg``, the detections have
    ``vid1/1.jpg`` and ``vid2/1.jpg``. The second is another image, so it must not match: FormatError.
    """

    def __init__(self, data: DataSet) -> None:
        self._names = dict(zip(data.images.tolist(), data.image_names, strict=True))
        self._ids: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {})
        self._id_of: dict[str, int] = {}
        self._name_of: dict[int, str] = {}
        for i, name in self._names.items():
            for ids, key in zip(self._ids, _shortened(name), strict=True):
                if name and key:
                    ids.setdefault(key, []).append(i)

    def has(self, name: str) -> bool:
        """Whether some image has the name."""
        return any(key in ids for ids, key in zip(self._ids, _shortened(name), strict=True))

    def unknown(self, where: str, name: str | int) -> FormatError:
        """The error for a name that no image has. It shows some of the names that there are."""
        shown = [quoted(name) for name in self._names.values() if name]
        some = f"; it has {', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}" if shown else ""
        return FormatError(f"{where}: expected the name of an image of the data set, got {quoted(name)}{some}")

    def known(self, where: str, name: str) -> int:
        """The image's id. FormatError if no image has the name, or several."""
        found = self.find(where, name)
        if found is None:
            raise self.unknown(where, name)
        return found

    def by_number(self) -> dict[int, int | None]:
        """The id of each image whose name is a number, by that number; None where several images have it."""
        return {int(number): ids[0] if len(ids) == 1 else None for number, ids in self._ids[3].items()}

    def find(self, where: str, name: str) -> int | None:
        """The image's id, None if no image has the name. FormatError if several images fit."""
        if name in self._id_of:
            return self._id_of[name]
        for ids, key in zip(self._ids, _shortened(name), strict=True):
            if key in ids:
                break
        else:
            return None
        first, *others = self._nearest(name, ids[key])
        if others:
            both = f"{quoted(self._names[first])} (id {first}) and {quoted(self._names[others[0]])} (id {others[0]})"
            raise FormatError(f"{where}: expected the name of one image of the data set, got {quoted(name)} for {both}")
        if first in self._name_of:
            both, of = f"{quoted(self._name_of[first])} and {quoted(name)}", self._names[first]
            raise FormatError(f"{where}: expected one name for each image of the data set, got {both} for {quoted(of)}")
        self._id_of[name], self._name_of[first] = first, name
        return first

    def _nearest(self, name: str, fits: list[int]) -> list[int]:
        """Those of several images that share the last folders with a name: ``a/b/1`` is ``b/1``, not ``c/1``."""
        if len(fits) == 1:
            return fits
        path = "/" + _shortened(name)[1]
        bare = {i: "/" + _shortened(self._names[i])[1] for i in fits}
        near = [i for i in fits if ("/" in bare[i][1:] and path.endswith(bare[i])) or bare[i].endswith(path)]
        return near if len(near) == 1 else fits


def by_name(where: object, ids: Iterable[int], names: Sequence[str]) -> dict[str, int]:
    """Ids of categories by name. FormatError if a name is missing or comes twice."""
    known: dict[str, int] = {}
    for i, name in zip(ids, names, strict=True):
        if not name or name in known:
            got = f"{quoted(name)} for {known[name]} and {i}" if name else f"none for {i}"
            raise FormatError(f"{where}: expected categories with a name each, by which they are matched, got {got}")
        known[name] = i
    return known


def new_ids(data: DataSet) -> Iterator[int]:
    """Unused category ids, for classes that only the detections have. They lie above all others where int64 allows."""
    known = set(data.categories.tolist())
    return (i for i in itertools.count(min(max(known, default=-1) + 1, 2**61)) if i not in known)
