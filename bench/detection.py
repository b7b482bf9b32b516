"""COCO evaluation from JSON files: fastdet.coco and its peers on a synthetic data set of val2017's size.

    python bench/detection.py --detections 500000 --threads 1 --rounds 5
    python bench/detection.py --kind segm --detections 36700
    python bench/detection.py --kind keypoints --detections 134663
    python bench/detection.py --update 5000

With --update it is a training loop: `DetectionMetrics` and torchmetrics' MeanAveragePrecision get tensors of one
image a call, then compute. ``--json`` adds the runs to the file.

Each library runs in its own process, one after the other in every round: a change of the core's speed then affects all
alike, and a peak of memory is that of one library. CPU time is that of all threads; compare it on a machine with other
load. The twelve numbers of every library are compared with fastdet's.
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

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np
from coco_files import generate, generate_images
from shape_files import generate_masks, generate_poses

ROOT = Path(__file__).parents[1]
IMPORTS = {
    "fastdet": "from fastdet.coco import COCO, COCOeval",
    "hotcoco": "from hotcoco import COCO, COCOeval",
    "ultrafast-pycocotools": "from ultrafast_pycocotools import COCO, COCOeval",
    "vernier": "",  # its own call: see VERNIER
    "faster-coco-eval": "from faster_coco_eval import COCO, COCOeval_faster as COCOeval",
    "pycocotools": "from pycocotools.coco import COCO\nfrom pycocotools.cocoeval import COCOeval",
}
VERNIER = """
import vernier.instance
start = now()
gt, dt = (pathlib.Path(path).read_bytes() for path in sys.argv[1:])
read = now()
found = vernier.instance.Evaluator(parity_mode="strict").evaluate(gt, dt, num_threads={threads})
end = now()
"""
SLOW = ("faster-coco-eval", "pycocotools")  # two rounds
POOLS = ("FASTDET_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

NOW = """
import contextlib, io, json, pathlib, sys, time, warnings
now = lambda: np.array([time.perf_counter(), time.process_time()])
import numpy as np
"""
RUN = """
{imports}
gt, dt = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    start = now()
    data = COCO(gt)
    load = getattr(data, "loadRes", None) or data.load_res
    found = COCOeval(data, load(dt), {kind!r})
    read = now()
    found.evaluate()
    found.accumulate()
    found.summarize()
    end = now()
"""
REPORT = """
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
stats = [float(x) for x in list({stats})[:12]]
times = {{}}
for name, (wall, cpu) in {{"read": read - start, "evaluate": end - read, "total": end - start}}.items():
    times |= {{name: wall, "cpu_" + name: cpu}}
print(json.dumps({{**times, "peak_mb": peak / 1e3, "stats": stats}}))
"""

UPDATE = """
import torch
warnings.simplefilter("ignore")
try:
    import torchvision
except RuntimeError:  # built for another torch: torchmetrics uses none of its compiled ops
    sys.modules.pop("torchvision", None)
    for name in ("nms", "qnms"):
        torch.library.define("torchvision::" + name, "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.set_num_threads(1)
{imports}
data = np.load(sys.argv[1])
images = []
for i in range(len(data["of_found"]) - 1):
    a, b, c, d = *data["of_found"][i : i + 2], *data["of_true"][i : i + 2]
    images.append((
        dict(boxes=torch.tensor(data["found"][a:b]), scores=torch.tensor(data["scores"][a:b]),
             labels=torch.tensor(data["labels"][a:b])),
        dict(boxes=torch.tensor(data["true"][c:d]), labels=torch.tensor(data["true_labels"][c:d])),
    ))
start = now()
metric = {metric}
for prediction, target in images:
    metric.update([prediction], [target])
read = now()
found = metric.compute()
end = now()
keys = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100", "mar_small",
        "mar_medium", "mar_large")
