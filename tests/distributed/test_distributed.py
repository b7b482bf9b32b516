"""fastdet.distributed: shards on a Ray cluster, with workers that are killed, and states as bytes for other engines."""

import contextlib
import gzip
import io
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need
from pool_work import score_shard
from ray_cluster import local_ray

from fastdet.coco import COCO, COCOeval, FormatError
from fastdet.detection import DetectionMetrics
from fastdet.distributed import evaluate, score

Json = dict[str, Any]
IMAGES, CLASSES = 30, 7
CATEGORIES = [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(CLASSES)]
KEYS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100", "mar_small",
        "mar_medium", "mar_large")  # fmt: skip


def make_rows(seed: int = 0) -> tuple[list[Json], list[Json]]:
    """True boxes and detections, many with tied scores; images 0 and 4 have no true box, image 5 no detection."""
    r = np.random.default_rng(seed)
    truth, found = [], []
    for n in range(1, 400):
        box = [float(x) for x in (*r.integers(0, 300, 2), *np.exp(r.normal(4, 0.9, 2)).round(2))]
        image, k = int(r.integers(IMAGES)), int(CLASSES * r.random() ** 2)
        if image not in (0, 4):
            truth.append({"id": n, "image_id": 7 * image, "category_id": 3 * k + 1, "bbox": box,
                          "area": box[2] * box[3] * 0.7, "iscrowd": int(n % 20 == 0)})  # fmt: skip
        for _ in range(int(r.integers(5))):
            near = [x + float(y) for x, y in zip(box, r.normal(0, 5, 4).round(2), strict=True)]
            other = image if r.random() < 0.8 else int(r.integers(IMAGES))
            if other != 5:
                found.append({"image_id": 7 * other, "category_id": 3 * k + 1, "score": float(r.integers(10)) / 10,
                              "bbox": [*near[:2], abs(near[2]), abs(near[3])]})  # fmt: skip
    return truth, found


