"""Read label maps from files, one map in memory at a time.

A folder with its subfolders, one map a file: PNG, TIFF, BMP or NPY. Grey and palette images hold the labels themselves,
RGB images hold colours; where a `Palette` is named, palette images hold colours too. Maps are matched by file name
without suffix, and by folder where names alone do not tell. Other files are skipped and listed in ``ignored``.

An NPZ with one integer array (N, H, W), and an array of N names if maps are matched by name; or an NPY with the array
alone. An NPZ is unpacked to a temporary file: this checks it, and lets the maps be read in any order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastdet._core import limits
from fastdet._core.check import Array
from fastdet._core.label_images import LabelPixels
from fastdet._files import label_images, label_rules, png
from fastdet._files.archive import Archive, damage, header
from fastdet._files.errors import FormatError, few, missing
from fastdet._files.label_rules import Rules, Side
from fastdet._files.opening import open_file
from fastdet._files.png import SIGNATURE

_KIND = "an NPZ or NPY file"
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_PLAIN = Rules()


class Folder:
    """The label maps of a folder and its subfolders, by name. ``ending``: only maps whose names end so are read."""

    def __init__(self, path: Path, rules: Rules = _PLAIN, ending: str = "") -> None:
        self.path, self.rules, self.side = path, rules, Side()
        files: dict[str, Path] = {}
        self.ignored: list[str] = []
        passed: list[str] = []
        for file in _walk(path, set()):
            name = file.relative_to(path).as_posix()
            suffix = file.suffix.lower()
            if suffix not in label_images.SUFFIXES:
                self.ignored.append(shown(name))
                continue
            key = without_ending(name, ending)
            if key is None:
                passed.append(shown(name))
                continue
            if key in files:
                raise FormatError(f"{path}: expected one file a name, got {_name(files[key], path)} and {shown(name)}")
            files[key] = file
        if not files and ending and passed:
            text = f"expected label maps whose names end in {ending}, got none of them among: {few(passed, 3)}"
            raise FormatError(f"{path}: {text}")
        if not files:
            count = len(self.ignored)
            others = f"{count} other {'entry' if count == 1 else 'entries'}: {few(self.ignored, 3)}"
            got = others if count else "an empty folder"
            if any(name.lower().endswith((".jpg", ".jpeg")) for name in self.ignored):
                got += ": JPEG changes numbers and colours, save label maps as PNG"
            raise FormatError(f"{path}: expected a folder of PNG, TIFF, BMP or NPY label maps, got {got}")
        if any(file.suffix.lower() != ".npy" for file in files.values()):
            label_images.need_pillow()
        self.keys: list[str] | None = list(files)
        self.files = list(files.values())
        self.names = [_name(file, path) for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def shape(self, i: int) -> tuple[int, int]:
        """Height and width, from the header of the file only. FormatError, OSError."""
        return label_images.size(self.files[i], colours=self.rules.palette is not None)

    def read(self, i: int, side: Side | None = None) -> Array:
        """(H, W) integer labels; ``side`` gets what the map shows. FormatError, OSError."""
        found = label_images.read(self.files[i])
        return label_rules.labels(found, self.rules, Side() if side is None else side, self.names[i])


def _walk(folder: Path, above: set[str]) -> Iterator[Path]:
    """The files of a folder and its subfolders, in order. Hidden ones and circles of links are left out."""
    here = os.path.realpath(folder)
    if here in above:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, above | {here})
        else:
            yield entry


def _name(file: Path, folder: Path) -> str:
    return shown(file.relative_to(folder).as_posix())


class Stack:
    """The maps of one (N, H, W) array in an NPZ or NPY file."""

    def __init__(self, path: Path, rules: Rules = _PLAIN, ending: str = "") -> None:
        self.path, self.rules, self.side = path, rules, Side()
        self.ignored: list[str] = []
        names: list[str] | None = None
        with open_file(path) as file:
            zipped = file.read(2) == b"PK"
        self.maps, names = self._unpack() if zipped else (self._map_npy(), None)
        self.keys = None
        if names is not None:
            keys = [without_ending(name, ending) for name in names]
            self.keys = [key for key in keys if key is not None]
            if len(self.keys) < len(keys):
                raise FormatError(f"{path}: names: expected names that end in {ending}, got {names[keys.index(None)]}")
            twice = next((key for key, count in Counter(self.keys).items() if count > 1), None)
            if twice is not None:
                raise FormatError(f"{path}: names: expected one map a name, got {twice} twice")
        self.names = [f"map {i}" for i in range(len(self.maps))] if names is None else [shown(name) for name in names]

    def __len__(self) -> int:
        return len(self.maps)

    def shape(self, i: int) -> tuple[int, int]:
        height, width = self.maps.shape[1:]
        return height, width

    def read(self, i: int, side: Side | None = None) -> Array:
        """(H, W) integer labels; ``side`` gets what the map shows. FormatError."""
        numbers = np.array(self.maps[i], self.maps.dtype.newbyteorder("="), order="C")
        found = LabelPixels("number", numbers.view(np.uint8) if numbers.dtype == np.bool_ else numbers)
        return label_rules.labels(found, self.rules, Side() if side is None else side, self.names[i])

    def _map_npy(self) -> Array:
        with damage(f"{self.path}: expected {_KIND}, got a damaged one"):
            with open_file(self.path) as file:
                shape, _, dtype = header(file)
            self._expect("the array", shape, dtype)
            return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def _expect(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if len(shape) != 3 or dtype.kind not in "iub":
            raise FormatError(f"{self.path}: {name}: expected integer labels (N, H, W), got {dtype} {shape}")
        if not all(shape):
            raise FormatError(f"{self.path}: {name}: expected label maps, got none: {shape}")
        if text := png.too_large(shape[1], shape[2]):
            raise FormatError(f"{self.path}: {name}: {text}")

    def _unpack(self) -> tuple[Array, list[str] | None]:
        with Archive(self.path, _KIND) as archive:
            heads = {name: head for name, head in archive.headers.items() if not isinstance(head, str)}
            maps = [name for name, (shape, _, dtype) in heads.items() if len(shape) == 3 and dtype.kind in "iub"]
            if not maps and (damaged := next((name for name in archive.headers if name not in heads), None)):
                archive.head(damaged)  # raises its error
            if len(maps) != 1:
                every = [f"{name} {dtype} {shape}" for name, (shape, _, dtype) in heads.items()]
                got = " and ".join(maps[:10]) if maps else few(every)
                raise FormatError(f"{self.path}: expected one array of integer labels (N, H, W), got {got or 'none'}")
            (name,) = maps
            shape, fortran, dtype = archive.head(name)
            self._expect(name, shape, dtype)
            title = next((key for key in ("names", "name", "image_ids", "image_id") if key in heads), None)
            self.ignored = [key for key in heads if key not in (name, title)]
            names = None if title is None else self._names(archive, title, shape[0])
            size = heads[name].size
            if size > limits.of("maps"):
                raise FormatError(f"{self.path}: {name}: {limits.exceeded('maps', size)}")
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if size > free:
                raise FormatError(
                    f"{self.path}: unpacking needs {size:,} bytes in {tempfile.gettempdir()}, {free:,} are free: "
                    "set TMPDIR, or save as NPY"
                )
            with tempfile.TemporaryFile() as file:
                archive.copy(name, file.write)
                file.flush()
                stack = np.memmap(file, dtype, "r", shape=shape, order="F" if fortran else "C")
        return stack, names  # the memory map keeps the temporary file open

    def _names(self, archive: Archive, title: str, count: int) -> list[str]:
        shape, _, dtype = archive.head(title)
        if shape != (count,) or dtype.kind not in "US" or dtype.itemsize > 1 << 16:
            raise FormatError(f"{self.path}: {title}: expected {count} strings, one a map, got {dtype} {shape}")
        archive.require_size([title])
        with damage(f"{self.path}: {title}: expected strings in UTF-8, got others"):
            names = [v.decode() if isinstance(v, bytes) else str(v) for v in archive.read(title).tolist()]
            "".join(names).encode()
        return names


Maps = Folder | Stack


def load(path: Path, rules: Rules = _PLAIN, ending: str = "") -> Maps:
    """Open the label maps of a folder, an NPZ or an NPY file. FormatError, OSError."""
    if path.is_dir():
        return Folder(path, rules, ending)
    want = "a folder of label maps, an NPZ or an NPY file"
    if not path.exists():
        raise missing(path)
    if not path.is_file():
        raise FormatError(f"{path}: expected {want}, got a device")
    with open_file(path) as file:
        magic = file.read(8)
    if magic[:2] != b"PK" and magic[:6] != b"\x93NUMPY":
        what = "a single PNG file" if magic == SIGNATURE else "an empty file" if not magic else "another file"
        raise FormatError(f"{path}: expected {want}, got {what}")
    return Stack(path, rules, ending)


def match(target: Maps, prediction: Maps) -> tuple[list[tuple[int, int]], list[str], list[str]]:
    """Match maps by name, or by position where both are arrays without names.

    A name is the path in the folder. Where it has no partner, one path may end in the other: ``city/a`` and ``a``, if
    no other map's path ends so.

    Returns pairs of positions in the target's order, the names that only the target has, and those that only the
    prediction has.
    """
    if target.keys is None or prediction.keys is None:
        if isinstance(target, Folder) or isinstance(prediction, Folder):
            bare = target if target.keys is None else prediction
            raise FormatError(f"{bare.path}: expected an NPZ with names, to match them with the files' names, got none")
        if len(target) != len(prediction):
            raise FormatError(
                f"{prediction.path}: expected {len(target)} maps, as {target.path} has, got {len(prediction)}"
            )
        return [(i, i) for i in range(len(target))], [], []
    place = {key: j for j, key in enumerate(prediction.keys)}
    partner = {i: place[key] for i, key in enumerate(target.keys) if key in place}
    partner |= _by_end(target.keys, prediction.keys, partner)
    taken = set(partner.values())
    missing = [target.names[i] for i in range(len(target)) if i not in partner]
    return sorted(partner.items()), missing, [prediction.names[j] for j in range(len(prediction)) if j not in taken]


def _by_end(targets: list[str], predictions: list[str], partner: dict[int, int]) -> dict[int, int]:
    """Partners of maps whose paths differ only by folders in front."""
    bare: list[dict[str, list[int]]] = []
    for keys in (targets, predictions):
        bare.append({})
        for i, key in enumerate(keys):
            bare[-1].setdefault(key.rpartition("/")[2], []).append(i)
    found = {}
    taken = set(partner.values())
    for name, (i, *more) in bare[0].items():
        others = bare[1].get(name, [])
        if more or len(others) != 1 or i in partner or others[0] in taken:
            continue
        short, long = sorted((PurePosixPath(targets[i]).parts, PurePosixPath(predictions[others[0]]).parts), key=len)
        if long[-len(short) :] == short:
            found[i] = others[0]
    return found


def endings(target: Maps, prediction: Maps) -> tuple[str, str] | None:
    """Endings of names, such as _gtFine_labelIds and _leftImg8bit, without which every prediction has a partner."""
    names, others = ([key.rpartition("/")[2] for key in maps.keys or []] for maps in (target, prediction))
    if not names or not others:
        return None
    first = others[0]
    alike = {name: _common(name, first) for name in names}
    for name in sorted(names, key=lambda name: (-alike[name], "label" not in name.lower()))[:5]:
        common = alike[name]
        while common and not all(word[common : common + 1] in ("", "_", "-", ".") for word in (name, first)):
            common -= 1
        ends = name[common:], first[common:]
        left = {x[: len(x) - len(ends[0])] for x in names if x.endswith(ends[0])}
        if common and all(x.endswith(ends[1]) and x[: len(x) - len(ends[1])] in left for x in others):
            return ends
    return None


def _common(a: str, b: str) -> int:
    """The number of equal characters at the start."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def stem(name: str) -> str:
    """The name by which a map is matched: without image suffix, in Unicode form NFC."""
    base, suffix = os.path.splitext(name)
    return unicodedata.normalize("NFC", base if suffix.lower() in (*_IMAGES, ".npy") else name)


def without_ending(name: str, ending: str) -> str | None:
    """`stem` of a name without its ending, which may include the suffix; None where it ends otherwise."""
    if not ending:
        return stem(name)
    for whole in (stem(name), unicodedata.normalize("NFC", name)):
        wanted = unicodedata.normalize("NFC", ending)
        if whole.endswith(wanted) and whole != wanted and not whole.endswith("/" + wanted):
            return whole[: -len(wanted)]
    return None


def shown(name: str) -> str:
    """A name that can be printed: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_wrong(labels: Array, classes: int, ignore: int | None) -> tuple[int, int, int] | None:
    """Value, row and column of the first label that is neither a class nor void; None if all are valid."""
    wrong = (labels < 0) | (labels >= classes)
    if ignore is not None:
        wrong &= labels != ignore
    if not wrong.any():
        return None
    row, column = divmod(int(np.argmax(wrong)), labels.shape[1])
    return int(labels[row, column]), row, column
