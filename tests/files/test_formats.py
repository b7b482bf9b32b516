"""Detections in files: what comes back, what is refused, and that a file is written whole or not at all."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optional import real_data

from fastdet._core import backends
from fastdet._files import detections as _formats
from fastdet._files.atomic import atomic
from fastdet._files.errors import FormatError
from fastdet._files.table import Kept, Table

RECORD = '{"image_id": 7, "category_id": 1, "bbox": [1, 2.50, 3e1, 4], "score": 0.10}'
DEEP = '{"a": ' * 5000 + "1" + "}" * 5000


@pytest.fixture(params=["cpp", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """JSON by the C++ backend, and without it."""
    if request.param == "python":
        monkeypatch.setattr(backends, "native", None)
    elif backends.native is None:
        pytest.skip("the C++ backend is not built")
    return str(request.param)


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


@pytest.mark.usefixtures("reader")
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


@pytest.mark.usefixtures("reader")
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


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("scored", [False, True])
def test_json_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, scored: bool) -> None:
    """Records are copied some at a time, from pieces that hold near ones; images lie in any order in the file."""
    monkeypatch.setattr(_formats, "_BLOCK_ROWS", size)
    monkeypatch.setattr(_formats, "_BLOCK_BYTES", 50 * size)
    monkeypatch.setattr(_formats, "_GAP", size)
    texts = [
        f'{{"image_id":{i * 7 % 11},"category_id":{i},"bbox":[{i},0,1,2],"score":0.{i},"s":"}}{{\\""}}'
        for i in range(40)
    ]
    table = read_text(tmp_path, "[" + ", \n".join(texts) + "]")
    rows = np.random.default_rng(size).permutation(40)[:30]
    scores = rows / 64 if scored else None
    _formats.write(table, Kept(rows, np.array([0, 30]), scores), tmp_path / "out.json")
    want = [json.loads(texts[i]) for i in rows]
    want = [{**record, "score": i / 64} for record, i in zip(want, rows.tolist(), strict=True)] if scored else want
    assert json.loads((tmp_path / "out.json").read_text()) == want


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("packed", [False, True])
def test_what_stands_around_the_list_stays(tmp_path: Path, packed: bool) -> None:
    """An object's other keys, before and behind its annotations; from JSON that is packed too."""
    before, after = '{ "images": [{"id": 7, "file_name": "é.jpg"}],\n"annotations" :', ', "info": {"a": [1.50]} }\n'
    path = tmp_path / ("in.json.gz" if packed else "in.json")
    text = f"\ufeff {before} [{RECORD} , {RECORD}]{after}".encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    table = _formats.read(path)
    assert list(table.images) == [7]
    assert _formats.write(table, Kept(np.array([1]), np.array([0, 1]), None), tmp_path / "out.json") == ()
    assert (tmp_path / "out.json").read_text("utf-8") == f"{before} [\n{RECORD}\n]{after}"
    table = _formats.read(path)
    assert _formats.write(table, everything(table), tmp_path / "out.npz") == ("images", "info")


@pytest.mark.usefixtures("reader")
def test_image_ids_in_the_order_in_which_they_come(tmp_path: Path) -> None:
    ids = [5, "b", 5, 2**63 - 1, "a", -(2**63), "b", 0, 1, "5"]
    table = read_text(tmp_path, json.dumps([{**json.loads(RECORD), "image_id": i} for i in ids]))
    table.close()
    known = list(dict.fromkeys(ids))
    assert table.images == known
    assert [table.of(i, i + 1).tolist() for i in range(len(known))] == [
        [row for row, x in enumerate(ids) if x == i] for i in known
    ]


