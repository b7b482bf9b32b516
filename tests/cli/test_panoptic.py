"""``fastdet panoptic``: figures, folders, output and errors."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails
from miou_files import png
from optional import need, real_data
from panoptic_files import data_set
from panoptic_maps import CATEGORIES

from fastdet._files import png as reader
from fastdet._files.errors import FormatError
from fastdet.cli.app import main
from fastdet.segmentation import PanopticMetrics

Capture = pytest.CaptureFixture[str]
FIGURES = ("pq", "sq", "rq", "modified_pq", "pq_things", "sq_things", "rq_stuff", "modified_pq_stuff")


def output(capsys: Capture, *arguments: object) -> str:
    code = main(["panoptic", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_the_sample(capsys: Capture) -> None:
    """The panoptic API's figures. The folder of one file has its name; the other one is found beside it."""
    folder = real_data("panoptic_sample")
    got = json.loads(output(capsys, folder / "truth.json", folder / "predicted.json", "--json"))
    wanted = json.loads((folder / "expected.json").read_text())
    for group, end in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        assert [got[f"{key}{end}"] for key in ("pq", "sq", "rq")] == [wanted[group][key] for key in ("pq", "sq", "rq")]
        assert got[f"counted{end}"] == wanted[group]["n"]
    assert [Path(x).name for x in got["folders"]] == ["panoptic_examples", "predicted"]


