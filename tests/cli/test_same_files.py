"""`fastdet nms` and `fastdet evaluate` read detections alike: the same files, the same errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import fails
from evaluate_forms import RESULT, coco

from fastdet._core import backends
from fastdet._files import coco as _coco
from fastdet._files import detections as _detections
from fastdet.cli.app import main


@pytest.fixture(params=["cpp", "python"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON by the C++ backend, and without it."""
    if request.param == "python":
        for module in (_coco, _detections):  # the readers alone: matching and NMS stay as they are
            monkeypatch.setattr(module, "backends", SimpleNamespace(native=None))
    elif backends.native is None:
        pytest.skip("the C++ backend is not built")


def wrong(**fields: object) -> list[dict[str, object]]:
    return [RESULT, {**RESULT, **fields}]


def without(field: str) -> list[dict[str, object]]:
    return [RESULT, {key: value for key, value in RESULT.items() if key != field}]


WRONG: dict[str, object] = {
    "bbox of three": wrong(bbox=[1, 2, 3]),
    "bbox of five": wrong(bbox=[1, 2, 3, 4, 5]),
    "bbox with a string": wrong(bbox=[1, "2", 3, 4]),
    "bbox null": wrong(bbox=None),
    "bbox missing": without("bbox"),
    "bbox in an object": {"annotations": wrong(bbox=[1, 2, 3])},
    "negative width": wrong(bbox=[1, 2, -3, 4]),
    "negative height": {"annotations": wrong(bbox=[1, 2, 3, -4])},
    "NaN": wrong(score=float("nan")),
    "infinite": wrong(bbox=[1, 2, float("inf"), 4]),
    "score too large": json.dumps(wrong()).replace("0.5", "1e999"),
    "score missing": without("score"),
    "score a string": wrong(score="high"),
    "category missing": without("category_id"),
    "category a fraction": wrong(category_id=1.5),
    "category a boolean": wrong(category_id=True),
    "image missing": without("image_id"),
    "image a fraction": wrong(image_id=1.5),
    "image null": wrong(image_id=None),
    "image above 64 bits": wrong(image_id=2**63),
    "a number in the list": [RESULT, 5],
    "an object without annotations": {"images": []},
    "annotations twice": '{"annotations": [], "annotations": []}',
    "annotations no list": {"annotations": 5},
    "a key twice": json.dumps([RESULT]).replace('"score"', '"score": 1, "score"'),
    "nested deeply": '[{"x": ' + "[" * 100_000,
    "cut off": json.dumps([RESULT, RESULT])[:-20],
    "no comma": json.dumps([RESULT, RESULT]).replace("}, {", "} {"),
    "more behind": json.dumps([RESULT]) + "]",
    "no JSON": "[{'a': 1}]",
    "NaN in another field": json.dumps(wrong(x=float("nan"))),
    "empty": "",
    "white space": " \n ",
    "other data": "score: 3",
    "a number": "3",
    "no UTF-8": b'[{"a": "\xff\xfe", "\xff": 1}]',
    "an NPY array": b"\x93NUMPY",
    "a damaged NPZ": b"PK\x03\x04 and nothing more",
    "a truncated gzip": gzip.compress(b"[" + b" " * 500, mtime=0)[:-9],
    "no gzip": b"\x1f\x8b\x08\x00 no gzip",
    "a wrong field in gzip": gzip.compress(json.dumps(wrong(score=None)).encode()),
    "missing": None,
}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("suffix", [".json", ""])
def test_one_text_for_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, suffix: str) -> None:
    truth, _ = coco(tmp_path)
    path, content = tmp_path / f"wrong{suffix}", WRONG[fault]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    of_nms = fails(capsys, "nms", path, "-o", tmp_path / "out.json")
    of_evaluate = fails(capsys, "evaluate", truth, path)
    assert of_nms == of_evaluate
    assert of_nms.startswith(f"{path}: ") if content is not None else of_nms == f"no such file: {path}"
    assert not (tmp_path / "out.json").exists()


def forms(records: list[Any]) -> dict[str, bytes]:
    """Detections in every form of JSON."""
    text = json.dumps(records).encode()
    around = b'{"info": {"year": 1}, "annotations": %b, "licenses": []}' % text
    return {
        "list.json": text, "object.json": around, "list.json.gz": gzip.compress(text),
        "object.json.gz": gzip.compress(around), "packed.json": gzip.compress(text), "mark": b"\xef\xbb\xbf " + text,
    }  # fmt: skip


