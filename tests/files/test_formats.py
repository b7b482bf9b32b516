"""Detections in files: what comes back, what is refused, and that a file is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from optional import real_data

from fastdet._files import json_pieces
from fastdet._files import records as _formats
from fastdet._files.records import FormatError, Kept, Table

RECORD = '{"image_id": 7, "category_id": 1, "bbox": [1, 2.50, 3e1, 4], "score": 0.10}'
DEEP = '{"a": ' * 5000 + "1" + "}" * 5000


def everything(table: Table) -> Kept:
    rows = np.arange(int(table.offsets[-1])) if table.rows is None else table.rows
    return Kept(rows, table.offsets, None)


def read_text(tmp_path: Path, text: str | bytes) -> Table:
    path = tmp_path / "in.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _formats.read(path)


def read_arrays(tmp_path: Path, **arrays: object) -> Table:
    path = tmp_path / "in.npz"
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    return _formats.read(path)


def test_json_columns(tmp_path: Path) -> None:
    other = '{"score":1,"bbox":[0,0,1,1],"category_id":3,"image_id":"b.jpg"}'
    table = read_text(tmp_path, f"\ufeff [ {RECORD},\n{other} ,{RECORD}] \n")
    table.close()
    assert list(table.images) == [7, "b.jpg"]
    assert table.offsets.tolist() == [0, 2, 3]
    assert table.rows is not None
    assert table.rows.tolist() == [0, 2, 1]
    assert table.corners(table.of(0, 1)).tolist() == [[1, 2.5, 31, 6.5]] * 2
    assert table.scores.tolist() == [0.1, 1, 0.1]


def test_json_comes_back_byte_for_byte(tmp_path: Path) -> None:
    """Digits, spaces, the order of fields and fields that nobody knows; strings with brackets, deep nesting."""
    tail = [
        '"note": "}], {\\" \\\\"',
        '"mask": {"size": [1, 2], "counts": "a}b"}',
        '"deep": {"a": [{"b": {"c": "}"}}]}',
    ]
    records = [
        f'{{ "image_id": {i},"category_id": 1, "bbox": [0.10, 1e0, 2, 3], "score": 0.5, {t} }}'
        for i, t in enumerate(tail)
    ]
    table = read_text(tmp_path, "[" + ",".join(records) + "]")
    _formats.write(table, everything(table), tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == "[\n" + ",\n".join(records) + "\n]\n"


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_json_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(json_pieces, "PIECE", size)
    texts = [
        f'{{"image_id":{i // 5},"category_id":{i},"bbox":[{i},0,1,2],"score":0.{i},"s":"}}{{\\""}}' for i in range(40)
    ]
    table = read_text(tmp_path, "[" + ", \n".join(texts) + "]")
    _formats.write(table, everything(table), tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == [json.loads(text) for text in texts]


def test_json_new_scores_change_nothing_else(tmp_path: Path) -> None:
    table = read_text(tmp_path, f'[{RECORD[:-1]}, "mask": [1.50]}}]')
    _formats.write(table, Kept(np.array([0]), np.array([0, 1]), np.array([0.0625])), tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text()
    assert "2.50" in text
    assert "3e1" in text
    assert json.loads(text) == [{**json.loads(RECORD), "score": 0.0625, "mask": [1.5]}]


def test_empty_list(tmp_path: Path) -> None:
    table = read_text(tmp_path, "[ ]")
    for name in ("out.json", "out.npz"):
        _formats.write(table, everything(table), tmp_path / name)
    assert json.loads((tmp_path / "out.json").read_text()) == []
    assert np.load(tmp_path / "out.npz")["boxes_xyxy"].shape == (0, 4)


def change(**fields: object) -> str:
    return json.dumps({**json.loads(RECORD), **fields})


def without(name: str) -> str:
    return json.dumps({k: v for k, v in json.loads(RECORD).items() if k != name})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a JSON list of detections, got an empty file"),
        (" \n", "expected a JSON list of detections, got an empty file"),
        ("{}", "expected a JSON list [...] of detections, got one object {...}"),
        ("hello", "expected a JSON list [...] of detections, got 'hello'"),
        (b"\xff\xfe[", "expected a JSON list [...] of detections, got '\ufffd\ufffd['"),
        ("[", "record 0: expected an object, got the end of the file: is it cut off?"),
        ("[1]", "record 0: expected an object {...}, got '1]'"),
        (f"[{RECORD}", "after record 0: expected ',' or ']', got the end of the file: is it cut off?"),
        (f"[{RECORD},", "record 1: expected an object, got the end of the file: is it cut off?"),
        (f"[{RECORD},{RECORD[:30]}", "record 1: expected an object, got the end of the file: is it cut off?"),
        (f"[{RECORD},]", "record 1: expected an object {...}, got ']'"),
        (f"[{RECORD} {RECORD}]", "after record 0: expected ',' or ']', got '{\"image_id\": 7, \"cat'"),
        (f"[{RECORD}] x", "after the list: expected the end of the file, got 'x'"),
        (f"[{RECORD},null]", "record 1: expected an object {...}, got 'null]'"),
        ("[{'a': 1}]", "record 0: expected JSON, got Expecting property name enclosed in double quotes: line 1"),
        (f"[{RECORD},{without('image_id')}]", "record 1, field image_id: expected an integer or a string, got no such"),
        (f"[{without('category_id')}]", "record 0, field category_id: expected an integer, got no such field"),
        (f"[{without('bbox')}]", "record 0, field bbox: expected four finite numbers, got no such field"),
        (f"[{without('score')}]", "record 0, field score: expected a finite number, got no such field"),
        (f"[{change(image_id=1.5)}]", "record 0, field image_id: expected an integer or a string, got 1.5"),
        (f"[{change(image_id=2**63)}]", f"record 0, field image_id: expected an integer or a string, got {2**63}"),
        (f"[{change(image_id=-1e300)}]", "record 0, field image_id: expected an integer or a string, got "),
        (f"[{change(category_id=True)}]", "record 0, field category_id: expected an integer, got True"),
        (f"[{change(category_id=2**63)}]", f"record 0, field category_id: expected an integer, got {2**63}"),
        (f"[{change(bbox=[1, 2, 3])}]", "record 0, field bbox: expected four finite numbers, got [1, 2, 3]"),
        (f"[{change(bbox=[1, 2, 3, 'x'])}]", "record 0, field bbox: expected four finite numbers, got [1, 2, 3, 'x']"),
        (
            f"[{change(bbox=[1, 2, float('inf'), 4])}]",
            "record 0, field bbox: expected four finite numbers, got [1, 2, inf, 4]",
        ),
        (
            f"[{RECORD},{change(bbox=[1, 2, -3, 4])}]",
            "record 1, field bbox: expected a width and height of 0 or more, got [1, 2, -3",
        ),
        (f"[{change(score=float('nan'))}]", "record 0, field score: expected a finite number, got nan"),
        (f"[{change(score='high')}]", "record 0, field score: expected a finite number, got 'high'"),
        (f'[{RECORD},{RECORD[:-1]}, "x": {DEEP}}}]', "record 1: expected a detection, got one nested too deeply"),
        (f'[{RECORD},{RECORD[:-1]}, "x": NaN}}]', "record 1: expected a detection, got JSON is malformed"),
        (f"[{RECORD.replace('0.10', '1e999')}]", "record 0, field score: expected a finite number, got inf"),
    ],
)
def test_wrong_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'in.json'}: {message}")
    assert "\n" not in str(caught.value)


def test_whole_floats_are_integers(tmp_path: Path) -> None:
    text = RECORD.replace('"category_id": 1', '"category_id": 3.0')
    table = read_text(tmp_path, f"[{RECORD},{text.replace('7', '7.0')},{text.replace('7', '1e1')}]")
    assert list(table.images) == [7, 10]
    assert [type(i) for i in table.images] == [int, int]
    assert table.labels is not None
    assert table.labels.tolist() == [1, 3, 3]
    _formats.write(table, everything(table), tmp_path / "out.json")
    assert '"image_id": 1e1' in (tmp_path / "out.json").read_text()


@pytest.mark.parametrize("ids", [[1, "1"], ["a", 1], ["a", "a\0"]])
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


def test_record_that_is_too_deep_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be read, nearer to the end of the stack."""
    table = read_text(tmp_path, f"[{RECORD}]")

    class Decoder:
        def __init__(self, kind: object) -> None: ...

        def decode(self, text: bytes) -> object:
            raise RecursionError

    monkeypatch.setattr(_formats.msgspec.json, "Decoder", Decoder)
    with pytest.raises(FormatError, match=r"in\.json: expected detections, got one nested too deeply"):
        _formats.write(table, Kept(np.array([0]), np.array([0, 1]), np.array([0.5])), tmp_path / "out.json")
    table.close()
    assert not (tmp_path / "out.json").exists()


