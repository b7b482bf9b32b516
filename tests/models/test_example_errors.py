"""The scripts of docs/examples on data of other kinds: any number of classes, other files, and what cannot be used."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miou_files import png
from optional import need

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised while torch is imported

Labels = np.ndarray[Any, Any]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a script of docs/examples."""
    for package in ("torch", "matplotlib", "PIL", "rich"):
        need(package)
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(name: str, *arguments: Any) -> Any:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        module.main()
        result = Path(str(arguments[1])) / "result.json"
        return json.loads(result.read_text(), parse_constant=pytest.fail) if result.exists() else None

    yield run
    sys.modules.pop("train_segmentation", None)


def image(x: Any) -> Any:
    return need("PIL.Image").fromarray(np.asarray(x, np.uint8))


@pytest.fixture
def halves(tmp_path: Path) -> Callable[..., Path]:
    """A data set of class 0 above and class 1 below: `write` gets a path without suffix and the labels."""

    def make(write: Callable[[Path, Labels], Any], names: str = "above\nbelow", **more: Any) -> Path:
        root = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        rng = np.random.default_rng(0)
        labels = np.zeros((32, 32), np.uint8)
        labels[16:] = 1
        for part in ("train", "val"):
            for kind in ("images", "labels"):
                (root / part / kind).mkdir(parents=True)
            for i in range(2):
                photo = np.where(labels[..., None] == 1, 60, 190) + rng.integers(-20, 20, (32, 32, 3))
                if more.get("constant"):
                    photo[..., 1] = 7
                image(photo).save(root / part / "images" / f"{i}.png")
                write(root / part / "labels" / str(i), labels)
        if names:
            (root / "classes.txt").write_text(names)
        return root

    return make


def as_png(depth: int, **options: Any) -> Callable[[Path, Labels], Any]:
    return lambda path, labels: path.with_suffix(".png").write_bytes(png(labels, depth, **options))


def as_mask(path: Path, labels: Labels) -> None:
    image(labels * 255).save(path.with_suffix(".png"))


def as_colours(path: Path, labels: Labels) -> None:
    image(np.array([[0, 0, 0], [128, 0, 0]])[labels]).quantize(256).save(path.with_suffix(".png"))


def but(options: tuple[Any, ...], *changed: Any) -> tuple[Any, ...]:
    """Options as pairs of name and value, with those of ``changed`` in place of their own."""
    pairs = [options[i : i + 2] for i in range(0, len(options), 2)]
    return tuple(x for pair in pairs if pair[0] not in changed[::2] for x in pair) + changed


QUICK = ("--model", "segnet_basic", "--width", 0.125, "--batch", 2, "--epochs", 2, "--threads", 1)


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (as_png(4), ()),
        (as_png(16), ()),
        (as_png(8, kind=3, palette=bytes(768)), ()),
        (lambda path, labels: np.save(path.with_suffix(".npy"), labels), ()),
        (lambda path, labels: image(labels).save(path.with_suffix(".tif")), ()),
        (as_mask, ("--map", "mask")),
        (as_colours, ("--palette", "colours.txt")),
        (as_png(4), ("--map", "0:1,1:0")),
    ],
)
def test_labels_of_every_kind(
    halves: Callable[..., Path], script: Any, tmp_path: Path, write: Any, options: tuple[Any, ...]
) -> None:
    """Training sees classes 0 and 1, half of the pixels each, whatever file they come from."""
    data = halves(write)
    (tmp_path / "colours.txt").write_text("0 0 0 above\n128 0 0 below\n")
    options = tuple(tmp_path / x if x == "colours.txt" else x for x in options)
    module = script("train_segmentation", data, tmp_path / "run", *but(QUICK, *options))
    assert module["classes_without_training_pixels"] == []
    assert module["validation"]["largest class everywhere"]["pixel_accuracy"] == 0.5
    assert list(module["validation"]["iou"]) == ["above", "below"]