def test_figures_are_those_of_the_library(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, images = data_set(tmp_path)
    metrics = PanopticMetrics(CATEGORIES).update(*map(list, zip(*images, strict=True)))
    want = metrics.compute(ci=0.95)
    got = json.loads(output(capsys, truth, guess, "--json", "--ci"))
    for name in FIGURES:
        assert got[name] == want[name]
        assert got["ci"][name] == list(want["ci"][name])
    assert (got["images"], got["pixels"], got["void_pixels"]) == (5, want["pixels"], want["void_pixels"])
    for i, row in enumerate(got["per_class"]):
        value = want["pq_per_class"][i]
        assert row["pq"] == (None if np.isnan(value) else value)
        assert (row["id"], row["true_segments"]) == (CATEGORIES[i]["id"], want["true_segments"][i])
        ends = want["ci"]["sq_per_class"][:, i]
        assert row["ci"]["sq"] == [None if np.isnan(end) else end for end in ends]
    text = output(capsys, truth, guess, "--per-class", "--ci")
    assert f"{want['pq']:.4f}" in text
    assert "95 % interval of PQ" in text
    assert "1 category that neither side has" in text
    assert "never there" not in text


def test_packed_and_string_ids(tmp_path: Path, capsys: Capture) -> None:
    """Cityscapes' image ids are strings; a packed file; truth and prediction in another order."""
    truth, guess, _ = data_set(tmp_path)
    want = json.loads(output(capsys, truth, guess, "--json"))
    for path in (truth, guess):
        content = json.loads(path.read_text())
        for record in content["annotations"]:
            record["image_id"] = f"münster_{record['image_id']}"
        if path is guess:
            content["annotations"].reverse()
        path.with_suffix(".json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(content).encode()))
        path.unlink()
    got = json.loads(output(capsys, f"{truth}.gz", f"{guess}.gz", "--json"))
    assert got["per_class"] == want["per_class"]


def test_folders(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path)
    want = json.loads(output(capsys, truth, guess, "--json"))["pq"]
    shutil.move(tmp_path / "truth", tmp_path / "a")
    assert json.loads(output(capsys, truth, guess, "--json"))["pq"] == want  # the one folder that has the files
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    error = fails(capsys, "panoptic", truth, guess)
    assert "truth.json: expected one folder with im0.png, got " in error
    assert error.endswith("give --truth-folder DIR")
    for option in ("a", "b"):
        got = json.loads(output(capsys, truth, guess, "--truth-folder", tmp_path / option, "--json"))
        assert (got["pq"], got["folders"][0]) == (want, str(tmp_path / option))
    for name in ("a", "b"):
        shutil.rmtree(tmp_path / name)
    assert "expected a folder" in fails(capsys, "panoptic", truth, guess)
    error = fails(capsys, "panoptic", truth, guess, "--prediction-folder", tmp_path / "none")
    assert error.startswith("panoptic: --prediction-folder must be a folder, got ") or "truth-folder" in error


Content = dict[str, Any]
Change = Callable[[Content], Any]


def first(change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda content: change(content["annotations"][1])


def segment(**fields: Any) -> Change:
    return first(lambda record: record["segments_info"][0].update(fields))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (segment(category_id=99), "annotations[1].segments_info[0].category_id must be a known category, got 99"),
        (segment(id="x"), "annotations[1].segments_info[0].id must be an integer, got 'x'"),
        (segment(id=1.5), "annotations[1].segments_info[0].id must be an integer, got 1.5"),
        (segment(id=-4), "annotations[1].segments_info[0].id must be in [1, 2**32), got -4"),
        (segment(iscrowd=3), "annotations[1].segments_info[0].iscrowd must be 0 or 1, got 3"),
        (segment(id=5), "im1.png must hold ids of segments_info or 0, got "),
        (first(lambda r: r["segments_info"].append({"id": 5, "category_id": 3})), ".id must have pixels in the map"),
        (first(lambda r: r["segments_info"].append(None)), "] must be a dictionary, got None"),
        (first(lambda r: r.update(segments_info=3)), "annotations[1].segments_info: expected a list, got 3"),
        (first(lambda r: r.pop("segments_info")), "annotations[1].segments_info: expected a value, got no such key"),
        (first(lambda r: r.update(image_id=1.5)), "annotations[1].image_id: expected an integer or a string, got 1.5"),
        (first(lambda r: r.update(image_id=7)), "annotations[1].image_id: expected unique ids, got 7 twice"),
        (first(lambda r: r.update(image_id=70)), "1 of "),
        (first(lambda r: r.update(file_name="../im1.png")), "annotations[1].file_name: expected the name of a file"),
        (first(lambda r: r.update(file_name="/etc/passwd")), "annotations[1].file_name: expected the name of a file"),
        (first(lambda r: r.update(file_name=4)), "annotations[1].file_name: expected the name of a file"),
        (first(lambda r: r.update(file_name="a\0b")), "annotations[1].file_name: expected the name of a file"),
        (first(lambda r: r.update(file_name="other.png")), "annotations[1].file_name: no such file: "),
        (lambda c: c.update(annotations={}), "annotations: expected a list, got {}"),
        (lambda c: c["annotations"].append(3), "annotations[5]: expected an object, got 3"),
        (lambda c: c.pop("annotations"), "expected the key 'annotations', got no such key"),
        (lambda c: c["annotations"].clear(), "images without a partner: 5 of "),
    ],
)  # fmt: skip
def test_wrong_records(tmp_path: Path, capsys: Capture, change: Change, text: str) -> None:
    """One line that names file, record and field, for either side."""
    truth, guess, _ = data_set(tmp_path)
    for path in (truth, guess):
        good = path.read_text()
        content = json.loads(good)
        change(content)
        path.write_text(json.dumps(content))
        error = fails(capsys, "panoptic", truth, guess)
        assert text in error
        assert path.name in error or f"{path.stem}/" in error
        path.write_text(good)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", "not JSON at byte 0: expected an object with annotations, got '['"),
        ('{"annotations": [', "not JSON at byte"),
        ('{"annotations": [], "annotations": []}', "annotations: expected one list, got the key twice"),
        ('{"annotations": [{"image_id": 1, "image_id": 2, "file_name": "a", "segments_info": []}]}', "the key twice"),
        ('{"annotations": ' + "[" * 600 + "]" * 600 + "}", "nested deeper than 500"),
        ('{"annotations": NaN}', "expected a value, got NaN"),
    ],
)
def test_wrong_json(tmp_path: Path, capsys: Capture, text: str, error: str) -> None:
    truth, guess, _ = data_set(tmp_path)
    truth.write_text(text)
    assert error in fails(capsys, "panoptic", truth, guess)


