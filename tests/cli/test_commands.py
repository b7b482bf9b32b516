"""The commands that show: version, info, help, demo, bench."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import USABLE, fails

import fastdet
from fastdet import nms
from fastdet.cli import sample as _sample
from fastdet.cli import scenes, showcase
from fastdet.cli.app import main
from fastdet.inference import Found


def test_version_info_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastdet {fastdet.__version__}\n"
    assert main(["info", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("frameworks").keys() >= {"torchvision", "pycocotools"}
    assert printed == json.loads(json.dumps(fastdet.config()))
    assert main(["info"]) == 0
    assert capsys.readouterr().out.startswith(f"fastdet {fastdet.__version__} (Python ")
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in ("nms", "miou", "panoptic", "evaluate", "demo", "bench", "info"))


def test_missing_extra_is_one_line() -> None:
    code = "import sys; sys.modules['typer'] = None; import fastdet.cli; fastdet.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'fastdet: the command needs typer: pip install "fastdet[cli]"\n'


def test_command_imports_no_pictures() -> None:
    code = (
        "import sys, fastdet.cli.app, fastdet.plots; print(sorted({'torch', 'numba', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sample() -> None:
    """The scenes are those of their seeds, the output is a network's: a box and four scores for each of 384 cells."""
    sample = _sample.load()
    assert sample.output.shape == (len(sample.scenes), 4 + len(scenes.NAMES), 384)
    assert sample.output.dtype == np.float32
    assert sample.output[:, 4:].min() >= 0
    assert sample.output[:, 4:].max() <= 1
    for scene, seed in zip(sample.scenes, sample.seeds, strict=True):
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(scene, scenes.make(seed), strict=True))
    assert np.array_equal(np.diff(sample.seeds), np.ones(len(sample.seeds) - 1))  # none left out
    assert _sample.PATH.stat().st_size < 70_000


