"""Results in JSON: columns that are read, and records that are copied."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from table_files import RECORD, everything, read_text

from fastdet._files import detections as _formats
from fastdet._files.table import Kept


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
