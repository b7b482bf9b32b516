"""``fastdet miou``: figures of label maps in every kind of file, and an error that names each file that is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import real_data
from PIL import Image
from test_cli import COMMAND, fails, heeding_ctrl_c, peak

from fastdet import cli
from fastdet._files import label_maps, palettes
from fastdet.cli import miou
from fastdet.cli.app import main
from fastdet.segmentation import SegmentationMetrics

Labels = dict[str, np.ndarray[Any, Any]]


def png(rows: Any, depth: int = 8, kind: int = 0, palette: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """A PNG of any bit depth, plainly: (H, W) or (H, W, samples) numbers; ``size`` lies about (H, W)."""
    x = np.asarray(rows)
    bits = x.reshape(len(x), -1).astype(">u2" if depth == 16 else np.uint8)
    lines = (
        bits.view(np.uint8)
        if depth >= 8
        else np.packbits(np.unpackbits(bits[..., None], axis=2)[..., -depth:].reshape(len(x), -1), axis=1)
    )
    height, width = size or x.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    colours = chunk(b"PLTE", palette) if palette else b""
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return b"\x89PNG\r\n\x1a\n" + header + colours + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def interlaced(labels: Any) -> bytes:
    """The same in Adam7's seven passes, 8-bit grey."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [np.asarray(labels, np.uint8)[y::dy, x::dx] for y, x, dy, dx in passes]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part))
    header = struct.pack(">IIBBBBB", *np.shape(labels)[::-1], 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def scene(count: int = 4, classes: int = 4, seed: int = 0, shape: tuple[int, int] = (12, 17)) -> tuple[Labels, Labels]:
    rng = np.random.default_rng(seed)
    truth, guess = {}, {}
    for i in range(count):
        target = rng.integers(0, classes, shape, dtype=np.uint8)
        truth[f"im{i}"] = target
        guess[f"im{i}"] = np.where(rng.random(shape) < 0.7, target, rng.integers(0, classes, shape)).astype(np.uint8)
    return truth, guess


def folder(path: Path, maps: Labels, **options: Any) -> Path:
    path.mkdir()
    for name, labels in maps.items():
        (path / f"{name}.png").write_bytes(png(labels, **options))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    truth, guess = scene()
    return folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess)


def figures(truth: Labels, guess: Labels, classes: int = 4, **options: Any) -> dict[str, Any]:
    metrics = SegmentationMetrics(classes, per_image=True, **options)
    for name in sorted(truth):
        metrics.update(truth[name], guess[name])
    return metrics.compute()


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The JSON object of a run that goes well and says nothing else."""

    def run(*arguments: object) -> dict[str, Any]:
        code = main(["miou", *map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


def agree(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got["confusion_matrix"] == want["confusion_matrix"].tolist()
    assert got["mean_iou"] == want["mean_iou"]
    assert got["images"] == want["images"]


@pytest.mark.parametrize(
    ("void", "key"), [("count", "A_all_pixels_first11"), ("miss", "B_ignore_void_gt"), ("drop", "C_11x11")]
)
def test_real_predictions(tmp_path: Path, score: Callable[..., dict[str, Any]], void: str, key: str) -> None:
    """ESPNet on CamVid's 101 validation images, in all three conventions; the same from PNG files."""
    camvid = real_data("camvid_val_espnet")
    expected = json.loads((camvid / "expected.json").read_text())
    files = camvid / "labels_360x480.npz", camvid / "pred_espnet.npz"
    flags = ["--classes", 11, "--ignore", 11, "--void", void]
    got = score(*files, *flags)
    assert got["ignored"] == [f"{files[1]}: confusion"]
    assert got["mean_iou"] == pytest.approx(expected[key]["miou"], abs=1e-15)
    assert [row["iou"] for row in got["per_class"]] == pytest.approx(expected[key]["iou"], abs=1e-15)
    whole = np.array(expected["confusion_gt_rows_pred_cols"])
    matrix = np.array(got["confusion_matrix"])
    assert (matrix == whole[: matrix.shape[0], : matrix.shape[1]]).all()
    if void == "miss":
        assert got["pixel_accuracy"] == pytest.approx(expected["global_accuracy_ignore_void"], abs=1e-15)
        assert got["mean_class_accuracy"] == pytest.approx(expected["class_avg_accuracy"], abs=1e-15)
        through_png(tmp_path, score, files, flags, got)