stats = [float(found[key]) for key in keys]
"""
TORCHMETRICS = "from torchmetrics.detection import MeanAveragePrecision"
METRICS = {
    "fastdet": (  # with torchmetrics' levels, which are rounded to float32
        "from fastdet.detection import DetectionMetrics",
        "DetectionMetrics(iou_thresholds=torch.linspace(0.5, 0.95, 10).tolist(),"
        " rec_thresholds=torch.linspace(0, 1, 101).tolist())",
    ),
    "torchmetrics, faster-coco-eval": (TORCHMETRICS, "MeanAveragePrecision(backend='faster_coco_eval')"),
    "torchmetrics, pycocotools": (TORCHMETRICS, "MeanAveragePrecision(backend='pycocotools')"),
}


FILES = {"bbox": generate, "segm": generate_masks, "keypoints": generate_poses}


def run(
    name: str, paths: tuple[Path, ...], threads: int, update: bool = False, kind: str = "bbox"
) -> dict[str, Any] | str:
    """One run in its own process; if it fails, the last line of its error."""
    env = {**os.environ, **dict.fromkeys(POOLS, str(threads))}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    report = REPORT.format(stats="stats" if name in METRICS and update else "found.stats")
    if update:
        code = UPDATE.format(imports=METRICS[name][0], metric=METRICS[name][1]) + report
    elif name == "vernier":
        code = VERNIER.format(threads=threads) + report
    else:
        code = RUN.format(imports=IMPORTS[name], kind=kind) + report
    done = subprocess.run([sys.executable, "-c", NOW + code, *map(str, paths)], env=env, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=500_000)
    parser.add_argument("--kind", choices=FILES, default="bbox", help="what the files hold")
    parser.add_argument("--update", type=int, help="images of the training loop, instead of files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", help="names with semicolons between; default: all")
    parser.add_argument("--json", type=Path, help="add every run to this file")
    chosen = parser.parse_args()
    libraries = METRICS if chosen.update else IMPORTS
    names = ["fastdet", *(n for n in (chosen.peers.split(";") if chosen.peers else libraries) if n != "fastdet")]
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths: tuple[Path, ...]
        if chosen.update:
            paths = generate_images(Path(folder), chosen.update)
        else:
            paths = FILES[chosen.kind](Path(folder), chosen.detections)
        size = sum(path.stat().st_size for path in paths) / 1e6
        for number in range(chosen.rounds):
            for name in names:
                slow = name in SLOW or name.startswith("torchmetrics")
                if name in absent or (slow and number >= 2):
                    continue
                if name == "vernier" and chosen.kind != "bbox":
                    absent[name] = "boxes alone"
                    continue
                result = run(name, paths, chosen.threads, bool(chosen.update), chosen.kind)
                if isinstance(result, str):
                    absent[name] = result
                else:
                    times[name].append(result)
    if chosen.update:
        print(f"{chosen.update:,} images, one at a time; medians")
    else:
        case = f"{chosen.kind}: {chosen.detections:,} detections"
        print(f"{case}, {size:.0f} MB of JSON, {chosen.threads} thread(s); medians")
    first, second = ("update", "compute") if chosen.update else ("read", "evaluate")
    print(
        f"{'library':<32}{first + ' s':>9}{second + ' s':>12}{'total s':>9}{'CPU: ' + second:>16}{'total':>8}{'MB':>7}"
    )
    for name, rows in times.items():
        if not rows:
            continue
        read, evaluate, total, busy, cpu, peak = (
            statistics.median(row[key] for row in rows)
            for key in ("read", "evaluate", "total", "cpu_evaluate", "cpu_total", "peak_mb")
        )
        off = float(np.abs(np.subtract(rows[0]["stats"], times["fastdet"][0]["stats"])).max())
        same = "equal" if off == 0 else f"off by {off:.1e}"
        print(f"{name:<32}{read:>9.3f}{evaluate:>12.3f}{total:>9.3f}{busy:>16.3f}{cpu:>8.3f}{peak:>7.0f}", end="")
        print(f"  {same} ({len(rows)} runs)")
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")
    if chosen.json:
        import harness  # needs fastdet here as well

        harness.save(chosen.json, {
            "case": f"update, {chosen.update} images" if chosen.update else case,
            "json_mb": size, "threads": chosen.threads, "runs": times, "absent": absent,
        })  # fmt: skip


if __name__ == "__main__":
    main()
