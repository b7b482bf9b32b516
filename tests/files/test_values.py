"""One rule for numbers, names and texts in every reader, whatever the locale."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdet._core import backends
from fastdet._files import coco, label_tables, names, text, txt, voc, yolo
from fastdet._files.archive import Archive
from fastdet._files.errors import FormatError
from fastdet.coco import COCO

STRANGE = [
    "1_0", "\u0661", "1 0", "inf", "-Infinity", "nan", "1e400", "0x10", "1e", "--1", "+-1", "1.5.", "\u22121",
    "1" * 501, "\xa01", "1\x0b",
]  # fmt: skip
COMMA = """
import locale, sys
from pathlib import Path
print(locale.setlocale(locale.LC_NUMERIC, "xx_XX"), locale.localeconv()["decimal_point"])
from fastdet._files import detections
print(detections.read(Path(sys.argv[1])).scores.tolist())
try: detections.read(Path(sys.argv[2]))
except ValueError as error: print(error)
"""


def refused(read: object, *arguments: object) -> str:
    with pytest.raises(FormatError) as caught:
        read(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("word", STRANGE)
def test_numbers_of_text(tmp_path: Path, word: str) -> None:
    """Python's float and int take many of these."""
    assert text.to_float(word) is None
    assert text.to_int(word) is None
    assert yolo.class_number(word) is None
    with pytest.raises(FormatError):
        label_tables.of_pairs("map", [(word, "0"), ("5", "1")])
    (tmp_path / "v").mkdir()
    corner = f"<bndbox><xmin>{word}</xmin><ymin>0</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    if "\x0b" not in word:  # no character of XML
        (tmp_path / "v" / "a.xml").write_text(
            f"<annotation><object><name>x</name>{corner}</object></annotation>", "utf-8"
        )
        assert "xmin: expected a number, got " in refused(voc.read_voc, tmp_path / "v")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text(f"x 1 2 {word} 9\n", "utf-8")
    assert refused(txt.read_txt, tmp_path / "t").startswith(f"{tmp_path / 't' / 'a.txt'}: line 1: ")


def test_numbers_that_are_read() -> None:
    words = ["0", "-0", "+1", "01", ".5", "1.", "1e3", "1E-3", "-1.5e+2"]
    assert [text.to_float(word) for word in words] == [0, 0, 1, 1, 0.5, 1, 1000, 0.001, -150]
    assert [text.to_int(word) for word in ("9223372036854775807", "9223372036854775808", "-9223372036854775808")] == [
        2**63 - 1, None, -(2**63),
    ]  # fmt: skip


def test_decimal_comma(tmp_path: Path) -> None:
    """strtod reads 1.5e-400 as 1 where LC_NUMERIC has a decimal comma."""
    if backends.native is None or shutil.which("localedef") is None:
        pytest.skip("needs the C++ backend and the program localedef, which makes a locale")
    source = (
        'comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point ","\nthousands_sep ""\ngrouping -1\nEND LC_NUMERIC\n'
    )
    (tmp_path / "source").write_text(source)
    made = subprocess.run(
        ["localedef", "-c", "-i", str(tmp_path / "source"), str(tmp_path / "xx_XX")], capture_output=True, check=False
    )
    if not (tmp_path / "xx_XX" / "LC_NUMERIC").exists():
        pytest.skip(f"localedef cannot make a locale: {made.stderr.decode()[:200]}")
    record = '{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": %s}'
    values = ["1.5e-400", "-1.5e-400", "2.5", "1.5e-310", "1.7976931348623157e308", "0.30000000000000004441"]
    (tmp_path / "a.json").write_text("[" + ",".join(record % x for x in values) + "]")
    (tmp_path / "b.json").write_text("[" + record % "1.5e400" + "]")
    done = subprocess.run(
        [sys.executable, "-c", COMMA, str(tmp_path / "a.json"), str(tmp_path / "b.json")], capture_output=True,
        text=True, check=True,
        env={**os.environ, "LOCPATH": str(tmp_path), "PYTHONPATH": str(Path(coco.__file__).parents[2])},
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert said[0] == "xx_XX ,"
    assert json.loads(said[1]) == [float(x) for x in values]
    assert said[2].endswith("results[0].score: expected a number, got inf")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("key", ["name", "id", "supercategory"])
def test_keys_twice_in_a_category(tmp_path: Path, key: str) -> None:
    """The reader took the first, `COCO.cats` the last."""
    path = tmp_path / "gt.json"
    category = (
        f'{{"id": 1, "name": "a", "supercategory": "s", "{key}": {2 if key == "id" else chr(34) + "b" + chr(34)}}}'
    )
    path.write_text(f'{{"images": [], "annotations": [], "categories": [{category}]}}')
    assert refused(coco.read_coco, path) == f"{path}: categories[0].{key}: expected once, got the key twice"
    refused(COCO, path)


def test_keys_twice_in_other_places(tmp_path: Path) -> None:
    path = tmp_path / "gt.json"
    path.write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "color": 1, "color": 2}]}')
    data = COCO(path)
    assert "expected once, got the key twice" in refused(lambda: data.cats)
    path = tmp_path / "x.yaml"
    path.write_text("names: [a]\nnames: [b]\n")
    assert "expected each key once, got one twice in line 2" in refused(names.read_names, "x", path)
    path.write_text("names: {0: a, 0: b}\n")
    assert "expected each key once" in refused(names.read_names, "x", path)
    file = io.BytesIO()
    np.savez(file, boxes=np.zeros((1, 4)), boxed=np.ones((1, 4)))
    (tmp_path / "x.npz").write_bytes(file.getvalue().replace(b"boxed.npy", b"boxes.npy"))
    assert "expected each array once, got 'boxes' twice" in refused(Archive, tmp_path / "x.npz")


