"""The command `fastdet miou`: label maps in every file format, and files that are wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import struct
import subprocess
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import COMMAND, fails
from miou_files import agree, figures, folder, png, scene
from PIL import Image

from fastdet import cli
from fastdet._files import label_maps, palettes
from fastdet.cli.app import main


def interlaced(labels: Any) -> bytes:
    """The same in Adam7's seven passes, 8-bit grey."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [np.asarray(labels, np.uint8)[y::dy, x::dx] for y, x, dy, dx in passes]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part))
    header = struct.pack(">IIBBBBB", *np.shape(labels)[::-1], 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("classes", "options"),
    [
        (4, {}),
        (200, {}),
        (4, {"depth": 16}),
        (300, {"depth": 16}),
        (2, {"depth": 1}),
        (4, {"depth": 2}),
        (16, {"depth": 4}),
        (2, {"depth": 1, "kind": 3}),
        (4, {"depth": 2, "kind": 3}),
        (16, {"depth": 4, "kind": 3}),
        (200, {"kind": 3}),
    ],
)
def test_every_kind_of_png(
    tmp_path: Path, score: Callable[..., dict[str, Any]], classes: int, options: dict[str, Any]
) -> None:
    """The stored numbers are the labels: no palette is applied, few bits are not spread over 0 to 255."""
    rng = np.random.default_rng(1)
    truth, guess = ({"a": rng.integers(0, classes, (9, 13)), "b": rng.integers(0, classes, (7, 5))} for _ in range(2))
    if options.get("kind") == 3:
        options["palette"] = rng.integers(0, 256, 3 * min(256, 1 << options.get("depth", 8)), dtype=np.uint8).tobytes()
    got = score(
        folder(tmp_path / "gt", truth, **options), folder(tmp_path / "pred", guess, **options), "--classes", classes
    )
    agree(got, figures(truth, guess, classes))


def test_pillow_writes_what_is_read(tmp_path: Path) -> None:
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name, image in {
        "grey": Image.fromarray(labels),
        "wide": Image.fromarray(labels.astype(np.uint16) * 1000),
        "palette": Image.fromarray(labels).convert("P"),
    }.items():
        image.save(tmp_path / f"{name}.png", optimize=True)
    maps = label_maps.Folder(tmp_path)
    read = dict(zip(maps.names, map(maps.read, range(3)), strict=True))
    assert (read["grey.png"] == labels).all()
    assert (read["wide.png"] == labels.astype(int) * 1000).all()
    for height, width in ((1, 1), (2, 5), (3, 1), (8, 8), (13, 17)):
        labels = np.arange(height * width, dtype=np.uint8).reshape(height, width)
        (tmp_path / "grey.png").write_bytes(interlaced(labels))
        assert (maps.read(0) == labels).all()


def colours_of(name: str) -> tuple[np.ndarray[Any, Any], int]:
    palette = palettes.load(name)
    codes = palette.colours.astype(int)
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1), len(palette.classes)


@pytest.mark.parametrize(("name", "classes", "void"), [("cityscapes", 19, 10), ("voc", 21, 1), ("camvid", 11, 1)])
def test_palettes(tmp_path: Path, score: Callable[..., dict[str, Any]], name: str, classes: int, void: int) -> None:
    colours, count = colours_of(name)
    assert (count, len(colours)) == (classes, classes + void)
    rng = np.random.default_rng(2)
    truth, guess = ({"a": rng.integers(0, len(colours), (20, 30))} for _ in range(2))
    gt = folder(tmp_path / "gt", {k: colours[v] for k, v in truth.items()}, kind=2)
    opaque = {k: np.concatenate([colours[v], np.full((20, 30, 1), 255)], 2) for k, v in guess.items()}
    pred = folder(tmp_path / "pred", opaque, kind=6)
    got = score(gt, pred, "--palette", name, "--ignore", 255)
    labels = [{k: np.where(v < classes, v, 255) for k, v in maps.items()} for maps in (truth, guess)]
    agree(got, figures(*labels, classes, ignore_index=255))
    assert got["per_class"][0]["name"] == {"cityscapes": "road", "voc": "background", "camvid": "sky"}[name]
    plain = folder(tmp_path / "plain", labels[1])  # labels themselves go with colours
    agree(score(gt, plain, "--palette", name, "--ignore", 255), figures(*labels, classes, ignore_index=255))


