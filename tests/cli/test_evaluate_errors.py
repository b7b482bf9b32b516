"""The command `fastdet evaluate`: wrong options and wrong files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_forms import RESULT, Capture, add, coco, fails, name, txt, voc


# -------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--format xml", "evaluate: --format must be one of auto, coco, voc, yolo, txt, dota, npz, got xml"),
        ("--iou 1.5", "evaluate: --iou must be in (0, 1], got 1.5"),
        ("--iou 0.5:0.9", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.9"),
        ("--iou 0.5:0.95:0.1", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.95:0.1"),
        ("--iou 0.5:0.9:0", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.9:0"),
        ("--iou half", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got half"),
        ("--max-dets 10,1", "evaluate: --max-dets must be rising integers of 1 or more, got 10,1"),
        ("--max-dets all,1", "evaluate: --max-dets must be rising integers of 1 or more, got all,1"),
        ("--max-dets many", "evaluate: --max-dets must be integers, or all, got many"),
        ("--areas huge", "evaluate: --areas must be of all, small, medium, large, or NAME=MIN:MAX, got huge"),
        ("--areas a=5", "evaluate: --areas must be of all, small, medium, large, or NAME=MIN:MAX, got a=5"),
        ("--areas a=5:1", "evaluate: --areas must have min_area <= max_area, got {'a': (5.0, 1.0)}"),
        ("--method voc", "evaluate: --method must be one of coco101, voc2007, area, got voc"),
        ("--rule none", "evaluate: --rule must be one of coco, voc, lvis, got none"),
        ("--boxes cxcywh", "evaluate: --boxes must be one of xyxy, xywh, got cxcywh"),
        ("--boxes xywh", "evaluate: --boxes does not go with a data set that is coco"),
        ("--labels name", "evaluate: --labels must be one of id, position, position-from-1, got name"),
        ("--image-size 640", "evaluate: --image-size must be WIDTHxHEIGHT in pixels, such as 640x480, got 640"),
        (f"--image-size {'9' * 5000}x9", "evaluate: --image-size must be WIDTHxHEIGHT in pixels, such as 640x480"),
        ("--images . --image-size 6x6", "evaluate: --images does not go with --image-size"),
        ("--confusion-at 0.5", "evaluate: --confusion-at must be IOU,SCORE, got 0.5"),
        ("--confusion-at 0,0.5", "evaluate: --confusion-at must be in (0, 1], got 0.0"),
        ("--classes nowhere", "evaluate: --classes must be a file of names, got nowhere, no such file"),
        ("--image-set nowhere.txt", "no such file: nowhere.txt"),
        ("--plots no/where", "evaluate: --plots must be a folder, or a new one in an existing folder, got no/where"),
        ("--unknown", "No such option: --unknown"),
    ],
)  # fmt: skip
def test_wrong_options(tmp_path: Path, capsys: Capture, options: str, text: str) -> None:
    assert fails(capsys, *coco(tmp_path), *options.split()).startswith(text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([RESULT, {**RESULT, "image_id": 99}], "results[1].image_id: expected an image of the data set, got 99"),
        ([RESULT, {**RESULT, "bbox": [1, 2, -3, 4]}], "results[1].bbox: expected a width >= 0, got -3"),
        ([{k: v for k, v in RESULT.items() if k != "score"}], "results[0].score: expected a number, got no such field"),
        ({"images": []}, "expected a list of detections, got an object without annotations"),
        ('[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]', "results[0].score"),
        ('[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3', "results[0].bbox"),
        ("{", ""),
        ("score: 3", "expected COCO JSON or NPZ, got other data"),
        (b"PK\x03\x04 and nothing more", "expected an NPZ file, got a damaged one"),
        (gzip.compress(b"[" + b" " * 500, mtime=0)[:-9], "damaged or truncated gzip: Compressed file ended"),
        (b"\x1f\x8b\x08\x00 no gzip", "damaged or truncated gzip"),
        (b"\x93NUMPY", "expected COCO JSON or NPZ, got a single NPY array"),
        (None, "no such file"),
    ],
)
@pytest.mark.parametrize("which", ["truth", "detections"])
def test_wrong_files(tmp_path: Path, capsys: Capture, which: str, content: object, text: str) -> None:
    gt, dt = coco(tmp_path)
    path = tmp_path / ("wrong.gz" if "gzip" in text else "wrong")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    line = fails(capsys, *((path, dt) if which == "truth" else (gt, path)))
    assert line.startswith(f"{path}: ") if content is not None else line == f"no such file: {path}"
    if which == "detections":
        assert text in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"boxes": np.array([[5.0, 0, 1, 1]])},
            "row 0, boxes: expected x1 <= x2 and y1 <= y2, got [5.0, 0.0, 1.0, 1.0]",
        ),
        ({"boxes": np.array([[np.nan, 0, 1, 1]])}, "row 0, boxes: expected finite numbers, got nan"),
        ({"difficult": np.array([2])}, "difficult: expected 0 or 1, got other values"),
        ({"difficult": np.array([0, 1])}, "difficult: expected shape (1,), one per box, got (2,)"),
        ({"area": np.array([-4.0])}, "row 0, area: expected a number >= 0, got -4"),
        ({"classes": np.array(["a"])}, "row 0, labels: expected a class from 0 to 0, got 1"),
        ({"classes": np.array([7])}, "classes: expected strings, got int64"),
        ({"classes": np.array([{}])}, "classes: expected a plain array, got pickled objects, refused"),
        ({"image_names": np.array(["x"])}, "images: expected a position from 0 to 0 in image_names, got 3"),
    ],
)
def test_wrong_npz(tmp_path: Path, capsys: Capture, change: dict[str, Any], text: str) -> None:
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([3])}
    np.savez(tmp_path / "gt.npz", **{**columns, **change})
    _, dt = coco(tmp_path)
    assert fails(capsys, tmp_path / "gt.npz", dt).startswith(f"{tmp_path / 'gt.npz'}: {text}")


def test_wrong_npz_results(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([99])}
    np.savez(tmp_path / "dt.npz", **columns)
    assert "expected an array named scores or score, got boxes, labels, image" in fails(capsys, gt, tmp_path / "dt.npz")
    np.savez(tmp_path / "dt.npz", **columns, scores=np.array([0.5]))
    assert "row 0, images: expected an image of the data set, got 99" in fails(capsys, gt, tmp_path / "dt.npz")


def test_npz_ids_beyond_int64(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([5])}
    for column in ("image", "labels"):
        np.savez(tmp_path / "dt.npz", **{**columns, column: np.array([2**63], np.uint64)}, scores=np.array([0.5]))
        text = f"{tmp_path / 'dt.npz'}: {column}: expected integers below 2^63, got {2**63}"
        assert fails(capsys, gt, tmp_path / "dt.npz") == text
        assert fails(capsys, tmp_path / "dt.npz", tmp_path / "dt.npz") == text


def test_wrong_folders(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert fails(capsys, empty, dt) == f"{empty}: expected a folder of .xml or .txt files, got none"
    assert fails(capsys, gt, empty) == f"{empty}: expected a folder of .txt files, got none"
    (empty / "a.txt").touch()
    assert "use --format yolo or --format txt" in fails(capsys, empty, dt)
    (tmp_path / "txt").mkdir()
    truth, detections = txt(tmp_path / "txt")
    assert fails(capsys, truth, detections, "--format", "voc").startswith(f"{truth}: expected")
    assert fails(capsys, truth, detections, "--format", "coco") == (
        f"{truth}: expected coco, as --format says, got a folder of txt"
    )
    add(detections / f"{name(3)}.txt", "dog 0.5 1 2 wide 4")
    line = len((detections / f"{name(3)}.txt").read_text().splitlines())
    assert fails(capsys, truth, detections) == (
        f"{detections / name(3)}.txt: line {line}: x2: expected a number, got 'wide'"
    )
    (detections / f"{name(3)}.txt").rename(detections / "other.txt")
    assert "expected the name of an image of the data set, got 'other'" in fails(capsys, truth, detections)


HAS = "; it has 'photo.00', 'photo.01', 'photo.02', ..."


def test_wrong_voc_results(tmp_path: Path, capsys: Capture) -> None:
    truth, detections = voc(tmp_path)
    path = detections / "comp4_det_test_dog.txt"
    for line, text in (
        ("photo.00 0.5 1 2 3", "expected image score x1 y1 x2 y2, got 5 words"),
        ("photo 0.5 1 2 3 4", f"image: expected the name of an image of the data set, got 'photo'{HAS}"),
        ("photo.00 0.5 1 2 0 4", "expected a width >= 0, got -1"),
        ("photo.00 inf 1 2 3 4", "score: expected a number, got 'inf'"),
    ):
        path.write_text(line)
        assert fails(capsys, truth, detections) == f"{path}: line 1: {text}"
    path.rename(detections / "fox.txt")
    assert "expected a name that ends in a class of the data set, got 'fox'" in fails(capsys, truth, detections)


def test_boxes_too_large_to_score(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    (tmp_path / "dt.json").write_text(json.dumps([{**RESULT, "bbox": [0, 0, 1e200, 1e200]}]))
    text = "dt.json: detection 0: expected a box with a finite area, got 1e+200 x 1e+200"
    assert fails(capsys, gt, tmp_path / "dt.json").endswith(text)
