"""The training scripts of docs/examples, on images drawn here: they train, resume, score and draw."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need

from fastdet.cli import sample as _sample
from fastdet.cli import scenes as _scenes

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised while torch is imported


def example(name: str) -> Any:
    for package in ("torch", "matplotlib", "PIL", "rich"):
        need(package)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *args: Any) -> dict[str, Any]:
    """The script's result.json."""
    monkeypatch.setattr("sys.argv", ["script", *map(str, args), "--threads", "1"])
    script.main()
    result: dict[str, Any] = json.loads((args[1] / "result.json").read_text())
    return result


def quantised(monkeypatch: pytest.MonkeyPatch, trained: Path, data: Path) -> dict[str, Any]:
    """The result of quantize.py in its short form; its file of int8 has QDQ nodes."""
    onnx = need("onnx")
    for package in ("onnxruntime", "onnxruntime.quantization"):
        need(package)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = example("quantize")
    options = [trained, data, trained / "int8", "--calibration", 4, "--images", 2, "--repeats", 2]
    monkeypatch.setattr("sys.argv", ["script", *map(str, options)])
    script.main()
    ops = [node.op_type for node in onnx.load(trained / "int8" / "int8.onnx").graph.node]
    assert ops.count("QuantizeLinear") > 5
    assert ops.count("DequantizeLinear") > 5
    result: dict[str, Any] = json.loads((trained / "int8" / "result.json").read_text())
    assert result["float32"]["milliseconds"] > 0
    assert result["int8"]["megabytes"] < result["float32"]["megabytes"]
    return result


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Images in CamVid's folders: the upper half is sky, the lower half is road, a strip on the left is void."""
    image = need("PIL.Image")
    rng = np.random.default_rng(0)
    labels = np.zeros((36, 48), np.uint8)
    labels[18:], labels[:, :4] = 3, 11
    for part, count in (("train", 4), ("val", 4)):
        for kind in ("images", "labels"):
            (tmp_path / part / kind).mkdir(parents=True)
        for i in range(count):
            photo = np.where(labels[..., None] == 3, 60, 190) + rng.integers(-20, 20, (36, 48, 3))
            image.fromarray(photo.astype(np.uint8)).save(tmp_path / part / "images" / f"{i}.png")
            image.fromarray(labels).save(tmp_path / part / "labels" / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("model", ["segnet_basic", "unet"])
def test_train_segmentation(street: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    script = example("train_segmentation")
    options = ["--model", model, "--width", 0.125, "--batch", 2, "--rate", 0.01, "--option", "in_channels=3"]
    if model == "unet":
        options += ["--option", "depth=1", "--option", "norm=true"]
    out = street / "run"
    result = run(script, monkeypatch, street, out, *options, "--epochs", 15)
    assert result["loss"][-1] < result["loss"][0]
    figures = result["validation"]
    assert figures["all"]["pixel_accuracy"] > 0.9 > figures["largest class everywhere"]["pixel_accuracy"]
    assert figures["all"]["pixel_accuracy"] >= figures["boundary"]["pixel_accuracy"]
    assert (out / "predictions.png").stat().st_size > 1000
    if model == "segnet_basic":
        scores = quantised(monkeypatch, out, street)
        assert scores["float32"]["pixel accuracy"] > 0.9
        assert abs(scores["int8"]["pixel accuracy"] - scores["float32"]["pixel accuracy"]) < 0.05
        with pytest.raises(SystemExit, match=r"^no such file: .*nowhere.checkpoint\.pt"):
            quantised(monkeypatch, street / "nowhere", street)
    with pytest.raises(SystemExit, match="was made with another epochs"):
        run(script, monkeypatch, street, out, *options, "--epochs", 3)
    with pytest.raises(SystemExit, match="--turns needs squares, got 36 x 48 pixels"):
        run(script, monkeypatch, street, street / "other", *options, "--turns")
    with pytest.raises(SystemExit, match="has no option colour"):
        run(script, monkeypatch, street, street / "other", *options, "--option", "colour=1")


def test_an_interrupted_run_resumes(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss and the figures are those of a run without an interruption."""
    script = example("train_segmentation")
    options = ["--model", "segnet_basic", "--width", 0.125, "--batch", 2, "--epochs", 3]
    whole = run(script, monkeypatch, street, street / "whole", *options)
    save, saved = script.save, []

    def interrupted(path: Path, state: Any) -> None:
        save(path, state)
        saved.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(script, monkeypatch, street, street / "ended", *options)
    assert len(saved) == 1
    monkeypatch.setattr(script, "save", save)
    ended_result = run(script, monkeypatch, street, street / "ended", *options)
    assert ended_result["loss"] == whole["loss"]
    assert ended_result["validation"] == whole["validation"]


@pytest.mark.parametrize("model", ["unet", "segnet_basic"])
def test_segment_images(street: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Labels are those that training scored, for one tile or many; an image that cannot be used is named."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (street / "classes.txt").write_text("\n".join("abcdefghijk"))
    train, segment, image = example("train_segmentation"), example("segment_images"), need("PIL.Image")
    options = ["--model", model, "--width", 0.125, "--batch", 2, "--epochs", 2, "--rate", 0.01]
    if model == "unet":
        options += ["--option", "depth=1", "--option", "up=transposed"]
    out = street / "run"
    result = run(train, monkeypatch, street, out, *options)
    assert list(result["validation"]["iou"]) == list("abcdefghijk")
    truth = [np.asarray(image.open(street / "val" / "labels" / f"{i}.png")) for i in range(4)]
    predicted = []
    for tile in (32, 64) if model == "unet" else (64,):
        arguments = [out, street / "val" / "images", street / f"labels{tile}", "--tile", tile, "--margin", 0]
        monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
        segment.main()
        predicted.append([np.asarray(image.open(street / f"labels{tile}" / f"{i}.png")) for i in range(4)])
    known = np.stack(truth) != 11
    right = (np.stack(predicted[-1]) == np.stack(truth))[known].mean()
    assert np.array_equal(predicted[0], predicted[-1])
    if model == "unet":  # a network that pads gets another border in a tile than in the image
        assert abs(right - result["validation"]["all"]["pixel_accuracy"]) < 1e-9
    image.fromarray(truth[0]).save(street / "grey.png")
    (street / "note.png").write_text("no picture")
    for path, message in (
        ("grey.png", "3 channels of uint8"),
        ("note.png", "cannot identify"),
        ("none.png", "No such"),
    ):
        monkeypatch.setattr("sys.argv", ["script", str(out), str(street / path), str(street / "wrong")])
        with pytest.raises(SystemExit, match=f"{path}: .*{message}"):
            segment.main()
    assert not list((street / "wrong").iterdir())
    monkeypatch.setattr("sys.argv", ["script", str(street / "nowhere"), str(street), str(street / "wrong")])
    with pytest.raises(SystemExit, match=r"no such file: .*nowhere.checkpoint\.pt"):
        segment.main()
    (street / "classes.txt").write_text("sky")
    with pytest.raises(SystemExit, match=r"train: labels \[3, 11\] of 1 classes"):
        run(train, monkeypatch, street, street / "other", *options)


def test_train_segmentation_of_grey_images(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with an auxiliary head in training, and focal loss."""
    script, image = example("train_segmentation"), need("PIL.Image")
    for path in street.glob("*/images/*"):
        image.open(path).convert("L").save(path)
    options = ["--model", "pspnet", "--width", 1 / 16, "--batch", 2, "--epochs", 4, "--loss", "focal"]
    result = run(script, monkeypatch, street, street / "run", *options)
    assert result["settings"]["loss"] == "focal"
    assert result["loss"][-1] < result["loss"][0]


def test_data_that_cannot_be_used_is_named(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, image = example("train_segmentation"), need("PIL.Image")

    def refused(match: str, *options: Any, data: Path = street) -> None:
        with pytest.raises(SystemExit, match=match):
            run(script, monkeypatch, data, street / "run", "--width", 0.125, *options)

    for batch in (0, 5):
        refused(rf"--batch must be in \[1, 4\], the number of images, got {batch}", "--batch", batch)
    refused("unet needs 92 mirrored pixels around images or crops of 36", "--model", "unet")
    refused(
        "--option: UNet: up must be 'bilinear' or 'transposed', got 'cubic'", "--model", "unet", "--option", "up=cubic"
    )
    refused("nowhere: neither train/ and val/ nor image/ and label/", data=street / "nowhere")
    first = street / "train" / "images" / "0.png"
    whole = image.open(first).copy()
    for wrong, match in (
        (whole.resize((40, 36)), "1.png: must be L or RGB and as the first, RGB 40 x 36; got RGB 48 x 36"),
        (whole.convert("RGBA"), "0.png: must be L or RGB .* got RGBA 48 x 36"),
    ):
        wrong.save(first)
        refused(match)
    first.write_bytes(b"no picture")
    refused("0.png: cannot identify")
    first.unlink()
    refused("images and .*labels must hold the same names, but for 0")


def test_batches_keep_image_and_labels_together() -> None:
    """Images and labels are cropped, turned and mirrored alike; all eight orientations occur."""
    script = example("train_segmentation")
    labels = np.arange(30 * 40, dtype=np.int32).reshape(1, 30, 40).repeat(64, 0)
    data = script.Data(labels[..., None], labels)
    orientations = set()
    for images, targets in script.batches(data, 8, 20, True, np.random.default_rng(0)):
        assert images.shape == (8, 20, 20, 1)
        assert (images[..., 0] == targets).all()
        orientations |= {(int(t[0, 1] - t[0, 0]), int(t[1, 0] - t[0, 0])) for t in targets}
    assert len(orientations) == 8
    for _, targets in script.batches(data, 8, 0, False, np.random.default_rng(0)):
        assert (targets.sort(2).values.numpy() == labels[0]).all()


def test_near_boundary() -> None:
    script = example("train_segmentation")
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 10:] = 2
    near = script.near_boundary(labels)
    assert near[:, 7:13].all()
    assert not near[:, :7].any()
    assert not near[:, 13:].any()


BLOOD = """<annotation><size><width>96</width><height>64</height></size>{}</annotation>"""
CELL = (
    """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""
)


@pytest.mark.parametrize(
    ("model", "options"),
    [("yolov1_tiny", ["grid=2"]), ("ssd300", ["norm=true"]), ("faster_rcnn", ["min_size=128"])],
)
def test_train_detector(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    options: list[str],
) -> None:
    """Training works, a box without area is named, and predictions equal to the targets score 1."""
    need("fastdet.inference")
    script, image, torch = example("train_detector"), need("PIL.Image"), need("torch")
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    boxes = [("RBC", 5, 9, 40, 30), ("WBC", 50, 33, 90, 60), ("Platelets", 60, 5, 80, 20)]
    photo = np.full((64, 96, 3), 200, np.uint8)
    for i, (_, x1, y1, x2, y2) in enumerate(boxes):
        photo[y1 - 1 : y2, x1 - 1 : x2, i] = 50
    for name in "abcd":
        objects = "".join(CELL.format(*box) for box in boxes) + (CELL.format("RBC", 9, 9, 9, 9) if name == "a" else "")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(BLOOD.format(objects))
        image.fromarray(photo).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    for part in ("trainval", "test"):
        (tmp_path / "ImageSets" / "Main" / f"{part}.txt").write_text("a\nb\nc\nd\n")
    options_of_run = [
        "--model",
        model,
        "--width",
        1 / 16,
        "--batch",
        2,
        "--epochs",
        8,
        "--rate",
        0.03,
        "--option",
        *options,
    ]
    result = run(script, monkeypatch, tmp_path, tmp_path / "run", *options_of_run)
    assert "a: a box without area is left out: x, y, width, height [9.0, 9.0, 0.0, 0.0]" in capsys.readouterr().out
    assert result["loss"][-1] < result["loss"][0]
    assert result["test"].keys() == {"nms", "soft_nms"}
    assert all((tmp_path / "run" / f"{name}.png").exists() for name in ("curves", "detections"))
    if model == "ssd300":
        scores = quantised(monkeypatch, tmp_path / "run", tmp_path)
        assert abs(scores["int8"]["AP50"] - scores["float32"]["AP50"]) < 0.2

    detector = script.Detector(model, 3, 1 / 32, options)
    _, test, classes = script.read(tmp_path, detector.side, None)
    assert classes == ["Platelets", "RBC", "WBC"]
    targets = iter([detector.target(sample.boxes, sample.labels) for sample in test])

    def truth(images: Any) -> Any:
        encoded: Any = next(targets)
        if model == "faster_rcnn":
            return [{"boxes": encoded[0], "labels": encoded[1], "scores": torch.ones(len(encoded[0]))}]
        if model == "ssd300":
            return encoded[0][None], 20.0 * torch.nn.functional.one_hot(encoded[1], 4)[None]
        return encoded[0][None]

    monkeypatch.setattr(detector.network, "forward", truth)
    metrics, _ = script.evaluate(detector, test, "cpu")
    assert float(metrics["nms"].compute()["map_50"]) == pytest.approx(1)


def test_train_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's network learns, is the same for the same seed, and `fastdet demo` reads its output."""
    script, torch = example("train_demo"), need("torch")
    options = ["--scenes", 24, "--held-out", 3, "--batch", 8, "--epochs", 4, "--threads", 1]
    for name in "ab":
        monkeypatch.setattr("sys.argv", ["script", str(tmp_path / name), *map(str, options)])
        script.main()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    monkeypatch.setattr(_sample, "PATH", tmp_path / "a")
    sample = _sample.load()
    assert sample.output.shape == (3, 8, 384)
    assert sample.seeds == [24, 25, 26]
    assert np.array_equal(sample.scenes[1].boxes, _scenes.make(25).boxes)

    torch.manual_seed(0)
    network = script.Detector(8)
    scenes = [_scenes.make(seed) for seed in range(8)]
    batch = [(_scenes.draw(scene, seed), *scene) for seed, scene in enumerate(scenes)]
    before = script.loss_of(network, batch).item()
    script.train(network, scenes, np.stack([image for image, _, _ in batch]), 30, 8, 0.02, 0)
    assert script.loss_of(network, batch).item() < 0.6 * before


def test_train_demo_targets() -> None:
    """Every object owns the cell at its centre; a cell between two objects belongs to the nearer one."""
    script = example("train_demo")
    boxes = np.array([[0, 0, 48, 48], [22, 0, 70, 48], [100, 100, 104, 104]], np.float32)
    owner = script.owners(boxes).reshape(16, 24)
    assert owner[2].tolist()[:9] == [-1, 0, 0, 0, 1, 1, 1, -1, -1]
    assert (owner == 2).sum() == 1
    assert owner[12, 12] == 2
    assert (script.owners(boxes[:0]) == -1).all()
    image, turned = script.mirrored(np.arange(192)[None, :, None], boxes)
    assert turned[0].tolist() == [144, 0, 192, 48]
    assert image[0, 0, 0] == 191