def test_every_form_of_json_through_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, raw = coco(tmp_path)
    for name, content in forms(json.loads(raw.read_text())).items():
        (tmp_path / name).write_bytes(content)
        assert main(["nms", str(tmp_path / name), "-o", str(tmp_path / "final.json"), "--iou", "0.3"]) == 0
        final = json.loads((tmp_path / "final.json").read_text())
        if isinstance(final, dict):
            assert (final["info"], final["licenses"]) == ({"year": 1}, [])
            final = final["annotations"]
        stats = []
        for path in (tmp_path / name, tmp_path / "final.json"):
            capsys.readouterr()
            assert main(["evaluate", str(truth), str(path), "--json"]) == 0
            stats.append(json.loads(capsys.readouterr().out)["stats"])
        if name == "list.json":
            first = final, stats
            assert 0 < len(final) < len(json.loads(raw.read_text()))
        assert (final, stats) == first


def test_image_ids_that_are_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Strings are names of the data set's images, in JSON as in NPZ."""
    truth, raw = coco(tmp_path)
    records = json.loads(raw.read_text())
    called = {image["id"]: image["file_name"] for image in json.loads(truth.read_text())["images"]}

    def stats(path: Path) -> list[float]:
        capsys.readouterr()
        assert main(["evaluate", str(truth), str(path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["stats"]

    named = [{**record, "image_id": called[record["image_id"]]} for record in records]
    (tmp_path / "named.json").write_text(json.dumps(named))
    assert stats(tmp_path / "named.json") == stats(raw)
    mixed = [record if i % 3 else named[i] for i, record in enumerate(records)]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    assert stats(tmp_path / "mixed.json") == stats(raw)
    assert main(["nms", str(tmp_path / "named.json"), "-o", str(tmp_path / "final.npz")]) == 0
    assert main(["nms", str(tmp_path / "named.json"), "-o", str(tmp_path / "final.json")]) == 0
    assert stats(tmp_path / "final.npz") == stats(tmp_path / "final.json")
    named[3]["image_id"] = "elsewhere.jpg"
    (tmp_path / "named.json").write_text(json.dumps(named))
    text = fails(capsys, "evaluate", truth, tmp_path / "named.json")
    want = "results[3].image_id: expected the name of an image of the data set, got 'elsewhere.jpg'"
    assert text.startswith(f"{tmp_path / 'named.json'}: {want}; it has 'photo.00.jpg', 'photo.01.jpg', ")


def test_a_large_file_through_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20,000 detections, images in any order, other keys: what is kept is the input's bytes, and is scored."""
    rng = np.random.default_rng(5)
    n, images = 20_000, 100
    corner = rng.integers(0, 500, (n, 2))
    boxes = np.concatenate([corner, rng.integers(5, 60, (n, 2))], axis=1).tolist()
    image, label = rng.integers(0, images, n).tolist(), rng.integers(0, 5, n).tolist()
    lines = [
        f'{{"image_id": {i}, "bbox": {box}, "note": "}}{{é {i}", "score": {s:.3f}, "category_id": {k}}}'
        for i, k, box, s in zip(image, label, boxes, rng.random(n), strict=True)
    ]
    (tmp_path / "raw.json").write_text("[" + ",\n".join(lines) + "]", "utf-8")
    true = [{"id": i, "image_id": image[i], "category_id": label[i], "bbox": boxes[i]} for i in range(0, n, 20)]
    kinds = [{"id": k, "name": f"class {k}"} for k in range(5)]
    content = {"images": [{"id": i} for i in range(images)], "categories": kinds, "annotations": true}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    output = tmp_path / "final.json"
    assert main(["nms", str(tmp_path / "raw.json"), "-o", str(output), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["candidates"], summary["images"]) == (n, images)
    kept = output.read_text("utf-8").removeprefix("[\n").removesuffix("\n]\n").split(",\n")
    assert len(kept) == len(set(kept)) == summary["kept"]
    assert set(kept) < set(lines)
    order = [json.loads(line) for line in kept]
    assert [r["image_id"] for r in order] == sorted(
        (r["image_id"] for r in order), key=list(dict.fromkeys(image)).index
    )
    assert main(["evaluate", str(tmp_path / "truth.json"), str(output), "--json"]) == 0
    assert 0.02 < json.loads(capsys.readouterr().out)["map"] < 0.5