@pytest.mark.parametrize(
    ("write", "names", "message"),
    [
        (
            as_mask,
            "a\nb",
            "only class a has training pixels: nothing to learn: if 255 is class 1 of a mask, --map mask",
        ),
        (lambda p, x: as_png(8)(p, x * 0 + 255), "a\nb", "every training pixel is void"),
        (lambda p, x: as_png(8)(p, x * 5), "a\nb", "train: labels [5] of 2 classes"),
        (lambda p, x: as_png(16)(p, x.astype(int) * 300), "a\nb", "train: labels [300] of 2 classes"),
        (as_colours, "a\nb\nc", None),
        (lambda p, x: image(x).save(p.with_suffix(".jpg")), "a\nb", "expected a file of .png, .tif, .tiff, .bmp, .npy"),
        (lambda p, x: image(np.stack([x] * 3, 2)).save(p.with_suffix(".png")), "a\nb", "expected labels, got an RGB"),
        (lambda p, x: as_png(8)(p, x[:20]), "a\nb", "must be as large as the images, (32, 32), got (20, 32)"),
        (as_png(8), "a\nb\na", "must hold 1 to 255 distinct names, one a line, got 3"),
    ],
)
def test_labels_that_cannot_be_used(
    halves: Callable[..., Path], script: Any, tmp_path: Path, write: Any, names: str, message: str | None
) -> None:
    data = halves(write, names)
    if message is None:
        with pytest.raises(SystemExit, match="is not in the palette cityscapes"):
            script("train_segmentation", data, tmp_path / "run", *QUICK, "--palette", "cityscapes", "--map", "0:0")
        return
    with pytest.raises(SystemExit) as stopped:
        script("train_segmentation", data, tmp_path / "run", *QUICK)
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_classes_without_a_training_pixel(
    halves: Callable[..., Path], script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are told before training, and their figures are null in JSON, not NaN."""
    result = script("train_segmentation", halves(as_png(8), "above\nbelow\nbird\nfish"), tmp_path / "run", *QUICK)
    assert "without a training pixel, so never learned: bird, fish\n" in capsys.readouterr().out
    assert result["classes_without_training_pixels"] == ["bird", "fish"]
    assert {result["validation"]["iou"][name] is None for name in ("above", "below")} == {False}
    script("train_segmentation", halves(lambda p, x: as_png(8)(p, x + 1), ""), tmp_path / "other", *QUICK)
    out = capsys.readouterr().out
    assert "classes.txt is missing: the classes are CamVid's 11, Sky, " in out


def test_a_constant_channel(halves: Callable[..., Path], script: Any, tmp_path: Path) -> None:
    result = script("train_segmentation", halves(as_png(8), constant=True), tmp_path / "run", *QUICK)
    assert all(np.isfinite(result["loss"]))


def test_validation_of_void_alone(halves: Callable[..., Path], script: Any, tmp_path: Path) -> None:
    data = halves(as_png(8))
    for path in (data / "val" / "labels").iterdir():
        path.write_bytes(png(np.full((32, 32), 255)))
    with pytest.raises(SystemExit, match="every validation pixel is void"):
        script("train_segmentation", data, tmp_path / "run", *QUICK)


def test_images_of_a_palette(halves: Callable[..., Path], script: Any, tmp_path: Path) -> None:
    """A palette image is its colours: the network gives the same labels as for the RGB image."""
    data = halves(as_png(8))
    script("train_segmentation", data, tmp_path / "run", *QUICK)
    photo = need("PIL.Image").open(data / "val" / "images" / "0.png").quantize(8)
    (tmp_path / "rgb").mkdir()
    photo.convert("RGB").save(tmp_path / "rgb" / "a.png")
    photo.save(tmp_path / "palette.png")
    for name in ("rgb", "palette.png"):
        script("segment_images", tmp_path / "run", tmp_path / name, tmp_path / f"labels_{name}")
    one, other = (
        (tmp_path / name / file).read_bytes()
        for name, file in (("labels_rgb", "a.png"), ("labels_palette.png", "palette.png"))
    )
    assert one == other
    image(np.zeros((8, 8, 4))).save(tmp_path / "clear.png")
    with pytest.raises(SystemExit, match=r"clear.png: must be L or RGB of 8 bits, or a palette image, got RGBA 8 x 8"):
        script("segment_images", tmp_path / "run", tmp_path / "clear.png", tmp_path / "x")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"no")
    with pytest.raises(SystemExit, match=r"checkpoint.pt: no checkpoint of train_segmentation.py"):
        script("segment_images", tmp_path / "run", tmp_path / "palette.png", tmp_path / "x")
    with pytest.raises(SystemExit, match=r"checkpoint.pt: no checkpoint of this script"):
        script("train_segmentation", data, tmp_path / "run", *QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crop", -1), "--crop must be 0 or more, got -1"),
        (("--epochs", 0), "--epochs must be 1 or more, got 0"),
        (("--images", 0), "--images must be 1 or more, got 0"),
        (("--seed", -1), "--seed must be 0 or more, got -1"),
        (("--threads", -1), "--threads must be 0 or more, got -1"),
        (("--width", 0), "--width must be above 0, got 0.0"),
        (("--rate", "nan"), "--rate must be above 0, got nan"),
        (("--balance", -1), "--balance must be 0 or more, got -1.0"),
        (("--device", "cuda:99"), "--device cuda:99 cannot be used: "),
        (("--device", "nowhere"), "--device nowhere cannot be used: "),
        (
            ("--model", "deeplab_v3", "--batch", 1, "--width", 1 / 16),
            "deeplab_v3 cannot be trained with these images and ",
        ),
        (("--map", "nothing"), "mapping must be one of cityscapes, ade20k, mask, "),
    ],
)
def test_wrong_options(
    halves: Callable[..., Path], script: Any, tmp_path: Path, options: tuple[Any, ...], message: str
) -> None:
    data = halves(as_png(8))
    with pytest.raises(SystemExit) as stopped:
        script("train_segmentation", data, tmp_path / "run", *but(QUICK, *options))
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    if "deeplab_v3" in options:
        assert str(stopped.value).endswith(": try --batch 2 or more")


def test_an_output_that_is_no_folder(halves: Callable[..., Path], script: Any, tmp_path: Path) -> None:
    data = halves(as_png(8))
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="file: must be a folder, or a new one"):
        script("train_segmentation", data, tmp_path / "file", *QUICK)


def voc(root: Path, classes: list[str], suffix: str = ".jpg") -> Path:
    """Four images; each has one box of each class."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    photo = np.full((64, 96, 3), 200)
    objects = ""
    for i, name in enumerate(classes):
        x = 5 + 22 * i
        photo[10:40, x : x + 15, i % 3] = 50
        box = f"<xmin>{x}</xmin><ymin>10</ymin><xmax>{x + 15}</xmax><ymax>40</ymax>"
        objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
    for name in "abcd":
        text = f"<annotation><size><width>96</width><height>64</height></size>{objects}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
        image(photo).save(root / "JPEGImages" / f"{name}{suffix}")
    for part in ("trainval", "test"):
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("a\nb\nc\nd\n")
    return root


TINY = ("--model", "yolov1_tiny", "--width", 1 / 32, "--batch", 2, "--epochs", 1, "--option", "grid=2", "--threads", 1)


@pytest.mark.parametrize(("count", "suffix"), [(1, ".png"), (2, ".jpeg"), (4, ".bmp")])
def test_detector_of_any_number_of_classes(script: Any, tmp_path: Path, count: int, suffix: str) -> None:
    classes = ["ant", "bee", "cat", "dog"][:count]
    result = script("train_detector", voc(tmp_path / "voc", classes, suffix), tmp_path / "run", *TINY)
    for figures in result["test"].values():
        assert [name for name in figures if name.startswith("map ")] == [f"map {name}" for name in classes]
    if count == 1:
        script("train_detector", tmp_path / "voc", tmp_path / "ssd", "--model", "ssd300", *TINY[2:6], "--epochs", 1)


def test_detector_and_a_class_that_one_part_lacks(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = voc(tmp_path / "voc", ["ant", "bee"])
    one = (data / "Annotations" / "a.xml").read_text().replace("bee", "ant")
    (data / "Annotations" / "d.xml").write_text(one)
    (data / "ImageSets" / "Main" / "test.txt").write_text("d\n")
    result = script("train_detector", data, tmp_path / "run", *TINY)
    assert result["test"]["nms"]["map bee"] is None  # no true box
    (data / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\nc\n")
    for name in "abc":
        (data / "Annotations" / f"{name}.xml").write_text(one)
    (data / "Annotations" / "d.xml").write_text(one.replace("ant", "bee"))
    result = script("train_detector", data, tmp_path / "other", *TINY)
    assert result["classes_without_training_boxes"] == ["bee"]
    assert "without a training box, so never learned: bee\n" in capsys.readouterr().out


def test_detection_data_that_cannot_be_used(script: Any, tmp_path: Path) -> None:
    data = voc(tmp_path / "voc", ["ant"])

    def refused(message: str, *options: Any, folder: Path = data) -> None:
        with pytest.raises(SystemExit) as stopped:
            script("train_detector", folder, tmp_path / "run", *but(TINY, *options))
        assert message in str(stopped.value)
        assert "\n" not in str(stopped.value)

    refused("--batch must be in [1, 4], the number of images, got 9", "--batch", 9)
    refused("--device cuda:99 cannot be used: ", "--device", "cuda:99")
    refused("--epochs must be 1 or more, got 0", "--epochs", 0)
    refused("must hold Annotations, ImageSets/Main and JPEGImages, got no Annotations", folder=tmp_path)
    listed = data / "ImageSets" / "Main" / "test.txt"
    for text, message in {"e\n": "test.txt: e is not in Annotations", "\n": "test.txt: must name images"}.items():
        listed.write_text(text)
        refused(message)
    listed.unlink()
    refused("no such file: ")
    listed.write_text("a 1\n")
    (data / "JPEGImages" / "b.jpg").write_bytes(b"no picture")
    refused("b.jpg: cannot identify")
    (data / "JPEGImages" / "b.jpg").unlink()
    refused("trainval.txt: b is not in JPEGImages")
    image(np.zeros((64, 96, 3))).save(data / "JPEGImages" / "b.png")
    image(np.zeros((64, 96, 3))).save(data / "JPEGImages" / "b.bmp")
    refused("must hold one image a name, got b.bmp and b.png")
    (data / "JPEGImages" / "b.bmp").unlink()
    for name in "abcd":
        (data / "Annotations" / f"{name}.xml").write_text("<annotation></annotation>")
    refused("must hold objects, got none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch", 9, "--scenes", 8), "--batch must be at most --scenes, 8, got 9"),
        (("--held-out", 0), "--held-out must be 1 or more, got 0"),
        (("--rate", -1), "--rate must be above 0, got -1.0"),
    ],
)
def test_wrong_options_of_the_demo(script: Any, tmp_path: Path, options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        script("train_demo", tmp_path / "a.npz", *options)
    with pytest.raises(SystemExit, match="must be a file in an existing folder"):
        script("train_demo", tmp_path / "no" / "a.npz")


@pytest.mark.parametrize("name", ["train_segmentation", "train_detector", "train_demo", "segment_images"])
def test_an_option_given_twice(script: Any, tmp_path: Path, name: str) -> None:
    option = "--tile" if name == "segment_images" else "--epochs"
    places = [tmp_path] * {"train_demo": 1, "segment_images": 3}.get(name, 2)
    with pytest.raises(SystemExit, match=f"{option} must be given once"):
        script(name, *places, option, 64, option, 96)