def through_png(tmp_path: Path, score: Callable[..., dict[str, Any]], files: Any, flags: Any, got: Any) -> None:
    for name, file, array in zip(("gt", "pred"), files, ("labels", "pred"), strict=True):
        with np.load(file) as data:
            maps = dict(zip(data["names"], data[array], strict=True))
        folder(tmp_path / name, {k.removesuffix(".png"): v for k, v in maps.items()})
    again = score(tmp_path / "gt", tmp_path / "pred", *flags)
    assert again["confusion_matrix"] == got["confusion_matrix"]
    assert again["mean_iou"] == got["mean_iou"]
    mixed = score(files[0], tmp_path / "pred", *flags)
    assert mixed["confusion_matrix"] == got["confusion_matrix"]


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
    maps = label_maps.Folder(tmp_path, None, None)
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
        f"{where} void in the palette: give --ignore; "
    )
    rgb[0, 1] = 255, 0, 1
    (gt / "x.png").write_bytes(png(rgb, kind=2))
    text = fails(capsys, "miou", gt, pred, "--palette", file, "--ignore", 255)
    assert text.endswith(f"{gt / 'x.png'}: colour 255 0 1 at row 0, column 1 is not in the palette colours.txt")
    text = fails(capsys, "miou", gt, pred, "--classes", 2)
    assert f"{gt / 'x.png'}: expected labels, got a 8-bit RGB image: give --palette, its colours" in text
    (gt / "x.png").write_bytes(png(np.full((1, 4, 4), 9), kind=6))
    text = fails(capsys, "miou", gt, pred, "--palette", file, "--ignore", 255)
    assert text.endswith("x.png: expected opaque colours, got a transparent one at row 0, column 0")
    for content, message in {
        "1 2": "line 1: expected R G B [name], numbers from 0 to 255, got '1 2'",
        "1 2 3\n1 2 256 a": "line 2: expected R G B [name], numbers from 0 to 255, got '1 2 256 a'",
        "1 2 3 a\n1 2 3 b": "line 2: colour 1 2 3 is that of line 1 already",
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
    wrong(r"x.npz: expected an NPZ or NPY file, got a damaged one: .*", "x.npz")
    whole = (tmp_path / "b.npy").read_bytes()
    for size in (7, 50, len(whole) - 1):
        (tmp_path / "x.npy").write_bytes(whole[:size])
        wrong(r"x.npy: expected an NPZ or NPY file, got a damaged one: .*", "x.npy")
    huge = {"descr": "|u1", "fortran_order": False, "shape": (1, 1 << 20, 1 << 20)}
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, huge)
    wrong(r"x.npy: the array: expected maps of at most 268,435,456 pixels, got 1048576 x 1048576", "x.npy")


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
        f"{pred / 'im1.png'}: expected a PNG image, got another file; "
        f"{pred / 'im2.png'}: expected a PNG image, got an empty file; "
        f"{gt / 'im3.png'}: expected a PNG image, got one with a damaged or truncated header"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png([[0]], size=(100_000, 100_000)), "expected at most 268,435,456 pixels, got 100000 x 100000"),
        (png([[0]], size=(0, 5)), "expected a PNG image, got one of 0 x 5 pixels"),
        (png(np.zeros((12, 17, 3)), 16, 2), "expected a grey, palette or 8-bit RGB image, got a 16-bit RGB image"),
        (png(np.zeros((12, 17, 2)), 8, 4), "expected a grey, .* image, got a 8-bit grey with transparency image"),
        (png(np.zeros((3, 17)), size=(12, 17)), "damaged: its pixels are too few"),
        (png(np.zeros((13, 17)), size=(12, 17)), "damaged: its pixels are too many or not at an end"),
        (png(np.zeros((12, 17)), 8)[:-12], "truncated: .* bytes, and its end is not among them"),
        (png(np.zeros((12, 17)), 8)[:-30], "truncated: .* bytes, and its end is not among them"),
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
    maps = label_maps.Folder(tmp_path, None, None)
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
    assert got["ignored"] == [f"{pred}: {name}" for name in ("im0.json", "notes.txt", "sub.png")]
    assert got["confusion_matrix"] == want["confusion_matrix"]
    assert main(["miou", str(gt), str(pred), "--classes", "4"]) == 0
    told = capsys.readouterr().err
    assert told == f"fastdet: not read: {pred}: im0.json, {pred}: notes.txt, {pred}: sub.png\n"
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
        f"{empty}: expected a folder of PNG label maps, got an empty folder"
    )
    (empty / "x.jpg").write_text("")
    assert fails(capsys, "miou", empty, gt, "--classes", 4).endswith("got 1 other entry")
    what = "expected a folder of PNG label maps, an NPZ or an NPY file, got"
    no, single = tmp_path / "no", pred / "im0.png"
    assert fails(capsys, "miou", no, pred, "--classes", 4) == f"{no}: {what} no such file"
    assert fails(capsys, "miou", single, pred, "--classes", 4) == f"{single}: {what} a single PNG file"
    assert fails(capsys, "miou", pred / "notes.txt", pred, "--classes", 4).endswith(f"{what} an empty file")
    assert fails(capsys, "miou", gt / "im1.png", pred, "--classes", 4).endswith(f"{what} a device")


