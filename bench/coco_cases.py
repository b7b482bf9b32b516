"""COCO evaluation from JSON files: fastdet.coco and its peers on a synthetic data set of val2017's size.

    python bench/coco_cases.py --detections 500000 --threads 1 --rounds 5

Each library runs in a process of its own, one after the other in every round, so that a drifting core meets everybody
alike and a peak of memory is of one library alone. The twelve numbers of every library are compared with fastdet's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
IMAGES, CLASSES, BOXES = 5000, 80, 36_000
IMPORTS = {
    "fastdet": "from fastdet.coco import COCO, COCOeval",
    "hotcoco": "from hotcoco import COCO, COCOeval",
    "ultrafast-pycocotools": "from ultrafast_pycocotools import COCO, COCOeval",
    "faster-coco-eval": "from faster_coco_eval import COCO, COCOeval_faster as COCOeval",
    "pycocotools": "from pycocotools.coco import COCO\nfrom pycocotools.cocoeval import COCOeval",
}
SLOW = ("faster-coco-eval", "pycocotools")  # two rounds
POOLS = ("FASTDET_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

RUN = """
import contextlib, io, json, sys, time
{imports}
gt, dt = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    start = time.perf_counter()
    data = COCO(gt)
    found = COCOeval(data, data.loadRes(dt), "bbox")
    read = time.perf_counter()
    found.evaluate()
    found.accumulate()
    found.summarize()
    end = time.perf_counter()
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
stats = [float(x) for x in list(found.stats)[:12]]
times = {{"read": read - start, "evaluate": end - read, "total": end - start}}
print(json.dumps({{**times, "peak_mb": peak / 1e3, "stats": stats}}))
"""


def generate(folder: Path, detections: int, seed: int = 0) -> tuple[Path, Path]:
    """36,000 boxes, 1 % of them crowds; half of the detections lie near a box of their class, the rest anywhere.

    Images grow with the detections past 500,000, so that the detections of an image stay as many.
    """
    r = np.random.default_rng(seed)
    scale = max(1, detections // 500_000)
    images, boxes = IMAGES * scale, BOXES * scale
    box = np.concatenate([r.random((boxes, 2)) * 500, np.exp(r.normal(4, 0.9, (boxes, 2)))], axis=1).round(2)
    image, label = r.integers(0, images, boxes), (CLASSES * r.random(boxes) ** 3).astype(int)
    own = r.integers(0, boxes, detections)
    found = box[own] + r.normal(0, 0.15, (detections, 4)) * box[own][:, [2, 3, 2, 3]]
    found[:, 2:] = np.abs(found[:, 2:])
    near = r.random(detections) < 0.5
    of_image = np.where(near, image[own], r.integers(0, images, detections))
    of_label = np.where(near, label[own], (CLASSES * r.random(detections) ** 3).astype(int))
    score = r.random(detections).round(6)
    ids = np.sort(r.choice(600_000 * scale, images, replace=False)).tolist()
    gt: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in ids],
        "categories": [{"id": k + 1, "name": f"class {k}", "supercategory": "any"} for k in range(CLASSES)],
        "annotations": [
            {"id": j + 1, "image_id": ids[i], "category_id": k + 1, "bbox": b, "area": b[2] * b[3],
             "iscrowd": int(j % 100 == 0), "segmentation": [b * 6]}
            for j, (i, k, b) in enumerate(zip(image.tolist(), label.tolist(), box.tolist(), strict=True))
        ],
    }  # fmt: skip
    paths = folder / "gt.json", folder / "dt.json"
    paths[0].write_text(json.dumps(gt))
    with paths[1].open("w") as file:
        file.write("[")
        rows = zip(of_image.tolist(), of_label.tolist(), found.round(3).tolist(), score.tolist(), strict=True)
        for j, (i, k, b, s) in enumerate(rows):
            row = {"image_id": ids[i], "category_id": k + 1, "bbox": b, "score": s}
            file.write((", " if j else "") + json.dumps(row))
        file.write("]")
    return paths


def run(name: str, paths: tuple[Path, Path], threads: int) -> dict[str, Any] | str:
    """One run in a process of its own; where it fails, the last line of the reason."""
    env = {**os.environ, **dict.fromkeys(POOLS, str(threads))}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    code = RUN.format(imports=IMPORTS[name])
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], env=env, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=500_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(IMPORTS), help="names with commas between")
    parser.add_argument("--json", type=Path, help="write every run here")
    chosen = parser.parse_args()
    names = ["fastdet", *(name for name in chosen.peers.split(",") if name != "fastdet")]
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = generate(Path(folder), chosen.detections)
        size = sum(path.stat().st_size for path in paths) / 1e6
        for number in range(chosen.rounds):
            for name in names:
                if name in absent or (name in SLOW and number >= 2):
                    continue
                found = run(name, paths, chosen.threads)
                if isinstance(found, str):
                    absent[name] = found
                else:
                    times[name].append(found)
    print(f"{chosen.detections:,} detections, {size:.0f} MB of JSON, {chosen.threads} thread(s); medians")
    print(f"{'library':<24}{'read s':>9}{'evaluate s':>12}{'total s':>9}{'peak MB':>9}  stats")
    for name, rows in times.items():
        if not rows:
            continue
        read, evaluate, total, peak = (
            statistics.median(row[key] for row in rows) for key in ("read", "evaluate", "total", "peak_mb")
        )
        off = float(np.abs(np.subtract(rows[0]["stats"], times["fastdet"][0]["stats"])).max())
        same = "equal" if off == 0 else f"off by {off:.1e}"
        print(f"{name:<24}{read:>9.3f}{evaluate:>12.3f}{total:>9.3f}{peak:>9.0f}  {same} ({len(rows)} runs)")
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"detections": chosen.detections, "threads": chosen.threads, "runs": times}))


if __name__ == "__main__":
    main()