def test_fault_far_into_the_file(tmp_path: Path) -> None:
    text = "[" + f"{RECORD},\n" * 40_000 + change(score=None) + "]"
    with pytest.raises(FormatError, match="record 40000, field score: expected a finite number, got None"):
        read_text(tmp_path, text)


def test_endless_record_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "PIECE", 64)
    monkeypatch.setattr(json_pieces, "LONGEST", 1 << 20)
    with pytest.raises(FormatError, match="record 0: expected an object of at most 1 MiB, got a longer one"):
        read_text(tmp_path, '[{"a": "' + "x" * (4 << 20) + '"}]')


BOXES = np.array([[0, 0, 2, 2], [1, 1, 3, 4], [0, 0, 1, 1]], np.float32)
SCORES = np.array([0.25, 0.5, 0.75], np.float32)


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
    with pytest.raises(FormatError, match="expected COCO results JSON or NPZ, got a single NPY array"):
        _formats.read(tmp_path / "a.npy")
    with pytest.raises(FormatError, match="expected a file, got no such file"):
        _formats.read(tmp_path / "none.json")
    with pytest.raises(FormatError, match="expected a file, got a folder or device"):
        _formats.read(tmp_path)


def test_atomic_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o640)

    def interrupted() -> None:
        with _formats.atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with _formats.atomic(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_atomic_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with _formats.atomic(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


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