def test_without_pillow(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fails(capsys, "miou", *pair, "--classes", 4) == 'miou: PNG files need Pillow: pip install "fastdet[cli]"'


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
    here = str(Path(cli.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": here, "PYTHONIOENCODING": "ascii"}  # a terminal that lacks most of them
    command = [*COMMAND, "miou", str(gt), str(pred), "--classes", "4", "--per-image"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert r"Stra\xdfe \xe9.png" in done.stdout
    assert r"\u753b\u50cf.png" in done.stdout


def test_json(pair: tuple[Path, Path], score: Callable[..., dict[str, Any]]) -> None:
    truth, guess = scene()
    got = score(*pair, "--classes", 5, "--ci", "--per-image")
    assert got.pop("seconds") > 0
    assert got.pop("backend") in ("cpp", "numba", "reference")
    want = figures(truth, guess, 5)
    agree(got, want)
    assert got["target"] == str(pair[0])
    assert got["prediction"] == str(pair[1])
    assert (got["classes"], got["ignore"], got["void"], got["plots"], got["ignored"]) == (5, None, None, [], [])
    assert (got["pixels"], got["void_pixels"], got["void_predictions"]) == (4 * 12 * 17, 0, 0)
    for name in ("pixel_accuracy", "mean_class_accuracy", "mean_dice", "frequency_weighted_iou"):
        assert got[name] == want[name]
    absent = got["per_class"][4]
    assert absent == {
        "class": 4,
        "name": "4",
        "iou": None,
        "accuracy": None,
        "dice": None,
        "target_pixels": 0,
        "predicted_pixels": 0,
        "intersection": 0,
        "ci": {"iou": [None, None], "accuracy": [None, None], "dice": [None, None]},
    }
    assert got["ci"]["level"] == 0.95
    assert got["ci"]["mean_iou"][0] <= got["mean_iou"] <= got["ci"]["mean_iou"][1]
    assert [image["mean_iou"] for image in got["per_image"]["images"]] == want["per_image"]["mean_iou"].tolist()
    assert got["per_image"]["mean"] == want["per_image"]["mean"]
    bare = score(*pair, "--classes", 5)
    assert "ci" not in bare
    assert "per_image" not in bare
    with_ci = score(*pair, "--classes", 5, "--ci")
    assert with_ci["ci"] == got["ci"]
    assert "per_image" not in with_ci


def test_summary_for_people(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("[sky]\nStraße\nroad way\ntree\nmoon\n\n", encoding="utf-8")
    assert main(["miou", *map(str, pair), "--classes", str(names)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.fullmatch(r"5 classes, 4 images, 816 pixels\nmIoU +0\.\d{4}\n(.* 0\.\d{4}\n){4}", out), out
    flags = ["--classes", str(names), "--ignore", "3", "--per-class", "--per-image", "--ci"]
    assert main(["miou", *map(str, pair), *flags]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^void is 3: \d+ true, \d+ predicted; miss: true ones are left out", out, re.M)
    assert re.search(r"^mIoU +0\.\d{4}  \(95 %: 0\.\d{4} to 0\.\d{4}\)$", out, re.M)
    assert re.search(r"^class +IoU +95 % interval +accuracy +Dice +true pixels +predicted +right$", out, re.M)
    assert re.search(r"^\[sky\] +0\.\d{4} +0\.\d{4} to 0\.\d{4} ", out, re.M)
    assert re.search(r"^moon +absent +absent to absent +absent +absent +0 +0 +0$", out, re.M)
    assert "their mean is not the mIoU above" in out
    assert re.search(r"^lowest\n(  0\.\d{4}  im\d\.png\n){4}", out, re.M)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "miou: --classes is missing: how many classes there are, or a file of their names"),
        ("--classes 0", "miou: --classes must be in [1, 65535], got 0"),
        ("--classes -2", "miou: --classes must be 0 or more, got -2"),
        ("--classes 70000", "miou: --classes must be in [1, 65535], got 70000"),
        ("--classes no.txt", "miou: --classes must be a number or a file of names, got no.txt, no such file"),
        ("--classes 4 --void drop", "miou: --void does not go without --ignore, the label that is void"),
        ("--classes 4 --ignore 9 --void skip", "miou: --void must be one of 'miss', 'drop', 'count', got 'skip'"),
        ("--classes ++4", "miou: --classes must be a number or a file of names, got ++4, no such file"),
        ("--classes \u00b2", "miou: --classes must be a number or a file of names, got \u00b2, no such file"),
        (f"--classes {'9' * 5000}", f"miou: --classes must be in [1, 65535], got {'9' * 18}..."),
        (f"--classes 4 --ignore {10**23}", f"miou: --ignore must fit in int64 or uint64, got {10**23}"),
        ("--classes 4 --ignore x", "Invalid value for '--ignore': "),
        ("--classes 12 --palette camvid", "miou: --classes 12 does not go with --palette camvid: 12 classes and 11"),
        ("--classes 4 --plots no/no", "miou: plots must be a folder, or a new one in an existing folder, got no/no"),
        ("--classes 4 --no-such", "No such option: --no-such"),
    ],
)
def test_wrong_options(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], flags: str, message: str) -> None:
    assert fails(capsys, "miou", *pair, *flags.split()).startswith(message)


def test_names_that_are_no_line(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("sky\x1b[31m\na\tb\ntree\nmoon\n")
    assert main(["miou", *map(str, pair), "--classes", str(names), "--per-class"]) == 0
    lines = capsys.readouterr().out.split("\n")[-6:-1]
    assert [line.split(" ")[0] for line in lines] == ["class", "sky\\x1b[31m", "a\\tb", "tree", "moon"]
    assert len({len(line) for line in lines}) == 1


def test_wrong_names(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    for content, message in {
        b"a\n\nb": "line 2: expected the name of class 1, got an empty line",
        b"a\nb\na": "line 3: expected another name than line 1, got 'a'",
        b"\n": "expected a name of a class on each line, got an empty file",
        b"\xff\xff": "expected a name of a class on each line, got other data",
    }.items():
        names.write_bytes(content)
        assert fails(capsys, "miou", *pair, "--classes", names) == f"{names}: {message}"
    assert fails(capsys, "miou", pair[0]) == "Missing argument 'PREDICTION'."


def test_plots(
    pair: tuple[Path, Path],
    tmp_path: Path,
    score: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "new"
    got = score(*pair, "--classes", 5, "--plots", out, "--ci")
    assert got["plots"] == [str(out / "confusion.png"), str(out / "iou.png")]
    for path in got["plots"]:
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert main(["miou", *map(str, pair), "--classes", "5", "--plots", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"picture: {out / 'confusion.png'}\npicture: {out / 'iou.png'}\n")
    assert sorted(p.name for p in out.iterdir()) == ["confusion.png", "iou.png"]
    before = (out / "iou.png").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")))
    assert fails(capsys, "miou", *pair, "--classes", 5, "--plots", out) == "x: No space left on device"
    assert (out / "iou.png").read_bytes() == before
    assert len(list(out.iterdir())) == 2
    (tmp_path / "file").write_text("")
    assert "plots must be a folder" in fails(capsys, "miou", *pair, "--classes", 5, "--plots", tmp_path / "file")


def test_threads_do_not_matter(
    tmp_path: Path, score: Callable[..., dict[str, Any]], threads: Callable[[int], None]
) -> None:
    truth, guess = scene(30)
    gt, pred = folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess)
    results = []
    for n in (1, 2, 7):
        threads(n)
        results.append(score(gt, pred, "--classes", 4, "--per-image", "--ci"))
        results[-1].pop("seconds")
    assert results[0] == results[1] == results[2]
    agree(results[0], figures(truth, guess))


def test_memory_is_bounded(tmp_path: Path) -> None:
    """60 maps of a megapixel take no more than 8 do, but for some allowance."""
    labels = np.zeros((1024, 1024), np.uint8)
    labels[::3, 5:] = 2
    content = png(labels)
    for count in (8, 60):
        for name in ("gt", "pred"):
            path = tmp_path / f"{name}{count}"
            path.mkdir()
            for i in range(count):
                (path / f"{i:03}.png").write_bytes(content)
    few, many = (
        peak([*COMMAND, "miou", str(tmp_path / f"gt{n}"), str(tmp_path / f"pred{n}"), "--classes", "4"])
        for n in (8, 60)
    )
    assert many - few < 20 << 20


def test_ctrl_c(pair: tuple[Path, Path]) -> None:
    code = (
        "import sys, time\nfrom fastdet import cli, _label_maps\n"
        "def slow(self, i):\n    sys.stdout.write('now\\n'); sys.stdout.flush(); time.sleep(60)\n"
        "_label_maps.Folder.read = slow\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    began = time.monotonic()
    with heeding_ctrl_c([sys.executable, "-c", code, "miou", *map(str, pair), "--classes", "4"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "fastdet: interrupted, nothing written\n"
    assert time.monotonic() - began < 30


def test_help_comes_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    places = [re.search(rf"^\W*{word}  ", out, re.M).start() for word in ("nms", "miou", "demo", "bench", "info")]  # type: ignore[union-attr]
    assert places == sorted(places)
    assert main(["miou", "--help"]) == 0
    out = capsys.readouterr().out
    for word in (
        "--classes",
        "--ignore",
        "--void",
        "--palette",
        "--per-class",
        "--per-image",
        "--ci",
        "--plots",
        "--json",
    ):
        assert word in out
    assert miou.FIGURES["mean_iou"] == "mIoU"
