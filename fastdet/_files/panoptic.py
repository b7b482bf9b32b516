"""Read COCO's panoptic format: a JSON file of segments, and a folder of PNG files that hold the ids of the pixels.

    {"annotations": [{"image_id", "file_name", "segments_info": [{"id", "category_id", "iscrowd", ...}]}],
     "categories": [{"id", "name", "isthing"}]}

A pixel's id is R + 256 G + 65536 B; 0 is void. ``image_id`` is an integer or a string. The categories are those of the
true file. Other keys are allowed and not read, but none of those that are read may come twice.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fastdet._core import limits
from fastdet._core.check import Array, describe
from fastdet._files import png
from fastdet._files.errors import ChoiceError, FormatError, few
from fastdet._files.json_walk import Twice, Walk, decoded
from fastdet._files.opening import open_file
from fastdet._files.packed import opened
from fastdet.segmentation.panoptic_match import Segments, read_segments

_BYTES = 4  # a pixel, at most, in a file
_FIELDS = ("image_id", "file_name", "segments_info")
_OF_SEGMENTS = {"id", "category_id", "iscrowd"}
ImageId = int | str


class Record(NamedTuple):
    """One image of a file."""

    where: str  # file and record, for errors
    image: ImageId
    name: str  # of the PNG file
    segments: list[Any]


class Panoptic(NamedTuple):
    """A JSON file and its folder."""

    path: Path
    folder: Path
    records: dict[ImageId, Record]  # in the order of the file
    categories: list[Any] | None

    def segments(self, record: Record, position: Mapping[int, int]) -> Segments:
        """The segments of a record. FormatError."""
        where = f"{record.where}.segments_info"
        for i, segment in enumerate(record.segments):
            if isinstance(segment, Twice) and (twice := segment.keys_twice & _OF_SEGMENTS):
                raise FormatError(f"{where}[{i}].{min(twice)}: expected once, got the key twice")
        try:
            return read_segments(where, record.segments, position)
        except (TypeError, ValueError) as error:
            raise FormatError(str(error)) from None

    def map(self, record: Record) -> Array:
        """(H, W, 3) uint8: the colours of a record's PNG file. FormatError, OSError."""
        path = self.folder / record.name
        try:
            with open_file(path) as file:
                allowed = _BYTES * limits.of("pixels")
                data = file.read(allowed + 1)
            if len(data) > allowed:
                raise FormatError(
                    f"expected at most {allowed:,} bytes, got more: {limits.raising('pixels', 2 * limits.of('pixels'))}"
                )
            return png.read_rgb(data)
        except FileNotFoundError:
            raise FormatError(f"{record.where}.file_name: no such file: {path}") from None
        except FormatError as error:
            text = str(error)
            raise FormatError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def load(path: Path, folder: Path | None, option: str) -> Panoptic:
    """Read the JSON file, and find its folder. ``option`` names the folder's option. FormatError, OSError."""
    with opened(path) as (file, _):
        raw = file.read()
    where = str(path)
    walk = Walk(where, decoded(where, raw.removeprefix(codecs.BOM_UTF8)))
    lists: dict[str, Any] = {}
    if walk.peek() != "{":
        walk.fail("an object with annotations")
    for key in walk.members():
        if key in ("annotations", "categories") and key in lists:
            walk.wrong(f"{key}: expected one list, got the key twice")
        value = walk.value(1)
        if key in ("annotations", "categories"):
            if not isinstance(value, list):
                walk.wrong(f"{key}: expected a list, got {describe(value)}")
            lists[key] = value
    walk.end()
    if "annotations" not in lists:
        raise FormatError(f"{where}: expected the key 'annotations', got no such key")
    records = _records(where, lists["annotations"])
    return Panoptic(path, _folder(path, folder, option, records), records, lists.get("categories"))


def _records(where: str, listed: list[Any]) -> dict[ImageId, Record]:
    if len(listed) > limits.of("images"):
        raise FormatError(f"{where}: annotations: {limits.exceeded('images', len(listed))}")
    records: dict[ImageId, Record] = {}
    for i, value in enumerate(listed):
        at = f"{where}: annotations[{i}]"
        if not isinstance(value, dict):
            raise FormatError(f"{at}: expected an object, got {describe(value)}")
        for key in _FIELDS:
            if key not in value:
                raise FormatError(f"{at}.{key}: expected a value, got no such key")
            if isinstance(value, Twice) and key in value.keys_twice:
                raise FormatError(f"{at}.{key}: expected once, got the key twice")
        image, name, segments = (value[key] for key in _FIELDS)
        if not (isinstance(image, str) or type(image) is int):
            raise FormatError(f"{at}.image_id: expected an integer or a string, got {describe(image)}")
        if not isinstance(name, str) or not _is_inside(name):
            raise FormatError(f"{at}.file_name: expected the name of a file in the folder, got {describe(name)}")
        if not isinstance(segments, list):
            raise FormatError(f"{at}.segments_info: expected a list, got {describe(segments)}")
        if image in records:
            raise FormatError(f"{at}.image_id: expected unique ids, got {describe(image)} twice")
        records[image] = Record(at, image, name, segments)
    return records


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _folder(path: Path, given: Path | None, option: str, records: Mapping[ImageId, Record]) -> Path:
    """The folder of the PNG files: ``given``; else that of the file's name, as COCO has it; else the one beside the
    file that has the first PNG and not the name of another JSON file; else the file's own."""
    if given is not None:
        if not given.is_dir():
            raise ChoiceError(option, f"must be a folder, got {given}")
        return given
    name = path.name.removesuffix(".gz").removesuffix(".json")
    named = path.with_name(name)
    if named != path and named.is_dir():
        return named
    if not records:
        return path.parent
    first = next(iter(records.values())).name
    beside = sorted(child for child in path.parent.iterdir() if child.is_dir() and not child.name.startswith("."))
    of_others = {child.name for child in beside if path.with_name(f"{child.name}.json").exists()}
    found = [child for child in beside if child.name not in of_others and (child / first).is_file()]
    if (path.parent / first).is_file():
        found.append(path.parent)
    if len(found) == 1:
        return found[0]
    hint = f"give --{option} DIR"
    if found:
        raise FormatError(f"{path}: expected one folder with {first}, got {few([str(x) for x in found], 3)}: {hint}")
    raise FormatError(f"{path}: expected a folder {named} of PNG files, got none: {hint}")
