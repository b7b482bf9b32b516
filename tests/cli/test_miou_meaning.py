"""The command `fastdet miou`: what the numbers and colours of label maps mean, and where it stops with a choice."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails
from miou_files import agree, figures, folder, png
from PIL import Image, PngImagePlugin

from fastdet._files import palettes
from fastdet.cli.app import main

VOC = palettes.load("voc")
COLOURS = np.stack([VOC.colours >> 16, VOC.colours >> 8 & 255, VOC.colours & 255], 1).astype(np.uint8)  # void last


def save(path: Path, image: Any, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path.parent


@pytest.fixture
def labels() -> np.ndarray[Any, Any]:
    """Numbers of VOC's classes, and void as 255."""
    x = np.random.default_rng(3).integers(0, 22, (24, 31)).astype(np.uint8)
    return np.where(x == 21, 255, x).astype(np.uint8)


def coloured(labels: Any) -> Image.Image:
    return Image.fromarray(COLOURS[np.minimum(labels, 21)])


@pytest.mark.parametrize("method", [0, 1, 2])
def test_colours_of_a_palette_image_are_compared(
    tmp_path: Path, score: Callable[..., dict[str, Any]], labels: Any, method: int
) -> None:
    """The same picture, with the numbers that a quantiser chose: every pixel is right."""
    gt = save(tmp_path / "gt" / "a.png", coloured(labels))
    pred = save(tmp_path / "pred" / "a.png", coloured(labels).quantize(256, method=method))
    got = score(gt, pred, "--palette", "voc", "--ignore", 255)
    assert (got["mean_iou"], got["void_predictions"]) == (1, 0)
    wrong = labels.copy()
    wrong[:5] = 3
    pred = save(tmp_path / "wrong" / "a.png", coloured(wrong).convert("P", palette=Image.Palette.ADAPTIVE))
    agree(
        score(gt, pred, "--palette", "voc", "--ignore", 255), figures({"a": labels}, {"a": wrong}, 21, ignore_index=255)
    )
    usual = Image.fromarray(labels, "L").convert("P")  # the numbers of VOC's own files, with its palette
    usual.putpalette(np.concatenate([COLOURS[:21], np.repeat(COLOURS[21:], 235, 0)]).tobytes())
    usual = save(tmp_path / "usual" / "a.png", usual)
    assert score(gt, usual, "--palette", "voc", "--ignore", 255)["mean_iou"] == 1


