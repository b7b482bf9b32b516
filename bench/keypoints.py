"""Time the similarity of poses, and the scoring of poses from files, beside pycocotools and its successors.

    python bench/keypoints.py --poses 134663 --rounds 3

Poses are drawn with a seed. fastdet and its peers run in turn, each in a process of its own with one thread; their
figures are compared first.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEERS = {
    "fastdet": ("fastdet.coco", "fastdet.coco"),
    "hotcoco": ("hotcoco", "hotcoco"),
    "ultrafast_pycocotools": ("ultrafast_pycocotools.coco", "ultrafast_pycocotools.cocoeval"),
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval"),
}
ONE_THREAD = ("FASTDET_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")


def write_poses(folder: Path, images: int, people: int, poses: int) -> tuple[Path, Path]:
    """A data set of people and detections near them, as COCO's JSON."""
    r = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    for k in range(people):
        pose = np.concatenate([r.random((17, 2)) * [200, 300] + r.random(2) * [400, 180], r.integers(0, 3, (17, 1))], 1)
        pose = pose.round()
        low, high = pose[:, :2].min(0), pose[:, :2].max(0)
        annotations.append({
            "id": k + 1, "image_id": int(r.integers(images)), "category_id": 1, "iscrowd": 0,
            "num_keypoints": int((pose[:, 2] > 0).sum()), "area": float(np.prod(high - low) * 0.6),
            "bbox": [*low.tolist(), *(high - low).tolist()], "keypoints": pose.astype(int).reshape(-1).tolist(),
        })  # fmt: skip
    results = []
    for _ in range(poses):
        near = annotations[int(r.integers(people))]
        pose = np.array(near["keypoints"], np.float64).reshape(17, 3)
        pose[:, :2] += r.normal(0, r.random() * 30 + 1, (17, 2))
        results.append({
            "image_id": near["image_id"], "category_id": 1, "score": round(float(r.random()), 5),
            "keypoints": pose.round(3).reshape(-1).tolist(),
        })  # fmt: skip
    data = {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(images)], "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    paths = folder / "truth.json", folder / "found.json"
    for path, content in zip(paths, (data, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def run_one(name: str, truth: str, found: str) -> None:
    """In a process of its own: print the seconds from files to figures, peak memory in MB, and the figures."""
    import importlib

    dataset, evaluation = (importlib.import_module(module) for module in PEERS[name])
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        data = dataset.COCO(truth)
        scored = evaluation.COCOeval(
            data, getattr(data, "load_res", getattr(data, "loadRes", None))(found), "keypoints"
        )
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()  # of this program alone, which ru_maxrss is not
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([seconds, memory, [float(x) for x in scored.stats]]))


def race(truth: Path, found: Path, names: list[str], rounds: int) -> None:
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    times: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, float] = {}
    stats: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in list(times):
            command = [sys.executable, __file__, "--one", name, str(truth), str(found)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: left out: {done.stderr.strip().splitlines()[-1]}")
                del times[name]
                continue
            seconds, memory[name], stats[name] = json.loads(done.stdout.splitlines()[-1])
            times[name].append(seconds)
    for name, values in stats.items():
        np.testing.assert_allclose(values, stats["fastdet"], rtol=1e-12, err_msg=name)
    own = statistics.median(times["fastdet"])
    print(f"{'':24} {'seconds':>8} {'ratio':>6} {'MB':>6}")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:24} {median:8.3f} {median / own:6.2f} {memory[name]:6.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--poses", type=int, default=20000)
    parser.add_argument("--people", type=int, default=11004)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peers", nargs="*", default=[name for name in PEERS if name not in ("fastdet", "pycocotools")]
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return run_one(*options.one)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_poses(Path(folder), options.images, options.people, options.poses)
        race(*paths, ["fastdet", *options.peers], options.rounds)
    return None


if __name__ == "__main__":
    main()