@pytest.mark.usefixtures("timed_once")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").endswith(f"picture: {tmp_path / 'fastdet_demo.png'}")
    cells = [re.findall(r"[a-zA-Z-]+(?: [a-zA-Z-]+)*|[\d.]+", line) for line in out.splitlines()]
    assert ["after decoding", "0.601", "0.719", "0.705"] in cells
    assert ["after NMS", "0.776", "0.967", "0.884"] in cells
    assert ["after Soft-NMS linear", "0.813", "0.999", "0.953"] in cells
    assert ["after Soft-NMS gaussian", "0.813", "0.999", "0.945"] in cells
    picture = (tmp_path / "fastdet_demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
    assert [p.name for p in tmp_path.iterdir()] == ["fastdet_demo.png"]
    assert "matplotlib.pyplot" not in sys.modules


@pytest.fixture
def timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each backend is timed on one call."""
    measure = showcase._measure
    monkeypatch.setattr(showcase, "_measure", lambda *rest, seconds: measure(*rest, seconds=0))


@pytest.mark.usefixtures("timed_once")
def test_demo_is_the_plain_way() -> None:
    """One scene, one class at a time, and the reference."""
    result = showcase.demo()
    raw, hard, linear, _ = result.steps
    sample = result.sample
    assert result.backends == USABLE
    assert raw.boxes_in == sample.output[:, 4].size
    assert len(raw.kept.boxes) == hard.boxes_in == (sample.output[:, 4:].max(1) > showcase.MIN_SCORE).sum()
    for i in range(len(sample.scenes)):
        candidates = showcase.of_scene(raw.kept, i)
        for label in range(len(scenes.NAMES)):
            boxes, scores = candidates.boxes[candidates.labels == label], candidates.scores[candidates.labels == label]
            keep = nms.nms(boxes, scores, 0.5, backend="reference")
            soft, rescored = nms.soft_nms(boxes, scores, min_score=showcase.MIN_SCORE, backend="reference")
            for step, chosen, values in ((hard, keep, scores[keep]), (linear, soft, rescored)):
                kept = showcase.of_scene(step.kept, i)
                mine = kept.labels == label
                assert np.array_equal(kept.boxes[mine], boxes[chosen])
                assert np.array_equal(kept.scores[mine], values)


def test_demo_missed() -> None:
    """A box finds one object, of its class, its best; below the IoU of `MIN_IOU` nothing."""
    scene = scenes.Scene(
        np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32), np.array([0, 0, 1], np.int64)
    )
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [50, 50, 60, 55]], np.float32)
    detections = Found(boxes, np.ones(3, np.float32), np.array([0, 0, 1]))
    assert showcase._missed(scene, detections).tolist() == [1, 2]
    assert showcase._missed(scene, detections._replace(labels=np.array([0, 1, 1]))).tolist() == [1]
    assert showcase._missed(scene, Found(boxes[:0], np.ones(0), np.zeros(0, np.int64))).tolist() == [0, 1, 2]


def test_scenes() -> None:
    """Objects are inside, from the back to the front; pictures are the same at any scale but for their sharpness."""
    height, width = scenes.SIZE
    for seed in range(20):
        scene = scenes.make(seed)
        x1, y1, x2, y2 = scene.boxes.T
        assert ((x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height) & (x1 < x2) & (y1 < y2)).all()
        assert (np.diff(y2) >= 0).all()
    image = scenes.draw(scene, 5)
    assert image.shape == (height, width, 3)
    assert np.array_equal(image, scenes.draw(scene, 5))
    large = scenes.draw(scene, 5, scale=4).astype(float).reshape(height, 4, width, 4, 3).mean((1, 3))
    assert np.abs(large - image).mean() < 2


def test_scenes_fill_their_boxes() -> None:
    """What is painted of an object reaches to the sides of its box, and not beyond."""
    for label, (w, h) in enumerate(scenes._SIDES):
        canvas = scenes._Canvas(4)
        paint = (scenes._person, scenes._car, scenes._bicycle, scenes._dog)[label]
        paint(canvas, 20, 30, w, h, np.random.default_rng(label))
        y, x = np.nonzero(canvas.pixels.any(2))
        painted = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / 4
        assert np.abs(painted - [20, 30, 20 + w, 30 + h]).max() <= 0.05 * h, scenes.NAMES[label]


def test_demo_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, "demo", "-o", tmp_path / "x.txt").startswith("demo: output must end in .png")
    assert fails(capsys, "demo", "-o", tmp_path / "no" / "x.png").startswith(
        "demo: output must end in .png, in an existing"
    )


@pytest.mark.usefixtures("timed_once")
def test_bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case for case in showcase._cases() if case[3]]  # the quick ones
    monkeypatch.setattr(showcase, "_cases", lambda: cases)
    assert main(["bench", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {row["op"] for row in results} == {"nms", "batched_nms", "soft_nms", "box_iou"}
    assert all(set(row["milliseconds"]) == set(USABLE) and min(row["milliseconds"].values()) > 0 for row in results)
    assert main(["bench"]) == 0
    assert "soft_nms" in capsys.readouterr().out


def test_bench_refuses_to_time_a_wrong_backend() -> None:
    with pytest.raises(showcase.Different, match="sums: a and b disagree"):
        showcase._measure("sums", lambda name: np.array([name == "a"]), ["a", "b"], seconds=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nms in.json -o out.json --iou 0.5 --iou 0.7", "nms: --iou must be given once, got it 2 times"),
        ("nms in.json -o a.json --output b.json -o c.json", "nms: --output/-o must be given once, got it 3 times"),
        ("evaluate a b --iou=0.5 --iou 0.7", "evaluate: --iou must be given once, got it 2 times"),
        (
            "evaluate a b --inclusive --exclusive",
            "evaluate: --inclusive/--exclusive must be given once, got it 2 times",
        ),
        ("miou a b --palette voc --classes 3 --palette voc", "miou: --palette must be given once, got it 2 times"),
        ("demo -o a.png -o b.png", "demo: --output/-o must be given once, got it 2 times"),
    ],
)
def test_an_option_given_twice(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    """The first value would be dropped without a word."""
    assert fails(capsys, *arguments.split()) == message


def test_a_flag_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == fastdet.__version__
