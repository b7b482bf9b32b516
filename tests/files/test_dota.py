"""DOTA's files: read, scored by ``fastdet evaluate``, and refused with the line where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails
from rotated_boxes import some_boxes

from fastdet._files.dota import read_dota, read_dota_results
from fastdet._files.errors import Faults, FormatError
from fastdet.cli.app import main
from fastdet.detection import DetectionMetrics
from fastdet.rotated import box_convert_rotated

NAMES = ("large-vehicle", "plane")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Six images with planes and vehicles, and detections near them."""
    rng = np.random.default_rng(0)
    truth, found = tmp_path / "labelTxt", tmp_path / "results"
    truth.mkdir()
    found.mkdir()
    lines: dict[str, list[str]] = {name: [] for name in NAMES}
    for image in range(6):
        boxes = some_boxes(rng, 8, 150)
        near = boxes + rng.standard_normal(boxes.shape) * [2, 2, 1, 1, 5]
        near[:, 2:4] = np.maximum(near[:, 2:4], 1)
        own = ["imagesource:GoogleEarth", "gsd:0.146"] if image % 2 else []
        for k, (quad, other) in enumerate(zip(*map(corners, (boxes, near)), strict=True)):
            name = NAMES[k % 2]
            own.append(f"{text(quad)} {name} {int(k == 7)}")
            lines[name].append(f"P{image:04d} {rng.random():.6f} {text(other)}")
        (truth / f"P{image:04d}.txt").write_text("\n".join(own) + "\n")
    for name, listed in lines.items():
        (found / f"Task1_{name}.txt").write_text("\n".join(listed) + "\n")
    return truth, found


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def corners(boxes: Any) -> Any:
    return box_convert_rotated(boxes, "cxcywhr", "xyxyxyxy").round(3)


def text(quad: Any) -> str:
    return " ".join(f"{x:g}" for x in quad)


def test_read(folders: tuple[Path, Path]) -> None:
    data = read_dota(folders[0])
    assert data.category_names == list(NAMES)
    assert data.image_names == [f"P{i:04d}" for i in range(6)]
    truth = data.truth
    assert truth.rotated is not None
    assert truth.rotated.shape == (48, 8)
    assert int((truth.flags > 0).sum()) == 6
    low, high = truth.rotated.reshape(-1, 4, 2).min(1), truth.rotated.reshape(-1, 4, 2).max(1)
    np.testing.assert_array_equal(truth.boxes, np.concatenate([low, high - low], axis=1))
    columns, others = read_dota_results(folders[1], data)
    assert others == {}
    assert columns.rotated is not None
    assert len(columns.scores) == len(columns.rotated) == 48


@pytest.mark.parametrize("options", [(), ("--method", "voc2007"), ("--method", "area")])
def test_evaluate(folders: tuple[Path, Path], options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    data = read_dota(folders[0])
    columns, _ = read_dota_results(folders[1], data)
    voc: dict[str, Any] = {"iou_thresholds": [0.5], "max_detections": [None], "rule": "voc"} if options else {}
    method = options[1] if options else "coco101"
    metrics = DetectionMetrics(iou_type="rotated", box_format="xyxyxyxy", method=method, **voc)
    want = metrics.update_columns(columns, data.truth, data.images).compute()
    got = json.loads(printed(capsys, "evaluate", *folders, "--json", *options))
    assert got["formats"] == {"truth": "dota", "detections": "dota"}
    assert got["kind"] == "rotated"
    assert got["map"] == pytest.approx(want["map"], abs=1e-12)
    assert 0.1 < got["map"] < 1
    assert [row["name"] for row in got["per_class"]] == list(NAMES)
    assert got["notes"] == []
    shown = printed(capsys, "evaluate", *folders, "--per-class", *options)
    assert shown.startswith("Rotated:\n")
    assert "large-vehicle" in shown


WRONG_TRUTH = [
    ("1 2 3 4 5 6 7 8", "line 3: expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult, got 8 words"),
    ("1 2 3 4 5 6 7 x plane 0", "line 3: y4: expected a number, got 'x'"),
    ("1 2 3 4 5 nan 7 8 plane 0", "line 3: y3: expected a number, got 'nan'"),
    ("1 2 3 4 5 6 7 8 plane 3", "line 3: difficult: expected 0, 1 or 2, got '3'"),
    ("1 2 3 4 5 6 7 8 big plane 0", "got 11 words"),
]


@pytest.mark.parametrize(("line", "says"), WRONG_TRUTH)
def test_wrong_lines_of_truth(
    folders: tuple[Path, Path], line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folders[0] / "P0003.txt"
    before = path.read_text().split("\n")
    path.write_text("\n".join([*before[:2], line, *before[2:]]))
    with pytest.raises(FormatError) as error:
        read_dota(folders[0])
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    faults = Faults(skip=True)
    assert len(read_dota(folders[0], faults=faults).truth.image) == 48
    assert len(faults.texts) == 1
    assert says in fails(capsys, "evaluate", *folders)


WRONG_DETECTIONS = [
    ("P0001 0.5 1 2 3 4 5 6 7", "line 1: expected image score x1 y1 x2 y2 x3 y3 x4 y4, got 9 words"),
    ("P0001 high 1 2 3 4 5 6 7 8", "line 1: score: expected a number, got 'high'"),
    ("P0009 0.5 1 2 3 4 5 6 7 8", "line 1: image: expected the name of an image of the data set, got 'P0009'"),
    ("P0001 0.5 1 2 3 4 5 6 7 inf", "line 1: y4: expected a number, got 'inf'"),
]


@pytest.mark.parametrize(("line", "says"), WRONG_DETECTIONS)
def test_wrong_lines_of_detections(folders: tuple[Path, Path], line: str, says: str) -> None:
    path = folders[1] / "Task1_plane.txt"
    path.write_text(f"{line}\n{path.read_text()}")
    data = read_dota(folders[0])
    with pytest.raises(FormatError) as error:
        read_dota_results(folders[1], data)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)


def test_classes_that_the_data_set_lacks(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folders[1] / "Task1_ship.txt").write_text("P0001 0.5 1 2 3 2 3 4 1 4\n")
    result = json.loads(printed(capsys, "evaluate", *folders, "--json"))
    assert any("not scored: 1 detections of classes" in line and "ship" in line for line in result["notes"])


def test_other_files_do_not_go_with_it(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, says in (
        (("--kind", "boxes"), "--kind boxes goes with files of other formats"),
        (("--inclusive",), "--inclusive goes with upright boxes"),
        (("--format", "voc"), "expected"),
    ):
        assert says in fails(capsys, "evaluate", *folders, *options)
    path = tmp_path / "gt.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    error = fails(capsys, "evaluate", path, folders[1], "--kind", "rotated")
    assert "expected a folder" in error or "rotated goes with DOTA's files" in error