def test_palettes_that_say_nothing(tmp_path: Path, labels: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A palette that leaves numbers without a colour of their own is no key to classes."""
    gt = save(tmp_path / "gt" / "a.png", coloured(labels))
    flags = "--palette", "voc", "--ignore", 255
    end = ": if its numbers are the labels, --indexed labels"
    numbers = Image.fromarray(labels).convert("P")
    numbers.putpalette(COLOURS[:21].tobytes() + bytes(3 * 235))  # void has the colour of the background
    text = fails(capsys, "miou", gt, save(tmp_path / "short" / "a.png", numbers), *flags)
    assert "a.png: number 255 at row " in text
    assert text.endswith(f"has no colour in the file's palette{end}")
    numbers.putpalette(bytes(768))
    text = fails(capsys, "miou", gt, save(tmp_path / "black" / "a.png", numbers), *flags)
    assert text.endswith(f"has no colour in the file's palette{end}")
    same = COLOURS[[0, 1, 2, 1, *range(4, 22)]]
    numbers = Image.fromarray(np.minimum(labels, 21)).convert("P")
    numbers.putpalette(same.tobytes())
    text = fails(capsys, "miou", gt, save(tmp_path / "same" / "a.png", numbers), *flags)
    assert text.endswith(f"has the colour 128 0 0, as number 1 has{end}")
    grey = Image.fromarray(labels).convert("P")
    text = fails(capsys, "miou", gt, save(tmp_path / "grey" / "a.png", grey), *flags)
    assert "is not in the palette voc" in text
    assert main(["miou", str(gt), str(tmp_path / "grey"), *map(str, flags), "--indexed", "labels"]) == 0
    assert "mIoU                    1.0000" in capsys.readouterr().out
    text = fails(capsys, "miou", gt, gt, *flags, "--indexed", "index")
    assert text == "miou: --indexed must be one of labels, colours, got index"


def test_palette_with_transparency(tmp_path: Path, labels: Any, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = Image.fromarray(np.minimum(labels, 21)).convert("P")
    numbers.putpalette(COLOURS.tobytes())
    gt = save(tmp_path / "gt" / "a.png", numbers)
    pred = save(tmp_path / "pred" / "a.png", numbers, transparency=5)
    assert main(["miou", str(gt), str(pred), "--classes", "22"]) == 0  # numbers need no colours
    assert "mIoU                    1.0000" in capsys.readouterr().out
    text = fails(capsys, "miou", gt, pred, "--palette", "voc", "--ignore", 255)
    assert "expected opaque colours, got a transparent one: number 5 at row " in text
    rgb = save(tmp_path / "rgb" / "a.png", coloured(labels), transparency=(128, 0, 0))
    text = fails(capsys, "miou", gt, rgb, "--palette", "voc", "--ignore", 255)
    assert "expected opaque colours, got a transparent one at row " in text


def test_numbers_whose_colours_change(tmp_path: Path, labels: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --palette numbers are compared: it stops where files of one side disagree, and notes where sides do."""
    few = np.minimum(labels, 3)
    for name, values in (("a", few), ("b", np.minimum(few, 2))):
        save(tmp_path / "gt" / f"{name}.png", coloured(values).quantize(256))
    gt = tmp_path / "gt"
    text = fails(capsys, "miou", gt, gt, "--classes", 4)
    assert text == (
        f"miou: {gt}: number 0 has another colour in b.png than before: --palette compares colours; "
        "if the numbers are labels, say so with --map, as in 0:0,1:1"
    )
    assert main(["miou", str(gt), str(gt), "--map", "0:0,1:1,2:2,3:3"]) == 0
    one, other = (Image.fromarray(few).convert("P") for _ in range(2))
    one.putpalette(COLOURS.tobytes())
    a, b = save(tmp_path / "one" / "a.png", one), save(tmp_path / "other" / "a.png", other)
    capsys.readouterr()
    assert main(["miou", str(a), str(b), "--classes", "4", "--json"]) == 0
    out, err = capsys.readouterr()
    note = "number 1 is the colour 128 0 0 in GT and 1 1 1 in PREDICTION: their numbers were compared; "
    assert err == f"fastdet: {note}--palette compares colours\n"
    assert json.loads(out)["notes"] == [f"{note}--palette compares colours"]


def test_grey_values_that_are_colours(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """An optimiser writes pictures of grey colours as grey images."""
    file = tmp_path / "colours.txt"
    file.write_text("255 255 255 paper\n0 0 0 ink\n")
    ink = np.array([[0, 0, 255], [255, 0, 255]], np.uint8)
    gt = save(tmp_path / "gt" / "a.png", np.repeat(ink[..., None], 3, 2))
    pred = save(tmp_path / "pred" / "a.png", ink)
    text = fails(capsys, "miou", gt, pred, "--palette", file)
    assert text.endswith(
        "a.png: grey values [0, 255] are colours of the palette colours.txt, and no labels: "
        "--grey colours reads them as colours, --grey labels as labels"
    )
    got = score(gt, pred, "--palette", file, "--grey", "colours")
    assert got["confusion_matrix"] == [[3, 0], [0, 3]]
    single = save(tmp_path / "single" / "a.png", Image.fromarray(ink > 0))  # one bit: 0 and 1 in the file
    assert score(gt, single, "--palette", file, "--grey", "colours")["confusion_matrix"] == [[3, 0], [0, 3]]
    assert score(gt, single, "--palette", file, "--grey", "labels")["confusion_matrix"] == [[0, 3], [3, 0]]
    text = fails(capsys, "miou", gt, single, "--palette", file)
    assert text.startswith(
        f"miou: {single}: the grey values of a.png are labels, and colours of the palette too: --grey"
    )
    assert fails(capsys, "miou", gt, pred, "--palette", file, "--grey", "gray") == (
        "miou: --grey must be one of labels, colours, got gray"
    )
    assert fails(capsys, "miou", gt, pred, "--classes", 2, "--grey", "labels").startswith(
        "miou: --grey needs --palette"
    )


def test_one_grey_map_decides(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    """0 is CamVid's sky, and 0 0 0 its colour of void: a folder with other labels holds labels."""
    sky, road = np.zeros((2, 3), np.uint8), np.full((2, 3), 3, np.uint8)
    for name in ("gt", "pred"):
        save(tmp_path / name / "a.png", sky)
        save(tmp_path / name / "b.png", road)
    got = score(tmp_path / "gt", tmp_path / "pred", "--palette", "camvid", "--ignore", 255)
    assert got["per_class"][0]["intersection"] == 6
    assert got["void_pixels"] == 0


@pytest.mark.parametrize("classes", [2, 21])
def test_masks_of_0_and_255(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], classes: int
) -> None:
    """255 as void would leave class 0 alone, and a score of 1."""
    truth = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    guess = np.array([[0, 255, 0], [0, 0, 255]], np.uint8)
    gt, pred = save(tmp_path / "gt" / "a.png", truth), save(tmp_path / "pred" / "a.png", guess)
    if classes == 2:
        text = fails(capsys, "miou", gt, pred, "--classes", 2, "--ignore", 255)
        assert text == (
            f"miou: {gt} holds only 0 and 255, and 255 is void: --gt-map mask reads 255 as class 1, "
            "--gt-map 0:0,255:void keeps it void"
        )
        text = fails(capsys, "miou", gt, pred, "--classes", 2)
        assert text.endswith("; if 255 is void: --ignore 255; if 255 is class 1 of a mask: --map mask")
        got = score(gt, pred, "--map", "mask")
        assert got["confusion_matrix"] == [[3, 0], [1, 2]]
        assert got["maps"] == ["mask", "mask"]
        numbers = save(tmp_path / "numbers" / "a.png", (guess > 0).astype(np.uint8))
        assert score(gt, numbers, "--gt-map", "mask")["confusion_matrix"] == [[3, 0], [1, 2]]
        text = fails(capsys, "miou", numbers, pred, "--classes", 2, "--ignore", 255)
        assert f"{pred} holds only 0 and 255" in text
        flags = "--ignore", 255, "--classes", 2, "--gt-map", "0:0,255:void", "--pred-map", "mask"
        assert score(gt, pred, *flags)["confusion_matrix"] == [[3, 0, 0], [0, 0, 0]]
    else:
        assert main(["miou", str(gt), str(gt), "--classes", "21", "--ignore", "255"]) == 0
        assert "holds only 0 and 255, and 255 is void: --gt-map mask reads" in capsys.readouterr().err


def test_truth_of_void_alone_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = save(tmp_path / "gt" / "a.png", np.full((2, 3), 255, np.uint8))
    pred = save(tmp_path / "pred" / "a.png", np.zeros((2, 3), np.uint8))
    text = fails(capsys, "miou", gt, pred, "--classes", 4, "--ignore", 255)
    assert text == f"miou: {gt}: every pixel is void (255): nothing to score"


def test_predictions_of_void_alone(tmp_path: Path, score: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gt = save(tmp_path / "gt" / "a.png", np.array([[0, 1, 255]], np.uint8))
    pred = save(tmp_path / "pred" / "a.png", np.full((1, 3), 255, np.uint8))
    flags = "--classes", 3, "--ignore", 255
    assert score(gt, gt, *flags)["mean_iou"] == 1
    text = fails(capsys, "miou", gt, pred, *flags, "--void", "drop")
    assert text == f"miou: {pred}: every pixel is void (255) here or in GT: nothing to score"
    assert main(["miou", str(gt), str(pred), *map(str, flags)]) == 0  # misses
    assert "mIoU                    0.0000" in capsys.readouterr().out


def test_colours_are_no_mask(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    """Class 0 and void by their colours are what they are."""
    (tmp_path / "colours.txt").write_text("1 1 1 a\n2 2 2 b\n9 9 9 void\n")
    gt = save(tmp_path / "gt" / "a.png", np.array([[[1, 1, 1], [9, 9, 9]]], np.uint8))
    assert score(gt, gt, "--palette", tmp_path / "colours.txt", "--ignore", 255)["void_pixels"] == 1


def test_several_void_labels(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    truth = np.array([[0, 255, 1, 2], [200, 1, 2, 2]], np.uint8)
    guess = np.array([[1, 0, 1, 2], [0, 1, 200, 255]], np.uint8)
    gt, pred = save(tmp_path / "gt" / "a.png", truth), save(tmp_path / "pred" / "a.png", guess)
    got = score(gt, pred, "--classes", 3, "--ignore", 255, "--ignore", 0, "--ignore", 200, "--ignore", 255)
    one_void = [np.where(np.isin(x, (0, 200)), 255, x) for x in (truth, guess)]
    agree(got, figures({"a": one_void[0]}, {"a": one_void[1]}, 3, ignore_index=255))
    assert (got["ignore"], got["ignore_labels"], got["void_pixels"]) == (255, [255, 0, 200], 3)
    got = score(gt, pred, "--classes", 3, "--ignore", -1, "--ignore", 255, "--ignore", 200)
    assert got["confusion_matrix"] == [[0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 2]]


def test_maps_of_cityscapes(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The dataset's own labels.py: 7 road is 0, 8 sidewalk 1, 26 car 13, 33 bicycle 18; the rest is void."""
    truth = np.array([[7, 8, 26, 33], [0, 9, 29, 7]], np.uint8)
    trained = np.array([[0, 1, 13, 18], [255, 255, 255, 0]], np.uint8)
    guess = np.array([[0, 1, 13, 13], [0, 0, 1, 0]], np.uint8)
    stored = np.array([[7, 8, 26, 26], [7, 7, 8, 7]], np.uint8)
    gt = save(tmp_path / "gt" / "a.png", truth)
    want = figures({"a": trained}, {"a": guess}, 19, ignore_index=255)
    pred = save(tmp_path / "pred" / "a.png", guess)
    got = score(gt, pred, "--gt-map", "cityscapes", "--ignore", 255)
    agree(got, want)
    assert got["per_class"][13]["name"] == "car"
    assert got["maps"] == ["cityscapes", None]
    agree(score(gt, save(tmp_path / "stored" / "a.png", stored), "--map", "cityscapes", "--ignore", 255), want)
    text = fails(capsys, "miou", gt, pred, "--map", "cityscapes", "--ignore", 255)
    assert text == (
        f"miou: {pred}: the predictions hold 0, which is void in the map cityscapes: if they hold classes already, "
        "--gt-map cityscapes; if not, --gt-map cityscapes --pred-map cityscapes"
    )
    colours = palettes.load("cityscapes").colours[np.minimum(guess, 18)]
    rgb = save(
        tmp_path / "rgb" / "a.png", np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 2).astype(np.uint8)
    )
    agree(score(gt, rgb, "--gt-map", "cityscapes", "--palette", "cityscapes", "--ignore", 255), want)
    for flags, message in {
        (
            "--map",
            "cityscapes",
        ): "number 0 at row 1, column 0 is void in the map: use --ignore to give the label of void",
        ("--map", "cityscapes", "--ignore", 0): "miou: --ignore 0 is a class of the map cityscapes, whose void would",
        ("--map", "cityscapes", "--classes", 20): "miou: the map cityscapes has 19 classes, got 20 classes to score",
        ("--map", "mask"): "number 7 at row 0, column 0 is not in the map mask",
        ("--map", "city"): "miou: map must be one of cityscapes, ade20k, mask, pairs such as 0:0,255:1, or a file, got "
        "city, no such file",
        ("--map", "mask", "--gt-map", "mask"): "miou: --map does not go with --gt-map or --pred-map",
    }.items():
        assert message in fails(capsys, "miou", gt, gt, *flags)


def test_map_of_ade20k(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    truth, guess = np.array([[0, 1, 150, 2]], np.uint8), np.array([[5, 0, 149, 1]], np.uint8)
    gt, pred = save(tmp_path / "gt" / "a.png", truth), save(tmp_path / "pred" / "a.png", guess)
    got = score(gt, pred, "--gt-map", "ade20k", "--ignore", 255)
    assert (got["classes"], got["void_pixels"], got["mean_iou"]) == (150, 1, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.txt", "# ids\n0 void\n10: 0\n20,1 # two\n\n-7 1\n"),
        ("m.json", '{"0": "void", "10": 0, "20": 1, "-7": 1}'),
        ("n.json", '{"0": null, "10": 0, "other": 1}'),
        ("p.txt", "0 255\n10 0\n20 1\n-7 1\n"),
        ("o.json", "[[0, null], [10, 0], [20, 1], [-7, 1]]"),
    ],
)
def test_map_files(tmp_path: Path, score: Callable[..., dict[str, Any]], name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    np.save(tmp_path / "gt.npy", np.array([[[0, 10, 20, -7]]], np.int16))
    np.save(tmp_path / "pred.npy", np.array([[[0, 0, 1, 0]]], np.int64))
    got = score(tmp_path / "gt.npy", tmp_path / "pred.npy", "--gt-map", tmp_path / name, "--ignore", 255)
    assert got["confusion_matrix"] == [[1, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n3\n", "line 2: expected 'STORED CLASS', got '3'"),
        ("0 road\n", "expected lines 'STORED CLASS', or one JSON object; .*, got 'road'"),
        ("0 1\n0 2\n", "expected one class for each number, got two for 0"),
        ('{"0": 1, "0": 2}', "expected one class for each number, got two for 0"),
        ("0 70000\n", "expected classes from 0 to 65534, void or a label of --ignore, got 70000"),
        ("0 -1\n", "expected classes from 0 to 65534, void or a label of --ignore, got -1"),
        ("0 1 2\n", "line 1: expected 'STORED CLASS', got '0 1 2'"),
        ("0 0\n1 1\n2 255\n", "class 2 has no number: use --classes, or --ignore if 255 is void"),
        ("0 void\n", "expected a number that becomes a class, got only void"),
        ("0 0\n1 2\n", "class 1 has no number: use --classes, or --ignore if 2 is void"),
        ("", "expected lines 'STORED CLASS', .*, got none"),
        ("{", "expected lines .*, got damaged JSON: .*"),
        ('{"a": 1}', "expected lines .*, got 'a'"),
        ('{"1": 1.5}', "expected lines .*, got '1.5'"),
        ('{"1": true}', "expected lines .*, got 'True'"),
    ],
)
def test_wrong_map_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    file = tmp_path / "map.txt"
    file.write_text(text)
    np.save(tmp_path / "gt.npy", np.zeros((1, 1, 1), np.uint8))
    said = fails(capsys, "miou", tmp_path / "gt.npy", tmp_path / "gt.npy", "--map", file)
    assert re.fullmatch(re.escape(str(file)) + ": " + message, said), said


def test_tiff_bmp_npy(tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers that are stored, whatever Pillow makes of them."""
    rng = np.random.default_rng(5)
    few = rng.integers(0, 16, (7, 9)).astype(np.uint8)
    wide = few.astype(np.uint16) * 100
    gt = folder(tmp_path / "gt", {"a": few})
    made = {
        "a.tif": lambda p: Image.fromarray(few).save(p),
        "a.tiff": lambda p: Image.fromarray(few).save(p, compression="tiff_deflate"),
        "a.bmp": lambda p: Image.fromarray(few).save(p),
        "a.npy": lambda p: np.save(p, few.astype(">i8")),
        "a.TIF": lambda p: Image.fromarray(few.astype(np.int32)).save(p, format="TIFF"),
        "a.png": lambda p: Image.merge("LA", [Image.fromarray(few), Image.new("L", (9, 7), 255)]).save(p),
    }
    for i, (name, write) in enumerate(made.items()):
        pred = tmp_path / f"pred{i}"
        pred.mkdir()
        write(pred / name)
        assert score(gt, pred, "--classes", 16)["mean_iou"] == 1, name
    (tmp_path / "w").mkdir()
    Image.fromarray(wide).save(tmp_path / "w" / "a.tif")
    assert score(folder(tmp_path / "v", {"a": wide}, depth=16), tmp_path / "w", "--classes", 1501)["mean_iou"] == 1
    mask = save(tmp_path / "mask" / "a.bmp", Image.fromarray(few > 7))
    assert score(folder(tmp_path / "bits", {"a": few > 7}, depth=1), mask, "--classes", 2)["mean_iou"] == 1

    def wrong(name: str, content: bytes) -> str:
        path = tmp_path / f"wrong{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        (path / name).write_bytes(content)
        return fails(capsys, "miou", gt, path, "--classes", 16).partition(f"{path / name}: ")[2]

    def as_tiff(*images: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        images[0].save(file, "TIFF", **options, append_images=images[1:], save_all=len(images) > 1)
        return file.getvalue()

    image = Image.fromarray(few)
    assert wrong("a.tif", as_tiff(image, image)) == (
        "expected one map, got a TIFF of 2 pages: save them as an NPY (N, H, W)"
    )
    assert wrong("a.tif", as_tiff(image, compression="jpeg")).startswith("expected a TIFF that keeps its numbers, got")
    assert wrong("a.tif", as_tiff(Image.fromarray(few.astype(np.float32)))) == (
        "expected a grey, palette or RGB image, got mode F"
    )
    assert wrong("a.tif", as_tiff(Image.fromarray(few, "L"), tiffinfo={262: 0})).startswith("expected a TIFF whose 0")
    assert wrong("a.tif", b"") == "expected a TIFF image, got an empty file"
    assert wrong("a.bmp", as_tiff(image)) == "expected a BMP image, got a file of TIFF"
    assert wrong("a.tif", as_tiff(image)[:-60]).startswith(("expected a TIFF that Pillow can read", "damaged: "))
    file = io.BytesIO()
    np.save(file, few + 0.5)
    assert wrong("a.npy", file.getvalue()).startswith("expected integer labels (H, W), or colours (H, W, 3) of uint8")
    assert wrong("a.npy", file.getvalue()[:50]).startswith("expected an NPY file, got a damaged one")


def four_bit_tiff(numbers: Any, bits: int, white_is_zero: bool = False) -> bytes:
    """A TIFF of 2 or 4 bits a number."""
    x = np.asarray(numbers, np.uint8)
    rows = np.packbits(np.unpackbits(x[..., None], axis=2)[..., -bits:].reshape(len(x), -1), axis=1).tobytes()
    tags = [(256, x.shape[1]), (257, len(x)), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8)]
    tags += [(277, 1), (278, len(x)), (279, len(rows))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    at = 8 + len(rows)
    return struct.pack("<2sHI", b"II", 42, at) + rows + struct.pack("<H", len(tags)) + table + bytes(4)


@pytest.mark.parametrize("bits", [2, 4])
def test_tiff_of_few_bits(tmp_path: Path, score: Callable[..., dict[str, Any]], bits: int) -> None:
    few = np.random.default_rng(6).integers(0, 1 << bits, (5, 8)).astype(np.uint8)
    gt = folder(tmp_path / "gt", {"a": few})
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred" / "a.tif").write_bytes(four_bit_tiff(few, bits))
    assert score(gt, tmp_path / "pred", "--classes", 16)["mean_iou"] == 1


def test_png_with_more_text_than_pillow_reads(tmp_path: Path, score: Callable[..., dict[str, Any]]) -> None:
    """Text and colour profiles are no part of a label map: any amount of them is passed over."""
    few = np.random.default_rng(7).integers(0, 4, (5, 8)).astype(np.uint8)
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    gt, pred = folder(tmp_path / "gt", {"a": few}), save(tmp_path / "pred" / "a.png", few, pnginfo=text)
    assert score(gt, pred, "--classes", 4)["mean_iou"] == 1
    plain = png(few)
    chunk = b"tEXta\0" + b"y" * (1 << 20)
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (pred / "a.png").write_bytes(plain[:33] + packed * 65 + plain[33:])
    assert score(gt, pred, "--classes", 4)["mean_iou"] == 1


def test_mask_maps(tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """0 and 1 is a mask as much as 0 and 255, but no side holds both."""
    one = save(tmp_path / "one" / "a.png", Image.fromarray(np.array([[True, False]])))
    white = save(tmp_path / "white" / "a.png", np.array([[255, 0]], np.uint8))
    assert score(one, white, "--map", "mask")["confusion_matrix"] == [[1, 0], [0, 1]]
    for both in (np.array([[1, 255]], np.uint8), np.array([[0, 1]], np.uint8)):
        save(tmp_path / "both" / "a.png", both)
        save(tmp_path / "both" / "b.png", np.array([[0, 255]], np.uint8))
        text = fails(capsys, "miou", tmp_path / "both", tmp_path / "both", "--map", "mask")
        assert "expected a mask of 0 and 1, or of 0 and 255, got both 1 and 255: 0:0,1:1,255:void has void" in text
    save(tmp_path / "void" / "a.png", np.array([[0, 1, 9]], np.uint8))
    kept = "--map", "0:0,1:1,9:void", "--ignore", 255  # numbers that stay: no other meaning of them
    assert score(tmp_path / "void", tmp_path / "void", *kept)["void_predictions"] == 0


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_turned_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """Pillow turns TIFF files as their tag says and PNG files not: neither is what the other side holds."""
    labels = np.array([[0, 1, 2, 1], [2, 2, 0, 0]], np.uint8)
    gt = save(tmp_path / "gt" / "a.png", labels)
    exif = Image.Exif()
    exif[0x0112] = 3
    options = {"tiffinfo": {0x0112: 3}} if kind == "TIFF" else {"exif": exif}
    pred = save(tmp_path / "pred" / f"a.{kind.lower()}", labels, **options)
    text = fails(capsys, "miou", gt, pred, "--classes", 3)
    assert "expected pixels that are stored as they are shown, got Exif orientation 3: turn them with PIL." in text


def test_files_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((4, 4), np.uint8)
    gt = save(tmp_path / "gt" / "a.png", labels)
    for kind in ("JPEG", "BMP", "TIFF", "GIF", "WebP"):
        pred = save(tmp_path / kind / "a.png", labels, format=kind)
        assert fails(capsys, "miou", gt, pred, "--classes", 2).endswith(f"expected a PNG image, got a file of {kind}")


def test_void_that_is_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: Any) -> None:
    gt = save(tmp_path / "gt" / "a.png", coloured(labels))
    assert main(["miou", str(gt), str(gt), "--palette", "voc", "--ignore", "0"]) == 0
    note = "fastdet: --ignore 0 leaves out class background as well as void; another number only void\n"
    assert capsys.readouterr().err == note