def test_a_key_twice_in_a_segment(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path)
    guess.write_text(guess.read_text().replace('"category_id": ', '"category_id": 3, "category_id": ', 1))
    assert "segments_info[0].category_id: expected once, got the key twice" in fails(capsys, "panoptic", truth, guess)


@pytest.mark.parametrize("categories", [None, 3, [], [{"id": 3}], [{"id": 3, "isthing": 4}], [5]])
def test_wrong_categories(tmp_path: Path, capsys: Capture, categories: Any) -> None:
    truth, guess, _ = data_set(tmp_path)
    content = json.loads(truth.read_text())
    content["categories"] = categories
    if categories is None:
        del content["categories"]
    truth.write_text(json.dumps(content))
    assert "truth.json: " in fails(capsys, "panoptic", truth, guess)


def test_wrong_pictures(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path)
    path = tmp_path / "guess" / "im1.png"
    good = path.read_bytes()
    grey, small = png(np.zeros((24, 30), int)), png(np.zeros((2, 3, 3), int), kind=2)
    for content, text in (
        (good[:-20], "truncated: the file ends after"),
        (good[:60] + bytes([good[60] ^ 1]) + good[61:], "damaged: chunk 'IDAT' at byte 33 has a wrong CRC"),
        (grey, "expected an 8-bit RGB image, got a 8-bit grey image"),
        (small, "must have the target's (24, 30) pixels, got (2, 3)"),
        (png(np.zeros((24, 30, 3), int), kind=2, size=(25, 30)), "damaged: it holds too few pixels"),
        (png(np.zeros((24, 30, 3), int), kind=2, size=(23, 30)), "damaged: it holds too many pixels"),
        (png(np.zeros((1, 1, 3), int), kind=2, size=(2**20, 2**20)), "FASTDET_LIMITS=pixels="),
        (b"", "expected a PNG image, got an empty file"),
        (b"GIF89a", "expected a PNG image, got a file of GIF"),
    ):
        path.write_bytes(content)
        error = fails(capsys, "panoptic", truth, guess)
        assert text in error
        assert "guess/im1.png" in error
    path.unlink()
    path.mkdir()
    assert "expected a file, got a folder" in fails(capsys, "panoptic", truth, guess)


def test_many_wrong_images(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path, 30)
    for path in (tmp_path / "guess").iterdir():
        path.write_bytes(b"")
    error = fails(capsys, "panoptic", truth, guess)
    assert error.startswith("panoptic: 10 images that cannot be counted: ")
    assert error.endswith("; stopped after 10 of 30 images")


def filtered(x: Any, filters: list[int]) -> bytes:
    """A PNG whose rows have these filters, by the definition of PNG."""
    height, width, _ = x.shape
    rows = x.reshape(height, -1).astype(np.int64)
    lines = []
    for y in range(height):
        left = np.concatenate([[0, 0, 0], rows[y, :-3]])
        up = rows[y - 1] if y else np.zeros_like(rows[0])
        corner = np.concatenate([[0, 0, 0], up[:-3]])
        distance = [np.abs(left + up - corner - v) for v in (left, up, corner)]
        nearest = np.choose(np.argmin(distance, axis=0), [left, up, corner])
        guess = [0 * left, left, up, (left + up) // 2, nearest][filters[y]]
        lines.append(bytes([filters[y]]) + ((rows[y] - guess) % 256).astype(np.uint8).tobytes())

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed = zlib.compress(b"".join(lines))
    middle = len(packed) // 2
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = chunk(b"IDAT", packed[:middle]) + chunk(b"IDAT", packed[middle:])
    return reader.SIGNATURE + head + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(1, 1), (6, 1), (11, 2), (12, 7), (30, 90)])
