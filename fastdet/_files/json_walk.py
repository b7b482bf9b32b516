"""Walk through JSON with Python's json, a value at a time, by the rules of the C++ reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fastdet._core import limits
from fastdet._files.coco_values import given
from fastdet._files.errors import FormatError

MAX_DEPTH = 500  # of values in values
_MAX_NUMBER = 511  # characters of a number: fewer
_SPACE = re.compile(r"[ \t\r\n]*")
_ODD_NUMBER = re.compile(rf"[-+.0-9eE]{{{_MAX_NUMBER}}}|-0(?![0-9.eE])")  # Python's json takes any length, and -0 as 0
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]\s*[\]}]?|[\]}]', re.DOTALL)

# The keys that are read, by list. None of them may come twice in a record.
_OF_BOXES = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score", "ignore", "file_name")
_OF_NAMES = ("id", "supercategory", "width", "height")
KEYS = {
    "images": (*_OF_NAMES, "file_name", "neg_category_ids", "not_exhaustive_category_ids", "crowdIndex"),
    "categories": (*_OF_NAMES, "name", "frequency"),
}
_SHAPES = {  # further keys of annotations and results, by iou_type
    "bbox": (),
    "segm": ("segmentation",),
    "keypoints": ("keypoints", "num_keypoints"),
    "auto": ("segmentation", "keypoints"),
    "any": (),
}
_COUNTED = ("segmentation", "keypoints")  # where they are not read, only whether they are there is kept


class Twice(dict[str, Any]):
    """An object that had keys twice: the last value of each, and these keys."""

    keys_twice: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) == len(pairs):
        return tree
    seen: set[str] = set()
    twice = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
    marked = Twice(tree)
    marked.keys_twice = frozenset(twice)
    return marked


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"expected a value, got {word}")


def _short(kind: Any) -> Any:
    """Read a number of ``kind`` unless it is too long. -0 is -0.0."""

    def read(text: str) -> Any:
        if len(text) >= _MAX_NUMBER:
            raise ValueError("not JSON: expected a number of fewer than 500 characters")
        return -0.0 if text == "-0" else kind(text)

    return read


def decoded(where: str, raw: bytes) -> str:
    """The text of JSON. FormatError for other bytes than UTF-8, and for half of a surrogate pair."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: expected UTF-8 text, got other bytes at byte {error.start}") from None
    if _HALF.search(text):
        high = -1  # where the first half of a pair ended
        for match in _ESCAPE.finditer(text):
            code = int(match[1], 16) if match[1] else 0
            is_low = 0xDC00 <= code < 0xE000
            if is_low and high == match.start():
                high = -1
                continue
            if is_low or high >= 0:
                high = 0
                break
            high = match.end() if 0xD800 <= code < 0xDC00 else -1
        if high >= 0:
            raise FormatError(f"{where}: expected a string, got half of a surrogate pair")
    return text