@pytest.mark.usefixtures("reader")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Two images whose names differ in a byte that is not UTF-8 became one."""
    path = tmp_path / "gt.json"
    for section in ("images", "categories"):
        key = "file_name" if section == "images" else "name"
        lists = {"images": b"[]", "annotations": b"[]", "categories": b"[]"}
        lists[section] = b'[{"id": 1, "%b": "a\xff"}, {"id": 2, "%b": "a\xfe"}]' % (key.encode(), key.encode())
        path.write_bytes(b"{" + b", ".join(b'"%b": %b' % (k.encode(), v) for k, v in lists.items()) + b"}")
        assert "expected UTF-8 text, got other bytes" in refused(coco.read_coco, path)
    path.write_bytes(b'[{"image_id": "\xff", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]')
    assert "expected UTF-8 text" in refused(lambda: coco.coco_content(path, "results", string_ids=True))
    for data, got in (
        (b"cat\ndo\xff\n", "other bytes in line 2"),
        (b"\xff\xfec\0", "UTF-16"),
        (b"a\0b", "a zero byte"),
    ):
        (tmp_path / "names.txt").write_bytes(data)
        assert got in refused(names.read_names, "x", tmp_path / "names.txt")


def test_a_blank_line_in_classes_shifts_nothing(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n")
    (tmp_path / "a.txt").write_text("2 0.5 0.5 0.1 0.1\n")
    text = refused(yolo.read_yolo, tmp_path, {"a": (40, 30)})
    assert text == f"{tmp_path / 'classes.txt'}: line 2: expected the name of class 1, got an empty line"
    (tmp_path / "classes.txt").write_text("cat\r\nblue dog\r\nbird\n\n")
    assert yolo.read_yolo(tmp_path, {"a": (40, 30)}).category_names == ["cat", "blue dog", "bird"]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("i", [10**18, 10**18 + 1, 2**63 - 1, -(2**63)])
def test_large_ids(tmp_path: Path, i: int) -> None:
    """Every integer of 64 bits, in each reader."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"image_id": i, "category_id": i, "bbox": [1, 2, 3, 4], "score": 1}]))
    content = coco.coco_content(path, "results")
    assert (content.boxes.image.tolist(), content.boxes.label.tolist()) == ([i], [i])
    if i > -(2**63):  # stands for void
        assert label_tables.of_pairs("x", [(str(i), "0"), ("1", "1")]).stored.tolist() == [1, i]
    path.write_text(json.dumps([{"image_id": float(i), "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]))
    assert "image_id: expected an integer" in refused(coco.coco_content, path, "results")
