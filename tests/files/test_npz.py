"""Detections in NPZ: arrays that come back, wrong arrays, real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from optional import real_data
from table_files import RECORD, change, everything, read_arrays, read_text

from fastdet._files import detections as _formats
from fastdet._files.errors import FormatError

BOXES = np.array([[0, 0, 2, 2], [1, 1, 3, 4], [0, 0, 1, 1]], np.float32)
SCORES = np.array([0.25, 0.5, 0.75], np.float32)


@pytest.mark.parametrize("ids", [[1, "1"], ["a", 1], ["a", "a\0"]])
@pytest.mark.usefixtures("reader")
def test_image_ids_that_npz_does_not_hold(tmp_path: Path, ids: list[int | str]) -> None:
    table = read_text(tmp_path, "[" + ",".join(change(image_id=i) for i in ids) + "]")
    out = tmp_path / "out.npz"
    out.write_text("old")
    with pytest.raises(FormatError) as caught:
        _formats.write(table, everything(table), out)
    assert str(caught.value).startswith(f"{out}: expected image ids that are all integers of 64 bits or all strings")
    assert out.read_text() == "old"
    _formats.write(table, everything(table), tmp_path / "out.json")
    assert [x["image_id"] for x in json.loads((tmp_path / "out.json").read_text())] == ids


@pytest.mark.parametrize(
    "arrays",
    [
        {"boxes": BOXES, "scores": SCORES},
        {"boxes": BOXES, "scores": SCORES, "idxs": np.array([3, 1, 1])},
        {"images": np.array(["a.jpg", "b.jpg"]), "offsets": np.array([0, 1, 3]), "boxes_xyxy": BOXES, "scores": SCORES},
        {
            "image_id": np.array([9, 4, 5]),
            "offsets": np.array([0, 1, 1, 3], np.int32),
            "boxes_xyxy": BOXES,
            "scores": SCORES.astype(">f8"),
            "labels": np.array([1, 2, 3], np.int16),
        },
        {
            "image_ids": np.array([9, 9, 4], np.int32),
            "boxes": BOXES.astype(np.float16),
            "scores": SCORES,
            "labels": [0, 1, 2],
        },
    ],
    ids=["one image", "idxs", "names", "offsets", "row ids"],
)
def test_npz_comes_back(tmp_path: Path, arrays: dict[str, object]) -> None:
    table = read_arrays(tmp_path, **arrays)
    _formats.write(table, everything(table), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as back:
        assert set(back.files) == set(arrays)
        for name, value in arrays.items():
            same = np.asarray(value)
            assert np.array_equal(back[name], same)
            if name in ("boxes", "boxes_xyxy", "scores", "labels"):
                assert back[name].dtype == same.dtype


def test_npz_row_ids_in_any_order(tmp_path: Path) -> None:
    table = read_arrays(tmp_path, boxes=BOXES, scores=SCORES, image_ids=[5, 2, 5])
    assert table.images == [5, 2]
    assert table.of(0, 1).tolist() == [0, 2]
    _formats.write(table, everything(table), tmp_path / "out.npz")
    assert np.load(tmp_path / "out.npz")["image_ids"].tolist() == [5, 5, 2]


@pytest.mark.usefixtures("reader")
def test_json_to_npz_to_json(tmp_path: Path) -> None:
    table = read_text(tmp_path, f"[{RECORD},{change(image_id=2, score=0.7)}]")
    _formats.write(table, everything(table), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert {name: arrays[name].tolist() for name in arrays.files} == {
            "image_id": [7, 2],
            "offsets": [0, 1, 2],
            "boxes_xyxy": [[1, 2.5, 31, 6.5]] * 2,
            "scores": [0.1, 0.7],
            "labels": [1, 1],
        }
    table = _formats.read(tmp_path / "a.npz")
    _formats.write(table, everything(table), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == [
        json.loads(RECORD),
        json.loads(change(image_id=2, score=0.7)),
    ]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": SCORES}, "expected an array named boxes or boxes_xyxy or box_xyxy, got scores"),
        ({}, "expected an array named boxes or boxes_xyxy or box_xyxy, got no array"),
        (
            {"boxes": BOXES, "boxes_xyxy": BOXES, "scores": SCORES},
            "expected one array of boxes, boxes_xyxy, box_xyxy, got boxes and",
        ),
        ({"boxes": BOXES.T, "scores": SCORES}, "boxes: expected shape (N, 4), got (4, 3)"),
        ({"boxes": 1.0, "scores": SCORES}, "boxes: expected shape (N, 4), got ()"),
        ({"boxes": BOXES.astype(str), "scores": SCORES}, "boxes: expected numbers, got <U32"),
        ({"boxes": BOXES, "scores": SCORES[:2]}, "scores: expected shape (3,), one per box, got (2,)"),
        ({"boxes": BOXES, "scores": [1, 2, 3]}, "scores: expected floats, got int64"),
        ({"boxes": BOXES, "scores": SCORES, "labels": SCORES}, "labels: expected integers, got float32"),
        (
            {"boxes": BOXES, "scores": np.array([1, 2, None])},
            "scores: expected a plain array, got pickled objects, refused",
        ),
        ({"boxes": BOXES * [1, 1, np.nan, 1], "scores": SCORES}, "row 0, boxes: expected finite numbers, got nan"),
        ({"boxes": BOXES, "scores": [0.5, np.inf, 0]}, "row 1, scores: expected finite numbers, got inf"),
        (
            {"boxes": BOXES[:, ::-1], "scores": SCORES},
            "row 0, boxes: expected x1 <= x2 and y1 <= y2, got [2.0, 2.0, 0.0, 0.0]",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "offsets": [0, 2]},
            "offsets: expected to go from 0 to 3, the number of boxes, got 0 to 2",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "offsets": [1, 3]},
            "offsets: expected to go from 0 to 3, the number of boxes, got 1 to 3",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "offsets": [0, 2, 1, 3]},
            "offsets: expected rising values, got 2 then 1 at index 2",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "offsets": np.zeros(0, int)},
            "offsets: expected to go from 0 to 3, the number of boxes, got none",
        ),
        ({"boxes": BOXES, "scores": SCORES, "offsets": [0.0, 3.0]}, "offsets: expected integers, got float64"),
        (
            {"boxes": BOXES, "scores": SCORES, "offsets": [0, 3], "image_id": [1, 2]},
            "image_id: expected shape (1,), one per image of offsets",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "image_id": [1, 2]},
            "image_id: expected shape (3,), one per box without offsets, got (2,)",
        ),
        ({"boxes": BOXES, "scores": SCORES, "image_id": SCORES}, "image_id: expected integers or strings, got float32"),
    ],
)
def test_wrong_npz_is_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_arrays(tmp_path, **arrays)
    assert str(caught.value).startswith(f"{tmp_path / 'in.npz'}: {message}")


def test_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, boxes=BOXES, scores=SCORES)
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[:-10], whole[:200] + b"\0" * 40 + whole[240:]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"in\.npz: .*expected"):
            _formats.read(path)


def test_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BOXES)
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_text("score: 3")
    for name, text in (
        ("a.npy", "expected COCO JSON or NPZ, got a single NPY array"),
        ("empty", "expected COCO JSON or NPZ, got an empty file"),
        ("other", "expected COCO JSON or NPZ, got other data"),
        (".", "expected a file, got a folder or device"),
    ):
        with pytest.raises(FormatError) as caught:
            _formats.read(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {text}"
    with pytest.raises(FormatError) as caught:
        _formats.read(tmp_path / "none.json")
    assert str(caught.value) == f"no such file: {tmp_path / 'none.json'}"


@pytest.mark.parametrize(
    "name",
    [
        "raw_coco_train209/raw_yolox_nano",
        "raw_faces/raw_rfb640",
        "raw_faces/raw_mtcnn_pnet",
        "mmcv_batched_nms/mmcv_batched_nms",
        "voc2007_test/det_yolov2_htt1084",
    ],
)
def test_real_files_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    path = real_data(f"{name}.npz")
    table = _formats.read(path)
    _formats.write(table, everything(table), tmp_path / "out.npz")
    with np.load(path) as came, np.load(tmp_path / "out.npz") as went:
        assert set(came.files) - set(went.files) == set(table.ignored)
        order = slice(None) if table.rows is None else table.rows
        for key in went.files:
            rows = order if len(came[key]) == len(table.scores) else slice(None)
            assert np.array_equal(came[key][rows], went[key])