def test_palette_of_voc_is_the_usual_one() -> None:
    """Bit b of a class goes to bit 7 - b // 3 of red, green or blue, by b modulo 3."""
    colours, count = colours_of("voc")
    for label in range(count):
        want = [sum((label >> (3 * k + c) & 1) << (7 - k) for k in range(3)) for c in range(3)]
        assert colours[label].tolist() == want


def test_palette_file(tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "colours.txt"
    file.write_text("\ufeff# the classes\n255 0 0  a long name\n0,255,0\n\n0 0 0 void  # nothing\n", encoding="utf-8")
    rgb = np.array([[[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 0]]])
    gt, pred = (folder(tmp_path / name, {"x": rgb}, kind=2) for name in ("gt", "pred"))
    got = score(gt, pred, "--palette", file, "--ignore", 7)
    assert [row["name"] for row in got["per_class"]] == ["a long name", "1"]
    assert got["confusion_matrix"] == [[2, 0, 0], [0, 1, 0]]
    assert got["void_pixels"] == 1
    where = f"miou: 2 label maps that cannot be counted: {gt / 'x.png'}: colour 0 0 0 at row 0, column 3 is"
    assert fails(capsys, "miou", gt, pred, "--palette", file).startswith(
        f"{where} void in the palette: use --ignore to give the label of void; "
    )
    rgb[0, 1] = 255, 0, 1
    (gt / "x.png").write_bytes(png(rgb, kind=2))
    text = fails(capsys, "miou", gt, pred, "--palette", file, "--ignore", 255)
    assert text.endswith(f"{gt / 'x.png'}: colour 255 0 1 at row 0, column 1 is not in the palette colours.txt")
    text = fails(capsys, "miou", gt, pred, "--classes", 2)
    assert f"{gt / 'x.png'}: expected labels, got a 8-bit RGB image: use --palette to name its colours" in text
    (gt / "x.png").write_bytes(png(np.full((1, 4, 4), 9), kind=6))
    text = fails(capsys, "miou", gt, pred, "--palette", file, "--ignore", 255)
    assert text.endswith("x.png: expected opaque colours, got a transparent one at row 0, column 0")
    for content, message in {
        "1 2": "line 1: expected R G B [name], numbers from 0 to 255, got '1 2'",
        "1 2 3\n1 2 256 a": "line 2: expected R G B [name], numbers from 0 to 255, got '1 2 256 a'",
        "1 2 3 a\n1 2 3 b": "line 2: expected unique colours, got 1 2 3 as in line 1",
        "# none": "expected lines R G B [name], one for each class, got none",
        "0 0 0 void": "expected lines R G B [name], one for each class, got none",
    }.items():
        file.write_text(content)
        assert fails(capsys, "miou", gt, pred, "--palette", file) == f"{file}: {message}"
    file.write_bytes(b"\xff\xfe\x00")
    assert "expected lines of text" in fails(capsys, "miou", gt, pred, "--palette", file)
    text = fails(capsys, "miou", gt, pred, "--palette", "ade20k")
    assert text == "miou: palette must be one of cityscapes, voc, camvid or a file, got ade20k, no such file"


def test_arrays(tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    truth, guess = scene()
    names = list(truth)
    want = figures(truth, guess)
    a, b = (np.stack([maps[name] for name in names]) for maps in (truth, guess))
    np.savez_compressed(tmp_path / "a.npz", names=names, labels=a)
    np.savez(tmp_path / "b.npz", pred=np.asfortranarray(b[::-1].astype(">i4")), names=np.array(names[::-1], "S"))
    np.save(tmp_path / "a.npy", a.astype(np.uint64))
    np.save(tmp_path / "b.npy", np.asfortranarray(b))
    np.savez(tmp_path / "bare.npz", b)
    folder(tmp_path / "a", truth)
    for x, y in (("a.npz", "b.npz"), ("a.npy", "b.npy"), ("a.npy", "bare.npz"), ("a", "b.npz"), ("a.npz", "bare.npz")):
        agree(score(tmp_path / x, tmp_path / y, "--classes", 4), want)
    binary = a > 1
    np.save(tmp_path / "binary.npy", binary)
    got = score(tmp_path / "binary.npy", tmp_path / "binary.npy", "--classes", 2)
    assert got["confusion_matrix"] == [[int((~binary).sum()), 0], [0, int(binary.sum())]]

    def wrong(message: str, file: str, target: str = "a.npz") -> None:
        text = fails(capsys, "miou", tmp_path / target, tmp_path / file, "--classes", 4)
        assert re.fullmatch(message, text.replace(str(tmp_path) + os.sep, "")), text

    np.save(tmp_path / "x.npy", b[:3])
    wrong(r"x.npy: expected 4 maps, as a.npy has, got 3", "x.npy", "a.npy")
    wrong(r"bare.npz: expected an NPZ with names, to match them with the files' names, got none", "bare.npz", "a")
    for array, message in (
        (b[0], r"integer labels \(N, H, W\), got uint8 \(12, 17\)"),
        (b + 0.0, r"integer labels \(N, H, W\), got float64 \(4, 12, 17\)"),
        (b[:0], r"label maps, got none: \(0, 12, 17\)"),
        (np.zeros((1, 3, 0), int), r"label maps, got none: \(1, 3, 0\)"),
    ):
        np.save(tmp_path / "x.npy", array)
        wrong(rf"x.npy: the array: expected {message}", "x.npy")
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    wrong(r"x.npy: the array: expected integer labels \(N, H, W\), got object \(1,\)", "x.npy")
    np.savez(tmp_path / "x.npz", one=a, two=b)
    wrong(r"x.npz: expected one array of integer labels \(N, H, W\), got one and two", "x.npz")
    np.savez(tmp_path / "x.npz", scores=b + 0.5)
    wrong(r"x.npz: expected one .* \(N, H, W\), got scores float64 \(4, 12, 17\)", "x.npz")
    np.savez(tmp_path / "x.npz", b, names=names[:3])
    wrong(r"x.npz: names: expected 4 strings, one a map, got <U3 \(3,\)", "x.npz")
    np.savez(tmp_path / "x.npz", b, names=["u" * 20_000] * 4)
    wrong(r"x.npz: names: expected 4 strings, one a map, got <U20000 \(4,\)", "x.npz")
    (tmp_path / "x.npy").write_bytes((tmp_path / "b.npy").read_bytes().replace(b"{", b"(", 1))
    wrong(r"x.npy: expected an NPZ or NPY file, got a damaged one: .*", "x.npy")
    np.savez(tmp_path / "x.npz", b, names=["u", "v.png", "v", "w"])
    wrong(r"x.npz: names: expected one map a name, got v twice", "x.npz")
    np.savez(tmp_path / "x.npz", b[:, :3], names=names)
    wrong(r"miou: 4 label maps that .*: x.npz: im0: expected 12 x 17 pixels .* has, got 3 x 17; .*", "x.npz")
    np.savez(tmp_path / "x.npz", np.where(b == b, 3, 3) + (np.arange(4) == 2)[:, None, None] * 5, names=names)
    wrong(r"miou: 1 label map that cannot .*: x.npz: im2: expected labels 0 to 3, got 8 at row 0, column 0", "x.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for size in (2, 100, len(whole) - 1):
        (tmp_path / "x.npz").write_bytes(whole[:size])
        wrong(r"x.npz: expected an NPZ or NPY file, got a damaged one: .*", "x.npz")
    middle = whole.index(b"labels.npy") + 150
    (tmp_path / "x.npz").write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    wrong(r"x.npz: labels: expected a plain array, got a damaged one: .*", "x.npz")
    whole = (tmp_path / "b.npy").read_bytes()
    for size in (7, 50, len(whole) - 1):
        (tmp_path / "x.npy").write_bytes(whole[:size])
        wrong(r"x.npy: expected an NPZ or NPY file, got a damaged one: .*", "x.npy")
    huge = {"descr": "|u1", "fortran_order": False, "shape": (1, 1 << 20, 1 << 20)}
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, huge)
    wrong(
        r"x.npy: the array: expected at most 67,108,864 pixels, got 1048576 x 1048576: FASTDET_LIMITS=pixels=.*",
        "x.npy",
    )


def test_unmatched_files(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    gt, pred = pair
    (pred / "im2.png").rename(pred / "other.png")
    text = fails(capsys, "miou", gt, pred, "--classes", 4)
    assert text == (
        f"miou: label maps without a partner: 1 of {gt} not in {pred}: im2.png; 1 of {pred} not in {gt}: other.png"
    )
    for file in pred.iterdir():
        file.rename(pred / f"{file.stem}_pred.png")
    for i in range(13):
        (gt / f"more{i:02}.png").write_bytes(png([[0]]))
    text = fails(capsys, "miou", gt, pred, "--classes", 4)
    assert text.startswith(
        f"miou: no label map has a partner of its name: 17 of {gt} not in {pred}: im0.png, im1.png, "
    )
    assert "more05.png and 7 more; 4 of " in text


def test_wrong_files_are_all_named(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    gt, pred = pair
    good = (pred / "im0.png").read_bytes()
    (pred / "im0.png").write_bytes(png(np.zeros((17, 12))))
    (pred / "im1.png").write_bytes(b"GIF89a")
    (pred / "im2.png").write_bytes(b"")
    (gt / "im3.png").write_bytes(good[:20])
    assert fails(capsys, "miou", gt, pred, "--classes", 4) == (
        "miou: 4 label maps that cannot be counted: "
        f"{pred / 'im0.png'}: expected 12 x 17 pixels (height x width) as the target has, got 17 x 12; "
        f"{pred / 'im1.png'}: expected a PNG image, got a file of GIF; "
        f"{pred / 'im2.png'}: expected a PNG image, got an empty file; "
        f"{gt / 'im3.png'}: expected a PNG image, got one with a damaged or truncated header"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            png([[0]], size=(100_000, 100_000)),
            "expected at most 67,108,864 pixels, got 100000 x 100000: FASTDET_LIMITS=pixels=.* raises the limit",
        ),
        (png([[0]], size=(0, 5)), "expected a PNG image, got one of 0 x 5 pixels"),
        (png(np.zeros((12, 17, 3)), 16, 2), "expected a grey, palette or 8-bit RGB image, got a 16-bit RGB image"),
        (png(np.zeros((12, 17, 2)), 8, 4), "expected opaque pixels, got a transparent one at row 0, column 0"),
        (png(np.zeros((3, 17)), size=(12, 17)), "damaged: it holds too few pixels"),
        (png(np.zeros((13, 17)), size=(12, 17)), "damaged: it holds too many pixels"),
        (png(np.zeros((12, 17)), 8)[:-12], "truncated: the file ends after .* bytes, before its end chunk IEND"),
        (png(np.zeros((12, 17)), 8)[:-30], "truncated: the file ends after .* bytes, before its end chunk IEND"),
        (png(np.zeros((12, 17)), 8, 3), "damaged: .*|.*"),
    ],
)
def test_wrong_images(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (pair[1] / "im1.png").write_bytes(content)
    if message.endswith("|.*"):  # a palette image without its palette: an error or the labels, and no traceback
        assert main(["miou", *map(str, pair), "--classes", "4"]) in (0, 2)
        return
    text = fails(capsys, "miou", *pair, "--classes", 4)
    where = re.escape(f"miou: 1 label map that cannot be counted: {pair[1] / 'im1.png'}: ")
    assert re.fullmatch(where + message, text), text


def test_every_damaged_byte_is_seen(tmp_path: Path) -> None:
    """A flipped bit anywhere in a PNG, or a cut anywhere, is an error: never other labels."""
    content = png(np.random.default_rng(0).integers(0, 9, (6, 7)), 16)
    (tmp_path / "a.png").write_bytes(content)
    maps = label_maps.Folder(tmp_path)
    for at in range(len(content)):
        for wrong in (content[:at], content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]):
            (tmp_path / "a.png").write_bytes(wrong)
            with pytest.raises(label_maps.FormatError):
                maps.read(0)


def test_labels_out_of_range(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    gt, pred = pair
    labels = np.zeros((12, 17), np.uint8)
    labels[3, 5:] = 255
    (gt / "im1.png").write_bytes(png(labels))
    what = f"miou: 1 label map that cannot be counted: {gt / 'im1.png'}: expected labels 0 to 3"
    text = fails(capsys, "miou", gt, pred, "--classes", 4)
    assert text == f"{what}, got 255 at row 3, column 5; if 255 is void: --ignore 255"
    text = fails(capsys, "miou", gt, pred, "--classes", 4, "--ignore", 9)
    assert text == f"{what} or 9 (void), got 255 at row 3, column 5"
    text = fails(capsys, "miou", pred, gt, "--classes", 3)
    assert text.startswith("miou: 8 label maps that cannot be counted: ")
    assert "--ignore" not in text
    assert main(["miou", str(gt), str(pred), "--classes", "4", "--ignore", "255"]) == 0


def test_looking_stops_after_ten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, guess = scene(40, 5)
    gt, pred = folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess)
    text = fails(capsys, "miou", gt, pred, "--classes", 4)
    assert text.count("expected labels 0 to 3, got 4 at row ") == 10
    assert text.endswith("; if 4 is void: --ignore 4; stopped after 5 of 40 pairs")


def test_folders(
    pair: tuple[Path, Path], tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    gt, pred = pair
    want = score(gt, pred, "--classes", 4)
    (pred / "notes.txt").write_text("")
    (pred / "im0.json").write_text("")
    (pred / "sub.png").mkdir()
    (pred / ".hidden.png").write_text("")
    (gt / "im1.png").rename(tmp_path / "elsewhere")
    (gt / "im1.png").symlink_to(tmp_path / "elsewhere")
    (gt / "im2.png").rename(gt / "im2.PNG")
    link = tmp_path / "link"
    link.symlink_to(gt)
    got = score(link, pred, "--classes", 4)
    assert got["ignored"] == [f"{pred}: {name}" for name in ("im0.json", "notes.txt")]
    assert got["confusion_matrix"] == want["confusion_matrix"]
    assert main(["miou", str(gt), str(pred), "--classes", "4"]) == 0
    error = capsys.readouterr().err
    assert error == f"fastdet: not read: {pred}: im0.json, {pred}: notes.txt\n"
    (tmp_path / "elsewhere").unlink()
    assert fails(capsys, "miou", gt, pred, "--classes", 4).endswith("im1.png: expected a file, got a broken link")
    (gt / "im1.png").unlink()
    os.mkfifo(gt / "im1.png")
    assert fails(capsys, "miou", gt, pred, "--classes", 4).endswith("im1.png: expected a file, got a device")
    (gt / "im2.png").write_bytes(b"")
    if len([name for name in os.listdir(gt) if name.lower() == "im2.png"]) == 2:
        assert "expected one file a name, got im2.PNG and im2.png" in fails(capsys, "miou", gt, pred, "--classes", 4)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert fails(capsys, "miou", empty, pred, "--classes", 4) == (
        f"{empty}: expected a folder of PNG, TIFF, BMP or NPY label maps, got an empty folder"
    )
    (empty / "x.jpg").write_text("")
    assert fails(capsys, "miou", empty, gt, "--classes", 4).endswith(
        "got 1 other entry: x.jpg: JPEG changes numbers and colours, save label maps as PNG"
    )
    what = "expected a folder of label maps, an NPZ or an NPY file, got"
    no, single = tmp_path / "no", pred / "im0.png"
    assert fails(capsys, "miou", no, pred, "--classes", 4) == f"no such file: {no}"
    assert fails(capsys, "miou", single, pred, "--classes", 4) == f"{single}: {what} a single PNG file"
    assert fails(capsys, "miou", pred / "notes.txt", pred, "--classes", 4).endswith(f"{what} an empty file")
    assert fails(capsys, "miou", gt / "im1.png", pred, "--classes", 4).endswith(f"{what} a device")


def test_without_pillow(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fails(capsys, "miou", *pair, "--classes", 4) == 'miou: image files need Pillow: pip install "fastdet[cli]"'


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="missing permissions to lack: this is root")
def test_unreadable_file(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (pair[0] / "im0.png").chmod(0)
    assert fails(capsys, "miou", *pair, "--classes", 4).endswith("im0.png: Permission denied")


def test_names_that_are_not_ascii(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    """One name in two Unicode forms is one name; bytes that are no text, and 'a.b' against 'a.c', stay apart."""
    truth, guess = scene(3)
    keys = ["Straße é", "画像", "a.b"]
    gt = folder(
        tmp_path / "gt", {unicodedata.normalize("NFC", k): v for k, v in zip(keys, truth.values(), strict=True)}
    )
    pred = folder(
        tmp_path / "pred", {unicodedata.normalize("NFD", k): v for k, v in zip(keys, guess.values(), strict=True)}
    )
    for path, maps in ((gt, truth), (pred, guess)):
        with open(os.fsencode(path) + b"/bytes\xff.png", "wb") as file:
            file.write(png(maps["im0"]))
        (path / "a.c.png").write_bytes(png(maps["im1"]))
    got = score(gt, pred, "--classes", 4, "--per-image")
    names = [image["name"] for image in got["per_image"]["images"]]
    assert names == ["Straße é.png", "a.b.png", "a.c.png", r"bytes\xff.png", "画像.png"]
    here = str(Path(cli.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": here, "PYTHONIOENCODING": "ascii"}  # a terminal that lacks most of them
    command = [*COMMAND, "miou", str(gt), str(pred), "--classes", "4", "--per-image"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert r"Stra\xdfe \xe9.png" in done.stdout
    assert r"\u753b\u50cf.png" in done.stdout