def test_filters_of_png(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every filter in every row, also the first; equal to Pillow's colours."""
    need("PIL.Image")
    rng = np.random.default_rng(shape[0])
    for first_filter in range(5):
        x = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        x[rng.random(shape) < 0.5] = 9
        filters = [first_filter, *rng.integers(0, 5, shape[0] - 1).tolist()]
        data = filtered(x, filters)
        np.testing.assert_array_equal(reader.read_rgb(data), x)
        with monkeypatch.context() as patch:
            patch.setattr(reader.backends, "native", None)
            np.testing.assert_array_equal(reader.read_rgb(data), x)


def test_an_unknown_filter() -> None:
    rows = np.zeros((3, 4, 3), int)
    data = png(rows, kind=2)
    packed = zlib.compress(b"".join(bytes([f]) + bytes(12) for f in (0, 7, 0)))
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    chunk = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    with pytest.raises(FormatError, match="damaged: row 1 has an unknown filter"):
        reader.read_rgb(data[:start] + chunk + data[end:])


def test_categories_of_the_predictions(tmp_path: Path, capsys: Capture) -> None:
    """They are not needed. An id must not have another name there than in the true file."""
    truth, guess, _ = data_set(tmp_path)
    content, want = json.loads(guess.read_text()), output(capsys, truth, guess)
    for categories in (CATEGORIES, [], [{"id": 999, "name": "new"}], [{"id": CATEGORIES[0]["id"]}]):
        guess.write_text(json.dumps({**content, "categories": categories}))
        assert output(capsys, truth, guess) == want
    own, other = ({**CATEGORIES[i], "name": f"name {i}"} for i in (0, 1))
    true = json.loads(truth.read_text())
    truth.write_text(json.dumps({**true, "categories": [own, *CATEGORIES[1:]]}))
    guess.write_text(json.dumps({**content, "categories": [{**own, "name": other["name"]}]}))
    text = f"categories[0].name: expected 'name 0', the name of category {own['id']} in {truth}, got 'name 1'"
    assert fails(capsys, "panoptic", truth, guess) == f"{guess}: {text}"
    guess.write_text(json.dumps({**content, "categories": [3]}))
    assert fails(capsys, "panoptic", truth, guess) == f"{guess}: categories[0]: expected an object, got 3"


def test_ids_that_are_texts_are_shown_as_such(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path, 2)
    content = json.loads(guess.read_text())
    for record in content["annotations"]:
        record["image_id"] = str(record["image_id"])
    guess.write_text(json.dumps(content))
    text = f"2 of {truth} not in {guess}: 7, 8; 2 of {guess} not in {truth}: '7', '8'"
    assert text in fails(capsys, "panoptic", truth, guess)


def test_categories_that_are_numbered_otherwise(tmp_path: Path, capsys: Capture) -> None:
    """Ids of another list of categories, as those of a network's channels: a note before the figure."""
    truth, guess, _ = data_set(tmp_path)
    ids = [category["id"] for category in CATEGORIES]
    content = json.loads(truth.read_text())
    shutil.copytree(truth.with_suffix(""), tmp_path / "turned")
    for record in content["annotations"]:
        for segment in record["segments_info"]:
            segment["category_id"] = ids[(ids.index(segment["category_id"]) + 1) % len(ids)]
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps({"annotations": content["annotations"]}))
    for arguments in ((truth, turned), (truth, turned, "--json")):
        assert main(["panoptic", *map(str, arguments)]) == 0
        out, err = capsys.readouterr()
        note = json.loads(out)["notes"][0] if "--json" in arguments else err
        assert "segments that overlap a true one by half, 0 have its category; others are " in note
        assert "'sky' as 'grass'" in note
    assert json.loads(output(capsys, truth, truth, "--json"))["notes"] == []
    for record in content["annotations"]:
        for segment in record["segments_info"]:
            segment["iscrowd"] = 1
    crowd = tmp_path / "crowd.json"
    crowd.write_text(json.dumps({**content, "categories": CATEGORIES}))
    assert main(["panoptic", str(crowd), str(guess), "--truth-folder", str(truth.with_suffix("")), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        f"{crowd}: no true segment, but for crowd: no segment can be found"
    ]


def test_intervals_of_one_image_are_noted(tmp_path: Path, capsys: Capture) -> None:
    truth, guess, _ = data_set(tmp_path, 1)
    assert main(["panoptic", str(truth), str(guess), "--ci", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"][-1].startswith("--ci of one image: the intervals have no width")
