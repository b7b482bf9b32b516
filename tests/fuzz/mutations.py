"""Change bytes at random, from a seed: flips, cuts, splices, odd numbers, doubled parts."""

from __future__ import annotations

import random
import re
import struct
import zlib

NUMBERS = [
    b"0", b"-0", b"-1", b"1e400", b"1.5e-400", b"9223372036854775807", b"9223372036854775808", b"1000000000000000000",
    b"99999999999999999999999999", b"NaN", b"inf", b"-Infinity", b"1_0", b"01", b"+1", b".5", b"1.", b"1e", b"0x10",
    "\u0661".encode(), b"1" * 600, b"1" * 5000, b"2147483648", b"4294967296", b"1e18", b"3.0", b"true", b"null",
]  # fmt: skip
TEXTS = [
    b"", b"\0", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\x1b[31m", b"\r", b"\n", b"\r\n", b"\t", b"\x0b", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff\xfe", b"\\ud800", b'"', b"'", b"<", b">", b"&", b"&amp;", b"{", b"}", b"[",
    b"]", b",", b":", b";", b"*a", b"&a", b"<<", b"- ", b"#", b"--", b"%s", b"\x80" * 40, b"[" * 600, b"<a>" * 300,
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<?xml version='1.0' encoding='utf-7'?>", b"void", b"other", b"names", b"nc",
]  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """``data`` with one to five changes. ``others``: seeds to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = rng.choice(_CHANGES)(rng, data, others)
    return data[: 1 << 20]


def _place(rng: random.Random, data: bytes) -> tuple[int, int]:
    at = rng.randrange(len(data) + 1)
    return at, min(len(data), at + rng.choice((1, 1, 2, 4, 8, 30, 200)))


def _flip(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    at, _ = _place(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _byte(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    at, _ = _place(rng, data)
    return data[:at] + bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    at, to = _place(rng, data)
    return data[:at] + data[to:]


def _double(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    at, to = _place(rng, data)
    return data[:to] + data[at:to] * rng.choice((1, 1, 2, 50)) + data[to:]


def _insert(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    at, to = _place(rng, data)
    return data[:at] + rng.choice(TEXTS) + data[rng.choice((at, to)) :]


def _number(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return _insert(rng, data, others)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS) + data[match.end() :]


def _word(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One word of the data in the place of another: keys twice, elements that end otherwise."""
    found = list(_WORD.finditer(data))
    if not found:
        return _flip(rng, data, others)
    to, by = rng.choice(found), rng.choice(found)
    return data[: to.start()] + by[0] + data[to.end() :]


def _integer(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """An integer of 2, 4 or 8 bytes at an edge of its range, as headers have them."""
    at, _ = _place(rng, data)
    form = rng.choice("HIQ")
    size = struct.calcsize(form)
    top = 1 << 8 * size
    value = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, 1 << 4 * size, rng.randrange(top)))
    return data[:at] + struct.pack(rng.choice("<>") + form, value) + data[at + size :]


def _splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_CHANGES = [_flip, _byte, _cut, _remove, _double, _insert, _number, _number, _word, _integer, _splice]


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums again, so that changes get past them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)