def load_tree(where: str, raw: bytes) -> Any:
    """The whole content of a JSON file, for those who want its dictionaries. A key that comes twice is an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = _object(pairs)
        if isinstance(tree, Twice):
            raise ValueError(f"{json.dumps(min(tree.keys_twice))[:40]}: expected once, got the key twice")
        return tree

    text = decoded(where, raw.removeprefix(b"\xef\xbb\xbf"))
    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=_refuse)
    except RecursionError:
        raise FormatError(f"{where}: nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON: {error}") from None
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from None


class Walk:
    """A JSON text and a position in it. ``lenient``: invalid records are kept, to be found later."""

    def __init__(
        self, where: str, text: str, *, lenient: bool = False, iou_type: str = "bbox", results: bool = False
    ) -> None:
        self._where, self.text, self.at, self.lenient = where, text, 0, lenient
        hooks: dict[str, Any] = {"object_pairs_hook": _object, "parse_constant": float if lenient else _refuse}
        if _ODD_NUMBER.search(text):
            hooks |= {"parse_int": _short(int), "parse_float": _short(float)}
        self._decoder = json.JSONDecoder(**hooks)
        shapes = _SHAPES[iou_type][: 1 if results and iou_type == "keypoints" else None]  # num_keypoints is of truth
        self._of_records = (*_OF_BOXES, *shapes)
        # What may decide for all results: it is read of the first record, and of the others once it has decided.
        self._decide = {"keypoints": ("segmentation",), "any": _COUNTED}.get(iou_type, ()) if results else ()
        self._is_open = bool(self._decide)  # no record has decided yet
        self._place = ""  # the record being read, for errors
        self.spans: dict[str, list[tuple[int, int]]] = {}  # start and end of each value, by list
        self.bounds: dict[str, tuple[int, int]] = {}
        self.other_keys: list[str] = []

    def peek(self) -> str:
        """Skip white space. Returns the next character, "" at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match is not None else self.at
        return self.text[self.at : self.at + 1]

    def wrong(self, text: str) -> NoReturn:
        raise FormatError(f"{self._where}: {self._place}{text}")

    def fail(self, expected: str) -> NoReturn:
        got = self.peek()
        at = len(self.text[: self.at].encode())
        self.wrong(f"not JSON at byte {at}: expected {expected}, got {repr(got) if got else 'the end of the file'}")

    def take(self, wanted: str) -> None:
        if self.peek() != wanted:
            self.fail(repr(wanted))
        self.at += 1

    def value(self, level: int = 0) -> Any:
        """Read a value. It may nest `MAX_DEPTH` values, and ``level`` more."""
        self.peek()
        start = self.at
        try:
            value, self.at = self._decoder.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.at = error.pos
            self.fail(error.msg)
        except RecursionError:
            self.wrong(f"nested deeper than {MAX_DEPTH}")
        except ValueError as error:
            self.wrong(str(error))
        if self.text.count("[", start, self.at) + self.text.count("{", start, self.at) > MAX_DEPTH:
            self._check_depth(start, MAX_DEPTH + level)
        return value

    def _check_depth(self, start: int, allowed: int) -> None:
        depth = 0
        for match in _NESTING.finditer(self.text, start, self.at):
            first, last = match[0][0], match[0][-1]
            if first in "[{":
                depth += 1
                if depth > allowed + (last in "]}"):
                    self.wrong(f"nested deeper than {MAX_DEPTH}")
                depth -= last in "]}"
            elif first in "]}":
                depth -= 1

    def members(self) -> Iterator[str]:
        """Yield the keys of an object. At each key the caller must read the value, where the position is."""
        self.take("{")
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            if self.peek() != '"':
                self.fail("a key")
            key = self.value()
            self.take(":")
            self.peek()
            yield key
            if self.peek() not in (",", "}"):
                self.fail("',' or '}'")
            self.at += 1
            if self.text[self.at - 1] == "}":
                return

    def records(self, section: str) -> list[Any]:
        """Read a list, and note in ``spans`` where each of its values lies. Of each record only `KEYS` are kept."""
        values: list[Any] = []
        spans = self.spans.setdefault(section, [])
        if self.peek() != "[":
            self.wrong(f"{section}: expected a list, got {self.text[self.at : self.at + 40]!r}")
        first = self.at
        self.at += 1
        most = limits.of("images") if section in ("images", "categories") else None
        while self.peek() != "]" or values:
            self._place = f"{section}[{len(values)}]: "
            if most is not None and len(values) >= most:
                self.wrong(limits.exceeded("images", None))
            self.peek()
            start = self.at
            values.append(self._record(section, len(values)))
            spans.append((start, self.at))
            if self.peek() == "]":
                break
            if self.peek() != ",":
                self.fail("',' or ']'")
            self.at += 1
        self._place = ""
        self.at += 1
        self.bounds[section] = first, self.at
        return values

    def _record(self, section: str, index: int) -> Any:
        start, boxes = self.at, section in ("annotations", "results")
        keys = self._of_records if boxes else KEYS[section]
        keys = (*keys, *self._decide) if boxes else keys
        value = self.value(1)
        length = self.at - start
        if 4 * length > limits.of("text"):
            length = len(self.text[start : self.at].encode())
            if length > limits.of("text"):
                self.wrong(limits.exceeded("text", length))
        if not isinstance(value, dict):
            return value
        if isinstance(value, Twice) and (twice := value.keys_twice & set(keys)):
            if self.lenient and boxes:
                return "an object with a key twice"  # no record: it is left out later
            self._place = ""
            self.wrong(f"{section}[{index}].{min(twice)}: expected once, got the key twice")
        if boxes and self._is_open:
            deciding = [key for key in ("bbox", *_COUNTED) if given(value.get(key))][:1]
            if deciding or not self.lenient:  # a record without any is left out later
                self._decide, self._is_open = tuple(key for key in self._decide if key in deciding), False
        return _kept(value, keys)

    def end(self) -> None:
        if self.peek():
            self.fail("the end of the file")


def _kept(record: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The keys that are read."""
    kept = {key: record[key] for key in keys if key in record}
    if "bbox" in keys:
        kept |= {key: True for key in _COUNTED if key not in keys and given(record.get(key))}
    return kept
