"""Panoptic quality of PNG files: fastdet and the peers that have it, after their figures are compared.

    python bench/panoptic.py --images 60 --repeats 5

Draws COCO-like maps with a seed (480 x 640, about 12 segments), writes them as COCO's PNG and JSON files, and scores
them with one thread each: `fastdet panoptic`'s work from the files on, and, where they are installed, the panoptic API
(panopticapi) and vernier. The time of decoding alone is shown for fastdet's reader and for Pillow.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fastdet
from fastdet._files import panoptic, png
from fastdet.cli.panoptic_count import count, pair
from fastdet.segmentation import PanopticMetrics

SIZE = 480, 640
CATEGORIES = [{"id": k + 1, "name": f"class {k}", "isthing": int(k < 6)} for k in range(10)]


def drawn(rng: np.random.Generator) -> tuple[Any, Any]:
    """Numbers of segments of a true map and of a prediction: bands of stuff, and ellipses with wavy outlines."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    truth = 1 + (y + 20 * np.sin(x / 50) > rng.integers(150, 350)).astype(int)
    guess = np.roll(truth, 4, axis=0)
    for k in range(3, int(rng.integers(8, 16))):
        cy, cx, ry, rx = rng.integers(0, 480), rng.integers(0, 640), rng.integers(10, 120), rng.integers(10, 120)
        wave = 1 + 0.08 * np.sin(x / 5) * np.cos(y / 7)
        shape = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
        truth[shape < wave] = k
        guess[shape < 1 + 0.1 * rng.standard_normal()] = k
    return truth, guess


def write(folder: Path, images: int) -> tuple[Path, Path]:
    """Two JSON files, each with a folder of its name."""
    rng = np.random.default_rng(0)
    paths = folder / "truth.json", folder / "guess.json"
    records: tuple[list[Any], list[Any]] = ([], [])
    for i in range(images):
        for side, numbers in enumerate(drawn(rng)):
            ids = np.array([0, *(1 + 4093 * rng.permutation(4000)[: numbers.max()])])[numbers]
            kinds = {1: 7, 2: 8}
            info = [
                {"id": int(ids[numbers == k][0]), "category_id": kinds.get(int(k), int(k) % 6 + 1), "iscrowd": 0,
                 "area": int((numbers == k).sum()), "bbox": [0, 0, 1, 1]}
                for k in np.unique(numbers)
            ]  # fmt: skip
            target = paths[side].with_suffix("") / f"{i}.png"
            target.parent.mkdir(exist_ok=True)
            colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
            Image.fromarray(colours).save(target)
            records[side].append({"image_id": i, "file_name": target.name, "segments_info": info})
    for path, some in zip(paths, records, strict=True):
        shown = [{"id": record["image_id"], "height": SIZE[0], "width": SIZE[1]} for record in some]
        path.write_text(json.dumps({"images": shown, "annotations": some, "categories": CATEGORIES}))
    return paths


def ours(truth: Path, guess: Path) -> float:
    sides = panoptic.load(truth, None, ""), panoptic.load(guess, None, "")
    metrics = PanopticMetrics(CATEGORIES)
    count(*sides, pair(*sides), metrics, lambda n: None)
    return float(metrics.compute()["pq"])


def panoptic_api(truth: Path, guess: Path) -> float:
    from panopticapi.evaluation import PQStat, pq_compute_single_core

    categories = {category["id"]: category for category in CATEGORIES}
    one, other = (json.loads(path.read_text())["annotations"] for path in (truth, guess))
    folders = str(truth.with_suffix("")), str(guess.with_suffix(""))
    stat: PQStat = pq_compute_single_core(0, list(zip(one, other, strict=True)), *folders, categories)
    return float(stat.pq_average(categories, isthing=None)[0]["pq"])


def vernier_api(truth: Path, guess: Path) -> float:
    from vernier import panoptic as peer

    def side(path: Path) -> tuple[dict[int, Any], bytes, Any]:
        content = json.loads(path.read_text())
        folder = path.with_suffix("")
        maps = {x["image_id"]: peer.decode_label_map_png(folder / x["file_name"]) for x in content["annotations"]}
        info = {x["image_id"]: x["segments_info"] for x in content["annotations"]}
        return maps, json.dumps(info).encode(), content["categories"]

    maps, info, categories = side(truth)
    data = peer.Dataset.from_arrays(maps, info, json.dumps(categories).encode())
    found = peer.Predictions.from_arrays(*side(guess)[:2])
    return float(peer.Evaluator().evaluate(data, found, num_threads=1).pq)


def decoding(truth: Path) -> dict[str, Callable[[], Any]]:
    files = [path.read_bytes() for path in sorted(truth.with_suffix("").iterdir())]
    return {
        "decoding alone, fastdet": lambda: [png.read_rgb(data) for data in files],
        "decoding alone, Pillow": lambda: [np.asarray(Image.open(io.BytesIO(data))) for data in files],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    fastdet.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), options.images)
        want = ours(*paths)
        calls: dict[str, Callable[[], Any]] = {"fastdet": lambda: ours(*paths)}
        for name, call in (("panopticapi", panoptic_api), ("vernier", vernier_api)):
            if importlib.util.find_spec(name) is None:
                print(f"{name} is absent")
                continue
            print(f"{name}: PQ {call(*paths):.12f}, fastdet {want:.12f}")
            calls[name] = lambda call=call: call(*paths)  # type: ignore[misc]
        calls |= decoding(paths[0])
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.repeats):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - began)
    base = statistics.median(times["fastdet"])
    for name, some in times.items():
        median = statistics.median(some)
        print(f"{name:26} {1000 * median / options.images:8.2f} ms an image  {median / base:6.2f} of fastdet")


if __name__ == "__main__":
    main()