class Shards:
    """Three shards of true boxes, divided by image, and four of detections, divided anyhow."""

    def __init__(self, folder: Path) -> None:
        self.truth, self.found = make_rows()
        self.folder = folder
        part = np.random.default_rng(1).integers(0, 3, IMAGES)
        self.of_image = {7 * i: int(part[i]) for i in range(IMAGES)}
        for name in ("truth", "found"):
            (folder / name).mkdir()
        for i in range(3):
            self.write(f"truth/{i}.json", self.part(i))
        for i, rows in enumerate(self.quarters()):
            self.write(f"found/{i}.json", rows)

    def part(self, i: int) -> Json:
        ids = [image for image, part in self.of_image.items() if part == i]
        return {"images": [{"id": image} for image in ids], "categories": CATEGORIES,
                "annotations": [t for t in self.truth if t["image_id"] in ids]}  # fmt: skip

    def quarters(self) -> list[list[Json]]:
        n = len(self.found)
        return [self.found[n * i // 4 : n * (i + 1) // 4] for i in range(4)]

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def whole(self) -> tuple[Json, list[Json]]:
        """One data set, its rows in the order of the shards."""
        parts = [self.part(i) for i in range(3)]
        return {"categories": CATEGORIES, **{k: [x for p in parts for x in p[k]] for k in ("images", "annotations")}}, [
            row for quarter in self.quarters() for row in quarter
        ]

    def parquet(self) -> tuple[list[Path], list[Path]]:
        """The same in Parquet, true boxes divided anyhow as well; an image without a true box is a row of nulls."""
        pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
        gt, found = self.whole()
        paths: tuple[list[Path], list[Path]] = ([], [])
        named = {t["image_id"] for t in gt["annotations"]}
        images = [{"image_id": i["id"]} for i in gt["images"] if i["id"] not in named]
        for kind, rows, keys in (
            (0, [*gt["annotations"], *images], ("image_id", "category_id", "bbox", "area", "iscrowd")),
            (1, found, ("image_id", "category_id", "bbox", "score")),
        ):
            for i in range(2):
                some = rows[len(rows) * i // 2 : len(rows) * (i + 1) // 2]
                table = pyarrow.table({k: [row.get(k) for row in some] for k in keys})
                paths[kind].append(self.folder / f"{'tf'[kind]}{i}.parquet")
                parquet.write_table(table, paths[kind][-1], row_group_size=100)
        return paths


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Ray on this machine with two workers."""
    with local_ray() as ray:
        yield ray


def same(a: Json, b: Json) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def pycocotools_stats(shards: Shards) -> Any:
    gt, found = shards.whole()
    data = COCO(gt)
    scored = COCOeval(data, data.loadRes(found), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored.stats


# In one process, and in many by bytes


def test_shards_are_one_data_set(shards: Shards) -> None:
    """The twelve numbers of the whole; the same from JSON and Parquet, from a folder, a pattern and a list."""
    truth, found = shards.folder / "truth", shards.folder / "found"
    state = score(truth, found)
    assert len(state) == IMAGES
    results = state.compute()
    assert [results[key] for key in KEYS] == pycocotools_stats(shards).tolist()
    assert results["classes"].tolist() == [c["id"] for c in CATEGORIES]
    assert results["map"] > 0.05
    again = score([truth / f"{i}.json" for i in range(3)], str(found / "*.json"))
    assert again.to_bytes() == state.to_bytes()


def test_parquet_is_json(shards: Shards) -> None:
    truth, found = shards.parquet()
    state = score(truth, found)
    assert state.to_bytes() == score(shards.folder / "truth", shards.folder / "found").to_bytes()
    assert score(shards.folder / "truth", found).to_bytes() == state.to_bytes()


def test_processes_carry_states_as_bytes(shards: Shards) -> None:
    """The recipe of the module: one state for each shard of images, merged in the order in which they come."""
    for i in range(3):
        mine = [row for row in shards.found if shards.of_image[row["image_id"]] == i]
        shards.write(f"mine-{i}.json", mine)
    pairs = [(shards.folder / f"truth/{i}.json", shards.folder / f"mine-{i}.json") for i in range(3)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        states = list(pool.map(score_shard, pairs))
    want = score(shards.folder / "truth", shards.folder / "found")
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = DetectionMetrics().merge_state(DetectionMetrics.from_bytes(states[i]) for i in order)
        assert merged.to_bytes() == want.to_bytes()
        assert same(merged.compute(), want.compute())
    with pytest.raises(ValueError, match="image_ids must be unique"):  # a piece of work that came twice
        merged.merge_state(DetectionMetrics.from_bytes(states[0]))


# On a cluster


def test_cluster_equals_one_machine(shards: Shards, cluster: Any) -> None:
    truth, found = shards.folder / "truth", shards.folder / "found"
    want = score(truth, found).compute()
    for parts in (None, 1, 5):
        assert same(evaluate(truth, found, partitions=parts), want)
    assert [want[key] for key in KEYS] == pycocotools_stats(shards).tolist()
    steps: list[tuple[str, int, int]] = []
    options: Json = {"method": "area", "rule": "voc", "iou_thresholds": [0.3, 0.5], "max_detections": [5, None]}
    results = evaluate(*shards.parquet(), partitions=3, progress=lambda *step: steps.append(step), **options)
    assert same(results, score(truth, found, **options).compute())
    assert steps == [(s, i, n) for s, n in (("read", 4), ("match", 3), ("sum up", 3)) for i in range(n + 1)]
    assert cluster.is_initialized()

    with pytest.raises(ValueError, match="address must be None where Ray is initialized already, got 'auto'"):
        evaluate(truth, found, address="auto")
    unknown = shards.write("unknown.json", [{**shards.found[0], "image_id": 8}])
    with pytest.raises(FormatError, match=r"unknown.json: results\[0\].image_id: expected an image of the ground"):
        evaluate(truth, [found, unknown])
    with pytest.raises(FormatError, match=r"unknown.json: expected an object with images, annotations and categories"):
        evaluate([truth, unknown], found)


def test_cluster_of_its_own(shards: Shards) -> None:
    """Ray is started and ended where nobody has started it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray = need("ray")
        truth, found = shards.folder / "truth", shards.folder / "found"
        results = evaluate(truth, found, address="local")
    assert same(results, score(truth, found).compute())
    assert not ray.is_initialized()


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, level = [], {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += list(level)
    return found


def kill_workers() -> int:
    """SIGKILL to every worker of the Ray that this process has started."""
    killed = 0
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"ray::_", b"ray::IDLE")):  # busy or not
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def until(condition: Any, seconds: float = 60, pause: float = 0.02) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(pause)
    return value


def reader(shard: Path) -> int | None:
    """The process of ours that has the shard open."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(file) == str(shard) for file in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_killed_workers_are_run_again(shards: Shards, cluster: Any) -> None:
    """One dies in the middle of a shard, which is long; then all of them when a step of matching is done.

    Nothing is counted twice: the numbers are equal to the last bit.
    """
    truth, found = shards.folder / "truth", shards.folder / "found"
    want = score(truth, found).compute()
    long = found / "1.json.gz"
    text = (found / "1.json").read_bytes()
    (found / "1.json").unlink()
    with gzip.open(long, "wb", compresslevel=1) as file:
        for part in (text[:1], *[b" " * 2**20] * 240, text[1:]):  # most of a second
            file.write(part)
    killed: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("match", 1):
            killed.append(kill_workers())

    results: list[Any] = []

    def run() -> None:
        try:
            results.append(evaluate(truth, found, partitions=6, progress=progress))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        victim = until(lambda: reader(long), pause=0)
        os.kill(victim, signal.SIGKILL)
        until(lambda: reader(long) not in (victim, None), pause=0)  # the shard is read again
    finally:
        thread.join(90)
    assert not thread.is_alive()
    assert isinstance(results[0], dict), results[0]
    assert same(results[0], want)
    assert len(killed) == 1
    assert killed[0] > 0


# What is wrong


@pytest.mark.parametrize(
    ("truth", "found", "kind", "text"),
    [
        ("truth", "found/9*.json", FileNotFoundError, "detections must be files that exist, got none at"),
        (["truth", "truth/1.json"], "found", ValueError, "ground_truth must name each file once, got .*1.json twice"),
        (5, "found", TypeError, "ground_truth must be a path, a pattern or a list of them, got int"),
        ("truth", ["found", 5], TypeError, "detections must be a path, a pattern or a list of them, got int in it"),
        ("truth", "found/note.txt", ValueError, "detections must be .json, .json.gz, .parquet files, got .*note.txt"),
    ],
)
@pytest.mark.parametrize("call", [evaluate, score])
def test_paths_that_are_wrong(call: Any, shards: Shards, truth: Any, found: Any, kind: Any, text: str) -> None:
    (shards.folder / "found/note.txt").write_text("")

    def inside(x: Any) -> Any:
        if isinstance(x, list):
            return [inside(one) for one in x]
        return shards.folder / x if isinstance(x, str) and "*" not in x else str(shards.folder / x) if x != 5 else x

    with pytest.raises(kind, match=f"^{call.__name__}: {text}"):
        call(inside(truth), inside(found))


def test_images_listed_twice(shards: Shards) -> None:
    shards.write("truth/3.json", {**shards.part(2), "annotations": []})
    with pytest.raises(FormatError, match=r"3.json: images: expected each in one shard, got \d+ as in .*2.json"):
        score(shards.folder / "truth", shards.folder / "found")


def test_arguments_that_are_wrong(shards: Shards) -> None:
    truth, found = shards.folder / "truth", shards.folder / "found"
    with pytest.raises(ValueError, match="evaluate: partitions must be above 0, got 0"):
        evaluate(truth, found, partitions=0)
    with pytest.raises(ValueError, match="DetectionMetrics: rule must be"):
        evaluate(truth, found, rule="other")


@pytest.mark.parametrize(
    ("results", "column", "values", "text"),
    [
        (True, "score", None, r"expected a column 'score', got \['image_id', 'category_id', 'bbox'\]"),
        (True, "score", [0.5, None, 0.5], "row 1: score: expected a number, got null"),
        (True, "score", [0.5, 0.5, float("nan")], "row 2: score: expected a number, got nan"),
        (True, "score", ["a", "b", "c"], "score: expected a number, got string"),
        (True, "image_id", [1.5, 2.5, 3.5], "image_id: expected integers, got double"),
        (True, "category_id", [1, None, 1], "row 1: category_id: expected an integer, got null"),
        (True, "bbox", [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4]], "row 1: bbox: expected four numbers, got 3"),
        (True, "bbox", [[1, 2, 3, 4], None, [1, 2, 3, 4]], "row 1: bbox: expected four numbers, got null"),
        (True, "bbox", [[1.0, 2, 3, 4], [1, 2, -3, 4], [1, 2, 3, 4]], "row 1: bbox: expected a width >= 0, got -3"),
        (True, "bbox", [[1.0, 2, 3, 4], [1, None, 3, 4], [1, 2, 3, 4]], "row 1: bbox: expected four numbers, got nan"),
        (True, "bbox", [1, 2, 3], "bbox: expected lists of four numbers, got int64"),
        (False, "area", [1.0, None, -1.0], "row 2: area: expected a number >= 0, got -1"),
        (False, "iscrowd", [0, None, 2], "row 2: iscrowd: expected 0 or 1, got 2"),
        (False, "category_id", [1, None, 1], "row 1: category_id: expected an integer, got null"),
    ],
)
def test_parquet_that_is_wrong(results: bool, column: str, values: Any, text: str, tmp_path: Path) -> None:
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    columns: Json = {"image_id": [1, 2, 3], "category_id": [1, 1, 1], "bbox": [[1, 2, 3, 4]] * 3}
    good = {**columns, "score": [0.5, 0.5, 0.5]}
    bad = {**(good if results else columns), column: values}
    parquet.write_table(pyarrow.table({k: v for k, v in bad.items() if v is not None}), tmp_path / "bad.parquet")
    parquet.write_table(pyarrow.table(good), tmp_path / "good.parquet")
    names = ("good", "bad") if results else ("bad", "good")
    with pytest.raises(FormatError, match=rf"bad\.parquet: {text}"):
        score(*(tmp_path / f"{name}.parquet" for name in names))
    (tmp_path / "bad.parquet").write_text("no such thing")
    with pytest.raises(FormatError, match=r"bad\.parquet: not Parquet: "):
        score(*(tmp_path / f"{name}.parquet" for name in names))


# From the command line


def test_command(shards: Shards, cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    need("typer")
    from fastdet.cli.app import main

    truth, found = f"{shards.folder}/truth/*.json", str(shards.folder / "found")
    assert main(["evaluate", truth, found, "--engine", "ray", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    want = score(shards.folder / "truth", found).compute()
    assert told["stats"] == [want[key] for key in KEYS]
    assert [row["ap"] for row in told["per_class"]] == want["map_per_class"].tolist()
    assert main(["evaluate", truth, found, "--engine", "ray", "--per-class", "--method", "area"]) == 0
    assert "Mean AP" in capsys.readouterr().out
    assert main(["evaluate", truth, found, "--engine", "ray", "--errors"]) == 2
    assert "evaluate: --errors does not go with --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "text"), [
    (["--engine", "spark"], "evaluate: --engine must be local or ray, got spark"),
    (["--address", "auto"], "evaluate: --address goes with --engine ray"),
    (["--engine", "ray", "--ci"], "evaluate: --ci does not go with --engine ray"),
    (["--engine", "ray", "--format", "voc"], "evaluate: --format does not go with --engine ray"),
    (["--engine", "ray"], "evaluate: ground_truth must be"),
])  # fmt: skip
def test_command_that_is_wrong(options: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    need("typer")
    from fastdet.cli.app import main

    assert main(["evaluate", "no/such.json", "no/such/either.json", *options]) == 2
    assert text in capsys.readouterr().err
