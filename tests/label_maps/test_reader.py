"""`fastdet.label_maps.read_label_map`, and images of Pillow as arguments of the library."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miou_files import png
from optional import need

from fastdet import losses
from fastdet.label_maps import FormatError, read_label_map
from fastdet.segmentation import SegmentationMetrics, confusion_matrix, confusion_matrix_from_logits, mean_iou

Image = pytest.importorskip("PIL.Image")

LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 0, 2]], np.uint8)


def images() -> dict[str, Any]:
    """Images of Pillow that hold `LABELS`."""
    palette = Image.fromarray(LABELS).convert("P")
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    alpha = Image.merge("LA", [Image.fromarray(LABELS), Image.new("L", (4, 3), 255)])
    made = {"grey": Image.fromarray(LABELS), "16-bit": Image.fromarray(LABELS.astype(np.uint16)), "palette": palette}
    made |= {"32-bit": Image.fromarray(LABELS.astype(np.int32)), "alpha": alpha}
    for bits in (2, 4, 8, 16):
        made[f"png of {bits} bits"] = Image.open(io.BytesIO(png(LABELS, bits)))
        made[f"loaded png of {bits} bits"] = loaded = Image.open(io.BytesIO(png(LABELS, bits)))
        loaded.load()
    return made


@pytest.mark.parametrize("name", images())
def test_images_of_pillow(name: str) -> None:
    image = images()[name]
    assert np.array_equal(read_label_map(image), LABELS)
    guess = np.where(LABELS == 3, 0, LABELS)
    want = confusion_matrix(LABELS, guess, 4)
    assert np.array_equal(confusion_matrix(image, guess, 4), want)
    assert np.array_equal(confusion_matrix(guess, image, 4), confusion_matrix(guess, LABELS, 4))
    assert mean_iou(confusion_matrix(image, Image.fromarray(guess), 4)) == mean_iou(want)
    metrics = SegmentationMetrics(4).update(Image.fromarray(guess), image)
    metrics.update([image, image], np.stack([LABELS, LABELS]))
    assert (len(metrics), metrics.compute()["pixels"]) == (3, 36)
    logits = np.random.default_rng(0).normal(size=(4, 3, 4))
    assert np.array_equal(confusion_matrix_from_logits(image, logits), confusion_matrix_from_logits(LABELS, logits))
    for loss in (losses.cross_entropy, losses.focal_loss, losses.dice_loss):
        assert loss(logits[None], [image]) == loss(logits[None], LABELS[None])


def test_file_of_4_bits_whose_file_is_closed(tmp_path: Path) -> None:
    """Its name is still known, and so is its depth; without a name it is refused where it could be of 4 bits."""
    (tmp_path / "a.png").write_bytes(png(LABELS, 4))
    with Image.open(tmp_path / "a.png") as image:
        image.load()
    assert np.array_equal(read_label_map(image), LABELS)
    for part in (image.copy(), image.crop((0, 0, 4, 3))):  # these forget their file
        with pytest.raises(ValueError, match=r"every grey value is a multiple of 17"):
            read_label_map(part)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"every grey value is a multiple of 17, and a PNG of 4 bits looks so"):
        read_label_map(image)
    with pytest.raises(ValueError, match=r"^confusion_matrix: target must be a label map: every grey value is a mult"):
        confusion_matrix(image, LABELS, 4)


def test_pillow_and_torch() -> None:
    torch = need("torch")
    image = Image.fromarray(LABELS)
    logits = torch.randn(1, 4, 3, 4, requires_grad=True)
    target = torch.from_numpy(LABELS)[None].long()
    loss = losses.cross_entropy(logits, [image])
    assert torch.equal(loss, losses.cross_entropy(logits, target))
    loss.backward()
    assert logits.grad is not None
    assert np.array_equal(confusion_matrix(image, target[0], 4), confusion_matrix(LABELS, LABELS, 4))


def test_images_that_are_no_label_maps() -> None:
    rgb = Image.new("RGB", (4, 3))
    hint = r"fastdet.label_maps.read_label_map\(image, palette=...\) reads colours"
    with pytest.raises(TypeError, match=rf"^confusion_matrix: target must hold class numbers, got .* mode RGB: {hint}"):
        confusion_matrix(rgb, LABELS, 4)
    with pytest.raises(TypeError, match=r"^SegmentationMetrics.update: targets must hold class numbers"):
        SegmentationMetrics(4).update(LABELS, rgb)
    with pytest.raises(
        ValueError, match=r"^confusion_matrix: prediction must be a label map: expected a grey, .* mode F"
    ):
        confusion_matrix(LABELS, Image.new("F", (4, 3)), 4)
    with pytest.raises(ValueError, match="target must be a label map: expected opaque pixels, got a transparent one"):
        confusion_matrix(Image.new("LA", (4, 3)), LABELS, 4)
    small = Image.new("L", (2, 3))
    with pytest.raises(ValueError, match=r"target must be images of one size, got \(3, 4\) and \(3, 2\) at 1"):
        confusion_matrix([Image.fromarray(LABELS), small], np.stack([LABELS, LABELS]), 4)


def test_pillow_is_not_imported() -> None:
    code = (
        "import sys, numpy as np\nfrom fastdet.segmentation import SegmentationMetrics, confusion_matrix\n"
        "from fastdet.label_maps import read_label_map\n"
        "x = np.zeros((2, 3), np.uint8)\nconfusion_matrix(x, x, 2)\nSegmentationMetrics(2).update(x, x)\n"
        "read_label_map(x, mapping='mask')\nprint([m for m in sys.modules if m.startswith('PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_files(tmp_path: Path, bits: int) -> None:
    labels = np.minimum(LABELS, 1 if bits == 1 else 3)
    (tmp_path / "a.png").write_bytes(png(labels, bits))
    assert np.array_equal(read_label_map(tmp_path / "a.png"), labels)
    assert np.array_equal(read_label_map(str(tmp_path / "a.png"), mapping={0: 1, 1: 0, 2: 2, 3: 3})[0, :2], [1, 0])


def test_colours_tables_and_void(tmp_path: Path) -> None:
    rgb = np.array([[[0, 0, 0], [128, 0, 0], [224, 224, 192]]], np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb).quantize(256).save(tmp_path / "palette.png")
    np.save(tmp_path / "rgb.npy", rgb)
    for source in (*(tmp_path / name for name in ("rgb.png", "palette.png", "rgb.npy")), rgb, Image.fromarray(rgb)):
        assert read_label_map(source, palette="voc", ignore_index=255).tolist() == [[0, 1, 255]]
    mask = np.array([[0, 255]], np.uint8)
    assert read_label_map(mask, mapping="mask").tolist() == [[0, 1]]
    assert read_label_map(mask, mapping={0: 0, 255: None}, ignore_index=9).tolist() == [[0, 9]]
    assert read_label_map(mask, mapping={0: 0, 255: -1}, ignore_index=-1).tolist() == [[0, -1]]
    assert read_label_map(np.array([[0, 7, 255, 3]]), ignore_index=[255, 7]).tolist() == [[0, 255, 255, 3]]
    assert read_label_map(np.array([[0, 150]]), mapping="ade20k", ignore_index=255).tolist() == [[255, 149]]


@pytest.mark.parametrize(
    ("source", "arguments", "error", "message"),
    [
        (LABELS + 0.5, {}, TypeError, r"source must be \(H, W\) integers, or \(H, W, 3\) uint8 colours, got float64"),
        (LABELS, {"mapping": "mask"}, FormatError, "number 2 at row 0, column 2 is not in the map mask"),
        (LABELS, {"mapping": "ade20k"}, FormatError, "number 0 at row 0, column 0 is void in the map: ignore_index is"),
        (
            LABELS,
            {"mapping": "ade"},
            FormatError,
            "mapping must be one of cityscapes, ade20k, mask, pairs .*, got ade, no su",
        ),
        (LABELS, {"mapping": 3}, TypeError, "mapping must be a name, a file or a dict, got 3"),
        (
            LABELS,
            {"palette": "vox"},
            FormatError,
            "palette must be one of cityscapes, voc, camvid or a file, got vox, no",
        ),
        (LABELS, {"grey": "both"}, ValueError, "grey must be one of 'labels', 'colours', got 'both'"),
        (LABELS, {"ignore_index": 0.5}, TypeError, "ignore_index must be an integer or several, got 0.5"),
        (
            np.zeros((1, 1, 3), np.uint8),
            {},
            FormatError,
            "expected labels, got an RGB image: palette names its colours",
        ),
        ("no.png", {}, FormatError, "no such file: no.png"),
        (__file__, {}, FormatError, "expected a file of .png, .tif, .tiff, .bmp, .npy, got test_reader.py"),
        (Image.new("F", (2, 2)), {}, FormatError, "expected a grey, palette or RGB image, got mode F"),
    ],
)
def test_errors(source: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^read_label_map: (.*: )?{message}"):
        read_label_map(source, **arguments)


def test_grey_values_that_may_be_colours(tmp_path: Path) -> None:
    (tmp_path / "ink.txt").write_text("255 255 255 paper\n0 0 0 ink\n")
    single = Image.fromarray(np.array([[True, False]]))
    with pytest.raises(
        FormatError, match=r"are labels, and colours of the palette too: grey='colours' reads them as col"
    ):
        read_label_map(single, palette=tmp_path / "ink.txt")
    assert read_label_map(single, palette=tmp_path / "ink.txt", grey="colours").tolist() == [[0, 1]]
    assert read_label_map(single, palette=tmp_path / "ink.txt", grey="labels").tolist() == [[1, 0]]
