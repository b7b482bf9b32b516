"""``--engine ray`` of miou, panoptic and nms: equal to one process, also where a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails
from miou_files import folder, scene
from optional import need
from panoptic_files import data_set
from ray_cluster import local_ray

from fastdet import nms
from fastdet.distributed.cluster import in_order

need("typer")
from fastdet.cli.app import main  # noqa: E402

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine with two workers."""
    with local_ray() as ray:
        yield ray


def told(capsys: Capture, *arguments: object) -> dict[str, Any]:
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return {key: value for key, value in found.items() if key not in ("seconds", "output")}


def test_label_maps(tmp_path: Path, capsys: Capture, cluster: Any) -> None:
    truth, guess = scene(50)
    arguments = ["miou", folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess), "--classes", 4]
    want = told(capsys, *arguments, "--per-image", "--ci")
    assert told(capsys, *arguments, "--per-image", "--ci", "--engine", "ray") == want
    (tmp_path / "pred" / "im33.png").write_bytes(b"")
    local = fails(capsys, *arguments)
    assert fails(capsys, *arguments, "--engine", "ray") == local
    np.save(tmp_path / "maps.npy", np.zeros((1, 2, 2), np.uint8))
    text = fails(capsys, "miou", tmp_path / "maps.npy", tmp_path / "maps.npy", "--classes", 2, "--engine", "ray")
    assert text.startswith("miou: --engine ray reads folders, got ")


def test_panoptic(tmp_path: Path, capsys: Capture, cluster: Any) -> None:
    truth, guess, _ = data_set(tmp_path, 50)
    want = told(capsys, "panoptic", truth, guess, "--ci")
    assert told(capsys, "panoptic", truth, guess, "--ci", "--engine", "ray") == want
    (tmp_path / "guess" / "im40.png").unlink()
    assert fails(capsys, "panoptic", truth, guess, "--engine", "ray") == fails(capsys, "panoptic", truth, guess)


def detections(seed: int, images: range) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    n = 300
    corner = rng.integers(0, 50, (n, 2)).astype(np.float64)
    return {
        "image_id": rng.choice(images, n), "category_id": rng.integers(1, 4, n), "note": [f"row {i}" for i in range(n)],
        "bbox": np.concatenate([corner, rng.integers(5, 30, (n, 2))], axis=1), "score": rng.permutation(n) / n,
    }  # fmt: skip


def rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {key: value if isinstance(value, list) else value.tolist() for key, value in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def shards_of(path: Path, suffix: str) -> list[dict[str, Any]]:
    """Three shards, and the columns of each."""
    path.mkdir()
    parts = [detections(i, range(10 * i, 10 * i + 8)) for i in range(3)]
    for i, columns in enumerate(parts):
        rows = rows_of(columns)
        if suffix == ".parquet":
            pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
            table = pyarrow.table({key: [row[key] for row in rows] for key in columns})
            parquet.write_table(table, path / f"{i}.parquet", row_group_size=70)
        else:
            (path / f"{i}.json").write_text(json.dumps(rows))
    return parts


def content(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = need("pyarrow.parquet").read_table(path).to_pylist()
        return rows
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return loaded


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("method", ["hard", "gaussian"])
def test_nms(tmp_path: Path, capsys: Capture, cluster: Any, suffix: str, method: str) -> None:
    parts = shards_of(tmp_path / "in", suffix)
    options = ["--method", method, "--score-threshold", 0.1]
    got = told(capsys, "nms", tmp_path / "in", "-o", tmp_path / "out", "--engine", "ray", *options)
    assert (got["shards"], got["candidates"], got["images"]) == (3, 900, 24)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    for i, columns in enumerate(parts):
        one = tmp_path / f"one{i}.json"
        one.write_text(json.dumps(rows_of(columns)))
        told(capsys, "nms", one, "-o", one, *options)
        assert content(tmp_path / "out" / f"{i}{suffix}") == json.loads(one.read_text())
    if method == "hard":
        whole = {
            key: np.concatenate([part[key] for part in parts]) for key in ("bbox", "score", "image_id", "category_id")
        }
        corners = whole["bbox"].copy()
        corners[:, 2:] += corners[:, :2]
        keys = whole["image_id"] * 10 + whole["category_id"]
        keep = nms.batched_nms(corners, whole["score"], keys, 0.5, score_threshold=0.1)
        kept = [row["score"] for i in range(3) for row in content(tmp_path / "out" / f"{i}{suffix}")]
        assert sorted(kept) == sorted(whole["score"][keep].tolist())
        assert got["kept"] == len(keep)


def test_nms_that_is_wrong(tmp_path: Path, capsys: Capture, cluster: Any) -> None:
    shards_of(tmp_path / "in", ".json")
    rows = json.loads((tmp_path / "in" / "1.json").read_text())
    ray = ["--engine", "ray"]
    (tmp_path / "in" / "1.json").write_text(json.dumps([{**rows[0], "image_id": 3}]))
    error = fails(capsys, "nms", tmp_path / "in", "-o", tmp_path / "out", *ray)
    assert "1.json: expected the detections of an image in one shard, got 3 as in " in error
    (tmp_path / "in" / "1.json").write_text(json.dumps([{**rows[0], "score": None}]))
    assert "1.json: results[0].score: expected" in fails(capsys, "nms", tmp_path / "in", "-o", tmp_path / "out", *ray)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]  # nothing is left over
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for arguments, text in (
        ([tmp_path / "in", "-o", tmp_path / "full"], "nms: output must be a new or an empty folder"),
        ([tmp_path / "in", "-o", tmp_path / "out", "--skip-invalid"], "--skip-invalid does not go with --engine ray"),
        ([tmp_path / "none", "-o", tmp_path / "out"], "nms: input must be files that exist, got none at"),
    ):
        assert text in fails(capsys, "nms", *arguments, *ray)


def test_evaluate_says_what_the_cluster_does_not_score(tmp_path: Path, capsys: Capture, cluster: Any) -> None:
    """Masks are scored by --kind alone, and LVIS's rule is not there: no other one takes its place without a word."""
    mask = {"bbox": [0, 0, 3, 3], "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]]}
    record = {"id": 1, "image_id": 1, "category_id": 1, **mask}
    image = {"id": 1, "file_name": "a.jpg", "width": 5, "height": 5}
    data = {"images": [image], "annotations": [record], "categories": [{"id": 1, "name": "a"}]}
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    gt.write_text(json.dumps(data))
    dt.write_text(json.dumps([{**record, "segmentation": {"size": [5, 5], "counts": [25]}, "score": 0.5}]))
    for options, want in (((), ["boxes", 1.0, 1]), (("--kind", "masks"), ["masks", 0.0, 0])):
        assert main(["evaluate", str(gt), str(dt), "--engine", "ray", "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [found["kind"], round(found["map"], 6), len(found["notes"])] == want
    gt.write_text(
        json.dumps({**data, "images": [{**image, "neg_category_ids": [], "not_exhaustive_category_ids": []}]})
    )
    text = f"evaluate: --rule must be coco or voc: {gt} is a LVIS data set, whose rule --engine ray does not have"
    assert fails(capsys, "evaluate", gt, dt, "--engine", "ray") == text
    assert main(["evaluate", str(gt), str(dt), "--engine", "ray", "--rule", "coco"]) == 0


@pytest.mark.parametrize("command", ["miou", "panoptic", "nms"])
def test_wrong_engines(capsys: Capture, command: str) -> None:
    arguments = ["a.json", "-o", "b"] if command == "nms" else ["a", "b"]
    assert fails(capsys, command, *arguments, "--engine", "x") == f"{command}: --engine must be local or ray, got x"
    text = fails(capsys, command, *arguments, "--address", "auto")
    assert text == f"{command}: --address goes with --engine ray"


@pytest.mark.skipif(sys.platform != "linux", reason="Ray's workers are killed as on Linux")
def test_a_killed_worker_changes_nothing(tmp_path: Path, cluster: Any) -> None:
    def dies_once(folder: str, piece: int) -> int:
        """Ends its own process, as if it was killed, where that piece comes for the first time."""
        mark = Path(folder) / str(piece)
        if piece % 7 == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return piece * piece

    assert list(in_order(cluster, dies_once, str(tmp_path), list(range(20)))) == [i * i for i in range(20)]
    assert len(list(tmp_path.iterdir())) == 3