@pytest.mark.usefixtures("reader")
def test_scores_are_written_as_they_are(tmp_path: Path) -> None:
    values = np.array([0.1, 1, 1e-5, 5e-324, 1.7976931348623157e308, 1 / 3, -0.0, 123456789.125])
    table = read_text(tmp_path, "[" + ",".join([RECORD] * len(values)) + "]")
    _formats.write(table, Kept(np.arange(len(values)), np.array([0, len(values)]), values), tmp_path / "out.json")
    written = [record["score"] for record in json.loads((tmp_path / "out.json").read_text())]
    assert all(type(x) is float for x in written)
    assert np.array_equal(np.array(written).view(np.int64), values.view(np.int64))


@pytest.mark.usefixtures("reader")
def test_json_new_scores_change_nothing_else(tmp_path: Path) -> None:
    table = read_text(tmp_path, f'[{RECORD[:-1]}, "mask": [1.50]}}]')
    _formats.write(table, Kept(np.array([0]), np.array([0, 1]), np.array([0.0625])), tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text()
    assert "2.50" in text
    assert "3e1" in text
    assert json.loads(text) == [{**json.loads(RECORD), "score": 0.0625, "mask": [1.5]}]


@pytest.mark.usefixtures("reader")
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


IMAGE_ID, NUMBERS = "expected an integer or a string", "expected four numbers"
WRONG_FIELDS = [
    (f"[{RECORD},null]", "results[1]: expected an object, got null"),
    ("[1]", "results[0]: expected an object, got 1"),
    (f"[{RECORD},{without('image_id')}]", f"results[1].image_id: {IMAGE_ID}, got no such field"),
    (f"[{without('category_id')}]", "results[0].category_id: expected an integer, got no such field"),
    (f"[{without('bbox')}]", f"results[0].bbox: {NUMBERS}, got no such field"),
    (f"[{without('score')}]", "results[0].score: expected a number, got no such field"),
    (f"[{change(image_id=1.5)}]", f"results[0].image_id: {IMAGE_ID}, got 1.5"),
    (f"[{change(image_id=2**63)}]", f"results[0].image_id: {IMAGE_ID}, got {2**63}"),
    (f"[{change(image_id=-1e300)}]", f"results[0].image_id: {IMAGE_ID}, got -1e+300"),
    (f"[{change(image_id=[1])}]", f"results[0].image_id: {IMAGE_ID}, got a list"),
    (f"[{change(image_id=None)}]", f"results[0].image_id: {IMAGE_ID}, got null"),
    (f"[{change(category_id=True)}]", "results[0].category_id: expected an integer, got true"),
    (f"[{change(category_id='x')}]", 'results[0].category_id: expected an integer, got "x"'),
    (f"[{change(category_id=2**63)}]", f"results[0].category_id: expected an integer, got {2**63}"),
    (f"[{change(bbox=[1, 2, 3])}]", f"results[0].bbox: {NUMBERS}, got 3 numbers"),
    (f"[{change(bbox=[1])}]", f"results[0].bbox: {NUMBERS}, got 1 number"),
    (f"[{change(bbox=[])}]", f"results[0].bbox: {NUMBERS}, got 0 numbers"),
    (f"[{change(bbox=[1, 2, 3, 4, 5])}]", f"results[0].bbox: {NUMBERS}, got more"),
    (f"[{change(bbox=[1, 'x', 3, 4])}]", f'results[0].bbox: {NUMBERS}, got "x"'),
    (f"[{change(bbox=None)}]", f"results[0].bbox: {NUMBERS}, got null"),
    (f"[{RECORD},{change(bbox=[1, 2, -3, 4])}]", "results[1].bbox: expected a width >= 0, got -3"),
    (f"[{change(bbox=[1, 2, 3, -0.5])}]", "results[0].bbox: expected a height >= 0, got -0.5"),
    (f"[{change(score='high')}]", 'results[0].score: expected a number, got "high"'),
    (f"[{change(score=None)}]", "results[0].score: expected a number, got null"),
    (f"[{RECORD.replace('0.10', '1e999')}]", "results[0].score: expected a number, got inf"),
    ("{}", "expected a list of detections, got an object without annotations"),
    (f'{{"annotations": [{without("score")}]}}', "annotations[0].score: expected a number, got no such field"),
    (f'{{"annotations": [{RECORD}], "annotations": []}}', "annotations: expected one list, got the key twice"),
]
WRONG_TEXT = [
    (" \n", "not JSON at byte 2: expected a list of detections, got the end of the file"),
    ("[", "results[0]: not JSON at byte 1: expected an object, got the end of the file"),
    (f"[{RECORD}", f"results[0]: not JSON at byte {len(RECORD) + 1}: expected ',' or ']', got the end of the file"),
    (f"[{RECORD},", f"results[1]: not JSON at byte {len(RECORD) + 2}: expected an object, got the end of the file"),
    (
        f"[{RECORD},{RECORD[:30]}",
        "results[1].category_id: not JSON at byte 107: expected an integer, got the end of the file",
    ),
    (f"[{RECORD},]", "results[1]: expected an object, got ]"),
    (f"[{RECORD} {RECORD}]", f"results[0]: not JSON at byte {len(RECORD) + 2}: expected ',' or ']', got '{{'"),
    (f"[{RECORD}] x", f"not JSON at byte {len(RECORD) + 3}: expected the end of the file, got 'x'"),
    ("[{?}]", "results[0].: not JSON at byte 2: expected a key, got '?'"),
    (f"[{change(score=float('nan'))}]", "results[0].score: expected a number, got NaN"),
    (f"[{change(bbox=[1, 2, float('inf'), 4])}]", "results[0].bbox: expected a width >= 0, got Infinity"),
    (f'[{RECORD},{RECORD[:-1]}, "x": {DEEP}}}]', "results[1].x: nested deeper than 500"),
    (f'[{RECORD},{RECORD[:-1]}, "x": NaN}}]', "results[1].x: expected a value, got NaN"),
]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("text", "message"), WRONG_FIELDS)
def test_wrong_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'in.json'}: {message}"


