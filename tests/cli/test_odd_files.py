"""Damaged and unusual files: each is an answer, or one line and exit code 2, never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from panoptic_files import data_set

from fastdet.cli.app import app, main

Capture = pytest.CaptureFixture[str]


def npy(x: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


GOOD = {
    "boxes.npy": npy(np.array([[0.0, 0, 4, 4]])),
    "scores.npy": npy(np.array([0.5])),
    "labels.npy": npy(np.array([0])),
    "image_id.npy": npy(np.array([0])),
}


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return file.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    content = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(content)) + content


def patched(raw: bytes, local: int, central: int, change: bytes) -> bytes:
    """A zip file with bytes of the headers of all members changed."""
    x = bytearray(raw)
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        for found in re.finditer(re.escape(mark), raw):
            at = found.start() + offset
            x[at : at + len(change)] = change
    return bytes(x)


def damaged(raw: bytes, count: int, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    for i in range(count):
        x = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            x[rng.integers(len(x))] = rng.integers(256)
        yield bytes(x[: rng.integers(len(x))] if i % 5 == 0 else x)


HEADERS = [
    "{'descr':'%s','fortran_order':%s,'shape':%s}" % parts  # noqa: UP031 (braces)
    for parts in [
        ("<f8", "False", "(1,-4)"),
        ("<f8", "False", "(2305843009213693952,4)"),
        ("|O", "False", "(1,4)"),
        ("<f8", "0", "(1,4)"),
        ("<f8", "False", "'x'"),
        ("<U999999999", "False", "(1,)"),
        ("V0", "False", "(9,)"),
        ("<M8[ns]", "False", "(1,4)"),
        ("<c16", "False", "(1,4)"),
        ("<f16", "True", "(1,4)"),
        ("", "True", "(1,4)"),
        ("<f8", "False", "()"),
        ("<f8", "False", "(0,)"),
        ("<f8", "False", "(True,4)"),
        ("<f8", "False", "(1.0,4)"),
        ("<f8", "False", "(%s,4)" % ("9" * 5000)),
    ]
] + ["[]", "nonsense", "{" * 500, "(" * 3000, "\0\0", ""]


def archives() -> Iterator[bytes]:
    raw = archive(GOOD)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield from damaged(archive(GOOD, method), 12, method)
    yield patched(raw, 6, 8, b"\x01")  # encrypted
    for method in (1, 6, 9, 14, 97, 99):
        yield patched(raw, 8, 10, struct.pack("<H", method))
    for text in HEADERS:
        yield archive({**GOOD, "boxes.npy": header(text) + bytes(32)})
    for version in ((2, 0), (3, 0), (4, 9)):
        yield archive({**GOOD, "boxes.npy": header(HEADERS[0], version) + bytes(32)})
    yield archive({name.removesuffix(".npy"): content for name, content in GOOD.items()})
    yield archive({**GOOD, "boxes": b"junk"})
    yield archive({**GOOD, "boxes.npy": b"junk"})
    yield archive({name.removesuffix(".npy"): b"junk" for name in GOOD})
    yield archive({})
    results = json.dumps([{"image_id": 0, "category_id": 0, "bbox": [0, 0, 4, 4], "score": 0.5}]).encode()
    yield from damaged(gzip.compress(results, mtime=0), 20, 9)
    yield from (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\0" * 50,
        results.decode().encode("utf-16"),
        b'[{"image_id":' + b"9" * 5000,
    )


def one_line(capsys: Capture, *arguments: object) -> None:
    code = main([str(x) for x in arguments])
    out, err = capsys.readouterr()
    assert code in (0, 2), (arguments, err)
    assert not re.search(r"unexpected [A-Z]\w+:", err), (arguments, err)
    if code:
        assert (out, err.count("\n")) == ("", 1), (arguments, err)
        assert len(err) < 4200, (arguments, err)


@pytest.mark.parametrize("command", ["nms", "evaluate", "truth", "miou", "panoptic"])
def test_archives(tmp_path: Path, capsys: Capture, command: str) -> None:
    (tmp_path / "good.npz").write_bytes(archive(GOOD))
    path = tmp_path / "odd.npz"
    calls = {
        "nms": ("nms", path, "-o", tmp_path / "out.json"),
        "evaluate": ("evaluate", tmp_path / "good.npz", path),
        "truth": ("evaluate", path, tmp_path / "good.npz"),
        "miou": ("miou", path, path, "--classes", 3),
        "panoptic": ("panoptic", path, path),
    }
    for content in archives():
        path.write_bytes(content)
        one_line(capsys, *calls[command])


def test_damaged_panoptic_files(tmp_path: Path, capsys: Capture) -> None:
    """Bytes of the JSON and of a PNG file changed at random."""
    truth, guess, _ = data_set(tmp_path, 2)
    for path in (guess, tmp_path / "guess" / "im1.png"):
        good = path.read_bytes()
        for content in damaged(good, 60, len(good)):
            path.write_bytes(content)
            one_line(capsys, "panoptic", truth, guess)
        path.write_bytes(good)


BOX = b"<object><name>c</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>"
ENCODINGS = [
    "utf-7",
    "utf-32",
    "utf-16",
    "utf-16-le",
    "cp037",
    "idna",
    "punycode",
    "rot13",
    "base64",
    "hex",
    "zlib",
    "bz2",
    "uu",
    "quopri",
    "undefined",
    "unicode_escape",
    "mbcs",
    "raw_unicode_escape",
    "utf-8-sig",
    "big5hkscs",
    "shift_jis",
    "iso2022_jp",
    "koi8-r",
    "nonsense",
    "charmap",
    "cp65001",
    "UTF8",
    "latin1",
    "hz",
    "..",
    "a/b",
    "ascii",
]


def xml() -> Iterator[bytes]:
    for word in [*ENCODINGS, "x" * 300, "\x1b[31m", "é", "utf-8\0"]:
        yield f'<?xml version="1.0" encoding="{word}"?><annotation>'.encode() + BOX + b"</annotation>"
    for word in ("9" * 400, "9" * 5000, "1e5", "-1", "٣", "1_0", "nan", "inf"):
        yield b"<annotation><size><width>%s</width><height>5</height></size>%s</annotation>" % (word.encode(), BOX)
        yield b"<annotation>" + BOX.replace(b"<xmin>1", b"<xmin>" + word.encode()) + b"</annotation>"
    yield from (
        b"",
        b"<",
        b"<annotation>" * 100_000,
        b"\xff\xfe",
        b"\xfe\xff\xd8",
        b"\xef\xbb\xbf<annotation/>",
        b"\0" * 20,
        b"<a:b/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>',
        b'<?xml version="9.9"?><annotation/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
        b'<?xml version="1.0" encoding="utf-8"?><annotation>\xff</annotation>',
    )


def test_xml(tmp_path: Path, capsys: Capture) -> None:
    truth, found = tmp_path / "truth", tmp_path / "found"
    truth.mkdir()
    found.mkdir()
    (found / "a.txt").write_text("c 0.5 1 1 4 4\n")
    for content in xml():
        (truth / "a.xml").write_bytes(content)
        one_line(capsys, "evaluate", truth, found)


COMMANDS: Any = __import__("typer").main.get_command(app).commands
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e400",
            "nan",
            "inf",
            "9" * 400,
            "9" * 5000,
            "0.5",
            "a",
            "\0",
            "/",
            ".",
            "all",
            "1,2",
            ",",
            "0:1:0",
            "0:1:1e-300",
        ]
    ),
    st.text(max_size=8).filter(lambda x: not x.startswith("-")),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_any_options(tmp_path: Path, capsys: Capture, data: st.DataObject) -> None:
    """Options and values in any mixture, on files that are good."""
    command = data.draw(st.sampled_from(["nms", "evaluate", "miou", "panoptic"]))
    (tmp_path / "good.npz").write_bytes(archive(GOOD))
    np.save(tmp_path / "maps.npy", np.zeros((1, 2, 2), np.uint8))
    files = [tmp_path / ("maps.npy" if command == "miou" else "good.npz")] * (1 if command == "nms" else 2)
    if command == "panoptic":
        shutil.rmtree(tmp_path / "panoptic", ignore_errors=True)
        files = list(data_set(tmp_path / "panoptic", 1)[:2])
    given_options: list[object] = ["-o", tmp_path / "out.json"] if command == "nms" else []
    options = [
        p
        for p in COMMANDS[command].params
        if p.param_type_name == "option" and p.name not in ("help", "plots", "engine")
    ]
    for option in data.draw(st.lists(st.sampled_from(options), max_size=3, unique_by=id)):
        if option.name != "output":
            given_options.append(option.opts[0])
            if not option.is_flag:
                given_options.append(data.draw(VALUES))
    one_line(capsys, command, *files, *given_options)
