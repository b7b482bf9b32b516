"""A list of JSON objects, read in pieces: where each record lies, and what it holds.

No JSON library reads a list without holding all of it, so the list is cut into records here, by a pattern that
knows strings and one level of nesting (COCO's run-length masks) and, for deeper ones, by counting brackets; msgspec
then decodes the records of a piece in one typed call. Memory: one piece and its records, whatever the file's size.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Any

import msgspec

from fastdet._core.check import describe

PIECE = 1 << 20  # bytes read at a time
LONGEST = 1 << 26  # bytes of one record

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_FLAT = rb'\{[^{}"]*(?:' + _STRING + rb'[^{}"]*)*\}'
_OBJECT = re.compile(rb'\{[^{}"]*(?:(?:' + _STRING + rb"|" + _FLAT + rb')[^{}"]*)*\}', re.DOTALL)
_MARK = re.compile(_STRING + rb'|["{}]', re.DOTALL)  # a lone quote opens a string that does not end here
_SPACE = re.compile(rb"[ \t\r\n]*")

Span = tuple[int, int]


class PieceError(Exception):
    """What is wrong, in one line: record number and field, what was expected and what came."""


_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[float, msgspec.Meta(ge=0)]


class Record(msgspec.Struct, gc=False):
    """A detection of COCO's results; other fields are passed over."""

    image_id: _Id | str
    category_id: _Id
    bbox: tuple[float, float, _Side, _Side]  # x, y, width, height in pixels
    score: float


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_many = msgspec.json.Decoder(list[Record])


def pieces(file: IO[bytes], advance: Callable[[int], None]) -> Iterator[tuple[int, bytes, list[Span]]]:
    """(offset of the piece in the file, its bytes, start and end of each record in it)."""
    buffer = file.read(PIECE)
    advance(len(buffer))
    at = _skip(buffer, 3 if buffer.startswith(b"\xef\xbb\xbf") else 0)
    if at == len(buffer):
        raise PieceError("expected a JSON list of detections, got an empty file")
    if buffer[at] != ord("["):
        got = "one object {...}" if buffer[at] == ord("{") else _shown(buffer, at)
        raise PieceError(f"expected a JSON list [...] of detections, got {got}")
    offset, number, wanted, at = 0, 0, PIECE, at + 1
    wants_comma, ended = False, False
    while True:
        spans: list[Span] = []
        start = at
        while not ended:  # here `at` is after "[", after a record, or after a comma
            at = _skip(buffer, at)
            if at == len(buffer):
                break
            byte = buffer[at]
            if byte == ord("]") and (wants_comma or number + len(spans) == 0):
                ended, at = True, at + 1
            elif wants_comma:
                if byte != ord(","):
                    last = number + len(spans) - 1
                    raise PieceError(f"after record {last}: expected ',' or ']', got {_shown(buffer, at)}")
                wants_comma, at = False, at + 1
            elif byte != ord("{"):
                raise PieceError(f"record {number + len(spans)}: expected an object {{...}}, got {_shown(buffer, at)}")
            else:
                end = _end(buffer, at)
                if end is None:
                    break
                spans.append((at, end))
                wants_comma, at = True, end
        if spans:
            yield offset, buffer, spans
            number += len(spans)
        if ended:
            _no_more(file, buffer, at, advance)
            return
        wanted = PIECE if at > start else min(2 * wanted, LONGEST)  # a long record is not scanned too often
        more = file.read(wanted)
        advance(len(more))
        if not more:
            here = f"record {number}: expected an object"
            if wants_comma:
                here = f"after record {number - 1}: expected ',' or ']'"
            raise PieceError(f"{here}, got the end of the file: is it cut off?")
        if len(buffer) - at > LONGEST:
            raise PieceError(f"record {number}: expected an object of at most {LONGEST >> 20} MiB, got a longer one")
        offset, buffer, at = offset + at, buffer[at:] + more, 0


def decode(buffer: bytes, spans: list[Span], number: int) -> list[Record]:
    """The records of a piece; ``number`` is that of the first."""
    first, last = spans[0][0], spans[-1][1]
    try:
        return _many.decode(b"[%b]" % buffer[first:last])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_one(buffer[start:end], f"record {number + i}") for i, (start, end) in enumerate(spans)]


def _one(raw: bytes, where: str) -> Record:
    """One record, slow and plain, for those that the fast way does not take: ids like 1.0, and what is wrong."""
    try:
        value = json.loads(raw)  # takes NaN and Infinity, which are not JSON but are what others write
    except RecursionError:
        raise PieceError(f"{where}: expected a detection, got one nested too deeply") from None
    except ValueError as error:
        raise PieceError(f"{where}: expected JSON, got {' '.join(str(error).split())}") from None
    for name, want, good in _FIELDS:
        if name not in value:
            raise PieceError(f"{where}, field {name}: expected {want}, got no such field")
        if name.endswith("id") and type(value[name]) is float and value[name].is_integer():
            value[name] = int(value[name])
        if not good(value[name]):
            raise PieceError(f"{where}, field {name}: expected {want}, got {describe(value[name])}")
    try:
        _raw.decode(raw)  # the same in the other fields
        return msgspec.convert(value, Record)
    except RecursionError:
        raise PieceError(f"{where}: expected a detection, got one nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PieceError(f"{where}: expected a detection, got {error}") from None


def _integer(x: Any) -> bool:
    return type(x) is int and -(2**63) <= x < 2**63


def _number(x: Any) -> bool:
    return (type(x) is float and math.isfinite(x)) or (type(x) is int and abs(x) < 2**1023)


_FIELDS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("image_id", "an integer or a string", lambda x: type(x) is str or _integer(x)),
    ("category_id", "an integer", _integer),
    ("bbox", "four finite numbers", lambda x: type(x) is list and len(x) == 4 and all(map(_number, x))),
    ("bbox", "a width and height of 0 or more", lambda x: x[2] >= 0 and x[3] >= 0),
    ("score", "a finite number", _number),
)


def _skip(buffer: bytes, at: int) -> int:
    match = _SPACE.match(buffer, at)
    return at if match is None else match.end()


def _end(buffer: bytes, at: int) -> int | None:
    """Where the object that begins at ``at`` ends; None if it does not end in the buffer."""
    match = _OBJECT.match(buffer, at)
    if match is not None:
        return match.end()
    depth = 0
    for mark in _MARK.finditer(buffer, at):
        if mark.group() == b'"':
            return None
        depth += {b"{": 1, b"}": -1}.get(mark.group(), 0)
        if depth == 0:
            return mark.end()
    return None


def _shown(buffer: bytes, at: int) -> str:
    return describe(buffer[at : at + 20].split(b"\n")[0].decode("utf-8", "replace"))


def _no_more(file: IO[bytes], buffer: bytes, at: int, advance: Callable[[int], None]) -> None:
    while buffer:
        at = _skip(buffer, at)
        if at < len(buffer):
            raise PieceError(f"after the list: expected the end of the file, got {_shown(buffer, at)}")
        buffer, at = file.read(PIECE), 0
        advance(len(buffer))
