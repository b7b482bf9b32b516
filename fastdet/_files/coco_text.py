"""Read COCO JSON with Python's json, record by record, where the C++ backend is absent.

`join_records` and `encode_records` are the references of the C++ functions of the same names.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np

from fastdet._core import limits
from fastdet._core.check import Array
from fastdet._files.coco_objects import (
    Content,
    Spans,
    columns_of,
    content_of,
    ignored_of,
    names_of,
    results_of,
    sizes_of_images,
)
from fastdet._files.coco_shapes import Held, Sizes, decided_by, held_of
from fastdet._files.errors import Faults, FormatError
from fastdet._files.json_walk import Walk, decoded
from fastdet.detection.records import Floats, Ints

_DATA_SET = "an object with images, annotations and categories"
_NUMBER = re.compile(rb"[-+.0-9eE]+")


def parse(
    where: str,
    file: IO[bytes],
    kind: str,
    *,
    string_ids: bool,
    spans: bool,
    faults: Faults | None = None,
    iou_type: str = "bbox",
    sizes: Sizes | None = None,
) -> Content:
    """Same as `coco.parse`. With ``faults`` that skip, invalid records are left out."""
    raw = file.read()
    mark = 3 if raw.startswith(codecs.BOM_UTF8) else 0
    lenient = faults is not None and faults.skip
    walk = Walk(where, decoded(where, raw[mark:]), lenient=lenient, iou_type=iou_type, results=kind == "results")
    if kind != "results":
        tree = _object(walk, ("images", "categories") if kind == "names" else ("images", "categories", "annotations"))
        if kind == "names":
            return names_of(where, tree)
        if lenient and "annotations" in tree:
            read = _annotations_of(where, tree, iou_type)
            kept = _valid(tree["annotations"], read, "annotations", faults)
            tree["annotations"] = [tree["annotations"][i] for i in kept]
        content = content_of(where, tree, iou_type)
        return content._replace(held=held_of(tree.get("annotations", [])))
    section = "results" if walk.peek() == "[" else "annotations"
    if section == "results":
        records = walk.records(section)
        walk.end()
    else:
        lists = _object(walk, ("annotations",))
        if not lists:
            raise FormatError(f"{where}: expected a list of detections, got an object without annotations")
        records = lists["annotations"]
    decided = decided_by(where, section, _leading(records) if lenient else records, iou_type)

    def results(some: list[Any]) -> Content:
        return results_of(where, section, some, string_ids=string_ids, iou_type=iou_type, sizes=sizes, decided=decided)

    if lenient:
        kept = _valid(records, results, section, faults)
        records = [records[i] for i in kept]
        walk.spans[section] = [walk.spans[section][i] for i in kept]
    content = results(records)._replace(held=held_of(records))
    return content._replace(spans=_spans(mark, walk, section)) if spans else content


def first_held(where: str, file: IO[bytes]) -> Held:
    """Which fields the first record of results has, of those that have one."""
    raw = file.read()
    walk = Walk(where, decoded(where, raw.removeprefix(codecs.BOM_UTF8)), lenient=True)
    lists = {"": walk.records("results")} if walk.peek() == "[" else _object(walk, ("annotations",))
    return held_of([record for records in lists.values() for record in _leading(records)])


def _leading(records: list[Any]) -> list[Any]:
    """The first record that has a box, a mask or keypoints: it decides for all where invalid records are left out."""
    return next(([record] for record in records if isinstance(record, dict) and any(held_of([record]))), [])


def _annotations_of(where: str, tree: dict[str, Any], iou_type: str) -> Callable[[list[Any]], object]:
    """What reads some of a data set's annotations."""
    sizes = sizes_of_images(names_of(where, tree).images)

    def read(records: list[Any]) -> object:
        ignored_of(where, records)
        return columns_of(where, "annotations", records, results=False, iou_type=iou_type, sizes=sizes, known=True)

    return read


