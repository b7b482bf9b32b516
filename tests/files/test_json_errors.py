"""Wrong JSON: the error names the file, the record and the field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from memory import grown
from table_files import RECORD, change, everything, read_text

from fastdet._core import backends
from fastdet._files import detections as _formats
from fastdet._files.errors import FormatError


def without(name: str) -> str:
    return json.dumps({k: v for k, v in json.loads(RECORD).items() if k != name})


IMAGE_ID, NUMBERS = "expected an integer or a string", "expected four numbers"
DEEP = '{"a": ' * 5000 + "1" + "}" * 5000
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
    code = "try: detections.read(Path(sys.argv[1]))\nexcept ValueError as error: print(error)"
    error, more = grown("from fastdet._files import detections", code, path)
    assert error == f"{path}: results[0].image_id: {IMAGE_ID}, got no such field"
    assert more < 8 << 20
