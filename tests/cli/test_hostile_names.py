"""Names from files, archives, paths and options that hold what a terminal or a browser obeys."""

from __future__ import annotations

import ast
import html
import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import COMMAND
from miou_files import png
from optional import need
from panoptic_files import data_set

import fastdet
from fastdet._core.plain_text import printable
from fastdet._files.errors import FormatError
from fastdet.cli.app import main
from fastdet.cli.html import Html, fill, text

Capture = pytest.CaptureFixture[str]

# Controls of C0 and C1, DEL, marks of direction, zero-width letters, ends of lines, half of a pair, rich's markup, HTML
EVIL = (
    "\x1b[31m\x1b]0title\x07\b\r\x7f\x85\x9b2J\u202eabc\u2066\u2069\u200e\u200f\u061c\u200b\u200d\u2060\ufeff\u2028\u2029"
    "\xad\u3164[red]x[/red][/]:smile:</td><script>alert('\"&$x^2$')</script>"
)
BYTES = "\udcff\udc80"  # as Python holds bytes of a path that are not UTF-8
NAME = f"{EVIL}\0"  # a path cannot hold these
JSON_ONLY = f"{NAME}\ud800"


def hostile(shown: str) -> list[str]:
    """The characters of an output that must not be in it."""
    return [c for c in shown if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def runs(capsys: Capture, *arguments: object) -> str:
    """Everything that a command prints, if it holds nothing hostile and no traceback."""
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert not hostile(out), ascii(out)
    assert not hostile(err), ascii(err)
    assert not re.search(r"unexpected [A-Z]\w+:", err), err  # an error that nobody thought of
    assert code == (2 if err.startswith("fastdet: ") and not out else 0), err
    if code:
        assert err.count("\n") == 1, err
    return out + err


def test_printable() -> None:
    for code in [*range(0x300), *range(0x2000, 0x2100), *range(0xD800, 0xE000, 17), 0xFEFF, 0x61C, 0xE0041, 0x3164]:
        shown = printable(chr(code))
        assert printable(shown) == shown
        assert not hostile(shown)
        assert shown.isascii() or shown == chr(code)
    for plain in ("Zebrastreifen é 猫 🐈 ✈️", "C:\\temp", "a  b", "[red]", ""):
        assert printable(plain) == plain
    assert printable("\x1b\n\u202e\udcff\ud800\0") == r"\x1b\n\u202e\xff\ud800\x00"
    assert str(FormatError("a\x1bb\nc")) == r"a\x1bb\nc"


# ------------------------------------------------------------------------------------------------- every reader
Files = tuple[list[object], ...]


def coco(folder: Path) -> Files:
    box = {"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 4, 4], NAME: 1}
    gt: dict[str, Any] = {
        "images": [{"id": 5, "file_name": NAME}],
        "categories": [{"id": 1, "name": NAME}, {"id": 2, "name": f"{NAME}2", "supercategory": EVIL}],
        "annotations": [box, {**box, "id": 2, "bbox": [1, 1, 0, 0]}],
    }
    results = [{"image_id": 5, "category_id": k, "bbox": [0, 0, 4, 4], "score": 0.5} for k in (1, 9)]
    bad: list[Any] = [
        [{**results[0], "image_id": JSON_ONLY}], [{**results[0], "score": EVIL}], [{**results[0], "bbox": EVIL}],
        [{JSON_ONLY: 1}], {"annotations": {JSON_ONLY: 1}}, {JSON_ONLY: [], "images": JSON_ONLY}, JSON_ONLY,
        {"annotations": [{**results[0], "image_id": EVIL}], "images": [{"id": 1, "file_name": EVIL}]},
    ]  # fmt: skip
    paths = [folder / f"{EVIL.replace('/', '')}{i}.json" for i in range(2 + len(bad))]
    for path, content in zip(paths, [gt, results, *bad], strict=True):
        path.write_text(json.dumps(content))
    return ([paths[0], paths[1]], *([paths[0], path] for path in paths[2:]), *([path, paths[1]] for path in paths[2:]))


def folders(folder: Path, suffix: str, true: str, line: str) -> Files:
    """Good files, then a file whose name no image has, then one with hostile lines."""
    name = EVIL.replace("/", "").replace(" ", "")
    gt = folder / "gt"
    gt.mkdir()
    (gt / f"{name}{suffix}").write_text(true, encoding="utf-8")
    answers = []
    for i, (file, content) in enumerate(((name, line), (f"{name}x", line), (name, f"{EVIL} {EVIL}\n"))):
        path = folder / f"found{i}"
        path.mkdir()
        (path / f"{file}.txt").write_text(content, encoding="utf-8")
        answers.append([gt, path])
    return tuple(answers)


def word() -> str:
    return "".join(EVIL.split())


def txt(folder: Path) -> Files:
    return folders(
        folder, ".txt", f"{word()} 0 0 4 4\n{word()} 1 1 1 1\n", f"{word()} 0.5 0 0 4 4\nother 0.5 0 0 1 1\n"
    )


def voc(folder: Path) -> Files:
    name = "".join(c for c in word() if c >= " " and c not in "\u2028\u2029\ufeff")  # XML has no controls
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    true = f"<annotation><object><name>{html.escape(name)}</name>{box}</object></annotation>"
    return folders(folder, ".xml", true, f"{name} 0.5 1 1 5 5\n")


def yolo(folder: Path) -> Files:
    answers = folders(folder, ".txt", "0 0.5 0.5 0.2 0.2\n", "0 0.5 0.5 0.2 0.2 0.5\n")
    (folder / "gt" / "classes.txt").write_text(f"{word()}\n", encoding="utf-8")
    return tuple([*paths, "--image-size", "64x64"] for paths in answers)


def npz(folder: Path) -> Files:
    truth = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([0]), "images": np.array([EVIL])}
    guess = {**truth, "scores": np.array([0.5])}
    np.savez(folder / "gt.npz", **truth, classes=np.array([EVIL]), image_names=np.array([EVIL]))
    np.savez(folder / "dt.npz", **guess, **{JSON_ONLY[:-2]: np.zeros(1)})
    np.savez(folder / "other.npz", **{**guess, "images": np.array([EVIL + "x"])})
    np.savez(folder / "none.npz", **{EVIL: np.zeros(1)})
    return tuple([folder / "gt.npz", folder / f"{name}.npz"] for name in ("dt", "other", "none"))


READERS: list[Callable[[Path], Files]] = [coco, txt, voc, yolo, npz]


@pytest.mark.parametrize("files", READERS, ids=lambda f: f.__name__)
def test_evaluate(tmp_path: Path, capsys: Capture, files: Callable[[Path], Files]) -> None:
    every = [(*options, *case) for case in files(tmp_path) for options in ((), ("--per-class", "--at", "0.5"))]
    shown = [runs(capsys, "evaluate", *case) for case in every]
    assert sum("[red]x[/red]" in text or "script" in text for text in shown) > len(shown) // 3
    assert any("Average Precision" in text for text in shown)
    skipping = [runs(capsys, "evaluate", *case, "--skip-invalid") for case in every]
    assert len(skipping) == len(every)


def test_json_stays_exact(tmp_path: Path, capsys: Capture) -> None:
    (good, *_) = coco(tmp_path)
    out = runs(capsys, "evaluate", *good, "--json")
    assert json.loads(out)["per_class"][0]["name"] == NAME
    assert json.loads(out)["truth"] == str(good[0])


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_nms(tmp_path: Path, capsys: Capture, suffix: str) -> None:
    record = {"image_id": EVIL, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5}
    contents: list[Any] = [
        [record, {**record, "score": JSON_ONLY}], [{JSON_ONLY: 1}], {"annotations": [record], JSON_ONLY: 1},
        [record, {**record, "image_id": 3}], JSON_ONLY,
    ]  # fmt: skip
    output = tmp_path / f"{EVIL.replace('/', '')}{suffix}"
    for i, content in enumerate(contents):
        path = tmp_path / f"{BYTES}{i}.json"
        path.write_text(json.dumps(content))
        for options in ([], ["--skip-invalid"]):
            runs(capsys, "nms", path, "-o", output, *options)
    np.savez(tmp_path / "raw.npz", boxes=np.zeros((1, 4)), scores=np.ones(1), **{EVIL: np.zeros(1)})
    assert "not copied" in runs(capsys, "nms", tmp_path / "raw.npz", "-o", output)


def test_miou(tmp_path: Path, capsys: Capture) -> None:
    name = EVIL.replace("/", "")
    sides = [tmp_path / f"{side}{BYTES}" for side in ("gt", "pred")]
    for side in sides:
        side.mkdir()
        for i in range(2):
            (side / f"{name}{i}.png").write_bytes(png(np.full((3, 3), i)))
        (side / f"{name}.jpg").touch()
    (tmp_path / "classes.txt").write_text("\n".join([word(), f"{word()}2"]), encoding="utf-8")
    good = [*sides, "--classes", tmp_path / "classes.txt"]
    assert "[red]x[/red]" in runs(capsys, "miou", *good, "--per-class", "--per-image", "--ci")
    runs(capsys, "miou", *sides, "--classes", "1")
    (sides[1] / f"{name}1.png").rename(sides[1] / f"{name}9.png")
    runs(capsys, "miou", *good)
    (sides[1] / f"{name}9.png").rename(sides[1] / f"{name}1.png")
    for damaged in (b"", EVIL.encode(errors="replace"), png(np.zeros((4, 3)))):
        (sides[1] / f"{name}1.png").write_bytes(damaged)
        runs(capsys, "miou", *good)
    for option in ("--map", "--gt-map", "--palette"):
        for value in (EVIL, f"0:{EVIL}", tmp_path / "classes.txt", f"{EVIL}\0"):
            runs(capsys, "miou", *good, option, value)
    (tmp_path / "palette").write_text(f"0 0 0 {word()}\n0 0 0 {word()}\n", encoding="utf-8")
    runs(capsys, "miou", *good, "--palette", tmp_path / "palette")
    for member in (EVIL, f"{EVIL}.npy"):
        with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
            file = io.BytesIO()
            np.save(file, np.zeros((2, 3, 3), np.int32))
            archive.writestr(f"{member}x.npy", file.getvalue())
            archive.writestr(member, file.getvalue())
        runs(capsys, "miou", tmp_path / "maps.npz", tmp_path / "maps.npz", "--classes", "2")
    stack = {"maps": np.zeros((2, 3, 3), np.int32), "names": np.array([EVIL, EVIL])}
    np.savez(tmp_path / "named.npz", **stack)
    runs(capsys, "miou", tmp_path / "named.npz", tmp_path / "named.npz", "--classes", "2")


def test_panoptic(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path, 2)
    name = EVIL.replace("/", "")
    content = json.loads(truth.read_text())
    for i, record in enumerate(content["annotations"]):
        record["image_id"] = f"{JSON_ONLY}{i}"
    content["categories"] = [{**category, "name": EVIL} for category in content["categories"]]
    folder = tmp_path / f"{name}{BYTES}"
    (tmp_path / "truth").rename(folder)
    odd = tmp_path / f"{name}.json"
    odd.write_text(json.dumps(content))
    given = ["--truth-folder", folder]
    runs(capsys, "panoptic", odd, guess, *given)  # no image has a partner
    for command in ([], ["--ci"], ["--json"]):
        assert "script" in runs(
            capsys, "panoptic", odd, odd, "--per-class", *given, "--prediction-folder", folder, *command
        )
    for change in ({"file_name": NAME}, {"file_name": EVIL.replace("/", "")}, {"segments_info": [{"id": NAME}]},
                   {"segments_info": [{JSON_ONLY: 1}]}, {"segments_info": EVIL}, {"image_id": [NAME]}):  # fmt: skip
        odd.write_text(json.dumps({**content, "annotations": [{**content["annotations"][0], **change}]}))
        runs(capsys, "panoptic", odd, odd, *given, "--prediction-folder", folder)
        runs(capsys, "panoptic", odd, odd)


@pytest.mark.parametrize("command", ["nms", "miou", "panoptic", "evaluate", "demo", "bench", "info", ""])
def test_options(tmp_path: Path, capsys: Capture, command: str) -> None:
    """Each option with a hostile value, and a hostile option."""
    import typer

    from fastdet.cli.app import app

    group: Any = typer.main.get_command(app)
    given = [command] if command else []
    params = group.commands[command].params if command else []
    for value in (EVIL, f"{BYTES}", "\0", "", "-"):
        runs(capsys, *given, f"--{value}x", "x", "y")
        runs(capsys, *given, *[value] * 3)
        for option in params:
            if option.param_type_name == "option" and not option.is_flag:
                needed = ["a", "b"] if command != "nms" else ["a", "-o", "b.json"]
                runs(capsys, *given, *needed[: 0 if command in ("demo", "bench", "info", "") else len(needed)],
                     option.opts[0], value)  # fmt: skip
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png"]


# ----------------------------------------------------------------------------------------------------- pictures
class Page(HTMLParser):
    """The tags of a page, and all text and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.texts += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("files", [coco, npz], ids=lambda f: f.__name__)
def test_report(tmp_path: Path, capsys: Capture, files: Callable[[Path], Files]) -> None:
    need("matplotlib")
    (good, *_) = files(tmp_path)
    folder = tmp_path / f"plots{EVIL.replace('/', '')}{BYTES}"
    runs(capsys, "evaluate", *good, "--plots", folder, "--areas", f"all,{word().replace('=', '').replace(',', '')}=0:9")
    raw = (folder / "report.html").read_bytes()
    shown = raw.decode("utf-8")
    assert not hostile(shown)
    page = Page(shown)
    assert page.tags.count("script") == 1
    assert not {name for name in page.attributes if name.startswith("on")}
    assert any("[red]x[/red][/]" in text and "alert" in text for text in page.texts)


def test_pictures_of_miou(tmp_path: Path, capsys: Capture) -> None:
    need("matplotlib")
    np.save(tmp_path / "maps.npy", np.zeros((2, 3, 3), np.int32))
    (tmp_path / "classes.txt").write_text("\n".join([word(), f"{word()}2", "猫", "x" * 100_000]), encoding="utf-8")
    maps = [tmp_path / "maps.npy"] * 2
    runs(capsys, "miou", *maps, "--classes", tmp_path / "classes.txt", "--plots", tmp_path / f"plots{BYTES}")
    assert len(list((tmp_path / f"plots{BYTES}").iterdir())) == 2


def test_html() -> None:
    """A value is escaped unless it is HTML; a template of values cannot be made by accident."""
    assert fill("<b title='{a}'>{b}</b>", a="'\"><", b=Html("<i>")) == "<b title='&#x27;&quot;&gt;&lt;'><i></b>"
    assert text("\0\x1b\u202e{a}") == r"\x00\x1b\u202e{a}"
    assert type(fill("{a}", a=1)) is Html
    assert type(Html("a") + "<b>") is str  # joined with a text it is text, and is escaped


# ------------------------------------------------------------------------------------------------- the mechanism
def test_nothing_else_prints() -> None:
    """All prints of the command are in two files; consoles are made in one."""
    folder = Path(fastdet.__file__).parent / "cli"
    allowed = {"print": {"terminal.py", "app.py"}, "Console": {"terminal.py"}, "echo": set(), "secho": set()}
    found = {name: set() for name in allowed}
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if name in allowed and not (name == "print" and isinstance(node.func, ast.Attribute)):
                    found[name].add(path.name)
    assert found == allowed


def test_warnings_and_logs(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others print while a command runs passes the same stream."""
    import fastdet.cli.info as info

    def noisy(*_: object) -> None:
        print(warnings.formatwarning(EVIL, UserWarning, EVIL, 1), file=sys.stderr)  # as Python shows one
        logging.lastResort.handle(logging.makeLogRecord({"msg": EVIL, "levelno": 40}))  # type: ignore[union-attr]
        sys.stdout.write(EVIL)
        print(JSON_ONLY, BYTES)
        raise KeyError(JSON_ONLY)

    monkeypatch.setattr(info.fastdet, "show_config", noisy)
    assert main(["info"]) == 2
    out, err = capsys.readouterr()
    assert not hostile(out)
    assert not hostile(err)
    assert "unexpected KeyError" in err.splitlines()[-1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\x1b\xc3\xa9"
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"evaluate", path, path],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        check=False,
    )
    assert done.returncode == 2
    word = {"ascii": rb"\xff\x1b\xe9", "latin-1": b"\\xff\\x1b\xe9", "utf-8": b"\\xff\\x1b\xc3\xa9"}[encoding]
    assert done.stderr == b"fastdet: no such file: " + os.fsencode(tmp_path) + b"/" + word + b"\n"
