"""Time the inference of Faster R-CNN and its kin: fastdet's networks and torchvision's with the same weights.

    python bench/detectors.py --models faster_rcnn,retinanet --size 400 --rounds 7 --threads 1 --json result.json

Random weights, one random image, resized so that its shorter side is --size pixels, on the CPU. The detections of both
are compared first; then both are called in turn, and the ratio is the median of the ratios round by round. Most of the
time is the trunk's convolutions, which are torch's in both: they are timed by themselves, too, so that the rest shows.
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

NAMES = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet")
SPREAD = 2.0  # standard deviation of the logits of classes; those of a new network are all nearly equal


def networks(name: str, size: int) -> tuple[Any, Any]:
    """fastdet's network and torchvision's, with the same random weights."""
    import torch
    from torchvision.models import detection

    from fastdet.models import MODELS

    torch.manual_seed(0)
    sizes = {"min_size": size, "max_size": 2 * size}
    ours = MODELS[name](**sizes).eval()
    build = getattr(detection, name.replace("_rcnn", "rcnn") + "_resnet50_fpn")
    peer = build(weights=None, weights_backbone=None, **sizes).eval()
    retina = name == "retinanet"
    layer = ours.head["classification_head"].cls_logits if retina else ours.roi_heads.box_predictor.cls_score
    logits: list[Any] = []
    hook = layer.register_forward_hook(lambda _, inputs, out: logits.append(out.flatten()))
    ours([torch.rand(3, size, size)])
    hook.remove()
    layer.weight.data.mul_(SPREAD / torch.cat(logits).std())
    peer.load_state_dict(ours.state_dict())
    return ours, peer


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="faster_rcnn", help="separated by commas")
    parser.add_argument("--size", type=int, default=400, help="pixels of the image's shorter side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from harness import save

    import fastdet

    fastdet.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    for name in args.models.split(","):
        ours, peer = networks(name, args.size)
        image = [torch.rand(3, args.size, args.size * 4 // 3)]
        got, want = ours(image)[0], peer(image)[0]
        same = len(got["boxes"]) == len(want["boxes"]) and bool((got["labels"] == want["labels"]).all())
        if not same or (got["scores"] - want["scores"]).abs().max() > 1e-4:
            raise SystemExit(f"{name}: the detections differ from torchvision's")
        batch = ours.transform(image).images
        calls: dict[str, Callable[[], Any]] = {
            "fastdet": lambda ours=ours, image=image: ours(image),
            "torchvision": lambda peer=peer, image=image: peer(image),
            "trunk": lambda ours=ours, batch=batch: ours.backbone(batch),
        }
        times: dict[str, list[float]] = {who: [] for who in calls}
        for i in range(args.rounds + 1):
            for who in list(calls)[:: 1 if i % 2 else -1]:
                times[who].append(seconds(calls[who]))
        rows = list(zip(*(x[1:] for x in times.values()), strict=True))  # the first round is warm-up
        whole = statistics.median(b / a for a, b, _ in rows)
        rest = statistics.median((b - c) / (a - c) for a, b, c in rows)
        case = f"{name}, {args.size} x {args.size * 4 // 3}, {len(got['boxes'])} detections, {args.threads} thread(s)"
        print(f"{case}: torchvision's time is {whole:.2f} of fastdet's, without the trunk {rest:.2f}")
        figures = {who: statistics.median(x[1:]) * 1e3 for who, x in times.items()}
        for who, ms in figures.items():
            print(f"  {who:11s} {ms:8.1f} ms")
        if args.json:
            save(args.json, {"case": case, "ratio": whole, "ratio without the trunk": rest, "ms": figures})


if __name__ == "__main__":
    main()