@pytest.mark.parametrize(("text", "message"), WRONG_TEXT)
def test_text_that_is_no_json_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    """The C++ reader says where it is; Python's says so in its own words."""
    if backends.native is not None:
        with pytest.raises(FormatError) as caught:
            read_text(tmp_path, text)
        assert str(caught.value) == f"{tmp_path / 'in.json'}: {message}"
    monkeypatch.setattr(backends, "native", None)
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'in.json'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("reader")
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


@pytest.mark.usefixtures("reader")
def test_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    table = read_text(tmp_path, f"[{RECORD}, {RECORD}]")
    (tmp_path / "in.json").write_text(" " * (2 * len(RECORD)))
    with pytest.raises(FormatError, match=r"in\.json: the file changed while it was read: run the command again"):
        _formats.write(table, everything(table), tmp_path / "out.json")
    table.close()
    assert not (tmp_path / "out.json").exists()


@pytest.mark.usefixtures("reader")
def test_fault_far_into_the_file(tmp_path: Path) -> None:
    text = "[" + f"{RECORD},\n" * 40_000 + change(score=None) + "]"
    with pytest.raises(FormatError, match=r"results\[40000\]\.score: expected a number, got null"):
        read_text(tmp_path, text)


def test_endless_record_takes_no_memory(tmp_path: Path) -> None:
    """A record of 64 MB is read through a buffer."""
    if backends.native is None:
        pytest.skip("the C++ backend is not built")
    path = tmp_path / "in.json"
    path.write_bytes(b'[{"a": "' + b"x" * (64 << 20) + b'"}]')
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom fastdet._files import detections\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: detections.read(Path(sys.argv[1]))\nexcept ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    error, more = done.stdout.splitlines()
    assert error == f"{path}: results[0].image_id: {IMAGE_ID}, got no such field"
    assert int(more) * (1 if sys.platform == "darwin" else 1024) < 8 << 20


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


def test_atomic_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o640)

    def interrupted() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_atomic_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic(tmp_path / "link") as file:
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