def _valid(records: list[Any], read: Callable[[list[Any]], object], section: str, faults: Faults | None) -> list[int]:
    """The places of the records that can be read. Parts of the list are halved until the invalid ones are found."""
    assert faults is not None
    kept: list[int] = []
    parts = [(0, len(records))]
    while parts:
        first, last = parts.pop()
        try:
            read(records[first:last])
            kept += range(first, last)
        except FormatError as error:
            if last - first == 1:
                faults.add(FormatError(str(error).replace(f"{section}[0]", f"{section}[{first}]", 1)))
            else:
                middle = (first + last) // 2
                parts += [(middle, last), (first, middle)]
    return kept


def _object(walk: Walk, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """Read the ``wanted`` lists of an object. Other values are read and dropped."""
    lists: dict[str, list[Any]] = {}
    if walk.peek() == "[":
        walk.wrong(f"expected {_DATA_SET}, got a list")
    if walk.peek() != "{":
        walk.fail("a list of detections" if wanted == ("annotations",) else _DATA_SET)
    for key in walk.members():
        if len(key.encode()) > limits.of("text"):
            walk.wrong(limits.exceeded("text", len(key.encode())))
        if key not in wanted:
            walk.value()
            walk.other_keys.append(key[:40])
        elif key in lists:
            walk.wrong(f"{key}: expected one list, got the key twice")
        else:
            lists[key] = walk.records(key)
    walk.end()
    return lists


def _spans(mark: int, read: Walk, section: str) -> Spans:
    """Positions of the records in the file, which has ``mark`` bytes before the text."""
    in_bytes = _byte_places(read.text, mark)
    walk = Walk("", read.text, lenient=read.lenient)
    start, length, score_at = [], [], []
    for first, last in read.spans[section]:
        walk.at = first
        for key in walk.members():
            if key == "score":
                score_at.append(in_bytes(walk.at) - in_bytes(first))
            walk.value()
        start.append(in_bytes(first))
        length.append(in_bytes(last) - start[-1])
    columns = np.array(start, np.int64), np.array(length, np.int32), np.array(score_at, np.int32)
    first, last = read.bounds[section]
    return Spans(*columns, (in_bytes(first), in_bytes(last)), read.other_keys[:20])


def _byte_places(text: str, mark: int) -> Callable[[int], int]:
    if text.isascii():
        return lambda at: at + mark
    ends = np.zeros(len(text) + 1, np.int64)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    np.cumsum(1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF), out=ends[1:])
    return lambda at: int(ends[at]) + mark


# ------------------------------------------------------------------------------------- references of C++
def join_records(text: bytes, start: Ints, length: Array, score_at: Array, scores: Floats | None) -> bytes:
    """Join the records ``text[start:start + length]``, one a line. ``scores``, if any, replace theirs."""
    lines = []
    for i, (first, size, at) in enumerate(zip(start.tolist(), length.tolist(), score_at.tolist(), strict=True)):
        record = text[first : first + size]
        if len(record) != size or record[:1] != b"{" or record[-1:] != b"}":
            raise IndexError("join_records: records must be those that were read")
        if scores is not None:
            old = _NUMBER.match(record, at)
            assert old is not None
            record = record[:at] + repr(float(scores[i])).encode() + record[old.end() :]
        lines.append(record)
    return b",\n".join(lines)


def encode_records(ids: Sequence[bytes], image: Ints, label: Ints, boxes: Floats, scores: Floats) -> bytes:
    """Write new records, one a line. ``ids`` are image ids as JSON, ``boxes`` are x y w h."""
    rows = zip(image.tolist(), label.tolist(), boxes.tolist(), scores.tolist(), strict=True)
    return b",\n".join(
        b'{"image_id":%b,"category_id":%d,"bbox":[%b],"score":%b}'
        % (ids[i], k, ",".join(map(repr, box)).encode(), repr(score).encode())
        for i, k, box, score in rows
    )
