"""Time YOLO's post-processing end to end (decode and NMS of one 640 x 640 image): fastdet and the chain of torch ops.

    python bench/yolo.py --rounds 200 --threads 1 --json result.json

All are called in turn in one process; the answers are compared first. The output is synthetic: clusters of candidates
around objects, the other scores near 0. The chain is the usual one: a mask by the best class score, corners, classes
moved apart by an offset, NMS by torchvision where it works, else in torch ops too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np

IOU, SCORE, MAX_OUTPUT = 0.45, 0.25, 300
FORMS = {"v8": (84, 8400, False), "v5": (85, 25_200, True)}  # channels, candidates, objectness


def output(channels: int, candidates: int, objectness: bool, objects: int = 40, each: int = 12) -> Any:
    """(1, channels, candidates) float32."""
    rng = np.random.default_rng(0)
    first = 4 + objectness
    x = np.empty((channels, candidates), np.float32)
    x[:2], x[2:4] = rng.uniform(0, 640, (2, candidates)), rng.uniform(8, 200, (2, candidates))
    x[4:] = rng.beta(0.3, 60, (channels - 4, candidates))
    clusters = rng.permutation(candidates)[: objects * each].reshape(objects, each)
    for cluster in clusters:
        centre = rng.uniform((50, 50, 30, 30), (590, 590, 200, 200))
        x[:4, cluster] = (centre + rng.normal(0, 4, (each, 4))).T
        x[first + rng.integers(channels - first), cluster] = rng.uniform(0.2, 0.95, each)
        if objectness:
            x[4, cluster] = rng.uniform(0.7, 1, each)
    return x[None]


def torch_nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """Greedy NMS in torch ops: one row of the matrix for each kept box."""
    import torch

    order = scores.argsort(descending=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    side = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    inter = side.clamp_(min=0).prod(-1)
    over = inter / (area[:, None] + area - inter) > threshold
    removed = torch.zeros(len(boxes), dtype=torch.bool)
    keep = []
    for i in range(len(boxes)):
        if not removed[i]:
            keep.append(i)
            removed |= over[i]
    return order[torch.tensor(keep, dtype=torch.int64)]


def chain(x: Any, objectness: bool, nms: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """The chain of torch ops on a tensor (1, candidates, channels)."""
    import torch

    rows = x[0]
    scores = rows[:, 5:] * rows[:, 4:5] if objectness else rows[:, 4:]
    use = scores.amax(1) > SCORE
    best, label = scores[use].max(1)
    centre, half = rows[use, :2], rows[use, 2:4] / 2
    boxes = torch.cat([centre - half, centre + half], 1)
    keep = nms(boxes + label[:, None] * 7680.0, best, IOU)[:MAX_OUTPUT]
    return boxes[keep], best[keep], label[keep]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from harness import save

    import fastdet
    from fastdet.inference import yolo_candidates, yolo_postprocess

    fastdet.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), IOU)
        name = "torch ops, torchvision's nms"
    except Exception as error:
        print(f"torchvision: {type(error).__name__}; its nms in torch ops instead")
        nms, name = torch_nms, "torch ops"
    for form, (channels, candidates, objectness) in FORMS.items():
        planes = torch.from_numpy(output(channels, candidates, objectness))
        for layout, x in (("channels first", planes), ("candidates first", planes.transpose(1, 2).contiguous())):
            rows = x.transpose(1, 2) if layout == "channels first" else x
            calls = {
                "fastdet": lambda x=x, o=objectness: yolo_postprocess(x, IOU, objectness=o),
                "fastdet, candidates alone": lambda x=x, o=objectness: yolo_candidates(x, SCORE, objectness=o),
                name: lambda x=rows, o=objectness: chain(x, o, nms),
                "torch ops, fastdet's nms": lambda x=rows, o=objectness: chain(x, o, fastdet.nms.nms),
            }
            final = calls["fastdet"]()
            count = int(final.count[0])
            for other in (name, "torch ops, fastdet's nms"):
                boxes, scores, labels = calls[other]()
                assert len(labels) == count, (len(labels), count)
                assert torch.equal(labels, final.labels[0, :count]), other
                assert torch.equal(boxes, final.boxes[0, :count]), other
                assert torch.equal(scores, final.scores[0, :count]), other
            times: dict[str, list[float]] = {key: [] for key in calls}
            for _ in range(args.rounds):
                for key, call in calls.items():
                    start = time.perf_counter()
                    call()
                    times[key].append(time.perf_counter() - start)
            case, figures = f"YOLO {form}, {layout}, 1 x {channels} x {candidates}", {}
            print(f"{case}, {count} kept, {args.threads} thread(s)")
            for key, values in times.items():
                ratio = statistics.median(v / w for v, w in zip(values, times["fastdet"], strict=True))
                median, minimum = statistics.median(values) * 1e6, min(values) * 1e6
                print(f"  {key:30s} {median:8.0f} us (minimum {minimum:.0f})  {ratio:6.2f} x fastdet's")
                figures[key] = {"us": median, "least": minimum, "ratio": ratio}
            if args.json:
                save(args.json, {"case": case, "threads": args.threads, "who": figures})


if __name__ == "__main__":
    main()
